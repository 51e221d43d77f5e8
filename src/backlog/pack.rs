//! From a journal to a backlog.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use super::manifest::{self, FileEntry, FileSum, Manifest};
use super::{FileError, ManifestError};
use crate::journal::{FilesError, JournalFiles};

/// Read and written at once.
const PIECE_BYTES: usize = 256 << 10;

/// Whose data it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `edge.site`.
    pub site: String,
    /// `edge.id`.
    pub edge: String,
    /// `telemetry` or `events`.
    pub lane: String,
    /// `kafka.topic_prefix`.
    pub topic_prefix: String,
}

/// A backlog was not made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] FilesError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was made is no backlog: a fault inside Forebay.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Copies the segments with records from `from` on into `folder`, which must exist and be empty,
/// and writes the manifest last; everything is synced. `None` when there is nothing to copy.
/// `progress` is told the bytes of each piece.
///
/// # Errors
/// [`PackError`]; what was written so far is left to the caller.
pub fn pack(
    files: &JournalFiles,
    identity: &Identity,
    from: u64,
    folder: &Path,
    mut progress: impl FnMut(u64),
) -> Result<Option<Manifest>, PackError> {
    let (from, to) = (from.max(files.first_offset()), files.next_offset());
    let segments: Vec<_> = files.segments().into_iter().filter(|segment| segment.end > from).collect();
    if from >= to || segments.is_empty() {
        return Ok(None);
    }
    let Identity { site, edge, lane, topic_prefix } = identity;
    let mut manifest = Manifest::new(site, edge, lane, &files.epoch().to_string(), (from, to));
    manifest.topic_prefix = Some(topic_prefix.clone());
    for segment in &segments {
        let path = files.directory().join(&segment.file);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Removed by the running box since it was listed: sent, or evicted, which it has told.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                manifest.from = manifest.from.max(segment.end);
                continue;
            }
            Err(error) => return Err(FileError::of("open", path)(error).into()),
        };
        let target = folder.join(&segment.file);
        let (bytes, sha256) = copy(file.take(segment.bytes), &path, &target, &mut progress)?;
        manifest.files.push(FileEntry { name: segment.file.clone(), bytes, sha256 });
    }
    if manifest.files.is_empty() || manifest.from >= to {
        return Ok(None);
    }
    let path = folder.join(manifest::FILE);
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let mut file = File::create_new(&path).map_err(FileError::of("create", &path))?;
    file.write_all(text.as_bytes()).map_err(FileError::of("write", &path))?;
    file.sync_all().map_err(FileError::of("sync", &path))?;
    sync_folder(folder)?;
    // Read back as the other box will do it.
    Ok(Some(Manifest::read(folder)?))
}

/// Copies a file, synced; its length and checksum.
pub(super) fn copy(
    mut from: impl Read,
    from_path: &Path,
    to: &Path,
    progress: &mut impl FnMut(u64),
) -> Result<(u64, String), FileError> {
    let mut file = File::create_new(to).map_err(FileError::of("create", to))?;
    let mut piece = vec![0; PIECE_BYTES];
    let (mut bytes, mut sum) = (0, FileSum::default());
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FileError::of("read", from_path)(error)),
        };
        sum.update(&piece[..read]);
        file.write_all(&piece[..read]).map_err(FileError::of("write", to))?;
        bytes += read as u64;
        progress(read as u64);
    }
    file.sync_all().map_err(FileError::of("sync", to))?;
    Ok((bytes, sum.finish()))
}

/// Makes the entries of a folder durable; some file systems of sticks know no such thing.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), FileError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => {
            Err(FileError::of("sync", folder)(error))
        }
        _ => Ok(()),
    }
}
