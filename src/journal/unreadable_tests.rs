//! A disk that gives errors in the place of bytes, for a while: nothing is lost by that.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::memory_disk::{Fate, MemoryDisk};
use super::proptests::journal_of;
use super::recovery::SEGMENT_RECORDS_MAX;
use super::segment::{EPOCH_FILE, Name};
use super::toy_coder::{ToyCoder, ToyDecoder};
use super::{Damage, DamageKind, Disk, Journal, Options, Read, Reader, Unreadable};

const OPTIONS: Options = Options { segment_bytes: 700 };
const EIO: i32 = 5;
const EMFILE: i32 = 24;
/// What of a disk fails together.
const SECTOR_BYTES: usize = 16;

type Records = BTreeMap<u64, Vec<u8>>;

fn open(disk: &MemoryDisk) -> Journal {
    let (journal, recovery) = Journal::open(Arc::new(disk.clone()), OPTIONS).expect("it opens");
    assert_eq!((recovery.damages, recovery.put_aside, recovery.torn_bytes), (vec![], vec![], 0));
    journal
}

/// A journal of forty records, with and without chains.
fn journals() -> impl Iterator<Item = (MemoryDisk, Records)> {
    let lengths: Vec<usize> = (0..40).map(|number| number % 60).collect();
    [false, true]
        .map(|coded| journal_of(&lengths, OPTIONS, coded))
        .map(|(disk, all, _)| (disk, all))
        .into_iter()
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| Name::parse(name).is_some()).collect()
}

/// Every sector of every segment.
fn sectors(disk: &MemoryDisk) -> Vec<(String, Range<usize>)> {
    let mut all = Vec::new();
    for name in segments(disk) {
        let length = disk.open(&name).unwrap().length().unwrap();
        let length = usize::try_from(length).unwrap();
        all.extend((0..length).step_by(SECTOR_BYTES).map(|at| (name.clone(), at..at + SECTOR_BYTES)));
    }
    all
}

/// Reads on until the end, or until the disk gives an error.
fn read_on(reader: &mut Reader, records: &mut Records, damages: &mut Vec<Damage>) -> Option<Unreadable> {
    let mut decoder = ToyDecoder::default();
    loop {
        let (offset, bytes) = match reader.read() {
            Read::Record { offset, bytes, .. } => (offset, bytes.to_vec()),
            Read::Link(link) => match decoder.take(&link) {
                Some(bytes) => (link.offset, bytes),
                None => continue,
            },
            Read::Damage(damage) => {
                damages.push(damage);
                continue;
            }
            Read::Unreadable(unreadable) => return Some(unreadable),
            Read::Moved { from, to } => panic!("{from} to {to} was removed"),
            Read::End => return None,
        };
        assert!(records.insert(offset, bytes).is_none(), "offset {offset} came twice");
    }
}

#[test]
fn what_the_disk_does_not_give_for_a_while_is_given_later_and_never_told_as_lost() {
    for (disk, all) in journals() {
        let journal = open(&disk);
        for (name, sector) in sectors(&disk) {
            disk.fail_reads(&name, Some((sector.clone(), EIO)));
            let mut reader = journal.reader(0).unwrap();
            let (mut records, mut damages) = (Records::new(), Vec::new());
            let stopped = read_on(&mut reader, &mut records, &mut damages);
            let given = records.len() as u64;
            if let Some(stopped) = &stopped {
                assert_eq!((stopped.from_offset, &stopped.file), (given, &name));
                assert!(stopped.to_string().starts_with("Input/output error"), "{stopped}");
                // However often it is tried, and after going back.
                assert_eq!(read_on(&mut reader, &mut records, &mut damages).as_ref(), Some(stopped));
                reader.seek(given.saturating_sub(5));
                records.retain(|offset, _| *offset + 5 < given);
                assert!(read_on(&mut reader, &mut records, &mut damages).is_some());
            }
            disk.fail_reads(&name, None);
            assert_eq!(read_on(&mut reader, &mut records, &mut damages), None);
            assert_eq!((records, damages), (all.clone(), vec![]), "{name} {sector:?} {stopped:?}");
        }
    }
}

#[test]
fn what_is_passed_over_is_told_exactly_and_not_as_damage() {
    for (disk, all) in journals() {
        let journal = open(&disk);
        let mut lost_most = 0;
        for (name, sector) in sectors(&disk) {
            disk.fail_reads(&name, Some((sector.clone(), EIO)));
            let mut reader = journal.reader(0).unwrap();
            let (mut records, mut damages) = (Records::new(), Vec::new());
            while read_on(&mut reader, &mut records, &mut damages).is_some() {
                reader.pass_over();
            }
            let mut told = records.clone();
            for Damage { from_offset, to_offset, cause, kind } in damages {
                assert_eq!(kind, DamageKind::Unreadable, "{cause}");
                lost_most = lost_most.max(to_offset - from_offset);
                told.extend((from_offset..to_offset).map(|offset| (offset, all[&offset].clone())));
            }
            assert_eq!(told, all, "{name} {sector:?}");
            disk.fail_reads(&name, None);
        }
        assert!((1..30).contains(&lost_most), "{lost_most} for one sector");
    }
}

