//! What the journal says that the device writes for it, against what the device says.

use std::fs;
use std::ops::Range;
use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use forebay::batch::{Batch, Sample};
use forebay::event::Events;
use forebay::lane::{Lane, LaneOptions};
use forebay_connector::{Quality, Scalar, Value};

use super::LIMIT;
use crate::device::device;
use crate::power::image::{Image, as_root};

const MIB: u64 = 1 << 20;
const BLOCKS: u64 = 150;

/// Bytes that the device below `directory` has written (field 7, sectors of 512 bytes).
fn device_bytes(directory: &Path) -> u64 {
    as_root(&["sync", "--file-system", directory.to_str().unwrap()]);
    let device = fs::metadata(directory).unwrap().st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let counters = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap();
    counters.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
}

#[test]
fn the_estimate_of_what_reaches_the_flash_is_near_what_the_device_counts() {
    // Blocks of one batch, of some 10 kB, of some 100 kB, of some 300 kB.
    let plain = Image::new(128 * MIB, 144 * MIB);
    let amplified = [1, 30, 300, 1000].map(|batches| written(&plain, batches, 0.9..1.1));
    assert!(amplified[3] < 1.15, "{amplified:.2?}");
}

/// Writes [`BLOCKS`] blocks of so many batches each; device bytes for a byte of the journal.
#[allow(clippy::cast_precision_loss)] // ratios
fn written(disk: &Image, batches: u64, estimates: Range<f64>) -> f64 {
    let press = device("press-3", &[Scalar::Lreal; 40]);
    let (events, _receiver) = Events::new();
    let options = LaneOptions {
        // Only a flush syncs: how many blocks there are must not depend on the speed of the machine.
        sync_interval: Duration::from_secs(10),
        ..LaneOptions::new("telemetry", disk.path().join(batches.to_string()), "Werk1/box")
    };
    let lane = Lane::open(options, events).unwrap();
    let status = lane.writer.status();
    lane.writer.flush(LIMIT).unwrap();
    let (counted_before, estimated_before) = (device_bytes(&disk.path()), status.borrow().device_bytes);
    let mut random = fastrand::Rng::with_seed(batches);
    for block in 0..BLOCKS {
        for batch in 0..batches {
            let sample = |tag| Sample {
                tag,
                value: Value::Lreal(random.f64()),
                quality: Quality::Good,
                source_us: None,
            };
            let samples = (0..40).map(sample).collect();
            let edge_us = i64::try_from(block * batches + batch).unwrap() * 1000;
            lane.writer
                .try_append(Batch { device: press.clone(), edge_us, samples, gap: None })
                .ok()
                .unwrap();
        }
        lane.writer.flush(LIMIT).unwrap();
    }
    let counted = device_bytes(&disk.path()) - counted_before;
    let estimated = status.borrow().device_bytes - estimated_before;
    let written = status.borrow().written_bytes;
    let syncs = status.borrow().syncs;
    println!(
        "{batches} batches a block: {written} bytes in {syncs} syncs, device {counted} ({:.2} a byte), estimated {estimated}",
        counted as f64 / written as f64
    );
    let ratio = estimated as f64 / counted as f64;
    assert!(estimates.contains(&ratio), "estimated {estimated}, counted {counted}: {ratio:.2}");
    lane.lane.close();
    counted as f64 / written as f64
}
