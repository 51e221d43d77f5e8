//! Ten machines of 50 or 100 tags, each scanned once a second, one sync a second, as fast as it can be written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use forebay::batch::{Batch, Sample};
use forebay::clock::Clock;
use forebay::device::Device;
use forebay::event::Events;
use forebay::lane::{Lane, LaneOptions, Opened};
use forebay_connector::Scalar;

use crate::careless::careless;
use crate::shapes::{Machine, Shape, TAGS};

const DEVICES: u64 = 10;
/// What is scanned comes again after so long; the codec remembers nothing that old.
const LOOP_S: usize = 600;
const LIMIT: Duration = Duration::from_secs(60);
/// 2026-02-11T08:15:30Z.
const START_US: i64 = 1_770_797_730_000_000;
const SECOND_US: i64 = 1_000_000;
pub const DAY_US: i64 = 24 * 3600 * SECOND_US;

/// What the tags of a machine are.
#[derive(Clone, Copy)]
pub enum Kind {
    /// All change slowly; what has not changed is not written.
    Calm,
    /// So, and each machine has half as many tags.
    Small,
    /// Half do, the others have noise in all 64 bits and are written every second.
    Noisy,
}

/// How much is written.
#[derive(Clone, Copy)]
pub enum Until {
    Bytes(u64),
    Days(f64),
}

/// The time of the plant.
pub struct PlantTime(AtomicI64);

impl Clock for PlantTime {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Paths of the devices, and of a tag.
pub fn devices() -> Vec<Arc<Device>> {
    let named = |number| crate::device::device(&format!("machine-{number}"), &[Scalar::Real; 2 * TAGS]);
    (0..DEVICES).map(named).collect()
}

/// The lane's limits: all of 10 GB stays.
pub fn options(lane: &Path) -> LaneOptions {
    // Longer ago than the plant's beginning.
    let keep = Duration::from_secs(100 * 365 * 24 * 3600);
    LaneOptions { budget_bytes: 64 << 30, keep, ..LaneOptions::new("telemetry", lane, "bench/box") }
}

fn scans(kind: Kind) -> Vec<Vec<Vec<Sample>>> {
    let second_half = match kind {
        Kind::Calm => Some(Shape::Slow),
        Kind::Noisy => Some(Shape::Noisy),
        Kind::Small => None,
    };
    let machine = |number| {
        let mut first = Machine::new(Shape::Slow, number);
        let mut second_half = second_half.map(|shape| Machine::new(shape, number + 100));
        let mut scan = |second| {
            let mut samples = first.scan(second);
            let more = second_half.as_mut().map_or_else(Vec::new, |half| half.scan(second));
            let tags = u32::try_from(TAGS).expect("50");
            samples.extend(more.into_iter().map(|sample| Sample { tag: sample.tag + tags, ..sample }));
            samples
        };
        (0..LOOP_S).map(&mut scan).collect()
    };
    (0..DEVICES).map(machine).collect()
}

/// Writes the plant's past into the folder of a lane.
#[allow(clippy::cast_precision_loss)] // figures for people
pub fn store(lane: &Path, kind: Kind, until: Until) {
    let time = Arc::new(PlantTime(AtomicI64::new(START_US)));
    let (events, _receiver) = Events::new();
    let opened = Lane::open_on(careless(lane), Arc::clone(&time) as Arc<dyn Clock>, options(lane), events)
        .expect("the lane opens");
    let (devices, scans) = (devices(), scans(kind));
    let started = Instant::now();
    let status = opened.writer.status();
    let (mut seconds, mut samples) = (0_usize, 0);
    let done = |seconds: usize| match until {
        Until::Bytes(bytes) => status.borrow().bytes >= bytes,
        Until::Days(days) => seconds as f64 >= days * 86_400.0,
    };
    while !done(seconds) {
        let second_us = START_US + i64::try_from(seconds).expect("some years") * SECOND_US;
        time.0.store(second_us, Ordering::SeqCst);
        for ((number, device), scans) in (0..).zip(&devices).zip(&scans) {
            let edge_us = second_us + number * 1000;
            let scan = scans[seconds % LOOP_S].clone();
            samples += scan.len();
            let batch = Batch { device: Arc::clone(device), edge_us, samples: scan, gap: None };
            assert!(opened.writer.try_append(batch).is_ok(), "the queue has room");
        }
        opened.writer.flush(LIMIT).expect("the disk works");
        seconds += 1;
    }
    let bytes = status.borrow().bytes;
    drop(opened.reader);
    assert_eq!(opened.lane.close(), 0);
    println!(
        "{DEVICES} devices, {:.2} days at 1 s, one sync a second: {samples} samples, {:.3} GB, {:.2} bytes \
         each, written in {:.0} s",
        seconds as f64 / 86_400.0,
        bytes as f64 / 1e9,
        bytes as f64 / samples as f64,
        started.elapsed().as_secs_f64(),
    );
}

/// Appends so many bytes to an open lane, at the time of day, a group a second of the plant.
pub fn append(opened: &Opened, bytes: u64) {
    let (devices, scans) = (devices(), scans(Kind::Noisy));
    let (status, start_us) = (opened.writer.status(), forebay::clock::now_us());
    let end = status.borrow().bytes + bytes;
    for second in 0.. {
        let second_us = start_us + i64::try_from(second).expect("some hours") * SECOND_US;
        for (device, scans) in devices.iter().zip(&scans) {
            let samples = scans[second % LOOP_S].clone();
            let batch = Batch { device: Arc::clone(device), edge_us: second_us, samples, gap: None };
            assert!(opened.writer.try_append(batch).is_ok(), "the queue has room");
        }
        opened.writer.flush(LIMIT).expect("the disk works");
        if status.borrow().bytes >= end {
            return;
        }
    }
}
