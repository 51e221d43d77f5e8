//! The journal against a model, on a disk that loses what was not synced. `tests/mutants` breaks
//! the journal in known ways and demands that these tests notice.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::memory_disk::{Fate, MemoryDisk};
use super::toy_coder::{ToyCoder, ToyDecoder};
use super::{Damage, Journal, Options, Read, Reader, Recovery, SyncError};

const OPTIONS: Options = Options { segment_bytes: 400 };
const LONG: Options = Options { segment_bytes: 4_000 };

#[derive(Debug, Clone)]
enum Op {
    /// Records of this many bytes, perhaps with a dictionary of their own.
    Append(Option<u8>, Vec<usize>),
    Sync,
    /// Power loss.
    Crash(u64),
    /// Power loss while the block is being synced.
    CrashInSync(u64),
    /// kill -9.
    Kill,
    /// kill -9 between write and sync: what was written is still there, and not durable.
    KillInSync,
    /// Commits this part of what is synced, and trims.
    Trim(Pick),
    Evict,
    FailSyncs(usize),
    FailDirectorySyncs(usize),
    /// The disk is full after so many bytes more.
    Fill(usize),
    MakeRoom,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (option::of(any::<u8>()), vec(0usize..120, 1..6)).prop_map(|(define, lengths)| Op::Append(define, lengths)),
        6 => Just(Op::Sync),
        1 => any::<u64>().prop_map(Op::Crash),
        3 => any::<u64>().prop_map(Op::CrashInSync),
        1 => Just(Op::Kill),
        1 => Just(Op::KillInSync),
        2 => any::<Pick>().prop_map(Op::Trim),
        1 => Just(Op::Evict),
        1 => (1usize..3).prop_map(Op::FailSyncs),
        1 => (1usize..3).prop_map(Op::FailDirectorySyncs),
        1 => (0usize..400).prop_map(Op::Fill),
        1 => Just(Op::MakeRoom),
    ]
}

/// Number and content of a dictionary.
type Dictionary = (u32, u8);

fn dictionary_bytes(content: u8) -> [u8; 40] {
    [content; 40]
}

/// A record that tells its own number and its dictionary, half of the rest hard to compress.
fn record(serial: u64, (number, content): Dictionary, length: usize) -> Vec<u8> {
    let mut fate = Fate::new(serial);
    let noise = (0..length).map(|at| if at % 2 == 0 { 7 } else { fate.next().to_le_bytes()[0] });
    let head = serial.to_le_bytes().into_iter().chain(number.to_le_bytes()).chain([content]);
    head.chain(noise).collect()
}

/// Whether the reader knows the dictionary that the record was written with; number 0 is none.
fn has_dictionary(reader: &Reader, record: &[u8]) -> bool {
    let number = u32::from_le_bytes(record[8..12].try_into().unwrap());
    number == 0 || reader.dictionary(number).is_some_and(|bytes| **bytes == dictionary_bytes(record[12]))
}

fn open(disk: &MemoryDisk) -> (Journal, Recovery) {
    Journal::open(Arc::new(disk.clone()), OPTIONS).expect("a journal always opens")
}

/// Everything a reader gives: records by offset, and damage.
///
/// Each record must come with its dictionary, unless a file was damaged on purpose.
fn read_all(reader: &mut Reader, undamaged: bool) -> (BTreeMap<u64, Vec<u8>>, Vec<Damage>) {
    follow(reader, &mut ToyDecoder::default(), undamaged)
}

/// As [`read_all`], with the decoder that has seen what the reader gave before.
fn follow(
    reader: &mut Reader,
    decoder: &mut ToyDecoder,
    undamaged: bool,
) -> (BTreeMap<u64, Vec<u8>>, Vec<Damage>) {
    let (mut records, mut damages) = (BTreeMap::new(), Vec::new());
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
            Read::Unreadable(unreadable) => panic!("{unreadable}"),
            Read::Moved { .. } => continue,
            Read::End => return (records, damages),
        };
        assert!(!undamaged || has_dictionary(reader, &bytes), "offset {offset} lost its dictionary");
        assert!(records.insert(offset, bytes).is_none(), "offset {offset} came twice");
    }
}

/// What blocks hold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Blocks {
    Rows,
    Coded,
    /// One these, the next those.
    Both,
}

fn blocks() -> impl Strategy<Value = Blocks> {
    prop_oneof![2 => Just(Blocks::Rows), 4 => Just(Blocks::Coded), 1 => Just(Blocks::Both)]
}

