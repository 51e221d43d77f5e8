//! Replication against a real Kafka of three brokers, and against librdkafka's mock.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use forebay::batch::{Sample, Schema, SchemaTag};
use forebay::clock::{now_us, rfc3339};
use forebay::event::Events;
use forebay::replicate::{
    Mechanism, Options, Password, Record, Replicator, Sasl, Source, SourceFault, State, Tls, encode, mock,
};
use forebay_connector::{Quality, Value};
use serde_json::json;

use crate::kafka_cluster::{Cluster, Consumed, Security, certificate, consume, grant};
use crate::support::wait_for;

const EPOCH: &str = "00112233445566778899aabbccddeeff";
/// Devices of the generated records.
const DEVICES: u64 = 7;

/// A lane in memory: records are pushed, everything stays readable.
#[derive(Clone, Default)]
struct Memory {
    shared: Arc<MemoryShared>,
    epoch: String,
    lane: &'static str,
    next: u64,
    current: Vec<u8>,
    key: String,
}

#[derive(Default)]
struct MemoryShared {
    records: Mutex<Vec<(String, i64, Vec<u8>)>>,
    pushed: Condvar,
    committed: AtomicU64,
}

impl Memory {
    fn new(lane: &'static str, epoch: &str) -> Self {
        Self { lane, epoch: epoch.to_owned(), ..Self::default() }
    }

    fn push(&self, key: &str, edge_us: i64, value: &[u8]) {
        self.shared.records.lock().unwrap().push((key.to_owned(), edge_us, value.to_vec()));
        self.shared.pushed.notify_all();
    }

    fn push_numbered(&self, count: u64) {
        for _ in 0..count {
            let offset = self.shared.records.lock().unwrap().len() as u64;
            let (key, value) = numbered(offset);
            self.push(&key, now_us(), value.as_bytes());
        }
    }

    fn wait_committed(&self, next_offset: u64, limit: Duration) {
        wait_for(&format!("commit of {next_offset}"), limit, || {
            (self.shared.committed.load(Ordering::SeqCst) >= next_offset).then_some(())
        });
    }
}

