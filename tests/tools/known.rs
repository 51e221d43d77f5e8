//! What the commands say of what Kafka has: known, remembered, or not known.

use std::time::{Duration, Instant};

use forebay::replicate::mock::Broker;

use super::daemon::{Daemon, wait_committed};
use crate::support::{PATIENCE, get, wait_for};

const RECORDS: i64 = 20_000;
/// What is stored without Kafka.
const MORE: i64 = 10_000;

/// A box that has sent all but the last records, and does not reach Kafka any more.
fn away() -> Daemon {
    let broker = Broker::start("known").unwrap();
    let mut daemon = Daemon::new("box-1", Some(broker.bootstrap()), "known");
    daemon.fill(0, RECORDS);
    daemon.start();
    wait_committed(&daemon, RECORDS.unsigned_abs(), PATIENCE);
    // The lane hears of it a little later than the replicator.
    wait_for("all in Kafka", PATIENCE, || {
        let (_, text) = daemon.journal(&["status"]).ok()?;
        text.contains("20,000 records (offsets 0 to 19999); Kafka has all of them").then_some(())
    });
    daemon.stop();
    drop(broker);
    daemon.configure(None, "known");
    daemon.fill(RECORDS, RECORDS + MORE);
    daemon
}

#[test]
fn what_kafka_has_confirmed_is_known_without_kafka_and_without_a_box() {
    let mut daemon = away();
    let state = super::daemon::contents(&daemon.state());
    for running in [false, true] {
        if running {
            daemon.start();
        }
        let known = wait_for("what is remembered", PATIENCE, || {
            let (_, json) = daemon.journal_json(&["status"]);
            let kafka = json["lanes"][0]["kafka"].clone();
            (kafka["confirmed"] == 20_000).then_some(kafka)
        });
        assert_eq!(
            (&known["heard"], &known["perhaps"], &known["not_sent"]),
            (&false.into(), &0.into(), &10_000.into())
        );
        let (_, text) = daemon.journal(&["status"]).unwrap();
        assert!(
            text.contains("30,000 records (offsets 0 to 29999); Kafka has 20,000; 10,000 were never sent"),
            "{text}"
        );
        if !running {
            assert_eq!(super::daemon::contents(&daemon.state()), state, "looking changes no byte");
        }
    }
    // Of a file in which both are, nothing is removed.
    let refused = daemon.journal(&["trim", "--before", "now"]).unwrap_err();
    assert!(
        refused.contains("of lane telemetry, Kafka does not have") && refused.contains("(from offset 20000)"),
        "{refused}"
    );
    let page = get(&daemon.page(), "/api/v1/status.json").unwrap();
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let backlog = page["to_it"]["numbers"]["backlog_records"].as_u64().unwrap();
    assert!((10_000..10_100).contains(&backlog), "{page}");
    // Whole files of what is surely there may go, without any loss.
    let (_, text) = daemon.journal(&["trim"]).unwrap();
    assert!(text.contains("removed") && text.contains("left that Kafka is not known to have"), "{text}");
    assert!(
        text.contains("the box has not reached Kafka since it was started") && !text.contains("lost"),
        "{text}"
    );
    let status = daemon.status();
    let journal = &status["lanes"][0]["journal"];
    assert_eq!((&journal["evicted_records"], &journal["perhaps_evicted_records"]), (&0.into(), &0.into()));
    daemon.stop();
}

#[test]
fn where_nothing_is_remembered_the_commands_say_that_they_do_not_know() {
    let mut daemon = away();
    std::fs::remove_dir_all(daemon.state().join("state")).unwrap();
    for running in [false, true] {
        if running {
            daemon.start();
        }
        let (_, text) = daemon.journal(&["status"]).unwrap();
        assert!(
            text.contains("of 20,000 it is not known until the box reaches Kafka, 10,000 were never sent"),
            "{text}"
        );
        let (_, text) = daemon.journal(&["trim"]).unwrap();
        assert!(
            text.contains("nothing to remove: it is not known what Kafka has, because the box"),
            "{text}"
        );
        let refused = daemon.journal(&["trim", "--before-offset", "15000"]).unwrap_err();
        assert!(refused.contains("it is not known whether Kafka has"), "{refused}");
    }
    let (_, text) = daemon.journal(&["trim", "--before-offset", "15000", "--unsent"]).unwrap();
    assert!(text.contains("may be lost: it is not known whether Kafka has them"), "{text}");
    assert!(!text.contains("lost now"), "{text}");
    let perhaps = wait_for("count on the page", PATIENCE, || {
        let page: serde_json::Value =
            serde_json::from_str(&get(&daemon.page(), "/api/v1/status.json")?).ok()?;
        let numbers = page["reserve"]["numbers"].clone();
        (numbers["perhaps_dropped_records"].as_u64()? > 0).then_some((numbers, page))
    });
    assert_eq!(perhaps.0["dropped_records"], 0);
    assert!(!perhaps.1.to_string().contains("Nothing is lost"), "{}", perhaps.1);
    daemon.stop();
}

#[test]
fn pause_and_resume_say_what_was_so_and_what_is_so() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 100);
    daemon.start();
    let say = |daemon: &Daemon, arguments: &[&str]| {
        let told = daemon.command(arguments);
        assert!(told.status.success(), "{told:?}");
        String::from_utf8_lossy(&told.stdout).into_owned()
    };
    wait_for("lanes", PATIENCE, || daemon.status()["lanes"][1].is_object().then_some(()));
    // Kafka is away and nothing was paused.
    let text = say(&daemon, &["resume"]);
    assert!(text.contains("telemetry: was not paused; ") && !text.contains("data goes to Kafka"), "{text}");
    assert!(say(&daemon, &["pause"]).starts_with("telemetry and events: paused."));
    let text = say(&daemon, &["pause", "--lane", "telemetry"]);
    assert!(text.contains("telemetry: was paused already, by ") && text.contains(" since 20"), "{text}");
    let status = "paused by ";
    for running in [true, false] {
        if !running {
            daemon.stop();
        }
        let (_, text) = daemon.journal(&["status"]).unwrap();
        assert!(text.contains(status) && text.contains(" since 20"), "{text}");
        assert!(text.contains("nothing goes to Kafka until `forebay resume`"), "running {running}: {text}");
    }
    daemon.start();
    wait_for("lanes", PATIENCE, || daemon.status()["lanes"][1].is_object().then_some(()));
    let started = Instant::now();
    let text = say(&daemon, &["resume"]);
    assert!(
        text.contains("telemetry: no longer paused; ") && text.contains("events: no longer paused; "),
        "{text}"
    );
    assert!(!text.contains("data goes to Kafka") && !text.contains("paused by"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());

    let broker = Broker::start("known").unwrap();
    daemon.stop();
    daemon.configure(Some(broker.bootstrap()), "known");
    daemon.start();
    wait_committed(&daemon, 100, PATIENCE);
    say(&daemon, &["pause"]);
    let text = say(&daemon, &["resume"]);
    assert!(text.contains("telemetry: no longer paused; data goes to Kafka."), "{text}");
}
