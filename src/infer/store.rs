//! The store: versions of models on the box's disk, whole or not there at all.
//!
//! `<paths.state>/models/<model>/<version>/`. A version is written beside, synced, and renamed into
//! its place; a kill at any moment leaves it whole, or a folder that the next start removes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::folder::{Fault, Folder};
use super::package::{FILES, Identity, Package, PackageError, SIGNATURE, is_model, is_version};

/// Name of the store's folder in `paths.state`.
pub const FOLDER: &str = "models";
/// What is being written.
const NEW: &str = ".new-";
/// What is being removed.
const OLD: &str = ".old-";
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1024;

/// Why the store does not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is no model.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Its files have faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<Fault>),
    /// Another model has this name and version.
    #[error("{model} {version} is in the store already, with other files: give the new one another version")]
    Exists {
        /// Its name.
        model: String,
        /// Its version.
        version: String,
    },
    /// There is no such version.
    #[error(
        "there is no version {version} of {model} in the store: `forebay model list` shows what is there"
    )]
    Unknown {
        /// Name asked for.
        model: String,
        /// Version asked for.
        version: String,
    },
    /// The disk said no.
    #[error("the store of models: cannot {action} {path}: {error}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A version that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Name and version.
    pub identity: Identity,
    /// When it was put there, microseconds since 1970 UTC.
    pub stored_us: i64,
}

