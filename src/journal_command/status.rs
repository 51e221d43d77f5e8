//! `forebay journal status`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::bytes::{bytes, counted, number, time};
use super::site::LANES;
use super::{Common, Site};
use crate::journal::{Hole, JournalFiles};
use crate::lane::OfflineLane;
use crate::replicate::ReplicationControl;

/// Shows both lanes.
pub fn run(common: &Common, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&common.config)?;
    let remembered = site.remembered();
    let switch = |lane| Some(Arc::clone(&remembered.as_ref()?.iter().find(|(name, _)| *name == lane)?.1));
    let mut lanes = Vec::new();
    for lane in LANES {
        lanes.push(match site.find_lane(lane)? {
            Some(found) => describe(&site, lane, &found, switch(lane).as_deref()),
            None => json!({ "name": lane, "exists": false }),
        });
    }
    let pid = site.running.as_ref().and_then(|running| running["pid"].as_u64());
    let imports = site.running.as_ref().map_or(json!([]), |running| running["imports"].clone());
    let status = json!({
        "directory": site.config.journal.directory,
        "running": pid.is_some(),
        "pid": pid,
        "lanes": lanes,
        "imports": imports,
        "replays": site.running.as_ref().map_or(json!([]), |running| running["replays"].clone()),
    });
    if common.json {
        writeln!(out, "{status}")?;
    } else {
        out.write_all(words(&status).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(site: &Site, name: &str, found: &OfflineLane, switch: Option<&ReplicationControl>) -> Json {
    let files = found.files();
    let segments = files.segments();
    let (first, next) = (files.first_offset(), files.next_offset());
    let holes = site.holes(name, files);
    // Those in front do not lie between the first and the last.
    let between = holes.iter().filter(|hole| hole.after_file.is_some());
    let missing: u64 = between.map(|hole| hole.offsets.end - hole.offsets.start).sum();
    let oldest_us = segments.iter().map(|segment| segment.created_us).find(|us| *us != 0);
    let kafka = match site.lane(name) {
        Some(running) => kafka_says(&running["journal"], first, next),
        None => remembered(files, switch.and_then(|it| it.recall_complete(name, &files.epoch().to_string()))),
    };
    let holes: Vec<Json> = holes.iter().map(hole_json).collect();
    json!({
        "name": name,
        "exists": true,
        "epoch": files.epoch().to_string(),
        "files": segments.len(),
        "bytes": segments.iter().map(|segment| segment.bytes).sum::<u64>(),
        "budget_bytes": if name == "events" { site.config.events.budget_bytes } else { site.config.telemetry.budget_bytes },
        "first_offset": first,
        "next_offset": next,
        "records": (next - first).saturating_sub(missing),
        "missing": holes,
        "oldest_us": oldest_us,
        "committed": site.committed(name),
        "unsent": site.committed(name).map(|committed| next.saturating_sub(committed.max(first))),
        "kafka": kafka,
        "oldest_unsent_us": site.lane(name).map(|lane| lane["journal"]["oldest_unsent_us"].clone()),
        "error": site.lane(name).map(|lane| lane["journal"]["error"].clone()),
        "replication": site.lane(name).map(|lane| lane["replication"].clone()),
        "paused": match site.lane(name) {
            Some(running) => running["paused"].clone(),
            None => json!(switch.and_then(ReplicationControl::paused)),
        },
    })
}

fn hole_json(hole: &Hole) -> Json {
    json!({
        "from_offset": hole.offsets.start, "to_offset": hole.offsets.end,
        "after_file": hole.after_file, "before_file": hole.before_file,
    })
}

/// What the running box knows of what Kafka has, in records.
fn kafka_says(journal: &Json, first: u64, next: u64) -> Json {
    let confirmed = journal["confirmed"].as_u64().unwrap_or(0).clamp(first, next) - first;
    let rest = next - first - confirmed;
    let perhaps = journal["perhaps_sent_records"].as_u64().unwrap_or(0).min(rest);
    json!({ "heard": journal["heard"], "confirmed": confirmed, "perhaps": perhaps, "not_sent": rest - perhaps })
}

/// The same of a box that does not run.
fn remembered(files: &JournalFiles, confirmed: Option<u64>) -> Json {
    let known = files.known(confirmed.unwrap_or(0));
    json!({
        "heard": false, "confirmed": known.confirmed, "perhaps": known.perhaps, "not_sent": known.unsent,
    })
}

fn words(status: &Json) -> String {
    let running = match status["pid"].as_u64() {
        Some(pid) => format!("forebay runs, process {pid}"),
        None => "forebay does not run".to_owned(),
    };
    let mut text = format!("{}: {running}\n", status["directory"].as_str().unwrap_or_default());
    for lane in status["lanes"].as_array().into_iter().flatten() {
        text += "\n";
        for line in lane_words(lane) {
            text += &line;
            text += "\n";
        }
    }
    for import in status["imports"].as_array().into_iter().flatten() {
        text += &format!("\nimported: {}\n", import_words(import));
    }
    for replay in status["replays"].as_array().into_iter().flatten() {
        // Those that are over are in `forebay replay --list`.
        if !matches!(replay["state"].as_str(), Some("done" | "cancelled")) {
            text += &format!("\nreplay {}\n", crate::replay::line(replay));
        }
    }
    text
}

fn lane_words(lane: &Json) -> Vec<String> {
    let name = lane["name"].as_str().unwrap_or_default();
    let count = |key: &str| lane[key].as_u64().unwrap_or(0);
    if lane["exists"] != true {
        return vec![format!("{name:<10} nothing was ever stored")];
    }
    let since = match lane["oldest_us"].as_i64() {
        Some(us) => format!(", since {}", time(us)),
        None => String::new(),
    };
    let mut lines = vec![format!(
        "{name:<10} {} of {} in {}{since}",
        bytes(count("bytes")),
        bytes(count("budget_bytes")),
        counted(count("files"), "file", "files"),
    )];
    let (first, next) = (count("first_offset"), count("next_offset"));
    if first == next {
        // Of nothing nobody wants to know whether Kafka has it.
        lines.push(format!("{:<10} no records", ""));
    } else {
        let records = counted(count("records"), "record", "records");
        let kafka = kafka_words(&lane["kafka"], lane["oldest_unsent_us"].as_i64());
        lines.push(format!("{:<10} {records} (offsets {first} to {}); {kafka}", "", next - 1));
    }
    lines.extend(lane["missing"].as_array().into_iter().flatten().map(missing_words));
    lines.extend(sending_words(lane).map(|words| format!("{:<10} {words}", "")));
    if let Some(error) = lane["error"].as_str() {
        lines.push(format!("{:<10} DISK: {error}", ""));
    }
    lines
}

fn missing_words(hole: &Json) -> String {
    let number = |key: &str| hole[key].as_u64().unwrap_or(0);
    let (from, to) = (number("from_offset"), number("to_offset"));
    let before = hole["before_file"].as_str().unwrap_or_default();
    let place = match hole["after_file"].as_str() {
        Some(after) => format!("between {after} and {before}"),
        None => format!("in front of {before}"),
    };
    let records = counted(to - from, "record", "records");
    format!("{:<10} MISSING: {records} (offsets {from} to {}): files are gone {place}", "", to - 1)
}

fn kafka_words(kafka: &Json, oldest_us: Option<i64>) -> String {
    let count = |key: &str| kafka[key].as_u64().unwrap_or(0);
    let (confirmed, perhaps, not_sent) = (count("confirmed"), count("perhaps"), count("not_sent"));
    let oldest = oldest_us.map_or_else(String::new, |us| format!(", the oldest of {}", time(us)));
    if perhaps + not_sent == 0 {
        return "Kafka has all of them".to_owned();
    }
    if kafka["heard"] == true || (confirmed == 0 && perhaps == 0) {
        return format!("{} not in Kafka yet{oldest}", number(not_sent));
    }
    let mut parts = Vec::new();
    if confirmed > 0 {
        parts.push(format!("Kafka has {}", number(confirmed)));
    }
    if perhaps > 0 {
        parts.push(format!("of {} it is not known until the box reaches Kafka", number(perhaps)));
    }
    if not_sent > 0 {
        parts.push(format!("{} were never sent", number(not_sent)));
    }
    let all = parts.join(", ");
    if confirmed > 0 && !oldest.is_empty() { format!("{all}{oldest} of these") } else { all + &oldest }
}

/// What the way to Kafka does.
fn sending_words(lane: &Json) -> Option<String> {
    let now = lane["replication"]["text"].as_str();
    let pause = &lane["paused"];
    let Some(since_us) = pause["since_us"].as_i64() else { return now.map(str::to_owned) };
    let by = pause["by"].as_str().unwrap_or_default();
    let mut words = format!(
        "paused by {by} since {}: everything is stored, nothing goes to Kafka until `forebay resume`",
        time(since_us)
    );
    // The replicator may still be busy with what it had begun.
    if let Some(now) = now.filter(|_| lane["replication"]["state"] != "paused") {
        words += &format!("; until now: {now}");
    }
    Some(words)
}

fn import_words(import: &Json) -> String {
    let (from, to) = (import["from"].as_u64().unwrap_or(0), import["to"].as_u64().unwrap_or(0));
    let next = import["next_offset"].as_u64().unwrap_or(from).clamp(from, to.max(from));
    let state = match (import["state"].as_str(), import["text"].as_str()) {
        (Some("sending"), Some(text)) => format!("being sent; {text}"),
        (Some("held"), Some(text)) => format!("HELD: {text}"),
        _ => "waits for its turn".to_owned(),
    };
    format!(
        "{} of {}, {} of {} sent; {state}",
        import["lane"].as_str().unwrap_or_default(),
        import["edge"].as_str().unwrap_or_default(),
        number(next - from),
        counted(to - from, "record", "records"),
    )
}
