//! The place of an export: whole or not there at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::amount::bytes;
use crate::backlog::FileError;

/// A folder that gets its name when everything in it is synced, and goes when it does not come to
/// that.
pub struct Target {
    temporary: PathBuf,
    finished: PathBuf,
    is_finished: bool,
}

impl Target {
    /// A new folder `name` below `parent`; with a number behind it when that is taken, also by an
    /// export that is being written.
    ///
    /// # Errors
    /// When `parent` is no folder, or cannot be written to.
    pub fn create(parent: &Path, name: &str) -> anyhow::Result<Self> {
        if !parent.is_dir() {
            bail!("{} is no folder: is the stick mounted?", parent.display());
        }
        let mut number = 1;
        loop {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let (finished, temporary) = (parent.join(&name), parent.join(format!("{name}.partial")));
            match fs::create_dir(&temporary) {
                Ok(()) => {
                    let target = Self { temporary, finished, is_finished: false };
                    // Only now nobody else can finish one of this name.
                    if !target.finished.exists() {
                        return Ok(target);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot write to {}", parent.display()));
                }
            }
            number += 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_of_one_second_do_not_get_in_each_others_way() {
        let stick = tempfile::tempdir().unwrap();
        let first = Target::create(stick.path(), "data").unwrap();
        fs::write(first.path().join("mine"), "1").unwrap();
        let second = Target::create(stick.path(), "data").unwrap();
        fs::write(second.path().join("mine"), "2").unwrap();
        let first = first.finish().unwrap();
        let third = Target::create(stick.path(), "data").unwrap();
        let (second, third) = (second.finish().unwrap(), third.finish().unwrap());
        let names =
            [&first, &second, &third].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        assert_eq!(names, ["data", "data-2", "data-3"]);
        assert_eq!(fs::read_to_string(first.join("mine")).unwrap(), "1");
        assert_eq!(fs::read_to_string(second.join("mine")).unwrap(), "2");
        assert_eq!(fs::read_dir(stick.path()).unwrap().count(), 3, "nothing half is left");
    }
}
