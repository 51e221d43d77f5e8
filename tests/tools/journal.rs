//! `forebay journal status`, `verify` and `trim`.

use std::path::Path;
use std::time::Duration;

use forebay::event::{Events, Kind};
use forebay::lane::{Item, Lane, LaneOptions, OfflineLane, Opened};

use super::daemon::{Daemon, append, batch, contents, machines};

/// Segment files of a folder, oldest first.
fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = contents(folder).into_iter().map(|(path, _)| path);
    all.filter(|path| path.extension().is_some_and(|extension| extension == "segment")).collect()
}

#[test]
fn status_says_what_is_there_and_changes_nothing() {
    let mut daemon = Daemon::new("box-1", None, "away");
    let (success, text) = daemon.journal(&["status"]).unwrap();
    assert!(success && text.contains("forebay does not run"), "{text}");
    assert!(text.contains("telemetry  nothing was ever stored"), "{text}");

    daemon.fill(0, 20_000);
    let before = contents(&daemon.state());
    let (_, text) = daemon.journal(&["status"]).unwrap();
    assert!(text.contains("20,000 records (offsets 0 to 19999)"), "{text}");
    assert!(text.contains("20,000 not in Kafka yet"), "nothing of it was ever given away: {text}");
    let (_, json) = daemon.journal_json(&["status"]);
    assert_eq!((&json["running"], &json["lanes"][0]["next_offset"]), (&false.into(), &20_000.into()));
    assert!(daemon.journal(&["verify"]).unwrap().0);
    assert_eq!(contents(&daemon.state()), before, "looking changes no byte");

    daemon.start();
    let (_, json) = daemon.journal_json(&["status"]);
    assert_eq!((&json["running"], &json["lanes"][0]["next_offset"]), (&true.into(), &20_000.into()));
    let (success, text) = daemon.journal(&["verify"]).unwrap();
    assert!(success && text.contains("20,000 records read"), "{text}");
}

#[test]
fn verify_finds_every_flipped_byte_and_names_the_file() {
    let daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 15_000);
    let files = contents(&daemon.lane("telemetry"));
    assert!(files.len() > 3, "{}", files.len());
    let newest = segments(&daemon.lane("telemetry")).pop().unwrap();
    for (path, whole) in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 7 + 1).chain([whole.len() - 1]) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x20;
            std::fs::write(path, &damaged).unwrap();
            let (success, json) = daemon.journal_json(&["verify"]);
            let lane = &json["lanes"][0];
            // In the last write of the newest file damage looks like a write that was cut off.
            let torn = *path == newest && lane["torn_bytes"].as_u64().unwrap() > 0;
            let named = lane["damage"].as_array().unwrap().iter().any(|it| it["file"] == name);
            assert!(torn || (!success && named), "{name} byte {at}: {json}");
        }
        std::fs::write(path, whole).unwrap();
    }
    assert!(daemon.journal(&["verify"]).unwrap().0, "whole again");

    // In words: file, place, how many records, when, which machines.
    let second = &segments(&daemon.lane("telemetry"))[1];
    let mut bytes = std::fs::read(second).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(second, bytes).unwrap();
    let (success, text) = daemon.journal(&["verify"]).unwrap();
    assert!(!success);
    for words in ["DAMAGED 0000", "checksum mismatch", "records are lost", "of between 20", "box-1-press"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn trim_never_loses_unsent_data_unasked_and_records_what_it_is_asked_to_lose() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 20_000);
    let files = segments(&daemon.lane("telemetry"));
    assert!(files.len() > 3, "{}", files.len());
    for running in [false, true] {
        if running {
            daemon.start();
        }
        let (_, json) = daemon.journal_json(&["trim"]);
        assert_eq!(json["segments"], 0, "nothing was sent");
        let refused = daemon.journal(&["trim", "--before", "now"]).unwrap_err();
        assert!(refused.contains("Kafka does not have") && refused.contains("--unsent"), "{refused}");
        let left = segments(&daemon.lane("telemetry"));
        let first = left[0].file_name().unwrap().to_str().unwrap().to_owned();
        let next = left[1].file_name().unwrap().to_str().unwrap();
        let end = u64::from_str_radix(&next[17..33], 16).unwrap();
        // One file goes; the offset lies inside the next one, which stays.
        let (_, json) = daemon.journal_json(&["trim", "--before-offset", &(end + 1).to_string(), "--unsent"]);
        assert_eq!((&json["segments"], &json["first_offset"]), (&1.into(), &end.into()));
        let from = u64::from_str_radix(&first[17..33], 16).unwrap();
        assert_eq!(json["unsent_records"], end - from);
        assert!(!left[0].exists() && left[1].exists());
    }
    daemon.stop();
    let events = OfflineLane::open(&daemon.lane("events"), None);
    let mut events = events.unwrap();
    // A removal may be told again after a restart; it is the same one then.
    let mut told = std::collections::BTreeSet::new();
    while let Item::Record(record) = events.read() {
        let forebay::lane::Body::Event(json) = record.body else { continue };
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        if json["kind"] == "gap" && json["data"]["cause"] == "operator" {
            told.insert(json["data"]["from_offset"].as_u64());
        }
    }
    assert_eq!(told.len(), 2, "each loss is a gap");
}