/// What must be true of the journal.
struct Model {
    disk: MemoryDisk,
    journal: Journal,
    /// What the blocks hold.
    blocks: Blocks,
    /// The waiting block is one of a chain.
    coded: bool,
    coder: ToyCoder,
    /// A reader that has been following since the last start.
    follower: (Reader, ToyDecoder),
    /// What each offset holds, unsynced ones included.
    written: BTreeMap<u64, Vec<u8>>,
    /// Offsets below are durable.
    synced: u64,
    /// Highest end of the offsets that any reader has seen; they may never be given again.
    seen: u64,
    /// Offsets below may be gone: committed or evicted.
    released: u64,
    /// What this start of the journal was told is committed.
    committed: u64,
    serial: u64,
    /// What records refer to; number 0 is none.
    dictionary: Dictionary,
}

impl Model {
    fn new(seed: u64, blocks: Blocks) -> Self {
        let disk = MemoryDisk::new(seed);
        let (journal, recovery) = open(&disk);
        assert!(recovery.created);
        let follower = (journal.reader(0).unwrap(), ToyDecoder::default());
        let written = BTreeMap::new();
        Self {
            disk,
            journal,
            blocks,
            coded: false,
            coder: ToyCoder::default(),
            follower,
            written,
            synced: 0,
            seen: 0,
            released: 0,
            committed: 0,
            serial: 0,
            dictionary: (0, 0),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append(define, lengths) => {
                if let Some(content) = define {
                    self.dictionary = (self.journal.define(&dictionary_bytes(content)).unwrap(), content);
                }
                lengths.into_iter().for_each(|length| self.append(length));
            }
            Op::Sync => self.sync(),
            Op::Crash(seed) => {
                self.disk = self.disk.crash(seed);
                self.restart();
            }
            Op::CrashInSync(seed) => {
                self.die_in_sync();
                self.apply(Op::Crash(seed));
            }
            Op::Kill => self.restart(),
            Op::KillInSync => {
                self.die_in_sync();
                self.restart();
            }
            Op::Trim(part) => self.trim(part),
            Op::Evict => self.evict(),
            Op::FailSyncs(count) => self.disk.fail_syncs(count),
            Op::FailDirectorySyncs(count) => self.disk.fail_directory_syncs(count),
            Op::Fill(bytes) => self.disk.fill(Some(bytes)),
            Op::MakeRoom => self.disk.fill(None),
        }
    }

    fn append(&mut self, length: usize) {
        let record = record(self.serial, self.dictionary, length);
        self.serial += 1;
        if self.journal.pending_records() == 0 {
            self.coded = self.blocks == Blocks::Coded || self.blocks == Blocks::Both && !self.coded;
        }
        let offset = if self.coded {
            self.coder.append(&mut self.journal, self.dictionary.0, &record, 1).unwrap()
        } else {
            self.journal.append(&record, 1).unwrap()
        };
        assert!(offset >= self.seen, "offset {offset} is used again");
        assert!(self.written.insert(offset, record).is_none(), "offset {offset} is used again");
    }

    fn sync_journal(&mut self, now_us: i64) -> Result<u64, SyncError> {
        let next = self.journal.sync_coded(&mut self.coder, now_us)?;
        self.coder.clear();
        Ok(next)
    }

    fn sync(&mut self) {
        // A failed sync may be repeated; nothing of the block is visible meanwhile.
        for now_us in 0..2 {
            let before = self.synced;
            match self.sync_journal(now_us) {
                Ok(next) => {
                    assert_eq!(next, self.written.keys().last().map_or(before, |last| last + 1).max(before));
                    self.synced = next;
                    break;
                }
                Err(_) => assert_eq!(self.journal.next_offset(), before),
            }
        }
        let (reader, decoder) = &mut self.follower;
        let (records, damages) = follow(reader, decoder, true);
        assert!(damages.is_empty(), "the follower found {damages:?}");
        for (offset, record) in &records {
            assert!(*offset < self.synced, "an unsynced record was read");
            assert_eq!(Some(record), self.written.get(offset), "offset {offset}");
        }
        assert_eq!(self.follower.0.offset(), self.synced);
        self.seen = self.seen.max(self.synced);
    }

    fn trim(&mut self, part: Pick) {
        let committed = part.index(usize::try_from(self.synced).unwrap() + 1) as u64;
        self.released = self.released.max(committed);
        self.committed = self.committed.max(committed);
        // A failure is the disk's; what it may leave behind is checked below.
        let _freed = self.journal.trim(committed);
        self.check();
    }

