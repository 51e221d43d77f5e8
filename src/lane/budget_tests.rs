//! Weeks without Kafka on a small budget, with the real worker and journal on a disk in memory and
//! a clock that is set forward: whatever a replicator then reads accounts for every sample once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay_connector::{Quality, Value};
use tokio::sync::mpsc;

use super::thinned::number;
use super::{Body, LaneOptions, LaneReader, LaneWriter, Parts, ThinnedBatch, WhenFull};
use crate::batch::{Batch, Sample};
use crate::clock::Clock;
use crate::device::Device;
use crate::event::{Event, Events, Kind};
use crate::journal::memory_disk::{Fate, MemoryDisk};
use crate::poll::testing;

const HOUR_US: i64 = 3_600_000_000;
const WEEK_US: i64 = 7 * 24 * HOUR_US;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const SCAN_US: i64 = 30_000_000;
/// 2026-01-01, in the middle of an hour.
const START_US: i64 = 1_767_225_600_000_000 + 1_234_567_000;

/// A clock that goes on when it is told to.
pub(super) struct StepClock {
    us: Mutex<i64>,
    start: Instant,
}

impl StepClock {
    pub(super) fn new() -> Self {
        Self { us: Mutex::new(START_US), start: Instant::now() }
    }

    pub(super) fn forward(&self, us: i64) {
        *self.us.lock().unwrap() += us;
    }
}

impl Clock for StepClock {
    fn now_us(&self) -> i64 {
        *self.us.lock().unwrap()
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(u64::try_from(self.now_us() - START_US).unwrap())
    }
}

fn device(name: &str, tags: u32) -> Arc<Device> {
    let tags = (0..tags).map(|raw| testing::tag(&format!("tag{raw}"), raw)).collect();
    let mut device = testing::device(tags);
    let inner = Arc::get_mut(&mut device).unwrap();
    (inner.name, inner.path) = (name.into(), format!("Werk1/{name}"));
    device
}

/// What was measured, by offset.
type Ledger = Vec<Batch>;

struct World {
    clock: Arc<StepClock>,
    disk: MemoryDisk,
    options: LaneOptions,
    worker: super::worker::Worker,
    writer: LaneWriter,
    reader: Option<LaneReader>,
    events: mpsc::Receiver<Event>,
    told: Vec<Event>,
    press: Arc<Device>,
    mixer: Arc<Device>,
    ledger: Ledger,
    scans: u64,
}

impl World {
    fn new(options: LaneOptions) -> Self {
        let clock = Arc::new(StepClock::new());
        let disk = MemoryDisk::new(1);
        let (press, mixer) = (device("press", 6), device("mixer", 3));
        let (events, receiver) = Events::new();
        let parts = Parts::open(Arc::new(disk.clone()), clock.clone(), options.clone(), events).unwrap();
        Self {
            clock,
            disk,
            options,
            worker: parts.worker,
            writer: parts.writer,
            reader: Some(parts.reader),
            events: receiver,
            told: Vec::new(),
            press,
            mixer,
            ledger: Vec::new(),
            scans: 0,
        }
    }

    /// Scans for so long; the lane is stepped every hour.
    fn run(&mut self, us: i64) {
        let end = self.clock.now_us() + us;
        while self.clock.now_us() < end {
            self.scan();
            self.clock.forward(SCAN_US);
            if self.scans.is_multiple_of(120) {
                self.step_until_quiet();
            }
        }
    }

    fn scan(&mut self) {
        let mut fate = Fate::new(self.scans);
        let mut noise = || Value::Lreal(fate.next() as f64 / 1e17);
        let scans = self.scans;
        let mut values =
            vec![noise(), noise(), noise(), noise(), Value::Uint(scans), Value::Bool(scans % 7 < 3)];
        if scans.is_multiple_of(11) {
            values[1] = Value::Lreal(f64::NAN);
        }
        self.hand_over(&self.press.clone(), values, Quality::Good);
        if scans.is_multiple_of(10) {
            let quality = [Quality::Good, Quality::Uncertain, Quality::Refused]
                [usize::try_from(scans / 10 % 3).unwrap()];
            let text = Value::Text(["runs", "stands"][usize::try_from(scans / 10 % 2).unwrap()].into());
            let values = vec![text, Value::Int(-5), Value::Array([Value::Real(1.5)].into())];
            self.hand_over(&self.mixer.clone(), values, quality);
        }
        self.scans += 1;
    }

