//! Data types of IEC 61131-3 as profiles name them, and byte orders.

use std::fmt;

/// One element's type. Names and widths follow IEC 61131-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// One bit.
    Bool,
    /// 8 bits, unsigned.
    Byte,
    /// 8 bits, signed.
    Sint,
    /// 8 bits, unsigned.
    Usint,
    /// 8 bits, one Latin-1 character.
    Char,
    /// 16 bits, one UTF-16 unit.
    Wchar,
    /// 16 bits, unsigned.
    Word,
    /// 16 bits, signed.
    Int,
    /// 16 bits, unsigned.
    Uint,
    /// 32 bits, unsigned.
    Dword,
    /// 32 bits, signed.
    Dint,
    /// 32 bits, unsigned.
    Udint,
    /// 32 bits, signed, milliseconds.
    Time,
    /// 64 bits, unsigned.
    Lword,
    /// 64 bits, signed.
    Lint,
    /// 64 bits, unsigned.
    Ulint,
    /// IEEE 754 binary32.
    Real,
    /// IEEE 754 binary64.
    Lreal,
    /// Text of at most this many bytes; `None` where the server knows the length (OPC UA).
    String(Option<u16>),
    /// Text of at most this many UTF-16 units.
    Wstring(Option<u16>),
    /// Binary coded decimal, 16 bits, four digits; the decoded value is the number.
    Bcd,
    /// Binary coded decimal, 32 bits, eight digits; the decoded value is the number.
    Lbcd,
    /// Siemens S5TIME, 16 bits: time base and three decimal digits; decoded to milliseconds.
    S5time,
    /// Siemens DATE, 16 bits, days since 1990-01-01; decoded to a text such as `2026-02-11`,
    /// because a date without a zone is no point in time.
    Date,
    /// Siemens TIME_OF_DAY, 32 bits, unsigned, milliseconds since midnight.
    Tod,
    /// Siemens DATE_AND_TIME, 8 bytes of decimal digits, local time of the controller.
    DateAndTime,
    /// Siemens DTL, 12 bytes, local time of the controller.
    Dtl,
    /// A point in time as OPC UA sends it.
    DateTime,
}

impl Scalar {
    /// Width in bits of the value itself, `None` where it has no fixed width.
    pub fn bits(self) -> Option<u32> {
        Some(match self {
            Self::Bool => 1,
            Self::Byte | Self::Sint | Self::Usint | Self::Char => 8,
            Self::Wchar | Self::Word | Self::Int | Self::Uint | Self::Bcd | Self::S5time | Self::Date => 16,
            Self::Dword | Self::Dint | Self::Udint | Self::Time | Self::Real | Self::Lbcd | Self::Tod => 32,
            Self::Lword | Self::Lint | Self::Ulint | Self::Lreal | Self::DateTime | Self::DateAndTime => 64,
            Self::Dtl => 96,
            Self::String(_) | Self::Wstring(_) => return None,
        })
    }

    /// True for types that `scale`, `deadband` and `range` make sense for.
    pub fn is_number(self) -> bool {
        !matches!(
            self,
            Self::Bool
                | Self::Char
                | Self::Wchar
                | Self::String(_)
                | Self::Wstring(_)
                | Self::Date
                | Self::DateAndTime
                | Self::Dtl
                | Self::DateTime
        )
    }

    /// True for lengths of time in milliseconds: `unit = "s"` converts them.
    pub fn is_duration(self) -> bool {
        matches!(self, Self::Time | Self::S5time | Self::Tod)
    }

    /// True for points in time by the controller's own clock: they need `timezone`.
    pub fn is_local_time(self) -> bool {
        matches!(self, Self::Dtl | Self::DateAndTime)
    }

    /// True for the unsigned types that hold bits (`bits = "…"` is allowed).
    pub fn is_bit_string(self) -> bool {
        matches!(self, Self::Byte | Self::Word | Self::Dword | Self::Lword)
    }
}

/// A tag's type: one scalar or an array of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataType {
    /// Type of one element.
    pub scalar: Scalar,
    /// Number of elements of an array, `None` for a single value.
    pub array_len: Option<u16>,
}

/// Canonical names and their accepted aliases; `fmt` rewrites the aliases.
const NAMES: &[(&str, Scalar, &[&str])] = &[
    ("BOOL", Scalar::Bool, &["boolean", "bit"]),
    ("BYTE", Scalar::Byte, &[]),
    ("SINT", Scalar::Sint, &["int8", "i8"]),
    ("USINT", Scalar::Usint, &["uint8", "u8"]),
    ("CHAR", Scalar::Char, &[]),
    ("WCHAR", Scalar::Wchar, &[]),
    ("WORD", Scalar::Word, &[]),
    ("INT", Scalar::Int, &["int16", "i16", "short"]),
    ("UINT", Scalar::Uint, &["uint16", "u16", "ushort"]),
    ("DWORD", Scalar::Dword, &[]),
    ("DINT", Scalar::Dint, &["int32", "i32"]),
    ("UDINT", Scalar::Udint, &["uint32", "u32"]),
    ("TIME", Scalar::Time, &[]),
    ("LWORD", Scalar::Lword, &[]),
    ("LINT", Scalar::Lint, &["int64", "i64"]),
    ("ULINT", Scalar::Ulint, &["uint64", "u64"]),
    ("REAL", Scalar::Real, &["float32", "float", "f32"]),
    ("LREAL", Scalar::Lreal, &["float64", "double", "f64"]),
    ("STRING", Scalar::String(None), &["text"]),
    ("WSTRING", Scalar::Wstring(None), &[]),
    ("BCD", Scalar::Bcd, &["bcd16"]),
    ("LBCD", Scalar::Lbcd, &["bcd32"]),
    ("S5TIME", Scalar::S5time, &[]),
    ("DATE", Scalar::Date, &[]),
    ("TOD", Scalar::Tod, &["time_of_day"]),
    ("DATE_AND_TIME", Scalar::DateAndTime, &["dt"]),
    ("DTL", Scalar::Dtl, &[]),
    ("DATETIME", Scalar::DateTime, &[]),
];

