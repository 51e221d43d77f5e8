//! Records that Kafka refuses.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::time::Duration;

use forebay::clock::now_us;
use forebay::event::Events;
use forebay::replicate::{Options, Replicator};
use serde_json::json;

use super::lanes::{EPOCH, Memory, numbered};
use super::options;
use crate::kafka_cluster::{Cluster, consume};
use crate::support::{PATIENCE, wait_for};

const DAY_US: i64 = 86_400_000_000;

/// Old records that the topic refuses by their time, and one that our encoder could not express,
/// among many that are fine: they go to the dead-letter topic, the others arrive.
#[test]
fn a_record_that_kafka_refuses_goes_to_the_dead_letters_and_blocks_nothing() {
    let cluster = Cluster::shared();
    cluster.create_topic_with("poison.telemetry", 4, &[("message.timestamp.before.max.ms", "7200000")]);
    cluster.create_topic("poison.checkpoints", 1);
    let source = Memory::new("telemetry", EPOCH);
    let refused = [3_u64, 250, 251, 252, 700];
    for offset in 0..1_000 {
        let (key, value) = numbered(offset);
        let age_us = if refused.contains(&offset) { DAY_US } else { 0 };
        if offset == 500 {
            source.push_faulty(&key, now_us(), b"raw \x01 text", "no JSON");
        } else {
            source.push(&key, now_us() - age_us, value.as_bytes());
        }
    }
    let (events, mut told) = Events::new();
    let replicator =
        Replicator::start(options(&cluster, "poison"), source.clone(), "boot-a", Some(events)).unwrap();
    source.wait_committed(1_000, PATIENCE);
    let status = replicator.status().snapshot();
    let events: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!((status.dead_letters, status.rejected), (6, 0), "{status:?} {events:?}");
    println!("{status:?}");
    assert_eq!(events.len(), 6);
    assert!(events.iter().all(|event| event.data["cause"] == "dead-letter"));
    replicator.join();

    let read = consume(&cluster.brokers(), &["poison.telemetry"], true, Duration::from_secs(3));
    let mut offsets: Vec<u64> = read.iter().map(|record| record.offset()).collect();
    offsets.sort_unstable();
    let fine: Vec<u64> = (0..1_000).filter(|offset| !refused.contains(offset) && *offset != 500).collect();
    assert_eq!(offsets, fine, "each once");
    let mut dead = consume(&cluster.brokers(), &["poison.dead-letter"], true, Duration::from_secs(3));
    dead.sort_by_key(|record| record.offset());
    assert_eq!(dead.iter().map(|record| record.offset()).collect::<Vec<_>>(), [3, 250, 251, 252, 500, 700]);
    for record in &dead {
        let (key, value) = numbered(record.offset());
        assert_eq!(record.key.as_deref(), Some(key.as_str()));
        assert_eq!((record.headers["edge"].as_str(), record.headers["epoch"].as_str()), ("box-1", EPOCH));
        assert_eq!(record.headers["topic"], "poison.telemetry");
        if record.offset() == 500 {
            assert_eq!(record.headers["reason"], "not-expressible");
            assert_eq!(record.headers["reason_text"], "no JSON");
        } else {
            assert_eq!(record.value, value, "as it would have been sent");
            assert!(["invalid-timestamp", "invalid-record"].contains(&record.headers["reason"].as_str()));
            assert!(record.headers.contains_key("edge_time"), "{:?}", record.headers);
        }
    }
}

/// There is no dead-letter topic and we may not make one: the lane goes on, the event tells all.
#[test]
fn without_a_dead_letter_topic_the_event_tells_of_the_record() {
    let cluster = Cluster::shared();
    cluster.create_topic_with("poison2.telemetry", 1, &[("message.timestamp.before.max.ms", "7200000")]);
    cluster.create_topic("poison2.checkpoints", 1);
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(10);
    source.push("Werk1/old", now_us() - DAY_US, json!({"n": 1}).to_string().as_bytes());
    source.push_numbered(10);
    let (events, mut told) = Events::new();
    let options = Options { create_topics: None, ..options(&cluster, "poison2") };
    let replicator = Replicator::start(options, source.clone(), "boot-a", Some(events)).unwrap();
    source.wait_committed(21, PATIENCE);
    let event = wait_for("event", PATIENCE, || told.try_recv().ok());
    assert_eq!((&event.data["cause"], &event.data["offset"]), (&json!("rejected"), &json!(10)));
    assert!(event.text.contains("topic poison2.dead-letter does not exist"), "{}", event.text);
    assert_eq!(replicator.status().snapshot().rejected, 1);
    replicator.join();
    let read = consume(&cluster.brokers(), &["poison2.telemetry"], true, Duration::from_secs(3));
    assert_eq!(read.len(), 20);
}
