//! A backlog that goes through another box, with real Kafka: nothing is lost and nothing doubled.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::daemon::{Daemon, START_US, STEP_US, contents, noise, wait_committed};
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, get, wait_for};

/// The only folder in `stick`.
pub fn exported(stick: &Path) -> std::path::PathBuf {
    let mut entries = std::fs::read_dir(stick).unwrap();
    let folder = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    folder
}

/// Waits until nothing that was imported waits any more.
pub fn wait_imported(daemon: &Daemon) {
    wait_for("end of the import", Duration::from_secs(120), || {
        let status = daemon.client().get("/v1/status").ok()?;
        status["imports"].as_array()?.is_empty().then_some(())
    });
}

/// How many records of the backlog Kafka has, as far as the box knows.
pub fn sent(daemon: &Daemon) -> u64 {
    let status = daemon.status();
    let lanes = status["imports"].as_array().unwrap().iter();
    lanes.filter(|it| it["lane"] == "telemetry").filter_map(|it| it["next_offset"].as_u64()).sum()
}

/// Every batch of `edge` once, in order for each machine, with its values.
pub fn assert_once(read: &[Consumed], edge: &str, total: u64) {
    let mut last = BTreeMap::new();
    let mut offsets: Vec<u64> = Vec::new();
    for record in read.iter().filter(|record| record.headers["edge"] == edge) {
        let offset = record.offset();
        let number = i64::try_from(offset).unwrap();
        let before = last.insert(record.key.clone(), offset);
        assert!(before < Some(offset), "{edge}: {offset} behind {before:?}");
        let json = record.json();
        assert_eq!(json["samples"][0]["value"], number);
        let near = (json["samples"][1]["value"].as_f64().unwrap() - noise(number)).abs();
        assert!(near < 1e-12, "{offset}: {near}");
        assert_eq!(record.timestamp, (*START_US + number * STEP_US) / 1000);
        offsets.push(offset);
    }
    offsets.sort_unstable();
    assert_eq!(offsets.len() as u64, total, "{edge}");
    assert_eq!(offsets, (0..total).collect::<Vec<_>>(), "{edge}");
}