#[test]
fn damage_beside_it_is_told_and_costs_nothing_that_is_only_not_given() {
    for (disk, all) in journals() {
        let name = segments(&disk)[0].clone();
        let sectors: Vec<_> = sectors(&disk).into_iter().filter(|(file, _)| *file == name).collect();
        // A rotten byte, and somewhere behind it a sector that is not given for a while.
        assert!(disk.rot(&name, 200, 1));
        let journal = open(&disk);
        let (mut rotten, mut lost) = (Records::new(), Vec::new());
        assert_eq!(read_on(&mut journal.reader(0).unwrap(), &mut rotten, &mut lost), None);
        assert!(rotten.len() < all.len() && !lost.is_empty());
        for (_, sector) in &sectors[200 / SECTOR_BYTES + 1..] {
            disk.fail_reads(&name, Some((sector.clone(), EIO)));
            let mut reader = journal.reader(0).unwrap();
            let (mut records, mut damages) = (Records::new(), Vec::new());
            assert!(read_on(&mut reader, &mut records, &mut damages).is_some() || records == rotten);
            disk.fail_reads(&name, None);
            assert_eq!(read_on(&mut reader, &mut records, &mut damages), None);
            assert_eq!((&records, &damages), (&rotten, &lost), "{sector:?}");
        }
    }
}

#[test]
fn a_missing_file_is_lost_at_once_and_a_box_short_of_files_waits() {
    let (disk, all) = journals().next().unwrap();
    let journal = open(&disk);
    let second = segments(&disk)[1].clone();
    for number in [EIO, EMFILE] {
        disk.fail_opens(&second, Some(number));
        let mut reader = journal.reader(0).unwrap();
        let (mut records, mut damages) = (Records::new(), Vec::new());
        let stopped = read_on(&mut reader, &mut records, &mut damages).expect("it is not opened");
        assert_eq!((stopped.position, stopped.error.is_passing()), (0, number == EMFILE));
        disk.fail_opens(&second, None);
        assert_eq!(read_on(&mut reader, &mut records, &mut damages), None);
        assert_eq!((&records, damages), (&all, vec![]));
    }
    disk.remove(&second).unwrap();
    let (mut records, mut damages) = (Records::new(), Vec::new());
    assert_eq!(read_on(&mut journal.reader(0).unwrap(), &mut records, &mut damages), None);
    assert_eq!((damages.len(), damages[0].kind), (1, DamageKind::Damaged));
}

/// The journal goes on after it was opened on a disk that gives errors; all that was there is read when
/// the disk gives it, and no offset is given twice.
fn goes_on(disk: &MemoryDisk, all: &Records, what: &str, mend: &dyn Fn(&MemoryDisk)) -> u64 {
    let mut journal = open(disk);
    let new = journal.append(b"new", 1).unwrap();
    assert!(new >= all.len() as u64, "{what}: offset {new} was used");
    journal.sync(1).unwrap();
    mend(disk);
    for disk in [disk.clone(), disk.crash(7)] {
        // Also after the next start.
        let journal = open(&disk);
        let (mut records, mut damages) = (Records::new(), Vec::new());
        assert_eq!(read_on(&mut journal.reader(0).unwrap(), &mut records, &mut damages), None, "{what}");
        assert_eq!(records.remove(&new), Some(b"new".to_vec()), "{what}");
        assert_eq!(&records, all, "{what}");
        let real = damages.iter().find(|damage| damage.kind != DamageKind::Unused);
        assert_eq!(real, None, "{what}");
    }
    new
}

#[test]
fn a_start_cuts_and_loses_nothing_that_it_cannot_read() {
    for coded in [false, true] {
        let lengths: Vec<usize> = (0..40).map(|number| number % 60).collect();
        let fresh = || journal_of(&lengths, OPTIONS, coded);
        let mut far = 0;
        for (name, sector) in sectors(&fresh().0) {
            let (disk, all, _) = fresh();
            disk.fail_reads(&name, Some((sector.clone(), EIO)));
            let new =
                goes_on(&disk, &all, &format!("{name} {sector:?}"), &|disk| disk.fail_reads(&name, None));
            far += u32::from(new > all.len() as u64);
        }
        for name in segments(&fresh().0) {
            let (disk, all, _) = fresh();
            disk.fail_opens(&name, Some(EIO));
            goes_on(&disk, &all, &name, &|disk| disk.fail_opens(&name, None));
        }
        assert!(far > 0, "offsets went on behind all that the newest may hold");
    }
}

