//! The format on disk, version 1, as files that must stay readable and be written byte for byte.
//!
//! `FOREBAY_WRITE_GOLDEN=1 cargo test --test forebay golden` writes them anew: only for a new
//! version of the format, in a new directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay::journal::{Disk, DiskFile, Journal, Options, Read, RealDisk};
use forebay::lane::Body;
use forebay_connector::{Quality, Value};

use super::{open, options, read_all};
use crate::support::root;

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

const SCHEMA: &str = r#"{"device":"Site/press-3","name":"press-3","profile":"p","profile_version":"1","tags":[{"path":"oil_temp","type":"LREAL","unit":"°C"},{"path":"running","type":"BOOL"}]}"#;
/// 2026-02-11T08:15:30Z.
const NOW_US: i64 = 1_770_797_730_000_000;

fn fixture() -> PathBuf {
    root().join("tests/fixtures/journal-v1")
}

/// A batch record as `docs/journal-format.md` describes it: schema 2, 250 ms after the block, tag
/// 0 = 41.2 and tag 1 = TRUE, all good, no source times.
const BATCH: [u8; 12] = [1, 1 | 2 | 4, 2, 0xa0, 0xc2, 0x1e, 2, 0, 33, 2, 0xb8, 6];

/// One segment of short blocks, which are not packed, and one with a packed block.
fn write(directory: &Path) {
    let disk = Arc::new(FixedDisk(RealDisk::open(directory).unwrap()));
    let (mut journal, _) =
        Journal::open(disk, Options { segment_bytes: 180, budget_bytes: 1 << 20 }).unwrap();
    journal.define(b"first dictionary").unwrap();
    for block in 0..3 {
        let now_us = NOW_US + block * 1000;
        for record in 0..=block {
            journal.append(format!("block {block} record {record}").as_bytes(), now_us).unwrap();
        }
        journal.sync(now_us).unwrap();
    }
    journal.define(SCHEMA.as_bytes()).unwrap();
    for _ in 0..20 {
        journal.append(&BATCH, NOW_US).unwrap();
    }
    journal.sync(NOW_US).unwrap();
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
fn version_1_is_written_byte_for_byte() {
    if std::env::var_os("FOREBAY_WRITE_GOLDEN").is_some() {
        write(&fixture());
    }
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let (golden, written) = (files(&fixture()), files(directory.path()));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&golden), names(&written));
    let [short, _, epoch] = golden.as_slice() else { panic!("{:?}", names(&golden)) };
    // The block of the other segment is packed, and another version of zstd may pack it differently.
    assert_eq!((short, epoch), (&written[0], &written[2]));
}

#[test]
fn version_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files(&fixture()) {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    let (journal, recovery) = Journal::open(disk, Options { segment_bytes: 1, budget_bytes: 1 }).unwrap();
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