    fn evict(&mut self) {
        let before = self.journal.first_offset();
        let lost = before.max(self.committed)..self.journal.oldest_range().1;
        match self.journal.evict_oldest(b"") {
            Ok(Some(evicted)) => {
                assert_eq!(evicted.records, lost.end.saturating_sub(lost.start), "records lost by evicting");
                assert_eq!(evicted.to_offset, self.journal.first_offset());
                self.released = self.released.max(evicted.to_offset);
            }
            Ok(None) => assert_eq!(self.journal.first_offset(), before),
            // Removed, but the directory could not be synced: both is right until it can.
            Err(_) => self.released = self.released.max(self.journal.first_offset()),
        }
        self.check();
    }

    fn die_in_sync(&mut self) {
        self.disk.die_at_sync();
        if self.journal.pending_records() > 0 {
            assert!(self.sync_journal(1).is_err());
        }
    }

    fn restart(&mut self) {
        self.disk.revive();
        (self.committed, self.dictionary) = (0, (0, 0));
        let recovery;
        (self.journal, recovery) = open(&self.disk);
        assert!(recovery.damages.is_empty(), "a crash is no damage: {recovery:?}");
        let next = self.journal.next_offset();
        assert!(next >= self.synced, "lost synced records: {next} of {}", self.synced);
        assert!(next >= self.seen, "offsets that were read will be used again");
        self.written.retain(|offset, _| *offset < next);
        self.synced = next;
        self.coder = ToyCoder::default();
        self.follower = (self.journal.reader(self.journal.first_offset()).unwrap(), ToyDecoder::default());
        self.check();
    }

    /// All synced records that were not released are there, unchanged.
    fn check(&mut self) {
        let first = self.journal.first_offset();
        assert!(first <= self.released.max(self.synced), "{first} is beyond what may be gone");
        assert!(first <= self.released, "records from {} were removed, not released", self.released);
        let (records, damages) = read_all(&mut self.journal.reader(first).unwrap(), true);
        assert!(damages.is_empty(), "found {damages:?}");
        let expected: BTreeMap<_, _> = self
            .written
            .range(first..self.synced)
            .map(|(offset, record)| (*offset, record.clone()))
            .collect();
        assert_eq!(records.len(), expected.len(), "records from {first} to {}", self.synced);
        assert_eq!(records, expected);
        // Who begins in the middle gets the same.
        let middle = first + (self.synced - first) / 2;
        let (records, damages) = read_all(&mut self.journal.reader(middle).unwrap(), true);
        assert!(damages.is_empty(), "found {damages:?} from {middle} on");
        assert!(records.iter().eq(expected.range(middle..)), "records from {middle} on");
        self.seen = self.seen.max(self.synced);
    }
}

