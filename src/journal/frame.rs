//! Frames: head, checksum, body. `docs/journal-format.md` is the specification.
//!
//! Frames of both versions of the format are read, those of version 2 are written.

use std::io;

use super::frame_one;
use super::pack::{CODEC_NONE, CODEC_ZSTD, Packer};
use super::segment::NUMBERS_END;
use super::unreadable::ReadError;
use super::varint;

/// Largest body of a frame, in bytes, packed or not.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Longest head of a body: six numbers of variable length.
pub(super) const HEAD_BYTES_MAX: usize = 6 * 10;
/// Longest frame around an empty body: flags, length, checksum.
pub(super) const FRAME_HEAD_BYTES_MAX: usize = 1 + 4 + CHECKSUM_BYTES;
pub(super) const CHECKSUM_BYTES: usize = 4;

/// The first byte of a frame has its kind in the low three bits.
const KIND_MASK: u8 = 7;
const KIND_DICTIONARY: u8 = 1;
const KIND_CHAIN: u8 = 2;
const KIND_CONTENTS: u8 = 3;
const KIND_ROWS: u8 = 4;
/// Rows whose records carry their own offsets.
const KIND_THINNED: u8 = 5;
/// A chain begins here.
const KEY: u8 = 8;
/// A chain block of one record, without its length.
const ONE: u8 = 16;
/// ... and with the number of its dictionary.
const DICTIONARY_GIVEN: u8 = 32;
/// Something stands between the last synced byte and this frame.
const GROUP: u8 = 64;
/// Packed: the content, or of a chain block the bytes of its records.
const PACKED: u8 = 128;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("cut short")]
    Short,
    #[error("a length of {0} bytes, more than the {BODY_BYTES_MAX} allowed")]
    Length(u64),
    #[error("checksum mismatch")]
    Checksum,
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    #[error("unknown codec {0}")]
    Codec(u8),
    #[error("content does not unpack to what its head says")]
    Content,
    #[error("cannot be read: {0}")]
    Unreadable(ReadError),
}

/// Version of the frames in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    One,
    Two,
}

/// Where the parts of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes before the checksum, which covers them and the body.
    pub head: usize,
    pub body: usize,
}

impl Shape {
    /// Where the body begins.
    pub(super) fn body_at(self) -> usize {
        self.head + CHECKSUM_BYTES
    }

    /// Length of the frame.
    pub(super) fn length(self) -> usize {
        self.body_at() + self.body
    }
}

/// What stands before the records of a block of rows.
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

/// How a block of a chain is joined to what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// The chain begins here, at this offset and wall time (whole milliseconds).
    Key { first_offset: u64, base_us: i64 },
    /// It goes on here.
    Next(Low),
}

/// The end of an offset: its low byte where there is one record, its two low bytes else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Low {
    value: u16,
    one: bool,
}

impl Low {
    /// The end of `offset` in a block of one record or of several.
    pub(super) fn of(offset: u64, one: bool) -> Self {
        let [low, high, ..] = offset.to_le_bytes();
        Self { value: u16::from_le_bytes([low, if one { 0 } else { high }]), one }
    }

    /// Whether `offset` ends so.
    pub(super) fn fits(self, offset: u64) -> bool {
        self == Self::of(offset, self.one)
    }

    /// The first offset from `from` on that ends so, and how far it is to the one after it.
    pub(super) fn next_from(self, from: u64) -> (u64, u64) {
        let step = if self.one { 1 << 8 } else { 1 << 16 };
        (from.saturating_add(u64::from(self.value).wrapping_sub(from) & (step - 1)), step)
    }

    fn put(self, body: &mut Vec<u8>) {
        let bytes = self.value.to_le_bytes();
        body.extend_from_slice(if self.one { &bytes[..1] } else { &bytes });
    }

    fn take(one: bool, rest: &mut &[u8]) -> Option<Self> {
        let (taken, behind) = rest.split_at_checked(if one { 1 } else { 2 })?;
        *rest = behind;
        let high = taken.get(1).copied().unwrap_or(0);
        Some(Self { value: u16::from_le_bytes([taken[0], high]), one })
    }
}

/// What stands before the records of a block of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub joint: Joint,
    pub count: u32,
    /// As in [`BlockHead`].
    pub group_bytes: u32,
    /// The records have no lengths, because there is one; its dictionary, when it is given.
    pub one: Option<Option<u32>>,
}

