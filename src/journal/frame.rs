//! Frames: length, checksum, body. `docs/journal-format.md` is the specification.

use std::io;

use super::varint;

/// Largest body of a frame, in bytes, packed or not.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Length and checksum in front of each body.
pub(super) const FRAME_HEADER_BYTES: usize = 8;
/// Longest head of a body: kind, and five numbers of variable length.
pub(super) const HEAD_BYTES_MAX: usize = 1 + 5 * 10;
const KIND_DICTIONARY: u8 = 1;
const KIND_BLOCK: u8 = 2;
/// A block whose records carry their own offsets; 3 and 4 are left to others.
const KIND_THINNED: u8 = 5;
const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;
/// The first byte of a body has the kind in its low half and the codec in its high half.
const CODEC_SHIFT: u32 = 4;
const KIND_MASK: u8 = 0x0f;
/// Speed before ratio: the journal shares a small CPU with the polling.
const ZSTD_LEVEL: i32 = 1;
/// Shorter content does not win by packing.
const PACK_BYTES_MIN: usize = 64;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("cut short")]
    Short,
    #[error("a length of {0} bytes, more than the {BODY_BYTES_MAX} allowed")]
    Length(u32),
    #[error("checksum mismatch")]
    Checksum,
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    #[error("unknown codec {0}")]
    Codec(u8),
    #[error("content does not unpack to what its head says")]
    Content,
    #[error("cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

/// What stands before the records of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub codec: u8,
    /// The records sum up others and stand at offsets of their own.
    pub thinned: bool,
    /// Offsets from the first that the block covers; as many records, unless it is thinned.
    pub count: u32,
    pub first_offset: u64,
    /// Whole milliseconds.
    pub base_us: i64,
    /// Bytes of the file between the last synced byte and this frame. Everything before them was
    /// synced when this block was written, so damage there is rot and not a torn write.
    pub group_bytes: u32,
    pub raw_bytes: u32,
}

/// A frame whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Dictionary { number: u32, codec: u8, raw_bytes: u32, content: &'a [u8] },
    Block { head: BlockHead, content: &'a [u8] },
}

/// CRC-32C over the length and the body. Without the length, zeros would be a valid empty frame.
fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), body)
}

/// Length of the body that a frame header announces.
pub(super) fn body_bytes(header: [u8; FRAME_HEADER_BYTES]) -> Result<usize, Fault> {
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= BODY_BYTES_MAX => Ok(bytes),
        _ => Err(Fault::Length(length)),
    }
}

/// The body of the frame at the front of `bytes`, its checksum verified.
pub(super) fn checked_body(bytes: &[u8]) -> Result<&[u8], Fault> {
    let header = *bytes.first_chunk::<FRAME_HEADER_BYTES>().ok_or(Fault::Short)?;
    let length = body_bytes(header)?;
    let body = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length).ok_or(Fault::Short)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    if checksum([l0, l1, l2, l3], body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Fault::Checksum);
    }
    Ok(body)
}

/// True when a body can begin with this byte.
pub(super) fn begins_body(byte: u8) -> bool {
    matches!(byte & KIND_MASK, KIND_DICTIONARY | KIND_BLOCK | KIND_THINNED)
}

/// Takes a checked body apart.
pub(super) fn parse_body(body: &[u8]) -> Result<Frame<'_>, Fault> {
    let (&first, mut rest) = body.split_first().ok_or(Fault::Short)?;
    let codec = first >> CODEC_SHIFT;
    let frame = match first & KIND_MASK {
        KIND_DICTIONARY => take_dictionary(codec, &mut rest),
        KIND_BLOCK => take_block(codec, false, &mut rest),
        KIND_THINNED => take_block(codec, true, &mut rest),
        other => return Err(Fault::Kind(other)),
    };
    frame.ok_or(Fault::Content)
}

fn take_dictionary<'a>(codec: u8, rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let number = take_u32(rest)?;
    let raw_bytes = take_raw_bytes(codec, rest)?;
    Some(Frame::Dictionary { number, codec, raw_bytes, content: rest })
}

fn take_block<'a>(codec: u8, thinned: bool, rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let count = take_u32(rest)?;
    let first_offset = varint::take(rest)?;
    // Offsets that overflow would wrap into the valid range.
    first_offset.checked_add(u64::from(count))?;
    let base_us = varint::take_signed(rest)?.checked_mul(1000)?;
    let group_bytes = take_u32(rest)?;
    let raw_bytes = take_raw_bytes(codec, rest)?;
    let head = BlockHead { codec, thinned, count, first_offset, base_us, group_bytes, raw_bytes };
    Some(Frame::Block { head, content: rest })
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::take(rest)?).ok()
}

/// Content that is not packed has its own length.
fn take_raw_bytes(codec: u8, rest: &mut &[u8]) -> Option<u32> {
    if codec == CODEC_NONE { u32::try_from(rest.len()).ok() } else { take_u32(rest) }
}

/// Appends the first byte of a body.
fn put_kind(out: &mut Vec<u8>, kind: u8, codec: u8) {
    out.push(kind | codec << CODEC_SHIFT);
}

