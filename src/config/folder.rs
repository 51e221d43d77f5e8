//! The files of a folder. Nothing that somebody put there is left out in silence.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::diagnostic::Severity;

/// Most files of one folder.
const FILES_MAX: usize = 2000;

/// Most entries of a folder that are looked at, so that a wrong path does not take minutes.
const ENTRIES_MAX: usize = 100_000;

/// The fix for a link to nothing.
pub const LINK_HELP: &str = "correct the link, or remove it";

/// What a folder holds.
#[derive(Default)]
pub struct Listing {
    /// Its `*.toml`, sorted.
    pub files: Vec<PathBuf>,
    /// What is wrong with it.
    pub faults: Vec<FolderFault>,
}

/// A folder, or something in it, that is not read.
pub struct FolderFault {
    /// The folder or the file.
    pub path: PathBuf,
    /// An error where devices may be missing, a warning where a name is probably a slip.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The fix.
    pub help: &'static str,
}

impl Listing {
    fn fault(&mut self, path: &Path, severity: Severity, message: String, help: &'static str) {
        self.faults.push(FolderFault { path: path.to_owned(), severity, message, help });
    }

    fn unreadable(&mut self, folder: &Path, error: &Error) {
        if let Some(message) = dangling(folder) {
            self.fault(folder, Severity::Error, message, LINK_HELP);
            return;
        }
        let message = format!("cannot read the folder {}: {error}", folder.display());
        self.fault(
            folder,
            Severity::Error,
            message,
            "let the service read it (chmod, chown), or correct the path",
        );
    }
}

/// Lists the `*.toml` of a folder. One that is not there at all holds none: that is reported where
/// it is named, or it is a default that nobody needs.
pub fn list(folder: &Path) -> Listing {
    let mut listing = Listing::default();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if folder.symlink_metadata().map_or_else(|error| !is_not_there(&error), |_| true) {
                listing.unreadable(folder, &error);
            }
            return listing;
        }
    };
    for (count, entry) in entries.enumerate() {
        if count >= ENTRIES_MAX {
            let message = format!("{} has more than {ENTRIES_MAX} entries", folder.display());
            listing.fault(folder, Severity::Error, message, "keep nothing but Forebay's files in it");
            break;
        }
        match entry {
            Ok(entry) => add(&mut listing, entry.path()),
            Err(error) => {
                listing.unreadable(folder, &error);
                break;
            }
        }
    }
    listing.files.sort();
    listing.faults.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(first) = listing.files.get(FILES_MAX).cloned() {
        let left_out = listing.files.len() - FILES_MAX;
        let message =
            format!("{left_out} files are not read, this one is the first: a folder has at most {FILES_MAX}");
        listing.fault(&first, Severity::Error, message, "put several devices into one file");
        listing.files.truncate(FILES_MAX);
    }
    listing
}

fn add(listing: &mut Listing, path: PathBuf) {
    let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned();
    if name.starts_with('.') {
        return;
    }
    // Links to nothing and folders are among them: reading them says what they are.
    if name.ends_with(".toml") {
        listing.files.push(path);
    } else if [".toml", ".toml.txt"].iter().any(|end| name.to_lowercase().ends_with(end)) {
        let message = format!("{name} is not read: its name does not end in .toml");
        listing.fault(
            &path,
            Severity::Warning,
            message,
            "rename it so that it ends in .toml, in small letters",
        );
    }
}

/// True when nothing has this path.
pub fn is_not_there(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// In words when `path` is a link to something that is not there.
pub fn dangling(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    let nothing = path.metadata().is_err_and(|error| is_not_there(&error));
    nothing.then(|| format!("{} is a link to nothing: {}", path.display(), target.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn said(folder: &Path) -> (Vec<String>, Vec<String>) {
        let Listing { files, faults } = list(folder);
        let name =
            |path: PathBuf| path.file_name().map_or(String::new(), |it| it.to_string_lossy().into_owned());
        let faults = faults.into_iter().map(|it| format!("{} {}", it.severity.as_str(), name(it.path)));
        let faults = faults.collect();
        (files.into_iter().map(name).collect(), faults)
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", "c.TOML", "d.toml.txt", "e.toml.bak", ".f.toml", "readme.md"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        symlink("/nonexistent.toml", folder.path().join("g.toml")).unwrap();
        symlink("h.toml", folder.path().join("h.toml")).unwrap();
        let (files, faults) = said(folder.path());
        assert_eq!(files, ["a.toml", "b.toml", "g.toml", "h.toml"]);
        assert_eq!(faults, ["warning c.TOML", "warning d.toml.txt"]);
        assert!(dangling(&folder.path().join("g.toml")).is_some_and(|it| it.contains("/nonexistent.toml")));
        assert_eq!(dangling(&folder.path().join("a.toml")), None);
    }

    #[test]
    fn a_folder_that_is_a_link_to_nothing_is_an_error_and_none_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("devices");
        assert_eq!(said(&link), (vec![], vec![]));
        symlink("elsewhere", &link).unwrap();
        assert_eq!(said(&link).1, ["error devices"]);
    }

    #[test]
    fn the_first_file_too_many_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..FILES_MAX {
            std::fs::write(folder.path().join(format!("{number:05}.toml")), "").unwrap();
            std::fs::write(folder.path().join(format!("{number:05}.md")), "").unwrap();
        }
        assert_eq!(said(folder.path()).1, [""; 0]);
        std::fs::write(folder.path().join("9.toml"), "").unwrap();
        let (files, faults) = said(folder.path());
        assert_eq!((files.len(), faults), (FILES_MAX, vec!["error 9.toml".to_owned()]));
    }
}
