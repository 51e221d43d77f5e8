//! What must be true: every record that was synced is seen exactly once and in order, or a gap
//! record says that it is lost; nothing else is seen, and nothing is said to be lost that is not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use super::broker::Seen;
use super::context::Context;
use super::disk::Write;

/// Something that was handed to a lane.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: String,
    /// As a reader must see it.
    pub value: Vec<u8>,
}

/// A record that is on disk, or was.
struct Kept {
    item: Item,
    is_seen: bool,
    /// A gap record that says that it is lost was seen.
    is_told: bool,
    /// Something happened to the disk that may have made it unreadable.
    is_damaged: bool,
}

/// Records that were written together.
struct Group {
    bytes: Range<usize>,
    offsets: Range<u64>,
    /// Later records of the file cannot be read without it.
    is_needed: bool,
    is_rotten: bool,
}

#[derive(Default)]
struct File {
    groups: Vec<Group>,
    is_lost: bool,
}

/// The promises of one lane.
pub struct Oracle {
    lane: &'static str,
    context: Context,
    epoch: String,
    /// Handed over, and not known to be on disk.
    waiting: VecDeque<Item>,
    kept: BTreeMap<u64, Kept>,
    /// Records at the very end that decayed: nothing tells them from a torn write, so the next
    /// start does not know of them.
    ghosts: BTreeMap<u64, Kept>,
    /// Behind the last offset that was acknowledged as synced.
    end: u64,
    /// What each key's reader has seen last.
    last_seen: HashMap<String, u64>,
    files: BTreeMap<String, File>,
    /// Keys whose schema the current file holds.
    defined: HashMap<String, String>,
}

impl Oracle {
    pub fn new(lane: &'static str, context: &Context) -> Self {
        Self {
            lane,
            context: context.clone(),
            epoch: String::new(),
            waiting: VecDeque::new(),
            kept: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            end: 0,
            last_seen: HashMap::new(),
            files: BTreeMap::new(),
            defined: HashMap::new(),
        }
    }

    fn fail(&self, what: impl FnOnce() -> String) {
        self.context.fail(|| format!("{}: {}", self.lane, what()));
    }

