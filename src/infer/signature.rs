//! Who made a model: signatures by ed25519 (RFC 8032), and whose are trusted.

use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::package::{Identity, Package, PackageError, hex};
use super::store::{self, Store};

/// Ending of files with public keys.
pub const PUBLIC: &str = "pub";
/// Bytes of a key file at most.
const KEY_BYTES_MAX: usize = 1024;
/// Key files that are read at most.
const KEYS_MAX: usize = 256;
/// Bytes of a public key, and of the seed of a secret one.
const KEY_BYTES: usize = 32;
/// Whose signature the box's own is called.
const OWN: &str = "this box";

/// Why a signature, or a key, is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error(
        "it is not signed: sign it with `forebay model sign FOLDER --key FILE`, or permit it with \
         [models] unsigned = \"allow\" in forebay.toml"
    )]
    Missing,
    /// signature.toml is not one.
    #[error("signature.toml cannot be read: {0}; sign the model again")]
    Unreadable(String),
    /// Nobody trusts the key.
    #[error(
        "it is signed with key {key}, which is not trusted: put the key's .pub file into {folder}, if it is yours"
    )]
    Untrusted {
        /// First digits of the SHA-256 of the public key.
        key: String,
        /// Where trusted keys lie.
        folder: String,
    },
    /// The signature is not of these files.
    #[error(
        "its signature with the key of {0} does not fit its files: one of them was changed after it was signed"
    )]
    Wrong(String),
    /// A key file is no key.
    #[error("{path} is no key: {reason}")]
    Key {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The model has no name that could be signed.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A key cannot be stored.
    #[error(transparent)]
    Disk(#[from] store::StoreError),
}

/// `signature.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    key: String,
    signature: String,
}

/// A key that signs.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut seed = [0; KEY_BYTES];
        getrandom::fill(&mut seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a key file: 64 hexadecimal digits, or the same 32 bytes in base64.
    ///
    /// # Errors
    /// [`SignatureError::Key`].
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        Ok(Self(SigningKey::from_bytes(&read_key(path)?)))
    }

    /// Writes the key to `path`, for its owner only, and its public half beside it, ending in `.pub`.
    ///
    /// # Errors
    /// When a file is there already, or cannot be written.
    pub fn write(&self, path: &Path) -> Result<PathBuf, SignatureError> {
        let public = public_path(path);
        store::write_synced(path, format!("{}\n", hex(self.0.as_bytes())).as_bytes(), 0o600)?;
        let line = format!("{}\n", hex(self.0.verifying_key().as_bytes()));
        store::write_synced(&public, line.as_bytes(), 0o644)?;
        Ok(public)
    }

    /// The box's own key, made at the first need.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn of_box(store: &Store) -> Result<Self, SignatureError> {
        let path = own_path(store);
        if path.exists() {
            return Self::read(&path);
        }
        let failed = |error: getrandom::Error| SignatureError::Key {
            path: path.display().to_string(),
            reason: format!("no random numbers: {error}"),
        };
        let key = Self::new().map_err(failed)?;
        let new = store.root().join(format!(".new-{:016x}", fastrand::u64(..)));
        store.make_root()?;
        store::write_synced(&new, format!("{}\n", hex(key.0.as_bytes())).as_bytes(), 0o600)?;
        let failed =
            |error| store::StoreError::Disk { action: "create", path: path.display().to_string(), error };
        fs::rename(&new, &path).map_err(failed)?;
        store::sync(store.root())?;
        Ok(key)
    }

    /// Names the key: the first 16 digits of the SHA-256 of its public half.
    pub fn id(&self) -> String {
        id(&self.0.verifying_key())
    }

    /// Signs a model; a signature it has is replaced.
    ///
    /// # Errors
    /// When its model.toml is faulty.
    pub fn sign(&self, package: &mut Package) -> Result<Identity, SignatureError> {
        let identity = package.identity()?;
        let signature = self.0.sign(package.statement(&identity).as_bytes());
        let text = format!("key = \"{}\"\nsignature = \"{}\"\n", self.id(), hex(&signature.to_bytes()));
        package.set_signature(text.into_bytes());
        Ok(identity)
    }
}

/// Where the public half of a key in `path` lies.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(PUBLIC);
    path.with_file_name(name)
}

fn own_path(store: &Store) -> PathBuf {
    store.root().join("box.key")
}

/// Whose models run.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Folder with `*.pub`.
    pub keys: PathBuf,
    /// `[models] unsigned = "allow"`.
    pub unsigned: bool,
    /// The box's own key is in here.
    pub store: Store,
}

impl Trust {
    /// Whose signature a model has: the name of a key file, `this box`, or empty where none is needed.
    /// The keys are read each time: who puts one there, or takes it away, need not restart the box.
    ///
    /// # Errors
    /// [`SignatureError`]. A signature that is there must be right, whatever is allowed.
    pub fn check(&self, package: &Package) -> Result<String, SignatureError> {
        let Some(signature) = package.signature() else {
            return if self.unsigned { Ok(String::new()) } else { Err(SignatureError::Missing) };
        };
        let unreadable = |reason: String| SignatureError::Unreadable(reason);
        let text = std::str::from_utf8(signature).map_err(|error| unreadable(error.to_string()))?;
        let file: SignatureFile =
            toml::from_str(text).map_err(|error| unreadable(error.message().to_owned()))?;
        let bytes = unhex::<64>(&file.signature);
        let signature = Signature::from_bytes(&bytes.ok_or_else(|| unreadable("no 128 digits".to_owned()))?);
        let (name, key) = self.key(&file.key).ok_or_else(|| SignatureError::Untrusted {
            key: file.key.chars().filter(char::is_ascii_hexdigit).take(16).collect(),
            folder: self.keys.display().to_string(),
        })?;
        let statement = package.statement(&package.identity()?);
        // Strict: no key of small order, which would sign anything.
        match key.verify_strict(statement.as_bytes(), &signature) {
            Ok(()) => Ok(name),
            Err(_) => Err(SignatureError::Wrong(name)),
        }
    }