impl Source for Memory {
    fn lane(&self) -> &str {
        self.lane
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn first_offset(&self) -> u64 {
        0
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        self.next = offset;
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        let index = usize::try_from(self.next).unwrap();
        let records = self.shared.records.lock().unwrap();
        let (records, _) =
            self.shared.pushed.wait_timeout_while(records, wait, |records| records.len() <= index).unwrap();
        let Some((key, edge_us, value)) = records.get(index) else { return Ok(None) };
        self.key.clone_from(key);
        self.current.clone_from(value);
        self.next += 1;
        Ok(Some(Record { offset: self.next - 1, edge_us: *edge_us, key: &self.key, value: &self.current }))
    }

    fn committed(&mut self, next_offset: u64) {
        self.shared.committed.store(next_offset, Ordering::SeqCst);
    }
}

/// Record `offset` of every generated lane: its device counts up by one.
fn numbered(offset: u64) -> (String, String) {
    let device = format!("Werk1/Halle2/dev-{}", offset % DEVICES);
    let pad = "x".repeat(150);
    let value = json!({"device": device, "n": offset / DEVICES, "pad": pad}).to_string();
    (device, value)
}

fn options(cluster: &Cluster, prefix: &str) -> Options {
    Options { commit_interval: Duration::from_millis(100), ..Options::new(&cluster.brokers(), prefix, "werk1", "box-1") }
}

fn start(options: Options, source: &Memory, boot: &str) -> Replicator {
    Replicator::start(options, source.clone(), boot, None).unwrap()
}

fn wait_state(replicator: &Replicator, code: &str, limit: Duration) -> State {
    let status = replicator.status();
    wait_for(&format!("state {code}"), limit, || {
        Some(status.snapshot().state).filter(|state| state.code() == code)
    })
}

/// Asserts that each offset below `total` is there once, and each device's records in order.
fn assert_exactly_once(records: &[Consumed], total: u64) {
    let mut seen = vec![0_u32; usize::try_from(total).unwrap()];
    let mut next: HashMap<&str, u64> = HashMap::new();
    let mut by_place: BTreeMap<(i32, i64), &Consumed> = BTreeMap::new();
    for record in records {
        seen[usize::try_from(record.offset()).unwrap()] += 1;
        by_place.insert((record.partition, record.kafka_offset), record);
        assert_eq!(record.headers["epoch"], EPOCH);
        assert_eq!(record.headers["edge"], "box-1");
    }
    let lost = seen.iter().filter(|count| **count == 0).count();
    let doubled = seen.iter().filter(|count| **count > 1).count();
    assert_eq!((lost, doubled), (0, 0), "lost and doubled of {total}");
    for record in by_place.values() {
        let next = next.entry(record.key.as_deref().unwrap()).or_default();
        let n = record.json()["n"].as_u64().unwrap();
        assert_eq!(n, *next, "order of {:?}", record.key);
        *next += 1;
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
        tags: vec![
            tag("oil_temp", "°C", &[]),
            tag("mode", "", &[(3, "running")]),
            tag("total", "kWh", &[]),
            tag("on", "", &[]),
            tag("since", "", &[]),
            tag("profile", "mm", &[]),
            tag("order", "", &[]),
            tag("gone", "bar", &[]),
        ],
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
    encode::batch(&mut value, &schema, edge_us, &samples);
    let telemetry = Memory::new("telemetry", EPOCH);
    telemetry.push(&schema.device, edge_us, &value);
    let events = Memory::new("events", EPOCH);
    events.push(&schema.device, edge_us, br#"{"kind":"gap","text":"away"}"#);

    // Nobody has made the topics: the box does, because it may.
    let lanes = [&telemetry, &events].map(|lane| start(options(&cluster, "types"), lane, "boot-a"));
    telemetry.wait_committed(1, Duration::from_secs(60));
    events.wait_committed(1, Duration::from_secs(60));
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
    let (ours, others): (Vec<_>, Vec<_>) = read.into_iter().partition(|record| record.headers["epoch"] == EPOCH);
    assert_eq!(others.len(), 1);
    assert_exactly_once(&ours, 1000);
}

fn start_until(cluster: &Cluster, source: &Memory, boot: &str, next_offset: u64) {
    let replicator = start(options(cluster, "resume"), source, boot);
    source.wait_committed(next_offset, Duration::from_secs(60));
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
    source.push_numbered(20_000);
    source.wait_committed(1000, Duration::from_secs(60));
    (0..3).for_each(|index| cluster.pause(index));
    let paused = Instant::now();
    let state = wait_state(&replicator, "waiting", Duration::from_secs(20));
    assert!(state.to_string().contains("kept on disk"), "{state}");
    wait_for("the end of the outage", Duration::from_secs(30), || {
        (paused.elapsed() > Duration::from_secs(14)).then_some(())
    });
    assert!(source.shared.committed.load(Ordering::SeqCst) < 20_000, "the outage must hit open work");
    (0..3).for_each(|index| cluster.resume(index));
    let resumed = Instant::now();
    source.wait_committed(20_000, Duration::from_secs(90));
    println!("caught up {:?} after the brokers were back: {:?}", resumed.elapsed(), replicator.status().snapshot());
    wait_state(&replicator, "up", Duration::from_secs(5));
    replicator.join();
    let read = consume(&cluster.brokers(), &["outage.telemetry"], true, Duration::from_secs(3));
    assert_exactly_once(&read, 20_000);
}

/// A second box with the same name takes over; the first stops, says so, does not fight, and
/// goes on when the second has gone.
#[test]
fn a_second_box_with_the_same_name_stops_the_first() {
    let cluster = Cluster::shared();
    cluster.create_topics("fence");
    let options = Options { fenced_retry: Duration::from_secs(3), ..options(&cluster, "fence") };
    let first = Memory::new("telemetry", EPOCH);
    first.push_numbered(100);
    let (events, mut told) = Events::new();
    let one = Replicator::start(options.clone(), first.clone(), "boot-one", Some(events)).unwrap();
    first.wait_committed(100, Duration::from_secs(60));

    let second = Memory::new("telemetry", "ffffffffffffffffffffffffffffffff");
    let two = start(options, &second, "boot-two");
    wait_state(&two, "up", Duration::from_secs(60));
    first.push_numbered(100);
    let state = wait_state(&one, "fenced", Duration::from_secs(60));
    assert!(state.to_string().contains("second box"), "{state}");
    assert!(state.to_string().contains("boot-two"), "{state}");
    let event = wait_for("event", Duration::from_secs(5), || told.try_recv().ok());
    assert!(event.text.contains("second box"), "{event:?}");
    // While the second writes, the first stays away.
    for index in 1..=8 {
        second.push("Werk1/other", now_us(), br#"{"n":0}"#);
        second.wait_committed(index, Duration::from_secs(20));
        assert_eq!(one.status().snapshot().state.code(), "fenced");
        let next = Instant::now() + Duration::from_millis(1500);
        wait_for("next record", Duration::from_secs(3), || (Instant::now() > next).then_some(()));
    }
    two.join();
    first.wait_committed(200, Duration::from_secs(60));
    one.join();
    let read = consume(&cluster.brokers(), &["fence.telemetry"], true, Duration::from_secs(3));
    let (ours, others): (Vec<_>, Vec<_>) = read.into_iter().partition(|record| record.headers["epoch"] == EPOCH);
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
        source.push("Werk1/Halle2/dev-0", now_us(), json!({"n": 100, "pad": &noise[..size]}).to_string().as_bytes());
        (701..1400).for_each(|offset| {
            let (key, value) = numbered(offset);
            source.push(&key, now_us(), value.as_bytes());
        });
        let (events, mut told) = Events::new();
        let replicator =
            Replicator::start(options(&cluster, prefix), source.clone(), "boot-a", Some(events)).unwrap();
        source.wait_committed(1400, Duration::from_secs(60));
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
    let replicator = start(Options { create_topics: None, ..options(&cluster, "missing") }, &source, "boot-a");
    let state = wait_state(&replicator, "refused", Duration::from_secs(30)).to_string();
    assert!(state.contains("topic missing.checkpoints does not exist"), "{state}");
    assert!(state.contains("cleanup.policy=compact"), "{state}");
    // It goes on by itself as soon as IT has made them.
    cluster.create_topics("missing");
    source.wait_committed(1, Duration::from_secs(60));
}

/// TLS, SCRAM and a broker that grants nothing at first: each missing permission is named.
#[test]
fn says_exactly_which_permission_is_missing() {
    // Holds the place of the shared one, so that not two clusters start at once.
    let _quiet = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    let (ca, keystore) = certificate(folder.path());
    let cluster =
        Cluster::start_with(1, Some(&Security { keystore, users: vec![("box-1", "s3cret-word")] }));
    cluster.create_topics("it");
    let options = |password: &str| Options {
        tls: Some(Tls { ca: Some(ca.clone()), ..Tls::default() }),
        sasl: Some(Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "box-1".to_owned(),
            password: Password::new(password),
        }),
        create_topics: None,
        commit_interval: Duration::from_millis(100),
        ..Options::new(&cluster.secure_brokers(), "it", "werk1", "box-1")
    };
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(10);

    let intruder = start(options("wrong"), &source, "boot-x");
    let refused = wait_state(&intruder, "refused", Duration::from_secs(30)).to_string();
    assert!(refused.contains("user box-1 is not let in"), "{refused}");
    intruder.join();

    let replicator = start(options("s3cret-word"), &source, "boot-a");
    let id = "transactional_id:forebay.werk1.box-1.telemetry";
    let steps: [(&str, &[&str]); 5] = [
        ("grant Write, Read and Describe on Topic it.checkpoints", &["write:topic:it.checkpoints"]),
        ("grant Write and Describe on Topic it.telemetry", &["describe:topic:it.telemetry"]),
        (
            "grant Write and Describe on TransactionalId forebay.werk1.box-1.telemetry",
            &[&format!("write:{id}"), &format!("describe:{id}")],
        ),
        ("grant Read on Topic it.checkpoints", &["read:topic:it.checkpoints"]),
        ("grant Write on Topic it.telemetry", &["write:topic:it.telemetry"]),
    ];
    let status = replicator.status();
    for (words, permissions) in steps {
        let start = Instant::now();
        let state = wait_for(words, Duration::from_secs(60), || {
            Some(status.snapshot().state.to_string()).filter(|state| state.contains(words))
        });
        println!("{:?}: {state}", start.elapsed());
        assert!(!state.contains("s3cret"), "{state}");
        grant(&cluster.brokers(), "box-1", permissions);
    }
    source.wait_committed(10, Duration::from_secs(60));
    wait_state(&replicator, "up", Duration::from_secs(5));
    replicator.join();
    let read = consume(&cluster.brokers(), &["it.telemetry"], true, Duration::from_secs(3));
    assert_exactly_once(&read, 10);
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
    source.wait_committed(1000, Duration::from_secs(30));
    broker.down().unwrap();
    source.push_numbered(1000);
    wait_state(&replicator, "waiting", Duration::from_secs(30));
    broker.up().unwrap();
    source.wait_committed(2000, Duration::from_secs(60));
    wait_state(&replicator, "up", Duration::from_secs(5));
    replicator.join();
    let read = consume(broker.bootstrap(), &["demo.telemetry"], false, Duration::from_secs(2));
    let mut offsets: Vec<u64> = read.iter().map(Consumed::offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets, (0..2000).collect::<Vec<_>>(), "at least once: the mock knows no more");
}

/// A lane without end that is the same in every process: for the killed child.
struct Generator {
    next: u64,
    total: u64,
    key: String,
    value: String,
}

impl Generator {
    fn new(total: u64) -> Self {
        Self { next: 0, total, key: String::new(), value: String::new() }
    }
}

impl Source for Generator {
    fn lane(&self) -> &str {
        "telemetry"
    }

    fn epoch(&self) -> &str {
        EPOCH
    }

    fn first_offset(&self) -> u64 {
        0
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        self.next = offset;
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.next >= self.total {
            std::thread::sleep(wait);
            return Ok(None);
        }
        (self.key, self.value) = numbered(self.next);
        self.next += 1;
        Ok(Some(Record {
            offset: self.next - 1,
            edge_us: now_us(),
            key: &self.key,
            value: self.value.as_bytes(),
        }))
    }

    fn committed(&mut self, next_offset: u64) {
        println!("\ncommitted {next_offset}");
    }
}

const CHILD: &str = "FOREBAY_TEST_REPLICATOR";

/// Without the variable: the generator gives the same from every offset. With it: this process
/// is the replicator that gets killed.
#[test]
fn child_replicates_what_the_generator_gives() {
    let mut generator = Generator::new(1000);
    generator.seek(998).unwrap();
    assert_eq!(generator.next(Duration::ZERO).unwrap().unwrap().value, numbered(998).1.as_bytes());
    assert_eq!(generator.next(Duration::ZERO).unwrap().unwrap().offset, 999);
    assert_eq!(generator.next(Duration::ZERO).unwrap(), None);
    let Ok(order) = std::env::var(CHILD) else { return };
    let [brokers, prefix, total] = order.split('|').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let options = Options {
        transaction_records_max: 500,
        transaction_timeout: Duration::from_secs(10),
        commit_interval: Duration::from_millis(20),
        ..Options::new(brokers, prefix, "werk1", "box-1")
    };
    let boot = format!("pid-{}", std::process::id());
    let _runs = Replicator::start(options, Generator::new(total.parse().unwrap()), &boot, None).unwrap();
    loop {
        std::thread::park();
    }
}

struct Killed {
    child: Child,
    committed: Arc<AtomicU64>,
}

impl Killed {
    fn spawn(order: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kafka::child_replicates_what_the_generator_gives", "--nocapture"])
            .env(CHILD, order)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let committed = Arc::new(AtomicU64::new(0));
        let output = BufReader::new(child.stdout.take().unwrap());
        let seen = Arc::clone(&committed);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(offset) = line.strip_prefix("committed ").and_then(|text| text.parse().ok()) {
                    seen.store(offset, Ordering::SeqCst);
                }
            }
        });
        Self { child, committed }
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Child::kill is SIGKILL: no destructor and no flush runs in the child.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The promise itself: kill -9 the replicator at random, kill and pause brokers meanwhile.
#[test]
fn kill_9_of_replicator_and_brokers_loses_and_doubles_nothing() {
    const KILLS: u32 = 24;
    let total = 150_000;
    let mut cluster = Cluster::shared();
    cluster.create_topics("chaos");
    let order = format!("{}|chaos|{total}", cluster.brokers());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut kills, mut highest, mut broker) = (0, 0, 0);
    let begin = Instant::now();
    while kills < KILLS {
        let child = Killed::spawn(&order);
        // Killed while it works, so after its first commit and before its last.
        let before = highest;
        wait_for("progress", Duration::from_secs(90), || (child.committed() > before).then_some(()));
        match kills % 6 {
            1 => cluster.kill(broker),
            2 => cluster.restart(broker),
            3 => cluster.pause(broker),
            _ => {}
        }
        // As long as there is enough left for the kills to come, and never more.
        let share = (total - before) / u64::from(KILLS - kills);
        let until = Instant::now() + Duration::from_millis(random.u64(0..600));
        while Instant::now() < until && child.committed() < before + share {
            std::thread::sleep(Duration::from_millis(random.u64(0..3)));
        }
        highest = highest.max(child.committed());
        drop(child);
        kills += 1;
        if kills % 6 == 4 {
            cluster.resume(broker);
            broker = (broker + 1) % 3;
        }
        assert!(highest < total, "nothing is left to kill: raise the total");
    }
    (0..3).for_each(|index| cluster.resume(index));
    println!("{kills} kills in {:?}, committed {highest}", begin.elapsed());
    let child = Killed::spawn(&order);
    wait_for("the rest", Duration::from_secs(120), || (child.committed() >= total).then_some(()));
    drop(child);

    let topics = ["chaos.telemetry"];
    let read = consume(&cluster.brokers(), &topics, true, Duration::from_secs(3));
    let all = consume(&cluster.brokers(), &topics, false, Duration::from_secs(3)).len();
    println!("{} read_committed, {all} read_uncommitted, {:?} in all", read.len(), begin.elapsed());
    assert_exactly_once(&read, total);
    assert!(all > read.len(), "no attempt was given up: the kills came too late to prove anything");
}
