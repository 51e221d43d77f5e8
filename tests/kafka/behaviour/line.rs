//! A line of 1 Mbit/s with 100 ms there and back.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::time::{Duration, Instant};

use forebay::batch::{Sample, Schema, SchemaTag};
use forebay::clock::now_us;
use forebay::replicate::{Options, encode};
use forebay_connector::{Quality, Value};

use super::super::lanes::{EPOCH, Memory};
use super::super::start;
use crate::kafka_cluster::{Cluster, Plan, consume};
use crate::network::{Network, Slow};
use crate::support::wait_for;

/// Tags of a machine whose values wander slowly.
const TAGS: usize = 20;
const SLOW: Slow = Slow { bits_per_s: 1_000_000, round_trip_ms: 100 };
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// Pushes `records` scans of a machine whose values wander.
struct Machine {
    schema: Schema,
    values: [f32; TAGS],
    random: fastrand::Rng,
    edge_us: i64,
}

impl Machine {
    fn new() -> Self {
        let tag = |index| SchemaTag {
            path: format!("drive{}.temperature{index}", index / 5),
            data_type: "REAL".to_owned(),
            unit: "°C".to_owned(),
            texts: [].into(),
        };
        let schema = Schema {
            device: "Werk1/Halle/Linie/press-3".to_owned(),
            name: "press-3".to_owned(),
            profile: "press".to_owned(),
            profile_version: "1".to_owned(),
            standby_for: String::new(),
            tags: (0..TAGS).map(tag).collect(),
        };
        Self { schema, values: [40.0; TAGS], random: fastrand::Rng::with_seed(3), edge_us: now_us() }
    }

    fn scan(&mut self, source: &Memory) {
        let random = &mut self.random;
        let samples: Vec<Sample> = (0..)
            .zip(&mut self.values)
            .map(|(tag, value)| {
                *value += (random.f32() - 0.5) * 0.4;
                let shown = (*value * 10.0).round() / 10.0;
                Sample { tag, value: Value::Real(shown), quality: Quality::Good, source_us: None }
            })
            .collect();
        let mut value = Vec::new();
        encode::batch(&mut value, &self.schema, self.edge_us, None, &samples);
        source.push(&self.schema.device, self.edge_us, &value);
        self.edge_us += 1_000_000;
    }
}

/// The backlog of hours goes out over such a line, in transactions that fit into their timeout; one
/// by itself costs a few round trips.
#[test]
fn a_slow_line_carries_the_backlog() {
    const RECORDS: u64 = 36_000;
    let _quiet = Cluster::no_other();
    let mut network = Network::start_with(3, Some(SLOW));
    let cluster = Cluster::start_by(Plan { brokers: 3, network: Some(&network), ..Plan::default() });
    cluster.create_topics("slow");
    let source = Memory::new("telemetry", EPOCH);
    let mut machine = Machine::new();
    (0..RECORDS).for_each(|_| machine.scan(&source));
    let options = Options {
        // A pause between transactions would count as round trips.
        commit_interval: Duration::from_millis(1),
        ..Options::new(&cluster.brokers(), "slow", "werk1", "box-1")
    };
    let replicator = start(options, &source, "boot-a");
    let status = replicator.status();
    wait_for("first commit", CATCH_UP_MAX, || (status.snapshot().transactions > 0).then_some(()));
    let (first, before, begin) = (status.snapshot(), network.carried_bytes(), Instant::now());
    source.wait_committed(RECORDS, CATCH_UP_MAX);
    let took = begin.elapsed().as_secs_f64();
    let (last, after) = (status.snapshot(), network.carried_bytes());
    let [up, down] = [0, 1].map(|way: usize| after[way] - before[way]);
    let records = last.records - first.records;
    let samples = records as f64 * TAGS as f64;
    println!(
        "backlog: {:.0} records/s, {:.0} samples/s, {} transactions of {:.1} s, {} given up",
        records as f64 / took,
        samples / took,
        last.transactions - first.transactions,
        took / (last.transactions - first.transactions) as f64,
        last.aborts,
    );
    println!(
        "wire: {:.2} bytes a sample to Kafka with all heads of TCP and IP, {:.2} back; JSON {:.1}; line {:.0} % busy",
        up as f64 / samples,
        down as f64 / samples,
        (last.bytes - first.bytes) as f64 / samples,
        up as f64 * 8.0 / took / f64::from(SLOW.bits_per_s) * 100.0,
    );
    assert_eq!(last.aborts, 0, "no transaction outlives its timeout: {last:?}");

    // One record at a time: what a transaction costs by itself.
    const SINGLE: u32 = 10;
    let mut slept = Duration::ZERO;
    for number in 0..SINGLE {
        let pushed = Instant::now();
        machine.scan(&source);
        source.wait_committed(RECORDS + u64::from(number) + 1, CATCH_UP_MAX);
        slept += pushed.elapsed();
    }
    let round_trips = slept.as_secs_f64() / f64::from(SINGLE) / (f64::from(SLOW.round_trip_ms) / 1000.0);
    println!("one record: {:?} from journal to commit, {round_trips:.1} round trips", slept / SINGLE);
    replicator.join();
    let read = consume(&cluster.brokers(), &["slow.telemetry"], true, Duration::from_secs(5));
    let mut offsets: Vec<u64> = read.iter().map(|record| record.offset()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..RECORDS + u64::from(SINGLE)).collect::<Vec<_>>());
}
