//! Journal to Kafka: a backlog on disk against librdkafka's own `rdkafka_performance` with the same
//! records, codec and acks; and what the transactional replicator costs by itself, against a plain
//! producer that sends the same bytes with the same settings. All to the same broker in the same run.
//!
//! `cargo bench --bench replicate`, optionally `-- <records>` and `drain` for the first part only, with
//! numbers of tags for some of its shapes only (`-- 1000000 drain 20`), and `parts` for what makes the
//! difference.
//! Needs `tests/setup` (the broker is a real Kafka on loopback) and `benches/rdkafka_performance`,
//! which builds that program.

#[path = "../tests/device.rs"]
mod device;
#[path = "replicate_parts/drain.rs"]
mod drain;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/kafka_cluster.rs"]
mod kafka_cluster;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/network.rs"]
mod network;
#[path = "replicate_parts/outer.rs"]
mod outer;
#[path = "replicate_parts/prepared.rs"]
mod prepared;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/support.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay::batch::{Sample, Schema, SchemaTag};
use forebay::clock::now_us;
use forebay::replicate::{
    Options, Record, Replicator, Source, SourceFault, State, TRANSACTION_RECORDS_MAX, encode,
};
use forebay_connector::{Quality, Value};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Distinct values that are sent in turn, so that compression has honest work.
const DISTINCT: usize = 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    if let Some(("send", arguments)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return drain::send(arguments);
    }
    let numbers: Vec<u64> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    let records = numbers.first().copied().unwrap_or(1_000_000);
    let parts = arguments.iter().any(|text| text == "parts");
    let only_drain = arguments.iter().any(|text| text == "drain");
    let cluster = kafka_cluster::Cluster::start(1);
    // Warms up the broker's JVM, unmeasured.
    plain(&cluster, "warm", &encoded(20, 100_000), records / 4);
    for (tags, records) in [(1, records * 4), (20, records), (200, records / 10)] {
        if numbers.len() < 2 || numbers[1..].contains(&u64::from(tags)) {
            drain::drain(&cluster, tags, records, parts);
        }
    }
    if only_drain {
        return;
    }
    println!(
        "samples  what                              records/s     MB/s  samples/s  CPU s per million records"
    );
    for samples in [1, 20] {
        let records = records / if samples == 1 { 1 } else { 5 };
        let values = encoded(samples, records);
        let before = cpu();
        let start = Instant::now();
        plain(&cluster, &format!("plain{samples}"), &values, records);
        let limit = Figure::new(records, &values, start.elapsed(), cpu() - before);
        limit.print(samples, "plain producer, no transactions");
        let topic = format!("outer{samples}.telemetry");
        let key = "Werk1/Presswerk/Linie3/Presse3/press-3";
        let outer = outer::one_record(&cluster, &topic, key, &values[0], records);
        println!("{samples:>7}  {:<32} {outer:>10.0}", "rdkafka_performance, one record");
        let one = &values[..1];
        let (took, cpu) =
            replicated(&cluster, &format!("one{samples}"), one, records, TRANSACTION_RECORDS_MAX);
        let figure = Figure::new(records, one, took, cpu);
        figure.print(samples, "exactly once, the same record");
        println!("{:>9}{:.0} % of rdkafka_performance", "", 100.0 * figure.per_second() / outer);
        for transaction in [5_000, 20_000, 100_000, TRANSACTION_RECORDS_MAX] {
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
        standby_for: String::new(),
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
        .set("linger.ms", "25")
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
