//! Offsets that Kafka knows from records this disk has lost, or never had: it has lost its end, or
//! was put back from a copy, and new records were stored before Kafka could be asked.
//!
//! What this run has stored under such offsets certainly is not in Kafka, so it gets new ones. Of
//! earlier runs that is not certain, because the copy may be younger than they are; that is told.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Worker;
use super::room::NOTE_FOR;
use crate::journal::{AppendError, CODED_DICTIONARIES_MAX};
use crate::lane::chain::{Content, Meaning};
use crate::lane::codec::event_row;
use crate::lane::reader::{Body, StoredBatch};
use crate::lane::schemas::plain_dictionary;
use crate::lane::waiting::measure;

/// Records read at once.
const RECORDS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 256 << 10;

/// What is to be done about them.
#[derive(Default)]
pub(super) struct Taken {
    /// Ranges whose records are to be stored again, under new offsets.
    again: VecDeque<Range<u64>>,
    /// What was stored again, in order.
    moved: Vec<Moved>,
    /// So many of `moved` are synced and told.
    told: usize,
    /// All ranges, until it is noted that nothing of them is left to tell.
    unnoted: Vec<Range<u64>>,
    told_at: Option<Instant>,
}

/// Records that were stored again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Where they were.
    pub from: Range<u64>,
    /// The first of their new offsets, which follow each other.
    pub to: u64,
}

impl Worker {
    /// What this run has stored again.
    #[cfg(test)]
    pub(crate) fn moved(&self) -> &[Moved] {
        &self.taken.moved
    }

    /// Looks once at what Kafka knew before this run.
    pub(super) fn look_at_found(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some((found, backlog)) = shared.found.get() else { return };
        let Some(start) = self.start_offset.take() else { return };
        // Nothing is sent before it is noted, so that of these Kafka cannot have anything from here.
        for range in self.journal.unhanded() {
            for range in apart(range.start..range.end.min(*found).min(start), backlog) {
                self.tell_taken(range, true);
            }
        }
        for range in apart(start..(*found).min(self.journal.next_offset()), backlog) {
            self.taken.unnoted.push(range.clone());
            self.taken.again.push_back(range);
        }
        if !self.taken.unnoted.is_empty() {
            // What is being summed up may be among them.
            self.room.forget_job();
        }
    }

    fn tell_taken(&mut self, range: Range<u64>, perhaps_sent: bool) {
        let event = self.gaps.offsets_taken(&range, perhaps_sent, self.clock.now_us());
        tracing::error!("{}", event.text);
        self.events.emit(event);
        self.taken.unnoted.push(range);
        self.taken.told_at = Some(self.clock.now());
    }

    /// Stores again what must be, tells it, and notes that when the event is stored. Until all is
    /// done (`true`) nothing may be removed.
    pub(super) fn settle_taken(&mut self) -> bool {
        if self.pause.is_some() && self.deadline.is_some_and(|deadline| deadline > self.clock.now()) {
            return false;
        }
        while let Some(range) = self.taken.again.front().cloned() {
            match self.store_again(range.clone()) {
                Ok(()) => drop(self.taken.again.pop_front()),
                Err(reached) => {
                    self.taken.again[0].start = reached;
                    return false;
                }
            }
        }
        if self.taken.told < self.taken.moved.len() {
            if !self.commit() {
                return false;
            }
            for moved in &self.taken.moved[self.taken.told..] {
                let event = self.gaps.new_offsets(moved, self.clock.now_us());
                tracing::warn!("{}", event.text);
                self.events.emit(event);
            }
            self.taken.told = self.taken.moved.len();
            self.taken.told_at = Some(self.clock.now());
        }
        self.note_taken()
    }

    /// Once the events are stored, the next start need not tell it again.
    fn note_taken(&mut self) -> bool {
        let Some(told_at) = self.taken.told_at else { return true };
        if self.clock.now().saturating_duration_since(told_at) < NOTE_FOR {
            return false;
        }
        while let Some(range) = self.taken.unnoted.last() {
            if let Err(error) = self.journal.hand_over(range.clone()) {
                // It is told once more by the next start, which does no harm.
                tracing::warn!(
                    "{}: it cannot be noted that lost records were told: {error}",
                    self.options.name
                );
            }
            self.taken.unnoted.pop();
        }
        self.taken.told_at = None;
        true
    }

