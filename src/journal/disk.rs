//! The directory a journal lives in, behind a trait so that tests can cut the power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK_BYTES: u64 = 4096;

/// Bytes that ext4 itself writes with a sync, at most (measured: its journal's descriptor, the inode
/// and the commit block; two more where the file gets new blocks).
pub const SYNC_BYTES: u64 = 5 * BLOCK_BYTES;

/// Bytes that a device writes when `length` bytes are written at `at` and synced: the blocks they
/// touch, and what ext4 itself writes.
pub(super) fn touched_bytes(at: u64, length: u64) -> u64 {
    let (held, needed) = (at.div_ceil(BLOCK_BYTES), (at + length).div_ceil(BLOCK_BYTES));
    let of_file_system = if needed > held { SYNC_BYTES } else { SYNC_BYTES - 2 * BLOCK_BYTES };
    (needed - at / BLOCK_BYTES) * BLOCK_BYTES + of_file_system
}

/// One directory. Names are plain file names.
pub trait Disk: Send + Sync {
    /// Names of the files.
    ///
    /// # Errors
    /// Those of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new file for writing.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one; others of the system.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// An existing file. All but [`DiskFile::append`] is used.
    ///
    /// # Errors
    /// Those of the system.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file. Who has it open keeps reading it.
    ///
    /// # Errors
    /// Those of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file, replacing another of the new name.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creating, removing and renaming durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_directory(&self) -> io::Result<()>;

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// Those of the system.
    fn free_bytes(&self) -> io::Result<u64>;

    /// 128 random bits for a new epoch.
    ///
    /// # Errors
    /// Those of the system.
    fn random(&self) -> io::Result<[u8; 16]>;
}

/// One open file.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end. After an error any part of them may be there.
    ///
    /// # Errors
    /// Those of the system, `StorageFull` when the disk is full.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes at `position`; 0 at the end.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes the content durable. After an error the content that was not yet durable is unknown,
    /// and a second try proves nothing.
    ///
    /// # Errors
    /// Those of the system.
    fn sync(&self) -> io::Result<()>;

    /// Writes `bytes`, which the file holds at `position` as far as reading tells, once more. What
    /// an earlier sync has failed to make durable reads well all the same until the power goes, and
    /// is not written by another sync, because the system takes it for written.
    ///
    /// # Errors
    /// Those of the system.
    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// Those of the system.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn length(&self) -> io::Result<u64>;
}

/// A directory of the file system.
pub struct RealDisk {
    directory: PathBuf,
    handle: File,
}

impl RealDisk {
    /// Opens `directory` and creates it when it is missing, durably.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        // The new entry is durable only when the parent is synced. A parent that may not be
        // opened was made by somebody else, who answers for it.
        if let Some(Ok(parent)) = directory.parent().map(File::open) {
            parent.sync_all()?;
        }
        Ok(Self { directory: directory.to_owned(), handle: File::open(directory)? })
    }
}

/// Names of the files in a directory.
pub(super) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // A name that is not UTF-8 is none of ours.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.directory)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).append(true).create_new(true).open(self.directory.join(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.directory.join(name);
        // Reading must go on when the file system has become read-only.
        let file = OpenOptions::new().read(true).write(true).open(&path).or_else(|_| File::open(&path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let system = rustix::fs::fstatvfs(&self.handle)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn rewrite(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
