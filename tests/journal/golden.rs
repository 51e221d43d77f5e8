//! The format on disk, version 1, as files that must stay readable. Nothing writes them any more.
//! Version 2 is in `src/lane/golden_tests.rs`, where the clock can be held.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay::journal::{Journal, Options, Read, RealDisk};
use forebay::lane::Body;
use forebay_connector::{Quality, Value};

use super::{open, options, read_all};
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
    let (journal, _) = Journal::open(disk, Options { segment_bytes: 1, budget_bytes: 1 }).unwrap();
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
            other @ (Read::Moved { .. } | Read::Link(_)) => panic!("{other:?}"),
            Read::End => return told,
        }
    }
}
