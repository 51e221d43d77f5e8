//! Directories that are not as a journal leaves them.

use std::sync::Arc;

use super::memory_disk::MemoryDisk;
use super::segment::{HEADER_BYTES, Name};
use super::{Damage, Journal, Options, Read, Recovery, SyncError};

const OPTIONS: Options = Options { segment_bytes: 140 };

fn open(disk: &MemoryDisk) -> (Journal, Recovery) {
    Journal::open(Arc::new(disk.clone()), OPTIONS).expect("a journal always opens")
}

/// A disk with a journal of `count` records, one a block, three or four a segment.
fn with_records(count: u64) -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk);
    for serial in 0..count {
        journal.append(&serial.to_le_bytes(), 1).unwrap();
        journal.sync(1).unwrap();
    }
    disk
}

fn read_all(journal: &Journal) -> (Vec<u64>, Vec<Damage>) {
    let mut reader = journal.reader(0).unwrap();
    let (mut records, mut damages) = (Vec::new(), Vec::new());
    loop {
        match reader.read() {
            Read::Record { offset, bytes, .. } => {
                assert_eq!(bytes, offset.to_le_bytes());
                records.push(offset);
            }
            Read::Damage(damage) => damages.push(damage),
            Read::Unreadable(unreadable) => panic!("{unreadable}"),
            Read::Link(link) => panic!("{link:?} was never written"),
            Read::Moved { .. } => {}
            Read::End => return (records, damages),
        }
    }
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| Name::parse(name).is_some()).collect()
}

#[test]
fn foreign_files_do_no_harm() {
    let disk = with_records(10);
    disk.plant("lost+found", b"");
    disk.plant("0000-0000.segment", b"not ours");
    disk.plant("epoch.tmp", b"cut off");
    let (journal, recovery) = open(&disk);
    assert_eq!((recovery.damages, recovery.put_aside), (vec![], vec![]));
    assert_eq!(read_all(&journal), ((0..10).collect(), vec![]));
}

#[test]
fn a_lost_or_broken_epoch_file_is_restored() {
    let disk = with_records(10);
    let epoch = open(&disk).0.epoch();
    for content in [&b""[..], &[0; 32], b"FBEPOCH\0 and then something else"] {
        disk.tamper("epoch", |bytes| *bytes = content.to_vec());
        let (journal, recovery) = open(&disk);
        assert_eq!((journal.epoch(), recovery.created), (epoch, false));
        assert_eq!(read_all(&journal).0.len(), 10);
    }
}

#[test]
fn segments_of_another_journal_are_put_aside() {
    let disk = with_records(10);
    let stranger = segments(&disk).pop().unwrap();
    disk.tamper(&stranger, |bytes| {
        bytes[12] ^= 1;
        let checksum = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    });
    let (journal, recovery) = open(&disk);
    assert_eq!(recovery.put_aside, [stranger.clone() + ".foreign"]);
    assert!(disk.names().contains(&(stranger + ".foreign")));
    assert!(read_all(&journal).0.len() < 10);
}

/// Makes a segment one of format version 3.
fn from_the_future(disk: &MemoryDisk, name: &str) {
    disk.tamper(name, |bytes| {
        bytes[8] = 3;
        let checksum = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    });
}

#[test]
fn a_newer_version_in_the_middle_is_put_aside_and_told() {
    let disk = with_records(10);
    let name = segments(&disk)[1].clone();
    let from = Name::parse(&name).unwrap().first_offset;
    let to = Name::parse(&segments(&disk)[2]).unwrap().first_offset;
    from_the_future(&disk, &name);
    let (journal, recovery) = open(&disk);
    assert_eq!(recovery.put_aside, [name + ".future"]);
    assert_eq!((recovery.damages[0].from_offset, recovery.damages[0].to_offset), (from, to));
    assert!(recovery.damages[0].cause.contains("version 3 of a newer Forebay"), "{recovery:?}");
    let (records, damages) = read_all(&journal);
    assert_eq!(records, (0..10).filter(|offset| !(from..to).contains(offset)).collect::<Vec<_>>());
    assert_eq!((damages[0].from_offset, damages[0].to_offset, damages.len()), (from, to, 1));
}

#[test]
fn behind_a_newer_version_no_offset_is_used_again() {
    let disk = with_records(10);
    let name = segments(&disk).pop().unwrap();
    from_the_future(&disk, &name);
    let mut before = 0;
    for _ in 0..3 {
        let (mut journal, _) = open(&disk);
        let offset = journal.append(b"12345678", 1).unwrap();
        assert!(offset > 1 << 32 && offset > before, "{offset}");
        journal.sync(1).unwrap();
        before = offset;
    }
}

#[test]
fn skipped_offsets_stay_skipped_over_power_loss() {
    let mut disk = with_records(10);
    let (mut journal, _) = open(&disk);
    journal.skip_to(500, 1).unwrap();
    for seed in 0..20 {
        disk = disk.crash(seed);
        let (mut journal, recovery) = open(&disk);
        assert_eq!(recovery.damages, []);
        assert_eq!(journal.append(&500u64.to_le_bytes(), 1).unwrap(), 500);
        // Not synced: the next start gives the same offset.
        let (records, damages) = read_all(&journal);
        assert_eq!(records, (0..10).collect::<Vec<_>>());
        assert_eq!((damages[0].from_offset, damages[0].to_offset, damages.len()), (10, 500, 1));
    }
}