    fn hand_over(&mut self, device: &Arc<Device>, values: Vec<Value>, quality: Quality) {
        let sample = |(tag, value)| Sample { tag, value, quality, source_us: None };
        let samples: Vec<Sample> = (0..).zip(values).map(sample).collect();
        let batch = Batch { device: Arc::clone(device), edge_us: self.clock.now_us(), samples, gap: None };
        self.ledger.push(batch.clone());
        self.writer.try_append(batch).ok().expect("the queue has room");
    }

    fn step_until_quiet(&mut self) {
        loop {
            self.step();
            if !self.worker.is_making_room() {
                return;
            }
        }
    }

    fn step(&mut self) {
        self.worker.step();
        while let Ok(event) = self.events.try_recv() {
            self.told.push(event);
        }
    }

    /// The power goes, and comes back.
    fn power_cut(&mut self, seed: u64) {
        self.disk = self.disk.crash(seed);
        let (events, receiver) = Events::new();
        let disk = Arc::new(self.disk.clone());
        let parts = Parts::open(disk, self.clock.clone(), self.options.clone(), events).unwrap();
        assert!(parts.recovery.damages.is_empty(), "{:?}", parts.recovery.damages);
        (self.worker, self.writer, self.reader) = (parts.worker, parts.writer, Some(parts.reader));
        self.events = receiver;
        while let Ok(event) = self.events.try_recv() {
            self.told.push(event);
        }
        // What was not synced was never promised.
        let synced = usize::try_from(self.reader.as_ref().unwrap().synced()).unwrap();
        self.ledger.truncate(synced);
    }

    /// Kafka takes `take` records from `from` on; what it was given.
    fn send(&mut self, from: u64, take: usize) -> Vec<super::Record> {
        let mut reader = self.reader.take().unwrap();
        reader.hand_over();
        reader.seek(from);
        let mut records = Vec::new();
        while records.len() < take {
            let more = reader.next((take - records.len()).min(500), 1 << 20);
            if more.is_empty() {
                break;
            }
            records.extend(more);
        }
        self.reader = Some(reader);
        records
    }

    fn commit(&mut self, next_offset: u64) {
        self.reader.as_ref().unwrap().committed(next_offset);
        self.step_until_quiet();
    }
}

/// How each offset was accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Full,
    Thinned,
    Gap,
}

