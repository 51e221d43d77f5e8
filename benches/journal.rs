//! What a sample costs from the connector's hand to the synced journal, what it takes there, and how
//! fast it is read: `cargo bench --bench journal`, or only a part of it: `-- flood`, `bytes`, `shapes`,
//! `history`, `open`.
//!
//! Writes below `target/`, so on the disk the repository is on. All figures come from one run.

#[path = "journal_parts/careless.rs"]
mod careless;
#[path = "../tests/device.rs"]
mod device;
#[path = "journal_parts/others.rs"]
mod others;
#[path = "journal_parts/past.rs"]
mod past;
#[path = "journal_parts/shapes.rs"]
mod shapes;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::batch::{Batch, Sample};
use forebay::device::Device;
use forebay::event::Events;
use forebay::lane::{Lane, LaneOptions, LaneStatus, Opened};
use forebay::poll::Engineer;
use forebay::twin::Twin;
use forebay_connector::{Quality, RawSample, Scalar, Value};

use others::{Json, Parquet};
use shapes::{Machine, Shape, TAGS};

const LIMIT: Duration = Duration::from_secs(60);
/// 2026-02-11T08:15:30Z.
const START_US: i64 = 1_770_797_730_000_000;
const FLOOD_SAMPLES: usize = 10_000_000;
const HOUR_S: usize = 3600;
const DAY_S: usize = 24 * HOUR_S;
/// 10 GB.
const SEGMENTS: usize = 600;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let short = std::env::args().any(|argument| argument == "--test");
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench-journal");
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("last run's files go");
    }
    fs::create_dir_all(&directory).expect("target/ can be written");
    let parts = ["flood", "bytes", "shapes", "history", "open"];
    let named: Vec<String> = std::env::args().filter(|argument| parts.contains(&argument.as_str())).collect();
    let runs = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if runs("flood") {
        flood(&directory, if short { 100_000 } else { FLOOD_SAMPLES });
    }
    if runs("bytes") {
        bytes_per_sample(&directory, if short { 60 } else { HOUR_S });
    }
    if runs("shapes") {
        four_shapes(&directory, if short { 120 } else { HOUR_S });
    }
    if runs("history") {
        past::history(&directory, if short { 300 } else { DAY_S });
    }
    if runs("open") {
        past::open(&directory, if short { 20 } else { SEGMENTS });
    }
    fs::remove_dir_all(&directory).expect("this run's files go");
}

fn open(directory: &Path, name: &str) -> Opened {
    let (events, receiver) = Events::new();
    // Nobody reads them here; the lane only counts them.
    std::mem::forget(receiver);
    let options = LaneOptions {
        budget_bytes: 16 << 30,
        ..LaneOptions::new("telemetry", directory.join(name), "bench/box")
    };
    Lane::open(options, events).expect("the lane opens")
}

/// A walk in steps of at most one tenth, as a temperature sensor with one decimal gives.
struct Walk {
    tenths: Vec<i16>,
    random: fastrand::Rng,
}

impl Walk {
    fn new(device: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(device as u64);
        Self { tenths: (0..TAGS).map(|_| random.i16(100..900)).collect(), random }
    }

    /// The samples of the next scan; a tag that has not changed is left out unless `unchanged`.
    fn scan(&mut self, unchanged: bool, value: impl Fn(i16, &mut fastrand::Rng) -> Value) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (tag, tenths) in (0..).zip(&mut self.tenths) {
            // One tag in five changes from scan to scan.
            let step = if self.random.u8(..5) == 0 { self.random.i16(-1..=1) } else { 0 };
            *tenths += step;
            if unchanged || step != 0 {
                let value = value(*tenths, &mut self.random);
                samples.push(Sample { tag, value, quality: Quality::Good, source_us: None });
            }
        }
        samples
    }
}

fn real(tenths: i16, _: &mut fastrand::Rng) -> Value {
    Value::Real(f32::from(tenths) / 10.0)
}

fn noisy(tenths: i16, random: &mut fastrand::Rng) -> Value {
    Value::Lreal(f64::from(tenths) / 10.0 + random.f64() / 100.0)
}

fn devices(count: usize) -> Vec<Arc<Device>> {
    (0..count).map(|number| device::device(&format!("machine-{number}"), &[Scalar::Real; TAGS])).collect()
}

/// Processor time of this process so far, all threads, user and system (proc(5), ticks of 10 ms).
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields = stat.rsplit(')').next().expect("the name is in brackets");
    let ticks =
        fields.split_ascii_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Devices whose tags are published with every scan, changed or not.
