//! The format on disk as files that must stay readable: version 1, which nothing writes any more,
//! and version 2, whose chains must also be written byte for byte.
//!
//! `FOREBAY_WRITE_GOLDEN=1 cargo test --test forebay golden` writes version 2 anew: only before it
//! has been released, else there must be a version 3.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use forebay::batch::{Batch, GapBefore, Sample};
use forebay::clock::Clock;
use forebay::device::{Device, Transform};
use forebay::event::{Event, Events, Kind};
use forebay::journal::{Disk, DiskFile, Journal, Options, Read, RealDisk};
use forebay::lane::{Body, History, Lane, LaneOptions, Past, Record, Wanted};
use forebay::twin::Cause;
use forebay_connector::{Quality, Scalar, Value};

use super::{LIMIT, open, options, read_all};
use crate::device::device;
use crate::support::root;

/// 2026-02-11T08:15:30Z.
const NOW_US: i64 = 1_770_797_730_000_000;

fn fixture() -> PathBuf {
    root().join("tests/fixtures/journal-v1")
}

/// The files of a directory with their content, in order.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    // Which segments were sent is not part of the format of segments.
    let entries = entries.filter(|entry| entry.file_name() != "handed");
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn version_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files(&fixture()) {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    let (journal, recovery) = Journal::open(disk, Options { segment_bytes: 1 }).unwrap();
    assert_eq!(journal.epoch().to_string(), "000102030405060708090a0b0c0d0e0f");
    assert_eq!((recovery.damages, recovery.put_aside, recovery.created), (vec![], vec![], false));
    let mut reader = journal.reader(0).unwrap();
    for (expected, text) in
        (0..).zip(["0 record 0", "1 record 0", "1 record 1", "2 record 0", "2 record 1", "2 record 2"])
    {
        let block: i64 = text[..1].parse().unwrap();
        let bytes = format!("block {text}");
        let read = Read::Record { offset: expected, base_us: NOW_US + block * 1000, bytes: bytes.as_bytes() };
        assert_eq!(reader.read(), read);
        assert_eq!(reader.dictionary(1).map(|bytes| bytes.to_vec()), Some(b"first dictionary".to_vec()));
    }
    drop(journal);
    assert_eq!(files(directory.path())[..2], files(&fixture())[..2], "what is old is not changed");

    let (mut lane, _events) = open(options(directory.path()));
    lane.reader.seek(6);
    let records = read_all(&mut lane.reader);
    assert_eq!(records.len(), 20);
    let Body::Batch(batch) = &records[19].body else { panic!("no batch") };
    assert_eq!((batch.edge_us, batch.schema.tags[0].path.as_str()), (NOW_US + 250_000, "oil_temp"));
    let values: Vec<_> =
        batch.samples.iter().map(|sample| (sample.tag, sample.value.clone(), sample.quality)).collect();
    assert_eq!(values, [(0, Value::Lreal(41.2), Quality::Good), (1, Value::Bool(true), Quality::Good)]);
}

/// Whatever byte rots: the journal opens, and each offset is read unchanged or told as damage.
#[test]
fn rot_in_version_1_is_told_exactly() {
    let undamaged = read_version_1(|_, _| {});
    assert_eq!(undamaged.len(), 26);
    for (name, content) in files(&fixture()) {
        for at in (0..content.len()).step_by(3) {
            let told = read_version_1(|file, bytes| {
                if file == name {
                    bytes[at] ^= 0x11;
                }
            });
            for (offset, record) in &told {
                assert!(record.is_none() || undamaged[offset] == *record, "byte {at} of {name}");
            }
            // Of the newest segment the end may have gone, as if it had been torn.
            assert!(told.len() == 26 || name.starts_with("0000000000000002"), "byte {at} of {name}");
        }
    }
}