    fn demand(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what);
        }
    }

    /// The lane has taken it.
    pub fn accepted(&mut self, item: Item) {
        self.waiting.push_back(item);
    }

    /// The lane says that everything before `next` is synced, and that `records` are new.
    pub fn synced(&mut self, next: u64, records: u64, written: Option<Write>) {
        self.demand(next >= self.end + records, || {
            format!("{records} records were synced between {} and {next}", self.end)
        });
        let first = next.saturating_sub(records);
        for offset in first..next {
            self.keep(offset);
        }
        self.end = next;
        if let Some(write) = written {
            self.note_group(write, first..next);
        }
    }

    fn keep(&mut self, offset: u64) {
        let Some(item) = self.waiting.pop_front() else {
            return self.fail(|| format!("offset {offset} holds what nobody has handed over"));
        };
        let kept = Kept { item, is_seen: false, is_told: false, is_damaged: false };
        if let Some(before) = self.kept.insert(offset, kept) {
            let item = String::from_utf8_lossy(&before.item.value).into_owned();
            self.fail(|| format!("offset {offset} is used again, it was {item}"));
        }
    }

    fn note_group(&mut self, write: Write, offsets: Range<u64>) {
        let is_first = write.bytes.start == 0;
        let mut is_needed = is_first;
        for (_, kept) in self.kept.range(offsets.clone()) {
            let holder = self.defined.insert(kept.item.key.clone(), write.file.clone());
            is_needed |= holder.as_ref() != Some(&write.file);
        }
        let file = self.files.entry(write.file).or_default();
        if file.groups.iter().any(|group| group.is_needed && group.is_rotten) {
            self.kept.range_mut(offsets.clone()).for_each(|(_, kept)| kept.is_damaged = true);
        }
        file.groups.push(Group { bytes: write.bytes, offsets, is_needed, is_rotten: false });
    }

    /// The next start of the box has found records up to `next`.
    pub fn restarted(&mut self, epoch: &str, next: u64, tried: Option<Write>) {
        // Nobody knows the name of a journal in which nothing was ever synced.
        if self.end == 0 {
            self.epoch = epoch.to_owned();
        }
        self.demand(self.epoch == epoch, || format!("the epoch was {}, now it is {epoch}", self.epoch));
        let floor = self.floor();
        self.demand(next >= floor, || {
            format!("synced up to {}, the next start knows only {next}; {floor} could be known", self.end)
        });
        // What lies at the very end cannot be told from a torn write.
        self.ghosts.append(&mut self.kept.split_off(&next));
        // What was written and not acknowledged may be there.
        for offset in self.end..next {
            self.keep(offset);
        }
        if let Some(write) = tried.filter(|_| next > self.end) {
            self.note_group(write, self.end..next);
        }
        self.end = next;
        self.waiting.clear();
        self.defined.clear();
        for file in self.files.values_mut() {
            file.groups.retain(|group| group.offsets.start < next);
        }
    }

    /// Records below are found again by any start.
    fn floor(&self) -> u64 {
        for file in self.files.values().rev() {
            let Some(first) = file.groups.first() else { continue };
            if file.is_lost {
                continue;
            }
            let good = file.groups.iter().rposition(|group| !group.is_rotten);
            return good.map_or(first.offsets.start, |good| file.groups[good].offsets.end).min(self.end);
        }
        0
    }

    /// A byte of a file has decayed.
    pub fn rotten(&mut self, name: &str, at: usize) {
        let Some(file) = self.files.get_mut(name) else { return };
        let mut damaged: Vec<Range<u64>> = Vec::new();
        let mut is_needed = false;
        for group in &mut file.groups {
            if group.bytes.contains(&at) {
                group.is_rotten = true;
                is_needed = group.is_needed;
                damaged.push(group.offsets.clone());
            } else if is_needed {
                damaged.push(group.offsets.clone());
            }
        }
        self.damaged(damaged);
    }

    /// A file has lost its name.
    pub fn lost(&mut self, name: &str) {
        let Some(file) = self.files.get_mut(name) else { return };
        file.is_lost = true;
        let damaged = file.groups.iter().map(|group| group.offsets.clone()).collect();
        self.damaged(damaged);
    }

    fn damaged(&mut self, ranges: Vec<Range<u64>>) {
        for range in ranges {
            for (_, kept) in self.kept.range_mut(range) {
                kept.is_damaged = true;
            }
        }
    }

    /// A reader has seen a record.
    pub fn seen(&mut self, seen: &Seen) {
        let Seen { epoch, offset, key, value, .. } = seen;
        if *epoch != self.epoch {
            return self.fail(|| format!("a reader sees the epoch {epoch}"));
        }
        let is_it = |kept: &&mut Kept| kept.item.key == *key && kept.item.value == *value;
        let (kept, ghost) = (self.kept.get_mut(offset), self.ghosts.get_mut(offset));
        let others = kept.is_some() && ghost.as_ref().is_some_and(|ghost| ghost.is_seen);
        let known = kept.is_some() || ghost.is_some();
        let Some(kept) = kept.filter(is_it).or(ghost.filter(is_it)) else {
            let value = String::from_utf8_lossy(value);
            let why = if known { "which is not what was synced there" } else { "where nothing was synced" };
            return self.fail(|| format!("offset {offset} is seen as {value}, {why}"));
        };
        let (was_seen, was_told) = (std::mem::replace(&mut kept.is_seen, true), kept.is_told);
        self.demand(!others || was_seen, || format!("offset {offset} is seen with two different records"));
        self.demand(!was_seen, || format!("offset {offset} is seen twice"));
        self.demand(!was_told, || format!("offset {offset} is seen, a gap record said that it is lost"));
        let last = self.last_seen.insert(key.clone(), *offset);
        self.demand(last.is_none_or(|last| last < *offset), || {
            format!("{key}: offset {offset} is seen behind {last:?}")
        });
    }

    /// A reader has seen a gap record: these are lost.
    pub fn told(&mut self, range: Range<u64>, cause: &str) {
        self.demand(range.start < range.end && range.end <= self.end, || {
            format!("a gap record tells of {range:?}, there is nothing behind {}", self.end)
        });
        for offset in range.clone() {
            let Some(kept) = self.kept.get_mut(&offset) else { continue };
            kept.is_told = true;
            let (is_seen, is_damaged) = (kept.is_seen, kept.is_damaged);
            self.demand(!is_seen, || {
                format!("a gap record ({cause}) tells of {range:?}, but {offset} was seen")
            });
            self.demand(cause != "damage" || is_damaged, || {
                format!("a gap record tells of damage in {range:?}, but {offset} was never damaged")
            });
        }
    }

    /// How many synced records are neither seen nor told as lost.
    pub fn owed(&self) -> usize {
        self.kept.values().filter(|kept| !kept.is_seen && !kept.is_told).count()
    }

    /// Something is still waiting to be synced.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// At the end: what is still owed.
    pub fn settle(&self) {
        let owed = self.kept.iter().find(|(_, kept)| !kept.is_seen && !kept.is_told);
        if let Some((offset, kept)) = owed {
            let how =
                if kept.is_damaged { "it was damaged, and nothing says so" } else { "nothing says why" };
            self.fail(|| {
                format!("offset {offset} was synced and is never seen: {how}; {} are owed", self.owed())
            });
        }
        self.demand(self.waiting.is_empty(), || "something handed over is never synced".to_owned());
    }

    /// Records that were synced.
    pub fn count(&self) -> usize {
        self.kept.len()
    }
}
