//! The only place that opens sled.
//!
//! sled 0.34 calls a write durable after `sync_file_range`, which a power cut undoes; so every
//! write ends with an fsync of its files by us (ADR 0008).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest time an undamaged state takes to open, generously.
const OPEN_MAX: Duration = Duration::from_secs(20);
/// What sled says when another process has the database; a child that is just being started may have
/// it for a moment.
const LOCKED: &str = "could not acquire lock";
const LOCKED_MAX: Duration = Duration::from_secs(5);
const LOCKED_RETRY: Duration = Duration::from_millis(50);
/// Memory for sled's cache; our state is a few kilobytes.
const CACHE_BYTES: u64 = 1024 * 1024;

/// All entries, raw.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Why something could not be written.
pub(super) enum Failed {
    Database(sled::Error),
    Disk(io::Error),
}

/// Why a database did not open, in words.
pub(super) enum NotOpen {
    /// The disk is full, read-only or the like, or another process has it: what is there may be sound.
    Disk(String),
    /// Its files are not what they should be.
    Damaged(String),
}

/// Tells a disk that does not work now from files that never will.
fn not_open(error: &sled::Error) -> NotOpen {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
        WouldBlock,
    };
    let reason = error.to_string();
    let sled::Error::Io(io) = error else { return NotOpen::Damaged(reason) };
    let passing = [
        OutOfMemory,
        PermissionDenied,
        QuotaExceeded,
        ReadOnlyFilesystem,
        ResourceBusy,
        StorageFull,
        WouldBlock,
    ];
    // Too many open files, in the process or in the system, have no kind of their own.
    if passing.contains(&io.kind()) || matches!(io.raw_os_error(), Some(23 | 24)) || reason.contains(LOCKED) {
        NotOpen::Disk(reason)
    } else {
        NotOpen::Damaged(reason)
    }
}

/// An open database.
pub(super) struct Database {
    sled: sled::Db,
    directory: PathBuf,
}

impl Database {
    /// Opens the database and reads all of it, on a thread of its own: sled may panic or hang on
    /// damaged files, and neither may keep the box from starting.
    pub(super) fn open(directory: &Path) -> Result<(Self, Entries), NotOpen> {
        let end = Instant::now() + LOCKED_MAX;
        loop {
            match Self::open_apart(directory) {
                Err(NotOpen::Disk(reason)) if reason.contains(LOCKED) && Instant::now() < end => {
                    std::thread::sleep(LOCKED_RETRY);
                }
                opened => return opened,
            }
        }
    }

    fn open_apart(directory: &Path) -> Result<(Self, Entries), NotOpen> {
        let (sender, receiver) = mpsc::channel();
        let path = directory.to_owned();
        let worker = std::thread::Builder::new().name("state-open".into()).spawn(move || {
            // The receiver is gone only when the time was up: nobody wants the answer then.
            let _unwanted = sender.send(Self::open_directly(&path));
        });
        worker.map_err(|error| NotOpen::Disk(format!("no thread: {error}")))?;
        match receiver.recv_timeout(OPEN_MAX) {
            Ok(opened) => opened,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(NotOpen::Damaged(format!("no answer within {} s", OPEN_MAX.as_secs())))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(NotOpen::Damaged("the database gave up".to_owned()))
            }
        }
    }

    fn open_directly(directory: &Path) -> Result<(Self, Entries), NotOpen> {
        let sled = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|error| not_open(&error))?;
        let mut entries = Entries::new();
        for entry in &*sled {
            let (key, value) = entry.map_err(|error| not_open(&error))?;
            entries.insert(key.to_vec(), value.to_vec());
        }
        let database = Self { sled, directory: directory.to_owned() };
        // Also makes a new directory's own entry durable.
        database.sync_files().map_err(|error| NotOpen::Disk(error.to_string()))?;
        Ok((database, entries))
    }

    /// Writes all of `entries` or nothing, durably.
    pub(super) fn write<'a>(
        &self,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), Failed> {
        let mut batch = sled::Batch::default();
        entries.for_each(|(key, value)| batch.insert(key, value));
        self.sled.apply_batch(batch).map_err(Failed::Database)?;
        self.sled.flush().map_err(Failed::Database)?;
        self.sync_files().map_err(Failed::Disk)
    }

    fn sync_files(&self) -> io::Result<()> {
        sync_below(&self.directory)?;
        self.directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }
}

fn sync_below(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        } else {
            match File::open(entry.path()) {
                Ok(file) => file.sync_all()?,
                // sled removes old snapshots while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    File::open(directory)?.sync_all()
}
