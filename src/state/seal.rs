//! Proof that what is read is what was saved. sled 0.34 ends its log at the first damaged byte and
//! silently goes on with what was before; and a value may be damaged in its cache's file.
//!
//! Each value ends with a checksum over its key and itself. One entry, the seal, has the number of
//! the save and a digest of everything else. A small file beside the database, the witness, has the
//! number of the last save as well, so that a database gone back in time is noticed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::database::Entries;

/// Key of the seal; names of tables begin with a letter.
pub(super) const SEAL_KEY: &[u8] = b"\0seal";
const CHECKSUM_BYTES: usize = 4;
const WITNESS: &str = "saved";
const WITNESS_MAGIC: &[u8; 8] = b"FBSTATE\0";

/// The checked content of a database.
pub(super) struct Checked {
    /// Values without their checksums.
    pub entries: Entries,
    /// Number of the last save, 0 = none.
    pub number: u64,
    /// What does not hold, in words.
    pub fault: Option<String>,
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // The length keeps "ab" + "c" apart from "a" + "bc".
    let length = (key.len() as u64).to_le_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&length), key), value).to_le_bytes()
}

/// A value as it is stored.
pub(super) fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    [value, &checksum(key, value)].concat()
}

fn unsealed(key: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
    let (value, found) = stored.split_at_checked(stored.len().checked_sub(CHECKSUM_BYTES)?)?;
    (checksum(key, value) == found).then(|| value.to_vec())
}

/// The seal of save `number`, as a value.
pub(super) fn seal(number: u64, entries: &Entries) -> Vec<u8> {
    let mut digest = Sha256::new();
    for (key, value) in entries {
        digest.update((key.len() as u64).to_le_bytes());
        digest.update(key);
        digest.update((value.len() as u64).to_le_bytes());
        digest.update(value);
    }
    [number.to_le_bytes().as_slice(), digest.finalize().as_slice()].concat()
}

/// Checks what a database holds. What is right is kept in any case.
pub(super) fn check(stored: &Entries, directory: &Path) -> Checked {
    let mut entries = Entries::new();
    let mut fault = None;
    for (key, value) in stored {
        match unsealed(key, value) {
            Some(value) => drop(entries.insert(key.clone(), value)),
            None => fault = Some("a value is damaged".to_owned()),
        }
    }
    let found = entries.remove(SEAL_KEY);
    let number = found.as_ref().and_then(|seal| Some(u64::from_le_bytes(*seal.first_chunk()?))).unwrap_or(0);
    if fault.is_none() && found.is_some_and(|found| found != seal(number, &entries)) {
        fault = Some("values are missing or of different times".to_owned());
    }
    let witness = read_witness(directory).unwrap_or(0);
    if fault.is_none() && number < witness {
        fault = Some(format!("it has gone back from save {witness} to save {number}"));
    }
    Checked { entries, number: number.max(witness), fault }
}

/// Number of the last save; `None` when there is no file or it is damaged.
fn read_witness(directory: &Path) -> Option<u64> {
    let content = fs::read(directory.join(WITNESS)).ok()?;
    let (head, found) = content.split_at_checked(16).filter(|(head, _)| head[..8] == *WITNESS_MAGIC)?;
    (checksum(WITNESS_MAGIC, head) == found).then(|| head[8..].try_into().map(u64::from_le_bytes).ok())?
}

/// Notes the number of a save that is durable.
pub(super) fn write_witness(directory: &Path, number: u64) -> io::Result<()> {
    let head = [WITNESS_MAGIC.as_slice(), &number.to_le_bytes()].concat();
    let content = [head.as_slice(), &checksum(WITNESS_MAGIC, &head)].concat();
    let temporary = directory.join("saved.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(temporary, directory.join(WITNESS))?;
    File::open(directory)?.sync_all()
}