/// Each offset with its record, or as damage, once `change` was made to each file.
fn read_version_1(change: impl Fn(&str, &mut Vec<u8>)) -> std::collections::BTreeMap<u64, Option<Vec<u8>>> {
    let directory = tempfile::tempdir().unwrap();
    for (name, mut content) in files(&fixture()) {
        change(&name, &mut content);
        fs::write(directory.path().join(name), content).unwrap();
    }
    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    let (journal, _) = Journal::open(disk, Options { segment_bytes: 1 }).unwrap();
    let mut reader = journal.reader(0).unwrap();
    let mut told = std::collections::BTreeMap::new();
    loop {
        match reader.read() {
            Read::Record { offset, bytes, .. } => {
                assert_eq!(told.insert(offset, Some(bytes.to_vec())), None);
            }
            Read::Damage(damage) => {
                (damage.from_offset..damage.to_offset).for_each(|offset| {
                    assert_eq!(told.insert(offset, None), None);
                });
            }
            other @ (Read::Moved { .. } | Read::Link(_) | Read::Unreadable(_)) => panic!("{other:?}"),
            Read::End => return told,
        }
    }
}

fn fixture_2() -> PathBuf {
    root().join("tests/fixtures/journal-v2")
}

/// A real directory whose randomness is fixed.
struct FixedDisk(RealDisk);

impl Disk for FixedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        Ok(std::array::from_fn(|index| u8::try_from(index).unwrap()))
    }
}

/// It is always the same moment.
struct FixedClock;

impl Clock for FixedClock {
    fn now_us(&self) -> i64 {
        NOW_US
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A press with a scaled tag, and a mixer.
fn devices() -> [Arc<Device>; 2] {
    let mut press = device("press-3", &[Scalar::Lreal; 9]);
    let scaled = Transform::Linear { scale: 100.0 / 27648.0, offset: -5.0, clamp: None };
    Arc::make_mut(&mut Arc::get_mut(&mut press).unwrap().tags)[8].transform = scaled;
    [press, device("mixer", &[Scalar::Real; 3])]
}

/// Everything a batch can hold: all kinds of values, qualities and source times, forms that change.
fn batch_2(device: &Arc<Device>, number: i32) -> Batch {
    let value = |tag: u32| match tag {
        0 if number % 5 == 4 => Value::Null,
        0 => Value::Real(41.2 + number as f32 / 10.0),
        1 => Value::Bool(number % 3 == 0),
        2 => Value::Uint(u64::MAX - 7 + u64::try_from(number % 8).unwrap()),
        3 => {
            Value::Text(["idle", "running", "fault: door open"][usize::try_from(number % 3).unwrap()].into())
        }
        4 => Value::Lreal(f64::from(number) * 0.1),
        5 => Value::Array([Value::Int(i64::from(number)), Value::Text("x".into()), Value::Null].into()),
        6 => Value::DateTime(NOW_US - i64::from(number) * 1_000_000),
        7 => Value::Lreal(std::f64::consts::PI * f64::from(number)),
        _ => Value::Lreal(f64::from(10_000 + number) * (100.0 / 27648.0) + -5.0),
    };
    let good = |tag: u32| number % 7 != 3 || tag.is_multiple_of(2);
    let sample = |tag: u32| Sample {
        tag,
        value: value(tag),
        quality: if good(tag) { Quality::Good } else { Quality::Uncertain },
        source_us: (number % 4 == 2).then_some(NOW_US + i64::from(number) * 1000 + i64::from(tag)),
    };
    let changes = |tag: &u32| number % 2 == 0 || tag.is_multiple_of(3);
    let tags = u32::try_from(device.tags.len()).unwrap();
    let cause = Cause { code: "timeout".into(), message: "no answer within 500 ms".into() };
    let gap = (number == 6).then(|| Box::new(GapBefore { from_us: NOW_US, cause }));
    let edge_us = NOW_US + i64::from(number) * 1_000_000 + i64::from(number % 5) * 40;
    Batch {
        device: Arc::clone(device),
        edge_us,
        samples: (0..tags).filter(changes).map(sample).collect(),
        gap,
    }
}

const BATCHES: i32 = 30;

/// Blocks of one batch, of several, and of an event, in two segments.
fn write_2(directory: &Path) {
    let disk = Arc::new(FixedDisk(RealDisk::open(directory).unwrap()));
    let small = LaneOptions { segment_bytes: 1500, ..options(directory) };
    let opened = Lane::open_on(disk, Arc::new(FixedClock), small, Events::new().0).unwrap();
    let devices = devices();
    for number in 0..BATCHES {
        for device in &devices[..if number % 4 == 1 { 1 } else { 2 }] {
            opened.writer.try_append(batch_2(device, number)).ok().unwrap();
            if number < 10 {
                opened.writer.flush(LIMIT).unwrap();
            }
        }
        opened.writer.flush(LIMIT).unwrap();
    }
    opened.writer.try_append_event(event()).ok().unwrap();
    opened.writer.flush(LIMIT).unwrap();
    assert_eq!(opened.lane.close(), 0);
}

fn event() -> Event {
    let (device, text) = ("Site/Line1/press-3".into(), "no answer".into());
    Event {
        kind: Kind::DeviceState,
        edge_time: NOW_US,
        device,
        text,
        data: serde_json::json!({ "since": 7 }),
    }
}

/// The frames of a segment that begin with a chain's flags, but for the first, which says how long
/// the schemas before it are: another version of zstd may pack those differently.
fn chains(segment: &[u8]) -> Vec<&[u8]> {
    let mut rest = &segment[64..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let mut behind = &rest[1..];
        let length = usize::try_from(forebay::journal::varint::take(&mut behind).unwrap()).unwrap();
        let (frame, after) = rest.split_at(rest.len() - behind.len() + 4 + length);
        if frame[0] & 7 == 2 {
            frames.push(frame);
        }
        rest = after;
    }
    frames.split_off(1)
}

#[test]
fn version_2_is_written_byte_for_byte() {
    if std::env::var_os("FOREBAY_WRITE_GOLDEN").is_some() {
        let _not_yet_there = fs::remove_dir_all(fixture_2());
        write_2(&fixture_2());
    }
    let directory = tempfile::tempdir().unwrap();
    write_2(directory.path());
    let (golden, written) = (files(&fixture_2()), files(directory.path()));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&golden), names(&written));
    let segments = |name: &str| name.ends_with(".segment");
    let mut compared = 0;
    for ((name, golden), (_, written)) in golden.iter().zip(&written).filter(|((name, _), _)| segments(name))
    {
        assert_eq!(golden[..64], written[..64], "header of {name}");
        assert_eq!(chains(golden), chains(written), "{name}");
        compared += chains(golden).len();
    }
    assert!(compared > 20, "{compared} blocks");
}

