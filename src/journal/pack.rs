//! Packing with zstd, where it pays.

use std::io;

use super::BODY_BYTES_MAX;
use super::frame::Fault;

/// Content as it is.
pub(super) const CODEC_NONE: u8 = 0;
/// Content packed with zstd.
pub(super) const CODEC_ZSTD: u8 = 1;
/// Speed before ratio: the journal shares a small CPU with the polling.
const ZSTD_LEVEL: i32 = 1;
/// For what is written once in a while and is to stay for weeks.
const ZSTD_LEVEL_THOROUGH: i32 = 6;
/// Shorter content does not win by packing.
pub(super) const PACK_BYTES_MIN: usize = 64;

/// Packs, reusing its buffers.
pub(super) struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?, packed: Vec::new() })
    }

    /// One that takes its time.
    pub(super) fn thorough() -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL_THOROUGH)?, packed: Vec::new() })
    }

    /// `raw` packed, when that saves at least a sixteenth.
    pub(super) fn pack(&mut self, raw: &[u8]) -> Option<&[u8]> {
        if raw.len() < PACK_BYTES_MIN {
            return None;
        }
        let worth = raw.len() - raw.len() / 16;
        self.packed.clear();
        self.packed.reserve(worth);
        // It fails when the result does not fit, which is when packing does not help.
        let length = self.zstd.compress_to_buffer(raw, &mut self.packed).ok()?;
        (length <= worth).then_some(&self.packed)
    }
}

/// Unpacks what [`Packer`] packed.
pub(super) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(zstd::bulk::Decompressor::new()?))
    }

    /// Replaces `raw` with the unpacked content, which must have exactly `raw_bytes`.
    pub(super) fn unpack(
        &mut self,
        codec: u8,
        raw_bytes: u32,
        content: &[u8],
        raw: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        raw.clear();
        let expected = usize::try_from(raw_bytes).unwrap_or(usize::MAX);
        if expected > BODY_BYTES_MAX {
            return Err(Fault::Length(u64::from(raw_bytes)));
        }
        match codec {
            CODEC_NONE => raw.extend_from_slice(content),
            CODEC_ZSTD => {
                raw.reserve(expected);
                self.0.decompress_to_buffer(content, raw).map_err(|_| Fault::Content)?;
            }
            other => return Err(Fault::Codec(other)),
        }
        if raw.len() == expected { Ok(()) } else { Err(Fault::Content) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_content_is_bounded() {
        let raw = vec![7; 100_000];
        let packed = Packer::new().unwrap().pack(&raw).expect("it packs well").to_vec();
        let mut unpacker = Unpacker::new().unwrap();
        let mut out = Vec::new();
        assert_eq!(unpacker.unpack(CODEC_ZSTD, 100_000, &packed, &mut out), Ok(()));
        assert_eq!(out, raw);
        assert_eq!(unpacker.unpack(CODEC_ZSTD, 99_999, &packed, &mut out), Err(Fault::Content));
        assert_eq!(unpacker.unpack(CODEC_ZSTD, 100_001, &packed, &mut out), Err(Fault::Content));
        let most = u64::from(u32::MAX);
        assert_eq!(unpacker.unpack(CODEC_ZSTD, u32::MAX, &packed, &mut out), Err(Fault::Length(most)));
        assert_eq!(unpacker.unpack(9, 100_000, &packed, &mut out), Err(Fault::Codec(9)));
    }

    #[test]
    fn what_does_not_pack_stays() {
        let mut fate = super::super::memory_disk::Fate::new(1);
        let noise: Vec<u8> = (0..1000).map(|_| fate.next().to_le_bytes()[0]).collect();
        let mut packer = Packer::new().unwrap();
        assert_eq!(packer.pack(&noise), None);
        assert_eq!(packer.pack(&[7; 63]), None);
    }
}
