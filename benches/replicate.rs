//! Journal to Kafka: what the transactional replicator costs against a plain producer that sends
//! the same bytes with the same settings to the same broker in the same run. And against librdkafka's
//! own `rdkafka_performance`, which repeats one record; so does the replicator in that comparison.
//!
//! `cargo bench --bench replicate`, optionally `-- <records>`. Needs `tests/setup` (the broker is
//! a real Kafka on loopback) and `benches/rdkafka_performance`, which builds that program.

#[path = "../tests/device.rs"]
mod device;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/kafka_cluster.rs"]
mod kafka_cluster;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/network.rs"]
mod network;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/support.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay::batch::{Batch, Sample, Schema, SchemaTag};
use forebay::clock::now_us;
use forebay::event::Events;
use forebay::lane::{Lane, LaneOptions, Opened};
use forebay::replicate::{JournalSource, Options, Record, Replicator, Source, SourceFault, State, encode};
use forebay_connector::{Quality, Scalar, Value};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Distinct values that are sent in turn, so that compression has honest work.
const DISTINCT: usize = 4096;

fn main() {
    let records = std::env::args().filter_map(|text| text.parse().ok()).next().unwrap_or(1_000_000_u64);
    let cluster = kafka_cluster::Cluster::start(1);
    println!(
        "samples  what                              records/s     MB/s  samples/s  CPU s per million records"
    );
    for tags in [20, 50, 200] {
        drain(&cluster, tags, records * 4 / u64::from(tags));
    }
    for samples in [1, 20] {
        let records = records / if samples == 1 { 1 } else { 5 };
        let values = encoded(samples, records);
        // Warms up the broker's JVM, unmeasured.
        plain(&cluster, &format!("warm{samples}"), &values, records / 4);
        let before = cpu();
        let start = Instant::now();
        plain(&cluster, &format!("plain{samples}"), &values, records);
        let limit = Figure::new(records, &values, start.elapsed(), cpu() - before);
        limit.print(samples, "plain producer, no transactions");
        let outer = rdkafka_performance(&cluster, &format!("outer{samples}.telemetry"), &values, records);
        println!("{samples:>7}  {:<32} {outer:>10.0}", "rdkafka_performance, one record");
        let one = &values[..1];
        let (took, cpu) = replicated(&cluster, &format!("one{samples}"), one, records, 20_000);
        let figure = Figure::new(records, one, took, cpu);
        figure.print(samples, "exactly once, the same record");
        println!("{:>9}{:.0} % of rdkafka_performance", "", 100.0 * figure.per_second() / outer);
        for transaction in [5_000, 20_000, 100_000] {
            let prefix = format!("replicated{samples}-{transaction}");
            let (took, cpu) = replicated(&cluster, &prefix, &values, records, transaction);
            let figure = Figure::new(records, &values, took, cpu);
            figure.print(samples, &format!("exactly once, {transaction} each"));
            println!(
                "{:>9}{:.0} % of the plain producer",
                "",
                100.0 * figure.per_second() / limit.per_second()
            );
        }
    }
}

struct Figure {
    records: u64,
    record_bytes: f64,
    took: Duration,
    cpu: Duration,
}

#[allow(clippy::cast_precision_loss)] // printed with three digits
impl Figure {
    fn new(records: u64, values: &[Vec<u8>], took: Duration, cpu: Duration) -> Self {
        let bytes: usize = values.iter().map(Vec::len).sum();
        Self { records, record_bytes: bytes as f64 / values.len() as f64, took, cpu }
    }

    fn per_second(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }

    fn print(&self, samples: u32, what: &str) {
        let rate = self.per_second();
        println!(
            "{samples:>7}  {what:<32} {rate:>10.0} {:>8.1} {:>10.0}  {:.2}",
            rate * self.record_bytes / 1e6,
            rate * f64::from(samples),
            self.cpu.as_secs_f64() * 1e6 / self.records as f64
        );
    }
}

/// CPU time of this process so far, all threads; brokers are other processes.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux architecture we build for
}