/// A frame whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Dictionary {
        number: u32,
        codec: u8,
        raw_bytes: u32,
        content: &'a [u8],
    },
    Block {
        head: BlockHead,
        content: &'a [u8],
    },
    /// `backs`: the bytes of all records, packed, and how many they are.
    Chain {
        head: ChainHead,
        backs: Option<(u32, &'a [u8])>,
        content: &'a [u8],
    },
    Contents(&'a [u8]),
}

impl Format {
    /// Shape of the frame that begins with `bytes`, of which the head must be there.
    pub(super) fn shape(self, bytes: &[u8]) -> Result<Shape, Fault> {
        match self {
            Self::One => frame_one::shape(bytes),
            Self::Two => shape(bytes),
        }
    }

    /// Takes a whole frame apart, its checksum verified.
    pub(super) fn parse(self, bytes: &[u8]) -> Result<Frame<'_>, Fault> {
        self.parse_shaped(bytes, self.shape(bytes)?)
    }

    /// [`Format::parse`] of a frame whose shape is known.
    pub(super) fn parse_shaped(self, bytes: &[u8], shape: Shape) -> Result<Frame<'_>, Fault> {
        let body = bytes.get(shape.body_at()..shape.length()).ok_or(Fault::Short)?;
        let (head, checksum) = bytes.split_at(shape.head);
        if checksum[..CHECKSUM_BYTES] != checksum_of(head, body).to_le_bytes() {
            return Err(Fault::Checksum);
        }
        match self {
            Self::One => frame_one::parse_body(body),
            Self::Two => parse_body(bytes[0], body),
        }
    }
}

/// CRC-32C over the head and the body. Without the head, zeros would be a valid empty frame.
fn checksum_of(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), body)
}

/// Flags that a kind may have.
fn is_flags(flags: u8) -> bool {
    let may_have = match flags & KIND_MASK {
        KIND_DICTIONARY | KIND_ROWS | KIND_THINNED => PACKED,
        KIND_CHAIN if flags & ONE == 0 => KEY | GROUP | PACKED,
        KIND_CHAIN => KEY | ONE | DICTIONARY_GIVEN | GROUP | PACKED,
        KIND_CONTENTS => 0,
        _ => return false,
    };
    flags & !KIND_MASK & !may_have == 0
}

fn shape(bytes: &[u8]) -> Result<Shape, Fault> {
    let (&flags, mut rest) = bytes.split_first().ok_or(Fault::Short)?;
    if !is_flags(flags) {
        return Err(Fault::Kind(flags));
    }
    let before = rest.len();
    let length = varint::take(&mut rest).ok_or(Fault::Short)?;
    match usize::try_from(length) {
        Ok(body) if body <= BODY_BYTES_MAX => Ok(Shape { head: 1 + before - rest.len(), body }),
        _ => Err(Fault::Length(length)),
    }
}

fn parse_body(flags: u8, body: &[u8]) -> Result<Frame<'_>, Fault> {
    let codec = if flags & PACKED == 0 { CODEC_NONE } else { CODEC_ZSTD };
    let mut rest = body;
    let frame = match flags & KIND_MASK {
        KIND_DICTIONARY => take_dictionary(codec, &mut rest),
        KIND_CHAIN => take_chain(flags, &mut rest),
        KIND_CONTENTS => Some(Frame::Contents(rest)),
        kind => take_block(codec, kind == KIND_THINNED, &mut rest),
    };
    frame.ok_or(Fault::Content)
}

pub(super) fn take_dictionary<'a>(codec: u8, rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let number = take_u32(rest)?;
    let raw_bytes = take_raw_bytes(codec, rest)?;
    Some(Frame::Dictionary { number, codec, raw_bytes, content: rest })
}

pub(super) fn take_block<'a>(codec: u8, thinned: bool, rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let count = take_u32(rest)?;
    let first_offset = varint::take(rest)?;
    plausible(first_offset, count)?;
    let base_us = varint::take_signed(rest)?.checked_mul(1000)?;
    let group_bytes = take_u32(rest)?;
    let raw_bytes = take_raw_bytes(codec, rest)?;
    let head = BlockHead { codec, thinned, count, first_offset, base_us, group_bytes, raw_bytes };
    Some(Frame::Block { head, content: rest })
}

