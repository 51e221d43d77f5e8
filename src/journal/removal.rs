//! Removing the oldest segments: what Kafka has, and what there is no room for.

use std::io;

use super::chain::ChainReader;
use super::confirmed::confirmed_of;
use super::frame::Frame;
use super::index::Segment;
use super::scan::{Scanner, Step};
use super::writer::Journal;
use super::{Evicted, handed, note};

impl Journal {
    /// Removes the segments whose records all lie before `committed`, but never the newest.
    /// Returns the bytes freed.
    ///
    /// # Errors
    /// Those of the system; the rest is tried again with the next call.
    pub fn trim(&mut self, committed: u64) -> io::Result<u64> {
        self.settle(committed);
        self.trim_history(committed, i64::MAX)
    }

    /// Tells that offsets before `used` are known to whoever the records are handed to, with or
    /// without holes, and none behind: segments of which that was in doubt may be thinned again.
    pub fn settle(&self, used: u64) {
        handed::settle(self.disk.as_ref(), self.epoch, &self.shared, used);
    }

    /// As [`Journal::trim`], but keeps segments in which anything is younger than `keep_from_us`,
    /// microseconds since 1970 UTC.
    ///
    /// # Errors
    /// As [`Journal::trim`].
    pub fn trim_history(&mut self, committed: u64, keep_from_us: i64) -> io::Result<u64> {
        self.committed = self.committed.max(committed);
        let mut freed = 0;
        while self.oldest_is_history(keep_from_us) {
            freed += self.remove_oldest()?;
        }
        Ok(freed)
    }

    fn oldest_is_history(&self, keep_from_us: i64) -> bool {
        let index = self.shared.lock();
        if index.segments.get(1).is_some_and(|next| next.created_us > keep_from_us) {
            return false;
        }
        index.segments.len() > 1 && index.end(0) <= self.committed
    }

    /// Offsets of the oldest segment that were neither committed nor confirmed; what
    /// [`Journal::evict_oldest`] loses.
    pub fn oldest_range(&self) -> (u64, u64) {
        let index = self.shared.lock();
        let end = index.end(0);
        let confirmed = index.segments.front().map_or(0, |oldest| confirmed_of(oldest, self.confirmed));
        (index.first_offset().max(self.committed).max(confirmed).min(end), end)
    }

    /// Removes the oldest segment, unless it is the only one, and says what is lost by that.
    ///
    /// A `note` that is not empty is made durable before. [`super::Recovery::removal`] gives it back until
    /// [`Journal::forget_note`], so that a power cut right after the removal cannot make nobody
    /// know of it.
    ///
    /// # Errors
    /// Those of the system; nothing was removed.
    pub fn evict_oldest(&mut self, note: &[u8]) -> io::Result<Option<Evicted>> {
        let Some(oldest) = self.shared.lock().segments.front().copied() else { return Ok(None) };
        if self.shared.lock().segments.len() < 2 {
            return Ok(None);
        }
        let (from_offset, to_offset) = self.oldest_range();
        let mut evicted = Evicted {
            from_offset,
            to_offset,
            first_us: oldest.created_us,
            last_us: oldest.created_us,
            records: 0,
            bytes: 0,
        };
        if let Ok(file) = self.disk.open(&oldest.name.file()) {
            count(Scanner::new(file).tolerant(), &oldest, &mut evicted);
        }
        if !note.is_empty()
            && let Err(error) = note::write(self.disk.as_ref(), self.epoch, oldest.name, note)
        {
            // On a full disk removing is what makes room for it.
            tracing::warn!("cannot note that {} is removed: {error}", oldest.name.file());
        }
        evicted.bytes = self.remove_oldest()?;
        Ok(Some(evicted))
    }

    /// What the last note says is told.
    pub fn forget_note(&mut self) {
        note::remove(self.disk.as_ref());
    }

    /// Takes the oldest segment from the readers, then from the disk.
    fn remove_oldest(&mut self) -> io::Result<u64> {
        while let Some(name) = self.left.last() {
            match self.disk.remove(&name.file()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(self.left.pop()),
            }
            self.removal_unsynced = true;
        }
        // Oldest first, each durable before the next: a crash never leaves a hole.
        if self.removal_unsynced {
            self.disk.sync_directory()?;
            self.removal_unsynced = false;
        }
        let Some(oldest) = self.shared.lock().segments.pop_front() else { return Ok(0) };
        match self.disk.remove(&oldest.name.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.shared.lock().segments.push_front(oldest);
                return Err(error);
            }
            _ => {}
        }
        // It is gone for the readers; after a crash it may be back, which does no harm.
        self.removal_unsynced = self.disk.sync_directory().is_err();
        Ok(oldest.bytes)
    }
}

/// Counts the uncommitted records of a segment that is about to be removed.
fn count(mut scanner: Scanner, segment: &Segment, evicted: &mut Evicted) {
    let mut chain = ChainReader::default();
    loop {
        let (first_offset, count, base_us) = match scanner.step(segment.bytes) {
            Step::End => return,
            Step::Bad(_) => {
                chain.next = None;
                if scanner.resync(segment.bytes).is_err() {
                    return;
                }
                continue;
            }
            // Not of a tolerant scanner.
            Step::Failed(_) => return,
            Step::Frame { frame: Frame::Block { head, .. }, .. } => {
                (head.first_offset, head.count, head.base_us)
            }
            Step::Frame { frame: Frame::Chain { head, .. }, .. } => match chain.join(&head) {
                Some(first_offset) => (first_offset, head.count, chain.base_us),
                None => continue,
            },
            Step::Frame { .. } => continue,
        };
        let end = first_offset.saturating_add(u64::from(count));
        let lost = end.min(evicted.to_offset).saturating_sub(first_offset.max(evicted.from_offset));
        if lost > 0 {
            if evicted.records == 0 {
                evicted.first_us = base_us;
            }
            evicted.records += lost;
            evicted.last_us = base_us;
        }
    }
}