/// Demands that each batch of the ledger is given in full, summed up in one record, or told as
/// removed with the right counts; each once.
fn account(ledger: &Ledger, records: &[super::Record], events: &[Event]) -> Vec<As> {
    let mut accounted: Vec<Option<As>> = vec![None; ledger.len()];
    let mut tell = |offset: usize, what: As| {
        let before = accounted[offset].replace(what);
        assert_eq!(before, None, "offset {offset} is {what:?} too");
    };
    let mut by_device: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (offset, batch) in ledger.iter().enumerate() {
        by_device.entry(&batch.device.path).or_default().push(offset);
    }
    let mut last_offset = None;
    let mut given_gaps = Vec::new();
    for record in records {
        assert!(last_offset < Some(record.offset), "out of order");
        last_offset = Some(record.offset);
        let offset = usize::try_from(record.offset).unwrap();
        match &record.body {
            Body::Batch(stored) => {
                let batch = &ledger[offset];
                assert_eq!((&stored.schema.device, stored.edge_us), (&batch.device.path, batch.edge_us));
                assert_eq!(format!("{:?}", stored.samples), format!("{:?}", batch.samples));
                tell(offset, As::Full);
            }
            Body::Thinned(thinned) => {
                let mine = &by_device[thinned.schema.device.as_str()];
                let covers = |at: &&usize| (thinned.from_us..=thinned.to_us).contains(&ledger[**at].edge_us);
                let start = mine.partition_point(|at| ledger[*at].edge_us < thinned.from_us);
                let covered: Vec<usize> = mine[start..].iter().take_while(covers).copied().collect();
                assert_eq!(covered.last(), Some(&offset), "it stands at its last offset");
                assert_eq!(thinned.batches, covered.len() as u64);
                check_rows(thinned, covered.iter().map(|at| &ledger[*at]));
                covered.into_iter().for_each(|at| tell(at, As::Thinned));
            }
            Body::Event(json) => {
                // What is missing is given in its place, too.
                let event: serde_json::Value = serde_json::from_slice(json).unwrap();
                let number = |name: &str| usize::try_from(event["data"][name].as_u64().unwrap()).unwrap();
                given_gaps.push(number("from_offset")..number("to_offset"));
            }
        }
    }
    let mut gaps = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == Kind::Gap) {
        let number = |name: &str| event.data[name].as_u64().unwrap();
        // After a power cut the last is told once more, which the offsets say.
        gaps.insert((number("from_offset"), number("to_offset")), event);
    }
    for ((from, to), event) in gaps {
        let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
        let lost = &ledger[range.clone()];
        let samples: usize = lost.iter().map(|batch| batch.samples.len()).sum();
        assert_eq!(event.data["batches"], lost.len(), "{}", event.text);
        assert_eq!(event.data["samples"], samples);
        let named: u64 =
            event.data["devices"].as_array().unwrap().iter().map(|it| it["samples"].as_u64().unwrap()).sum();
        assert_eq!(named, samples as u64);
        range.for_each(|at| tell(at, As::Gap));
    }
    let of = |(offset, what): (usize, Option<As>)| {
        what.unwrap_or_else(|| panic!("nobody tells of offset {offset}"))
    };
    let accounted: Vec<As> = accounted.into_iter().enumerate().map(of).collect();
    assert!(given_gaps.into_iter().all(|range| accounted[range].iter().all(|what| *what == As::Gap)));
    accounted
}

/// Sums up again, in the most stupid way.
fn check_rows<'a>(thinned: &ThinnedBatch, batches: impl Iterator<Item = &'a Batch>) {
    let samples: Vec<&Sample> = batches.flat_map(|batch| &batch.samples).collect();
    let mut counted = 0;
    for row in &thinned.samples {
        let all: Vec<&&Sample> = samples.iter().filter(|sample| sample.tag == row.tag).collect();
        let good: Vec<&&&Sample> = all.iter().filter(|sample| sample.quality.is_good()).collect();
        assert_eq!((row.count, row.bad), (good.len() as u64, (all.len() - good.len()) as u64));
        assert_eq!(Some(row.quality), all.iter().map(|sample| sample.quality).max());
        let last = good.last().map_or_else(|| &all.last().unwrap().value, |sample| &sample.value);
        assert_eq!(format!("{:?}", row.last), format!("{last:?}"));
        let numbers: Vec<f64> = good.iter().filter_map(|sample| number(&sample.value)).collect();
        assert_eq!(row.numbers.is_some(), !numbers.is_empty());
        if let Some(found) = &row.numbers {
            let (min, max) =
                numbers.iter().fold((f64::MAX, f64::MIN), |(min, max), it| (it.min(min), it.max(max)));
            assert_eq!((number(&found.min), number(&found.max)), (Some(min), Some(max)));
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            assert!(
                (found.mean - mean).abs() <= (max - min) / 131_000.0 + mean.abs() * 1e-9,
                "{} {mean}",
                found.mean
            );
        }
        counted += all.len();
    }
    assert_eq!(counted, samples.len(), "a tag is missing");
}

