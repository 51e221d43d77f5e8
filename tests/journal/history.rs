//! Reading the past by device, tag and time.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use forebay::batch::{Batch, GapBefore, Sample};
use forebay::device::Device;
use forebay::journal::Damage;
use forebay::lane::{Body, History, LaneOptions, Opened, Past, Record, StoredBatch, Wanted};
use forebay::twin::Cause;
use forebay_connector::{Quality, Scalar, Value};

use super::{LIMIT, open, options, read_all, segments};
use crate::device::device;

/// Seconds between scans, and how many there are.
const SCAN_US: i64 = 1_000_000;
const SCANS: i64 = 3000;
/// 2026-02-11T08:15:30Z.
const START_US: i64 = 1_770_797_730_000_000;
const TAGS: u32 = 6;

/// The scan of a device: each tag has its own kind of value, and only some change.
fn scan(device: &Arc<Device>, number: i64) -> Batch {
    let value = |tag: u32| match tag {
        0 => Value::Int(number),
        1 => Value::Text(format!("state {}", number / 100 % 5).into()),
        2 => Value::Bool(number % 7 == 0),
        3 => Value::Array([Value::Int(number), Value::Null].into()),
        _ => Value::Lreal(f64::from(i32::try_from(number / i64::from(tag)).unwrap()) / 10.0),
    };
    let changes = |tag: &u32| number % (i64::from(*tag) + 1) == 0;
    let sample = |tag| Sample { tag, value: value(tag), quality: Quality::Good, source_us: None };
    let cause = Cause { code: "timeout".into(), message: "no answer".into() };
    let gap = (number % 1000 == 500).then(|| Box::new(GapBefore { from_us: START_US, cause }));
    let edge_us = START_US + number * SCAN_US + number % 3;
    Batch {
        device: Arc::clone(device),
        edge_us,
        samples: (0..TAGS).filter(changes).map(sample).collect(),
        gap,
    }
}

fn devices() -> Vec<Arc<Device>> {
    ["press-3", "mixer", "oven"].map(|name| device(name, &[Scalar::Lreal; TAGS as usize])).into()
}

/// A lane with three devices, in many small segments.
fn filled(directory: &Path) -> (Opened, Vec<Arc<Device>>) {
    let small = LaneOptions { segment_bytes: 16 << 10, sync_bytes: 1 << 10, ..options(directory) };
    let (lane, _events) = open(small);
    let devices = devices();
    for number in 0..SCANS {
        for device in &devices {
            lane.writer.try_append(scan(device, number)).ok().expect("the queue has room");
        }
        if number % 500 == 0 {
            lane.writer.flush(LIMIT).unwrap();
        }
    }
    lane.writer.flush(LIMIT).unwrap();
    assert!(segments(directory).len() > 4, "the test needs several segments");
    (lane, devices)
}

fn read(history: &History, wanted: &Wanted<'_>) -> (Vec<Record>, Vec<Damage>) {
    let (mut records, mut lost) = (Vec::new(), Vec::new());
    history
        .read(wanted, &mut |past| {
            match past {
                Past::Record(record) => records.push(record.clone()),
                Past::Lost(damage) => lost.push(damage.clone()),
            }
            ControlFlow::Continue(())
        })
        .expect("it can be read");
    (records, lost)
}

fn batch(record: &Record) -> &StoredBatch {
    let Body::Batch(batch) = &record.body else { panic!("{record:?} is no batch") };
    batch
}

#[test]
fn one_tag_of_one_device_between_two_times() {
    let directory = tempfile::tempdir().unwrap();
    let (lane, devices) = filled(directory.path());
    let mixer = &devices[1];
    let beside = History::open(directory.path()).unwrap();
    for tag in 0..TAGS {
        let path = mixer.tags[usize::try_from(tag).unwrap()].path.as_str();
        for (from, to) in [(0, SCANS), (1234, 1240), (2990, SCANS + 10), (-5, 3), (SCANS, SCANS + 5)] {
            let tags = [path];
            let wanted = Wanted {
                device: Some(&mixer.path),
                tags: Some(&tags),
                from_us: START_US + from * SCAN_US,
                to_us: START_US + to * SCAN_US - 1,
            };
            let expected: Vec<Sample> = (from.max(0)..to.min(SCANS))
                .flat_map(|number| scan(mixer, number).samples)
                .filter(|sample| sample.tag == tag)
                .collect();
            for history in [&lane.history, &beside] {
                let (records, lost) = read(history, &wanted);
                let samples: Vec<Sample> =
                    records.iter().flat_map(|record| batch(record).samples.clone()).collect();
                assert_eq!(lost, []);
                let same = samples.iter().zip(&expected).take_while(|(left, right)| left == right).count();
                let (left, right) = (samples.get(same), expected.get(same));
                assert_eq!((left, right), (None, None), "number {same} of {path} from {from} to {to}");
            }
        }
    }
}

