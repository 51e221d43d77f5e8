//! A journal as files: read beside the process that writes it, or without one. No lock is taken
//! and no byte is changed.
//!
//! The writer may remove the oldest segments, replace one by a shorter form, and append to the
//! newest while we read. Removed ones are passed over like those of a running journal; what is
//! appended later is not seen.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::closed::Closed;
use super::disk::{self, Disk, DiskFile};
use super::frame::Fault;
use super::handed::{self, OnDisk};
use super::index::{Index, Segment, Shared};
use super::note;
use super::recovery::{highest_sequence, newest_end, read_headers_only};
use super::scan::{Scanner, Step};
use super::segment::{
    CLOSED_FILE, EPOCH_FILE, Found, HANDED_FILE, HEADER_BYTES, Header, NOTE_FILE, Name, read_epoch,
};
use super::{Damage, Epoch, Known, Reader};

/// A directory that is no journal, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", directory.display())]
    Unreadable {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is nothing in it that tells of a journal.
    #[error("there is no journal in {}", .0.display())]
    NoJournal(PathBuf),
}

impl FilesError {
    /// True when nothing was ever stored there.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::NoJournal(_) => true,
            Self::Unreadable { error, .. } => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// One file of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its name in the directory.
    pub file: String,
    /// First offset in it.
    pub first_offset: u64,
    /// Behind its last one.
    pub end: u64,
    /// Length; of the newest, as far as it is whole.
    pub bytes: u64,
    /// Wall time at which it was begun, microseconds since 1970 UTC; 0 when its head is damaged.
    pub created_us: i64,
}

/// Bytes that are not as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBytes {
    /// In this file.
    pub file: String,
    /// First bad byte.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
    /// Why, in words.
    pub cause: String,
    /// The disk gives an error in their place: they may be as they were.
    pub is_unreadable: bool,
}

/// A journal opened for looking.
pub struct JournalFiles {
    directory: PathBuf,
    pub(super) disk: Arc<Readonly>,
    epoch: Epoch,
    torn_bytes: u64,
    missing: Option<Damage>,
}

impl JournalFiles {
    /// Opens what is there. `synced` is the offset behind the last synced record as the running
    /// process tells it; without one the rules of a start decide what was synced.
    ///
    /// # Errors
    /// [`FilesError`]. Damaged content is no error.
    pub fn open(directory: &Path, synced: Option<u64>) -> Result<Self, FilesError> {
        let unreadable = |error| FilesError::Unreadable { directory: directory.to_owned(), error };
        let shared = Arc::new(Shared::new(Index::default(), OnDisk::default()));
        let disk = Readonly { directory: directory.to_owned(), shared };
        let names = disk.list().map_err(unreadable)?;
        // What cannot be read now the segments tell as well.
        let known = read_epoch(&disk).ok().flatten();
        let (epoch, mut found) = read_headers_only(&disk, &names, known);
        let Some(epoch) = epoch else { return Err(FilesError::NoJournal(directory.to_owned())) };
        let mut index = Index::default();
        let mut torn_bytes = 0;
        let mut missing = None;
        if let Some(synced) = synced {
            index.next_offset = synced;
            found.retain(|segment| segment.name.first_offset < synced);
            // At its end a write may be under way.
            if let Some(newest) = found.last_mut() {
                newest.bytes = newest_end(&disk, newest.name, None).map_err(unreadable)?.bytes;
            }
        } else {
            let closed = Closed::read(&disk, epoch, highest_sequence(&names));
            index.next_offset = closed.map_or(0, |closed| closed.next_offset);
            while let Some(newest) = found.last_mut() {
                index.next_offset = index.next_offset.max(newest.name.first_offset);
                let end = newest_end(&disk, newest.name, closed).map_err(unreadable)?;
                torn_bytes += newest.bytes - end.bytes.min(newest.bytes);
                if end.bytes >= HEADER_BYTES as u64 {
                    newest.bytes = end.bytes;
                    index.next_offset = index.next_offset.max(end.offset);
                    break;
                }
                found.pop();
            }
            let first = found.iter().map(|segment| segment.name.first_offset).min();
            let first_offset = first.unwrap_or(index.next_offset);
            missing = closed.and_then(|closed| closed.missing_in_front(first_offset));
        }
        index.segments = oldest_to_newest(found);
        handed::look(&disk, epoch, &mut index);
        *disk.shared.lock() = index;
        Ok(Self { directory: directory.to_owned(), disk: Arc::new(disk), epoch, torn_bytes, missing })
    }

    /// Identity of the journal.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes of a write that a crash has cut off: nobody was told that they were stored.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// What was there when the journal was closed in order, and whose files are gone.
    pub fn missing(&self) -> Option<&Damage> {
        self.missing.as_ref()
    }

    /// Oldest offset that is left.
    pub fn first_offset(&self) -> u64 {
        self.disk.shared.lock().first_offset()
    }

    /// Behind the last synced record.
    pub fn next_offset(&self) -> u64 {
        self.disk.shared.lock().next_offset
    }

    /// The files, oldest first, as far as they are still there.
    pub fn segments(&self) -> Vec<SegmentFile> {
        let index = self.disk.shared.lock();
        let files = index.segments.iter().enumerate().map(|(number, segment)| SegmentFile {
            file: segment.name.file(),
            first_offset: segment.name.first_offset,
            end: index.end(number),
            bytes: segment.bytes,
            created_us: segment.created_us,
        });
        files.collect()
    }

    /// What is known of the records in `range`, when all before `confirmed` were confirmed. Only for who knows
    /// that no process has the journal open.
    pub fn known(&self, range: Range<u64>, confirmed: u64) -> Known {
        self.disk.shared.lock().known(&range, confirmed)
    }