fn options(budget_bytes: u64) -> LaneOptions {
    LaneOptions {
        budget_bytes,
        segment_bytes: 32 << 10,
        sync_interval: Duration::from_secs(1800),
        thin_interval: Duration::from_secs(600),
        ..LaneOptions::new("telemetry", "memory", "Werk1/box")
    }
}

fn count(accounted: &[As], what: As) -> usize {
    accounted.iter().filter(|it| **it == what).count()
}

#[test]
fn six_weeks_without_kafka_leave_the_last_week_in_full_and_the_rest_thinned() {
    let mut world = World::new(options(1700 << 10));
    world.run(WEEK_US);
    // Kafka is there for a moment: some is sent, some only begun.
    let first = world.send(0, 1500);
    world.commit(1000);
    world.run(2 * WEEK_US);
    // The power goes in the middle of what the disk does: thinning too.
    for changes in 0..40 {
        world.run(3 * HOUR_US);
        world.disk.die_after(changes);
        world.run(HOUR_US);
        world.power_cut(changes as u64);
    }
    world.run(3 * WEEK_US);
    assert!(world.writer.status().borrow().bytes <= 1700 << 10);

    let mut sent: Vec<_> = first.into_iter().take(1000).collect();
    sent.extend(world.send(1000, usize::MAX));
    let synced = usize::try_from(world.reader.as_ref().unwrap().synced()).unwrap();
    world.ledger.truncate(synced);
    let accounted = account(&world.ledger, &sent, &world.told);
    assert_eq!(count(&accounted, As::Gap), 0, "there is room for all of it thinned");
    assert!(accounted[..1500].iter().all(|what| *what == As::Full), "begun with, so never thinned");
    let week_ago = world.clock.now_us() - WEEK_US;
    let last_week = world.ledger.partition_point(|batch| batch.edge_us < week_ago);
    assert!(accounted[last_week..].iter().all(|what| *what == As::Full), "the last week is there in full");
    let thinned = count(&accounted, As::Thinned);
    assert!(thinned > world.ledger.len() / 2, "{thinned} of {} are thinned", world.ledger.len());
    // Kafka has it all; then it may go.
    world.commit(u64::try_from(synced).unwrap());
    assert_eq!(world.writer.status().borrow().unsent_bytes, 0);
}

#[test]
fn when_thinning_is_not_enough_the_oldest_go_and_each_is_told() {
    let mut world = World::new(options(900 << 10));
    world.run(4 * WEEK_US);
    let sent = world.send(0, usize::MAX);
    let synced = usize::try_from(world.reader.as_ref().unwrap().synced()).unwrap();
    world.ledger.truncate(synced);
    let accounted = account(&world.ledger, &sent, &world.told);
    let (gap, thinned) = (count(&accounted, As::Gap), count(&accounted, As::Thinned));
    assert!(gap > 1000 && thinned > 1000, "{gap} removed, {thinned} thinned");
    // First what is gone, then what is thinned, then what is full.
    let order: Vec<As> = accounted.chunk_by(|left, right| left == right).map(|run| run[0]).collect();
    assert_eq!(order.first(), Some(&As::Gap));
    assert_eq!(order.last(), Some(&As::Full));
}

#[test]
fn without_thinning_the_oldest_go() {
    let when_full = vec![WhenFull::Evict];
    let mut world = World::new(LaneOptions { when_full, ..options(400 << 10) });
    world.run(2 * WEEK_US);
    let sent = world.send(0, usize::MAX);
    let synced = usize::try_from(world.reader.as_ref().unwrap().synced()).unwrap();
    world.ledger.truncate(synced);
    let accounted = account(&world.ledger, &sent, &world.told);
    assert_eq!(count(&accounted, As::Thinned), 0);
    let order: Vec<As> = accounted.chunk_by(|left, right| left == right).map(|run| run[0]).collect();
    assert_eq!(order, [As::Gap, As::Full]);
}