/// Values as the replicator makes them; prints how fast.
fn encoded(samples: u32, records: u64) -> Vec<Vec<u8>> {
    let tag = |number| SchemaTag {
        path: format!("hydraulics.pump_{number}.pressure"),
        data_type: "REAL".to_owned(),
        unit: "bar".to_owned(),
        texts: std::collections::BTreeMap::new(),
    };
    let schema = Schema {
        device: "Werk1/Presswerk/Linie3/Presse3/press-3".to_owned(),
        name: "press-3".to_owned(),
        profile: "press".to_owned(),
        profile_version: "3".to_owned(),
        tags: (0..samples).map(tag).collect(),
    };
    let mut random = fastrand::Rng::with_seed(1);
    let now = now_us();
    let batches: Vec<Vec<Sample>> = (0..DISTINCT)
        .map(|_| {
            (0..samples)
                .map(|tag| Sample {
                    tag,
                    value: Value::Real((random.f32() * 1000.0).round() / 10.0),
                    quality: Quality::Good,
                    source_us: None,
                })
                .collect()
        })
        .collect();
    let mut out = Vec::new();
    let start = Instant::now();
    let mut bytes = 0_u64;
    for (index, samples) in (0..records).zip(batches.iter().cycle()) {
        encode::batch(&mut out, &schema, now + i64::try_from(index).unwrap_or(0), None, samples);
        bytes += out.len() as u64;
    }
    let took = start.elapsed();
    let figure = Figure { records, record_bytes: 0.0, took, cpu: took };
    println!(
        "{samples:>7}  encode only, {} bytes each: {:.0} records/s",
        bytes / records,
        figure.per_second()
    );
    let encode = |(index, samples): (usize, &Vec<Sample>)| {
        let mut out = Vec::new();
        encode::batch(&mut out, &schema, now + i64::try_from(index * 250).unwrap_or(0), None, samples);
        out
    };
    batches.iter().enumerate().map(encode).collect()
}

fn plain(cluster: &kafka_cluster::Cluster, prefix: &str, values: &[Vec<u8>], records: u64) {
    let topic = format!("{prefix}.telemetry");
    cluster.create_topic(&topic, 4);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.brokers())
        .set("acks", "all")
        .set("compression.codec", "zstd")
        .set("compression.level", "1")
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "50000")
        .set("delivery.report.only.error", "true");
    let producer: BaseProducer = config.create().expect("a producer");
    for (offset, value) in (0..records).zip(values.iter().cycle()) {
        let headers = OwnedHeaders::new_with_capacity(3)
            .insert(Header { key: "edge", value: Some("box-1") })
            .insert(Header { key: "epoch", value: Some("00112233445566778899aabbccddeeff") })
            .insert(Header { key: "offset", value: Some(offset.to_string().as_str()) });
        let key = format!("Werk1/Presswerk/Linie3/Presse3/press-{}", offset % 7);
        let mut record = BaseRecord::to(&topic)
            .key(key.as_str())
            .payload(value)
            .timestamp(now_us() / 1000)
            .headers(headers);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
}

/// Records a second by the program's own clock, which starts with the first record.
fn rdkafka_performance(
    cluster: &kafka_cluster::Cluster,
    topic: &str,
    values: &[Vec<u8>],
    records: u64,
) -> f64 {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/rdkafka_performance");
    cluster.create_topic(topic, 4);
    let value = std::str::from_utf8(&values[0]).expect("JSON");
    let output = std::process::Command::new(program)
        .args(["-P", "-t", topic, "-b", &cluster.brokers(), "-a", "-1", "-z", "zstd"])
        .args(["-X", "compression.level=1", "-X", "linger.ms=5"])
        .args(["-X", "queue.buffering.max.messages=50000"])
        .args(["-k", "Werk1/Presswerk/Linie3/Presse3/press-3", "-H", "edge=box-1"])
        .args(["-H", "epoch=00112233445566778899aabbccddeeff", "-H", "offset=123456"])
        .args(["-s", &value.len().to_string(), "-m", value, "-c", &records.to_string()])
        .output()
        .expect("benches/rdkafka_performance builds the program");
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .filter_map(|line| line.split_once(" msgs/s")?.0.rsplit(' ').next()?.parse().ok())
        .next_back()
        .unwrap_or_else(|| panic!("it says how fast it was: {said}"))
}

