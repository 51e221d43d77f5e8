//! Blocks that a device does not answer although it answers others.
//!
//! A good device refuses a bad register with an exception. Others stay silent, close the connection
//! or answer something else, and a whole block, or the whole device, would be lost by one register.
//! A failure alone says nothing, though: the device may just have been switched off. So a request
//! that failed is asked last in the next poll, when others have shown that the device is there, and
//! when it fails again its tags are asked one by one ([`crate::connector`]). What is found out is
//! kept here, also over new connections: registers that get no answer are muted and asked again
//! alone, at growing intervals; blocks that are no good as a whole stay divided.

use std::time::Duration;

use tokio::time::Instant;

use crate::address::Table;
use crate::frame::Read;
use crate::plan::{Block, Item, Plan};
use crate::refusal::{Instead, Reason};

/// Failures of a block that make its tags be asked one by one.
const FAILURES: u32 = 2;
/// First pause before a muted register is asked again.
const MUTED_FIRST: Duration = Duration::from_secs(60);
/// Longest such pause.
const MUTED_MAX: Duration = Duration::from_secs(3600);
/// Most of each kind that are remembered; beyond that the oldest is forgotten, and found again.
const REMEMBERED_MAX: usize = 256;

/// What was learnt of one device.
#[derive(Debug, Default)]
pub struct Suspects {
    blocks: Vec<Suspect>,
    muted: Vec<Muted>,
    divided: Vec<Read>,
    /// Single tags that were not answered once; a poll may be too short to ask them twice.
    tried: Vec<(Read, Instead)>,
    asking: Option<Asking>,
}

/// A request that is under way: what to learn from it if the poll is given up before it ends.
#[derive(Debug, Clone, Copy)]
pub enum Asking {
    /// A block.
    Block(Read),
    /// A tag of a block that is asked one by one, after others were answered.
    Alone(Read),
    /// A block, all of whose tags answer for themselves.
    Whole(Read),
}

#[derive(Debug)]
struct Suspect {
    read: Read,
    failures: u32,
}

/// Registers that never get an answer.
#[derive(Debug)]
struct Muted {
    read: Read,
    instead: Instead,
    ask_at: Instant,
    pause: Duration,
}

/// How a block is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// As planned.
    Full,
    /// After all others.
    Last,
    /// After all others, its tags one by one; the number changes with each failure.
    OneByOne(u32),
}

impl Suspects {
    /// How this request is to be asked.
    pub fn trust(&self, read: Read) -> Trust {
        match self.blocks.iter().find(|suspect| suspect.read == read) {
            None => Trust::Full,
            Some(suspect) if suspect.failures < FAILURES => Trust::Last,
            Some(suspect) => Trust::OneByOne(suspect.failures),
        }
    }

    /// The request failed; `instead` is `None` when that is certainly not its own fault.
    pub fn failed(&mut self, read: Read, instead: Option<Instead>) {
        if instead.is_none() {
            return;
        }
        match self.blocks.iter_mut().find(|suspect| suspect.read == read) {
            Some(suspect) => suspect.failures = suspect.failures.saturating_add(1),
            None => remember(&mut self.blocks, Suspect { read, failures: 1 }),
        }
    }

    /// The tags of this block are to be asked one by one at once.
    pub fn distrust(&mut self, read: Read) {
        self.blocks.retain(|suspect| suspect.read != read);
        remember(&mut self.blocks, Suspect { read, failures: FAILURES });
    }

    /// The request was answered, or is made no more.
    pub fn cleared(&mut self, read: Read) {
        if !self.blocks.is_empty() {
            self.blocks.retain(|suspect| suspect.read != read);
        }
        if !self.tried.is_empty() {
            self.tried.retain(|(tried, _)| !contains(read, *tried));
        }
    }

    /// This tag alone was not answered, by a unit that answers others.
    pub fn tried(&mut self, read: Read, instead: Instead) {
        if self.was_tried(read).is_none() {
            remember(&mut self.tried, (read, instead));
        }
    }

    /// What happened when this tag was asked alone, if it was not answered.
    pub fn was_tried(&self, read: Read) -> Option<Instead> {
        self.tried.iter().find(|(tried, _)| *tried == read).map(|(_, instead)| *instead)
    }

