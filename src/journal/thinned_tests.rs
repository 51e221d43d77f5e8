//! Thinned segments: what stands in them, what a power cut leaves, and that nothing a replicator
//! has seen is thinned.

use std::sync::Arc;

use super::memory_disk::MemoryDisk;
use super::segment::{HANDED_FILE, TEMPORARY};
use super::{Damage, Journal, Options, Read, Reader, Thinning};

/// Three records of 200 bytes a segment.
const OPTIONS: Options = Options { segment_bytes: 600 };
/// A thinned record stands for so many.
const STEP: u64 = 2;
const MAGIC_THINNED: u8 = 0xee;

fn open(disk: &MemoryDisk) -> Journal {
    Journal::open(Arc::new(disk.clone()), OPTIONS).expect("a journal always opens").0
}

/// A record hard to compress, so that segments have their size.
fn full(offset: u64) -> Vec<u8> {
    let mut fate = super::memory_disk::Fate::new(offset);
    offset.to_le_bytes().into_iter().chain((0..200).map(|_| fate.next().to_le_bytes()[0])).collect()
}

/// A thinned record and the offsets it stands for.
fn thin(from: u64, to: u64) -> Vec<u8> {
    [&[MAGIC_THINNED][..], &from.to_le_bytes(), &to.to_le_bytes()].concat()
}

/// A disk with a journal of `count` records, one a block.
fn with_records(count: u64) -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    write(&mut open(&disk), count);
    disk
}

fn write(journal: &mut Journal, count: u64) {
    for _ in 0..count {
        let offset = journal.next_offset();
        journal.append(&full(offset), 1_000_000 * i64::try_from(offset).unwrap()).unwrap();
        journal.sync(1_000_000 * i64::try_from(offset).unwrap()).unwrap();
    }
}

/// Sums up pairs of records, a block each; what cannot be read is left out.
fn sum_up(journal: &Journal, thinning: &mut Thinning) -> std::io::Result<()> {
    let (mut from, end) = thinning.range();
    let mut source = journal.reader(from)?;
    while from < end {
        let to = (from + STEP).min(end);
        source.seek(from);
        let mut readable = to;
        while source.offset() < to {
            if let Read::Damage(damage) = source.read() {
                readable = damage.from_offset;
                from = from.max(damage.to_offset);
                break;
            }
        }
        if readable < to {
            thinning.leave_out(from);
            continue;
        }
        thinning.append(to - 1, &thin(from, to)).unwrap();
        thinning.end_block(to)?;
        from = to;
    }
    Ok(())
}

/// Thins the segment at `first_offset`; whether that was done.
fn thin_segment(journal: &mut Journal, first_offset: u64) -> bool {
    let Some(mut thinning) = journal.thin(first_offset).unwrap() else { return false };
    sum_up(journal, &mut thinning).unwrap();
    journal.replace(thinning).unwrap().is_some()
}

/// How an offset is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Full,
    Thinned,
    Damaged,
}

/// What a reader tells of each offset from the first on; it panics when it tells one twice.
fn told(reader: &mut Reader) -> Vec<As> {
    let mut told = Vec::new();
    let mut tell = |from: u64, to: u64, what| {
        assert_eq!(told.len() as u64, from, "an offset is missing or told twice");
        told.extend((from..to).map(|_| what));
    };
    loop {
        match reader.read() {
            Read::Record { offset, bytes, .. } if bytes[0] == MAGIC_THINNED && bytes.len() == 17 => {
                let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                assert_eq!(offset, number(9) - 1, "it stands at the last offset");
                tell(number(1), number(9), As::Thinned);
            }
            Read::Record { offset, bytes, .. } => {
                assert_eq!(bytes, full(offset));
                tell(offset, offset + 1, As::Full);
            }
            Read::Unreadable(unreadable) => panic!("{unreadable}"),
            Read::Link(link) => panic!("{link:?} was never written"),
            Read::Damage(Damage { from_offset, to_offset, .. }) => tell(from_offset, to_offset, As::Damaged),
            Read::Moved { from, to } => panic!("{from} to {to} was removed"),
            Read::End => return told,
        }
    }
}

fn told_by(journal: &Journal) -> Vec<As> {
    told(&mut journal.reader(0).unwrap())
}

/// Offsets 0 to 11 in segments of three, with some thinned.
fn expected(thinned: std::ops::Range<usize>) -> Vec<As> {
    (0..12).map(|at| if thinned.contains(&at) { As::Thinned } else { As::Full }).collect()
}