#[test]
fn a_removal_is_told_although_the_power_goes_right_after_it() {
    let when_full = vec![WhenFull::Evict];
    let mut world = World::new(LaneOptions { when_full, ..options(400 << 10) });
    for seed in 0..10 {
        // On to the next removal; what was told of it is lost with the power.
        let removed = world.told.len();
        while world.told.len() == removed {
            world.scan();
            world.clock.forward(SCAN_US);
            world.step();
        }
        world.told.truncate(removed);
        world.power_cut(seed);
        assert!(world.told.len() > removed, "nobody tells what was removed");
    }
    let sent = world.send(0, usize::MAX);
    let synced = usize::try_from(world.reader.as_ref().unwrap().synced()).unwrap();
    world.ledger.truncate(synced);
    account(&world.ledger, &sent, &world.told);
    // After a minute it is told for good.
    world.run(HOUR_US);
    let told = world.told.len();
    world.power_cut(99);
    assert_eq!(world.told.len(), told);
}

#[test]
fn sent_history_makes_room_before_anything_is_thinned() {
    let mut world =
        World::new(LaneOptions { keep: Duration::from_secs(30 * 24 * 3600), ..options(400 << 10) });
    let mut committed = 0;
    for _ in 0..28 {
        world.run(12 * HOUR_US);
        committed += world.send(committed, usize::MAX).len() as u64;
        world.commit(committed);
    }
    let status = world.writer.status().borrow().clone();
    assert!(status.history_bytes > 200 << 10, "{status:?}");
    assert_eq!((status.thinned_records, status.evicted_records, world.told.len()), (0, 0, 0));
    assert!(status.first_offset > 0 && status.bytes <= 400 << 10);
    // By age too.
    world.options.keep = Duration::from_secs(24 * 3600);
    world.power_cut(1);
    world.commit(committed);
    let first = world.writer.status().borrow().first_offset;
    let age_us = world.clock.now_us() - world.ledger[usize::try_from(first).unwrap()].edge_us;
    assert!((24 * HOUR_US..48 * HOUR_US).contains(&age_us), "{} h", age_us / HOUR_US);
}

#[test]
fn what_a_second_cluster_has_goes_before_anything_is_thinned() {
    let mut world = World::new(options(400 << 10));
    world.run(3 * 24 * HOUR_US);
    let synced = world.reader.as_ref().unwrap().synced();
    world.reader.as_ref().unwrap().secured(synced);
    world.run(2 * 24 * HOUR_US);
    let status = world.writer.status().borrow().clone();
    assert!(status.evicted_records > 0 && status.thinned_records == 0, "{status:?}");
    assert!(world.told.iter().all(|event| event.data["second_cluster"] == true));
    // What it does not have is thinned.
    world.run(2 * WEEK_US);
    assert!(world.writer.status().borrow().thinned_records > 0);
}

