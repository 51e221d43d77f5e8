//! Chains: blocks whose records are coded against what is before them.
//!
//! A chain begins with a key block and ends where it has become long against what its beginning
//! cost, or where its segment ends. What a record is coded against, the journal does not know: it
//! calls a [`BlockCoder`] when it writes, and gives [`Link`]s when it reads, in the same order.

use std::sync::Arc;

use super::frame::{ChainHead, FrameWriter, Joint, Low};
use super::varint;

/// Numbers of dictionaries that records of chains may refer to are below this; so many numbers a
/// table may hold at most.
pub const CODED_DICTIONARIES_MAX: u32 = 1 << 16;
/// A chain ends when it is this many times as long as what its first values took. More saves a
/// few percent and loses more to one rotten byte.
const LENGTH_FACTOR: usize = 16;
/// Bytes that a key block has more than another, about.
const KEY_BYTES: usize = 10;
/// No chain ends before.
const CHAIN_BYTES_MIN: usize = 1 << 10;

/// Codes records that wait, when the journal writes them.
///
/// A block that could not be written is coded again, into a new chain: nothing that was coded
/// before [`BlockCoder::begin`] may be referred to.
pub trait BlockCoder {
    /// A chain begins at this wall time, microseconds since 1970 UTC in whole milliseconds.
    fn begin(&mut self, base_us: i64);

    /// Codes the waiting record of this number, from 0: appends it to `front`, and those of its
    /// bytes that pack well to `back`. At least one byte goes in front.
    fn put(&mut self, record: usize, front: &mut Vec<u8>, back: &mut Vec<u8>);

    /// Bytes that this chain has spent on first values: what a new chain would cost.
    fn first_bytes(&self) -> usize;
}

/// A record of a chain, as a reader gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its number.
    pub offset: u64,
    /// It was asked for. Those that were not are given because later ones are coded against them.
    pub wanted: bool,
    /// It is the first of its chain.
    pub begins: bool,
    /// Wall time at which its chain began, microseconds since 1970 UTC.
    pub base_us: i64,
    /// Number of its dictionary.
    pub dictionary: u32,
    /// That dictionary, unless it was lost.
    pub meaning: Option<&'a Arc<[u8]>>,
    /// What [`BlockCoder::put`] has put in front, and, unless it is given apart, in the back.
    pub front: &'a [u8],
    /// What it has put in the back, when that was packed.
    pub back: Option<&'a [u8]>,
}

/// A record that waits to be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coded {
    /// Number of its dictionary.
    pub dictionary: u32,
    /// When what it tells happened, microseconds since 1970 UTC.
    pub time_us: i64,
    /// What it is expected to take on disk.
    pub bytes: usize,
    /// What it takes at most.
    pub bytes_max: usize,
}

/// Which dictionary follows which, so that it need not be said.
#[derive(Debug, Default)]
struct Followers {
    before: u32,
    /// By the number before.
    next: Vec<u32>,
}

impl Followers {
    fn begin(&mut self) {
        self.before = 0;
        self.next.clear();
    }

    fn expected(&self) -> u32 {
        let index = usize::try_from(self.before).unwrap_or(usize::MAX);
        // At first a device is expected to go on.
        self.next.get(index).copied().filter(|next| *next != 0).unwrap_or(self.before)
    }

    fn learn(&mut self, dictionary: u32) {
        let index = usize::try_from(self.before).unwrap_or(usize::MAX);
        if dictionary != self.expected() {
            if self.next.len() <= index {
                self.next.resize(index + 1, 0);
            }
            self.next[index] = dictionary;
        }
        self.before = dictionary;
    }
}

/// The writer's side of the chain that is being written.
#[derive(Debug, Default)]
pub(super) struct ChainWriter {
    open: bool,
    bytes: usize,
    followers: Followers,
    fronts: Vec<u8>,
    backs: Vec<u8>,
    /// Where each record ends in them.
    ends: Vec<(usize, usize)>,
}

/// What a block is written with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub first_offset: u64,
    pub base_us: i64,
    pub group_bytes: u32,
}

impl ChainWriter {
    /// The next block begins a chain: it goes into a new file, or stands behind rows.
    pub(super) fn end(&mut self) {
        self.open = false;
    }

    /// Appends a block of all waiting records; tells whether a chain begins with it.
    pub(super) fn put(
        &mut self,
        frames: &mut FrameWriter,
        out: &mut Vec<u8>,
        coder: &mut dyn BlockCoder,
        waiting: &[Coded],
        place: Place,
    ) -> bool {
        let begins = !self.open;
        if begins {
            coder.begin(place.base_us);
            self.followers.begin();
            (self.open, self.bytes) = (true, 0);
        }
        self.fronts.clear();
        self.backs.clear();
        self.ends.clear();
        for record in 0..waiting.len() {
            let before = self.fronts.len();
            coder.put(record, &mut self.fronts, &mut self.backs);
            debug_assert!(self.fronts.len() > before, "a record takes at least two bytes");
            self.ends.push((self.fronts.len(), self.backs.len()));
        }
        let Place { first_offset, base_us, group_bytes } = place;
        let joint = if begins {
            Joint::Key { first_offset, base_us }
        } else {
            Joint::Next(Low::of(first_offset, waiting.len() == 1))
        };
        let one = match waiting {
            [record] => Some(self.said(record.dictionary)),
            _ => None,
        };
        let head = ChainHead { joint, count: count(waiting), group_bytes, one };
        let start = out.len();
        let Self { followers, fronts, backs, ends, .. } = self;
        frames.chain(out, head, backs, |body, packed| {
            put_records(body, waiting, followers, (fronts, backs, ends), packed);
        });
        self.bytes += out.len() - start;
        self.open = self.bytes < CHAIN_BYTES_MIN.max(LENGTH_FACTOR * (coder.first_bytes() + KEY_BYTES));
        begins
    }