/// Versions of models on the disk.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store of the box with this `paths.state`. Nothing is read or made yet.
    pub fn new(state: &Path) -> Self {
        Self { root: state.join(FOLDER) }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes its folder.
    pub(super) fn make_root(&self) -> Result<(), StoreError> {
        make_folder(&self.root)
    }

    /// Removes what a kill has left half-done. Called by who owns the store, before anything else.
    ///
    /// # Errors
    /// When the disk does not allow it; what is left is in nobody's way.
    pub fn clean(&self) -> Result<(), StoreError> {
        for name in self.names(&self.root) {
            if name.starts_with(NEW) || name.starts_with(OLD) {
                let path = self.root.join(name);
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(disk("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Puts a model into the store. Who has this very model already is told its name as well.
    ///
    /// # Errors
    /// [`StoreError`]; the store is as it was.
    pub fn put(&self, package: &Package) -> Result<Identity, StoreError> {
        self.stage(package)?.keep()
    }

    /// Writes a model beside the store, so that it can be looked at and tried before it counts.
    ///
    /// # Errors
    /// [`StoreError`]; the store is as it was.
    pub fn stage(&self, package: &Package) -> Result<Staged<'_>, StoreError> {
        let identity = package.identity()?;
        let path = self.root.join(format!("{NEW}{:016x}", fastrand::u64(..)));
        make_folder(&self.root)?;
        make_folder(&path)?;
        let staged = Staged { store: self, digest: package.digest(&identity), identity, path };
        for (name, bytes) in package.files() {
            write_synced(&staged.path.join(name), bytes, 0o600)?;
        }
        sync(&staged.path)?;
        let folder = Folder::read(&staged.path);
        if let Err(faults) = &folder.content {
            let shown = staged.path.display().to_string() + "/";
            let plain = |fault: &Fault| Fault { file: fault.file.replace(&shown, ""), ..fault.clone() };
            return Err(StoreError::Faults(faults.iter().map(plain).collect()));
        }
        Ok(staged)
    }

    /// All versions, by model and then by the time they came.
    pub fn list(&self) -> Vec<Stored> {
        let mut stored = Vec::new();
        for model in self.names(&self.root).into_iter().filter(|name| is_model(name)) {
            let folder = self.root.join(&model);
            let mut versions: Vec<Stored> = self
                .names(&folder)
                .into_iter()
                .filter(|name| is_version(name))
                .map(|version| {
                    let stored_us = written_us(&folder.join(&version).join(FILES[0].0));
                    Stored { identity: Identity { model: model.clone(), version }, stored_us }
                })
                .collect();
            versions
                .sort_by(|a, b| (a.stored_us, &a.identity.version).cmp(&(b.stored_us, &b.identity.version)));
            stored.extend(versions);
        }
        stored
    }

    /// True when there is such a version.
    pub fn has(&self, model: &str, version: &str) -> bool {
        self.path(model, version).is_some()
    }

    /// The folder of a version.
    pub fn path(&self, model: &str, version: &str) -> Option<PathBuf> {
        let sound = is_model(model) && is_version(version);
        sound.then(|| self.root.join(model).join(version)).filter(|path| path.is_dir())
    }

    /// The files of a version.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn read(&self, model: &str, version: &str) -> Result<Package, StoreError> {
        let unknown = || StoreError::Unknown { model: model.to_owned(), version: version.to_owned() };
        Ok(Package::read_folder(&self.path(model, version).ok_or_else(unknown)?)?)
    }

    /// Removes a version.
    ///
    /// # Errors
    /// When it is not there, or the disk does not allow it.
    pub fn remove(&self, model: &str, version: &str) -> Result<(), StoreError> {
        let unknown = || StoreError::Unknown { model: model.to_owned(), version: version.to_owned() };
        let path = self.path(model, version).ok_or_else(unknown)?;
        let away = self.root.join(format!("{OLD}{:016x}", fastrand::u64(..)));
        fs::rename(&path, &away).map_err(disk("remove", &path))?;
        let model = self.root.join(model);
        // Only when it was the last one.
        let _others = fs::remove_dir(&model);
        if model.is_dir() {
            sync(&model)?;
        }
        sync(&self.root)?;
        fs::remove_dir_all(&away).map_err(disk("remove", &away))
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().take(ENTRIES_MAX).flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A model that is written, and not in the store yet. Dropped, it is gone.
pub struct Staged<'a> {
    store: &'a Store,
    /// Name and version.
    pub identity: Identity,
    /// [`Package::digest`].
    pub digest: String,
    path: PathBuf,
}

impl Staged<'_> {
    /// Where it lies for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it into its place.
    ///
    /// # Errors
    /// When the place is taken by another model, or the disk says no.
    pub fn keep(self) -> Result<Identity, StoreError> {
        let Identity { model, version } = &self.identity;
        let folder = self.store.root.join(model);
        make_folder(&folder)?;
        let place = folder.join(version);
        match fs::rename(&self.path, &place) {
            Ok(()) => {}
            // A folder that is not empty is never replaced.
            Err(_) if place.is_dir() => {
                let there = Package::read_folder(&place).map(|there| there.digest(&self.identity));
                if there.is_ok_and(|digest| digest == self.digest) {
                    self.sign_anew(&place)?;
                    return Ok(self.identity.clone());
                }
                return Err(StoreError::Exists { model: model.clone(), version: version.clone() });
            }
            Err(error) => return Err(disk("rename", &self.path)(error)),
        }
        sync(&folder)?;
        sync(&self.store.root)?;
        Ok(self.identity.clone())
    }

    /// The same model with another signature: the new one counts.
    fn sign_anew(&self, place: &Path) -> Result<(), StoreError> {
        let new = self.path.join(SIGNATURE);
        if !new.is_file() {
            return Ok(());
        }
        fs::rename(&new, place.join(SIGNATURE)).map_err(disk("rename", &new))?;
        sync(place)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Kept, it is not there any more.
        let _gone = fs::remove_dir_all(&self.path);
    }
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |error| StoreError::Disk { action, path, error }
}

/// Makes a folder for us alone, and its entry durable; one that is there is fine.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            make_folder(parent.ok_or_else(|| disk("create", path)(error))?)?;
            make_folder(path)
        }
        Err(error) => Err(disk("create", path)(error)),
    }
}

/// Writes a new file, durably but for its entry in the folder.
pub(super) fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(disk("write", path))
}

/// Makes the entries of a folder durable.
pub(super) fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk("sync", folder))
}

