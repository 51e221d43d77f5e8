//! Files of other programs: read within bounds, decoded to text.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// The characters of Windows-1252 from 0x80 to 0x9F; the five that are not assigned stay as they
/// are (WHATWG Encoding, index windows-1252).
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// How the characters of a text were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// With or without a byte order mark.
    Utf8,
    /// With a byte order mark, as Excel saves "Unicode text".
    Utf16,
    /// Whatever is neither: what Windows programs write in western Europe and America.
    Windows1252,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is larger than [`FILE_BYTES_MAX`].
pub fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} cannot be opened"))?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        bail!("{name} is a folder; name the exported file");
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name} cannot be read"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{name} is larger than {} MiB: export less at a time", FILE_BYTES_MAX >> 20);
    }
    Ok(bytes)
}

/// The text of a file, its byte order mark left out, and how it was stored.
pub fn text(bytes: &[u8]) -> (String, Encoding) {
    if let Some(rest) = bytes.strip_prefix(&[0xFF, 0xFE]) {
        return (utf16(rest, u16::from_le_bytes), Encoding::Utf16);
    }
    if let Some(rest) = bytes.strip_prefix(&[0xFE, 0xFF]) {
        return (utf16(rest, u16::from_be_bytes), Encoding::Utf16);
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), Encoding::Utf8),
        Err(_) => (bytes.iter().map(|byte| windows_1252(*byte)).collect(), Encoding::Windows1252),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
        byte => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_windows_are_read() {
        assert_eq!(text(b"\xEF\xBB\xBFa\xC2\xB0C"), ("a°C".into(), Encoding::Utf8));
        assert_eq!(text(b"\xD6l 60 \xB0C \x80"), ("Öl 60 °C €".into(), Encoding::Windows1252));
        assert_eq!(text(b"\xFF\xFEa\x00\xB0\x00"), ("a°".into(), Encoding::Utf16));
        assert_eq!(text(b"\xFE\xFF\x00a\x00"), ("a".into(), Encoding::Utf16));
    }
}