/// The backlog of seven devices on disk, `records` scans of `tags` noisy values, sent from there:
/// journal read and decoded, JSON, transactions. The limit sends values of the same length.
fn drain(cluster: &kafka_cluster::Cluster, tags: u32, records: u64) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-drain");
    let _nothing_left_over = std::fs::remove_dir_all(&directory);
    let (events, receiver) = Events::new();
    std::mem::forget(receiver); // nobody reads them here
    let options =
        LaneOptions { budget_bytes: 16 << 30, ..LaneOptions::new("telemetry", &directory, "bench/box") };
    let Opened { lane, writer, reader, .. } = Lane::open(options, events).expect("the lane opens");
    let scalars = vec![Scalar::Real; tags as usize];
    let devices: Vec<_> =
        (0..7).map(|number| device::device(&format!("machine-{number}"), &scalars)).collect();
    let mut random = fastrand::Rng::with_seed(u64::from(tags));
    let now = now_us();
    let mut length = 0;
    for (number, device) in (0..records).zip(devices.iter().cycle()) {
        let sample = |tag| Sample {
            tag,
            value: Value::Real((random.f32() * 1000.0).round() / 10.0),
            quality: Quality::Good,
            source_us: None,
        };
        let samples: Vec<Sample> = (0..tags).map(sample).collect();
        let edge_us = now + i64::try_from(number).unwrap_or(0) * 1000;
        if number == 0 {
            let mut out = Vec::new();
            encode::batch(&mut out, &Schema::of(device), edge_us, None, &samples);
            length = out.len();
        }
        let mut batch = Batch { device: Arc::clone(device), edge_us, samples, gap: None };
        while let Err(back) = writer.try_append(batch) {
            batch = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    writer.flush(Duration::from_secs(60)).expect("the disk works");
    let prefix = format!("drain{tags}");
    let value = "x".repeat(length).into_bytes();
    let outer = rdkafka_performance(cluster, &format!("outer-{prefix}.telemetry"), &[value], records);
    cluster.create_topics(&prefix);
    let options = Options::new(&cluster.brokers(), &prefix, "werk1", "box-1");
    let (start, before) = (Instant::now(), cpu());
    let replicator =
        Replicator::start(options, JournalSource::new("telemetry", reader), "bench", None).expect("a thread");
    let status = replicator.status();
    while status.snapshot().records < records {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (took, spent) = (start.elapsed(), cpu() - before);
    let rate = |records_a_second: f64| records_a_second * f64::from(tags);
    #[allow(clippy::cast_precision_loss)] // printed with three digits
    let per_second = records as f64 / took.as_secs_f64();
    println!(
        "{tags:>7}  from the journal, {length} bytes each: {per_second:.0} records/s, {:.0} samples/s, {:.2} CPU s per \
         million samples, with the start; rdkafka_performance {outer:.0} records/s: {:.0} %",
        rate(per_second),
        spent.as_secs_f64() * 1e6 / rate(records as f64),
        100.0 * per_second / outer
    );
    drop(replicator);
    lane.close();
    std::fs::remove_dir_all(&directory).expect("this run's files go");
}

struct Ring {
    values: Arc<Vec<Vec<u8>>>,
    key: String,
    next: u64,
    total: u64,
    committed: Arc<AtomicU64>,
}

impl Source for Ring {
    fn lane(&self) -> &str {
        "telemetry"
    }

    fn epoch(&self) -> &str {
        "00112233445566778899aabbccddeeff"
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
        let offset = self.next;
        self.next += 1;
        self.key.pop();
        self.key.push(char::from(b'0' + u8::try_from(offset % 7).expect("below 7")));
        let index = usize::try_from(offset).expect("64 bits") % self.values.len();
        let value = &self.values[index];
        Ok(Some(Record { offset, edge_us: now_us(), key: &self.key, value, fault: None }))
    }

    fn committed(&mut self, next_offset: u64) {
        self.committed.store(next_offset, Ordering::SeqCst);
    }

    fn used(&mut self, _: u64) {}

    fn secured(&mut self, _: u64) {}

    fn end(&self) -> u64 {
        self.total
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        Err(SourceFault("all of it is fresh".to_owned()))
    }
}

/// Time and CPU time from the moment Kafka has let us in.
fn replicated(
    cluster: &kafka_cluster::Cluster,
    prefix: &str,
    values: &[Vec<u8>],
    records: u64,
    transaction_records_max: usize,
) -> (Duration, Duration) {
    cluster.create_topics(prefix);
    let committed = Arc::new(AtomicU64::new(0));
    let source = Ring {
        values: Arc::new(values.to_vec()),
        key: "Werk1/Presswerk/Linie3/Presse3/press-0".to_owned(),
        next: 0,
        total: records,
        committed: Arc::clone(&committed),
    };
    let options = Options {
        transaction_records_max,
        transaction_bytes_max: usize::MAX,
        ..Options::new(&cluster.brokers(), prefix, "werk1", "box-1")
    };
    let replicator = Replicator::start(options, source, "bench", None).expect("a thread");
    let status = replicator.status();
    while status.snapshot().state != State::Up {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (start, before) = (Instant::now(), cpu());
    while committed.load(Ordering::SeqCst) < records {
        std::thread::sleep(Duration::from_millis(2));
    }
    let spent = (start.elapsed(), cpu() - before);
    let done = status.snapshot();
    assert_eq!((done.records, done.aborts), (records, 0));
    spent
}
