//! Files that are missing among those of a journal: their numbers leave one out, and no file holds
//! the offsets in between.

use std::ops::Range;

use super::JournalFiles;
use super::recovery::newest_end;

/// Offsets that no file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Which.
    pub offsets: Range<u64>,
    /// The file before; `None` when the first one is missing.
    pub after_file: Option<String>,
    /// The file behind.
    pub before_file: String,
}

impl JournalFiles {
    /// What is missing between two files.
    pub fn holes(&self) -> Vec<Hole> {
        let index = self.disk.shared.lock().clone();
        let pairs = index.segments.iter().zip(index.segments.iter().skip(1));
        let not_next = pairs.filter(|(one, next)| next.name.sequence > one.name.sequence + 1);
        not_next
            .filter_map(|(one, next)| {
                // What cannot be read now says nothing about its end; reading it will say why.
                let end = newest_end(self.disk.as_ref(), one.name, None).ok()?.offset;
                (end < next.name.first_offset).then(|| Hole {
                    offsets: end..next.name.first_offset,
                    after_file: Some(one.name.file()),
                    before_file: next.name.file(),
                })
            })
            .collect()
    }

    /// What is missing in front, when the first record that is to be there has the offset `first`.
    pub fn hole_in_front(&self, first: u64) -> Option<Hole> {
        let index = self.disk.shared.lock();
        let oldest = index.segments.front()?;
        (first < oldest.name.first_offset).then(|| Hole {
            offsets: first..oldest.name.first_offset,
            after_file: None,
            before_file: oldest.name.file(),
        })
    }
}