    /// Nothing is open about this tag alone.
    pub fn settled(&mut self, read: Read) {
        self.tried.retain(|(tried, _)| *tried != read);
    }

    /// This is asked now. To be called with `None` when there is an outcome.
    pub fn asking(&mut self, asking: Option<Asking>) {
        self.asking = asking;
    }

    /// Learns from a poll that was given up half-way, so that the next one gets further. True when
    /// plans are to be made anew.
    pub fn resume(&mut self) -> bool {
        match self.asking.take() {
            Some(Asking::Block(read)) => self.failed(read, Some(Instead::Silent)),
            Some(Asking::Alone(read)) => match self.was_tried(read) {
                Some(instead) => {
                    self.mute(read, instead, Instant::now());
                    return true;
                }
                None => self.tried(read, Instead::Silent),
            },
            Some(Asking::Whole(read)) => {
                self.cleared(read);
                self.divide(read);
                return true;
            }
            None => {}
        }
        false
    }

    /// These registers alone are not answered.
    pub fn mute(&mut self, read: Read, instead: Instead, now: Instant) {
        let (pause, ask_at) = (MUTED_FIRST, now + MUTED_FIRST);
        self.muted.retain(|muted| muted.read != read);
        self.settled(read);
        remember(&mut self.muted, Muted { read, instead, ask_at, pause });
    }

    /// This block fails as a whole, and its parts do not.
    pub fn divide(&mut self, read: Read) {
        if !self.divided.contains(&read) {
            remember(&mut self.divided, read);
        }
    }

    /// A muted request that is due to be asked again.
    pub fn next_muted(&self, now: Instant) -> Option<Read> {
        self.muted.iter().find(|muted| muted.ask_at <= now).map(|muted| muted.read)
    }

    /// The muted request was answered.
    pub fn unmute(&mut self, read: Read) {
        self.muted.retain(|muted| muted.read != read);
    }

    /// The muted request was not answered again.
    pub fn still_muted(&mut self, read: Read, now: Instant) {
        for muted in self.muted.iter_mut().filter(|muted| muted.read == read) {
            muted.pause = (muted.pause * 2).min(MUTED_MAX);
            muted.ask_at = now + muted.pause;
        }
    }

    /// Why the registers of `item` are not asked for.
    pub fn muted(&self, item: &Item, unit: u8) -> Option<Reason> {
        if self.muted.is_empty() {
            return None;
        }
        let read = alone(item, unit);
        let muted = self.muted.iter().find(|muted| muted.read == read)?;
        Some(Reason::NoAnswer(muted.instead, read))
    }

    /// Divides the blocks of a new plan by what is known: muted registers stand alone and are not
    /// asked for, and no block is asked for that is no good as a whole.
    pub fn apply(&self, plan: &mut Plan, items: &[Item], unit: u8, one_tag: bool) {
        let mut index = 0;
        while let Some(block) = plan.blocks.get(index) {
            let members = plan.members(block);
            let muted = members.iter().any(|member| self.muted(&items[member.tag as usize], unit).is_some());
            let divide = one_tag || muted || self.is_divided(plan, block, items, unit);
            if members.len() > 1 && divide {
                plan.split(items, index);
                continue;
            }
            if muted {
                plan.blocks[index].refused = true;
            }
            index += 1;
        }
    }

    /// The block failed as a whole, or reads over a hole within one that did.
    fn is_divided(&self, plan: &Plan, block: &Block, items: &[Item], unit: u8) -> bool {
        let read = of_block(block, unit);
        self.divided
            .iter()
            .any(|divided| *divided == read || (contains(*divided, read) && has_hole(plan, block, items)))
    }
}

/// The request for a block.
pub fn of_block(block: &Block, unit: u8) -> Read {
    Read { unit, table: block.table, start: block.start, count: block.count }
}

/// The request for one tag.
pub fn alone(item: &Item, unit: u8) -> Read {
    Read { unit, table: item.place.table, start: item.place.start, count: item.count }
}

fn span(table: Table, start: u16, count: u16) -> (Table, u32, u32) {
    (table, u32::from(start), u32::from(start) + u32::from(count))
}

