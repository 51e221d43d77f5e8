//! Replication against a real Kafka of three brokers, and against librdkafka's mock.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

mod behaviour;
mod journal;
mod kill;
mod lanes;
mod live_first;
mod once;
mod poison;
mod second;
mod secured;
mod shut_out;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use forebay::batch::{Sample, Schema, SchemaTag};
use forebay::clock::{now_us, rfc3339};
use forebay::event::Events;
use forebay::replicate::{Options, Replicator, State, encode, mock};
use forebay_connector::{Quality, Value};
use serde_json::json;

use self::lanes::{EPOCH, Memory, assert_exactly_once, numbered};
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, wait_for};

fn options(cluster: &Cluster, prefix: &str) -> Options {
    Options {
        commit_interval: Duration::from_millis(100),
        ..Options::new(&cluster.brokers(), prefix, "werk1", "box-1")
    }
}

fn start(options: Options, source: &Memory, boot: &str) -> Replicator {
    Replicator::start(options, source.clone(), boot, None).unwrap()
}

fn wait_state(replicator: &Replicator, code: &str, limit: Duration) -> State {
    let status = replicator.status();
    let mut seen = State::Connecting;
    wait_for(&format!("state {code}"), limit, || {
        let state = status.snapshot().state;
        if state != seen {
            // For whoever has to find out why it did not come.
            println!("state {}: {state}", state.code());
            assert_plain(&state.to_string());
            seen = state.clone();
        }
        Some(state).filter(|state| state.code() == code)
    })
}

/// What people read is in words, and not in those of librdkafka and OpenSSL.
pub fn assert_plain(text: &str) {
    for raw in
        ["Local:", "Broker:", "ipv4#", "/bootstrap", "rdkafka", "(after ", "error:0", "SSL routines", "PID{"]
    {
        assert!(!text.contains(raw), "{raw}: {text}");
    }
}

