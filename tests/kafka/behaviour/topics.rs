//! Topics that are deleted and re-partitioned while a box writes to them.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use forebay::event::Events;
use forebay::replicate::{Options, Replicator};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::super::lanes::{EPOCH, Memory, assert_exactly_once};
use super::super::{add_partitions, options, start, wait_state};
use super::Load;
use crate::kafka_cluster::{Cluster, consume};
use crate::support::{PATIENCE, wait_for};

fn delete_topic(cluster: &Cluster, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.brokers()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let limit = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let answers = runtime.block_on(admin.delete_topics(&[topic], &limit)).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Somebody deletes the telemetry topic under load. With the right to create topics the box makes it
/// again; without, it names it and goes on when IT has made it. Either way it goes on where it was:
/// what was in the deleted topic is gone with it, nothing else, nothing twice, and the box says so.
#[test]
fn a_topic_deleted_under_load_costs_only_what_was_in_it() {
    let cluster = Cluster::shared();
    for (prefix, may_create) in [("deleted", true), ("deleted2", false)] {
        cluster.create_topics(prefix);
        let topic = format!("{prefix}.telemetry");
        let source = Memory::new("telemetry", EPOCH);
        let mut options = options(&cluster, prefix);
        if !may_create {
            options.create_topics = None;
        }
        let (events, mut told) = Events::new();
        let replicator = Replicator::start(options, source.clone(), "boot-a", Some(events)).unwrap();
        let load = Load::start(&source, 1000);
        load.progress("records before", 1000);
        let before = source.committed_to();
        delete_topic(&cluster, &topic);
        let deleted = Instant::now();
        if !may_create {
            let state = wait_state(&replicator, "refused", PATIENCE).to_string();
            assert!(state.contains(&format!("topic {topic} does not exist")), "{state}");
            cluster.create_topic(&topic, 4);
        }
        let event = wait_for("event", PATIENCE * 2, || told.try_recv().ok());
        println!("{:?} after the deletion: {}", deleted.elapsed(), event.text);
        assert_eq!(event.data["what"], "topic-new", "{event:?}");
        assert_eq!(event.data["topic"], topic.as_str(), "{event:?}");
        let gone = event.data["next_offset"].as_u64().unwrap();
        assert!(gone >= before, "{event:?}");
        assert!(event.text.contains(&topic), "{event:?}");
        load.progress("records after", 2000);
        let total = load.stop();
        source.wait_committed(total, PATIENCE);
        replicator.join();
        let read = consume(&cluster.brokers(), &[&topic], true, Duration::from_secs(3));
        let mut offsets: Vec<u64> = read.iter().map(|record| record.offset()).collect();
        offsets.sort_unstable();
        // Exactly what the event says: everything from this offset on, each once.
        assert_eq!(offsets, (gone..total).collect::<Vec<_>>(), "from {gone} to {total}");
        assert!(told.try_recv().is_err(), "it is said once");
    }
}

/// Both topics get more partitions while a box writes, several times, also so that the place of its
/// checkpoint wanders away and back again. Exactly once stays; the order of a device is kept in
/// each partition, and over the change by the `offset` header.
#[test]
fn more_partitions_under_load_keep_every_record_single() {
    let cluster = Cluster::shared();
    let prefix = "repartitioned";
    cluster.create_topic_with(&format!("{prefix}.telemetry"), 1, &[]);
    cluster.create_topic(&format!("{prefix}.checkpoints"), 4);
    // A box whose checkpoint is in one partition of four, in another of five, and of six in the
    // first again: there an old checkpoint waits to be believed.
    let edge = (0..)
        .map(|number| format!("box-{number}"))
        .find(|edge| place(edge, 4) != place(edge, 5) && place(edge, 4) == place(edge, 6))
        .unwrap();
    let options = Options { edge: edge.clone(), ..options(&cluster, prefix) };
    let source = Memory::new("telemetry", EPOCH);
    let mut replicator = start(options.clone(), &source, "boot-0");
    let load = Load::start(&source, 1000);
    for (round, partitions) in [(1, 5), (2, 6)] {
        load.progress("records before", 500);
        add_partitions(&cluster, &format!("{prefix}.checkpoints"), partitions);
        add_partitions(&cluster, &format!("{prefix}.telemetry"), partitions);
        load.progress("records after", 500);
        // The new places are looked for at a start.
        replicator.join();
        replicator = start(options.clone(), &source, &format!("boot-{round}"));
        load.progress("records after a start", 500);
    }
    let total = load.stop();
    source.wait_committed(total, PATIENCE);
    replicator.join();
    let topic = format!("{prefix}.telemetry");
    let mut read = consume(&cluster.brokers(), &[&topic], true, Duration::from_secs(3));
    let partitions: BTreeSet<i32> = read.iter().map(|record| record.partition).collect();
    assert!(partitions.len() > 1, "the new partitions are used: {partitions:?}");
    let mut last: BTreeMap<(i32, String), u64> = BTreeMap::new();
    read.sort_by_key(|record| (record.partition, record.kafka_offset));
    for record in &read {
        assert_eq!(record.headers["edge"], edge);
        let key = (record.partition, record.key.clone().unwrap());
        let before = last.insert(key, record.offset());
        assert!(before < Some(record.offset()), "order within a partition: {before:?} {record:?}");
    }
    let moved = last.len();
    println!(
        "{total} records, {} devices in {moved} places over {partitions:?}",
        super::super::lanes::DEVICES
    );
    // As docs/kafka.md says: by the header, over all partitions.
    read.sort_by_key(|record| record.offset());
    for (index, record) in read.iter_mut().enumerate() {
        record.headers.insert("edge".to_owned(), "box-1".to_owned());
        (record.partition, record.kafka_offset) = (0, i64::try_from(index).unwrap());
    }
    assert_exactly_once(&read, total);
}

/// Where a box's checkpoints are (32-bit FNV-1a, draft-eastlake-fnv, of the lane's name).
fn place(edge: &str, partitions: u32) -> u32 {
    let name = format!("{edge}/telemetry");
    name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        % partitions
}
