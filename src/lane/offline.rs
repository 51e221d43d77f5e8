//! A lane read from its files, beside the running process or without one: for the tools, for an
//! imported backlog, for sending history again. No lock, no change, no events.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::Record;
use super::decoder::{Decoder, decode_row};
use crate::batch::Schema;
use crate::journal::{Damage, DamageKind, FilesError, JournalFiles, Read, Reader, Unreadable};

/// What [`OfflineLane::read`] gives.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// The next record.
    Record(Record),
    /// Records that cannot be read.
    Damage(Damage),
    /// Records that the disk does not give now; the next call tries again.
    Unreadable(Unreadable),
    /// Records that were removed meanwhile, from … to before ….
    Removed(u64, u64),
    /// All that was synced has been read.
    End,
}

/// Reads a lane's files in order.
pub struct OfflineLane {
    files: JournalFiles,
    reader: Reader,
    decoder: Decoder,
}

impl OfflineLane {
    /// Opens the lane in `directory`; `synced` as for [`JournalFiles::open`].
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(directory: &Path, synced: Option<u64>) -> Result<Self, FilesError> {
        let files = JournalFiles::open(directory, synced)?;
        let unreadable = |error: io::Error| FilesError::Unreadable { directory: directory.into(), error };
        let reader = files.reader(files.first_offset()).map_err(unreadable)?;
        Ok(Self { files, reader, decoder: Decoder::default() })
    }

    /// The files.
    pub fn files(&self) -> &JournalFiles {
        &self.files
    }

    /// Offset of the next record.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Goes on at `offset`.
    pub fn seek(&mut self, offset: u64) {
        self.reader.seek(offset);
    }

    /// Passes over what the disk does not give, up to the next record, as [`Reader::pass_over`].
    pub fn pass_over(&mut self) {
        self.reader.pass_over();
    }

    /// The next record, or what is in its place; what the disk does not give is passed over. For who
    /// only looks.
    pub fn read_all(&mut self) -> Item {
        self.pass_over();
        self.read()
    }

    /// Ranges of offsets, in order, outside of which no record is of a time between these two,
    /// microseconds since 1970 UTC.
    pub fn between(&self, from_us: i64, to_us: i64) -> Vec<Range<u64>> {
        self.reader.between(from_us, to_us)
    }

    /// What all machines that have records here mean by them, in no order. Reads one record of each
    /// file, and goes on at the oldest one.
    pub fn schemas(&mut self) -> Vec<Schema> {
        let mut known: HashSet<Arc<[u8]>> = HashSet::new();
        for segment in self.files.segments() {
            self.seek(segment.end.saturating_sub(1).max(segment.first_offset));
            // What it gives does not matter, only what is read on the way to it.
            let _last = self.read_all();
            for dictionary in self.reader.dictionaries() {
                if !known.contains(dictionary) {
                    known.insert(Arc::clone(dictionary));
                }
            }
        }
        self.seek(self.files.first_offset());
        known.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect()
    }

    /// The next record, or what is in its place.
    pub fn read(&mut self) -> Item {
        loop {
            let (offset, body) = match self.reader.read() {
                Read::End => return Item::End,
                Read::Moved { from, to } => return Item::Removed(from, to),
                Read::Damage(damage) => return Item::Damage(damage),
                Read::Unreadable(unreadable) => return Item::Unreadable(unreadable),
                Read::Record { offset, base_us, bytes } => {
                    let row = decode_row(bytes, base_us);
                    (offset, row.and_then(|row| self.decoder.row(row, &self.reader)))
                }
                Read::Link(link) => match self.decoder.link(&link).transpose() {
                    Some(body) => (link.offset, body),
                    None => continue,
                },
            };
            return match body {
                Ok(body) => Item::Record(Record { offset, body }),
                Err(fault) => {
                    let mut damage = Damage::new(offset, offset + 1, fault.to_string());
                    if self.reader.has_passed_over() {
                        damage.kind = DamageKind::Unreadable;
                    }
                    Item::Damage(damage)
                }
            };
        }
    }
}