#[test]
fn everything_is_what_a_reader_gives_and_gaps_come_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut lane, devices) = filled(directory.path());
    let all = Wanted { device: None, tags: None, from_us: i64::MIN, to_us: i64::MAX };
    let (records, lost) = read(&lane.history, &all);
    assert_eq!((records.clone(), lost), (read_all(&mut lane.reader), vec![]));
    let of_oven = Wanted { device: Some(&devices[2].path), tags: Some(&[]), ..all };
    let (gaps, _) = read(&lane.history, &of_oven);
    let times: Vec<i64> = gaps.iter().map(|record| batch(record).edge_us).collect();
    assert_eq!(times, [500, 1500, 2500].map(|number| START_US + number * SCAN_US + number % 3));
    assert!(gaps.iter().all(|record| batch(record).gap.is_some() && batch(record).samples.is_empty()));
}

#[test]
fn a_reader_may_begin_anywhere_in_a_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (mut lane, _devices) = filled(directory.path());
    let records = read_all(&mut lane.reader);
    for at in (0..records.len()).step_by(97) {
        lane.reader.seek(records[at].offset);
        assert_eq!(lane.reader.next(1, usize::MAX), [records[at].clone()]);
        assert_eq!(lane.reader.offset(), records[at].offset + 1);
    }
}

#[test]
fn reading_stops_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let (lane, _devices) = filled(directory.path());
    let all = Wanted { device: None, tags: None, from_us: i64::MIN, to_us: i64::MAX };
    let mut seen = 0;
    let stop = |_: Past<'_>| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    lane.history.read(&all, &mut { stop }).unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn damage_is_told_and_a_directory_without_a_journal_too() {
    let directory = tempfile::tempdir().unwrap();
    let (lane, devices) = filled(directory.path());
    lane.lane.close();
    let victim = &segments(directory.path())[1];
    let mut bytes = std::fs::read(victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(victim, bytes).unwrap();
    let beside = History::open(directory.path()).unwrap();
    let tags = [devices[0].tags[0].path.as_str()];
    let wanted =
        Wanted { device: Some(&devices[0].path), tags: Some(&tags), from_us: i64::MIN, to_us: i64::MAX };
    let (records, lost) = read(&beside, &wanted);
    let [lost] = lost.as_slice() else { panic!("{lost:?}") };
    let expected = (0..u64::try_from(SCANS).unwrap() * 3)
        .filter(|offset| offset % 3 == 0 && !(lost.from_offset..lost.to_offset).contains(offset));
    assert!(records.iter().map(|record| record.offset).eq(expected));
    let empty = tempfile::tempdir().unwrap();
    assert!(History::open(empty.path()).is_err());
    assert!(History::open(&empty.path().join("nowhere")).is_err());
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "looking changes nothing");
}

/// Tags and scans of a plant whose journal is long enough for several threads.
const NOISY_TAGS: u32 = 24;
const NOISY_SCANS: i64 = 2500;

/// Noise in all bits, now and then a gap, a text, a bad quality, a time of the device's own, and tags
/// that are left out.
fn noise(device: &Arc<Device>, number: i64) -> Batch {
    let mut random = fastrand::Rng::with_seed(number.unsigned_abs());
    let samples = (0..NOISY_TAGS).filter(|tag| number % 10 == 0 || (i64::from(*tag) + number) % 9 != 0);
    let samples = samples.map(|tag| {
        let value = match tag {
            5 => Value::Text(format!("state {}", number / 40 % 7).into()),
            _ => Value::Lreal(random.f64()),
        };
        let quality = if number % 700 == 3 { Quality::NoConnection } else { Quality::Good };
        let source_us = (number % 600 == 4).then_some(START_US + number);
        Sample { tag, value, quality, source_us }
    });
    let cause = Cause { code: "timeout".into(), message: "no answer".into() };
    let gap = (number % 900 == 500).then(|| Box::new(GapBefore { from_us: START_US, cause }));
    Batch {
        device: Arc::clone(device),
        edge_us: START_US + number * SCAN_US,
        samples: samples.collect(),
        gap,
    }
}

