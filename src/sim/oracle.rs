//! What must be true: every record that was synced is seen exactly once and in order, or a gap
//! record says that it is lost; nothing else is seen, and nothing is said to be lost that is not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use serde_json::Value as Json;

use super::broker::Seen;
use super::context::Context;
use super::disk::Write;
use crate::lane::Moved;

/// Something that was handed to a lane.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: String,
    /// As a reader must see it.
    pub value: Vec<u8>,
    /// Serial number and level, when there are samples that can be summed up.
    pub numbers: Option<(i64, i64)>,
}

/// A record that is on disk, or was.
struct Kept {
    item: Item,
    is_seen: bool,
    /// It was seen summed up with others.
    is_summed_up: bool,
    /// A gap record in its place was seen.
    is_told: bool,
    /// Rows of its summed-up segment are lost, and its own may be among them.
    is_excused: bool,
    /// An event said that it is lost.
    is_announced: bool,
    /// Something happened to the disk that may have made it unreadable.
    is_damaged: bool,
    /// Kafka may know its offset from a ghost.
    is_known: bool,
}

impl Kept {
    fn is_owed(&self) -> bool {
        !self.is_seen && !self.is_told && !self.is_excused
    }
}

/// Records that were written together.
struct Group {
    bytes: Range<usize>,
    offsets: Range<u64>,
    is_rotten: bool,
}