#[test]
fn a_full_disk_is_said_and_got_over() {
    let disk = with_records(10);
    let (mut journal, _) = open(&disk);
    for room in 0..150 {
        disk.fill(Some(room));
        journal.append(&(10u64).to_le_bytes(), 1).unwrap();
        match journal.sync(1) {
            Err(SyncError::Full { .. }) => {}
            other => {
                assert_eq!(other.unwrap(), 11, "with room for {room} bytes");
                break;
            }
        }
        assert_eq!(read_all(&journal).0, (0..10).collect::<Vec<_>>(), "reading goes on");
        disk.fill(None);
        (journal, _) = open(&disk);
    }
    assert_eq!(read_all(&journal).0, (0..11).collect::<Vec<_>>());
}

/// A sync fails and the process dies before it can take the write back. It still reads well at the
/// next start, but only a new write makes it durable.
#[test]
fn what_a_failed_sync_has_left_is_written_again_before_it_is_shown() {
    for is_first in [true, false] {
        for seed in 0..40 {
            let disk = if is_first { MemoryDisk::new(seed) } else { with_records(3) };
            let (mut journal, _) = open(&disk);
            if !is_first {
                journal.append(&3u64.to_le_bytes(), 1).unwrap();
                journal.sync(1).unwrap();
            }
            journal.append(&journal.next_offset().to_le_bytes(), 1).unwrap();
            disk.fail_syncs(1);
            // Creating the file, writing, syncing; removing or cutting it is too late.
            disk.die_after(if is_first { 3 } else { 2 });
            assert!(journal.sync(1).is_err());
            disk.revive();
            let shown = read_all(&open(&disk).0);
            assert_eq!(read_all(&open(&disk.crash(seed)).0), shown, "seed {seed}, first {is_first}");
        }
    }
}

/// A file is given up after a failed sync, and another begins at its offset. Once that one is trimmed,
/// what is left of the first may not come back in its place, whether it could be removed or not.
#[test]
fn what_was_given_up_never_passes_for_a_segment() {
    for (failing_removes, restarts) in [(0, false), (1, false), (1, true), (2, true)] {
        for seed in 0..40 {
            let disk = MemoryDisk::new(seed);
            let (mut journal, _) = open(&disk);
            journal.append(&0u64.to_le_bytes(), 1).unwrap();
            disk.fail_syncs(1);
            disk.fail_removes(failing_removes);
            assert!(journal.sync(1).is_err());
            while segments(&disk).len() < 4 {
                journal.sync(1).unwrap();
                if restarts {
                    (journal, _) = open(&disk);
                }
                journal.append(&journal.next_offset().to_le_bytes(), 1).unwrap();
            }
            journal.sync(1).unwrap();
            let next = journal.next_offset();
            let _removed = journal.trim(next);
            let first = journal.first_offset();
            assert!(first > 0, "something is trimmed");
            let (journal, recovery) = open(&disk.crash(seed));
            assert_eq!(recovery.damages, []);
            let (records, damages) = read_all(&journal);
            let from = journal.first_offset();
            let what = format!("{failing_removes} removals failed, restarts: {restarts}, seed {seed}");
            assert_eq!((records, damages), ((from..next).collect(), vec![]), "{what}");
        }
    }
}

#[test]
fn a_power_cut_never_hides_what_was_removed() {
    let mut seen = std::collections::BTreeSet::new();
    for changes in 0.. {
        let disk = with_records(20);
        let (mut journal, _) = open(&disk);
        let (from, to) = journal.oldest_range();
        disk.die_after(changes);
        // It fails where the power is cut.
        let _failed = journal.evict_oldest(b"what was there");
        let died = disk.is_dead();
        for seed in 0..40 {
            let disk = disk.crash(seed);
            let (journal, recovery) = open(&disk);
            assert_eq!(recovery.damages, []);
            let gone = journal.first_offset() == to;
            assert!(gone || journal.first_offset() == from);
            assert_eq!(recovery.removal.as_deref(), gone.then_some(&b"what was there"[..]));
            seen.insert(gone);
            // It is told until somebody says that it is enough.
            let (mut journal, again) = open(&disk);
            assert_eq!(again.removal, recovery.removal);
            journal.forget_note();
            assert_eq!(open(&disk).1.removal, None);
        }
        if !died {
            assert!(changes > 5, "only {changes} changes were made");
            break;
        }
    }
    assert_eq!(seen.len(), 2, "both must have been seen");
}

#[test]
fn a_damaged_note_is_none() {
    for at in 0..60 {
        let disk = with_records(20);
        open(&disk).0.evict_oldest(b"what was there").unwrap();
        disk.tamper("removed", |bytes| bytes[at] ^= 4);
        assert_eq!(open(&disk).1.removal, None, "byte {at}");
    }
}
