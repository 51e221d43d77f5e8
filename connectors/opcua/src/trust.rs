//! Which servers a person has decided to trust, as files below the device's folder.
//!
//! `rejected/` holds the certificates that wait for a decision, `trusted/` those that are taken.
//! A file is named by its fingerprint, and one whose content does not fit its name is nobody's:
//! half a file after a power cut decides nothing. The connector reads the folders at each
//! connection, so that `forebay opcua trust` works beside the running box.

use std::fs::{self, File};
use std::io::{Error as IoError, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::certificate::{CertificateFacts, Fingerprint};
use crate::security::{OWN_CERTIFICATE, PKI};

const WAITING: &str = "rejected";
const TRUSTED: &str = "trusted";
/// Certificates that may wait; whoever answers at the address could send any number of them.
const WAITING_MAX: usize = 10;
/// Files looked at in one folder.
const FILES_MAX: usize = 100;
/// Longest certificate, in bytes.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// A certificate that a server has shown.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it says.
    pub facts: CertificateFacts,
    /// A person has decided to trust it.
    pub is_trusted: bool,
    /// When the server showed it first.
    pub seen: SystemTime,
}

/// The certificates known for one device.
#[derive(Debug, Clone)]
pub struct TrustList {
    folder: PathBuf,
}

impl TrustList {
    /// The list below a device's `DeviceSpec::state_directory`; nothing is read yet.
    pub fn new(state_directory: impl Into<PathBuf>) -> Self {
        Self { folder: state_directory.into() }
    }

    /// Certificates that wait for a decision, newest last.
    ///
    /// # Errors
    /// When the folder cannot be read; a missing one is empty.
    pub fn waiting(&self) -> Result<Vec<CertificateFacts>, IoError> {
        self.read(WAITING)
    }

    /// Certificates that are trusted, newest last.
    ///
    /// # Errors
    /// When the folder cannot be read; a missing one is empty.
    pub fn trusted(&self) -> Result<Vec<CertificateFacts>, IoError> {
        self.read(TRUSTED)
    }

    /// All that are known: those that wait for a decision, then those that are trusted, the newest first
    /// of each.
    ///
    /// # Errors
    /// When a folder cannot be read; a missing one is empty.
    pub fn known(&self) -> Result<Vec<Known>, IoError> {
        let mut known = Vec::new();
        for (folder, is_trusted) in [(WAITING, false), (TRUSTED, true)] {
            for (fingerprint, seen) in self.files(folder)?.into_iter().rev() {
                let facts = read_certificate(&self.path(folder, fingerprint), fingerprint)
                    .and_then(|der| CertificateFacts::read(&der).ok());
                known.extend(facts.map(|facts| Known { facts, is_trusted, seen }));
            }
        }
        Ok(known)
    }

