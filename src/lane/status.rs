//! What a lane tells of itself, for the page and the metrics.

use std::collections::VecDeque;

use serde::Serialize;

use super::WhenFull;

/// State of one lane. Counters count since this start of Forebay.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LaneStatus {
    /// Name of the lane.
    pub lane: String,
    /// Identity of the journal, 32 hexadecimal digits.
    pub epoch: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes on disk at most.
    pub budget_bytes: u64,
    /// Bytes of `bytes` that Kafka has already.
    pub history_bytes: u64,
    /// Bytes of `bytes` that Kafka does not have.
    pub unsent_bytes: u64,
    /// Bytes of `unsent_bytes` in thinned segments.
    pub thinned_bytes: u64,
    /// Bytes after thinning for each byte before; `None` while nothing was thinned.
    pub thinned_ratio: Option<f64>,
    /// What is younger than this many seconds is thinned only when nothing else makes room.
    pub full_for_s: u64,
    /// Time from which on what is unsent is there in full, microseconds since 1970 UTC; `None`
    /// while only the newest segment is.
    pub full_from_us: Option<i64>,
    /// What makes room next when nothing is sent; `None` when nothing can.
    pub next_room: Option<WhenFull>,
    /// Batches summed up before Kafka had them.
    pub thinned_records: u64,
    /// Bytes that the file system still has.
    pub free_bytes: u64,
    /// Oldest offset that is left.
    pub first_offset: u64,
    /// Behind the last synced record.
    pub next_offset: u64,
    /// Behind the last record that Kafka has, `None` until that is known.
    pub committed: Option<u64>,
    /// Behind the last record that was there at the start.
    pub opened_at: u64,
    /// Kafka was heard since this start: what it has is known.
    pub heard: bool,
    /// As `committed`; while Kafka was not heard, what it had confirmed when it was last heard, which
    /// is not more than it has. `None` when nothing is known.
    pub confirmed: Option<u64>,
    /// While Kafka was not heard: records of which it may have some. 0 when what it has is known.
    pub perhaps_sent_records: u64,
    /// Time of the oldest record that Kafka has not confirmed, microseconds since 1970 UTC; `None`
    /// when it has all, or when it is not known from where on it may lack some.
    pub oldest_unsent_us: Option<i64>,
    /// Batches and events synced.
    pub records: u64,
    /// Samples synced.
    pub samples: u64,
    /// Bytes written to segments, everything counted but thinning.
    pub written_bytes: u64,
    /// Bytes of thinned segments written.
    pub rewritten_bytes: u64,
    /// What the device has written for the lane, estimated; see [`crate::journal::Journal::device_bytes`].
    pub device_bytes: u64,
    /// `written_bytes` for each of `samples`; `None` without samples.
    pub bytes_per_sample: Option<f64>,
    /// Blocks synced.
    pub syncs: u64,
    /// Longest of the last syncs, microseconds.
    pub sync_us_max: u64,
    /// Why nothing can be written at present, in words; `None` when the disk works.
    pub error: Option<String>,
    /// Writes and syncs that failed.
    pub failed_syncs: u64,
    /// Records evicted that were never given to Kafka: they are lost.
    pub evicted_records: u64,
    /// Records evicted of which Kafka may have some.
    pub perhaps_evicted_records: u64,
    /// Records that are damaged or could not be stored.
    pub lost_records: u64,
    /// Batches that were given back because the queue was full.
    pub given_back: u64,
}

/// Blocks remembered at most; beyond that every second one is forgotten, so that the answer gets
/// coarser and not the memory larger.
const BLOCKS_MAX: usize = 1024;

/// Which time which offset has, roughly: for the age of what is unsent.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// First offset and time, oldest first.
    blocks: VecDeque<(u64, i64)>,
}

impl Ages {
    pub(super) fn push(&mut self, first_offset: u64, time_us: i64) {
        if self.blocks.len() >= BLOCKS_MAX {
            let mut keep = false;
            self.blocks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.blocks.push_back((first_offset, time_us));
    }

    /// Forgets what lies before `offset`.
    pub(super) fn forget(&mut self, offset: u64) {
        while self.blocks.get(1).is_some_and(|(first, _)| *first <= offset) {
            self.blocks.pop_front();
        }
    }

    /// The time of the oldest that is not forgotten.
    pub(super) fn oldest_us(&self) -> Option<i64> {
        self.blocks.front().map(|(_, time_us)| *time_us)
    }
}
