//! The whole way of a backlog: journal on disk, read and decoded, JSON, transactions.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::batch::{Batch, Sample, Schema};
use forebay::clock::now_us;
use forebay::device::Device;
use forebay::event::Events;
use forebay::lane::{Lane, LaneOptions, LaneReader, LaneWriter, Opened};
use forebay::replicate::{JournalSource, Options, Replicator, Source, State, encode};
use forebay_connector::{Quality, Scalar, Value};

use crate::kafka_cluster::Cluster;
use crate::{cpu, device, outer};

/// The backlog of seven devices, `records` scans of `tags` noisy values, against
/// `rdkafka_performance` with the very same keys and values, and with one of them repeated.
#[allow(clippy::cast_precision_loss)] // printed with three digits
pub fn drain(cluster: &Cluster, tags: u32, records: u64) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-drain");
    let _nothing_left_over = std::fs::remove_dir_all(&directory);
    let (lane, writer, reader) = open(&directory);
    let written = write(&writer, &directory, tags, records);
    let mut source = JournalSource::new("telemetry", reader);
    let length = written.bytes / records;
    println!("{tags:>7}  {records} records of {length} bytes from {:.1} MB of journal", mb(&directory));
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;

    let (start, before) = (Instant::now(), cpu());
    for _ in 0..records {
        source.next(Duration::ZERO).expect("a record").expect("all of them are there");
    }
    let (took, spent) = (start.elapsed(), cpu() - before);
    println!(
        "{:>9}reading and encoding alone: {:.0} records/s, {:.2} CPU s a million",
        "",
        rate(took),
        per_million(spent)
    );

    lane.close();
    let prefix = format!("drain{tags}");
    let topic = |what: &str| format!("{what}-{prefix}.telemetry");
    let one = outer::one_record(cluster, &topic("one"), &written.key, &written.value, records);
    let same = outer::same_records(cluster, &topic("same"), &written.file, records);
    cluster.create_topics(&prefix);
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["send", &cluster.brokers(), &prefix, &records.to_string()])
        .arg(&directory)
        .stderr(Stdio::inherit())
        .output()
        .expect("it runs once more");
    let said = String::from_utf8(output.stdout).expect("text");
    let (ours, more) =
        said.trim().split_once(' ').unwrap_or_else(|| panic!("it says how fast it was: {said}"));
    let ours: f64 = ours.parse().expect("a number");
    println!(
        "{:>9}exactly once: {ours:.0} records/s, {:.0} samples/s, {:.0} MB/s, {more}",
        "",
        ours * f64::from(tags),
        ours * length as f64 / 1e6,
    );
    for (what, outer) in [("the same records", same), ("one record again and again", one)] {
        println!(
            "{:>9}rdkafka_performance, {what}: {outer:.0} records/s, of which we are {:.0} %",
            "",
            100.0 * ours / outer
        );
    }
    std::fs::remove_dir_all(&directory).expect("this run's files go");
    std::fs::remove_file(&written.file).expect("this run's files go");
}

/// The sending half, in a process of its own, so that its memory is that of a box with a backlog:
/// brokers, prefix, number of records and the lane's directory are its arguments.
#[allow(clippy::cast_precision_loss)] // printed with three digits
pub fn send(arguments: &[String]) {
    let [brokers, prefix, records, directory] = arguments else { panic!("four arguments: {arguments:?}") };
    let records: u64 = records.parse().expect("a number");
    let (lane, _, reader) = open(Path::new(directory));
    let replicator = Replicator::start(
        Options::new(brokers, prefix, "werk1", "box-1"),
        JournalSource::new("telemetry", reader),
        "bench",
        None,
    )
    .expect("a thread");
    let status = replicator.status();
    while status.snapshot().state != State::Up {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (start, before) = (Instant::now(), cpu());
    while status.snapshot().records < records {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (took, spent) = (start.elapsed(), cpu() - before);
    println!(
        "{} {:.2} CPU s a million, {} transactions, at most {} MB of memory",
        records as f64 / took.as_secs_f64(),
        spent.as_secs_f64() * 1e6 / records as f64,
        status.snapshot().transactions,
        peak_mb()
    );
    drop(replicator);
    lane.close();
}

fn open(directory: &Path) -> (Lane, LaneWriter, LaneReader) {
    let (events, receiver) = Events::new();
    std::mem::forget(receiver); // nobody reads them here
    let options =
        LaneOptions { budget_bytes: 16 << 30, ..LaneOptions::new("telemetry", directory, "bench/box") };
    let Opened { lane, writer, reader, .. } = Lane::open(options, events).expect("the lane opens");
    (lane, writer, reader)
}

/// What was written, and the first of it.
struct Written {
    bytes: u64,
    key: String,
    value: Vec<u8>,
    file: std::path::PathBuf,
}

fn write(writer: &LaneWriter, directory: &Path, tags: u32, records: u64) -> Written {
    let scalars = vec![Scalar::Real; tags as usize];
    let devices: Vec<(Arc<Device>, Schema)> = (0..7)
        .map(|number| device::device(&format!("machine-{number}"), &scalars))
        .map(|device| (Arc::clone(&device), Schema::of(&device)))
        .collect();
    let mut file = outer::Records::create(directory.with_extension("records"));
    let mut random = fastrand::Rng::with_seed(u64::from(tags));
    let now = now_us();
    let (mut value, mut first, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (number, (device, schema)) in (0..records).zip(devices.iter().cycle()) {
        let sample = |tag| Sample {
            tag,
            value: Value::Real((random.f32() * 1000.0).round() / 10.0),
            quality: Quality::Good,
            source_us: None,
        };
        let samples: Vec<Sample> = (0..tags).map(sample).collect();
        let edge_us = now + i64::try_from(number).unwrap_or(0) * 1000;
        encode::batch(&mut value, schema, edge_us, None, &samples);
        bytes += value.len() as u64;
        if !file.is_full() {
            file.push(&schema.device, &value);
        }
        if number == 0 {
            first.clone_from(&value);
        }
        let mut batch = Batch { device: Arc::clone(device), edge_us, samples, gap: None };
        while let Err(back) = writer.try_append(batch) {
            batch = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    writer.flush(Duration::from_secs(60)).expect("the disk works");
    Written { bytes, key: devices[0].1.device.clone(), value: first, file: file.close() }
}

#[allow(clippy::cast_precision_loss)] // printed with one digit
fn mb(directory: &Path) -> f64 {
    let files = std::fs::read_dir(directory).expect("the lane is there");
    let bytes: u64 = files
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| if file.is_file() { file.len() } else { 0 })
        .sum();
    bytes as f64 / 1e6
}

/// Most memory this process has had at once.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1000
}
