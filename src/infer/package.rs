//! A model as it is delivered: the files of its folder in memory, from a folder or from a tar.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use sha2::{Digest, Sha256};

use super::folder::{Fault, ONNX_BYTES_MAX};
use super::golden::GOLDEN_BYTES_MAX;
use super::spec::{SPEC_BYTES_MAX, Spec};

/// The files of a model, in the order in which they are signed, with their largest sizes in bytes.
/// Only the first three are needed.
pub const FILES: [(&str, usize); 5] = [
    ("model.toml", SPEC_BYTES_MAX),
    ("model.onnx", ONNX_BYTES_MAX),
    ("golden.json", GOLDEN_BYTES_MAX),
    ("README.md", 256 * 1024),
    (SIGNATURE, 4 * 1024),
];
/// The file that signs the others.
pub const SIGNATURE: &str = "signature.toml";
/// Files that every model has.
const NEEDED: usize = 3;
/// Largest tar: the files, and room for its headers.
pub const TAR_BYTES_MAX: usize = ONNX_BYTES_MAX + GOLDEN_BYTES_MAX + 1024 * 1024;
/// Entries of a tar that are looked at.
const ENTRIES_MAX: usize = 16;

/// Why something is no model.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A file is missing.
    #[error("{0} is missing: a model needs model.toml, model.onnx and golden.json")]
    Missing(&'static str),
    /// A file is too large.
    #[error("{0} is larger than {1} bytes: use a smaller model")]
    TooLarge(String, usize),
    /// The tar holds something else.
    #[error(
        "the tar holds {0:?}: only model.toml, model.onnx, golden.json, README.md and signature.toml belong there, \
         as plain files without a folder around them (`tar -C FOLDER -cf model.tar model.toml model.onnx …`)"
    )]
    Foreign(String),
    /// The tar is broken.
    #[error("the tar cannot be read: {0}")]
    Tar(io::Error),
    /// model.toml is faulty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<Fault>),
    /// The version cannot be the name of a folder.
    #[error(
        "version {0:?} in model.toml: use 1 to 32 letters (a to z, A to Z), digits, -, _ and ., no . in front"
    )]
    Version(String),
}

/// Name and version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `name` of model.toml.
    pub model: String,
    /// `version` of model.toml.
    pub version: String,
}

/// A version may be the name of a folder.
pub fn is_version(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=32).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(fits)
}

/// The name of a model may be the name of a folder.
pub fn is_model(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    /// In the order of [`FILES`].
    files: [Option<Vec<u8>>; FILES.len()],
}

impl Package {
    /// Of a fitted model; it has no signature yet.
    pub fn new(spec: Vec<u8>, onnx: Vec<u8>, golden: Vec<u8>, readme: Option<Vec<u8>>) -> Self {
        Self { files: [Some(spec), Some(onnx), Some(golden), readme, None] }
    }

