//! What the writer and its readers share: which segments there are, and how far they are synced.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::contents::{Contents, Entry, Part};
use super::disk::Disk;
use super::handed::OnDisk;
use super::scan::Scanner;
use super::segment::Name;

/// What is read is cut into about so many pieces, of these lengths: beginning anew costs a little,
/// and pieces are what several threads share.
const PIECES: u64 = 16;
const PIECE_BYTES_MIN: u64 = 128 << 10;
const PIECE_BYTES_MAX: u64 = 4 << 20;

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
    /// What is in the segment that is being written.
    pub growing: Option<(Name, Contents)>,
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

    /// The segment being written has these dictionaries and this last part now.
    pub(super) fn grow(&mut self, name: Name, dictionaries: &[Entry], last: Option<Part>) {
        if self.growing.as_ref().is_none_or(|(growing, _)| *growing != name) {
            self.growing = Some((name, Contents::default()));
        }
        let Some((_, contents)) = &mut self.growing else { return };
        contents.dictionaries.extend(dictionaries.iter().skip(contents.dictionaries.len()));
        if let Some(part) = last {
            if contents.parts.last().is_some_and(|last| last.position == part.position) {
                contents.parts.pop();
            }
            contents.parts.push(part);
        }
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

/// Adjacent parts, joined while they are not this long together.
fn joined(parts: Vec<(Range<u64>, u64)>, enough_bytes: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut length = 0;
    for (part, bytes) in parts {
        match ranges.last_mut() {
            Some(last) if last.end == part.start && length < enough_bytes => {
                last.end = part.end;
                length += bytes;
            }
            _ => {
                ranges.push(part);
                length = bytes;
            }
        }
    }
    ranges
}

#[derive(Default)]
pub(super) struct Shared {
    index: Mutex<Index>,
    published: Condvar,
    /// Tables of contents that were read, of segments that are finished.
    contents: Mutex<HashMap<(Name, bool), Arc<Contents>>>,
    /// Held while the file that says what was handed over is written.
    on_disk: Mutex<OnDisk>,
}

impl Shared {
    pub(super) fn new(index: Index, on_disk: OnDisk) -> Self {
        Self { index: Mutex::new(index), on_disk: Mutex::new(on_disk), ..Self::default() }
    }

    /// The index. Nobody panics while holding it half changed, so a poisoned lock is still right.
    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`super::Reader::between`].
    pub(super) fn between(&self, disk: &dyn Disk, from_us: i64, to_us: i64) -> Vec<Range<u64>> {
        joined(self.parts_between(disk, from_us, to_us), u64::MAX)
    }

    /// See [`super::Reader::pieces`].
    pub(super) fn pieces(&self, disk: &dyn Disk, from_us: i64, to_us: i64) -> Vec<Range<u64>> {
        let parts = self.parts_between(disk, from_us, to_us);
        let bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        joined(parts, (bytes / PIECES).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX))
    }

    /// Offsets of the parts that may hold records of this time, and how long they are in bytes.
    fn parts_between(&self, disk: &dyn Disk, from_us: i64, to_us: i64) -> Vec<(Range<u64>, u64)> {
        let index = self.lock().clone();
        let mut found = Vec::new();
        for (at, segment) in index.segments.iter().enumerate() {
            let end = index.end(at);
            let Ok(contents) = self.contents(disk, &index, at) else {
                // Its reader will say why.
                found.push((segment.name.first_offset..end, segment.bytes));
                continue;
            };
            for (at, part) in contents.parts.iter().enumerate() {
                let next = contents.parts.get(at + 1);
                let end = next.map_or(end, |next| next.first_offset.min(end));
                // What lies before the first part is damaged, and belongs to it.
                let first_offset = if at == 0 { segment.name.first_offset } else { part.first_offset };
                if part.from_us <= to_us && part.to_us >= from_us && first_offset < end {
                    let end_position = next.map_or(segment.bytes, |next| next.position.min(segment.bytes));
                    found.push((first_offset..end, end_position.saturating_sub(part.position)));
                }
            }
        }
        self.forget_contents(&index.segments);
        found
    }

    /// The contents of a segment, as far as somebody has read or is writing them.
    pub(super) fn known_contents(&self, name: Name, thinned: bool) -> Option<Arc<Contents>> {
        if let Some((_, contents)) = self.lock().growing.as_ref().filter(|(growing, _)| *growing == name) {
            return Some(Arc::new(contents.clone()));
        }
        self.lock_contents().get(&(name, thinned)).map(Arc::clone)
    }

    fn contents(&self, disk: &dyn Disk, index: &Index, at: usize) -> io::Result<Arc<Contents>> {
        let segment = &index.segments[at];
        if let Some((_, contents)) = index.growing.as_ref().filter(|(name, _)| *name == segment.name) {
            return Ok(Arc::new(contents.clone()));
        }
        let key = (segment.name, segment.thinned);
        if let Some(known) = self.lock_contents().get(&key) {
            return Ok(Arc::clone(known));
        }
        let file = disk.open(&segment.name.file())?;
        let contents = match Contents::read(file.as_ref(), segment.bytes)? {
            Some(contents) => contents,
            None => Contents::walk(Scanner::new(file), segment.name.first_offset, segment.bytes)
                .map_err(|error| io::Error::other(error.to_string()))?,
        };
        let contents = Arc::new(contents);
        // The newest of another process is still growing.
        if at + 1 < index.segments.len() {
            self.lock_contents().insert(key, Arc::clone(&contents));
        }
        Ok(contents)
    }

    fn forget_contents(&self, segments: &VecDeque<Segment>) {
        let mut contents = self.lock_contents();
        if contents.len() > segments.len() {
            let there: std::collections::HashSet<_> =
                segments.iter().map(|segment| (segment.name, segment.thinned)).collect();
            contents.retain(|key, _| there.contains(key));
        }
    }

    fn lock_contents(&self) -> MutexGuard<'_, HashMap<(Name, bool), Arc<Contents>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from writing the file that says what was handed over. Taken before the index.
    pub(super) fn lock_handed_file(&self) -> MutexGuard<'_, OnDisk> {
        self.on_disk.lock().unwrap_or_else(PoisonError::into_inner)
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
