//! Reading the past, and opening much of it.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::batch::Batch;
use forebay::clock::SystemClock;
use forebay::event::Events;
use forebay::journal::{BlockCoder, Coded, Journal, Options, RealDisk};
use forebay::lane::{Body, History, Lane, LaneOptions, Past, Wanted};

use super::careless::careless;
use super::shapes::{Machine, Shape, TAGS};
use super::{LIMIT, START_US};

const SEGMENT_BYTES: u64 = 16 << 20;

/// One tag's values of some hours among those of ten devices, changes only, a sync a second.
pub fn history(directory: &Path, seconds: usize) {
    let lane = directory.join("history");
    let options = LaneOptions { budget_bytes: 16 << 30, ..LaneOptions::new("telemetry", &lane, "bench/box") };
    let (events, _receiver) = Events::new();
    let opened =
        Lane::open_on(careless(&lane), Arc::new(SystemClock), options, events).expect("the lane opens");
    let devices: Vec<_> = super::devices(10);
    let mut machines: Vec<_> = (0..10).map(|number| Machine::new(Shape::Slow, number)).collect();
    let mut samples = 0;
    for second in 0..seconds {
        for (device, machine) in devices.iter().zip(&mut machines) {
            let edge_us = START_US + i64::try_from(second).expect("a day") * 1_000_000;
            let batch =
                Batch { device: Arc::clone(device), edge_us, samples: machine.scan(second), gap: None };
            samples += batch.samples.len();
            assert!(opened.writer.try_append(batch).is_ok(), "the queue has room");
        }
        opened.writer.flush(LIMIT).expect("the disk works");
    }
    let bytes = opened.writer.status().borrow().bytes;
    println!("\nhistory: 10 devices of {TAGS} REAL tags, changes only, {seconds} s, a sync a second");
    println!("{samples} samples in {bytes} bytes; one tag of it, page cache warm, in ms:");
    let tags = [devices[3].tags[7].path.as_str()];
    let wanted = |device| Wanted { device, tags: Some(&tags), from_us: i64::MIN, to_us: i64::MAX };
    let beside = History::open(&lane).expect("it is there");
    for (name, history) in [("of the running lane", &opened.history), ("beside it", &beside)] {
        let times: Vec<String> = (0..5)
            .map(|_| {
                let (started, mut found) = (Instant::now(), 0);
                let each = &mut |past: Past<'_>| {
                    if let Past::Record(record) = past
                        && let Body::Batch(batch) = &record.body
                    {
                        found += batch.samples.len();
                    }
                    ControlFlow::Continue(())
                };
                history.read(&wanted(Some(&devices[3].path)), each).expect("it can be read");
                format!("{:.1} ({found} found)", started.elapsed().as_secs_f64() * 1e3)
            })
            .collect();
        println!("{name:<22}{}", times.join(", "));
    }
    assert_eq!(opened.lane.close(), 0);
}

/// Records of some bytes that say nothing.
struct Shortest;

impl BlockCoder for Shortest {
    fn begin(&mut self, _: i64) {}

    fn put(&mut self, record: usize, front: &mut Vec<u8>, _: &mut Vec<u8>) {
        front.extend_from_slice(&record.to_le_bytes());
    }

    fn first_bytes(&self) -> usize {
        0
    }
}

/// Opens a journal of so many segments of 16 MiB, of which the newest is full of short blocks.
pub fn open(directory: &Path, segments: usize) {
    let home = directory.join("open");
    let limits = Options { segment_bytes: 1 };
    let (mut journal, _) = Journal::open(careless(&home), limits).expect("it opens");
    for _ in 1..segments {
        journal.append(b"one record", START_US).expect("it fits");
        journal.sync(START_US).expect("the disk works");
    }
    drop(journal);
    for entry in std::fs::read_dir(&home).expect("it is there") {
        let path = entry.expect("it is there").path();
        if path.extension().is_some_and(|end| end == "segment") {
            let file = OpenOptions::new().write(true).open(path).expect("it is ours");
            file.set_len(SEGMENT_BYTES).expect("holes take no room");
        }
    }
    let limits = Options { segment_bytes: SEGMENT_BYTES };
    let (mut journal, _) = Journal::open(careless(&home), limits).expect("it opens");
    let (mut blocks, before) = (0u64, journal.bytes());
    while journal.bytes() - before < SEGMENT_BYTES - 100 {
        let coded = Coded { dictionary: 1, time_us: START_US, bytes: 8, bytes_max: 8 };
        journal.append_coded(coded).expect("it fits");
        journal.sync_coded(&mut Shortest, START_US).expect("the disk works");
        blocks += 1;
    }
    let bytes = journal.bytes();
    drop(journal);
    println!(
        "\nopening {segments} segments, {:.2} GB, the newest with {blocks} blocks, in ms:",
        bytes as f64 / 1e9
    );
    let times: Vec<String> = (0..5)
        .map(|_| {
            let disk = Arc::new(RealDisk::open(&home).expect("it is there"));
            let started = Instant::now();
            let (journal, recovery) = Journal::open(disk, limits).expect("it opens");
            let took: Duration = started.elapsed();
            assert_eq!((recovery.damages, journal.bytes()), (vec![], bytes));
            format!("{:.1}", took.as_secs_f64() * 1e3)
        })
        .collect();
    println!("{}", times.join(", "));
}