    /// A reader that begins at `offset`.
    ///
    /// # Errors
    /// Only when the decompressor gets no memory.
    pub fn reader(&self, offset: u64) -> io::Result<Reader> {
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        Reader::new(disk, Arc::clone(&self.disk.shared), self.epoch, offset)
    }

    /// Checks head and checksums of every byte of `segment`. `None` when the file has been removed
    /// meanwhile. `progress` is told the bytes done so far.
    ///
    /// # Errors
    /// Those of the system, beyond a part that cannot be read: that is told like any other damage.
    pub fn check(
        &self,
        segment: &SegmentFile,
        mut progress: impl FnMut(u64),
    ) -> io::Result<Option<Vec<BadBytes>>> {
        let file = match self.disk.open(&segment.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // It may have been replaced by a shorter form since it was listed.
        let limit = file.length()?.min(segment.bytes);
        let mut bad = Vec::new();
        let mut note = |from: u64, to: u64, cause: String, is_unreadable: bool| {
            bad.push(BadBytes { file: segment.file.clone(), from, to, cause, is_unreadable });
        };
        match Header::read(file.as_ref()) {
            Ok(Found::Header(header)) if header.name.file() == segment.file => {}
            Ok(_) => note(0, HEADER_BYTES as u64, "its head is damaged".into(), false),
            Err(error) => note(0, HEADER_BYTES as u64, format!("its head cannot be read: {error}"), true),
        }
        let mut scanner = Scanner::new(file).tolerant();
        loop {
            let cause = match scanner.step(limit) {
                Step::End => return Ok(Some(bad)),
                Step::Frame { .. } => None,
                Step::Bad(fault) => Some((fault.to_string(), matches!(fault, Fault::Unreadable(_)))),
                Step::Failed(error) => Some((error.to_string(), true)),
            };
            if let Some((cause, is_unreadable)) = cause {
                let from = scanner.position();
                if scanner.resync(limit).is_err() {
                    scanner.go_to(limit);
                }
                note(from, scanner.position(), cause, is_unreadable);
            }
            progress(scanner.position());
        }
    }

    /// What is wrong with the small files beside the segments. No record is lost by it.
    pub fn check_small_files(&self) -> Vec<BadBytes> {
        let bad = |file: &str, cause: &str| BadBytes {
            file: file.to_owned(),
            from: 0,
            to: self.directory.join(file).metadata().map_or(0, |metadata| metadata.len()),
            cause: cause.to_owned(),
            is_unreadable: false,
        };
        let mut found = Vec::new();
        if read_epoch(self.disk.as_ref()).ok().flatten() != Some(self.epoch) {
            found.push(bad(EPOCH_FILE, "it is missing or damaged; the segments tell the same"));
        }
        if handed::is_damaged(self.disk.as_ref(), self.epoch) {
            found.push(bad(HANDED_FILE, "it is damaged; nothing is thinned until Kafka is reached"));
        }
        if Closed::is_damaged(self.disk.as_ref(), self.epoch) {
            found.push(bad(CLOSED_FILE, "it is damaged; where the journal ended is found without it"));
        }
        if note::is_damaged(self.disk.as_ref(), self.epoch) {
            found.push(bad(NOTE_FILE, "it is damaged; the removal it noted may not be told"));
        }
        found
    }
}

/// Leaves out what a later segment replaces: its records end where the next one begins.
fn oldest_to_newest(mut found: Vec<Segment>) -> VecDeque<Segment> {
    let mut segments: VecDeque<Segment> = VecDeque::new();
    while let Some(segment) = found.pop() {
        let later = segments.front().map_or(u64::MAX, |later| later.name.first_offset);
        if segment.name.first_offset < later {
            segments.push_front(segment);
        }
    }
    segments
}

/// A directory that is only looked at.
pub(super) struct Readonly {
    directory: PathBuf,
    /// What is not there any more leaves the index.
    pub shared: Arc<Shared>,
}

impl Readonly {
    /// The writer has removed this file: it removes oldest first, so all before it are gone too.
    fn forget(&self, file: &str) {
        let mut index = self.shared.lock();
        if let Some(at) = index.segments.iter().position(|segment| segment.name.file() == file)
            && at + 1 < index.segments.len()
        {
            index.segments.drain(..=at);
        }
    }
}

impl Readonly {
    /// The writer may have put a shorter form in the place of this file.
    fn look_again(&self, name: &str, file: &ReadonlyFile) {
        let (Ok(Found::Header(header)), Ok(length)) = (Header::read(file), file.length()) else { return };
        let mut index = self.shared.lock();
        let known = index.segments.iter_mut().find(|segment| segment.name.file() == name);
        if let Some(segment) = known.filter(|segment| segment.thinned != header.thinned) {
            (segment.thinned, segment.bytes) = (header.thinned, length);
        }
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the journal is only looked at")
}

impl Disk for Readonly {
    fn list(&self) -> io::Result<Vec<String>> {
        disk::list(&self.directory)
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(read_only())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        match File::open(self.directory.join(name)) {
            Ok(file) => {
                let file = ReadonlyFile(file);
                self.look_again(name, &file);
                Ok(Box::new(file))
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.forget(name);
                }
                Err(error)
            }
        }
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let system = rustix::fs::statvfs(&self.directory)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        Err(read_only())
    }
}

struct ReadonlyFile(File);

impl DiskFile for ReadonlyFile {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn rewrite(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Name of a segment, for a file that comes from elsewhere.
pub fn is_segment_name(name: &str) -> bool {
    Name::parse(name).is_some()
}
