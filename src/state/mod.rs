//! Small durable state in sled: looked up by key, rarely written.
//!
//! Nothing promised to Kafka lives here: a state that does not open (it may panic or hang), or that
//! is not what was saved, is put aside and made anew, and the box starts all the same. All of it is
//! held in memory, so that reading never fails and never waits; a save that fails is made up for by
//! the next one.

mod database;
mod seal;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use database::{Database, Entries, Failed, NotOpen};

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

/// What a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Device path → when it delivered its last value.
    LastGood,
    /// What the replicators remember: who has paused them, how far Kafka is.
    Replication,
    /// The registry of models: which version is active, and the like.
    Models,
    /// What the models have found: episodes and past scores.
    Diary,
    /// Who may press buttons on the page.
    People,
}

impl Table {
    fn key(self, name: &str) -> Vec<u8> {
        let table = match self {
            Self::LastGood => "last-good",
            Self::Replication => "replication",
            Self::Models => "models",
            Self::Diary => "diary",
            Self::People => "people",
        };
        [table.as_bytes(), b"\0", name.as_bytes()].concat()
    }
}

/// The open state.
pub struct State {
    directory: PathBuf,
    content: Mutex<Content>,
}

struct Content {
    entries: Entries,
    /// Number of the last save.
    number: u64,
    /// `None` after a failed save: what it has in memory may differ from the disk.
    database: Option<Database>,
}

/// An open state and what had to be done for it.
pub struct Opened {
    /// The state.
    pub state: State,
    /// Why the earlier state was put aside, and where to; `None` normally.
    pub put_aside: Option<String>,
}

impl State {
    /// Opens the state in `directory`, or puts a damaged one aside and starts anew, with what of it is
    /// certainly right.
    ///
    /// # Errors
    /// [`StateError`] when not even an empty state can be made (disk full or read-only).
    pub fn open(directory: &Path) -> Result<Opened, StateError> {
        let (kept, number, reason) = match Database::open(directory) {
            Ok((database, stored)) => {
                let seal::Checked { entries, number, fault } = seal::check(&stored, directory);
                let Some(fault) = fault else {
                    let content = Content { entries, number, database: Some(database) };
                    return Ok(Opened { state: Self::new(directory, content), put_aside: None });
                };
                (entries, number, fault)
            }
            Err(NotOpen::Damaged(reason)) => (Entries::new(), 0, reason),
            Err(NotOpen::Disk(reason)) => {
                return Err(StateError::Open { directory: directory.into(), reason });
            }
        };
        let aside = put_aside(directory, &reason)?;
        let (database, _) = open_database(directory)?;
        let state = Self::new(directory, Content { entries: kept, number, database: Some(database) });
        state.save_all()?;
        Ok(Opened { state, put_aside: Some(format!("{reason}; it was put aside as {}", aside.display())) })
    }

    /// What is saved in `directory`, for who only looks while no process has it open: a copy is
    /// opened, so that no byte of it changes. `None` when there is none, or when it is damaged.
    pub fn peek(directory: &Path) -> Option<Self> {
        let copy = Copied::of(directory).ok()?;
        let (database, stored) = Database::open(&copy.0).ok()?;
        let seal::Checked { entries, number, fault } = seal::check(&stored, directory);
        drop(database);
        fault.is_none().then(|| Self::new(directory, Content { entries, number, database: None }))
    }

    fn new(directory: &Path, content: Content) -> Self {
        Self { directory: directory.to_owned(), content: Mutex::new(content) }
    }

    /// What is saved under a key.
    pub fn get(&self, table: Table, name: &str) -> Option<Vec<u8>> {
        self.lock().entries.get(&table.key(name)).cloned()
    }

    /// All names of a table with what is saved under them, in order; empty values stand for nothing.
    pub fn list(&self, table: Table) -> Vec<(String, Vec<u8>)> {
        let beginning = table.key("");
        let content = self.lock();
        let of_table = content.entries.range(beginning.clone()..);
        let of_table = of_table.take_while(|(key, _)| key.starts_with(&beginning));
        let named = of_table.filter(|(_, value)| !value.is_empty()).filter_map(|(key, value)| {
            let name = String::from_utf8(key.get(beginning.len()..)?.to_vec()).ok()?;
            Some((name, value.clone()))
        });
        named.collect()
    }

    /// Saves values, all of them or none, durably. What is already so costs nothing.
    ///
    /// # Errors
    /// [`StateError`]; what was saved before stays on the disk, and the next save brings these too.
    pub fn save<'a>(
        &self,
        table: Table,
        values: impl Iterator<Item = (&'a str, Vec<u8>)>,
    ) -> Result<(), StateError> {
        self.save_or(table, values, false)
    }

    /// As [`State::save`], for what somebody was told that it is not saved: the next save does not bring
    /// it. Until that one nobody knows which of the two a crash would leave.
    ///
    /// # Errors
    /// [`StateError`]; what was saved before counts on.
    pub fn save_or_undo<'a>(
        &self,
        table: Table,
        values: impl Iterator<Item = (&'a str, Vec<u8>)>,
    ) -> Result<(), StateError> {
        self.save_or(table, values, true)
    }

