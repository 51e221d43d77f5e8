//! A portable backlog: what a box has not sent, on a stick, for another box to send.
//!
//! One folder holds one lane: `manifest.json` and segment files as they are in the journal. The
//! box that imports it sends it under the name of the box it comes from, with that one's
//! transactional id and checkpoint. So whoever comes second, the other box or the first one after
//! its repair, finds the checkpoint and sends nothing twice.

mod manifest;
mod pack;
mod ready;
mod send;
mod source;
mod state;
mod unpack;

use std::path::PathBuf;

pub use manifest::{FILE as MANIFEST_FILE, FileEntry, FileSum, Manifest, ManifestError};
pub(crate) use pack::sync_folder;
pub use pack::{Identity, PackError, pack};
pub use send::Imports;
pub use source::BacklogSource;
pub use state::{Finished, Import, ImportState};
pub use unpack::{UnpackError, Unpacked, unpack};

/// Folder below `paths.state` in which imported backlogs wait.
pub const IMPORT_FOLDER: &str = "import";

/// A file of a backlog that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub error: std::io::Error,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn of(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self { action, path, error }
    }

    /// True when the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(
            self.error.kind(),
            std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge
        )
    }
}