#[test]
fn absent_offsets_are_no_damage() {
    let disk = with_records(12);
    let mut journal = open(&disk);
    assert_eq!(journal.segments().iter().map(|it| it.first_offset).collect::<Vec<_>>(), [0, 3, 6]);
    let before = journal.bytes();
    assert!(thin_segment(&mut journal, 3));
    assert!(journal.bytes() < before);
    assert_eq!(told_by(&journal), expected(3..6));
    assert_eq!(journal.segments().iter().map(|it| it.thinned).collect::<Vec<_>>(), [false, true, false]);
    // Once is enough, and the newest carries the next offset.
    assert!(!thin_segment(&mut journal, 3) && !thin_segment(&mut journal, 9));
    let mut journal = open(&disk);
    assert_eq!(told_by(&journal), expected(3..6));
    assert!(thin_segment(&mut journal, 0));
    assert_eq!(told_by(&open(&disk.crash(7))), expected(0..6));
}

#[test]
fn a_reader_may_begin_anywhere_in_a_thinned_segment() {
    let disk = with_records(12);
    let mut journal = open(&disk);
    assert!(thin_segment(&mut journal, 3));
    for (wanted, given) in [(2, 2), (3, 4), (4, 4), (5, 5), (6, 6)] {
        let mut reader = journal.reader(wanted).unwrap();
        match reader.read() {
            Read::Record { offset, .. } => assert_eq!(offset, given, "from {wanted}"),
            other => panic!("{other:?} from {wanted}"),
        }
        assert_eq!(reader.offset(), given + 1);
    }
}

#[test]
fn who_reads_already_keeps_the_full_records() {
    let disk = with_records(12);
    let mut journal = open(&disk);
    let mut reader = journal.reader(0).unwrap();
    for _ in 0..4 {
        assert!(matches!(reader.read(), Read::Record { .. }));
    }
    assert!(thin_segment(&mut journal, 3));
    for offset in 4..12 {
        assert!(matches!(reader.read(), Read::Record { offset: given, .. } if given == offset), "{offset}");
    }
}

/// Runs `work` with a power cut before each change of the disk it makes, and gives each disk that
/// is left to `check`, several for each cut.
fn at_every_power_cut(
    with: impl Fn() -> MemoryDisk,
    work: impl Fn(&MemoryDisk),
    check: impl Fn(&MemoryDisk),
) {
    for changes in 0.. {
        let disk = with();
        disk.die_after(changes);
        work(&disk);
        let dead = disk.is_dead();
        for seed in 0..40 {
            check(&disk.crash(seed));
        }
        // kill -9: all that was written is there.
        disk.revive();
        check(&disk);
        if !dead {
            assert!(changes > 5, "only {changes} changes were made");
            return;
        }
    }
}

#[test]
fn a_power_cut_leaves_the_full_segment_or_the_thinned_one() {
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let journal = std::cell::RefCell::new(None);
    let with = || {
        let disk = with_records(12);
        *journal.borrow_mut() = Some(open(&disk));
        disk
    };
    let work = |_: &MemoryDisk| {
        let mut journal = journal.borrow_mut();
        let journal = journal.as_mut().unwrap();
        let Ok(Some(mut thinning)) = journal.thin(3) else { return };
        if sum_up(journal, &mut thinning).is_ok() {
            // It fails where the power is cut.
            let _failed = journal.replace(thinning);
        }
    };
    let check = |disk: &MemoryDisk| {
        let (journal, recovery) = Journal::open(Arc::new(disk.clone()), OPTIONS).unwrap();
        assert_eq!((recovery.damages, recovery.torn_bytes), (vec![], 0));
        let told = told_by(&journal);
        assert!(told == expected(0..0) || told == expected(3..6), "{told:?}");
        seen.borrow_mut().insert(told[3] == As::Thinned);
        assert!(disk.names().iter().all(|name| !name.ends_with(TEMPORARY)), "{:?}", disk.names());
    };
    at_every_power_cut(with, work, check);
    assert_eq!(seen.borrow().len(), 2, "both must have been seen");
}

#[test]
fn what_a_replicator_has_begun_with_is_never_thinned() {
    let disk = with_records(12);
    let mut journal = open(&disk);
    let mut reader = journal.reader(3).unwrap();
    reader.hand_over();
    // A reader that has given nothing has handed nothing over.
    assert!(thin_segment(&mut journal, 0));
    assert!(matches!(reader.read(), Read::Record { offset: 3, .. }));
    assert!(!thin_segment(&mut journal, 3));
    assert!(thin_segment(&mut journal, 6), "it has not come that far");
    for seed in 0..20 {
        let mut journal = open(&disk.crash(seed));
        assert!(!thin_segment(&mut journal, 3), "a restart does not forget it");
    }
}