fn written_us(path: &Path) -> i64 {
    let time = fs::metadata(path).and_then(|it| it.modified()).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str) -> Package {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/press-wear"));
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let spec = String::from_utf8(read("model.toml")).unwrap();
        let line = spec.lines().find(|line| line.starts_with("version")).unwrap().to_owned();
        let spec = spec.replace(&line, &format!("version = \"{version}\""));
        Package::new(spec.into_bytes(), read("model.onnx"), read("golden.json"), None)
    }

    #[test]
    fn a_version_is_put_listed_read_and_removed() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(&state.path().join("not/there/yet"));
        assert!(store.list().is_empty());
        let versions = ["1.0.0", "2.0.0"];
        for version in versions {
            assert_eq!(store.put(&package(version)).unwrap().version, version);
            // Once more is the same.
            assert_eq!(store.put(&package(version)).unwrap().version, version);
        }
        let listed: Vec<String> = store.list().into_iter().map(|stored| stored.identity.version).collect();
        assert_eq!(listed, versions);
        assert_eq!(store.read("press-wear", "2.0.0").unwrap(), package("2.0.0"));
        let mut other = package("2.0.0");
        other.set_signature(b"key = \"\"".to_vec());
        store.put(&other).expect("the same model, whoever signed it");
        assert_eq!(store.read("press-wear", "2.0.0").unwrap(), other, "the new signature counts");
        let readme = Package::new(b"".to_vec(), b"".to_vec(), b"".to_vec(), None);
        assert!(matches!(store.put(&readme), Err(StoreError::Package(_))));
        store.remove("press-wear", "1.0.0").unwrap();
        store.remove("press-wear", "2.0.0").unwrap();
        assert!(matches!(store.remove("press-wear", "2.0.0"), Err(StoreError::Unknown { .. })));
        assert_eq!(store.names(store.root()), [""; 0], "nothing stays");
    }

    #[test]
    fn another_model_never_takes_the_place_of_a_version() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        store.put(&package("1.0.0")).unwrap();
        let files: Vec<Vec<u8>> = package("1.0.0").files().map(|(_, bytes)| bytes.to_vec()).collect();
        let [spec, onnx, golden] = <[Vec<u8>; 3]>::try_from(files).unwrap();
        let other = Package::new(spec, onnx, golden, Some(b"another".to_vec()));
        assert!(matches!(store.put(&other), Err(StoreError::Exists { .. })));
        assert_eq!(store.read("press-wear", "1.0.0").unwrap(), package("1.0.0"));
        assert_eq!(store.names(store.root()), ["press-wear"]);
    }

    #[test]
    fn what_a_kill_left_is_removed_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        store.put(&package("1.0.0")).unwrap();
        let staged = store.stage(&package("2.0.0")).unwrap();
        let left = staged.path().to_owned();
        std::mem::forget(staged);
        fs::create_dir(store.root().join(".old-1")).unwrap();
        fs::write(store.root().join("box.key"), "").unwrap();
        assert!(left.is_dir());
        store.clean().unwrap();
        assert_eq!(store.names(store.root()), ["box.key", "press-wear"]);
        assert_eq!(store.list().len(), 1);
    }

    #[test]
    fn faulty_files_never_come_into_the_store() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        let files: Vec<Vec<u8>> = package("1.0.0").files().map(|(_, bytes)| bytes.to_vec()).collect();
        let [spec, onnx, _] = <[Vec<u8>; 3]>::try_from(files).unwrap();
        let said = store.put(&Package::new(spec, onnx, b"{}".to_vec(), None)).unwrap_err().to_string();
        assert!(said.starts_with("golden.json:1: M0201: "), "{said}");
        assert_eq!(store.names(store.root()), [""; 0]);
        for odd in ["../press-wear", "", "/etc"] {
            assert!(!store.has("press-wear", odd) && !store.has(odd, "1.0.0"));
        }
    }
}
