//! History sent once more, with real Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::daemon::{Daemon, START_US, STEP_US, noise, wait_committed};
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, wait_for};

const TOTAL: i64 = 12_000;

fn at(number: i64) -> String {
    forebay::clock::rfc3339(*START_US + number * STEP_US)
}

/// `forebay replay <arguments> --json`: what the box answers, or what it says against it.
fn replay(daemon: &Daemon, arguments: &[&str]) -> Result<Json, String> {
    let output = daemon.command(&[&["replay"], arguments, &["--json"]].concat());
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn wait_done(daemon: &Daemon, id: &str) -> Json {
    wait_for("end of the replay", Duration::from_secs(120), || {
        let job = daemon.client().get(&format!("/v1/replay/{id}")).ok()?;
        (job["state"] == "done").then_some(job)
    })
}

/// Offsets of the records of this replay, of live records for `None`, in the order in which each
/// machine has them; checks their values.
fn offsets(read: &[Consumed], id: Option<&str>) -> Vec<u64> {
    let mut last = BTreeMap::new();
    let mut found = Vec::new();
    let of = |record: &&Consumed| record.headers.get("replay").map(String::as_str) == id;
    for record in read.iter().filter(of) {
        assert_eq!(record.headers.get("delivery").map(String::as_str), id.map(|_| "replay"));
        let offset = record.offset();
        assert!(last.insert(record.key.clone(), offset) < Some(offset), "{id:?}: {offset} out of order");
        let json = record.json();
        assert_eq!(json["samples"][0]["value"], offset);
        let near = json["samples"][1]["value"].as_f64().unwrap() - noise(i64::try_from(offset).unwrap());
        assert!(near.abs() < 1e-12, "{offset}: {near}");
        found.push(offset);
    }
    found.sort_unstable();
    found
}

#[test]
fn history_is_sent_again_exactly_once_for_each_id() {
    let cluster = Cluster::shared();
    cluster.create_topics("again");
    let brokers = cluster.brokers();
    let mut daemon = Daemon::new("box-1", Some(&brokers), "again");
    // One file: the newest stays, although Kafka has all of it.
    daemon.fill_in(64 << 20, 0, TOTAL);
    daemon.start();
    wait_committed(&daemon, TOTAL.unsigned_abs(), Duration::from_secs(120));

    // Killed in the middle, it goes on by itself.
    let range = ["--from", &at(1000), "--to", &at(11_000), "--id", "fire"];
    let job = replay(&daemon, &[&range, &["--detach"][..]].concat()).unwrap();
    assert_eq!(job["order"]["id"], "fire");
    let read_to = wait_for("part of the replay", PATIENCE, || {
        let job = daemon.client().get("/v1/replay/fire").ok()?;
        (job["records"].as_u64()? >= 500).then(|| job["next_offset"].as_u64().unwrap())
    });
    daemon.kill();
    println!("killed at {read_to}");
    assert!(read_to < 11_000, "the kill came too late");
    daemon.start();
    wait_done(&daemon, "fire");
    // The same order again is the same replay; another one under its id is refused.
    let again = replay(&daemon, &range).unwrap();
    assert_eq!(again["state"], "done");
    let other = replay(&daemon, &["--from", &at(0), "--to", &at(10), "--id", "fire"]).unwrap_err();
    assert!(other.contains("choose another id"), "{other}");

    // Another id sends again; only one machine, and the command waits.
    let device = ["--device", "box-1-press", "--from", &at(2000), "--to", &at(2100), "--id", "press"];
    let job = replay(&daemon, &device).unwrap();
    assert_eq!((&job["state"], &job["records"], &job["missing"]), (&json!("done"), &json!(50), &json!(0)));
    let empty = replay(&daemon, &["--device", "nobody", "--from", &at(0), "--id", "empty"]).unwrap();
    assert_eq!((&empty["state"], &empty["records"]), (&json!("done"), &json!(0)));
    let listed = daemon.command(&["replay", "--list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("press: telemetry from") && listed.contains("done, 50 records sent"), "{listed}");

    daemon.stop();
    let read = consume(&brokers, &["again.telemetry"], true, Duration::from_secs(3));
    assert_eq!(offsets(&read, None), (0..TOTAL.unsigned_abs()).collect::<Vec<_>>());
    assert_eq!(offsets(&read, Some("fire")), (1000..11_000).collect::<Vec<_>>());
    assert_eq!(offsets(&read, Some("press")), (2000..2100).step_by(2).collect::<Vec<_>>());
    assert_eq!(read.len(), 12_000 + 10_000 + 50);
}

#[test]
fn what_is_no_longer_there_is_refused_and_a_replay_can_be_cancelled() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 9000);
    daemon.start();
    daemon.journal(&["trim", "--before-offset", "6000", "--unsent"]).unwrap();
    let gone = replay(&daemon, &["--from", &at(0)]).unwrap_err();
    let first = daemon.status()["lanes"][0]["journal"]["first_offset"].as_i64().unwrap();
    let oldest = at(first);
    assert!(gone.contains("is no longer on this box") && gone.contains(&oldest), "{oldest}: {gone}");
    for (arguments, words) in [
        (&["--from", "1h ago", "--to", "2h ago"][..], "ends before it begins"),
        (&["--from", &oldest, "--id", "../x"], "an id is"),
        (&["--from", &oldest, "--lane", "none"], "there is no lane"),
        (&["--cancel", "none"], "there is no replay with this id"),
    ] {
        let said = replay(&daemon, arguments).unwrap_err();
        assert!(said.contains(words), "{words}: {said}");
    }
    // Kafka is away, so it waits until it is cancelled.
    replay(&daemon, &["--from", &oldest, "--id", "slow", "--detach"]).unwrap();
    wait_for("begin", PATIENCE, || {
        (daemon.client().get("/v1/replay/slow").ok()?["state"] == "sending").then_some(())
    });
    let job = replay(&daemon, &["--cancel", "slow"]).unwrap();
    assert_eq!(job["state"], "cancelled");
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.client().get("/v1/replay/slow").unwrap()["state"], "cancelled", "also after a restart");
}
