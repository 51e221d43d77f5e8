//! Imported backlogs that cannot be sent, or need not be, with real Kafka.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::backlog::{assert_once, exported, sent, wait_imported};
use super::daemon::{Daemon, wait_committed};
use crate::kafka_cluster::{Cluster, SharedCluster, consume};
use crate::support::{PATIENCE, get, wait_for};

/// Exports what `daemon` has not sent to a new folder below `stick`.
fn export(daemon: &Daemon, stick: &Path, name: &str) -> PathBuf {
    let to = stick.join(name);
    std::fs::create_dir(&to).unwrap();
    daemon.journal(&["export", "--format", "backlog", "--to", to.to_str().unwrap()]).unwrap();
    exported(&to)
}

fn import(daemon: &Daemon, folder: &Path, more: &[&str]) -> Result<(bool, String), String> {
    daemon.journal(&[&["import", folder.to_str().unwrap()], more].concat())
}

/// What the box says of the telemetry that it has imported.
fn imported(daemon: &Daemon) -> Option<Json> {
    let status = daemon.client().get("/v1/status").ok()?;
    status["imports"].as_array()?.iter().find(|it| it["lane"] == "telemetry").cloned()
}

/// Id and epoch of the producer that has this transactional id: another one has announced itself
/// when they change while nothing is sent.
fn producer(cluster: &SharedCluster, id: &str) -> Vec<String> {
    let words = ["describe", "--transactional-id", id];
    let said = cluster.tool(0, "org.apache.kafka.tools.TransactionsCommand", &words);
    let mut lines = said.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let heads = lines.find(|line| line.iter().any(|word| word == "ProducerId")).unwrap();
    let values = lines.next().unwrap();
    let wanted = heads.iter().zip(values).filter(|(head, _)| head.starts_with("Producer"));
    let found: Vec<String> = wanted.map(|(_, value)| value).collect();
    assert_eq!(found.len(), 2, "{said}");
    found
}

#[test]
fn a_held_backlog_leaves_the_box_it_comes_from_alone() {
    const ID: &str = "forebay.Werk1.box-1.telemetry";
    let cluster = Cluster::shared();
    cluster.create_topics("alone-a");
    cluster.create_topics("alone-b");
    let brokers = cluster.brokers();
    let stick = tempfile::tempdir().unwrap();

    // The first records are lost, the others exported; then the box lives again.
    let mut first = Daemon::new("box-1", None, "alone-a");
    first.fill(0, 12_000);
    first.journal(&["trim", "--before-offset", "10000", "--unsent"]).unwrap();
    let folder = export(&first, stick.path(), "first");
    first.configure(Some(&brokers), "alone-a");
    first.start();
    wait_committed(&first, 12_000, Duration::from_secs(120));
    let before = producer(&cluster, ID);

    // Another box, other topics: that is asked for, not done.
    let mut second = Daemon::new("box-2", Some(&brokers), "alone-b");
    second.start();
    let refused = import(&second, &folder, &[]).unwrap_err();
    assert!(refused.contains("box-1 sends to the topics alone-a.*, this box to alone-b.*"), "{refused}");
    assert!(refused.contains("--other-topics") && imported(&second).is_none(), "{refused}");
    let (_, said) = import(&second, &folder, &["--other-topics"]).unwrap();
    assert!(said.contains("telemetry of box-1: HELD: before this backlog"), "{said}");
    let held = imported(&second).unwrap();
    let from = held["from"].as_u64().unwrap();
    assert!(from > 1, "{held}");
    let text = held["text"].as_str().unwrap();
    assert!(
        text.contains(&format!("{from} records (0 to {}) of telemetry of box-1 are missing", from - 1)),
        "{text}"
    );
    assert!(text.contains("alone-b.* have nothing at all") && text.contains("--accept-gap"), "{text}");

    // However often it is looked at, nobody is shut out, and what is said stays.
    for _ in 0..3 {
        let looked = imported(&second).unwrap()["looked_us"].clone();
        second.client().post("/v1/import", &json!({})).unwrap();
        let again =
            wait_for("another look", PATIENCE, || imported(&second).filter(|it| it["looked_us"] != looked));
        assert_eq!((&again["state"], &again["text"]), (&json!("held"), &held["text"]));
        assert_eq!(again["since_us"], held["since_us"]);
    }
    assert_eq!(producer(&cluster, ID), before, "somebody has announced himself as box-1");
    assert_eq!(first.status()["lanes"][0]["replication"]["shut_out"], 0);
    let (_, words) = second.journal(&["status"]).unwrap();
    assert!(words.contains("HELD since 20") && !words.contains("later by itself"), "{words}");
    assert!(
        second.log().contains("is held: before this backlog")
            && !second.log().contains("sent later by itself")
    );
    let page = get(&second.page(), "/?lang=en").unwrap();
    assert!(page.contains("backlog of box-1 is held"), "{page}");

    // Only when it is really to be sent the name is taken.
    import(&second, &folder, &["--other-topics", "--accept-gap"]).unwrap();
    wait_imported(&second);
    assert_ne!(producer(&cluster, ID), before);
    first.stop();
    second.stop();
    let read = consume(&brokers, &["alone-b.telemetry"], true, Duration::from_secs(3));
    let mut offsets: Vec<u64> = read.iter().map(|record| record.offset()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (from..12_000).collect::<Vec<_>>());
}

