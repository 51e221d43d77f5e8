//! Long runs by a clock that runs faster (`FOREBAY_SOAK_HOURS` sets more): an hour on a small disk that others fill and free, and two
//! hours of lanes and replication in which nothing may grow. Each in a process of its own, so that
//! memory and file descriptors are its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::clock::{Clock, now_us};
use forebay::event::Events;
use forebay::journal::RealDisk;
use forebay::lane::{Lane, LaneOptions, Opened};
use forebay::replicate::mock::Broker;
use forebay::replicate::{JournalSource, Options, Replicator};
use forebay_connector::Scalar;

use super::image::Image;
use super::number_from_environment;
use super::victim::Victim;
use crate::device::device;
use crate::journal::{LIMIT, batch, serial};
use crate::support::wait_for;

/// Names the directory in which the other process runs.
const HOUR: &str = "FOREBAY_TEST_HOUR";
const SOAK: &str = "FOREBAY_TEST_SOAK";
/// Where that process finds its broker, which keeps what it gets in memory and so lives in another.
const BROKER: &str = "FOREBAY_TEST_BROKER";
/// How much faster the clock runs for the hour, and for the two hours.
const FASTER_HOUR: u32 = 180;
const FASTER_SOAK: u32 = 360;
/// Time from one batch to the next, by that clock.
const EVERY: Duration = Duration::from_millis(100);
/// Batches that are made up for when the machine is slow.
const BURST_MAX: u32 = 100;
/// Memory may grow by this much between the first measurement and the end, in KB: allocators round up.
const GROWTH_KB_MAX: u64 = 8 << 10;

/// A clock that runs `faster` since it was made.
struct Fast {
    started: Instant,
    started_us: i64,
    faster: u32,
}

impl Fast {
    fn start(faster: u32) -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), started_us: now_us(), faster })
    }

    fn passed(&self) -> Duration {
        self.started.elapsed() * self.faster
    }
}

impl Clock for Fast {
    fn now_us(&self) -> i64 {
        self.started_us + i64::try_from(self.passed().as_micros()).expect("hours")
    }

    fn now(&self) -> Instant {
        self.started + self.passed()
    }
}

/// Batches that are due by then.
fn batches(passed: Duration) -> u32 {
    u32::try_from(passed.as_millis() / EVERY.as_millis()).expect("hours")
}

/// Takes all free space of a disk, without writing it.
fn fill_at_once(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("foreign");
    let file = fs::File::create(&path).expect("a file");
    let (mut length, mut step) = (0, 16u64 << 20);
    while step >= 4096 {
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, step) {
            Ok(()) => length += step,
            Err(_) => step /= 2,
        }
    }
    path
}

/// What this process uses.
#[derive(Debug, Clone, Copy)]
struct Use {
    resident_kb: u64,
    descriptors: usize,
    disk_kb: u64,
}

impl Use {
    fn now(directory: &Path) -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
        let files = fs::read_dir(directory).expect("it is there").flatten();
        let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        Self {
            resident_kb: line.trim().trim_end_matches(" kB").parse().expect("a number"),
            descriptors: fs::read_dir("/proc/self/fd").expect("Linux").count(),
            disk_kb: bytes >> 10,
        }
    }

    /// Tells both and fails when the second is more than the first allows.
    fn compare(self, end: Self, disk_kb_max: u64) {
        println!("start {self:?}");
        println!("end   {end:?}");
        assert!(end.resident_kb <= self.resident_kb + GROWTH_KB_MAX, "memory grows");
        assert!(end.descriptors <= self.descriptors + 2, "file descriptors stay open");
        assert!(end.disk_kb <= disk_kb_max, "the disk fills up: {disk_kb_max} KB are allowed");
    }
}

fn open(
    directory: &Path,
    clock: &Arc<Fast>,
    budget_bytes: u64,
) -> (Opened, tokio::sync::mpsc::Receiver<forebay::event::Event>) {
    let options = LaneOptions {
        budget_bytes,
        segment_bytes: 512 << 10,
        keep: Duration::from_secs(600),
        ..LaneOptions::new("telemetry", directory, "Site/box")
    };
    let (events, told) = Events::new();
    let disk = Arc::new(RealDisk::open(directory).expect("a folder"));
    (Lane::open_on(disk, Arc::clone(clock) as Arc<dyn Clock>, options, events).expect("it opens"), told)
}

