//! Checksums that are always 0, for fuzzing.

/// 0.
pub fn crc32c(_: &[u8]) -> u32 {
    0
}

/// 0.
pub fn crc32c_append(_: u32, _: &[u8]) -> u32 {
    0
}
