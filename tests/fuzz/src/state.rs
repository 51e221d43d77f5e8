//! The part of the small state that reads foreign bytes.

/// Stands for the database.
pub mod database {
    /// All entries, raw.
    pub type Entries = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;
}
#[path = "../../../src/state/seal.rs"]
mod seal;

/// Checks entries that are made of `input`: pieces with a length in front.
pub fn check(mut input: &[u8]) {
    let mut entries = database::Entries::new();
    let mut piece = || -> Option<Vec<u8>> {
        let (length, rest) = input.split_first()?;
        let (piece, rest) = rest.split_at_checked(usize::from(*length))?;
        input = rest;
        Some(piece.to_vec())
    };
    while let (Some(key), Some(value)) = (piece(), piece()) {
        // A key of the seal is hard to guess.
        let key = if key.is_empty() { seal::SEAL_KEY.to_vec() } else { key };
        entries.insert(key, value);
    }
    let checked = seal::check(&entries, std::path::Path::new("/nonexistent"));
    assert!(checked.entries.len() <= entries.len());
    assert!(!checked.entries.contains_key(seal::SEAL_KEY));
}