#[test]
fn a_replicator_that_begins_while_a_segment_is_thinned_gets_it_in_full() {
    let disk = with_records(12);
    let mut journal = open(&disk);
    let mut thinning = journal.thin(3).unwrap().unwrap();
    sum_up(&journal, &mut thinning).unwrap();
    let mut reader = journal.reader(3).unwrap();
    reader.hand_over();
    assert!(matches!(reader.read(), Read::Record { offset: 3, .. }));
    assert_eq!(journal.replace(thinning).unwrap(), None);
    assert_eq!(told_by(&journal), expected(0..0));
    assert!(disk.names().iter().all(|name| !name.ends_with(TEMPORARY)));
}

#[test]
fn a_power_cut_never_forgets_what_was_handed_over() {
    for changes in 0.. {
        let disk = with_records(12);
        let journal = open(&disk);
        disk.die_after(changes);
        let mut reader = journal.reader(3).unwrap();
        reader.hand_over();
        let given = matches!(reader.read(), Read::Record { .. });
        let died = disk.is_dead();
        assert!(given || died && reader.withheld().is_some());
        for seed in 0..40 {
            let mut journal = open(&disk.crash(seed));
            assert_eq!(told_by(&journal), expected(0..0));
            assert!(!given || !thin_segment(&mut journal, 3), "after {changes} changes");
        }
        if !died {
            assert!(changes > 4, "only {changes} changes were made");
            return;
        }
    }
}

#[test]
fn a_note_that_cannot_be_written_leaves_everything_in_doubt() {
    let disk = with_records(12);
    let journal = open(&disk);
    disk.fill(Some(10));
    let mut reader = journal.reader(3).unwrap();
    reader.hand_over();
    assert!(matches!(reader.read(), Read::Record { offset: 3, .. }), "sending goes on");
    assert_eq!(journal.segments().iter().map(|it| it.handed).collect::<Vec<_>>(), [false, true, false]);
    for seed in 0..10 {
        assert!(open(&disk.crash(seed)).segments().iter().all(|segment| segment.handed));
    }
}

#[test]
fn while_the_note_can_be_neither_written_nor_removed_nothing_is_given() {
    for reads_only in [true, false] {
        let disk = with_records(12);
        let mut journal = open(&disk);
        let mut reader = journal.reader(3).unwrap();
        reader.hand_over();
        if reads_only {
            disk.die_after(0);
        } else {
            // Neither the new file nor the removal of the old one is durable.
            disk.fail_directory_syncs(2);
        }
        assert_eq!(reader.read(), Read::End);
        assert!(reader.withheld().is_some() && reader.withheld().is_none(), "the cause is told once");
        assert_eq!(journal.segments().iter().map(|it| it.handed).collect::<Vec<_>>(), [false; 3]);
        disk.revive();
        assert!(thin_segment(&mut journal, 0), "nothing of it was given");
        assert!(matches!(reader.read(), Read::Record { offset: 3, .. }), "and goes on by itself");
        for seed in 0..20 {
            assert!(!thin_segment(&mut open(&disk.crash(seed)), 3));
        }
    }
}

#[test]
fn a_thinned_segment_is_not_given_before_its_name_is_durable() {
    for in_doubt in [true, false] {
        let disk = with_records(12);
        if in_doubt {
            super::Disk::remove(&disk, HANDED_FILE).unwrap();
        }
        let mut journal = open(&disk);
        // These are of this run, so that nobody doubts whether they were given.
        write(&mut journal, 9);
        let mut thinning = journal.thin(12).unwrap().unwrap();
        sum_up(&journal, &mut thinning).unwrap();
        let mut reader = journal.reader(12).unwrap();
        reader.hand_over();
        disk.fail_directory_syncs(2);
        journal.replace(thinning).unwrap_err();
        assert_eq!(reader.read(), Read::End, "a power cut may bring the full one back");
        let Read::Record { offset, .. } = reader.read() else { panic!("the directory is synced now") };
        assert_eq!(offset, 13, "a sum stands at the last offset");
        for seed in 0..40 {
            let given = told_by(&open(&disk.crash(seed)));
            assert_eq!(given[12..15], [As::Thinned; 3], "as it was given");
        }
    }
}