fn publishing_everything(count: usize) -> Vec<Arc<Device>> {
    let mut devices = devices(count);
    for device in &mut devices {
        let device = Arc::get_mut(device).expect("nobody else has it yet");
        Arc::make_mut(&mut device.tags).iter_mut().for_each(|tag| tag.max_silence = Duration::ZERO);
    }
    devices
}

/// The samples as a connector hands them over.
fn raw(samples: Vec<Sample>) -> Vec<RawSample> {
    let raw = |Sample { tag, value, quality, source_us }| RawSample { tag, value, quality, source_us };
    samples.into_iter().map(raw).collect()
}

/// As many samples as possible, from a connector's answer through scaling, deadband and twin into one
/// lane, against writing the same bytes plainly.
fn flood(directory: &Path, samples: usize) {
    println!("flood: 20 devices, scans of {TAGS} REAL tags in tenths, every value published");
    println!(
        "{:<22}{:>12}{:>14}{:>12}{:>11}{:>12}",
        "", "samples/s", "per CPU s", "µs CPU each", "B/sample", "MB written"
    );
    for (name, value) in
        [("slow, one decimal", real as fn(i16, &mut fastrand::Rng) -> Value), ("noisy, 64 bits", noisy)]
    {
        let opened = open(directory, &format!("flood {name}"));
        let twin = Twin::new(&publishing_everything(20));
        let mut engineers: Vec<Engineer> =
            twin.devices().iter().map(|twin| Engineer::new(Arc::clone(&twin.device))).collect();
        // Long enough that the compressor does not see a scan twice.
        let mut walks: Vec<Walk> = (0..engineers.len()).map(Walk::new).collect();
        let scans: Vec<Vec<RawSample>> = (0..400 * walks.len())
            .map(|number| raw(walks[number % engineers.len()].scan(true, value)))
            .collect();
        let devices = twin.devices();
        let (started, before) = (Instant::now(), processor());
        for number in 0..samples / TAGS {
            let (at, edge_us) =
                (number % engineers.len(), 1_770_000_000_000_000 + i64::try_from(number).unwrap_or(0));
            let mut samples = Vec::with_capacity(TAGS);
            let device = &devices[at];
            let state = &mut device.state();
            engineers[at].publish(&scans[number % scans.len()], &[0], edge_us, state, &mut samples);
            let mut batch = Batch { device: Arc::clone(&device.device), edge_us, samples, gap: None };
            while let Err(back) = opened.writer.try_append(batch) {
                // The writer is behind; give it the core.
                std::thread::sleep(Duration::from_micros(200));
                batch = back;
            }
        }
        opened.writer.flush(LIMIT).expect("the disk works");
        let (took, processor) = (started.elapsed(), processor() - before);
        let status = opened.writer.status().borrow().clone();
        opened.lane.close();
        report(name, samples, took, processor, &status);
        let raw = plain(directory, &status);
        println!(
            "  the same bytes by plain write and fdatasync, {} blocks: {:.2} s, the journal took {:.2} s: {:.2} times",
            status.syncs,
            raw.as_secs_f64(),
            took.as_secs_f64(),
            took.as_secs_f64() / raw.as_secs_f64()
        );
    }
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn report(name: &str, samples: usize, took: Duration, processor: Duration, status: &LaneStatus) {
    assert_eq!(status.samples, samples as u64);
    println!(
        "{name:<22}{:>12.0}{:>14.0}{:>12.3}{:>11.2}{:>12.1}",
        samples as f64 / took.as_secs_f64(),
        samples as f64 / processor.as_secs_f64(),
        processor.as_secs_f64() * 1e6 / samples as f64,
        status.bytes_per_sample.unwrap_or(0.0),
        status.written_bytes as f64 / 1e6,
    );
}

/// Writes as many bytes in as many blocks as the lane did, each with its own fdatasync.
fn plain(directory: &Path, status: &LaneStatus) -> Duration {
    let path = directory.join("plain");
    let length = usize::try_from(status.written_bytes / status.syncs.max(1)).unwrap_or(1);
    let block: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
    let mut file = File::create(&path).expect("target/ can be written");
    let started = Instant::now();
    for _ in 0..status.syncs {
        file.write_all(&block).expect("the disk works");
        file.sync_data().expect("the disk works");
    }
    let took = started.elapsed();
    fs::remove_file(path).expect("it was just made");
    took
}

/// One hour of scans, each synced by itself as it is with a scan a second and a sync every 500 ms.
fn bytes_per_sample(directory: &Path, seconds: usize) {
    println!(
        "\non disk, {seconds} scans of 1 s, {TAGS} tags, one tag in five moves by a tenth or not, one sync a scan,"
    );
    println!("all counted: headers, schemas, checksums");
    println!("{:<50}{:>12}{:>12}{:>12}", "", "samples", "bytes", "B/sample");
    let changed = |walk: &mut Walk| walk.scan(false, real);
    let all = |walk: &mut Walk| walk.scan(true, real);
    let noise = |walk: &mut Walk| walk.scan(true, noisy);
    run(directory, "1 device, REAL, changes only", 1, seconds, changed);
    run(directory, "10 devices, REAL, changes only", 10, seconds, changed);
    run(directory, "1 device, REAL, every value", 1, seconds, all);
    run(directory, "10 devices, REAL, every value", 10, seconds, all);
    run(directory, "10 devices, LREAL with noise in all bits, every value", 10, seconds, noise);
}

fn run(
    directory: &Path,
    name: &str,
    devices_len: usize,
    seconds: usize,
    scan: impl Fn(&mut Walk) -> Vec<Sample>,
) {
    let opened = open(directory, name);
    let devices = devices(devices_len);
    let mut walks: Vec<Walk> = (0..devices.len()).map(Walk::new).collect();
    for second in 0..seconds {
        for (number, (device, walk)) in (0..).zip(devices.iter().zip(&mut walks)) {
            let now_us = forebay::clock::now_us();
            let edge_us = now_us + number * 1000 + i64::try_from(second % 7).unwrap_or(0);
            let batch = Batch { device: Arc::clone(device), edge_us, samples: scan(walk), gap: None };
            assert!(opened.writer.try_append(batch).is_ok(), "the queue has room");
        }
        opened.writer.flush(LIMIT).expect("the disk works");
    }
    let status = opened.writer.status();
    opened.lane.close();
    let status = status.borrow().clone();
    println!(
        "{name:<50}{:>12}{:>12}{:>12.2}",
        status.samples,
        status.written_bytes,
        status.bytes_per_sample.unwrap_or(0.0)
    );
}

/// Bytes on disk of four shapes of data, beside what others would take for the same samples.
fn four_shapes(directory: &Path, seconds: usize) {
    println!(
        "\non disk, {seconds} scans of 1 s, {TAGS} tags, only what has changed, one sync a scan, all counted; zstd 3"
    );
    println!(
        "{:<32}{:>12}{:>10}{:>20}{:>26}",
        "B/sample", "samples", "journal", "JSON+zstd, a block", "Parquet+zstd, one file"
    );
    for shape in Shape::ALL {
        for devices_len in [1, 10] {
            shape_on_disk(directory, shape, devices_len, seconds);
        }
    }
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn shape_on_disk(directory: &Path, shape: Shape, devices_len: usize, seconds: usize) {
    let name = format!("{}, {devices_len} devices", shape.name());
    let opened = open(directory, &name);
    let devices = devices(devices_len);
    let mut machines: Vec<Machine> =
        (0..).take(devices_len).map(|number| Machine::new(shape, number)).collect();
    let (mut json, mut parquet) = (Json::new(), Parquet::new());
    for second in 0..seconds {
        for (number, (device, machine)) in (0..).zip(devices.iter().zip(&mut machines)) {
            // A poll is some hundred microseconds early or late.
            let late_us = number * 1000 + fastrand::i64(-300..300);
            let edge_us = START_US + i64::try_from(second).unwrap_or(0) * 1_000_000 + late_us;
            let samples = machine.scan(second);
            if samples.is_empty() {
                continue;
            }
            json.add(&device.path, edge_us, &samples);
            parquet.add(&device.path, edge_us, &samples);
            let batch = Batch { device: Arc::clone(device), edge_us, samples, gap: None };
            assert!(opened.writer.try_append(batch).is_ok(), "the queue has room");
        }
        json.sync();
        opened.writer.flush(LIMIT).expect("the disk works");
    }
    let status = opened.writer.status();
    opened.lane.close();
    let status = status.borrow().clone();
    let each = |bytes: usize| bytes as f64 / status.samples as f64;
    println!(
        "{name:<32}{:>12}{:>10.2}{:>20.2}{:>26.2}",
        status.samples,
        status.bytes_per_sample.unwrap_or(0.0),
        each(json.bytes),
        each(parquet.finish()),
    );
}
