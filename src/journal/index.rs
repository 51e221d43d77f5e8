//! What the writer and its readers share: which segments there are, and how far they are synced.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::segment::Name;

/// Whether a replicator has seen records of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    No,
    /// Nobody knows, so it counts as seen until the checkpoint says more.
    Perhaps,
    Yes,
}

/// One segment as far as it is synced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub name: Name,
    /// Wall time of its creation, microseconds since 1970 UTC.
    pub created_us: i64,
    /// Synced length of the file; what follows is not ours.
    pub bytes: u64,
    /// Its records sum up those that were there before.
    pub thinned: bool,
    pub handed: Handed,
}

/// All segments, oldest first, with strictly growing first offsets.
#[derive(Debug, Default, Clone)]
pub(super) struct Index {
    pub segments: VecDeque<Segment>,
    /// Behind the last synced record.
    pub next_offset: u64,
}

/// Where an offset is found.
pub(super) enum Place {
    /// Not synced yet.
    Ahead,
    /// Removed; the oldest offset that is left.
    Behind(u64),
    /// In this segment, whose offsets end before `end`.
    In { segment: Segment, end: u64 },
}

impl Index {
    pub(super) fn first_offset(&self) -> u64 {
        self.segments.front().map_or(self.next_offset, |segment| segment.name.first_offset)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// End of the offsets of segment number `index`.
    pub(super) fn end(&self, index: usize) -> u64 {
        self.segments.get(index + 1).map_or(self.next_offset, |next| next.name.first_offset)
    }

    pub(super) fn locate(&self, offset: u64) -> Place {
        if offset >= self.next_offset {
            return Place::Ahead;
        }
        let after = self.segments.partition_point(|segment| segment.name.first_offset <= offset);
        match after.checked_sub(1).and_then(|index| Some((index, self.segments.get(index)?))) {
            None => Place::Behind(self.first_offset()),
            Some((index, segment)) => Place::In { segment: *segment, end: self.end(index) },
        }
    }
}

#[derive(Default)]
pub(super) struct Shared {
    index: Mutex<Index>,
    published: Condvar,
    /// Held while the file that says what was handed over is written.
    handed_file: Mutex<()>,
}

impl Shared {
    pub(super) fn new(index: Index) -> Self {
        Self { index: Mutex::new(index), published: Condvar::new(), handed_file: Mutex::new(()) }
    }

    /// The index. Nobody panics while holding it half changed, so a poisoned lock is still right.
    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from writing the file that says what was handed over. Taken before the index.
    pub(super) fn lock_handed_file(&self) -> MutexGuard<'_, ()> {
        self.handed_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the readers after `next_offset` has grown.
    pub(super) fn notify(&self) {
        self.published.notify_all();
    }

    /// Waits until `offset` is synced or removed, at most `limit`; tells whether it is.
    pub(super) fn wait(&self, offset: u64, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut index = self.lock();
        while offset >= index.next_offset {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            index = self.published.wait_timeout(index, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
