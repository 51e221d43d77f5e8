//! Small durable state in sled: looked up by key, rarely written.
//!
//! The only place that opens sled. Nothing promised to Kafka lives here: a state that does not
//! open (it may panic or hang) is put aside and made anew, and the box starts all the same.
//!
//! sled 0.34 calls a write durable after `sync_file_range`, which a power cut undoes; so every
//! save ends with an fsync of its files by us.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// Longest time an undamaged state takes to open, generously.
const OPEN_MAX: Duration = Duration::from_secs(20);
/// Memory for sled's cache; our state is a few kilobytes.
const CACHE_BYTES: u64 = 1024 * 1024;

/// The state could not be written. It is tried again at the next save.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// sled said no.
    #[error("state in {directory}: {source}")]
    Database {
        /// Where.
        directory: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
    /// The system said no.
    #[error("state in {directory}: {source}")]
    Disk {
        /// Where.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Did not open, not even anew.
    #[error("state in {directory} cannot be opened: {reason}")]
    Open {
        /// Where.
        directory: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The open state.
pub struct State {
    last_good: sled::Tree,
    /// Short words of other parts, by key.
    notes: sled::Tree,
    database: sled::Db,
    directory: PathBuf,
}

/// An open state and what had to be done for it.
pub struct Opened {
    /// The state.
    pub state: State,
    /// Why the earlier state was put aside, and where to; `None` normally.
    pub put_aside: Option<String>,
}

impl State {
    /// Opens the state in `directory`, or puts a damaged one aside and starts with an empty one.
    ///
    /// # Errors
    /// [`StateError`] when not even an empty state can be made (disk full or read-only).
    pub fn open(directory: &Path) -> Result<Opened, StateError> {
        let reason = match open_apart(directory) {
            Ok(state) => return Ok(Opened { state, put_aside: None }),
            Err(reason) => reason,
        };
        let aside = put_aside(directory, &reason)?;
        let state = open_apart(directory)
            .map_err(|reason| StateError::Open { directory: directory.into(), reason })?;
        Ok(Opened { state, put_aside: Some(format!("{reason}; it was put aside as {}", aside.display())) })
    }

    /// When the device with this path delivered its last value, microseconds since 1970; 0 = unknown.
    pub fn last_good_us(&self, device: &str) -> i64 {
        let stored = self.last_good.get(device).ok().flatten();
        stored.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, i64::from_le_bytes)
    }

    /// Saves the times of last values, durably.
    ///
    /// # Errors
    /// [`StateError`]; what was saved before stays.
    pub fn save_last_good<'a>(
        &self,
        devices: impl Iterator<Item = (&'a str, i64)>,
    ) -> Result<(), StateError> {
        let database = |source| StateError::Database { directory: self.directory.clone(), source };
        for (device, us) in devices {
            self.last_good.insert(device, &us.to_le_bytes()).map_err(database)?;
        }
        self.sync()
    }

    /// What was saved under this key; `None` = nothing, or it cannot be read.
    pub fn note(&self, key: &str) -> Option<Vec<u8>> {
        self.notes.get(key).ok().flatten().map(|bytes| bytes.to_vec())
    }

    /// Saves a few bytes under a key, durably; empty ones remove it.
    ///
    /// # Errors
    /// [`StateError`]; what was saved before stays.
    pub fn save_note(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
        let saved = if value.is_empty() { self.notes.remove(key) } else { self.notes.insert(key, value) };
        saved.map_err(|source| StateError::Database { directory: self.directory.clone(), source })?;
        self.sync()
    }

    fn sync(&self) -> Result<(), StateError> {
        let database = |source| StateError::Database { directory: self.directory.clone(), source };
        self.database.flush().map_err(database)?;
        sync_files(&self.directory)
            .map_err(|source| StateError::Disk { directory: self.directory.clone(), source })
    }
}

/// Moves a state that does not open out of the way and returns where to. One is kept for whoever
/// wants to look at it; a disk that damages it again and again is not filled by that.
fn put_aside(directory: &Path, reason: &str) -> Result<PathBuf, StateError> {
    let aside = directory.with_extension("damaged");
    // What cannot be removed makes the renaming fail, and that is told.
    let _not_there = fs::remove_dir_all(&aside);
    match fs::rename(directory, &aside) {
        Ok(()) => Ok(aside),
        // There is nothing to put aside: the folder itself cannot be made.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StateError::Open { directory: directory.into(), reason: reason.into() })
        }
        Err(source) => Err(StateError::Disk { directory: directory.into(), source }),
    }
}

/// Opens on a thread of its own: sled may panic or hang on damaged files, and neither may keep
/// the box from starting.
fn open_apart(directory: &Path) -> Result<State, String> {
    let (sender, receiver) = mpsc::channel();
    let path = directory.to_owned();
    let worker = std::thread::Builder::new().name("state-open".into()).spawn(move || {
        // The receiver is gone only when the time was up: nobody wants the answer then.
        let _unwanted = sender.send(open_directly(&path));
    });
    worker.map_err(|error| format!("no thread: {error}"))?;
    match receiver.recv_timeout(OPEN_MAX) {
        Ok(opened) => opened,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("no answer within {} s", OPEN_MAX.as_secs())),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("damaged: the database gave up".into()),
    }
}

