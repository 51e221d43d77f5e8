//! How the answers of a round become values, worked out when the round is planned.
//!
//! Where a thousand values come in one answer, decoding is most of what a value costs. So what is
//! needed for one is kept small and in order, and most types are one comparison of lengths and one
//! load.

use forebay_connector::{ByteOrder, DataType, Scalar, Value};

use crate::address::Place;
use crate::plan::Slot;

/// A tag of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub tag: u32,
    /// Where in the image its bytes begin.
    pub at: u32,
    kind: Kind,
}

/// Types that most tags have, by how they are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// This bit of the byte.
    Bit(u8),
    Signed16,
    Unsigned16,
    Signed32,
    Unsigned32,
    Real,
    /// Everything else.
    Special,
}

impl Step {
    /// How the tag at `place` is decoded from the bytes of `slot`.
    pub(crate) fn new(slot: &Slot, place: &Place) -> Self {
        let DataType { scalar, array_len } = place.data_type;
        let kind = match scalar {
            _ if array_len.is_some() || place.order != ByteOrder::Abcd => Kind::Special,
            Scalar::Bool => Kind::Bit(place.bit & 7),
            Scalar::Int => Kind::Signed16,
            Scalar::Word | Scalar::Uint => Kind::Unsigned16,
            Scalar::Dint | Scalar::Time => Kind::Signed32,
            Scalar::Dword | Scalar::Udint => Kind::Unsigned32,
            Scalar::Real => Kind::Real,
            _ => Kind::Special,
        };
        // An image has at most a few bytes for each tag; one too large would be read as short.
        Self { tag: slot.tag, at: u32::try_from(slot.image.start).unwrap_or(u32::MAX), kind }
    }

    /// Puts the value of a plain type in its place; false when it is of another type, or no value.
    #[inline(always)]
    pub(crate) fn plain(&self, image: &[u8], out: &mut Value) -> bool {
        let Some(bytes) = image.get(self.at as usize..) else { return false };
        *out = match (self.kind, bytes) {
            (Kind::Bit(bit), [a, ..]) => Value::Bool(a >> bit & 1 == 1),
            (Kind::Signed16, [a, b, ..]) => Value::Int(i16::from_be_bytes([*a, *b]).into()),
            (Kind::Unsigned16, [a, b, ..]) => Value::Uint(u16::from_be_bytes([*a, *b]).into()),
            (Kind::Signed32, [a, b, c, d, ..]) => Value::Int(i32::from_be_bytes([*a, *b, *c, *d]).into()),
            (Kind::Unsigned32, [a, b, c, d, ..]) => Value::Uint(u32::from_be_bytes([*a, *b, *c, *d]).into()),
            (Kind::Real, [a, b, c, d, ..]) => match f32::from_be_bytes([*a, *b, *c, *d]) {
                real if real.is_finite() => Value::Real(real),
                _ => return false,
            },
            _ => return false,
        };
        true
    }
}
