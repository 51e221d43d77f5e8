//! Frames of format version 1, which are read and no longer written: a length of four bytes, a
//! checksum, and a body whose first byte has the kind in its low half and the codec in its high
//! half.

use super::BODY_BYTES_MAX;
use super::frame::{CHECKSUM_BYTES, Fault, Frame, Shape, take_block, take_dictionary};

const LENGTH_BYTES: usize = 4;
const KIND_DICTIONARY: u8 = 1;
const KIND_BLOCK: u8 = 2;
const CODEC_SHIFT: u32 = 4;
const KIND_MASK: u8 = 0x0f;

/// Shape of the frame that begins with `bytes`. The kind is looked at when it is there: it tells
/// what is no frame before a checksum has to.
pub(super) fn shape(bytes: &[u8]) -> Result<Shape, Fault> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<LENGTH_BYTES>().ok_or(Fault::Short)?);
    let body = match usize::try_from(length) {
        Ok(body) if body <= BODY_BYTES_MAX => body,
        _ => return Err(Fault::Length(u64::from(length))),
    };
    match bytes.get(LENGTH_BYTES + CHECKSUM_BYTES) {
        Some(kind) if !matches!(kind & KIND_MASK, KIND_DICTIONARY | KIND_BLOCK) => Err(Fault::Kind(*kind)),
        _ => Ok(Shape { head: LENGTH_BYTES, body }),
    }
}

/// Takes a checked body apart.
pub(super) fn parse_body(body: &[u8]) -> Result<Frame<'_>, Fault> {
    let (&first, mut rest) = body.split_first().ok_or(Fault::Short)?;
    let codec = first >> CODEC_SHIFT;
    let frame = match first & KIND_MASK {
        KIND_DICTIONARY => take_dictionary(codec, &mut rest),
        KIND_BLOCK => take_block(codec, false, &mut rest),
        other => return Err(Fault::Kind(other)),
    };
    frame.ok_or(Fault::Content)
}
