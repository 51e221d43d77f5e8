//! Removing data because somebody asks for it: `forebay journal trim`.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::worker::Worker;
use super::writer::{LaneWriter, Message};
use crate::amount::counted;

/// A request that finds the queue full is tried again so often.
const RETRY: Duration = Duration::from_millis(5);

/// What is to be removed. Segments are removed whole, oldest first; the newest always stays,
/// because it carries the next offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrimOrder {
    /// How far.
    pub before: Before,
    /// Also what Kafka does not have yet; it is recorded as a gap.
    pub unsent: bool,
}

/// How far data is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// All that Kafka has.
    Sent,
    /// Segments in which every record lies before this offset.
    Offset(u64),
    /// Segments that ended before this time, microseconds since 1970 UTC.
    TimeUs(i64),
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trimmed {
    /// Files.
    pub segments: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Records that Kafka did not have.
    pub unsent_records: u64,
    /// Oldest offset that is left.
    pub first_offset: u64,
}

/// Nothing, or not everything, was removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    /// It would lose data, and nobody said that it may.
    #[error(
        "{} of lane {lane} {} not in Kafka yet (from offset {from_offset}): nothing was removed. Send first, \
         export, or add --unsent to lose what is not there; the loss is then recorded as a gap",
        counted(*.records, "record", "records"), if *.records == 1 { "is" } else { "are" }
    )]
    Unsent {
        /// Name of the lane.
        lane: String,
        /// How many.
        records: u64,
        /// The first of them.
        from_offset: u64,
    },
    /// The disk said no.
    #[error("{0}")]
    Disk(String),
    /// The lane did not answer in time, or has ended.
    #[error("the lane does not answer: its disk may not work, see `forebay journal status`")]
    NoAnswer,
}

impl LaneWriter {
    /// Has the lane remove what `order` says; waits at most `limit` and blocks meanwhile.
    ///
    /// # Errors
    /// [`TrimError`].
    pub fn trim(&self, order: TrimOrder, limit: Duration) -> Result<Trimmed, TrimError> {
        self.ask(limit, |answer| Message::Trim(order, answer)).unwrap_or(Err(TrimError::NoAnswer))
    }

    /// Notes that the records before `offset` have left the box some other way than to Kafka, so
    /// that they are not thinned; waits at most `limit`.
    ///
    /// # Errors
    /// [`TrimError::NoAnswer`], or [`TrimError::Disk`] when the note cannot be made.
    pub fn hand_over(&self, offset: u64, limit: Duration) -> Result<(), TrimError> {
        let noted = self.ask(limit, |answer| Message::HandOver(offset, answer)).ok_or(TrimError::NoAnswer)?;
        noted.map_err(|error| TrimError::Disk(format!("the disk does not take the note: {error}")))
    }

    /// Sends a message and waits for its answer.
    fn ask<T>(&self, limit: Duration, message: impl FnOnce(SyncSender<T>) -> Message) -> Option<T> {
        let end = Instant::now() + limit;
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let mut message = message(answer);
        while let Err(refused) = self.shared.queue.try_send(message) {
            let TrySendError::Full(back) = refused else { return None };
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(RETRY);
            message = back;
        }
        answered.recv_timeout(end.saturating_duration_since(Instant::now())).ok()
    }
}

impl Worker {
    /// Does what [`LaneWriter::trim`] asks.
    pub(super) fn trim_by_order(&mut self, order: TrimOrder) -> Result<Trimmed, TrimError> {
        let committed = self.shared.committed().unwrap_or(0);
        let end = match order.before {
            Before::Sent => committed,
            Before::Offset(offset) => offset,
            Before::TimeUs(us) => self.journal.finished_before(us),
        };
        // Only whole segments go, so only those count as lost.
        let removed_to = self.journal.whole_before(end);
        let from_offset = committed.max(self.journal.first_offset());
        if removed_to > from_offset && !order.unsent {
            let lane = self.options.name.clone();
            return Err(TrimError::Unsent { lane, records: removed_to - from_offset, from_offset });
        }
        let mut trimmed = Trimmed::default();
        let removed = self.remove_before(removed_to, &mut trimmed);
        trimmed.first_offset = self.journal.first_offset();
        self.publish_status();
        removed.map(|()| trimmed)
    }

    fn remove_before(&mut self, end: u64, trimmed: &mut Trimmed) -> Result<(), TrimError> {
        while self.journal.first_offset() < end {
            let (from, to) = self.journal.oldest_range();
            let unsent = from < to;
            let event = unsent.then(|| {
                let (tally, handed) = (self.tally_oldest(), self.oldest_was_handed());
                self.gaps.removed_by_order((from, to), &tally, handed, self.clock.now_us())
            });
            let note = event.as_ref().map(|event| self.gaps.note(event)).unwrap_or_default();
            let evicted = match self.journal.evict_oldest(&note) {
                Ok(Some(evicted)) => evicted,
                Ok(None) => break,
                Err(error) => {
                    let lane = &self.options.name;
                    return Err(TrimError::Disk(format!(
                        "{lane}: cannot remove the oldest segment: {error}"
                    )));
                }
            };
            trimmed.segments += 1;
            trimmed.bytes += evicted.bytes;
            if let Some(event) = event {
                trimmed.unsent_records += to - from;
                self.status.evicted_records += to - from;
                self.noted();
                tracing::warn!("{}", event.text);
                self.events.emit(event);
            }
        }
        Ok(())
    }
}
