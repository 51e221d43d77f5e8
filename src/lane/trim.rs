//! Removing data because somebody asks for it: `forebay journal trim`.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::worker::Worker;
use super::writer::{LaneWriter, Message};
use crate::amount::{counted, number};

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
    /// All that Kafka is known to have.
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
    /// Records that were never given to Kafka: they are lost.
    pub unsent_records: u64,
    /// Records that Kafka had not confirmed, and of which it may have some.
    pub perhaps_sent_records: u64,
    /// What Kafka has is known, because it was heard since the start of the box.
    pub heard: bool,
    /// Behind the last record that Kafka is known to have confirmed; `None` when nothing is known.
    pub confirmed: Option<u64>,
    /// Records that are left and that Kafka is not known to have.
    pub left_records: u64,
    /// Oldest offset that is left.
    pub first_offset: u64,
}

/// Nothing, or not everything, was removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    /// It would lose data, and nobody said that it may.
    #[error("{}", refusal(lane, (*records, *perhaps), *from_offset, *heard))]
    Unsent {
        /// Name of the lane.
        lane: String,
        /// How many were never given to Kafka.
        records: u64,
        /// Of how many it is not known whether Kafka has them.
        perhaps: u64,
        /// The first of all these.
        from_offset: u64,
        /// Kafka was heard: these may be on their way.
        heard: bool,
    },
    /// The disk said no.
    #[error("{0}")]
    Disk(String),
    /// The lane did not answer in time, or has ended.
    #[error("the lane does not answer: its disk may not work, see `forebay journal status`")]
    NoAnswer,
}

fn refusal(lane: &str, (records, perhaps): (u64, u64), from_offset: u64, heard: bool) -> String {
    let all = counted(records + perhaps, "record", "records");
    let (what, how) = match (records, perhaps) {
        (_, 0) => (format!("of lane {lane}, Kafka does not have {all} yet"), "Send first"),
        _ if heard => (format!("of lane {lane}, Kafka has not confirmed {all} yet"), "Send first"),
        (0, _) => (format!("of lane {lane}, it is not known whether Kafka has {all}"), KNOWN_LATER),
        _ => {
            let (never, perhaps) = (number(records), number(perhaps));
            let which = format!("{never} never sent, of {perhaps} it is not known");
            (format!("of lane {lane}, Kafka is not known to have {all}: {which}"), KNOWN_LATER)
        }
    };
    format!(
        "{what} (from offset {from_offset}): nothing was removed. {how}, export, or add --unsent to remove all \
         the same; what is or may be lost by that is recorded as a gap"
    )
}

const KNOWN_LATER: &str = "Let the box reach Kafka first to know it";

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
        // So that what Kafka has just confirmed counts.
        self.trim();
        let all = self.journal.next_offset();
        let end = match order.before {
            Before::Sent => self.journal.known_before(all).first_open.unwrap_or(all),
            Before::Offset(offset) => offset,
            Before::TimeUs(us) => self.journal.finished_before(us),
        };
        // Only whole segments go, so only those count as lost.
        let removed_to = self.journal.whole_before(end);
        let lost = self.journal.known_before(removed_to);
        if let Some(from_offset) = lost.first_open
            && !order.unsent
        {
            let (lane, records, perhaps) = (self.options.name.clone(), lost.unsent, lost.perhaps);
            let heard = self.status.heard;
            return Err(TrimError::Unsent { lane, records, perhaps, from_offset, heard });
        }
        let mut trimmed = Trimmed::default();
        let removed = self.remove_before(removed_to, &mut trimmed);
        trimmed.first_offset = self.journal.first_offset();
        let left = self.journal.known_before(self.journal.next_offset());
        trimmed.left_records = left.perhaps + left.unsent;
        self.look_at_known();
        (trimmed.heard, trimmed.confirmed) = (self.status.heard, self.status.confirmed);
        self.publish_status();
        removed.map(|()| trimmed)
    }

    fn remove_before(&mut self, end: u64, trimmed: &mut Trimmed) -> Result<(), TrimError> {
        while self.journal.first_offset() < end {
            let (from, to) = self.journal.oldest_range();
            let unsent = from < to;
            let handed = self.oldest_was_handed();
            let event = unsent.then(|| {
                let tally = self.tally_oldest();
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
                *(if handed { &mut trimmed.perhaps_sent_records } else { &mut trimmed.unsent_records }) +=
                    to - from;
                self.count_evicted(to - from, handed);
                self.noted();
                tracing::warn!("{}", event.text);
                self.events.emit(event);
            }
        }
        Ok(())
    }
}
