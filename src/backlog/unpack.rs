//! From a stick into the folder in which backlogs wait to be sent.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use super::manifest::{self, Manifest};
use super::pack::{copy, sync_folder};
use super::send::ACCEPT_GAP_FILE;
use super::{FileError, ManifestError};
use crate::journal::{FilesError, JournalFiles};

/// A backlog was not taken; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The folder is no backlog.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what was exported.
    #[error("{file} is damaged: {reason}. Export the backlog again, or copy it anew")]
    Damaged {
        /// Which.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The segments are not those of the manifest.
    #[error("the segments belong to another journal than {0} says")]
    OtherJournal(&'static str),
    /// The segments cannot be read.
    #[error(transparent)]
    Journal(#[from] FilesError),
}

/// What became of a backlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpacked {
    /// It waits to be sent.
    Taken(Manifest),
    /// It was imported before and still waits.
    WaitsAlready(Manifest),
}

/// Copies the backlog in `folder` below `imports`, checking every file against its checksum.
/// With `accept_gap` it is sent although records before it are missing. `progress` is told the
/// bytes of each piece.
///
/// # Errors
/// [`UnpackError`].
pub fn unpack(
    folder: &Path,
    imports: &Path,
    accept_gap: bool,
    mut progress: impl FnMut(u64),
) -> Result<Unpacked, UnpackError> {
    let manifest = Manifest::read(folder)?;
    let name = manifest.folder_name();
    let finished = imports.join(&name);
    if finished.exists() {
        if accept_gap {
            mark(&finished, imports)?;
        }
        return Ok(Unpacked::WaitsAlready(manifest));
    }
    fs::create_dir_all(imports).map_err(FileError::of("create", imports))?;
    belong_with(imports, imports.parent().unwrap_or(imports))?;
    // Two imports at once must not meet in one folder.
    let temporary = imports.join(format!("{name}.{}.tmp", std::process::id()));
    let made = fill(&manifest, folder, &temporary, &mut progress).and_then(|()| {
        if accept_gap {
            mark(&temporary, imports)?;
        }
        hand_over(&temporary, imports)?;
        // Nothing is lost by coming second: both hold the same.
        match fs::rename(&temporary, &finished) {
            Err(_) if finished.exists() => Ok(Unpacked::WaitsAlready(manifest.clone())),
            Err(error) => Err(FileError::of("rename", &temporary)(error).into()),
            Ok(()) => {
                sync_folder(imports)?;
                Ok(Unpacked::Taken(manifest.clone()))
            }
        }
    });
    if !matches!(made, Ok(Unpacked::Taken(_))) {
        let _left_for_the_next_start = fs::remove_dir_all(&temporary);
    }
    made
}

/// Records before the backlog may stay missing.
fn mark(folder: &Path, imports: &Path) -> Result<(), FileError> {
    let path = folder.join(ACCEPT_GAP_FILE);
    fs::write(&path, b"").map_err(FileError::of("create", &path))?;
    belong_with(&path, imports)?;
    sync_folder(folder)
}

/// Gives a folder and its files to whom the box's own files belong: the operator who imports may
/// be root, and the box must be able to remove them.
fn hand_over(folder: &Path, owner: &Path) -> Result<(), FileError> {
    let failed = || FileError::of("read", folder);
    for entry in fs::read_dir(folder).map_err(failed())? {
        belong_with(&entry.map_err(failed())?.path(), owner)?;
    }
    belong_with(folder, owner)
}

fn belong_with(path: &Path, owner: &Path) -> Result<(), FileError> {
    let metadata = |path: &Path| path.metadata().map_err(FileError::of("look at", path));
    let (own, wanted) = (metadata(path)?, metadata(owner)?);
    if (own.uid(), own.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    chown(path, Some(wanted.uid()), Some(wanted.gid())).map_err(FileError::of("hand over", path))
}

fn fill(
    manifest: &Manifest,
    from: &Path,
    to: &Path,
    progress: &mut impl FnMut(u64),
) -> Result<(), UnpackError> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(FileError::of("remove", to)(error).into());
        }
        _ => {}
    }
    fs::create_dir(to).map_err(FileError::of("create", to))?;
    for entry in &manifest.files {
        let path = from.join(&entry.name);
        let file = File::open(&path).map_err(FileError::of("open", &path))?;
        let damaged = |reason: String| UnpackError::Damaged { file: path.display().to_string(), reason };
        let (bytes, sha256) = copy(file.take(entry.bytes + 1), &path, &to.join(&entry.name), progress)?;
        if bytes != entry.bytes {
            return Err(damaged(format!("it does not have the {} bytes of the export", entry.bytes)));
        }
        if sha256 != entry.sha256 {
            return Err(damaged("its checksum is not that of the export".into()));
        }
    }
    if JournalFiles::open(to, Some(manifest.to))?.epoch().to_string() != manifest.epoch {
        return Err(UnpackError::OtherJournal(manifest::FILE));
    }
    let path = to.join(manifest::FILE);
    let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    fs::write(&path, text).map_err(FileError::of("write", &path))?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(FileError::of("sync", &path))?;
    Ok(sync_folder(to)?)
}