/// Appends the content and, when it is packed, how long it was.
fn put_content(out: &mut Vec<u8>, codec: u8, raw: &[u8], content: &[u8]) {
    if codec != CODEC_NONE {
        varint::put(out, raw.len() as u64);
    }
    out.extend_from_slice(content);
}

/// Appends a frame around the body that `fill` writes.
fn put_frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    fill(out);
    let body = start + FRAME_HEADER_BYTES;
    debug_assert!(out.len() - body <= BODY_BYTES_MAX, "the callers bound what they put in");
    let length = u32::try_from(out.len() - body).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = checksum(length, &out[body..]).to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..body].copy_from_slice(&checksum);
}

/// Packs and writes frames, reusing its buffers.
pub(super) struct FrameWriter {
    zstd: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl FrameWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?, packed: Vec::new() })
    }

    /// `raw` as it is, or packed when that saves at least a sixteenth.
    fn pack<'a>(&'a mut self, raw: &'a [u8]) -> (u8, &'a [u8]) {
        if raw.len() < PACK_BYTES_MIN {
            return (CODEC_NONE, raw);
        }
        let worth = raw.len() - raw.len() / 16;
        self.packed.clear();
        self.packed.reserve(worth);
        // It fails when the result does not fit, which is when packing does not help.
        match self.zstd.compress_to_buffer(raw, &mut self.packed) {
            Ok(length) if length <= worth => (CODEC_ZSTD, &self.packed),
            _ => (CODEC_NONE, raw),
        }
    }

    /// Appends a dictionary frame; `raw` is bounded by the caller.
    pub(super) fn dictionary(&mut self, out: &mut Vec<u8>, number: u32, raw: &[u8]) {
        let (codec, content) = self.pack(raw);
        put_frame(out, |out| {
            put_kind(out, KIND_DICTIONARY, codec);
            varint::put(out, u64::from(number));
            put_content(out, codec, raw, content);
        });
    }

    /// Appends a block frame; `raw` is bounded by the caller, codec and length of `head` are set here.
    pub(super) fn block(&mut self, out: &mut Vec<u8>, head: BlockHead, raw: &[u8]) {
        let (codec, content) = self.pack(raw);
        put_frame(out, |out| {
            put_kind(out, if head.thinned { KIND_THINNED } else { KIND_BLOCK }, codec);
            varint::put(out, u64::from(head.count));
            varint::put(out, head.first_offset);
            varint::put_signed(out, head.base_us.div_euclid(1000));
            varint::put(out, u64::from(head.group_bytes));
            put_content(out, codec, raw, content);
        });
    }
}

/// Unpacks what [`FrameWriter`] packed.
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
            return Err(Fault::Length(raw_bytes));
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

    fn block_head() -> BlockHead {
        let (count, first_offset, base_us) = (2, 7, 1_000_000);
        BlockHead { codec: 0, thinned: false, count, first_offset, base_us, group_bytes: 64, raw_bytes: 4 }
    }

    #[test]
    fn zeros_are_never_a_frame() {
        for length in 0..64 {
            assert!(checked_body(&vec![0; length]).is_err(), "{length} zeros passed the checksum");
        }
    }

    #[test]
    fn a_block_has_exactly_the_documented_bytes() {
        let mut out = Vec::new();
        FrameWriter::new().unwrap().block(&mut out, block_head(), b"\x01a\x01b");
        // Length 10, checksum, block not packed, 2 records from offset 7, 1000 ms, 64 bytes in front.
        let mut expected = vec![10, 0, 0, 0, 0, 0, 0, 0, 2, 2, 7, 0xd0, 0x0f, 64, 1, b'a', 1, b'b'];
        // The checksum spelled out: over the length, then the body.
        let whole = [&expected[..4], &expected[8..]].concat();
        expected[4..8].copy_from_slice(&crc32c::crc32c(&whole).to_le_bytes());
        assert_eq!(out, expected);
        let parsed = parse_body(checked_body(&out).unwrap()).unwrap();
        assert_eq!(parsed, Frame::Block { head: block_head(), content: b"\x01a\x01b" });
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        FrameWriter::new().unwrap().dictionary(&mut out, 3, b"{\"device\":\"press-3\"}");
        for bit in 0..out.len() * 8 {
            let mut damaged = out.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(checked_body(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn packed_content_is_bounded() {
        let raw = vec![7; 100_000];
        let packed = zstd::bulk::compress(&raw, 1).unwrap();
        let mut unpacker = Unpacker::new().unwrap();
        let mut out = Vec::new();
        assert_eq!(unpacker.unpack(CODEC_ZSTD, 100_000, &packed, &mut out), Ok(()));
        assert_eq!(out, raw);
        assert_eq!(unpacker.unpack(CODEC_ZSTD, 99_999, &packed, &mut out), Err(Fault::Content));
        assert_eq!(unpacker.unpack(CODEC_ZSTD, 100_001, &packed, &mut out), Err(Fault::Content));
        assert_eq!(unpacker.unpack(CODEC_ZSTD, u32::MAX, &packed, &mut out), Err(Fault::Length(u32::MAX)));
        assert_eq!(unpacker.unpack(9, 100_000, &packed, &mut out), Err(Fault::Codec(9)));
    }
}