/// A lane with two such devices, in one segment.
fn long(directory: &Path) -> (Opened, Vec<Arc<Device>>) {
    let (lane, _events) = open(LaneOptions { sync_bytes: 1 << 10, ..options(directory) });
    let devices: Vec<_> =
        ["press-3", "mixer"].map(|name| device(name, &[Scalar::Lreal; NOISY_TAGS as usize])).into();
    for number in 0..NOISY_SCANS {
        for device in &devices {
            lane.writer.try_append(noise(device, number)).ok().expect("the queue has room");
        }
        if number % 50 == 0 {
            lane.writer.flush(LIMIT).unwrap();
        }
    }
    lane.writer.flush(LIMIT).unwrap();
    let [segment] = segments(directory).try_into().expect("one segment");
    assert!(std::fs::metadata(segment).unwrap().len() > 512 << 10, "the test needs several pieces");
    (lane, devices)
}

/// What threads find is, put together, what one reader finds that reads everything.
fn same_as_one_reader(history: &History, devices: &[Arc<Device>]) -> Vec<Damage> {
    let all = Wanted { device: None, tags: None, from_us: i64::MIN, to_us: i64::MAX };
    let (everything, lost) = read(history, &all);
    for (device, tag) in devices.iter().flat_map(|device| [0, 5, 13, NOISY_TAGS - 1].map(|tag| (device, tag)))
    {
        let path = device.tags[usize::try_from(tag).unwrap()].path.as_str();
        let (found, lost_too) =
            read(history, &Wanted { device: Some(&device.path), tags: Some(&[path]), ..all });
        let of_tag = |record: &Record| {
            let mut batch = batch(record).clone();
            batch.samples.retain(|sample| sample.tag == tag);
            let wanted =
                batch.schema.device == device.path && (!batch.samples.is_empty() || batch.gap.is_some());
            wanted.then_some(Record { offset: record.offset, body: Body::Batch(batch) })
        };
        let expected: Vec<Record> = everything.iter().filter_map(of_tag).collect();
        assert!(expected.len() > 1000, "{}", expected.len());
        assert!(found == expected, "{path}: {} records instead of {}", found.len(), expected.len());
        assert_eq!(lost_too, lost);
    }
    lost
}

#[test]
fn threads_find_what_one_reader_finds() {
    let directory = tempfile::tempdir().unwrap();
    let (lane, devices) = long(directory.path());
    assert_eq!(same_as_one_reader(&lane.history, &devices), [], "while it grows");
    lane.lane.close();
    let path = segments(directory.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(same_as_one_reader(&History::open(directory.path()).unwrap(), &devices), []);
    // One byte; and so much that a whole piece is gone.
    for (at, bytes) in [(whole.len() / 2, 1), (whole.len() / 3, 200 << 10)] {
        let mut damaged = whole.clone();
        damaged[at..at + bytes].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, damaged).unwrap();
        let lost = same_as_one_reader(&History::open(directory.path()).unwrap(), &devices);
        assert!(!lost.is_empty());
    }
    // Without its table of contents.
    let length = u32::from_le_bytes(*whole.last_chunk().unwrap()) as usize;
    std::fs::write(&path, &whole[..whole.len() - length]).unwrap();
    assert_eq!(same_as_one_reader(&History::open(directory.path()).unwrap(), &devices), []);
}

#[test]
fn threads_stop_when_they_are_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let (lane, devices) = long(directory.path());
    let tags = [devices[1].tags[2].path.as_str()];
    let wanted =
        Wanted { device: Some(&devices[1].path), tags: Some(&tags), from_us: i64::MIN, to_us: i64::MAX };
    let mut seen = 0;
    let stop = |_: Past<'_>| {
        seen += 1;
        if seen == 700 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    lane.history.read(&wanted, &mut { stop }).unwrap();
    assert_eq!(seen, 700);
}
