//! `forebay journal status`.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::bytes::{bytes, counted, number, time};
use super::site::LANES;
use super::{Common, Site};
use crate::lane::OfflineLane;
use crate::replicate::shut_out_words;

/// Shows both lanes.
pub fn run(common: &Common, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&common.config)?;
    let mut lanes = Vec::new();
    for lane in LANES {
        let synced = site.lane(lane).and_then(|lane| lane["synced"].as_u64());
        lanes.push(match OfflineLane::open(&site.directory(lane), synced) {
            Ok(found) => describe(&site, lane, &found),
            Err(error) if error.is_absent() => json!({ "name": lane, "exists": false }),
            Err(error) => return Err(error.into()),
        });
    }
    let pid = site.running.as_ref().and_then(|running| running["pid"].as_u64());
    let of_box = |key: &str| site.running.as_ref().map_or(json!([]), |running| running[key].clone());
    let status = json!({
        "directory": site.config.journal.directory,
        "running": pid.is_some(),
        "pid": pid,
        "lanes": lanes,
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

fn describe(site: &Site, name: &str, found: &OfflineLane) -> Json {
    let files = found.files();
    let segments = files.segments();
    let committed = site.committed(name);
    let (first, next) = (files.first_offset(), files.next_offset());
    let unsent = committed.map(|committed| next.saturating_sub(committed.max(first)));
    let oldest_us = segments.iter().map(|segment| segment.created_us).find(|us| *us != 0);
    json!({
        "name": name,
        "exists": true,
        "epoch": files.epoch().to_string(),
        "files": segments.len(),
        "bytes": segments.iter().map(|segment| segment.bytes).sum::<u64>(),
        "budget_bytes": if name == "events" { site.config.events.budget_bytes } else { site.config.telemetry.budget_bytes },
        "first_offset": first,
        "next_offset": next,
        "oldest_us": oldest_us,
        "committed": committed,
        "unsent": unsent,
        "oldest_unsent_us": site.lane(name).map(|lane| lane["journal"]["oldest_unsent_us"].clone()),
        "error": site.lane(name).map(|lane| lane["journal"]["error"].clone()),
        "replication": site.lane(name).map(|lane| lane["replication"].clone()),
        "paused": site.lane(name).map(|lane| lane["paused"].clone()),
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
    let records = match next.saturating_sub(first) {
        0 => "no records".to_owned(),
        records => format!("{} (offsets {first} to {})", counted(records, "record", "records"), next - 1),
    };
    let unsent = match (lane["unsent"].as_u64(), lane["oldest_unsent_us"].as_i64()) {
        (Some(0), _) => "Kafka has all of them".to_owned(),
        (Some(unsent), Some(us)) => {
            format!("{} not in Kafka yet, the oldest of {}", number(unsent), time(us))
        }
        (Some(unsent), None) => format!("{} not in Kafka yet", number(unsent)),
        (None, _) => "how many of them Kafka has is known only while forebay runs and reaches it".to_owned(),
    };
    lines.push(format!("{:<10} {records}; {unsent}", ""));
    if let Some(text) = lane["replication"]["text"].as_str() {
        // The replicator may still be busy with what it had begun.
        let paused = match (lane["paused"]["by"].as_str(), lane["paused"]["since_us"].as_i64()) {
            (Some(by), Some(us)) if lane["replication"]["state"] != "paused" => {
                format!("paused by {by} since {}; before that: ", time(us))
            }
            _ => String::new(),
        };
        lines.push(format!("{:<10} {paused}{text}", ""));
    }
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
