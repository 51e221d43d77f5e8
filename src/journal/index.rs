//! What the writer and its readers share: which segments there are, and how far they are synced.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::contents::Contents;
use super::disk::Disk;
use super::segment::Name;

/// A segment without a table of contents may hold what is this much older than its creation, or
/// younger than the next one's.
const SLACK_US: i64 = 3600 * 1_000_000;

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
    /// Somebody else writes, and removes what is old.
    is_view: bool,
    /// Tables of contents that were read, of segments that are finished.
    contents: Mutex<HashMap<(Name, bool), Option<Arc<Contents>>>>,
    /// Held while the file that says what was handed over is written.
    handed_file: Mutex<()>,
}

impl Shared {
    pub(super) fn new(index: Index) -> Self {
        Self { index: Mutex::new(index), ..Self::default() }
    }

    /// Of a journal that somebody else may be writing.
    pub(super) fn view(index: Index) -> Self {
        Self { is_view: true, ..Self::new(index) }
    }

    /// Takes out the oldest segment, whose file somebody else has removed; `false` when it is not
    /// the oldest, or nobody else can have removed it.
    pub(super) fn remove_oldest(&self, name: Name) -> bool {
        let mut index = self.lock();
        let oldest = self.is_view && index.segments.front().is_some_and(|segment| segment.name == name);
        if oldest {
            index.segments.pop_front();
        }
        oldest
    }

    /// The index. Nobody panics while holding it half changed, so a poisoned lock is still right.
    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`super::Reader::between`].
    pub(super) fn between(&self, disk: &dyn Disk, from_us: i64, to_us: i64) -> Vec<Range<u64>> {
        let Index { segments, next_offset } = self.lock().clone();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut add = |range: Range<u64>| match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        };
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1);
            let end = next.map_or(next_offset, |next| next.name.first_offset);
            // The newest is still growing.
            let contents = next.and_then(|_| self.contents(disk, segment));
            let Some(contents) = contents else {
                let first_us = segment.created_us.saturating_sub(SLACK_US);
                let last_us = next.map_or(i64::MAX, |next| next.created_us.saturating_add(SLACK_US));
                // Without its header a segment does not know its time.
                if segment.created_us == 0 || first_us <= to_us && last_us >= from_us {
                    add(segment.name.first_offset..end);
                }
                continue;
            };
            for (at, part) in contents.parts.iter().enumerate() {
                let end = contents.parts.get(at + 1).map_or(end, |next| next.first_offset.min(end));
                if part.from_us <= to_us && part.to_us >= from_us && part.first_offset < end {
                    add(part.first_offset..end);
                }
            }
        }
        self.forget_contents(&segments);
        ranges
    }

    fn contents(&self, disk: &dyn Disk, segment: &Segment) -> Option<Arc<Contents>> {
        let key = (segment.name, segment.thinned);
        if let Some(known) = self.lock_contents().get(&key) {
            return known.clone();
        }
        // What cannot be read now may be readable later, so it is not remembered.
        let file = disk.open(&segment.name.file()).ok()?;
        let contents = Contents::read(file.as_ref(), segment.bytes).ok()?.map(Arc::new);
        self.lock_contents().insert(key, contents.clone());
        contents
    }

    fn forget_contents(&self, segments: &VecDeque<Segment>) {
        let mut contents = self.lock_contents();
        if contents.len() > segments.len() {
            let there: std::collections::HashSet<_> =
                segments.iter().map(|segment| (segment.name, segment.thinned)).collect();
            contents.retain(|key, _| there.contains(key));
        }
    }

    fn lock_contents(&self) -> MutexGuard<'_, HashMap<(Name, bool), Option<Arc<Contents>>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
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
