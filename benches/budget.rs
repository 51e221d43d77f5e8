//! Six weeks without Kafka: `cargo bench --bench budget` on 32 MiB, `-- 2048 noisy` on 2 GiB with
//! values that fill it with a tenth of the samples, `-- 0` without. Real lane, journal and directory below `target/`; only the clock is set
//! forward. Then what summing up saves for four shapes of data.

#[path = "../tests/device.rs"]
mod device;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::batch::{Batch, Sample};
use forebay::clock::Clock;
use forebay::device::Device;
use forebay::event::{Event, Events, Kind};
use forebay::journal::RealDisk;
use forebay::lane::{Body, Lane, LaneOptions, LaneReader, LaneStatus, LaneWriter, Opened, Record};
use forebay_connector::{Quality, Scalar, Value};

const LIMIT: Duration = Duration::from_secs(600);
const WEEK_S: u64 = 7 * 24 * 3600;
/// 2026-01-01.
const START_US: i64 = 1_767_225_600_000_000;
/// Tags that fill about 60 % of a budget of 32 MiB in a week, one value a second each.
const TAGS_OF_32_MIB: u64 = 70;
/// The same of 2 GiB, for values without any regularity.
const NOISY_TAGS_OF_2_GIB: u64 = 300;
const TAGS_MAX: u64 = 100;
const QUEUE_FULL: Duration = Duration::from_millis(1);

/// A clock that goes on when it is told to.
struct StepClock {
    passed: Mutex<Duration>,
    start: Instant,
}

impl StepClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { passed: Mutex::default(), start: Instant::now() })
    }

    fn passed(&self) -> Duration {
        *self.passed.lock().expect("nobody panics here")
    }

    fn forward(&self, time: Duration) {
        *self.passed.lock().expect("nobody panics here") += time;
    }
}

impl Clock for StepClock {
    fn now_us(&self) -> i64 {
        START_US + i64::try_from(self.passed().as_micros()).expect("some weeks")
    }

    fn now(&self) -> Instant {
        self.start + self.passed()
    }
}

fn main() {
    // `cargo test --benches` only asks whether it runs; `cargo bench` adds this argument.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let budget_mib = std::env::args().find_map(|argument| argument.parse::<u64>().ok()).unwrap_or(32);
    let noisy = std::env::args().any(|argument| argument == "noisy");
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench-budget");
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("last run's files go");
    }
    fs::create_dir_all(&directory).expect("target/ can be written");
    match budget_mib {
        _ if short => six_weeks(&directory, 1, WEEK_S / 50, false),
        0 => {}
        budget_mib => six_weeks(&directory, budget_mib, WEEK_S, noisy),
    }
    let scans: u64 = if short { 2_000 } else { 100_000 };
    for shape in [Shape::SlowChanges, Shape::SlowEvery, Shape::Noisy, Shape::Counters] {
        saving(&directory, shape, scans);
    }
    fs::remove_dir_all(&directory).expect("this run's files go");
}

fn open(
    directory: &Path,
    clock: &Arc<StepClock>,
    options: LaneOptions,
) -> (Opened, tokio::sync::mpsc::Receiver<Event>) {
    let (events, receiver) = Events::new();
    let disk = RealDisk::open(directory).expect("target/ can be written");
    let clock = Arc::clone(clock);
    (Lane::open_on(Arc::new(disk), clock, options, events).expect("the lane opens"), receiver)
}

/// Hands a batch over, however long the queue is full.
fn hand_over(writer: &LaneWriter, mut batch: Batch) {
    while let Err(back) = writer.try_append(batch) {
        batch = back;
        std::thread::sleep(QUEUE_FULL);
    }
}

fn samples(values: impl Iterator<Item = (u32, Value)>) -> Vec<Sample> {
    values.map(|(tag, value)| Sample { tag, value, quality: Quality::Good, source_us: None }).collect()
}

/// A week here lasts `week_s`; the budget is right for a true one.
fn six_weeks(directory: &Path, budget_mib: u64, week_s: u64, noisy: bool) {
    let tags = if noisy { NOISY_TAGS_OF_2_GIB * budget_mib / 2048 } else { TAGS_OF_32_MIB * budget_mib / 32 };
    let tags = tags.max(2);
    let sizes = (0..tags.div_ceil(TAGS_MAX)).map(|index| (tags - index * TAGS_MAX).min(TAGS_MAX));
    let devices: Vec<Arc<Device>> = sizes
        .enumerate()
        .map(|(index, tags)| {
            device::device(
                &format!("machine-{index}"),
                &vec![Scalar::Lreal; usize::try_from(tags).expect("few")],
            )
        })
        .collect();
    let clock = StepClock::new();
    let options = LaneOptions {
        budget_bytes: budget_mib << 20,
        sync_interval: Duration::from_secs(60),
        full_for: Duration::from_secs(week_s),
        ..LaneOptions::new("telemetry", directory, "bench/box")
    };
    let (mut lane, mut events) = open(&directory.join("weeks"), &clock, options);
    let mut random = fastrand::Rng::with_seed(1);
    let mut tenths: Vec<Vec<i32>> = devices.iter().map(|device| vec![500; device.tags.len()]).collect();
    let started = Instant::now();
    let mut removed = 0;
    for second in 0..6 * week_s {
        for (device, tenths) in devices.iter().zip(&mut tenths) {
            let values = tenths.iter_mut().zip(0..).map(|(tenths, tag)| {
                if noisy {
                    return (tag, Value::Lreal(random.f64()));
                }
                *tenths += random.i32(-1..=1);
                (tag, Value::Lreal(f64::from(*tenths) / 10.0))
            });
            let samples = samples(values);
            hand_over(
                &lane.writer,
                Batch { device: Arc::clone(device), edge_us: clock.now_us(), samples, gap: None },
            );
        }
        clock.forward(Duration::from_secs(1));
        if second % 10_000 == 0 {
            removed += removed_samples(&mut events);
        }
    }
    lane.writer.flush(LIMIT).expect("the disk works");
    let took = started.elapsed();
    removed += removed_samples(&mut events);
    let status = lane.writer.status().borrow().clone();
    report(&status, 6 * week_s * tags, took);
    let (full, thinned, oldest_full_us) = read(&mut lane.reader);
    println!("  given in full {full}, summed up {thinned}, removed {removed} samples");
    assert_eq!(full + thinned + removed, 6 * week_s * tags, "each sample once");
    let full_s = (clock.now_us() - oldest_full_us) / 1_000_000;
    println!("  in full for {:.2} weeks", full_s as f64 / week_s as f64);
    lane.lane.close();
}