/// A journal of records of these lengths, three a block; what each offset holds; and the first
/// offset of the last block.
pub(super) fn journal_of(
    lengths: &[usize],
    limits: Options,
    coded: bool,
) -> (MemoryDisk, BTreeMap<u64, Vec<u8>>, u64) {
    let disk = MemoryDisk::new(1);
    let mut written = BTreeMap::new();
    let mut last_block = 0;
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), limits).unwrap();
    let mut coder = ToyCoder::default();
    for (serial, length) in (0u64..).zip(lengths) {
        if serial % 3 == 0 {
            last_block = journal.sync_coded(&mut coder, 1).unwrap();
            coder.clear();
            journal.define(&serial.to_le_bytes()).unwrap();
        }
        let record = record(serial, (0, 0), *length);
        let offset = if coded {
            coder.append(&mut journal, u32::try_from(serial % 4).unwrap(), &record, 1)
        } else {
            journal.append(&record, 1)
        };
        written.insert(offset.unwrap(), record);
    }
    journal.sync_coded(&mut coder, 1).unwrap();
    (disk, written, last_block)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_does_what_the_model_does(
        seed in any::<u64>(),
        blocks in blocks(),
        ops in vec(op(), 1..60),
    ) {
        let mut model = Model::new(seed, blocks);
        for op in ops {
            model.apply(op);
        }
        model.apply(Op::Crash(seed));
        // What recovery has shown is durable, although it may never have been synced before.
        model.apply(Op::Crash(seed.wrapping_add(1)));
    }

    /// What was written together and torn is dropped together: a record that survived without the
    /// dictionary in front of it would be worth nothing.
    #[test]
    fn a_torn_write_is_dropped_whole(
        seed in any::<u64>(),
        blocks in blocks(),
        synced in 0usize..3,
        length in 0usize..40,
    ) {
        let mut model = Model::new(seed, blocks);
        for _ in 0..synced {
            model.apply(Op::Append(None, vec![20]));
            model.apply(Op::Sync);
        }
        model.apply(Op::Append(Some(1), vec![length]));
        model.apply(Op::CrashInSync(seed));
    }

    /// A byte that rots before the last write is proved by that write to have been synced: nothing
    /// is cut off, and no offset is lost from the count.
    #[test]
    fn rot_before_the_last_write_is_not_taken_for_torn(
        lengths in vec(0usize..60, 6..40),
        at in any::<Pick>(),
        bits in 1u8..,
        coded in any::<bool>(),
        one_a_block in any::<bool>(),
    ) {
        let disk = MemoryDisk::new(1);
        let whole = Options { segment_bytes: 1 << 20 };
        let (mut journal, _) = Journal::open(Arc::new(disk.clone()), whole).unwrap();
        let mut coder = ToyCoder::default();
        let mut before_last = 0;
        for (serial, length) in (0u64..).zip(&lengths) {
            let record = record(serial, (0, 0), *length);
            match coded {
                true => coder.append(&mut journal, 1, &record, 1).unwrap(),
                false => journal.append(&record, 1).unwrap(),
            };
            if one_a_block || serial % 3 == 2 || serial + 1 == lengths.len() as u64 {
                before_last = usize::try_from(journal.bytes()).unwrap();
                journal.sync_coded(&mut coder, 1).unwrap();
                coder.clear();
            }
        }
        drop(journal);
        let name = disk.names().into_iter().find(|name| name.ends_with(".segment")).unwrap();
        let mut length = 0;
        disk.tamper(&name, |content| {
            length = content.len();
            content[at.index(before_last)] ^= bits;
        });
        let (journal, recovery) = Journal::open(Arc::new(disk.clone()), whole).unwrap();
        prop_assert_eq!((recovery.torn_bytes, journal.bytes()), (0, length as u64));
        prop_assert_eq!(journal.next_offset(), lengths.len() as u64);
        let (records, damages) = read_all(&mut journal.reader(0).unwrap(), false);
        let lost: u64 = damages.iter().map(|damage| damage.to_offset - damage.from_offset).sum();
        prop_assert_eq!(records.len() as u64 + lost, lengths.len() as u64);
    }

    /// Any change to any one file: the journal opens, and each offset is either read unchanged or
    /// told as damage. Only what lies at the very end cannot be told from a torn write.
    #[test]
    fn damage_is_told_exactly(
        lengths in vec(0usize..200, 20..80),
        file in any::<Pick>(),
        change in change(),
        long in any::<bool>(),
        coded in any::<bool>(),
    ) {
        let limits = if long { LONG } else { OPTIONS };
        let (disk, written, last_block) = journal_of(&lengths, limits, coded);
        let names = disk.names();
        let name = file.get(&names);
        change.apply(&disk, name);

        let (journal, recovery) = open(&disk);
        let next = journal.next_offset();
        let total = written.len() as u64;
        prop_assert!(next <= total, "offsets out of nothing");
        prop_assert!(next >= last_block || change.is_coarse(), "{next} of {total}, last block {last_block}");
        let (records, damages) = read_all(&mut journal.reader(0).unwrap(), false);
        for (offset, record) in &records {
            prop_assert_eq!(Some(record), written.get(offset), "offset {}", offset);
        }
        let first = journal.first_offset();
        for offset in first..next {
            let told = damages.iter().any(|damage| (damage.from_offset..damage.to_offset).contains(&offset));
            prop_assert!(told != records.contains_key(&offset), "offset {} of {:?}", offset, &damages);
        }
        for damage in &recovery.damages {
            prop_assert!(damage.from_offset < damage.to_offset && !damage.cause.is_empty());
        }
    }
}

/// What is done to one file.
#[derive(Debug, Clone)]
enum Change {
    Flip(Pick, u8),
    Overwrite(Pick, Vec<u8>),
    Shorten(Pick),
    Remove,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<Pick>(), 1u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        2 => (any::<Pick>(), vec(any::<u8>(), 1..100)).prop_map(|(at, bytes)| Change::Overwrite(at, bytes)),
        1 => any::<Pick>().prop_map(Change::Shorten),
        1 => Just(Change::Remove),
    ]
}

impl Change {
    /// The end of the newest segment may have gone.
    fn is_coarse(&self) -> bool {
        !matches!(self, Self::Flip(..))
    }

    fn apply(&self, disk: &MemoryDisk, name: &str) {
        disk.tamper(name, |content| match self {
            Self::Flip(at, bits) => *at.get_mut(content) ^= bits,
            Self::Overwrite(at, bytes) => {
                let at = at.index(content.len());
                for (byte, new) in content[at..].iter_mut().zip(bytes) {
                    *byte = *new;
                }
            }
            Self::Shorten(at) => content.truncate(at.index(content.len())),
            Self::Remove => {}
        });
        if matches!(self, Self::Remove) {
            super::Disk::remove(disk, name).unwrap();
        }
    }
}
