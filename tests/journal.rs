//! The journal and its lanes on a real file system, and the proof that the property tests beside
//! the journal notice mistakes.

// The functions that the tests share fail the test in the same way.
#![allow(clippy::unwrap_used)]

mod disk_full;
mod golden;
mod history;
mod kill;
mod lanes;
mod mutants;

pub use disk_full::SmallDisk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay::batch::{Batch, Sample};
use forebay::device::Device;
use forebay::event::Events;
use forebay::lane::{Body, Lane, LaneOptions, LaneReader, Opened, Record};
use forebay_connector::{Quality, Value};

/// Longer than any single step of these tests takes, also on a busy machine with a slow disk.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Options of a small lane that syncs often.
pub fn options(directory: &Path) -> LaneOptions {
    LaneOptions {
        sync_interval: Duration::from_millis(5),
        ..LaneOptions::new("telemetry", directory, "Site/box")
    }
}

/// An open lane, and its events.
pub fn open(options: LaneOptions) -> (Opened, tokio::sync::mpsc::Receiver<forebay::event::Event>) {
    let (events, receiver) = Events::new();
    (Lane::open(options, events).expect("the lane opens"), receiver)
}

/// One sample for each tag: the serial number of the batch, then numbers made from it.
pub fn batch(device: &Arc<Device>, serial: i64) -> Batch {
    let value = |tag: u32| match tag {
        0 => Value::Int(serial),
        _ => Value::Lreal(serial as f64 * f64::from(tag) * 0.1),
    };
    let sample = |tag| Sample { tag, value: value(tag), quality: Quality::Good, source_us: None };
    let tags = u32::try_from(device.tags.len()).unwrap();
    Batch { device: Arc::clone(device), edge_us: serial, samples: (0..tags).map(sample).collect(), gap: None }
}

/// The serial number of a batch made by [`batch`], after checking everything else in it.
pub fn serial(record: &Record, device: &Arc<Device>) -> i64 {
    let Body::Batch(stored) = &record.body else { panic!("{record:?} is no batch") };
    let expected = batch(device, stored.edge_us);
    assert_eq!(stored.samples, expected.samples);
    assert_eq!(stored.schema.device, device.path);
    assert_eq!(stored.schema.tags.len(), device.tags.len());
    stored.edge_us
}

/// Everything that is synced, from the reader's place on.
pub fn read_all(reader: &mut LaneReader) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = reader.next(100, 1 << 20);
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The names of the segment files, oldest first.
pub fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "segment")).collect();
    segments.sort();
    segments
}