    /// Reads a folder, or a file that is a tar.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn read(path: &Path) -> Result<Self, PackageError> {
        if path.is_dir() {
            return Self::read_folder(path);
        }
        let failed = |error| PackageError::Read { path: path.display().to_string(), error };
        let tar = read_bounded(File::open(path).map_err(failed)?, TAR_BYTES_MAX).map_err(failed)?;
        let tar = tar.ok_or_else(|| PackageError::TooLarge(path.display().to_string(), TAR_BYTES_MAX))?;
        Self::read_tar(&tar)
    }

    /// Reads the files of a folder; what else is in it is no part of the model.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn read_folder(folder: &Path) -> Result<Self, PackageError> {
        let mut package = Self::default();
        for ((name, limit), place) in FILES.iter().zip(&mut package.files) {
            let path = folder.join(name);
            let failed = |error| PackageError::Read { path: path.display().to_string(), error };
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            let bytes = read_bounded(file, *limit).map_err(failed)?;
            *place = Some(bytes.ok_or_else(|| PackageError::TooLarge((*name).to_owned(), *limit))?);
        }
        package.whole()
    }

    /// Reads a tar: plain files with these names, each at most once. `./` in front is allowed.
    ///
    /// # Errors
    /// [`PackageError`]; nothing is taken of a tar that holds anything else.
    pub fn read_tar(tar: &[u8]) -> Result<Self, PackageError> {
        let mut package = Self::default();
        let mut archive = tar::Archive::new(tar);
        for (count, entry) in archive.entries().map_err(PackageError::Tar)?.enumerate() {
            let entry = entry.map_err(PackageError::Tar)?;
            let path = entry.path().map_err(PackageError::Tar)?.into_owned();
            let shown = || path.display().to_string().chars().take(80).collect::<String>();
            let mut parts = path.components().filter(|part| *part != Component::CurDir);
            let name = match (parts.next(), parts.next()) {
                // The folder itself: `tar -C FOLDER -cf model.tar .`
                (None, None) if entry.header().entry_type().is_dir() => continue,
                (Some(Component::Normal(name)), None) => name.to_str().unwrap_or_default().to_owned(),
                _ => return Err(PackageError::Foreign(shown())),
            };
            let known = FILES.iter().position(|(file, _)| *file == name);
            let Some(index) = known.filter(|_| entry.header().entry_type().is_file() && count < ENTRIES_MAX)
            else {
                return Err(PackageError::Foreign(shown()));
            };
            let limit = FILES[index].1;
            let bytes = read_bounded(entry, limit).map_err(PackageError::Tar)?;
            let bytes = bytes.ok_or(PackageError::TooLarge(name, limit))?;
            if package.files[index].replace(bytes).is_some() {
                return Err(PackageError::Foreign(format!("{} twice", shown())));
            }
        }
        package.whole()
    }

    fn whole(self) -> Result<Self, PackageError> {
        match self.files.iter().zip(FILES).take(NEEDED).find(|(file, _)| file.is_none()) {
            Some((_, (name, _))) => Err(PackageError::Missing(name)),
            None => Ok(self),
        }
    }

    /// The model as one file.
    ///
    /// # Errors
    /// When a size does not fit a tar, which the limits exclude.
    pub fn to_tar(&self) -> io::Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in self.files() {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes)?;
        }
        builder.into_inner()
    }

    /// The files that are there, with their names, in the order in which they are signed.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        FILES.iter().zip(&self.files).filter_map(|((name, _), bytes)| Some((*name, bytes.as_deref()?)))
    }

    /// `signature.toml`.
    pub fn signature(&self) -> Option<&[u8]> {
        self.files[FILES.len() - 1].as_deref()
    }

    /// Puts a `signature.toml` beside the other files.
    pub fn set_signature(&mut self, signature: Vec<u8>) {
        self.files[FILES.len() - 1] = Some(signature);
    }

    /// Name and version, out of `model.toml`.
    ///
    /// # Errors
    /// When `model.toml` is faulty, or its version cannot be the name of a folder.
    pub fn identity(&self) -> Result<Identity, PackageError> {
        let text = self.files[0].as_deref().unwrap_or_default();
        let not_utf8 = |_| {
            let (file, fix) = ("model.toml".to_owned(), "save it as UTF-8".to_owned());
            vec![Fault { code: "M0002", file, line: None, message: "is not UTF-8 text".to_owned(), fix }]
        };
        let spec = std::str::from_utf8(text).map_err(not_utf8);
        let spec = spec.and_then(|text| Spec::parse("model.toml", text)).map_err(PackageError::Faults)?;
        if !is_version(&spec.version) || !is_model(&spec.name) {
            return Err(PackageError::Version(spec.version));
        }
        Ok(Identity { model: spec.name, version: spec.version })
    }

    /// What is signed: name, version, and the SHA-256 of every file but the signature.
    pub fn statement(&self, identity: &Identity) -> String {
        let Identity { model, version } = identity;
        let mut text = format!("forebay model 1\n{model}\n{version}\n");
        for (name, bytes) in self.files().filter(|(name, _)| *name != SIGNATURE) {
            text += &format!("{} {name}\n", hex(&Sha256::digest(bytes)));
        }
        text
    }

    /// SHA-256 of all that counts, in hexadecimal digits: two packages with the same digest are the
    /// same model, whoever signed them.
    pub fn digest(&self, identity: &Identity) -> String {
        hex(&Sha256::digest(self.statement(identity)))
    }
}

/// Reads at most `limit` bytes; `None` when there are more.
fn read_bounded(reader: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// Two lower-case digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Package {
        Package::read_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/press-wear"))).unwrap()
    }

    fn tar(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            if kind.is_symlink() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            // Not through `append_data`, which refuses such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_folder_and_its_tar_are_the_same_model() {
        let package = shipped();
        let identity = package.identity().unwrap();
        assert_eq!(identity.model, "press-wear");
        let again = Package::read_tar(&package.to_tar().unwrap()).unwrap();
        assert_eq!(again, package);
        assert_eq!(again.digest(&identity), package.digest(&identity));
        let statement = package.statement(&identity);
        assert!(statement.starts_with("forebay model 1\npress-wear\n"), "{statement}");
        assert_eq!(statement.lines().nth(3).unwrap().split(' ').nth(1), Some("model.toml"));
    }

    #[test]
    fn a_tar_with_anything_else_is_refused_whole() {
        use tar::EntryType as Kind;
        let good: Vec<_> = shipped().files().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        let mut plain: Vec<(&str, Kind, &[u8])> = Vec::new();
        plain.extend(good.iter().map(|(name, bytes)| (*name, Kind::Regular, bytes.as_slice())));
        Package::read_tar(&tar(&plain)).expect("right as it is");
        for odd in [
            ("../model.toml", Kind::Regular, b"x".as_slice()),
            ("/model.toml", Kind::Regular, b"x"),
            ("sub/model.toml", Kind::Regular, b"x"),
            ("train.py", Kind::Regular, b"x"),
            ("signature.toml", Kind::Symlink, b""),
            ("signature.toml", Kind::Fifo, b""),
            ("model.toml", Kind::Regular, b"x"),
        ] {
            let mut entries = plain.clone();
            entries.push(odd);
            let refused = Package::read_tar(&tar(&entries)).unwrap_err();
            assert!(matches!(refused, PackageError::Foreign(_)), "{odd:?}: {refused}");
        }
        let long = vec![0; 5000];
        let mut entries = plain.clone();
        entries.push(("signature.toml", Kind::Regular, &long));
        assert!(matches!(Package::read_tar(&tar(&entries)), Err(PackageError::TooLarge(..))));
        assert!(matches!(Package::read_tar(&tar(&plain[..2])), Err(PackageError::Missing("golden.json"))));
        assert!(Package::read_tar(b"no tar at all, and much too short").is_err());
    }

    #[test]
    fn a_version_is_a_name_of_a_folder() {
        assert!(["1", "1.0.0", "2026-11-21_a"].into_iter().all(is_version));
        assert!(
            ["", ".", "..", ".new", "a/b", "a b", "ä", "123456789012345678901234567890123"]
                .into_iter()
                .all(|text| !is_version(text))
        );
    }
}