    /// The dictionary of a record that stands alone, if it must be said.
    fn said(&mut self, dictionary: u32) -> Option<u32> {
        let said = (dictionary != self.followers.expected()).then_some(dictionary);
        self.followers.learn(dictionary);
        said
    }
}

fn count(waiting: &[Coded]) -> u32 {
    u32::try_from(waiting.len()).unwrap_or(u32::MAX)
}

/// Appends the records, each with what must be said of it, except when there is only one.
fn put_records(
    body: &mut Vec<u8>,
    waiting: &[Coded],
    followers: &mut Followers,
    (fronts, backs, ends): (&[u8], &[u8], &[(usize, usize)]),
    packed: bool,
) {
    let (mut front, mut back) = (0, 0);
    for (record, (front_end, back_end)) in waiting.iter().zip(ends) {
        let (front_bytes, back_bytes) = (&fronts[front..*front_end], &backs[back..*back_end]);
        (front, back) = (*front_end, *back_end);
        if waiting.len() > 1 {
            let said = record.dictionary != followers.expected();
            followers.learn(record.dictionary);
            let here = front_bytes.len() + if packed { 0 } else { back_bytes.len() };
            let mut prefix = here as u64;
            if packed {
                prefix = prefix << 1 | u64::from(!back_bytes.is_empty());
            }
            varint::put(body, prefix << 1 | u64::from(said));
            if said {
                varint::put(body, u64::from(record.dictionary));
            }
            if packed && !back_bytes.is_empty() {
                varint::put(body, back_bytes.len() as u64);
            }
        }
        body.extend_from_slice(front_bytes);
        if !packed {
            body.extend_from_slice(back_bytes);
        }
    }
}

/// A record taken apart: its dictionary, its front, and its back when that was packed.
pub(super) type Taken<'a> = (u32, &'a [u8], Option<&'a [u8]>);

/// The reader's side of a chain.
#[derive(Debug, Default)]
pub(super) struct ChainReader {
    followers: Followers,
    pub base_us: i64,
    /// Offset of the first record of the next block; unknown behind damage.
    pub next: Option<u64>,
}

impl ChainReader {
    /// Begins with a block: its first offset, or `None` when it does not go on where the one
    /// before has ended.
    pub(super) fn join(&mut self, head: &ChainHead) -> Option<u64> {
        let first_offset = match head.joint {
            Joint::Key { first_offset, base_us } => {
                self.followers.begin();
                self.base_us = base_us;
                first_offset
            }
            // A block in the wrong place breaks the chain as a bad one does.
            Joint::Next(low) => self.next.take().filter(|next| low.fits(*next))?,
        };
        self.next = first_offset.checked_add(u64::from(head.count));
        self.next?;
        Some(first_offset)
    }

    /// Takes the next record of a block apart: its dictionary, and where its parts end in what
    /// `records` and `backs` still hold.
    pub(super) fn take<'a>(
        &mut self,
        one: Option<Option<u32>>,
        records: &mut &'a [u8],
        backs: &mut Option<&'a [u8]>,
    ) -> Option<Taken<'a>> {
        let (dictionary, front, back) = match one {
            Some(dictionary) => (dictionary, std::mem::take(records), backs.as_mut().map(std::mem::take)),
            None => {
                let mut prefix = varint::take(records)?;
                let said = prefix & 1 != 0;
                prefix >>= 1;
                let dictionary = if said { Some(u32::try_from(varint::take(records)?).ok()?) } else { None };
                let mut back = None;
                if let Some(backs) = backs {
                    let length = if prefix & 1 == 0 { 0 } else { varint::take(records)? };
                    prefix >>= 1;
                    let (taken, rest) = backs.split_at_checked(usize::try_from(length).ok()?)?;
                    *backs = rest;
                    back = Some(taken);
                }
                let (front, rest) = records.split_at_checked(usize::try_from(prefix).ok()?)?;
                *records = rest;
                (dictionary, front, back)
            }
        };
        let dictionary = dictionary.unwrap_or_else(|| self.followers.expected());
        if dictionary >= CODED_DICTIONARIES_MAX {
            return None;
        }
        self.followers.learn(dictionary);
        Some((dictionary, front, back))
    }
}

/// First offset of a block of a chain behind damage: its end is known, and that it lies between
/// these. Where more than one fits it is the last, so that none is ever given twice.
pub(super) fn offset_between(low: Low, from: u64, to: u64) -> u64 {
    let (first, step) = low.next_from(from);
    match to.checked_sub(first) {
        Some(room) => first + room / step * step,
        None => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_known_by_its_end_while_only_one_fits() {
        let low = |offset| Low::of(offset, true);
        assert_eq!(offset_between(low(1029), 1000, 1100), 1029);
        assert_eq!(offset_between(low(1025), 1025, 1280), 1025);
        assert_eq!(offset_between(low(1025), 1025, 1281), 1281, "both fit");
        assert_eq!(offset_between(Low::of(1025, false), 1025, 60_000), 1025);
        assert_eq!(offset_between(Low::of(70_000, false), 65_000, 120_000), 70_000);
        assert_eq!(offset_between(low(1028), 1030, 1100), 1030, "none fits");
    }
}