/// One hour: a foreign file fills the disk for five minutes of every ten, Kafka is away for three of
/// every seven. Every batch that was taken comes out once and in order.
fn hour(root: &Path) {
    let (directory, clock) = (root.join("lane"), Fast::start(FASTER_HOUR));
    // The budget is larger than the disk: it is full before anything is evicted.
    let (mut lane, _told) = open(&directory, &clock, 256 << 20);
    let press = device("press-3", &[Scalar::Lint; 200]);
    let status = lane.writer.status();
    let (mut next, mut taken, mut refused, mut read, mut times_full) = (0u32, 0i64, 0u64, 0i64, 0);
    let (mut foreign, mut first) = (None, None);
    while clock.passed() < Duration::from_secs(3600) {
        let minute = clock.passed().as_secs() / 60;
        match (minute % 10 >= 5, &foreign) {
            (true, None) => {
                foreign = Some(fill_at_once(root));
                times_full += 1;
            }
            (false, Some(file)) => {
                fs::remove_file(file).expect("it is ours");
                foreign = None;
            }
            _ => {}
        }
        // What was missed because filling took long was not read either.
        next = next.max(batches(clock.passed()).saturating_sub(BURST_MAX));
        while next < batches(clock.passed()) {
            next += 1;
            match lane.writer.try_append(batch(&press, taken)) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        if minute % 7 < 4 {
            for record in lane.reader.next(500, 1 << 20) {
                assert_eq!(serial(&record, &press), read, "in order, each once");
                read += 1;
            }
            lane.reader.committed(lane.reader.offset());
        }
        if minute >= 20 && first.is_none() && foreign.is_none() {
            first = Some(Use::now(&directory));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if let Some(file) = foreign {
        fs::remove_file(file).expect("it is ours");
    }
    let all = lane.writer.flush(LIMIT).expect("there is room");
    assert_eq!(all, u64::try_from(taken).expect("small"), "offsets count what was taken");
    wait_for("rest", LIMIT, || {
        for record in lane.reader.next(500, 1 << 20) {
            assert_eq!(serial(&record, &press), read, "in order, each once");
            read += 1;
        }
        lane.reader.committed(lane.reader.offset());
        (read == taken).then_some(())
    });
    let failed = status.borrow().failed_syncs;
    println!(
        "an hour on a disk of 64 MB, {times_full} times full: {taken} batches of 200 samples taken and read, \
         {refused} refused, {failed} writes failed"
    );
    assert!(times_full >= 6 && failed > 0, "the disk was never full");
    // History of ten minutes is kept while there is room; the rest goes.
    first.expect("twenty minutes have passed").compare(Use::now(&directory), 60 << 10);
    assert_eq!(lane.lane.close(), 0);
}

/// Two hours of a lane and its replicator, with history of ten minutes.
fn soak(directory: &Path) {
    let hours = number_from_environment("FOREBAY_SOAK_HOURS", 2);
    let clock = Fast::start(FASTER_SOAK);
    let broker = std::env::var(BROKER).expect("an address");
    let options = Options::new(&broker, "soak", "Werk1", "box");
    let (Opened { lane, writer, reader, .. }, mut told) = open(directory, &clock, 64 << 20);
    let replicator =
        Replicator::start(options, JournalSource::new("telemetry", reader), "boot", None).expect("a thread");
    let presses: BTreeMap<u32, _> =
        (0..3).map(|it| (it, device(&format!("press-{it}"), &[Scalar::Lint; 24]))).collect();
    let (mut next, mut first) = (0u32, None);
    let sent = || replicator.status().snapshot().records;
    while clock.passed() < Duration::from_secs(3600 * hours) {
        while next < batches(clock.passed()) {
            // A slow machine lets the clock wait; nothing is refused.
            if writer.try_append(batch(&presses[&(next % 3)], next.into())).is_err()
                || u64::from(next) > sent() + 20_000
            {
                break;
            }
            next += 1;
        }
        if clock.passed() > Duration::from_secs(1800 * hours) && first.is_none() {
            first = Some(Use::now(directory));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let all = writer.flush(LIMIT).expect("the disk works");
    wait_for("empty backlog", LIMIT, || (sent() >= all).then_some(()));
    let end = Use::now(directory);
    println!("{hours} hours: {all} batches stored, {} records sent", sent());
    assert_eq!(sent(), all, "each once");
    assert!(all > 20_000, "too slow to mean anything");
    while let Ok(event) = told.try_recv() {
        assert_ne!(event.kind, forebay::event::Kind::Gap, "{}", event.text);
    }
    first.expect("half the time has passed").compare(end, 64 << 10);
    replicator.join();
    assert_eq!(lane.close(), 0);
}

/// The other processes of the tests below. Run by itself it does nothing that they do not do.
#[test]
fn long_process() {
    if let Some(directory) = std::env::var_os(HOUR) {
        hour(Path::new(&directory));
    } else if let Some(directory) = std::env::var_os(SOAK) {
        soak(Path::new(&directory));
    } else {
        let begun = Fast::start(1);
        assert!(begun.now() >= begun.started && begun.now_us() >= begun.started_us);
    }
}

/// Runs one of them; what it says, which ends in order.
fn run(environment: &[(&str, &str)]) {
    let process = Victim::start("power::hour::long_process", environment);
    let (succeeded, lines) = process.finish();
    lines.iter().filter(|line| !line.is_empty()).for_each(|line| println!("{line}"));
    assert!(succeeded, "it failed");
}

#[test]
fn an_hour_on_a_small_disk_that_others_fill_loses_nothing_that_was_taken() {
    let image = Image::new(64 << 20, 80 << 20);
    run(&[(HOUR, image.path().to_str().expect("UTF-8"))]);
}

#[test]
fn two_hours_use_no_more_at_the_end_than_in_the_middle() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start("soak").expect("a broker");
    run(&[(SOAK, folder.path().to_str().expect("UTF-8")), (BROKER, broker.bootstrap())]);
}