fn contains(outer: Read, inner: Read) -> bool {
    let (outer_table, outer_start, outer_end) = span(outer.table, outer.start, outer.count);
    let (table, start, end) = span(inner.table, inner.start, inner.count);
    outer_table == table && outer_start <= start && end <= outer_end
}

/// True when the block reads registers that no tag needs.
fn has_hole(plan: &Plan, block: &Block, items: &[Item]) -> bool {
    let mut places: Vec<_> = plan
        .members(block)
        .iter()
        .map(|member| &items[member.tag as usize])
        .map(|item| (u32::from(item.place.start), item.end()))
        .collect();
    places.sort_unstable();
    let mut covered = places.first().map_or(0, |(start, _)| *start);
    places.into_iter().any(|(start, end)| {
        let hole = start > covered;
        covered = covered.max(end);
        hole
    })
}

fn remember<T>(list: &mut Vec<T>, new: T) {
    if list.len() >= REMEMBERED_MAX {
        list.remove(0);
    }
    list.push(new);
}

#[cfg(test)]
mod tests {
    use forebay_connector::{ByteOrder, DataType, Scalar};

    use super::*;
    use crate::address;
    use crate::plan::Limits;

    fn items(offsets: &[u16]) -> Vec<Item> {
        let word = DataType::single(Scalar::Word);
        let item = |offset: &u16| {
            let (place, count) = address::check(&format!("hr:{offset}"), word).unwrap();
            Item { place, count, data_type: word, order: ByteOrder::Abcd, scan: 0 }
        };
        offsets.iter().map(item).collect()
    }

    fn read(start: u16, count: u16) -> Read {
        Read { unit: 1, table: Table::HoldingRegisters, start, count }
    }

    /// Start, count and "not asked" of the blocks.
    fn planned(suspects: &Suspects, items: &[Item], one_tag: bool) -> Vec<(u16, u16, bool)> {
        let tags = (0u32..).take(items.len()).collect();
        let mut plan = Plan::new(items, tags, Limits { registers: 125, coils: 2000, gap: 8 });
        suspects.apply(&mut plan, items, 1, one_tag);
        plan.blocks.iter().map(|block| (block.start, block.count, block.refused)).collect()
    }

    #[test]
    fn muted_registers_stand_alone_and_are_not_asked_for() {
        let items = items(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let mut suspects = Suspects::default();
        assert_eq!(planned(&suspects, &items, false), [(0, 8, false)]);
        suspects.mute(read(5, 1), Instead::Silent, Instant::now());
        let blocks = [(0, 4, false), (4, 1, false), (5, 1, true), (6, 2, false)];
        assert_eq!(planned(&suspects, &items, false), blocks);
        suspects.unmute(read(5, 1));
        assert_eq!(planned(&suspects, &items, false), [(0, 8, false)]);
        assert_eq!(planned(&suspects, &items, true).len(), 8);
    }

    #[test]
    fn a_divided_block_reads_over_no_hole() {
        let items = items(&[0, 1, 2, 3, 6, 7, 8, 9]);
        let mut suspects = Suspects::default();
        suspects.divide(read(0, 10));
        assert_eq!(planned(&suspects, &items, false), [(0, 4, false), (6, 4, false)]);
    }

    #[test]
    fn muted_registers_are_asked_less_and_less_often() {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        suspects.mute(read(5, 1), Instead::Closes, start);
        assert_eq!(suspects.next_muted(start), None);
        let mut now = start;
        for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            let pause = Duration::from_secs(pause);
            assert_eq!(suspects.next_muted(now + pause - Duration::from_millis(1)), None);
            now += pause;
            assert_eq!(suspects.next_muted(now), Some(read(5, 1)));
            suspects.still_muted(read(5, 1), now);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut suspects = Suspects::default();
        for start in 0..2000 {
            suspects.failed(read(start, 1), Some(Instead::Silent));
            suspects.mute(read(start, 1), Instead::Silent, Instant::now());
            suspects.divide(read(start, 1));
        }
        let lengths = [suspects.blocks.len(), suspects.muted.len(), suspects.divided.len()];
        assert_eq!(lengths, [REMEMBERED_MAX; 3]);
    }
}
