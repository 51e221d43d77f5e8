//! The place of an export: whole or not there at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::bytes::bytes;
use crate::backlog::FileError;

/// A folder that gets its name when everything in it is synced, and goes when it does not come to
/// that.
pub struct Target {
    temporary: PathBuf,
    finished: PathBuf,
    is_finished: bool,
}

impl Target {
    /// A new folder `name` below `parent`.
    ///
    /// # Errors
    /// When `parent` is no folder, or has something of this name.
    pub fn create(parent: &Path, name: &str) -> anyhow::Result<Self> {
        if !parent.is_dir() {
            bail!("{} is no folder: is the stick mounted?", parent.display());
        }
        let finished = parent.join(name);
        if finished.exists() {
            bail!("{} exists already: remove it, or choose another folder", finished.display());
        }
        let temporary = parent.join(format!("{name}.partial"));
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", temporary.display()));
            }
            _ => {}
        }
        fs::create_dir(&temporary).with_context(|| format!("cannot write to {}", parent.display()))?;
        Ok(Self { temporary, finished, is_finished: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Refuses before anything is written when there is no room for `needed` bytes.
    ///
    /// # Errors
    /// That, in words.
    pub fn check_room(&self, needed: u64) -> anyhow::Result<()> {
        let system = rustix::fs::statvfs(&self.temporary).context("cannot ask for the free space")?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < needed {
            let folder = self.finished.parent().unwrap_or(&self.finished).display();
            bail!(
                "{folder} is too full: {} are needed, {} are free. Nothing was written",
                bytes(needed),
                bytes(free)
            );
        }
        Ok(())
    }

    /// Gives it its name, durably.
    ///
    /// # Errors
    /// Those of the system.
    pub fn finish(mut self) -> anyhow::Result<PathBuf> {
        let parent = self.finished.parent().unwrap_or(&self.finished).to_owned();
        crate::backlog::sync_folder(&self.temporary)?;
        fs::rename(&self.temporary, &self.finished)
            .with_context(|| format!("cannot rename {}", self.temporary.display()))?;
        self.is_finished = true;
        crate::backlog::sync_folder(&parent)?;
        Ok(self.finished.clone())
    }

    /// The error of a full stick in words; others as they are.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let full = error.chain().any(|cause| {
            let of_file = cause.downcast_ref::<FileError>().is_some_and(FileError::is_full);
            let of_system = cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
                matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            });
            of_file || of_system
        });
        if !full {
            return error;
        }
        let folder = self.finished.parent().unwrap_or(&self.finished).display();
        anyhow::anyhow!(
            "{folder} is full. What was written of this export was removed again; use a larger stick, or export \
             less with --from and --until"
        )
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_finished {
            // A stick that was pulled out keeps its half; it has a name that nothing reads.
            let _pulled_out = fs::remove_dir_all(&self.temporary);
        }
    }
}
