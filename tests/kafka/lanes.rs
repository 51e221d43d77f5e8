//! Lanes without a journal, for the replicator's tests.

#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use forebay::clock::now_us;
use forebay::replicate::{Memory as Notes, Record, Source, SourceFault};
use serde_json::json;

use crate::kafka_cluster::Consumed;
use crate::support::wait_for;

pub const EPOCH: &str = "00112233445566778899aabbccddeeff";
/// Devices of the generated records.
pub const DEVICES: u64 = 7;

/// A lane in memory: records are pushed, everything stays readable.
#[derive(Clone, Default)]
pub struct Memory {
    shared: Arc<MemoryShared>,
    epoch: String,
    lane: &'static str,
    next: u64,
    current: Vec<u8>,
    key: String,
}

/// Key, edge time, value, and why it cannot be expressed.
type Pushed = (String, i64, Vec<u8>, Option<&'static str>);

#[derive(Default)]
pub struct MemoryShared {
    records: Mutex<Vec<Pushed>>,
    pushed: Condvar,
    committed: AtomicU64,
    secured: AtomicU64,
}

impl Memory {
    pub fn new(lane: &'static str, epoch: &str) -> Self {
        Self { lane, epoch: epoch.to_owned(), ..Self::default() }
    }

    pub fn push(&self, key: &str, edge_us: i64, value: &[u8]) {
        self.put(key, edge_us, value, None);
    }

    /// A record that cannot be expressed, and why.
    pub fn push_faulty(&self, key: &str, edge_us: i64, value: &[u8], fault: &'static str) {
        self.put(key, edge_us, value, Some(fault));
    }

    fn put(&self, key: &str, edge_us: i64, value: &[u8], fault: Option<&'static str>) {
        self.shared.records.lock().unwrap().push((key.to_owned(), edge_us, value.to_vec(), fault));
        self.shared.pushed.notify_all();
    }

    pub fn push_numbered(&self, count: u64) {
        for _ in 0..count {
            let offset = self.shared.records.lock().unwrap().len() as u64;
            let (key, value) = numbered(offset);
            self.push(&key, now_us(), value.as_bytes());
        }
    }

    pub fn len(&self) -> u64 {
        self.shared.records.lock().unwrap().len() as u64
    }

    /// Below it the second cluster has what the first one lacks.
    pub fn secured_to(&self) -> u64 {
        self.shared.secured.load(Ordering::SeqCst)
    }

    /// First offset that is not committed.
    pub fn committed_to(&self) -> u64 {
        self.shared.committed.load(Ordering::SeqCst)
    }

    pub fn wait_committed(&self, next_offset: u64, limit: Duration) {
        wait_for(&format!("commit of {next_offset}"), limit, || {
            (self.shared.committed.load(Ordering::SeqCst) >= next_offset).then_some(())
        });
    }
}

impl Source for Memory {
    fn lane(&self) -> &str {
        self.lane
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        self.next = offset;
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        let index = usize::try_from(self.next).unwrap();
        let records = self.shared.records.lock().unwrap();
        let (records, _) =
            self.shared.pushed.wait_timeout_while(records, wait, |records| records.len() <= index).unwrap();
        let Some((key, edge_us, value, fault)) = records.get(index) else { return Ok(None) };
        self.key.clone_from(key);
        self.current.clone_from(value);
        self.next += 1;
        let (offset, value) = (self.next - 1, &self.current);
        Ok(Some(Record { offset, edge_us: *edge_us, key: &self.key, value, fault: *fault }))
    }

    fn committed(&mut self, next_offset: u64) {
        self.shared.committed.store(next_offset, Ordering::SeqCst);
    }

    fn used(&mut self, _: u64) {}

    fn secured(&mut self, next_offset: u64) {
        self.shared.secured.store(next_offset, Ordering::SeqCst);
    }

    fn end(&self) -> u64 {
        self.shared.records.lock().unwrap().len() as u64
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        Ok(Box::new(Self { next: 0, ..self.clone() }))
    }
}

/// Record `offset` of every generated lane: its device counts up by one.
pub fn numbered(offset: u64) -> (String, String) {
    let device = format!("Werk1/Halle2/dev-{}", offset % DEVICES);
    let pad = "x".repeat(150);
    let value = json!({"device": device, "n": offset / DEVICES, "pad": pad}).to_string();
    (device, value)
}

/// The small state of a box, in memory.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<String, Vec<u8>>>);

impl Notes for Kept {
    fn recall(&self, key: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(key).filter(|value| !value.is_empty()).cloned()
    }
    fn keep(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.0.lock().unwrap().insert(key.to_owned(), value.to_vec());
        Ok(())
    }
}

/// A lane without end that is the same in every process: for the killed child.
#[derive(Clone, Default)]
pub struct Generator {
    next: u64,
    total: u64,
    /// When it is not all there at once.
    growing: Option<Growing>,
    key: String,
    value: String,
}

/// A lane that grows.
#[derive(Clone, Copy)]
pub struct Growing {
    /// From this moment on, microseconds since 1970.
    pub since_us: i64,
    /// What was there an hour before.
    pub old: u64,
    /// One more record in so many microseconds.
    pub period_us: i64,
}

impl Growing {
    fn edge_us(&self, offset: u64) -> i64 {
        match offset.checked_sub(self.old) {
            Some(fresh) => self.since_us + i64::try_from(fresh).unwrap() * self.period_us,
            None => self.since_us - 3_600_000_000,
        }
    }

    fn end(&self) -> u64 {
        self.old + u64::try_from((now_us() - self.since_us).max(0) / self.period_us).unwrap()
    }
}

impl Generator {
    pub fn new(total: u64) -> Self {
        Self { total, ..Self::default() }
    }

    pub fn growing(total: u64, growing: Growing) -> Self {
        Self { growing: Some(growing), ..Self::new(total) }
    }
}

impl Source for Generator {
    fn lane(&self) -> &str {
        "telemetry"
    }

    fn epoch(&self) -> &str {
        EPOCH
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        self.next = offset;
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.next >= self.end() {
            std::thread::sleep(wait);
            return Ok(None);
        }
        (self.key, self.value) = numbered(self.next);
        self.next += 1;
        Ok(Some(Record {
            offset: self.next - 1,
            edge_us: self.growing.map_or_else(now_us, |growing| growing.edge_us(self.next - 1)),
            key: &self.key,
            value: self.value.as_bytes(),
            fault: None,
        }))
    }

    fn committed(&mut self, next_offset: u64) {
        println!("\ncommitted {next_offset}");
    }

    fn used(&mut self, _: u64) {}

    fn secured(&mut self, _: u64) {}

    fn end(&self) -> u64 {
        self.growing.map_or(self.total, |growing| growing.end().min(self.total))
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        Ok(Box::new(self.clone()))
    }
}

/// Asserts that each offset below `total` is there once, and each device's records in order.
pub fn assert_exactly_once(records: &[Consumed], total: u64) {
    let mut seen = vec![0_u32; usize::try_from(total).unwrap()];
    let mut next: HashMap<&str, u64> = HashMap::new();
    let mut by_place: BTreeMap<(i32, i64), &Consumed> = BTreeMap::new();
    for record in records {
        seen[usize::try_from(record.offset()).unwrap()] += 1;
        by_place.insert((record.partition, record.kafka_offset), record);
        assert_eq!(record.headers["epoch"], EPOCH);
        assert_eq!(record.headers["edge"], "box-1");
    }
    let lost = seen.iter().filter(|count| **count == 0).count();
    let doubled = seen.iter().filter(|count| **count > 1).count();
    assert_eq!((lost, doubled), (0, 0), "lost and doubled of {total}");
    for record in by_place.values() {
        let next = next.entry(record.key.as_deref().unwrap()).or_default();
        let n = record.json()["n"].as_u64().unwrap();
        assert_eq!(n, *next, "order of {:?}", record.key);
        *next += 1;
    }
}

/// Each offset once; per device, live records in order and backfilled records in order.
pub fn assert_once_each_in_order(read: &[Consumed], total: u64) {
    let mut seen = vec![0_u32; usize::try_from(total).unwrap()];
    let mut last: HashMap<(&str, Option<&String>), u64> = HashMap::new();
    let mut places: Vec<&Consumed> = read.iter().collect();
    places.sort_by_key(|record| (record.partition, record.kafka_offset));
    for record in places {
        seen[usize::try_from(record.offset()).unwrap()] += 1;
        let device = record.key.as_deref().unwrap();
        let before = last.insert((device, record.headers.get("delivery")), record.offset());
        assert!(before < Some(record.offset()), "order of {device}: {before:?} then {}", record.offset());
    }
    let lost = seen.iter().filter(|count| **count == 0).count();
    let doubled = seen.iter().filter(|count| **count > 1).count();
    assert_eq!((lost, doubled), (0, 0), "lost and doubled of {total}");
}
