//! The journal: a segmented, append-only log of opaque records in one directory.
//!
//! One writer ([`Journal`]) appends records to a block in memory and makes the block durable with
//! one write and one sync ([`Journal::sync`]). Any number of readers ([`Reader`]) see what is
//! synced, never more. Whole segments are removed from the front, when they are committed
//! ([`Journal::trim`]) or when the budget asks for it ([`Journal::evict_oldest`]).
//!
//! What it promises, and what each promise costs:
//!
//! 1. A synced record survives kill -9, power loss and a full disk. Files are written once, at
//!    their end, and never changed; a start always begins a new file.
//! 2. Offsets count records from 0 and are never used twice, so that a reader's position means the
//!    same after a crash. Therefore the newest segment is never removed: it carries the offset.
//! 3. A failed write or sync is final for its file. The block stays in memory and goes, under the
//!    same offsets, into a new segment; where two segments hold an offset, the later one is right.
//! 4. Damage is found by checksum at every read, skipped, and told as [`Damage`] with the exact
//!    offsets. Neither damage nor foreign files keep a journal from opening.
//! 5. An error of the disk at reading is no damage: reading stops there and can be tried again.
//!
//! Nothing here knows of devices, Kafka or JSON, and no sibling module is used.
//! `docs/journal-format.md` has the bytes.

mod asked;
mod chain;
mod closed;
mod confirmed;
mod contents;
mod dictionaries;
mod disk;
mod files;
mod frame;
mod frame_one;
mod handed;
mod holes;
mod index;
#[cfg(test)]
pub(crate) mod memory_disk;
mod note;
mod numbered;
mod opened;
mod pack;
mod pending;
#[cfg(test)]
mod proptests;
mod reader;
mod recovery;
#[cfg(test)]
mod recovery_tests;
mod removal;
mod scan;
mod search;
mod segment;
mod survey;
mod thinned;
#[cfg(test)]
mod thinned_tests;
#[cfg(test)]
mod toy_coder;
mod unreadable;
#[cfg(test)]
mod unreadable_tests;
pub mod varint;
mod writer;

use std::fmt;
use std::io;

pub use chain::{BlockCoder, CODED_DICTIONARIES_MAX, Coded, Link};
pub use confirmed::Known;
pub use disk::{Disk, DiskFile, RealDisk, SYNC_BYTES};
pub use files::{BadBytes, FilesError, JournalFiles, SegmentFile, is_segment_name};
pub use frame::BODY_BYTES_MAX;
pub use holes::Hole;
pub use numbered::Numbered;
pub use reader::{Read, Reader};
pub use segment::FORMAT_VERSION;
pub use thinned::{Replaced, SegmentInfo, Thinning};
pub use unreadable::{ReadError, Unreadable};
pub use writer::{DICTIONARY_BYTES_MAX, Journal, RECORD_BYTES_MAX};

/// Identity of a journal directory, made at random with it. Offsets mean something only together
/// with their epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// Limits of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this many bytes is finished.
    pub segment_bytes: u64,
}

/// Records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// First offset that is lost.
    pub from_offset: u64,
    /// First offset that can be read again.
    pub to_offset: u64,
    /// Why, in words, with the file.
    pub cause: String,
    /// What has become of them.
    pub kind: DamageKind,
}

impl Damage {
    /// Bytes that are not as they were written.
    pub fn new(from_offset: u64, to_offset: u64, cause: String) -> Self {
        Self { from_offset, to_offset, cause, kind: DamageKind::Damaged }
    }
}

/// What has become of records that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// Their bytes are not as they were written, or gone.
    Damaged,
    /// The disk gives errors in their place, and the reader was told to pass over that. The bytes may
    /// come back.
    Unreadable,
    /// There never were any: a start could not read where the segment ends, and went on behind all it
    /// could hold.
    Unused,
}

impl DamageKind {
    /// Stable word for gap records and reports.
    pub fn code(self) -> &'static str {
        match self {
            Self::Damaged => "damage",
            Self::Unreadable => "unreadable",
            Self::Unused => "unused",
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Damage in the newest segment and in files put aside; a [`Reader`] reports it again, together
    /// with that in older segments, when it gets there.
    pub damages: Vec<Damage>,
    /// Bytes of a write that a crash had cut off; nobody was told that they were stored.
    pub torn_bytes: u64,
    /// Files renamed because they belong to another journal or to a newer version.
    pub put_aside: Vec<String>,
    /// Note of [`Journal::evict_oldest`] when the journal ended soon after it: perhaps nobody has
    /// read what it says.
    pub removal: Option<Vec<u8>>,
    /// The directory held no journal; the epoch is new.
    pub created: bool,
}

/// What was removed to keep the budget. Records behind the committed offset do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    /// First offset that is gone uncommitted.
    pub from_offset: u64,
    /// Oldest offset that is left.
    pub to_offset: u64,
    /// Wall time of the first lost block, microseconds since 1970 UTC.
    pub first_us: i64,
    /// Wall time of the last lost block, microseconds since 1970 UTC.
    pub last_us: i64,
    /// Lost records that could still be read.
    pub records: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// The journal cannot be opened: the directory itself does not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {file}")]
pub struct OpenError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub file: String,
    /// What the system said.
    pub source: io::Error,
}

/// A record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The block in memory is full: sync, then append again.
    #[error("the block in memory is full ({0} bytes): sync first")]
    BlockFull(usize),
    /// It can never be taken.
    #[error("{0} bytes are too long, at most {1} are allowed")]
    TooLong(usize, usize),
}

/// The waiting block is not durable. It stays in memory; call [`Journal::sync`] again later.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The disk is full: free space, then sync again.
    #[error("disk full: cannot {action} {file}: {source}")]
    Full {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else; the segment was given up.
    #[error("cannot {action} {file}: {source}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}