    fn key(&self, wanted: &str) -> Option<(String, VerifyingKey)> {
        let own = SecretKey::read(&own_path(&self.store)).ok();
        let own = own.map(|key| (OWN.to_owned(), key.0.verifying_key()));
        own.into_iter().chain(self.keys()).find(|(_, key)| id(key) == wanted)
    }

    /// All keys of the folder; what is none is named in the log and passed over.
    fn keys(&self) -> impl Iterator<Item = (String, VerifyingKey)> {
        let entries = fs::read_dir(&self.keys).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|it| it == PUBLIC)).take(KEYS_MAX).collect();
        paths.sort();
        paths.into_iter().filter_map(|path| match read_public(&path) {
            Ok(key) => Some((path.file_stem()?.to_string_lossy().into_owned(), key)),
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        })
    }
}

fn read_public(path: &Path) -> Result<VerifyingKey, SignatureError> {
    let failed =
        |reason: &str| SignatureError::Key { path: path.display().to_string(), reason: reason.to_owned() };
    VerifyingKey::from_bytes(&read_key(path)?).map_err(|_| failed("these bytes are no point of the curve"))
}

fn id(key: &VerifyingKey) -> String {
    hex(&Sha256::digest(key.as_bytes()))[..16].to_owned()
}

/// 32 bytes, from a file with one line.
fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], SignatureError> {
    let failed = |reason: String| SignatureError::Key { path: path.display().to_string(), reason };
    let bytes = fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, KEY_BYTES_MAX as u64), &mut bytes)?;
        Ok(bytes)
    });
    let bytes = bytes.map_err(|error| failed(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let wanted = "one line with 64 hexadecimal digits, or 32 bytes in base64, is needed";
    unhex(text).or_else(|| base64(text)).ok_or_else(|| failed(wanted.to_owned()))
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = (0..N).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// Base64 (RFC 4648, section 4) of 32 bytes.
fn base64(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.strip_suffix('=').unwrap_or(text);
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::with_capacity(KEY_BYTES + 1));
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xFF).ok()?);
        }
    }
    // What is left over of the last digit means nothing, and is nothing.
    (bits & ((1 << count) - 1) == 0).then_some(())?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given {
        folder: tempfile::TempDir,
        trust: Trust,
        package: Package,
    }

    fn given(unsigned: bool) -> Given {
        let folder = tempfile::tempdir().unwrap();
        let (keys, store) = (folder.path().join("keys"), Store::new(folder.path()));
        fs::create_dir(&keys).unwrap();
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/press-wear"));
        let package = Package::read_folder(shipped).unwrap();
        Given { folder, trust: Trust { keys, unsigned, store }, package }
    }

    #[test]
    fn only_signed_by_a_trusted_key_is_taken() {
        let Given { folder, trust, mut package } = given(false);
        assert!(matches!(trust.check(&package), Err(SignatureError::Missing)));
        let (key, path) = (SecretKey::new().unwrap(), folder.path().join("central-it"));
        let public = key.write(&path).unwrap();
        assert!(key.write(&path).is_err(), "a key is never replaced");
        SecretKey::read(&path).unwrap().sign(&mut package).unwrap();
        assert!(matches!(trust.check(&package), Err(SignatureError::Untrusted { .. })));
        let trusted = trust.keys.join("central-it.pub");
        fs::copy(&public, &trusted).unwrap();
        assert_eq!(trust.check(&package).unwrap(), "central-it");
        fs::remove_file(&trusted).unwrap();
        assert!(trust.check(&package).is_err(), "a key that is taken away counts no more");
    }

    #[test]
    fn every_changed_file_is_noticed() {
        let Given { trust, mut package, .. } = given(true);
        assert_eq!(trust.check(&package).unwrap(), "", "unsigned is allowed");
        SecretKey::of_box(&trust.store).unwrap().sign(&mut package).unwrap();
        assert_eq!(trust.check(&package).unwrap(), "this box");
        let signed: Vec<Vec<u8>> = package.files().map(|(_, bytes)| bytes.to_vec()).collect();
        for changed in 0..3 {
            let mut files = signed.clone();
            // A space more, which changes nothing else.
            files[changed].push(b' ');
            let [spec, onnx, golden, signature] = <[Vec<u8>; 4]>::try_from(files).unwrap();
            let mut other = Package::new(spec, onnx, golden, None);
            other.set_signature(signature);
            assert!(matches!(trust.check(&other), Err(SignatureError::Wrong(_))), "file {changed}");
        }
        package.set_signature(b"key = 1".to_vec());
        assert!(matches!(trust.check(&package), Err(SignatureError::Unreadable(_))));
    }

    #[test]
    fn keys_are_read_in_both_spellings() {
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 8).unwrap_or(255));
        // From `base64(1)`.
        let text = "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg=";
        assert_eq!(base64(text), Some(bytes));
        assert_eq!(base64(text.trim_end_matches('=')), Some(bytes));
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(base64(&text.replace("Pg=", "Ph=")), None);
        assert_eq!((base64("AAAA"), base64("ä"), unhex::<2>("00zz")), (None, None, None));
    }
}