fn take_chain<'a>(flags: u8, rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let joint = if flags & KEY == 0 {
        Joint::Next(Low::take(flags & ONE != 0, rest)?)
    } else {
        let first_offset = varint::take(rest)?;
        Joint::Key { first_offset, base_us: varint::take_signed(rest)?.checked_mul(1000)? }
    };
    let group_bytes = if flags & GROUP == 0 { 0 } else { take_u32(rest)? };
    let count = if flags & ONE == 0 { take_u32(rest)? } else { 1 };
    if let Joint::Key { first_offset, .. } = joint {
        plausible(first_offset, count)?;
    }
    let backs = if flags & PACKED == 0 {
        None
    } else {
        let raw_bytes = take_u32(rest)?;
        let length = usize::try_from(varint::take(rest)?).ok()?;
        let (packed, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        Some((raw_bytes, packed))
    };
    let one = match (flags & ONE, flags & DICTIONARY_GIVEN) {
        (0, _) => None,
        (_, 0) => Some(None),
        _ => Some(Some(take_u32(rest)?)),
    };
    Some(Frame::Chain { head: ChainHead { joint, count, group_bytes, one }, backs, content: rest })
}

/// Nobody writes so many records that offsets come to their end; what follows a block that says so could
/// not be told from a file of somebody else.
fn plausible(first_offset: u64, count: u32) -> Option<()> {
    (first_offset.checked_add(u64::from(count))? < NUMBERS_END).then_some(())
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::take(rest)?).ok()
}

/// Content that is not packed has its own length.
fn take_raw_bytes(codec: u8, rest: &mut &[u8]) -> Option<u32> {
    if codec == CODEC_NONE { u32::try_from(rest.len()).ok() } else { take_u32(rest) }
}

/// Packs and writes frames, reusing its buffers.
pub(super) struct FrameWriter {
    packer: Packer,
    body: Vec<u8>,
}

impl FrameWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { packer: Packer::new()?, body: Vec::new() })
    }

    /// One that packs better and takes longer.
    pub(super) fn thorough() -> io::Result<Self> {
        Ok(Self { packer: Packer::thorough()?, body: Vec::new() })
    }

    /// Appends a frame around the body that `fill` writes; it returns the flags.
    fn frame(&mut self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Packer, &mut Vec<u8>) -> u8) {
        let Self { packer, body } = self;
        body.clear();
        let flags = fill(packer, body);
        debug_assert!(body.len() <= BODY_BYTES_MAX, "the callers bound what they put in");
        let start = out.len();
        out.push(flags);
        varint::put(out, body.len() as u64);
        let checksum = checksum_of(&out[start..], body);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(body);
    }

    /// Appends a dictionary frame; `raw` is bounded by the caller.
    pub(super) fn dictionary(&mut self, out: &mut Vec<u8>, number: u32, raw: &[u8]) {
        self.frame(out, |packer, body| {
            varint::put(body, u64::from(number));
            KIND_DICTIONARY | put_content(packer, body, raw)
        });
    }

    /// Appends a block of rows; `raw` is bounded by the caller, codec and length of `head` are set
    /// here.
    pub(super) fn block(&mut self, out: &mut Vec<u8>, head: BlockHead, raw: &[u8]) {
        self.frame(out, |packer, body| {
            varint::put(body, u64::from(head.count));
            varint::put(body, head.first_offset);
            varint::put_signed(body, head.base_us.div_euclid(1000));
            varint::put(body, u64::from(head.group_bytes));
            put_content(packer, body, raw) | if head.thinned { KIND_THINNED } else { KIND_ROWS }
        });
    }

    /// Appends a block of a chain. `records` writes the records behind the head and the bytes that
    /// `backs` are, packed when that pays; it is told whether they are.
    pub(super) fn chain(
        &mut self,
        out: &mut Vec<u8>,
        head: ChainHead,
        backs: &[u8],
        records: impl FnOnce(&mut Vec<u8>, bool),
    ) {
        self.frame(out, |packer, body| {
            let mut flags = KIND_CHAIN;
            match head.joint {
                Joint::Key { first_offset, base_us } => {
                    flags |= KEY;
                    varint::put(body, first_offset);
                    varint::put_signed(body, base_us.div_euclid(1000));
                }
                Joint::Next(low) => low.put(body),
            }
            if head.group_bytes > 0 {
                flags |= GROUP;
                varint::put(body, u64::from(head.group_bytes));
            }
            if head.one.is_some() {
                flags |= ONE;
            } else {
                varint::put(body, u64::from(head.count));
            }
            let packed = packer.pack(backs);
            if let Some(packed) = packed {
                flags |= PACKED;
                varint::put(body, backs.len() as u64);
                varint::put(body, packed.len() as u64);
                body.extend_from_slice(packed);
            }
            if let Some(Some(dictionary)) = head.one {
                flags |= DICTIONARY_GIVEN;
                varint::put(body, u64::from(dictionary));
            }
            records(body, packed.is_some());
            flags
        });
    }

    /// Appends the table of contents.
    pub(super) fn contents(&mut self, out: &mut Vec<u8>, content: &[u8]) {
        self.frame(out, |_, body| {
            body.extend_from_slice(content);
            KIND_CONTENTS
        });
    }
}