#[test]
fn a_file_system_that_is_short_stops_the_growth_and_costs_nothing_more() {
    let mut world = World::new(LaneOptions { reserve_bytes: 1 << 20, keep: WEEK, ..options(4 << 20) });
    let mut committed = 0;
    // Some history, some unsent.
    world.run(48 * HOUR_US);
    committed += world.send(committed, 2000).len() as u64;
    world.commit(committed);
    let before = world.writer.status().borrow().clone();
    assert!(before.history_bytes > 30 << 10 && before.unsent_bytes > 50 << 10, "{before:?}");
    // Somebody else fills the disk to half of the reserve.
    world.disk.fill(Some(512 << 10));
    world.run(HOUR_US);
    let short = world.writer.status().borrow().clone();
    assert!(short.thinned_records > 0 && short.evicted_records == 0, "{short:?}");
    let causes =
        world.told.iter().filter(|event| event.kind == Kind::Thinned).map(|event| &event.data["cause"]);
    assert!(
        causes.clone().count() > 0 && causes.clone().all(|cause| cause == "disk-full"),
        "the budget is not"
    );
    assert_eq!(short.history_bytes, 0, "what is sent goes first");
    world.run(2 * WEEK_US);
    let status = world.writer.status().borrow().clone();
    assert!(status.bytes <= before.bytes + (64 << 10), "{} of {} bytes", status.bytes, before.bytes);
    assert!(status.error.is_none() && status.free_bytes > 256 << 10, "{status:?}");
    // Room again: it grows again.
    world.disk.fill(None);
    world.run(24 * HOUR_US);
    assert!(world.writer.status().borrow().bytes > status.bytes);
    let mut sent = world.send(committed, usize::MAX);
    sent.retain(|record| record.offset >= committed);
    let synced = usize::try_from(world.reader.as_ref().unwrap().synced()).unwrap();
    world.ledger.truncate(synced);
    let mut all = Vec::new();
    for (offset, batch) in (0..committed).zip(&world.ledger) {
        let samples = batch.samples.clone();
        let schema = Arc::new(crate::batch::Schema::of(&batch.device));
        let stored = super::StoredBatch { schema, edge_us: batch.edge_us, samples, gap: None };
        all.push(super::Record { offset, body: Body::Batch(stored) });
    }
    all.extend(sent);
    account(&world.ledger, &all, &world.told);
}

#[test]
fn a_disk_smaller_than_the_reserve_is_used_all_the_same() {
    let mut world = World::new(LaneOptions { reserve_bytes: 256 << 20, ..options(64 << 20) });
    world.disk.fill(Some(1 << 20));
    world.run(3 * WEEK_US);
    let status = world.writer.status().borrow().clone();
    // A quarter stays free, more or less a segment or two.
    let kept = (600 << 10)..(850 << 10);
    assert!(kept.contains(&status.bytes) && status.error.is_none(), "{status:?}");
    let sent = world.send(0, usize::MAX);
    let synced = usize::try_from(world.reader.as_ref().unwrap().synced()).unwrap();
    world.ledger.truncate(synced);
    let accounted = account(&world.ledger, &sent, &world.told);
    assert!(count(&accounted, As::Thinned) > 1000 && count(&accounted, As::Full) > 1000);
    let causes: Vec<_> =
        world.told.iter().map(|event| &event.data["cause"]).filter(|it| !it.is_null()).collect();
    assert!(causes.iter().any(|cause| *cause == "disk-full"), "{causes:?}");
}

#[test]
fn at_most_one_sync_in_an_interval_whatever_the_load() {
    let mut world = World::new(LaneOptions { sync_interval: Duration::from_secs(600), ..options(4 << 20) });
    let synced = |world: &World| world.writer.status().borrow().syncs;
    // A step after every scan, 20 scans in an interval.
    for scan in 0..2000u64 {
        world.scan();
        world.clock.forward(SCAN_US);
        world.step();
        assert!(synced(&world) <= scan / 20 + 1, "{} syncs in {scan} scans", synced(&world));
    }
    assert!(synced(&world) > 90);
    // An event after a quiet time is synced soon, a flood of them once in an interval.
    let sync_after = Duration::from_millis(50);
    let options = LaneOptions { sync_after, sync_interval: Duration::from_secs(1), ..options(4 << 20) };
    let mut world = World::new(options);
    let mut last = None;
    for tick in 0..1000 {
        world.scan();
        world.clock.forward(10_000);
        let before = synced(&world);
        world.step();
        if synced(&world) > before {
            match last {
                None => assert!(tick <= 6, "the first is late"),
                Some(last) => assert!((99..=102).contains(&(tick - last)), "{last} {tick}"),
            }
            last = Some(tick);
        }
    }
}

#[test]
fn memory_is_bounded_by_syncing_sooner() {
    let long =
        LaneOptions { sync_interval: Duration::from_secs(86_400), sync_bytes: 4096, ..options(4 << 20) };
    let mut world = World::new(long);
    for _ in 0..1000 {
        world.scan();
        world.step();
    }
    assert!(world.writer.status().borrow().syncs > 5);
}