    /// Stores the records of `range` once more.
    ///
    /// # Errors
    /// How far it came when the disk does not work.
    fn store_again(&mut self, range: Range<u64>) -> Result<(), u64> {
        let mut reached = range.start;
        let mut reader = self.lane_reader(reached).map_err(|_| reached)?;
        loop {
            let records = reader.next(RECORDS_AT_ONCE, BYTES_AT_ONCE);
            let is_end = records.last().is_none_or(|record| record.offset + 1 >= range.end);
            for record in records.into_iter().take_while(|record| record.offset < range.end) {
                let Some(new_offset) = self.append_again(&record.body).map_err(|()| reached)? else {
                    continue;
                };
                self.tell_lost(reached..record.offset);
                reached = record.offset + 1;
                self.taken.note_moved(record.offset, new_offset);
            }
            if is_end {
                self.tell_lost(reached..range.end);
                return Ok(());
            }
        }
    }

    /// The offset that a record gets; `None` when it cannot be stored again.
    ///
    /// # Errors
    /// When the disk does not work.
    fn append_again(&mut self, body: &Body) -> Result<Option<u64>, ()> {
        let now_us = self.clock.now_us();
        loop {
            let appended = match body {
                Body::Event(json) => self.journal.append(&event_row(json), now_us),
                Body::Batch(batch) => self.append_batch_again(batch),
                // Its sums are bound to their offsets.
                Body::Thinned(_) => return Ok(None),
            };
            match appended {
                Ok(offset) => return Ok(Some(offset)),
                Err(AppendError::BlockFull(_)) if self.commit() => {}
                Err(AppendError::BlockFull(_)) => return Err(()),
                Err(AppendError::TooLong(..)) => return Ok(None),
            }
        }
    }

    fn append_batch_again(&mut self, batch: &StoredBatch) -> Result<u64, AppendError> {
        let StoredBatch { schema, edge_us, samples, gap } = batch;
        let json = plain_dictionary(schema);
        let number = self.journal.define(&json)?;
        if number >= CODED_DICTIONARIES_MAX {
            self.journal.forget(number);
            return Err(AppendError::TooLong(json.len(), 0));
        }
        let (samples, gap) = (samples.clone(), gap.clone().map(Box::new));
        let content = Content { edge_us: *edge_us, samples, gap };
        let offset = self.journal.append_coded(measure(number, &content))?;
        self.pending_samples += content.samples.len() as u64;
        let meaning = Meaning { tags: schema.tags.len(), linear: Arc::default() };
        self.waiting.push(number, Arc::new(meaning), content);
        Ok(offset)
    }

    fn tell_lost(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.tell_taken(range, false);
        }
    }
}

impl Taken {
    /// There is something left to do.
    pub(super) fn is_open(&self) -> bool {
        !self.again.is_empty() || self.told < self.moved.len() || self.told_at.is_some()
    }

    /// Some of these offsets are Kafka's for other records: summed up, those would count twice.
    pub(super) fn holds(&self, offsets: &Range<u64>) -> bool {
        self.unnoted.iter().any(|range| range.start < offsets.end && offsets.start < range.end)
    }

    fn note_moved(&mut self, from: u64, to: u64) {
        let untold = self.moved.len() > self.told;
        let last = self.moved.last_mut().filter(|last| {
            untold && last.from.end == from && last.to + (last.from.end - last.from.start) == to
        });
        match last {
            Some(last) => last.from.end = from + 1,
            None => self.moved.push(Moved { from: from..from + 1, to }),
        }
    }
}

/// What of `range` is in none of `others`, which are in order.
fn apart(range: Range<u64>, others: &[(u64, u64)]) -> Vec<Range<u64>> {
    let mut rest = Vec::new();
    let mut start = range.start;
    for (from, to) in others {
        if start < (*from).min(range.end) {
            rest.push(start..(*from).min(range.end));
        }
        start = start.max(*to);
    }
    if start < range.end {
        rest.push(start..range.end);
    }
    rest
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_kafka_waits_for_is_not_taken() {
        let apart = |from, to, others: &[_]| -> Vec<(u64, u64)> {
            super::apart(from..to, others).into_iter().map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(apart(5, 9, &[]), [(5, 9)]);
        assert_eq!(apart(5, 9, &[(0, 5), (9, 12)]), [(5, 9)]);
        assert_eq!(apart(5, 20, &[(2, 6), (8, 10), (19, 30)]), [(6, 8), (10, 19)]);
        assert!(apart(5, 9, &[(0, 100)]).is_empty() && apart(9, 5, &[]).is_empty());
    }
}