#[derive(Default)]
struct File {
    groups: Vec<Group>,
    is_lost: bool,
    /// Its records were summed up.
    is_thinned: bool,
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
    /// Kafka may know offsets below from ghosts. What is appended there before the box hears of it
    /// gets new offsets, or an event tells of it.
    known_below: u64,
    /// Old and new offset of what was stored again by this run.
    moved: HashMap<u64, u64>,
    /// Behind the last offset that was acknowledged as synced.
    end: u64,
    /// What each key's reader has seen last.
    last_seen: HashMap<(String, Option<&'static str>), u64>,
    files: BTreeMap<String, File>,
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
            known_below: 0,
            moved: HashMap::new(),
            end: 0,
            last_seen: HashMap::new(),
            files: BTreeMap::new(),
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

    /// The lane has stored these again, under new offsets.
    pub fn moved(&mut self, moved: &[Moved]) {
        let pairs = moved.iter().flat_map(|it| (it.to..).zip(it.from.clone()));
        self.moved = pairs.collect();
    }

    /// The next start does not know which segments were sent, so of what Kafka seems to have it
    /// cannot tell whether these are others.
    pub fn doubt(&mut self) {
        self.kept.values_mut().filter(|kept| kept.is_known).for_each(|kept| kept.is_excused = true);
    }

    /// What was written next.
    fn next_item(&mut self, offset: u64) -> Option<Item> {
        let Some(from) = self.moved.get(&offset) else { return self.waiting.pop_front() };
        let before = self.kept.get_mut(from)?;
        let was_seen = before.is_seen || std::mem::replace(&mut before.is_told, true);
        let item = before.item.clone();
        self.demand(!was_seen, || format!("offset {from} is stored again, it was seen or told of"));
        Some(item)
    }

    fn keep(&mut self, offset: u64) {
        let Some(item) = self.next_item(offset) else {
            return self.fail(|| format!("offset {offset} holds what nobody has handed over"));
        };
        let kept = Kept {
            item,
            is_seen: false,
            is_summed_up: false,
            is_told: false,
            is_excused: false,
            is_known: offset < self.known_below,
            is_announced: false,
            is_damaged: false,
        };
        if let Some(before) = self.kept.insert(offset, kept) {
            let item = String::from_utf8_lossy(&before.item.value).into_owned();
            self.fail(|| format!("offset {offset} is used again, it was {item}"));
        }
    }

    fn note_group(&mut self, write: Write, offsets: Range<u64>) {
        let file = self.files.entry(write.file).or_default();
        // What is written behind damage is coded against what was in front of it.
        if file.groups.iter().any(|group| group.is_rotten) {
            self.kept.range_mut(offsets.clone()).for_each(|(_, kept)| kept.is_damaged = true);
        }
        file.groups.push(Group { bytes: write.bytes, offsets, is_rotten: false });
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
        let mut ghosts = self.kept.split_off(&next);
        if let Some((last, _)) = ghosts.last_key_value() {
            self.known_below = self.known_below.max(last + 1);
        }
        self.ghosts.append(&mut ghosts);
        // What was written and not acknowledged may be there. Behind damage of the newest segment
        // its end is estimated, never too low: then there may be nothing, and that is told.
        let newest = self.files.values().rev().find(|file| !file.groups.is_empty() && !file.is_lost);
        let is_estimated = newest.is_some_and(|file| file.groups.iter().any(|group| group.is_rotten));
        for offset in self.end..next {
            self.keep(offset);
        }
        if is_estimated && self.end < next {
            self.damaged(std::iter::once(self.end..next));
        }
        if let Some(write) = tried.filter(|_| next > self.end) {
            self.note_group(write, self.end..next);
        }
        self.end = next;
        self.waiting.clear();
        self.moved.clear();
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

    /// The lane removes a segment: only what is sent, unless it is short of room.
    pub fn removed(&self, name: &str, may_lose: bool) {
        let groups = self.files.get(name).map(|file| &file.groups[..]).unwrap_or_default();
        let offsets = groups.iter().flat_map(|group| self.kept.range(group.offsets.clone()));
        let owed = offsets.filter(|(_, kept)| kept.is_owed() && !kept.is_damaged).count();
        self.demand(owed == 0 || may_lose, || {
            format!("{name} is removed, {owed} of its records are not sent")
        });
    }

    /// A byte of a file has decayed.
    pub fn rotten(&mut self, name: &str, at: usize) {
        let Some(file) = self.files.get_mut(name) else { return };
        let mut damaged: Vec<Range<u64>> = Vec::new();
        let mut is_behind = false;
        for group in &mut file.groups {
            group.is_rotten |= group.bytes.contains(&at);
            is_behind |= group.is_rotten;
            if is_behind {
                damaged.push(group.offsets.clone());
            }
        }
        self.damaged(damaged);
    }

    /// A file has lost its name.
    pub fn lost(&mut self, name: &str) {
        let Some(file) = self.files.get_mut(name) else { return };
        file.is_lost = true;
        let damaged: Vec<_> = file.groups.iter().map(|group| group.offsets.clone()).collect();
        self.damaged(damaged);
    }

    fn damaged(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        for range in ranges {
            for (_, kept) in self.kept.range_mut(range) {
                kept.is_damaged = true;
            }
        }
    }

    /// A reader has seen a record.
    pub fn seen(&mut self, seen: &Seen) {
        let Seen { epoch, offset, key, value, delivery, .. } = seen;
        if *epoch != self.epoch {
            return self.fail(|| format!("a reader sees the epoch {epoch}"));
        }
        // Fresh data and the backlog are each in order.
        let last = self.last_seen.insert((key.clone(), delivery.header()), *offset);
        self.demand(last.is_none_or(|last| last < *offset), || {
            format!("{key}: offset {offset} is seen behind {last:?}")
        });
        let is_it = |kept: &&mut Kept| kept.item.key == *key && kept.item.value == *value;
        let (kept, ghost) = (self.kept.get_mut(offset), self.ghosts.get_mut(offset));
        let is_other_seen = kept.is_some() && ghost.as_ref().is_some_and(|ghost| ghost.is_seen);
        let Some(kept) = kept.filter(is_it).or(ghost.filter(is_it)) else {
            return self.seen_instead(seen);
        };
        let was_seen = std::mem::replace(&mut kept.is_seen, true);
        let (was_told, was_announced) = (kept.is_told, kept.is_announced);
        self.demand(!was_seen, || format!("offset {offset} is seen twice"));
        self.demand(!is_other_seen, || format!("offset {offset} is seen with two different records"));
        self.demand(!was_told, || format!("offset {offset} is seen behind a gap record in its place"));
        self.demand(!was_announced, || format!("offset {offset} is seen, an event said that it is lost"));
    }

    /// A reader has seen something in the place of records.
    fn seen_instead(&mut self, seen: &Seen) {
        let Seen { offset, key, value, .. } = seen;
        let json: Json = serde_json::from_slice(value).unwrap();
        let data = &json["data"];
        let range = data["from_offset"].as_u64().zip(data["to_offset"].as_u64());
        match range {
            Some((from, to)) if data["lane"] == self.lane && to == offset + 1 => {
                let cause = data["cause"].as_str().unwrap_or_default();
                self.told(from..to, cause);
            }
            _ if json["thinned"].is_object() => self.seen_summed_up(*offset, key, &json),
            _ => self.fail(|| {
                let known = self.kept.contains_key(offset) || self.ghosts.contains_key(offset);
                let why =
                    if known { "which is not what was synced there" } else { "where nothing was synced" };
                format!("offset {offset} is seen as {}, {why}", String::from_utf8_lossy(value))
            }),
        }
    }

    /// A gap record stands in the place of these.
    fn told(&mut self, range: Range<u64>, cause: &str) {
        self.context.say(|| format!("reader: {} has a gap {range:?}: {cause}", self.lane));
        self.demand(range.start < range.end && range.end <= self.end, || {
            format!("a gap record tells of {range:?}, there is nothing behind {}", self.end)
        });
        let mut wrong = None;
        for (offset, kept) in self.kept.range_mut(range.clone()) {
            if kept.is_summed_up {
                // A sum stands at the last offset of many, so the ends of a gap beside it blur.
            } else if kept.is_seen {
                wrong = Some((*offset, "was seen"));
            } else if std::mem::replace(&mut kept.is_told, true) {
                wrong = Some((*offset, "was told before"));
            } else if cause == "unreadable" {
                wrong = Some((*offset, "is only not given for a while"));
            } else if cause == "damage" && !kept.is_damaged {
                wrong = Some((*offset, "was never damaged"));
            }
        }
        self.excuse(range.start);
        if let Some((offset, why)) = wrong {
            self.fail(|| format!("a gap record ({cause}) tells of {range:?}, but {offset} {why}"));
        }
    }

    /// A gap begins at `offset`. Where that is a row that sums up others, these have lower offsets.
    fn excuse(&mut self, offset: u64) {
        let mut thinned = self.files.values().filter(|file| file.is_thinned);
        let holds = |group: &Group| group.offsets.contains(&offset);
        let Some(file) = thinned.find(|file| file.groups.iter().any(holds)) else { return };
        let first = file.groups[0].offsets.start;
        self.kept.range_mut(first..offset).for_each(|(_, kept)| kept.is_excused = true);
    }

    /// A file has been replaced by one that sums it up.
    pub fn thinned(&mut self, name: &str) {
        let Some(file) = self.files.get_mut(name) else { return };
        file.is_thinned = true;
        // Any byte of it may now be needed for any of its records.
        let (Some(first), Some(last)) = (file.groups.first(), file.groups.last()) else { return };
        let offsets = first.offsets.start..last.offsets.end;
        file.groups = vec![Group { bytes: 0..usize::MAX, offsets, is_rotten: false }];
    }

    /// An event says that these are lost.
    pub fn announced(&mut self, range: Range<u64>) {
        let mut seen = None;
        for (offset, kept) in self.kept.range_mut(range.clone()) {
            // The event may have waited for its turn since another record was there, and tell of that.
            if self.ghosts.contains_key(offset) {
                continue;
            }
            kept.is_announced = true;
            seen = seen.or(kept.is_seen.then_some(*offset));
        }
        if let Some(offset) = seen {
            self.fail(|| format!("an event tells of {range:?}, but {offset} was seen"));
        }
    }

    /// A record at `offset` sums up records of `key`: those with the serial numbers it names, all
    /// of them, and none that was seen or told of otherwise.
    fn seen_summed_up(&mut self, offset: u64, key: &str, json: &Json) {
        let sum = |tag: &str, what: &str| {
            let rows = json["samples"].as_array().into_iter().flatten();
            rows.clone().find(|row| row["tag"] == tag).and_then(|row| row[what].as_i64())
        };
        let Some((first, last)) = sum("serial", "min").zip(sum("serial", "max")) else {
            return self.fail(|| format!("offset {offset} sums up nothing: {json}"));
        };
        let (mut count, mut levels, mut at, mut wrong) = (0, Vec::new(), 0, None);
        for (offset, kept) in self.kept.range_mut(..=offset) {
            let Some((serial, level)) = kept.item.numbers.filter(|_| kept.item.key == key) else { continue };
            if !(first..=last).contains(&serial) || kept.is_told {
                continue;
            }
            if std::mem::replace(&mut kept.is_seen, true) || kept.is_announced {
                wrong = Some(*offset);
            }
            kept.is_summed_up = true;
            (count, at) = (count + 1, *offset);
            levels.push(level);
        }
        let found = (Some(count), levels.iter().min().copied(), levels.iter().max().copied());
        let said = (sum("serial", "count"), sum("level", "min"), sum("level", "max"));
        self.demand(wrong.is_none(), || {
            format!("offset {offset} sums up {wrong:?}, which was seen or told of")
        });
        self.demand(found == said && at == offset, || {
            format!("offset {offset} is seen as {json}, there were {found:?} up to {at}")
        });
        self.demand(sum("level", "last") == levels.last().copied(), || format!("wrong last value in {json}"));
    }

    /// An event says that these have offsets that Kafka knew from records the disk had lost. It may
    /// say so once more after a restart, when they were stored again meanwhile.
    pub fn taken(&mut self, range: Range<u64>) {
        let mut wrong = None;
        for (offset, kept) in self.kept.range_mut(range.clone()) {
            kept.is_told = true;
            let was_lost = self.ghosts.get(offset).is_some_and(|ghost| ghost.is_seen || ghost.is_told);
            wrong = wrong.or((kept.is_seen || !was_lost).then_some(*offset));
        }
        if let Some(offset) = wrong {
            self.fail(|| format!("an event says that the offsets {range:?} are taken, {offset} is not"));
        }
    }

    /// An event says that these were summed up.
    pub fn announced_sums(&mut self, range: Range<u64>) {
        let full = self.kept.range(range.clone()).find(|(_, kept)| kept.is_seen && !kept.is_summed_up);
        if let Some((offset, _)) = full {
            self.fail(|| {
                format!("an event says that {range:?} are summed up, but {offset} was seen in full")
            });
        }
    }

    /// How many synced records are neither seen nor told as lost.
    pub fn owed(&self) -> usize {
        self.kept.values().filter(|kept| kept.is_owed()).count()
    }

    /// Something is still waiting to be synced.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// At the end: what is still owed.
    pub fn settle(&self) {
        let owed = self.kept.iter().find(|(_, kept)| kept.is_owed());
        if let Some((offset, kept)) = owed {
            let how =
                if kept.is_damaged { "it was damaged, and nothing says so" } else { "nothing says why" };
            self.fail(|| {
                format!("offset {offset} was synced and is never seen: {how}; {} are owed", self.owed())
            });
        }
        self.demand(self.waiting.is_empty(), || "something handed over is never synced".to_owned());
    }
}