#[test]
fn commands_say_what_is_wrong_and_end_with_1() {
    let daemon = Daemon::new("box-1", None, "away");
    for (arguments, words) in [
        (&["pause"][..], "no forebay runs here"),
        (&["journal", "trim", "--before", "soon"], "is no time"),
        (&["journal", "verify", "--lane", "none"], "there is no lane \"none\", only telemetry and events"),
        (&["journal", "export", "--to", "/nowhere/at/all"], "is no folder: is the stick mounted?"),
    ] {
        let output = daemon.command(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn reading_beside_a_writer_that_thins_and_removes_never_sees_damage() {
    const TOTAL: i64 = 60_000;
    let daemon = Daemon::new("box-1", None, "away");
    let directory = daemon.lane("telemetry");
    let options = LaneOptions {
        budget_bytes: 40 << 10,
        full_for: Duration::ZERO,
        sync_interval: Duration::from_millis(2),
        sync_bytes: 2 << 10,
        ..LaneOptions::new("telemetry", &directory, "Werk1/box-1")
    };
    let (events, mut raised) = Events::new();
    let Opened { lane, writer, .. } = Lane::open(options, events).unwrap();
    let (synced, status) = (writer.synced(), writer.status());
    let writing = std::thread::spawn(move || {
        let machines = machines("box-1");
        (0..TOTAL).for_each(|number| append(&writer, batch(&machines, number)));
        lane.close()
    });
    let (mut looks, mut removed, mut last) = (0, 0, 0);
    while !writing.is_finished() || looks == 0 {
        let to = *synced.borrow();
        // Before the first block there is nothing to be read.
        let Ok(mut beside) = OfflineLane::open(&directory, Some(to)) else { continue };
        for segment in beside.files().segments() {
            let bad = beside.files().check(&segment, |_| {}).unwrap().unwrap_or_default();
            assert!(bad.is_empty(), "{bad:?}");
        }
        loop {
            match beside.read() {
                Item::Record(record) => last = record.offset,
                Item::Removed(..) => removed += 1,
                Item::Damage(damage) => panic!("{damage:?}"),
                Item::Unreadable(unreadable) => panic!("{unreadable}"),
                Item::End => break,
            }
        }
        assert!(last < to || to == 0, "{last} is not synced yet, only what is before {to}");
        looks += 1;
    }
    assert_eq!(writing.join().unwrap(), 0);
    let thinned = std::iter::from_fn(|| raised.try_recv().ok()).filter(|it| it.kind == Kind::Thinned).count();
    let evicted = status.borrow().evicted_records;
    println!("{looks} looks, {removed} times something vanished, {thinned} thinned, {evicted} evicted");
    assert!(looks > 5 && thinned > 0 && evicted > 0);
}