    /// Forebay's own certificate for this device and where it is; `None` before the first secure
    /// connection.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn own(&self) -> Result<Option<(PathBuf, CertificateFacts)>, IoError> {
        let path = self.folder.join(PKI).join(OWN_CERTIFICATE);
        match read_bounded(&path) {
            Ok(der) => {
                let facts = CertificateFacts::read(&der).map_err(IoError::other)?;
                Ok(Some((path, facts)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True when a person has decided to trust this certificate.
    pub fn trusts(&self, fingerprint: Fingerprint) -> bool {
        read_certificate(&self.path(TRUSTED, fingerprint), fingerprint).is_some()
    }

    /// Trusts a certificate that waits, or that was trusted already.
    ///
    /// # Errors
    /// When it is not there, or cannot be moved.
    pub fn trust(&self, fingerprint: Fingerprint) -> Result<(), IoError> {
        if self.trusts(fingerprint) { Ok(()) } else { self.shift(fingerprint, WAITING, TRUSTED) }
    }

    /// Trusts a certificate no longer; one that waits is forgotten.
    ///
    /// # Errors
    /// When it is not there, or cannot be moved.
    pub fn reject(&self, fingerprint: Fingerprint) -> Result<(), IoError> {
        if self.trusts(fingerprint) {
            return self.shift(fingerprint, TRUSTED, WAITING);
        }
        fs::remove_file(self.path(WAITING, fingerprint))
    }

    /// Keeps a certificate for a decision. The oldest ones go when there are too many.
    pub(crate) fn keep_waiting(&self, der: &[u8]) -> Result<(), IoError> {
        let fingerprint = Fingerprint::of(der);
        let path = self.path(WAITING, fingerprint);
        if der.len() > CERTIFICATE_BYTES_MAX || read_certificate(&path, fingerprint).is_some() {
            return Ok(());
        }
        let folder = self.folder.join(WAITING);
        fs::create_dir_all(&folder)?;
        // Made by the service, so that it can read there whoever decides, with whatever umask.
        fs::create_dir_all(self.folder.join(TRUSTED))?;
        let fresh = folder.join("new");
        let mut file = File::create(&fresh)?;
        file.write_all(der)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        let mut waiting = self.files(WAITING)?;
        waiting.retain(|(known, _)| *known != fingerprint);
        let surplus = (waiting.len() + 1).saturating_sub(WAITING_MAX);
        for (old, _) in waiting.into_iter().take(surplus) {
            fs::remove_file(self.path(WAITING, old))?;
        }
        Ok(())
    }

    fn shift(&self, fingerprint: Fingerprint, from: &str, to: &str) -> Result<(), IoError> {
        let source = self.path(from, fingerprint);
        if read_certificate(&source, fingerprint).is_none() {
            return Err(IoError::new(ErrorKind::NotFound, format!("{} is not there", source.display())));
        }
        let folder = self.folder.join(to);
        fs::create_dir_all(&folder)?;
        fs::rename(source, self.path(to, fingerprint))?;
        File::open(folder)?.sync_all()
    }

    fn read(&self, folder: &str) -> Result<Vec<CertificateFacts>, IoError> {
        let read = |(fingerprint, _)| {
            let der = read_certificate(&self.path(folder, fingerprint), fingerprint)?;
            CertificateFacts::read(&der).ok()
        };
        Ok(self.files(folder)?.into_iter().filter_map(read).collect())
    }

    /// Fingerprints by file name, in order of the files' times.
    fn files(&self, folder: &str) -> Result<Vec<(Fingerprint, SystemTime)>, IoError> {
        let entries = match fs::read_dir(self.folder.join(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries.take(FILES_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".der"));
            if let Some(fingerprint) =
                digits.and_then(|digits| Fingerprint::parse(&format!("sha256:{digits}")))
            {
                files.push((fingerprint, entry.metadata()?.modified()?));
            }
        }
        files.sort_by_key(|(fingerprint, time)| (*time, *fingerprint));
        Ok(files)
    }

    fn path(&self, folder: &str, fingerprint: Fingerprint) -> PathBuf {
        let digits = fingerprint.to_string();
        let digits = digits.trim_start_matches("sha256:");
        self.folder.join(folder).join(format!("{digits}.der"))
    }
}

/// The certificate in a file, when it is the one with this fingerprint.
fn read_certificate(path: &Path, fingerprint: Fingerprint) -> Option<Vec<u8>> {
    read_bounded(path).ok().filter(|der| Fingerprint::of(der) == fingerprint)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, IoError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(CERTIFICATE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opcua::crypto::{X509, X509Data};

    fn certificate() -> Vec<u8> {
        // Short keys: what counts here is that each is another one.
        let data = X509Data { key_size: 2048, ..X509Data::sample_cert() };
        X509::cert_and_pkey(&data).expect("made").0.to_der().expect("encoded")
    }

    #[test]
    fn a_certificate_waits_is_trusted_and_is_not_trusted_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = TrustList::new(folder.path().join("filler"));
        assert!(list.waiting().expect("empty").is_empty() && list.own().expect("none").is_none());
        let der = certificate();
        let seen = Fingerprint::of(&der);
        assert!(list.trust(seen).is_err() && list.reject(seen).is_err());
        list.keep_waiting(&der).expect("kept");
        list.keep_waiting(&der).expect("kept already");
        assert!(
            folder.path().join("filler").join(TRUSTED).is_dir(),
            "made by whoever keeps, not by whoever decides"
        );
        assert_eq!(list.waiting().expect("read").len(), 1);
        let known = list.known().expect("read");
        assert!(known.len() == 1 && !known[0].is_trusted && known[0].facts.fingerprint == seen);
        let ago = known[0].seen.elapsed().expect("before now");
        assert!(ago < std::time::Duration::from_secs(600), "{ago:?}");
        assert!(!list.trusts(seen));
        list.trust(seen).expect("trusted");
        list.trust(seen).expect("trusted already");
        assert!(list.trusts(seen) && list.waiting().expect("read").is_empty());
        assert_eq!(list.trusted().expect("read")[0].fingerprint, seen);
        assert!(list.known().expect("read")[0].is_trusted);
        list.reject(seen).expect("taken back");
        assert!(!list.trusts(seen) && list.waiting().expect("read").len() == 1);
        list.reject(seen).expect("forgotten");
        assert!(list.waiting().expect("read").is_empty());
    }

    #[test]
    fn a_file_that_is_not_what_its_name_says_decides_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = TrustList::new(folder.path());
        let der = certificate();
        let seen = Fingerprint::of(&der);
        list.keep_waiting(&der).expect("kept");
        list.trust(seen).expect("trusted");
        fs::write(list.path(TRUSTED, seen), &der[..der.len() / 2]).expect("torn");
        fs::write(folder.path().join(TRUSTED).join("notes.txt"), "x").expect("written");
        assert!(!list.trusts(seen) && list.trusted().expect("read").is_empty());
    }

    #[test]
    fn strangers_cannot_fill_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = TrustList::new(folder.path());
        for number in 0..WAITING_MAX + 5 {
            list.keep_waiting(&number.to_le_bytes()).expect("kept");
        }
        assert_eq!(list.files(WAITING).expect("read").len(), WAITING_MAX);
        list.keep_waiting(&vec![0; CERTIFICATE_BYTES_MAX + 1]).expect("ignored");
        assert_eq!(list.files(WAITING).expect("read").len(), WAITING_MAX);
    }
}