/// Appends the content, packed when that pays, and then with its length; returns the flag.
fn put_content(packer: &mut Packer, body: &mut Vec<u8>, raw: &[u8]) -> u8 {
    match packer.pack(raw) {
        Some(packed) => {
            varint::put(body, raw.len() as u64);
            body.extend_from_slice(packed);
            PACKED
        }
        None => {
            body.extend_from_slice(raw);
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_never_a_frame() {
        for length in 0..64 {
            for format in [Format::One, Format::Two] {
                assert!(format.parse(&vec![0; length]).is_err(), "{length} zeros passed the checksum");
            }
        }
    }

    /// `flags`, the length of `body`, their checksum, `body`.
    fn framed(flags: u8, body: &[u8]) -> Vec<u8> {
        let head = [flags, u8::try_from(body.len()).unwrap()];
        let checksum = crc32c::crc32c(&[&head, body].concat());
        [&head[..], &checksum.to_le_bytes(), body].concat()
    }

    #[test]
    fn a_block_of_rows_has_exactly_the_documented_bytes() {
        let (count, first_offset, base_us) = (2, 7, 1_000_000);
        let head = BlockHead {
            codec: 0,
            thinned: false,
            count,
            first_offset,
            base_us,
            group_bytes: 64,
            raw_bytes: 4,
        };
        let mut out = Vec::new();
        FrameWriter::new().unwrap().block(&mut out, head, b"\x01a\x01b");
        // 2 records from offset 7, 1000 ms, 64 bytes in front.
        assert_eq!(out, framed(4, &[2, 7, 0xd0, 0x0f, 64, 1, b'a', 1, b'b']));
        assert_eq!(Format::Two.parse(&out), Ok(Frame::Block { head, content: b"\x01a\x01b" }));
    }

    #[test]
    fn a_block_of_a_chain_has_exactly_the_documented_bytes() {
        let mut writer = FrameWriter::new().unwrap();
        let joint = Joint::Key { first_offset: 300, base_us: 1_000_000 };
        let key = ChainHead { joint, count: 2, group_bytes: 64, one: None };
        let mut out = Vec::new();
        writer.chain(&mut out, key, &[], |body, _| body.extend_from_slice(b"records"));
        assert_eq!(out, framed(2 | 8 | 64, b"\xac\x02\xd0\x0f\x40\x02records"));
        assert_eq!(Format::Two.parse(&out), Ok(Frame::Chain { head: key, backs: None, content: b"records" }));

        let next =
            ChainHead { joint: Joint::Next(Low::of(0x012d, false)), count: 3, group_bytes: 0, one: None };
        out.clear();
        writer.chain(&mut out, next, &[], |body, _| body.extend_from_slice(b"records"));
        assert_eq!(out, framed(2, b"\x2d\x01\x03records"));
        assert_eq!(
            Format::Two.parse(&out),
            Ok(Frame::Chain { head: next, backs: None, content: b"records" })
        );

        let one = ChainHead {
            joint: Joint::Next(Low::of(0x012d, true)),
            count: 1,
            group_bytes: 0,
            one: Some(Some(3)),
        };
        out.clear();
        writer.chain(&mut out, one, &[], |body, _| body.extend_from_slice(b"record"));
        assert_eq!(out, framed(2 | 16 | 32, b"\x2d\x03record"));
        assert_eq!(Format::Two.parse(&out), Ok(Frame::Chain { head: one, backs: None, content: b"record" }));
        let one = ChainHead { one: Some(None), ..one };
        out.clear();
        writer.chain(&mut out, one, &[7; 1000], |body, packed| {
            assert!(packed);
            body.extend_from_slice(b"record");
        });
        assert_eq!(out[0], 2 | 16 | 128);
        let parsed = Format::Two.parse(&out);
        let Ok(Frame::Chain { head, backs: Some((1000, _)), content: b"record" }) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!(head, one);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        FrameWriter::new().unwrap().dictionary(&mut out, 3, b"{\"device\":\"press-3\"}");
        for bit in 0..out.len() * 8 {
            let mut damaged = out.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Format::Two.parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn flags_that_a_kind_cannot_have_are_no_frame() {
        for flags in [0, 6, 7, 1 | KEY, 3 | PACKED, 4 | ONE, 2 | DICTIONARY_GIVEN, 5 | GROUP] {
            assert_eq!(Format::Two.parse(&framed(flags, b"body")), Err(Fault::Kind(flags)));
        }
    }
}