#[test]
fn where_a_segment_ends_is_known_from_an_ordered_end() {
    let (disk, all) = journals().next().unwrap();
    open(&disk).note_end(1).unwrap();
    let newest = segments(&disk).pop().unwrap();
    disk.fail_opens(&newest, Some(EIO));
    let new = goes_on(&disk, &all, &newest, &|disk| disk.fail_opens(&newest, None));
    assert_eq!(new, all.len() as u64);
}

#[test]
fn numbers_that_were_left_out_are_told_as_that() {
    let (disk, all) = journals().next().unwrap();
    let newest = segments(&disk).pop().unwrap();
    let first = Name::parse(&newest).unwrap().first_offset;
    disk.fail_opens(&newest, Some(EIO));
    let new = goes_on(&disk, &all, &newest, &|disk| disk.fail_opens(&newest, None));
    assert_eq!(new, first + SEGMENT_RECORDS_MAX);
    let mut damages = Vec::new();
    read_on(&mut open(&disk).reader(0).unwrap(), &mut Records::new(), &mut damages);
    let [Damage { from_offset, to_offset, kind, .. }] = damages[..] else { panic!("{damages:?}") };
    assert_eq!((from_offset, to_offset, kind), (all.len() as u64, new, DamageKind::Unused));
}

#[test]
fn a_journal_is_not_named_anew_while_its_name_cannot_be_read() {
    let (disk, all) = journals().next().unwrap();
    let epoch = open(&disk).epoch();
    disk.fail_opens(EPOCH_FILE, Some(EIO));
    assert_eq!(open(&disk).epoch(), epoch, "the segments know it");
    disk.fail_opens(EPOCH_FILE, Some(EIO));
    for name in segments(&disk) {
        disk.fail_opens(&name, Some(EIO));
    }
    let failed = Journal::open(Arc::new(disk.clone()), OPTIONS);
    assert!(failed.is_err_and(|error| error.file == EPOCH_FILE));
    disk.remove(EPOCH_FILE).unwrap();
    let failed = Journal::open(Arc::new(disk.clone()), OPTIONS);
    assert!(failed.is_err_and(|error| error.file.contains("segments")));
    for name in segments(&disk) {
        disk.fail_opens(&name, None);
    }
    let journal = open(&disk);
    let mut records = Records::new();
    assert_eq!(read_on(&mut journal.reader(0).unwrap(), &mut records, &mut Vec::new()), None);
    assert_eq!((journal.epoch(), records), (epoch, all));
}

/// As who reads the past: one device is wanted, and what the disk does not give is passed over.
#[test]
fn what_is_ignored_does_not_end_a_reading_in_front_of_what_the_disk_does_not_give() {
    // Longer than what is read at once, or trouble would be met before anything is ignored.
    let options = Options { segment_bytes: 1 << 20 };
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), options).expect("it opens");
    let (mut coder, mut fate) = (ToyCoder::default(), Fate::new(1));
    let devices: Vec<u32> = (0..4).map(|device| journal.define(&[device; 8]).unwrap()).collect();
    let mut wanted = Vec::new();
    for serial in 0..2000 {
        let record: Vec<u8> = (0..25).flat_map(|_| fate.next().to_le_bytes()).collect();
        let offset = coder.append(&mut journal, devices[serial % 4], &record, 1).unwrap();
        if serial % 4 == 0 {
            wanted.push(offset);
        }
        if serial % 3 == 0 {
            journal.sync_coded(&mut coder, 1).unwrap();
            coder.clear();
        }
    }
    journal.sync_coded(&mut coder, 1).unwrap();
    for (name, sector) in sectors(&disk).into_iter().step_by(151) {
        disk.fail_reads(&name, Some((sector.clone(), EIO)));
        let mut reader = journal.reader(0).unwrap();
        let (mut given, mut lost) = (Vec::new(), Vec::new());
        loop {
            let mut ignored = None;
            reader.pass_over();
            match reader.read() {
                Read::Link(link) if link.dictionary == devices[0] => given.push(link.offset),
                Read::Link(link) => ignored = Some(link.dictionary),
                Read::Damage(damage) => lost.push(damage.from_offset..damage.to_offset),
                Read::End => break,
                other => panic!("{name} {sector:?}: {other:?}"),
            }
            ignored.into_iter().for_each(|dictionary| reader.ignore(dictionary));
        }
        for offset in &wanted {
            let is_told = given.contains(offset) || lost.iter().any(|range| range.contains(offset));
            assert!(is_told, "{name} {sector:?}: {offset} of {given:?}, {lost:?}");
        }
        disk.fail_reads(&name, None);
    }
}
