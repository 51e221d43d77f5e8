//! `forebay journal status`.

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::site::LANES;
use super::{Common, Site};
use crate::amount::{bytes, counted, number, time};
use crate::journal::{Hole, JournalFiles};
use crate::lane::OfflineLane;
use crate::replicate::ReplicationControl;
use crate::replicate::shut_out_words;

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
    let of_box = |key: &str| site.running.as_ref().map_or(json!([]), |running| running[key].clone());
    let status = json!({
        "directory": site.config.journal.directory,
        "running": pid.is_some(),
        "pid": pid,
        "lanes": lanes,
        "replays": of_box("replays"),
        "imports": of_box("imports"),
        "imported": of_box("imported"),
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
        Some(running) => kafka_says(&running["journal"], first..next, &holes),
        None => {
            let confirmed = switch.and_then(|it| it.recall_complete(name, &files.epoch().to_string()));
            remembered(files, confirmed.unwrap_or(0), &holes)
        }
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

/// What the running box knows of what Kafka has, in records that are there.
fn kafka_says(journal: &Json, all: Range<u64>, holes: &[Hole]) -> Json {
    let confirmed = journal["confirmed"].as_u64().unwrap_or(0).clamp(all.start, all.end);
    let there = |range: Range<u64>| {
        let missing: u64 = holes.iter().map(|hole| within(&hole.offsets, &range)).sum();
        range.end - range.start - missing
    };
    let rest = there(confirmed..all.end);
    let perhaps = journal["perhaps_sent_records"].as_u64().unwrap_or(0).min(rest);
    let confirmed = there(all.start..confirmed);
    json!({ "heard": journal["heard"], "confirmed": confirmed, "perhaps": perhaps, "not_sent": rest - perhaps })
}

/// How many of these offsets lie in that range.
fn within(offsets: &Range<u64>, range: &Range<u64>) -> u64 {
    offsets.end.min(range.end).saturating_sub(offsets.start.max(range.start))
}

/// The same of a box that does not run.
fn remembered(files: &JournalFiles, confirmed: u64, holes: &[Hole]) -> Json {
    let mut known = files.known(0..u64::MAX, confirmed);
    for hole in holes {
        let missing = files.known(hole.offsets.clone(), confirmed);
        known.confirmed -= missing.confirmed;
        known.perhaps -= missing.perhaps;
        known.unsent -= missing.unsent;
    }
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
    for done in status["imported"].as_array().into_iter().flatten() {
        text += &format!("\nimported: {}\n", imported_words(done));
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
    let shut_out = &lane["replication"]["shut_out"];
    if let Some(words) = shut_out_words(
        shut_out.as_u64().unwrap_or(0),
        lane["replication"]["shut_out_us"].as_i64().unwrap_or(0),
    ) {
        lines.push(format!("{:<10} {words}", ""));
    }
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
    format!("{:<10} MISSING: {records} (offsets {from} to {}): no file holds them, {place}", "", to - 1)
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
    if perhaps > 0 {
        parts.push(format!("of {} it is not known until the box reaches Kafka", number(perhaps)));
    }
    if not_sent > 0 {
        parts.push(format!("{} never sent", counted(not_sent, "was", "were")));
    }
    let open = parts.join(", ") + &oldest;
    if confirmed > 0 { format!("Kafka has {}; {open}", number(confirmed)) } else { open }
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
    let since = import["since_us"].as_i64().map(|us| format!(" since {}", time(us))).unwrap_or_default();
    let text = import["text"].as_str().filter(|text| !text.is_empty());
    let state = match (import["state"].as_str(), text) {
        (Some("sending"), Some(text)) => format!("being sent{since}; {text}"),
        (Some("held"), Some(text)) => format!("HELD{since}: {text}"),
        (Some("waiting"), Some(text)) => format!("waits{since}: {text}"),
        _ => "waits for its turn".to_owned(),
    };
    let again = import["next_try_us"].as_i64().map(|us| format!("; tried again at {}", time(us)));
    let had = import["had"].as_u64().filter(|had| *had > 0);
    let had = had.map(|had| format!(" ({} of them were there before)", number(had)));
    format!(
        "{} of {}: {} of {} in Kafka{}; {state}{}",
        import["lane"].as_str().unwrap_or_default(),
        import["edge"].as_str().unwrap_or_default(),
        number(next - from),
        counted(to - from, "record", "records"),
        had.unwrap_or_default(),
        again.unwrap_or_default(),
    )
}

/// One that is done.
fn imported_words(done: &Json) -> String {
    let count = |key: &str| done[key].as_u64().unwrap_or(0);
    let had = match count("had") {
        0 => String::new(),
        had if had == count("records") => ", had all of them before: nothing was sent again".to_owned(),
        had => format!(", had {} of them before", number(had)),
    };
    format!(
        "{} of {}: Kafka has all {} since {}{had}",
        done["lane"].as_str().unwrap_or_default(),
        done["edge"].as_str().unwrap_or_default(),
        counted(count("records"), "record", "records"),
        time(done["done_us"].as_i64().unwrap_or(0)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_waits_says_what_for_and_since_when() {
        let mut import = json!({
            "lane": "telemetry", "edge": "box-1", "from": 100, "to": 1100, "next_offset": 100, "had": null,
            "since_us": 1_795_277_347_000_000_i64, "next_try_us": null, "state": "waiting", "text": "",
        });
        assert_eq!(
            import_words(&import),
            "telemetry of box-1: 0 of 1,000 records in Kafka; waits for its turn"
        );
        import["text"] = "sending is paused".into();
        import["next_try_us"] = 1_795_277_407_000_000_i64.into();
        let words = import_words(&import);
        assert!(
            words.contains(
                "; waits since 2026-11-21T16:09:07Z: sending is paused; tried again at 2026-11-21T16:10:07Z"
            ),
            "{words}"
        );
        import["state"] = "held".into();
        import["had"] = 300.into();
        import["next_offset"] = 400.into();
        let words = import_words(&import);
        assert!(
            words.contains("300 of 1,000 records in Kafka (300 of them were there before); HELD since"),
            "{words}"
        );
        let done = json!({
            "lane": "events", "edge": "box-1", "records": 7, "had": 7, "done_us": 1_795_277_347_000_000_i64,
        });
        assert!(imported_words(&done).ends_with("had all of them before: nothing was sent again"));
    }
}