#[test]
fn without_its_file_everything_counts_as_handed_until_the_checkpoint_is_known() {
    for content in [None, Some(&b""[..]), Some(b"FBHANDED and then something else"), Some(&[0; 64])] {
        let disk = with_records(12);
        match content {
            None => super::Disk::remove(&disk, HANDED_FILE).unwrap(),
            Some(content) => disk.tamper(HANDED_FILE, |bytes| *bytes = content.to_vec()),
        }
        let mut journal = open(&disk);
        assert!(journal.segments().iter().all(|segment| segment.handed));
        assert!(!thin_segment(&mut journal, 6));
        journal.trim(4).unwrap();
        assert_eq!(journal.segments().iter().map(|it| it.handed).collect::<Vec<_>>(), [true, false]);
        // The checkpoint is durable knowledge.
        let mut journal = open(&disk);
        assert!(thin_segment(&mut journal, 6) && !thin_segment(&mut journal, 3));
    }
}

#[test]
fn a_segment_begun_with_while_in_doubt_stays_handed() {
    let disk = with_records(12);
    super::Disk::remove(&disk, HANDED_FILE).unwrap();
    let mut journal = open(&disk);
    let mut reader = journal.reader(6).unwrap();
    reader.hand_over();
    assert!(matches!(reader.read(), Read::Record { offset: 6, .. }));
    journal.trim(0).unwrap();
    assert_eq!(journal.segments().iter().map(|it| it.handed).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn rot_in_a_thinned_segment_is_told_exactly() {
    let disk = with_records(12);
    assert!(thin_segment(&mut open(&disk), 3));
    let name = disk.names().into_iter().find(|name| name.ends_with("0000000000000003.segment")).unwrap();
    let mut length = 0;
    disk.tamper(&name, |bytes| length = bytes.len());
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..length {
        let disk = with_records(12);
        assert!(thin_segment(&mut open(&disk), 3));
        disk.tamper(&name, |bytes| bytes[at] ^= 0x21);
        let told = told_by(&open(&disk));
        // `told` has checked that each offset is told once.
        assert_eq!(told.len(), 12);
        assert!((0..12).all(|offset| (3..6).contains(&offset) || told[offset] == As::Full), "{told:?}");
        assert!(told[3..6].iter().all(|what| *what != As::Full), "byte {at}: {told:?}");
        seen.insert(told[3..6].iter().filter(|what| **what == As::Damaged).count());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2], "header, one block, the other block");
}

#[test]
fn damage_in_the_full_segment_stays_damage_in_the_thinned_one() {
    let disk = with_records(12);
    let name = disk.names().into_iter().find(|name| name.ends_with("0000000000000003.segment")).unwrap();
    // In the second record.
    disk.tamper(&name, |bytes| bytes[64 + 300] ^= 1);
    let mut journal = open(&disk);
    let before = told_by(&journal);
    assert_eq!(before[3..6], [As::Full, As::Damaged, As::Full]);
    assert!(thin_segment(&mut journal, 3));
    let after = told_by(&journal);
    assert_eq!(after[4], As::Damaged);
    assert_eq!(after[5], As::Thinned);
}

#[test]
fn a_thinned_segment_that_becomes_the_newest_ends_where_it_did() {
    let disk = with_records(9);
    let mut journal = open(&disk);
    write(&mut journal, 1);
    assert!(thin_segment(&mut journal, 6));
    // The write of the newest is torn, so the one before takes its place.
    let newest = disk.names().into_iter().rfind(|name| name.ends_with(".segment")).unwrap();
    disk.tamper(&newest, |bytes| bytes.truncate(30));
    for _ in 0..2 {
        let (mut journal, recovery) = Journal::open(Arc::new(disk.clone()), OPTIONS).unwrap();
        assert_eq!(recovery.damages, []);
        assert_eq!(journal.next_offset(), 9);
        assert_eq!(told_by(&journal)[6..], [As::Thinned; 3]);
        assert_eq!(journal.append(b"", 1).unwrap(), 9);
    }
}

#[test]
fn sent_history_is_kept_for_its_time() {
    let disk = with_records(12);
    let mut journal = open(&disk);
    let first = |journal: &Journal| journal.first_offset();
    journal.trim_history(9, 0).unwrap();
    assert_eq!(first(&journal), 0, "all is younger");
    // The second segment was begun at 3 s: what is older than that is in the first.
    journal.trim_history(9, 2_999_999).unwrap();
    assert_eq!(first(&journal), 0);
    journal.trim_history(9, 3_000_000).unwrap();
    assert_eq!(first(&journal), 3);
    journal.trim_history(9, i64::MAX).unwrap();
    assert_eq!(first(&journal), 9);
}