#[test]
fn version_2_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files(&fixture_2()) {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let (mut lane, mut events) = open(options(directory.path()));
    let records = read_all(&mut lane.reader);
    assert!(events.try_recv().is_err(), "nothing is damaged");
    let all = Wanted { device: None, tags: None, from_us: i64::MIN, to_us: i64::MAX };
    let mut past: Vec<Record> = Vec::new();
    let each = &mut |it: Past<'_>| {
        if let Past::Record(record) = it {
            past.push(record.clone());
        }
        ControlFlow::Continue(())
    };
    History::open(directory.path()).unwrap().read(&all, each).unwrap();
    assert_eq!(past, records, "with the tables of contents it is the same");

    let devices = devices();
    let sent = (0..BATCHES).flat_map(|number| {
        devices[..if number % 4 == 1 { 1 } else { 2 }].iter().map(move |device| batch_2(device, number))
    });
    let (last, batches) = records.split_last().unwrap();
    assert_eq!(batches.len(), sent.clone().count());
    for (record, sent) in batches.iter().zip(sent) {
        let Body::Batch(stored) = &record.body else { panic!("{record:?} is no batch") };
        assert_eq!((stored.edge_us, &stored.samples), (sent.edge_us, &sent.samples));
        assert_eq!((&stored.gap, &stored.schema.device), (&sent.gap.map(|gap| *gap), &sent.device.path));
    }
    assert_eq!(last.body, Body::Event(serde_json::to_vec(&event()).unwrap()));
}