#[allow(clippy::cast_precision_loss)] // figures
fn report(status: &LaneStatus, samples: u64, took: Duration) {
    println!(
        "six weeks on {} MiB: {samples} samples in {:.0} s, {:.2} µs each; {:.1} MiB on disk, {:.1} MiB of it summed up",
        status.budget_bytes >> 20,
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / samples as f64,
        status.bytes as f64 / (1 << 20) as f64,
        status.thinned_bytes as f64 / (1 << 20) as f64,
    );
    println!(
        "  {:.2} bytes a sample in full, summed up to {:.3} of it; written again {:.3} of what was written",
        status.bytes_per_sample.unwrap_or_default(),
        status.thinned_ratio.unwrap_or(1.0),
        status.rewritten_bytes as f64 / status.written_bytes as f64,
    );
}

fn removed_samples(events: &mut tokio::sync::mpsc::Receiver<Event>) -> u64 {
    let mut removed = 0;
    while let Ok(event) = events.try_recv() {
        if event.kind == Kind::Gap {
            removed += event.data["samples"].as_u64().expect("gaps of lanes count");
        }
    }
    removed
}

/// Samples in full and summed up, and the oldest edge time from which on all is in full.
fn read(reader: &mut LaneReader) -> (u64, u64, i64) {
    let (mut full, mut thinned, mut oldest_full_us) = (0, 0, None);
    loop {
        let records = reader.next(1000, 1 << 20);
        if records.is_empty() {
            return (full, thinned, oldest_full_us.unwrap_or(i64::MAX));
        }
        for Record { body, .. } in records {
            match body {
                Body::Batch(batch) => {
                    full += batch.samples.len() as u64;
                    oldest_full_us.get_or_insert(batch.edge_us);
                }
                Body::Thinned(batch) => {
                    thinned += batch.samples.iter().map(|sample| sample.count + sample.bad).sum::<u64>();
                    oldest_full_us = None;
                }
                Body::Event(_) => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    SlowChanges,
    SlowEvery,
    Noisy,
    Counters,
}

/// What summing up over a minute saves: 50 tags, scanned once a second.
fn saving(directory: &Path, shape: Shape, scans: u64) {
    let device = device::device("machine", &[Scalar::Lreal; 50]);
    let clock = StepClock::new();
    let options = LaneOptions {
        budget_bytes: 256 << 10,
        segment_bytes: 32 << 10,
        sync_interval: Duration::from_secs(5),
        full_for: Duration::ZERO,
        ..LaneOptions::new("telemetry", directory, "bench/box")
    };
    let (lane, _events) = open(&directory.join(format!("{shape:?}")), &clock, options);
    let mut random = fastrand::Rng::with_seed(2);
    let mut state = [500i64; 50];
    for scan in 0..scans {
        let values: Vec<(u32, Value)> = (0..50u32)
            .zip(&mut state)
            .filter_map(|(tag, state)| match shape {
                Shape::SlowChanges | Shape::SlowEvery => {
                    let changes = random.u8(..) < 34;
                    *state += if changes { i64::from(random.i8(-1..=1)) } else { 0 };
                    let all = matches!(shape, Shape::SlowEvery);
                    (all || changes).then(|| (tag, Value::Lreal(*state as f64 / 10.0)))
                }
                Shape::Noisy => Some((tag, Value::Lreal(random.f64()))),
                Shape::Counters => {
                    *state += i64::from(random.u8(0..3));
                    Some((tag, Value::Int(*state)))
                }
            })
            .collect();
        let batch = Batch {
            device: Arc::clone(&device),
            edge_us: clock.now_us(),
            samples: samples(values.into_iter()),
            gap: None,
        };
        hand_over(&lane.writer, batch);
        clock.forward(Duration::from_secs(1));
        if scan % 1000 == 0 {
            lane.writer.flush(LIMIT).expect("the disk works");
        }
    }
    lane.writer.flush(LIMIT).expect("the disk works");
    let status = lane.writer.status().borrow().clone();
    println!(
        "{shape:?}: {:.2} bytes a sample in full, summed up to {}",
        status.bytes_per_sample.unwrap_or_default(),
        status.thinned_ratio.map_or("nothing yet".to_owned(), |ratio| format!("{ratio:.3} of it")),
    );
    lane.lane.close();
}