#[test]
fn a_backlog_goes_through_other_boxes_exactly_once() {
    const EXPORTED: i64 = 12_000;
    const LATER: i64 = 15_000;
    let cluster = Cluster::shared();
    cluster.create_topics("portable");
    let brokers = cluster.brokers();
    let stick = tempfile::tempdir().unwrap();

    // Box A reaches no Kafka; its backlog is taken away while it runs.
    let mut dark = Daemon::new("box-a", None, "portable");
    dark.fill(0, EXPORTED);
    dark.start();
    let (_, json) =
        dark.journal_json(&["export", "--format", "backlog", "--to", stick.path().to_str().unwrap()]);
    let telemetry = &json["lanes"][0];
    assert_eq!((&telemetry["from"], &telemetry["to"]), (&0.into(), &EXPORTED.into()), "{json}");
    dark.stop();
    dark.fill(EXPORTED, LATER);
    let folder = exported(stick.path());
    let folder = folder.to_str().unwrap();
    // What has left the box in full must not be thinned: the journal has noted it (one range).
    let handed = std::fs::read(dark.lane("telemetry").join("handed")).unwrap();
    assert_eq!(handed[10..12], [1, 0]);

    // Box B has data of its own, imports, and is killed in the middle.
    let mut other = Daemon::new("box-b", Some(&brokers), "portable");
    other.fill(0, 1000);
    other.start();
    let (_, text) = other.journal(&["import", folder]).unwrap();
    assert!(text.contains("12,000 records") && text.contains("The box sends it now"), "{text}");
    let at = wait_for("part of the backlog in Kafka", PATIENCE, || {
        Some(sent(&other)).filter(|sent| *sent >= 1000)
    });
    other.kill();
    println!("killed at {at}");
    assert!(at < EXPORTED.unsigned_abs(), "the kill came too late");
    assert!(other.state().join("import").read_dir().unwrap().count() > 0, "it goes on after the next start");

    // Box C gets the same stick, and both send at once.
    let mut third = Daemon::new("box-c", Some(&brokers), "portable");
    third.start();
    other.start();
    third.journal(&["import", folder]).unwrap();
    let (_, again) = other.journal_json(&["import", folder]);
    assert!(
        again["backlogs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["lane"] != "telemetry" || it["new"] == false)
    );
    wait_imported(&third);
    wait_imported(&other);
    // Once more, when everything has been sent.
    other.journal(&["import", folder]).unwrap();
    wait_imported(&other);
    // The box may not have looked yet when it was asked.
    wait_for("removal of what is done", PATIENCE, || {
        (std::fs::read_dir(other.state().join("import")).unwrap().count() == 0).then_some(())
    });

    // Box A comes back and sends the rest.
    dark.configure(Some(&brokers), "portable");
    dark.start();
    wait_committed(&dark, LATER.unsigned_abs(), Duration::from_secs(120));
    wait_committed(&other, 1000, PATIENCE);
    for daemon in [&mut dark, &mut other, &mut third] {
        daemon.stop();
    }
    let read = consume(&brokers, &["portable.telemetry"], true, Duration::from_secs(3));
    assert_once(&read, "box-a", LATER.unsigned_abs());
    assert_once(&read, "box-b", 1000);
    assert!(read.iter().all(|record| record.headers["edge"] != "box-c"));
}

#[test]
fn an_import_never_passes_over_records_that_nobody_has_sent() {
    let cluster = Cluster::shared();
    cluster.create_topics("held");
    let brokers = cluster.brokers();
    let stick = tempfile::tempdir().unwrap();
    let (first, second) = (stick.path().join("first"), stick.path().join("second"));
    let dark = Daemon::new("box-a", None, "held");
    dark.fill(0, 12_000);
    for folder in [&first, &second] {
        std::fs::create_dir(folder).unwrap();
        dark.journal(&["export", "--format", "backlog", "--to", folder.to_str().unwrap()]).unwrap();
        // The disk had to be made free after the first export.
        let (_, trimmed) = dark.journal_json(&["trim", "--before-offset", "10000", "--unsent"]);
        println!("{trimmed}");
        if *folder == first {
            assert!(trimmed["perhaps_sent_records"].as_u64() > Some(0), "{trimmed}");
            dark.fill(12_000, 14_000);
        }
    }
    let mut other = Daemon::new("box-b", Some(&brokers), "held");
    other.start();
    // The later one first: sending it would leave the earlier records out for ever.
    other.journal(&["import", exported(&second).to_str().unwrap()]).unwrap();
    let held = wait_for("held import", PATIENCE, || {
        let status = other.status();
        let import = status["imports"].as_array()?.iter().find(|it| it["lane"] == "telemetry")?.clone();
        (import["state"] == "held").then_some(import)
    });
    assert!(held["text"].as_str().unwrap().contains("Import the backlog that has them first"), "{held}");
    let (_, words) = other.journal(&["status"]).unwrap();
    assert!(words.contains("HELD since "), "{words}");
    let page = get(&other.page(), "/?lang=en").unwrap();
    assert!(page.contains("backlog of box-a is held"), "{page}");
    let api: serde_json::Value =
        serde_json::from_str(&get(&other.page(), "/api/v1/status.json").unwrap()).unwrap();
    assert_eq!(api["to_it"]["numbers"]["errands"][0]["kind"], "import", "{api}");
    other.journal(&["import", exported(&first).to_str().unwrap()]).unwrap();
    wait_imported(&other);
    other.stop();
    let read = consume(&brokers, &["held.telemetry"], true, Duration::from_secs(3));
    assert_once(&read, "box-a", 14_000);
}

#[test]
fn what_comes_from_a_stick_is_checked_and_leaves_nothing_half() {
    let dark = Daemon::new("box-a", None, "away");
    dark.fill(0, 3000);
    let other = Daemon::new("box-b", None, "away");
    let stick = tempfile::tempdir().unwrap();
    dark.journal(&["export", "--format", "backlog", "--to", stick.path().to_str().unwrap()]).unwrap();
    let folder = exported(stick.path());
    let imports = other.state().join("import");
    for (path, whole) in contents(&folder.join("telemetry")) {
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let refused = other.journal(&["import", folder.to_str().unwrap()]);
            let is_manifest = path.ends_with("manifest.json");
            assert!(refused.is_err() || is_manifest, "{} byte {at}", path.display());
            let left = std::fs::read_dir(&imports).map_or(0, Iterator::count);
            assert!(left == 0 || (is_manifest && refused.is_ok()), "{left} left of {}", path.display());
            std::fs::remove_dir_all(&imports).ok();
        }
        std::fs::write(&path, &whole).unwrap();
    }
    let nothing = other.journal(&["import", stick.path().to_str().unwrap()]).unwrap_err();
    assert!(nothing.contains("holds no backlog"), "{nothing}");
    let (_, text) = other.journal(&["import", folder.to_str().unwrap()]).unwrap();
    assert!(text.contains("3,000 records") && text.contains("sent after the next start"), "{text}");
}