#[test]
fn what_kafka_has_of_a_backlog_is_said() {
    let cluster = Cluster::shared();
    cluster.create_topics("known");
    let brokers = cluster.brokers();
    let stick = tempfile::tempdir().unwrap();
    let dark = Daemon::new("box-a", None, "known");
    dark.fill(0, 2000);
    let early = export(&dark, stick.path(), "early");
    dark.fill(2000, 3000);
    let late = export(&dark, stick.path(), "late");

    // Of the box itself, whose journal holds all of it.
    let (done, said) = import(&dark, &late, &[]).unwrap();
    assert!(!done && said.contains("not taken in: it is this box's own"), "{said}");
    assert!(!dark.state().join("import").exists());

    let mut other = Daemon::new("box-b", Some(&brokers), "known");
    other.start();
    import(&other, &early, &[]).unwrap();
    wait_imported(&other);
    let (_, said) = import(&other, &late, &[]).unwrap();
    assert!(said.contains("Kafka has 2,000 records of it already, the rest is sent"), "{said}");
    wait_imported(&other);
    let (_, words) = other.journal(&["status"]).unwrap();
    assert!(words.contains("telemetry of box-a: Kafka has all 3,000 records since 20"), "{words}");
    assert!(words.contains(", had 2,000 of them before"), "{words}");
    let (_, json) = other.journal_json(&["import", late.to_str().unwrap()]);
    let telemetry = json["backlogs"].as_array().unwrap().iter().find(|it| it["lane"] == "telemetry").unwrap();
    assert_eq!((&telemetry["done"], &telemetry["in_kafka_already"]), (&json!(true), &json!(3000)), "{json}");
    let (_, said) = import(&other, &late, &[]).unwrap();
    assert!(said.contains("telemetry of box-a: Kafka has all of it already"), "{said}");
    assert!(!said.contains("sends it now"), "{said}");
    assert!(
        other.log().contains("was in Kafka already, or told there as lost: nothing of it was sent again")
    );
    other.stop();
    let read = consume(&brokers, &["known.telemetry"], true, Duration::from_secs(3));
    assert_once(&read, "box-a", 3000);
}

/// Every offset of `range` at least once, what is there twice with the same content, and how many
/// records that are.
fn at_least_once(read: &[crate::kafka_cluster::Consumed], range: std::ops::Range<u64>) -> usize {
    let mut found = std::collections::BTreeMap::new();
    for record in read {
        let before = found.insert(record.offset(), &record.value);
        assert!(before.is_none_or(|before| *before == record.value), "{} differs", record.offset());
    }
    assert_eq!(found.into_keys().collect::<Vec<_>>(), range.collect::<Vec<_>>());
    read.len()
}

#[test]
fn at_least_once_imports_and_replays_everything_over_kill_9() {
    const EXPORTED: i64 = 12_000;
    const LATER: i64 = 14_000;
    let cluster = Cluster::shared();
    cluster.create_topics("least");
    let brokers = cluster.brokers();
    let stick = tempfile::tempdir().unwrap();
    let least = |daemon: &Daemon| {
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        daemon.write("forebay.toml", &text.replace("[kafka]\n", "[kafka]\nmode = \"at-least-once\"\n"));
    };
    let mut dark = Daemon::new("box-a", None, "least");
    dark.fill(0, EXPORTED);
    let folder = export(&dark, stick.path(), "stick");
    dark.fill(EXPORTED, LATER);

    let mut other = Daemon::new("box-b", Some(&brokers), "least");
    least(&other);
    other.start();
    import(&other, &folder, &[]).unwrap();
    let at = wait_for("part of the backlog in Kafka", PATIENCE, || {
        Some(sent(&other)).filter(|sent| *sent >= 1000)
    });
    other.kill();
    assert!(at < EXPORTED.unsigned_abs(), "the kill came too late");
    other.start();
    wait_imported(&other);
    // The box itself is back and goes on behind what the other has sent for it.
    dark.configure(Some(&brokers), "least");
    least(&dark);
    dark.start();
    wait_committed(&dark, LATER.unsigned_abs(), Duration::from_secs(120));
    assert_eq!(
        dark.status()["lanes"][0]["replication"]["records"],
        LATER - EXPORTED,
        "from the checkpoint on"
    );

    let time =
        |number: i64| forebay::clock::rfc3339(*super::daemon::START_US + number * super::daemon::STEP_US);
    let (from, to) = (time(1000), time(11_000));
    let ordered = dark.command(&["replay", "--from", &from, "--to", &to, "--id", "least", "--detach"]);
    assert!(ordered.status.success(), "{ordered:?}");
    let job = |daemon: &Daemon| daemon.client().get("/v1/replay/least").ok();
    wait_for("part of the replay", PATIENCE, || (job(&dark)?["records"].as_u64()? >= 500).then_some(()));
    dark.kill();
    dark.start();
    wait_for("end of the replay", Duration::from_secs(120), || {
        (job(&dark)?["state"] == "done").then_some(())
    });
    dark.stop();
    other.stop();
    let read = consume(&brokers, &["least.telemetry"], true, Duration::from_secs(3));
    let (again, live): (Vec<_>, Vec<_>) = read
        .into_iter()
        .filter(|record| record.headers["edge"] == "box-a")
        .partition(|record| record.headers.contains_key("replay"));
    let (live, again) = (at_least_once(&live, 0..14_000), at_least_once(&again, 1000..11_000));
    println!("{live} of 14,000 and {again} of 10,000 records");
    // One transaction's worth of 500 records for each kill.
    assert!(live <= 14_500 && again <= 10_500, "more than a transaction is doubled");
}
