//! What the disk does not give: an error in the place of bytes.
//!
//! That is no damage. A failing card or a loose cable answers with errors for a while, and the same
//! bytes may be read in a minute. So an error of the disk stops whoever reads, at the place where it
//! came; only who says so ([`super::Reader::pass_over`]) goes on behind it.

use std::fmt;
use std::io;

/// Errors of the system that say nothing of a file, by their numbers: too many open files, in the
/// system or in the process.
const TOO_MANY_OPEN: [i32; 2] = [23, 24];

/// What the system said instead of giving bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadError {
    kind: io::ErrorKind,
    number: Option<i32>,
}

impl ReadError {
    /// Whether it says nothing of the file: the box is short of memory or of open files. Waiting is
    /// all that helps, and no record is lost by it, however long it takes.
    pub fn is_passing(&self) -> bool {
        use io::ErrorKind::{Interrupted, OutOfMemory, ResourceBusy, WouldBlock};
        matches!(self.kind, Interrupted | OutOfMemory | ResourceBusy | WouldBlock)
            || self.number.is_some_and(|number| TOO_MANY_OPEN.contains(&number))
    }

    /// Whether there is no such file, or something else of its name: no second try will find it.
    pub(super) fn is_no_file(&self) -> bool {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        matches!(self.kind, NotFound | IsADirectory | NotADirectory)
    }
}

impl From<&io::Error> for ReadError {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), number: error.raw_os_error() }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            // Its words, such as "Input/output error"; most of them have no kind of their own.
            Some(number) => io::Error::from_raw_os_error(number).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

/// Records that the disk does not give now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The first of them that is wanted.
    pub from_offset: u64,
    /// In this file.
    pub file: String,
    /// In the frame that begins at this byte; 0 when the file cannot even be opened.
    pub position: u64,
    /// What the system said.
    pub error: ReadError,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of {}", self.error, self.position, self.file)
    }
}
