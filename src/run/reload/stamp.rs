//! Noticing that files were saved.
//!
//! Looked at by their times and sizes, not by notifications of the system: those are lost on network
//! file systems and when a queue is full, and mean something else for every way in which editors
//! write. A look costs a few microseconds for each file.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Paths;

/// Entries of a folder that are looked at; no more are read, either.
const ENTRIES_MAX: usize = 100_000;
/// Times of files go by the tick of the system, which may lie so far back. Microseconds.
const TIME_STEP_US: i64 = 50_000;

/// What can be told of all files without reading them. Equal when none was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp(BTreeMap<PathBuf, Option<File>>);

/// A new file of the same name (rename, link) has another number, one that was written another time
/// or length, one whose times were set back (`cp -p`, `tar`) another time of change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    place: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at `forebay.toml` and at the `*.toml` of the folders.
    pub fn take(config: &Path, paths: &Paths) -> Self {
        let mut stamp = Self::default();
        stamp.add(config.to_owned());
        for folder in paths.profiles.iter().chain(&paths.devices) {
            // A folder that cannot be read any more is a change, too.
            let Ok(entries) = std::fs::read_dir(folder) else {
                stamp.0.insert(folder.clone(), None);
                continue;
            };
            for entry in entries.take(ENTRIES_MAX).flatten() {
                let name = entry.file_name();
                let name = name.as_encoded_bytes();
                if name.ends_with(b".toml") && !name.starts_with(b".") {
                    stamp.add(entry.path());
                }
            }
        }
        stamp
    }

    /// Whether all files are as they were at `us`, microseconds since 1970 UTC.
    pub fn is_from_before(&self, us: i64) -> bool {
        let before = (us - TIME_STEP_US).div_euclid(1_000_000);
        let rest_ns = (us - TIME_STEP_US).rem_euclid(1_000_000) * 1000;
        self.0.values().flatten().all(|file| file.changed < (before, rest_ns))
    }

    fn add(&mut self, path: PathBuf) {
        // Through links: what they lead to counts.
        let file = std::fs::metadata(&path).ok().map(|it| File {
            place: (it.dev(), it.ino()),
            size: it.size(),
            written: (it.mtime(), it.mtime_nsec()),
            changed: (it.ctime(), it.ctime_nsec()),
        });
        self.0.insert(path, file);
    }
}

/// Tells when something was saved: not while it is still being written.
pub struct Saves {
    /// What the running configuration was read from.
    read: Stamp,
    last: Stamp,
}

impl Saves {
    /// The running configuration was read when the files were so.
    pub fn new(read: Stamp) -> Self {
        Self { last: read.clone(), read }
    }

    /// What was found in a further look. True when the files are others than those that were read
    /// last, and the same as at the look before: whoever writes them has finished.
    pub fn look(&mut self, now: Stamp) -> bool {
        let settled = now == self.last;
        self.last = now;
        settled && self.last != self.read
    }

    /// They were read while they were so.
    pub fn read(&mut self, stamp: Stamp) {
        self.read = stamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_saving_is_noticed_and_only_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("devices");
        std::fs::create_dir(&devices).unwrap();
        let (config, plant) = (folder.path().join("forebay.toml"), devices.join("plant.toml"));
        std::fs::write(&config, "1").unwrap();
        std::fs::write(&plant, "1").unwrap();
        let paths = Paths {
            profiles: vec![],
            devices: vec![devices.clone()],
            models: vec![],
            state: PathBuf::new(),
            credentials: None,
        };
        let take = || Stamp::take(&config, &paths);
        let mut saves = Saves::new(take());
        assert!(!saves.look(take()) && !saves.look(take()));
        let mut after = |what: &str, write: &dyn Fn()| {
            write();
            assert!(!saves.look(take()), "{what}: it may still be written");
            assert!(saves.look(take()), "{what} is not noticed");
            assert!(saves.look(take()), "{what}: until somebody has read it");
            saves.read(take());
            assert!(!saves.look(take()), "{what} is read");
        };
        after("writing in place", &|| std::fs::write(&plant, "12").unwrap());
        after("a rename over it", &|| {
            std::fs::write(devices.join(".plant.toml.swp"), "34").unwrap();
            std::fs::rename(devices.join(".plant.toml.swp"), &plant).unwrap();
        });
        after("a new file", &|| std::fs::write(devices.join("new.toml"), "").unwrap());
        after("a file less", &|| std::fs::remove_file(devices.join("new.toml")).unwrap());
        after("a link", &|| {
            std::fs::rename(&plant, devices.join("real")).unwrap();
            std::os::unix::fs::symlink("real", &plant).unwrap();
        });
        after("what a link leads to", &|| std::fs::write(devices.join("real"), "123").unwrap());
        after("forebay.toml", &|| std::fs::write(&config, "123").unwrap());
        after("the folder", &|| std::fs::rename(&devices, folder.path().join("away")).unwrap());
    }

    #[test]
    fn what_editors_leave_beside_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            profiles: vec![folder.path().to_owned()],
            devices: vec![],
            models: vec![],
            state: PathBuf::new(),
            credentials: None,
        };
        let config = folder.path().join("forebay.toml");
        let before = Stamp::take(&config, &paths);
        for name in ["plant.toml~", ".plant.toml.swp", ".#plant.toml", "4913", "plant.toml.bak"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        assert_eq!(Stamp::take(&config, &paths), before);
    }
}