impl DataType {
    /// A single value of `scalar`.
    pub const fn single(scalar: Scalar) -> Self {
        Self { scalar, array_len: None }
    }

    /// All canonical names, for help texts and nearest-name hints.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, ..)| *name)
    }

    /// Reads `REAL`, `STRING[16]`, `REAL[24]`; aliases such as `float32` are accepted.
    ///
    /// `None` when the name is unknown or a length is not within 1 to 65535.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, len) = match text.strip_suffix(']') {
            Some(rest) => {
                let (name, len) = rest.split_once('[')?;
                (name, Some(len.trim().parse::<u16>().ok().filter(|len| *len > 0)?))
            }
            None => (text, None),
        };
        let name = name.trim();
        let scalar = NAMES
            .iter()
            .find(|(canonical, _, aliases)| {
                canonical.eq_ignore_ascii_case(name)
                    || aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
            })?
            .1;
        Some(match scalar {
            Scalar::String(_) => Self::single(Scalar::String(len)),
            Scalar::Wstring(_) => Self::single(Scalar::Wstring(len)),
            _ => Self { scalar, array_len: len },
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES
            .iter()
            .find(|(_, scalar, _)| std::mem::discriminant(scalar) == std::mem::discriminant(&self.scalar))
            .map_or("?", |(name, ..)| name);
        let len = match self.scalar {
            Scalar::String(len) | Scalar::Wstring(len) => len,
            _ => self.array_len,
        };
        match len {
            Some(len) => write!(f, "{name}[{len}]"),
            None => f.write_str(name),
        }
    }
}

/// Order of the bytes of a value of several 16-bit words, in the four letters of profiles.
///
/// The 32-bit value 0x11223344 on the wire: ABCD 11 22 33 44, CDAB 33 44 11 22,
/// BADC 22 11 44 33, DCBA 44 33 22 11. For 64 bits CDAB reverses all four words,
/// BADC swaps the bytes of each word, DCBA reverses all eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ByteOrder {
    /// High word first, high byte first.
    #[default]
    Abcd,
    /// Low word first, high byte first.
    Cdab,
    /// High word first, low byte first.
    Badc,
    /// Low word first, low byte first.
    Dcba,
}

impl ByteOrder {
    /// The four letters.
    pub const NAMES: [&'static str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];

    /// Reads the four letters; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ABCD" => Some(Self::Abcd),
            "CDAB" => Some(Self::Cdab),
            "BADC" => Some(Self::Badc),
            "DCBA" => Some(Self::Dcba),
            _ => None,
        }
    }

    /// Rearranges the wire bytes of one value, in place, to high byte first.
    ///
    /// `bytes` is 2, 4 or 8 long; every order is its own inverse.
    pub fn to_big_endian(self, bytes: &mut [u8]) {
        if matches!(self, Self::Badc | Self::Dcba) {
            bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        }
        if matches!(self, Self::Cdab | Self::Dcba) {
            // Reversing all bytes and then each word's bytes reverses the words.
            bytes.reverse();
            bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_orders_are_those_of_the_documentation() {
        for (order, wire) in [
            (ByteOrder::Abcd, [0x11, 0x22, 0x33, 0x44]),
            (ByteOrder::Cdab, [0x33, 0x44, 0x11, 0x22]),
            (ByteOrder::Badc, [0x22, 0x11, 0x44, 0x33]),
            (ByteOrder::Dcba, [0x44, 0x33, 0x22, 0x11]),
        ] {
            let mut bytes = wire;
            order.to_big_endian(&mut bytes);
            assert_eq!(bytes, [0x11, 0x22, 0x33, 0x44], "{order:?}");
        }
    }

    #[test]
    fn names_round_trip() {
        for text in
            ["BOOL", "REAL[24]", "STRING[16]", "STRING", "DTL", "ULINT", "BCD", "DATE_AND_TIME", "S5TIME[4]"]
        {
            assert_eq!(DataType::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
        assert_eq!(DataType::parse("float32"), Some(DataType::single(Scalar::Real)));
        assert_eq!(DataType::parse("REAL[0]"), None);
        assert_eq!(DataType::parse("FLOAT99"), None);
    }
}