#[test]
fn a_stranger_reads_values_types_and_events() {
    let cluster = Cluster::shared();
    let tag = |path: &str, unit: &str, texts: &[(i64, &str)]| SchemaTag {
        path: path.to_owned(),
        data_type: "REAL".to_owned(),
        unit: unit.to_owned(),
        texts: texts.iter().map(|(number, text)| (*number, (*text).to_owned())).collect(),
    };
    let schema = Schema {
        device: "Werk1/Presswerk/Presse3/press-3".to_owned(),
        name: "press-3".to_owned(),
        profile: "press".to_owned(),
        profile_version: "2".to_owned(),
        standby_for: String::new(),
        tags: [
            tag("oil_temp", "°C", &[]),
            tag("mode", "", &[(3, "running")]),
            tag("total", "kWh", &[]),
            tag("on", "", &[]),
            tag("since", "", &[]),
            tag("profile", "mm", &[]),
            tag("order", "", &[]),
            tag("gone", "bar", &[]),
        ]
        .into(),
    };
    let edge_us = now_us();
    let good = |tag, value| Sample { tag, value, quality: Quality::Good, source_us: None };
    let samples = [
        Sample { source_us: Some(edge_us - 7_000), ..good(0, Value::Real(41.2)) },
        good(1, Value::Int(3)),
        good(2, Value::Uint(u64::MAX)),
        good(3, Value::Bool(true)),
        good(4, Value::DateTime(1_770_000_000_250_000)),
        good(5, Value::Array([Value::Lreal(0.1), Value::Lreal(1e300)].into())),
        good(6, Value::Text("Auftrag \"7\"\n".into())),
        Sample { quality: Quality::NoConnection, ..good(7, Value::Null) },
    ];
    let mut value = Vec::new();
    encode::batch(&mut value, &schema, edge_us, None, &samples);
    let telemetry = Memory::new("telemetry", EPOCH);
    telemetry.push(&schema.device, edge_us, &value);
    let events = Memory::new("events", EPOCH);
    events.push(&schema.device, edge_us, br#"{"kind":"gap","text":"away"}"#);

    // Nobody has made the topics: the box does, because it may.
    let lanes = [&telemetry, &events].map(|lane| start(options(&cluster, "types"), lane, "boot-a"));
    telemetry.wait_committed(1, PATIENCE);
    events.wait_committed(1, PATIENCE);
    let done = lanes[0].status().snapshot();
    assert_eq!((done.records, done.transactions, done.aborts), (1, 1, 0));
    assert_eq!((done.bytes, done.next_offset), (value.len() as u64, Some(1)));
    assert!(done.delay_us > 0 && done.last_commit_us >= edge_us, "{done:?}");
    drop(lanes);

    let topics = ["types.telemetry", "types.events", "types.checkpoints"];
    let read = consume(&cluster.brokers(), &topics, true, Duration::from_secs(3));
    let of = |topic: &str| read.iter().filter(|record| record.topic == topic).collect::<Vec<_>>();
    let [record] = of("types.telemetry")[..] else { panic!("{read:?}") };
    assert_eq!(record.key.as_deref(), Some("Werk1/Presswerk/Presse3/press-3"));
    assert_eq!(record.headers, headers(0));
    assert_eq!(record.timestamp, edge_us / 1000);
    let expected = json!({
        "device": "Werk1/Presswerk/Presse3/press-3", "edge_time": rfc3339(edge_us), "profile": "press@2",
        "samples": [
            {"tag": "oil_temp", "value": 41.2, "unit": "°C", "quality": "good", "time": rfc3339(edge_us - 7_000)},
            {"tag": "mode", "value": 3, "text": "running", "quality": "good"},
            {"tag": "total", "value": u64::MAX, "unit": "kWh", "quality": "good"},
            {"tag": "on", "value": true, "quality": "good"},
            {"tag": "since", "value": "2026-02-02T02:40:00.250000Z", "quality": "good"},
            {"tag": "profile", "value": [0.1, 1e300], "unit": "mm", "quality": "good"},
            {"tag": "order", "value": "Auftrag \"7\"\n", "quality": "good"},
            {"tag": "gone", "value": null, "unit": "bar", "quality": "no-connection"},
        ],
    });
    assert_eq!(record.json(), expected);
    let [event] = of("types.events")[..] else { panic!("{read:?}") };
    assert_eq!((event.json(), &event.headers), (json!({"kind": "gap", "text": "away"}), &headers(0)));
    let keys = of("types.checkpoints").iter().filter_map(|record| record.key.clone()).collect::<Vec<_>>();
    assert!(keys.contains(&format!("box-1/telemetry/{EPOCH}")), "{keys:?}");
    assert!(keys.contains(&format!("box-1/events/{EPOCH}")), "{keys:?}");
}

fn headers(offset: u64) -> HashMap<String, String> {
    [("edge", "box-1".to_owned()), ("epoch", EPOCH.to_owned()), ("offset", offset.to_string())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// A restart goes on where the last one was; another journal begins at its own start and leaves
/// the first one's checkpoint alone; more partitions do not lose it.
#[test]
fn goes_on_from_its_own_checkpoint() {
    let cluster = Cluster::shared();
    cluster.create_topics("resume");
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(500);
    start_until(&cluster, &source, "boot-1", 500);

    let other = Memory::new("telemetry", "ffffffffffffffffffffffffffffffff");
    other.push("Werk1/other", now_us(), br#"{"n":0}"#);
    start_until(&cluster, &other, "boot-2", 1);

    add_partitions(&cluster, "resume.checkpoints", 7);
    source.push_numbered(500);
    start_until(&cluster, &source, "boot-3", 1000);

    let read = consume(&cluster.brokers(), &["resume.telemetry"], true, Duration::from_secs(3));
    let (ours, others): (Vec<_>, Vec<_>) =
        read.into_iter().partition(|record| record.headers["epoch"] == EPOCH);
    assert_eq!(others.len(), 1);
    assert_exactly_once(&ours, 1000);
}

fn start_until(cluster: &Cluster, source: &Memory, boot: &str, next_offset: u64) {
    let replicator = start(options(cluster, "resume"), source, boot);
    source.wait_committed(next_offset, PATIENCE);
    replicator.join();
}

fn add_partitions(cluster: &Cluster, topic: &str, count: usize) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
    let admin: AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", cluster.brokers()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let new = NewPartitions::new(topic, count);
    let answer = runtime.block_on(admin.create_partitions([&new], &AdminOptions::new())).unwrap();
    assert!(answer.iter().all(Result::is_ok), "{answer:?}");
}

/// All brokers stop for longer than the transaction timeout, in the middle of the work.
#[test]
fn an_outage_longer_than_the_transaction_timeout_heals_by_itself() {
    let cluster = Cluster::shared();
    cluster.create_topics("outage");
    let source = Memory::new("telemetry", EPOCH);
    let options = Options {
        transaction_timeout: Duration::from_secs(10),
        transaction_records_max: 50,
        ..options(&cluster, "outage")
    };
    let replicator = start(options, &source, "boot-a");
    source.push_numbered(4_000);
    source.wait_committed(1000, PATIENCE);
    (0..3).for_each(|index| cluster.pause(index));
    let paused = Instant::now();
    // More comes in during the outage, so that it meets open work however fast the first was sent.
    source.push_numbered(4_000);
    let state = wait_state(&replicator, "waiting", PATIENCE);
    assert!(state.to_string().contains("kept on disk"), "{state}");
    wait_for("the end of the outage", Duration::from_secs(30), || {
        (paused.elapsed() > Duration::from_secs(14)).then_some(())
    });
    assert!(source.committed_to() < 8_000, "the outage must hit open work");
    (0..3).for_each(|index| cluster.resume(index));
    let resumed = Instant::now();
    source.wait_committed(8_000, Duration::from_secs(180));
    println!(
        "caught up {:?} after the brokers were back: {:?}",
        resumed.elapsed(),
        replicator.status().snapshot()
    );
    wait_state(&replicator, "up", PATIENCE);
    replicator.join();
    let read = consume(&cluster.brokers(), &["outage.telemetry"], true, Duration::from_secs(3));
    assert_exactly_once(&read, 8_000);
}

/// A second box with the same name takes over; the first stops, says so, does not fight, and
/// goes on when the second has gone.
#[test]
fn a_second_box_with_the_same_name_stops_the_first() {
    let cluster = Cluster::shared();
    cluster.create_topics("fence");
    let options = Options {
        fenced_retry: Duration::from_secs(3),
        newcomer_max: Duration::from_secs(15),
        ..options(&cluster, "fence")
    };
    let first = Memory::new("telemetry", EPOCH);
    first.push_numbered(100);
    let (events, mut told) = Events::new();
    let one = Replicator::start(options.clone(), first.clone(), "boot-one", Some(events)).unwrap();
    first.wait_committed(100, PATIENCE);

    let second = Memory::new("telemetry", "ffffffffffffffffffffffffffffffff");
    let two = start(options, &second, "boot-two");
    wait_state(&two, "up", PATIENCE);
    first.push_numbered(100);
    let state = wait_state(&one, "fenced", PATIENCE);
    assert!(state.to_string().contains("second box"), "{state}");
    assert!(state.to_string().contains("boot-two"), "{state}");
    let event = wait_for("event", PATIENCE, || told.try_recv().ok());
    assert!(event.text.contains("second box"), "{event:?}");
    // While the second writes, the first stays away.
    for index in 1..=8 {
        second.push("Werk1/other", now_us(), br#"{"n":0}"#);
        second.wait_committed(index, PATIENCE);
        assert_eq!(one.status().snapshot().state.code(), "fenced");
        let next = Instant::now() + Duration::from_millis(1500);
        wait_for("next record", Duration::from_secs(3), || (Instant::now() > next).then_some(()));
    }
    two.join();
    first.wait_committed(200, PATIENCE);
    one.join();
    let read = consume(&cluster.brokers(), &["fence.telemetry"], true, Duration::from_secs(3));
    let (ours, others): (Vec<_>, Vec<_>) =
        read.into_iter().partition(|record| record.headers["epoch"] == EPOCH);
    assert_eq!(others.len(), 8);
    assert_exactly_once(&ours, 200);
}

/// Too large for us, and small enough for us but too large for the topic: neither blocks the
/// lane, and a notice stands in its place.
#[test]
fn records_too_large_leave_a_notice_and_do_not_block() {
    let cluster = Cluster::shared();
    cluster.create_topics("large");
    cluster.create_topic_with("large2.telemetry", 1, &[("max.message.bytes", "20000")]);
    cluster.create_topic("large2.checkpoints", 1);
    // Text that zstd cannot shrink below the topic's limit.
    let mut random = fastrand::Rng::with_seed(7);
    let noise: String = (0..1_000_000).map(|_| random.alphanumeric()).collect();
    for (prefix, size) in [("large", 950_000), ("large2", 200_000)] {
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(700);
        source.push(
            "Werk1/Halle2/dev-0",
            now_us(),
            json!({"n": 100, "pad": &noise[..size]}).to_string().as_bytes(),
        );
        (701..1400).for_each(|offset| {
            let (key, value) = numbered(offset);
            source.push(&key, now_us(), value.as_bytes());
        });
        let (events, mut told) = Events::new();
        let replicator =
            Replicator::start(options(&cluster, prefix), source.clone(), "boot-a", Some(events)).unwrap();
        source.wait_committed(1400, PATIENCE);
        assert_eq!(replicator.status().snapshot().too_large, 1, "{prefix}");
        let event = told.try_recv().unwrap();
        assert_eq!((event.device.as_str(), &event.data["offset"]), ("Werk1/Halle2/dev-0", &json!(700)));
        replicator.join();
        let topic = format!("{prefix}.telemetry");
        let read = consume(&cluster.brokers(), &[&topic], true, Duration::from_secs(3));
        assert_eq!(read.len(), 1400);
        let notice = read.iter().find(|record| record.offset() == 700).unwrap();
        assert_eq!(notice.key.as_deref(), Some("Werk1/Halle2/dev-0"));
        assert!(notice.json()["dropped"]["bytes"].as_u64().unwrap() > size as u64, "{}", notice.value);
    }
}

#[test]
fn a_missing_topic_is_named() {
    let cluster = Cluster::shared();
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(1);
    let replicator =
        start(Options { create_topics: None, ..options(&cluster, "missing") }, &source, "boot-a");
    let state = wait_state(&replicator, "refused", PATIENCE).to_string();
    assert!(state.contains("topic missing.checkpoints does not exist"), "{state}");
    assert!(state.contains("cleanup.policy=compact"), "{state}");
    // It goes on by itself as soon as IT has made them.
    cluster.create_topics("missing");
    source.wait_committed(1, PATIENCE);
}

/// The embedded broker of the demo: goes away, comes back, nothing is missing.
#[test]
fn works_against_the_mock_and_over_its_absence() {
    let broker = mock::Broker::start("demo").unwrap();
    let source = Memory::new("telemetry", EPOCH);
    let options = Options {
        commit_interval: Duration::from_millis(50),
        ..Options::new(broker.bootstrap(), "demo", "werk1", "box-1")
    };
    let replicator = start(options, &source, "boot-a");
    source.push_numbered(1000);
    source.wait_committed(1000, PATIENCE);
    broker.down().unwrap();
    source.push_numbered(1000);
    wait_state(&replicator, "waiting", PATIENCE);
    broker.up().unwrap();
    source.wait_committed(2000, PATIENCE);
    wait_state(&replicator, "up", PATIENCE);
    replicator.join();
    let read = consume(broker.bootstrap(), &["demo.telemetry"], false, Duration::from_secs(2));
    let mut offsets: Vec<u64> = read.iter().map(Consumed::offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets, (0..2000).collect::<Vec<_>>(), "at least once: the mock knows no more");
}