fn open_directly(directory: &Path) -> Result<State, String> {
    let database = sled::Config::new()
        .path(directory)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .open()
        .map_err(|error| error.to_string())?;
    let last_good = database.open_tree("last_good").map_err(|error| error.to_string())?;
    let notes = database.open_tree("notes").map_err(|error| error.to_string())?;
    // Reads everything once: damage shows here, where it can be put aside.
    for entry in last_good.iter().chain(notes.iter()) {
        entry.map_err(|error| error.to_string())?;
    }
    Ok(State { last_good, notes, database, directory: directory.to_owned() })
}

fn sync_files(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_files(&entry.path())?;
        } else {
            match File::open(entry.path()) {
                Ok(file) => file.sync_all()?,
                // sled removes old snapshots while we look.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        let opened = State::open(&directory).unwrap();
        assert_eq!(opened.state.last_good_us("Werk1/press-3"), 0);
        opened.state.save_last_good([("Werk1/press-3", 42)].into_iter()).unwrap();
        opened.state.save_note("pause", b"anna").unwrap();
        drop(opened);
        let opened = State::open(&directory).unwrap();
        assert_eq!(opened.put_aside, None);
        assert_eq!(opened.state.last_good_us("Werk1/press-3"), 42);
        assert_eq!(opened.state.note("pause").as_deref(), Some(b"anna".as_slice()));
        opened.state.save_note("pause", &[]).unwrap();
        assert_eq!(opened.state.note("pause"), None);
    }

    #[test]
    fn a_damaged_state_never_keeps_the_box_from_starting() {
        for (file, damage) in [
            ("db", vec![0xA5; 4096]),
            ("db", Vec::new()),
            ("conf", b"garbage".to_vec()),
            ("conf", vec![0xFF; 200]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("state");
            let opened = State::open(&directory).unwrap();
            opened.state.save_last_good([("Werk1/press-3", 42)].into_iter()).unwrap();
            drop(opened);
            fs::write(directory.join(file), damage).unwrap();
            let opened = State::open(&directory).unwrap();
            assert!([0, 42].contains(&opened.state.last_good_us("Werk1/press-3")), "never a wrong value");
            opened.state.save_last_good([("Werk1/press-3", 43)].into_iter()).unwrap();
            drop(opened);
            assert_eq!(State::open(&directory).unwrap().state.last_good_us("Werk1/press-3"), 43, "{file}");
        }
    }

    #[test]
    fn only_the_last_damaged_state_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        for _ in 0..3 {
            fs::remove_dir_all(&directory).ok();
            fs::write(&directory, "no folder").unwrap();
            assert!(State::open(&directory).unwrap().put_aside.is_some());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the state and the damaged one");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = State::open(&folder.path().join("file/state")).err().unwrap().to_string();
        assert!(error.contains("cannot be opened") || error.contains("Not a directory"), "{error}");
    }
}