    fn save_or<'a>(
        &self,
        table: Table,
        values: impl Iterator<Item = (&'a str, Vec<u8>)>,
        undo: bool,
    ) -> Result<(), StateError> {
        let mut content = self.lock();
        let (mut changed, mut before) = (Entries::new(), Entries::new());
        for (name, value) in values {
            let key = table.key(name);
            if content.entries.get(&key) != Some(&value) {
                let old = content.entries.insert(key.clone(), value.clone());
                // What was not there is nothing from now on: it may have come to the disk.
                before.entry(key.clone()).or_insert(old.unwrap_or_default());
                changed.insert(key, value);
            }
        }
        let saved = match content.database.take() {
            Some(database) if changed.is_empty() => {
                content.database = Some(database);
                Ok(())
            }
            Some(database) => self.write(&mut content, database, &changed),
            None => self.write_anew(&mut content),
        };
        if undo && saved.is_err() {
            content.entries.extend(before);
        }
        saved
    }

    fn save_all(&self) -> Result<(), StateError> {
        self.write_anew(&mut self.lock())
    }

    /// Writes everything: after a failed save nobody knows what is on the disk.
    fn write_anew(&self, content: &mut Content) -> Result<(), StateError> {
        let database = match content.database.take() {
            Some(database) => database,
            None => open_database(&self.directory)?.0,
        };
        let all = content.entries.clone();
        self.write(content, database, &all)
    }

    fn write(&self, content: &mut Content, database: Database, changed: &Entries) -> Result<(), StateError> {
        let number = content.number + 1;
        let mut stored: Entries =
            changed.iter().map(|(key, value)| (key.clone(), seal::sealed(key, value))).collect();
        let seal = seal::seal(number, &content.entries);
        stored.insert(seal::SEAL_KEY.to_vec(), seal::sealed(seal::SEAL_KEY, &seal));
        let directory = || self.directory.clone();
        database.write(stored.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))).map_err(
            |failed| match failed {
                Failed::Database(source) => StateError::Database { directory: directory(), source },
                Failed::Disk(source) => StateError::Disk { directory: directory(), source },
            },
        )?;
        content.number = number;
        seal::write_witness(&self.directory, number)
            .map_err(|source| StateError::Disk { directory: directory(), source })?;
        content.database = Some(database);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // Nobody panics while holding it half changed.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the device with this path delivered its last value, microseconds since 1970; 0 = unknown.
    pub fn last_good_us(&self, device: &str) -> i64 {
        let stored = self.get(Table::LastGood, device);
        stored.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes)
    }

    /// Saves the times of last values, durably.
    ///
    /// # Errors
    /// Those of [`State::save`].
    pub fn save_last_good<'a>(
        &self,
        devices: impl Iterator<Item = (&'a str, i64)>,
    ) -> Result<(), StateError> {
        self.save(Table::LastGood, devices.map(|(device, us)| (device, us.to_le_bytes().to_vec())))
    }
}

/// A copy of a folder among the temporary files, gone when it is dropped.
struct Copied(PathBuf);

impl Copied {
    fn of(directory: &Path) -> std::io::Result<Self> {
        let name = format!("forebay-state-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let copied = Self(std::env::temp_dir().join(name));
        copy_into(directory, &copied.0)?;
        Ok(copied)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // It may not have come to be.
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn copy_into(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_into(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn open_database(directory: &Path) -> Result<(Database, Entries), StateError> {
    Database::open(directory).map_err(|error| {
        let (NotOpen::Damaged(reason) | NotOpen::Disk(reason)) = error;
        StateError::Open { directory: directory.into(), reason }
    })
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
        drop(opened);
        let opened = State::open(&directory).unwrap();
        assert_eq!(opened.put_aside, None);
        assert_eq!(opened.state.last_good_us("Werk1/press-3"), 42);
    }

    #[test]
    fn a_table_lists_what_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).unwrap().state;
        state.save_last_good([("Werk1/press-3", 42)].into_iter()).unwrap();
        let values = [("ben", b"2".to_vec()), ("anna", b"1".to_vec()), ("carl", Vec::new())];
        state.save(Table::People, values.into_iter()).unwrap();
        let listed = state.list(Table::People);
        assert_eq!(listed, [("anna".to_owned(), b"1".to_vec()), ("ben".to_owned(), b"2".to_vec())]);
        assert_eq!(state.list(Table::Diary), []);
    }

    #[test]
    fn what_failed_comes_with_the_next_save_or_was_undone() {
        for undone in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("state");
            let state = State::open(&directory).unwrap().state;
            let value = |value: &str| value.as_bytes().to_vec();
            state.save(Table::People, [("anna", value("1"))].into_iter()).unwrap();
            // The folder is not one any more: nothing can be saved.
            fs::rename(&directory, folder.path().join("away")).unwrap();
            fs::write(&directory, "").unwrap();
            let changes = [("anna", value("2")), ("ben", value("2")), ("ben", value("3"))].into_iter();
            let failed = match undone {
                true => state.save_or_undo(Table::People, changes),
                false => state.save(Table::People, changes),
            };
            failed.unwrap_err();
            fs::remove_file(&directory).unwrap();
            fs::rename(folder.path().join("away"), &directory).unwrap();
            state.save_last_good([("Werk1/press-3", 42)].into_iter()).unwrap();
            drop(state);
            let opened = State::open(&directory).unwrap();
            assert_eq!(opened.put_aside, None);
            let expected: &[(&str, &str)] =
                if undone { &[("anna", "1")] } else { &[("anna", "2"), ("ben", "3")] };
            let expected: Vec<_> =
                expected.iter().map(|(name, it)| ((*name).to_owned(), value(it))).collect();
            assert_eq!(opened.state.list(Table::People), expected);
            assert_eq!(opened.state.last_good_us("Werk1/press-3"), 42);
        }
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
