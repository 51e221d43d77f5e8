//! Addresses in Siemens notation: reading, checking against the type, writing canonically.

use std::fmt;
use std::ops::Range;

use forebay_connector::{Address, AddressFault, DataType, Scalar};

use crate::kepware;

/// Bytes of one area that an S7ANY pointer can name; blocks readable by offset are never larger.
const AREA_BYTES: u32 = 65_536;

/// What is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Area {
    /// Process image of the inputs.
    Input,
    /// Process image of the outputs.
    Output,
    /// Bit memory.
    Memory,
    /// Data block with this number, never 0.
    Db(u16),
}

/// How wide an address is, by its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Bit,
    Byte,
    Word,
    Double,
}

impl Width {
    fn letter(self) -> char {
        match self {
            Self::Bit => 'X',
            Self::Byte => 'B',
            Self::Word => 'W',
            Self::Double => 'D',
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::Bit => 1,
            Self::Byte => 8,
            Self::Word => 16,
            Self::Double => 32,
        }
    }

    /// The width an address of this type is written with. Types wider than 32 bits are written
    /// with the letter B and their first byte: the notation has no letter for them.
    fn of(scalar: Scalar) -> Self {
        match scalar.bits() {
            Some(1) => Self::Bit,
            Some(16) => Self::Word,
            Some(32) => Self::Double,
            _ => Self::Byte,
        }
    }
}

/// An address as written, without its type.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    area: Area,
    /// `None` for `M10` and the like, where only the bit number would say what is meant.
    width: Option<Width>,
    byte: u32,
    bit: Option<u8>,
    /// Where the letters stand that give the width.
    letters: Range<usize>,
}

/// Where a tag's bytes are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub area: Area,
    /// First byte, from 0.
    pub byte: u32,
    /// Bit of the first byte, 0 unless the type is BOOL.
    pub bit: u8,
    /// Bytes to read.
    pub len_bytes: u32,
    pub data_type: DataType,
}

impl Place {
    /// Reads an address and checks it against the type.
    pub(crate) fn read(address: &str, data_type: DataType) -> Result<Self, AddressFault> {
        let written = Written::read(address)?;
        let scalar_bytes = element_bytes(address, data_type)?;
        written.check_width(address, data_type)?;
        let bit = written.bit.unwrap_or(0);
        let elements = u32::from(data_type.array_len.unwrap_or(1));
        let len_bytes = match data_type.scalar {
            Scalar::Bool => (u32::from(bit) + elements).div_ceil(8),
            _ => scalar_bytes * elements,
        };
        if written.byte + len_bytes > AREA_BYTES {
            return Err(fault(
                "S0206",
                format!("the {len_bytes} bytes of {data_type} end behind byte {}", AREA_BYTES - 1),
                written.letters.start..address.len(),
                "too high",
                "a block that can be read by offset has at most 65536 bytes".into(),
            ));
        }
        Ok(Self { area: written.area, byte: written.byte, bit, len_bytes, data_type })
    }

    /// The canonical spelling and the place, for [`forebay_connector::Protocol::check_address`].
    pub(crate) fn address(&self) -> Address {
        let bits = match self.data_type.scalar {
            Scalar::Bool => u32::from(self.data_type.array_len.unwrap_or(1)),
            _ => self.len_bytes * 8,
        };
        Address {
            canonical: self.to_string(),
            place: format!("{}+{}.{}/{bits}", self.area, self.byte, self.bit),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_address(f, self.area, Width::of(self.data_type.scalar), self.byte, self.bit)
    }
}

impl Area {
    /// Code of the area in an S7ANY pointer.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Input => 0x81,
            Self::Output => 0x82,
            Self::Memory => 0x83,
            Self::Db(_) => 0x84,
        }
    }

    /// Number of the data block, 0 for the other areas.
    pub(crate) fn db(self) -> u16 {
        if let Self::Db(number) = self { number } else { 0 }
    }

    /// The area an S7ANY pointer names.
    pub(crate) fn from_code(code: u8, db: u16) -> Option<Self> {
        Some(match code {
            0x81 => Self::Input,
            0x82 => Self::Output,
            0x83 => Self::Memory,
            0x84 if db > 0 => Self::Db(db),
            _ => return None,
        })
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("I"),
            Self::Output => f.write_str("Q"),
            Self::Memory => f.write_str("M"),
            Self::Db(number) => write!(f, "DB{number}"),
        }
    }
}

/// The address `by` bytes further on, canonically.
pub(crate) fn shift(address: &str, by: u32) -> Result<String, AddressFault> {
    let mut written = Written::read(address)?;
    written.byte = written.byte.checked_add(by).filter(|byte| *byte < AREA_BYTES).ok_or_else(|| {
        fault(
            "S0206",
            format!("{by} bytes further on is behind byte {}", AREA_BYTES - 1),
            written.letters.start..address.len(),
            "too high",
            "fewer repetitions or a smaller stride".into(),
        )
    })?;
    Ok(written.to_string())
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.width, self.bit) {
            (None, _) | (Some(Width::Bit), None) => {
                // Incomplete on purpose: the check with the type says what is missing.
                let letters = if matches!(self.area, Area::Db(_)) { ".DBX" } else { "" };
                write!(f, "{}{letters}{}", self.area, self.byte)
            }
            (Some(width), bit) => write_address(f, self.area, width, self.byte, bit.unwrap_or(0)),
        }
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, area: Area, width: Width, byte: u32, bit: u8) -> fmt::Result {
    match (area, width) {
        (Area::Db(_), Width::Bit) => write!(f, "{area}.DBX{byte}.{bit}"),
        (Area::Db(_), _) => write!(f, "{area}.DB{}{byte}", width.letter()),
        (_, Width::Bit) => write!(f, "{area}{byte}.{bit}"),
        _ => write!(f, "{area}{}{byte}", width.letter()),
    }
}

impl Written {
    fn read(address: &str) -> Result<Self, AddressFault> {
        let mut cursor = Cursor { text: address, at: 0 };
        cursor.eat("%");
        let start = cursor.at;
        let area = match cursor.area()? {
            Some(area) => area,
            None => return Err(unknown_area(address, start)),
        };
        let (letters, width) = cursor.width(area, start)?;
        let byte = cursor.number("the byte number", AREA_BYTES - 1)?;
        let bit = cursor.bit(width)?;
        if cursor.at < address.len() {
            let rest = cursor.at..address.len();
            return Err(not_an_address(rest, "not expected", "nothing may follow the address".into()));
        }
        // The process images and bit memory need no letter for a bit: `M10.1`.
        let width = width.or(bit.map(|_| Width::Bit));
        Ok(Self { area, width, byte, bit, letters })
    }

    fn check_width(&self, address: &str, data_type: DataType) -> Result<(), AddressFault> {
        let scalar = DataType::single(data_type.scalar);
        let wanted = Width::of(data_type.scalar);
        let right = |f: &Self| Self { width: Some(wanted), bit: Some(f.bit.unwrap_or(0)), ..f.clone() };
        match self.width {
            Some(Width::Bit) | None if wanted == Width::Bit && self.bit.is_none() => Err(fault(
                "S0204",
                "a bit address needs the bit number".into(),
                self.letters.start..address.len(),
                "add .0 to .7",
                format!("write {} for the lowest bit of the byte", right(self)),
            )),
            Some(width) if width == wanted => Ok(()),
            None => Err(fault(
                "S0203",
                format!("address has no width, type {scalar} needs one"),
                self.letters.clone(),
                "B, W or D is missing",
                format!("write {} or another type", right(self)),
            )),
            Some(width) => {
                let bytes = match data_type.scalar {
                    Scalar::String(_) | Scalar::Wstring(_) | Scalar::Dtl => true,
                    scalar => scalar.bits() == Some(64),
                };
                let first = if bytes { ", its first byte," } else { "" };
                Err(AddressFault {
                    type_label: Some(type_width(data_type.scalar)),
                    ..fault(
                        "S0203",
                        format!(
                            "address is {} wide, type {scalar} is {}",
                            bits(width.bits()),
                            type_width(data_type.scalar).trim_end_matches(" bits")
                        ),
                        self.letters.clone(),
                        &bits(width.bits()),
                        format!("write {}{first} or another type", right(self)),
                    )
                })
            }
        }
    }
}

fn bits(bits: u32) -> String {
    if bits == 1 { "1 bit".into() } else { format!("{bits} bits") }
}

fn type_width(scalar: Scalar) -> String {
    match scalar.bits() {
        Some(width) if scalar != Scalar::Dtl => bits(width),
        _ => format!("{} bytes", text_bytes(scalar)),
    }
}

/// Bytes of a type without a numeric width, heads included.
fn text_bytes(scalar: Scalar) -> u32 {
    match scalar {
        Scalar::String(len) => u32::from(len.unwrap_or(0)) + 2,
        Scalar::Wstring(len) => u32::from(len.unwrap_or(0)) * 2 + 4,
        scalar => scalar.bits().unwrap_or(0).div_ceil(8),
    }
}

/// Bytes of one element, or why the type does not exist in an S7 block.
fn element_bytes(address: &str, data_type: DataType) -> Result<u32, AddressFault> {
    let (problem, help) = match data_type.scalar {
        Scalar::String(None) | Scalar::Wstring(None) => {
            ("needs its length", "write the length of the block's declaration, for example STRING[16]")
        }
        Scalar::String(Some(255..)) => ("is too long", "a STRING has at most 254 characters"),
        Scalar::Wstring(Some(16_383..)) => ("is too long", "a WSTRING has at most 16382 characters"),
        Scalar::DateTime => ("does not exist in S7", "write DTL, or an integer type for the raw value"),
        scalar => return Ok(text_bytes(scalar)),
    };
    Err(AddressFault {
        type_label: Some(problem.into()),
        ..fault("S0207", format!("type {data_type} {problem}"), 0..address.len(), "", help.into())
    })
}

pub(crate) fn fault(
    code: &'static str,
    message: String,
    span: Range<usize>,
    label: &str,
    help: String,
) -> AddressFault {
    AddressFault { code, message, span, label: label.into(), type_label: None, help }
}

fn not_an_address(span: Range<usize>, label: &str, help: String) -> AddressFault {
    fault("S0200", "this is not an S7 address".into(), span, label, help)
}

fn unknown_area(address: &str, start: usize) -> AddressFault {
    let rest = &address[start..];
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let help = match rest[..letters].to_ascii_uppercase().as_str() {
        "T" | "C" | "Z" => "timers and counters are not read: copy the value into a data block",
        "PI" | "PE" | "PIB" | "PIW" | "PID" | "PEB" | "PEW" | "PED" | "PA" | "PQ" => {
            "the periphery is not read: use the process image, for example IW64"
        }
        "DBX" | "DBB" | "DBW" | "DBD" => "say which block: DB10.DBW4",
        "V" | "VB" | "VW" | "VD" => "the variable memory of a LOGO! is DB1: DB1.DBW4",
        _ => "write DB10.DBW4, M10.1, MW10, IW64 or QB4",
    };
    let end = start + letters.max(rest.chars().next().map_or(0, char::len_utf8));
    fault("S0202", "the area is unknown".into(), start..end, "", help.into())
}

/// Walks over an address; `at` always stands on a character boundary.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over `word`, upper or lower case.
    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        if found {
            self.at += word.len();
        }
        found
    }

    /// `DB10`, or the letter of another area; `None` when it is neither.
    fn area(&mut self) -> Result<Option<Area>, AddressFault> {
        let start = self.at;
        if self.eat("DB") {
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.at = start;
                return Ok(None);
            }
            let digits = self.at;
            let number = self.number("the block number", 65_535)?;
            let number = u16::try_from(number)
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| out_of_range(digits..self.at, "the block number", 1, 65_535))?;
            return Ok(Some(Area::Db(number)));
        }
        for (letter, area) in [
            ("M", Area::Memory),
            ("I", Area::Input),
            ("E", Area::Input),
            ("Q", Area::Output),
            ("A", Area::Output),
        ] {
            if self.eat(letter) {
                return Ok(Some(area));
            }
        }
        Ok(None)
    }

    /// The letters that say how wide the address is, and where they stand.
    fn width(&mut self, area: Area, start: usize) -> Result<(Range<usize>, Option<Width>), AddressFault> {
        let mut from = start;
        if matches!(area, Area::Db(_)) {
            let block = start..self.at;
            if self.peek() == Some(',') {
                return Err(kepware::fault(self.text, block));
            }
            let dot = self.eat(".");
            from = self.at;
            if !dot || !self.eat("DB") {
                let help = format!("write {area}.DBX2.0, {area}.DBB52, {area}.DBW4 or {area}.DBD8");
                let span = if self.at < self.text.len() { self.at..self.text.len() } else { block };
                return Err(not_an_address(span, "the place in the block is missing", help));
            }
        }
        let width = [Width::Bit, Width::Byte, Width::Word, Width::Double]
            .into_iter()
            .find(|width| self.eat(width.letter().encode_utf8(&mut [0; 4])));
        if width.is_none() && matches!(area, Area::Db(_)) {
            let help = format!("write {area}.DBX2.0, {area}.DBB52, {area}.DBW4 or {area}.DBD8");
            return Err(not_an_address(from..self.text.len(), "X, B, W or D is missing", help));
        }
        if width.is_none() && !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(unknown_area(self.text, start));
        }
        Ok((from..self.at, width))
    }

    /// A decimal number up to `max`.
    fn number(&mut self, what: &str, max: u32) -> Result<u32, AddressFault> {
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let span = self.at..self.at + digits;
        if digits == 0 {
            let end = self.at + self.peek().map_or(0, char::len_utf8);
            // A caret needs something to stand under: at the end of the text it is the last letter.
            let start = if end == self.at { self.at.saturating_sub(1) } else { self.at };
            return Err(not_an_address(start..end, "number missing", format!("{what} is missing")));
        }
        self.at = span.end;
        self.text[span.clone()]
            .parse()
            .ok()
            .filter(|number| *number <= max)
            .ok_or_else(|| out_of_range(span, what, 0, max))
    }

    /// `.5` behind a bit address.
    fn bit(&mut self, width: Option<Width>) -> Result<Option<u8>, AddressFault> {
        let dot = self.at;
        if !self.eat(".") {
            return Ok(None);
        }
        if let Some(width) = width.filter(|width| *width != Width::Bit) {
            return Err(fault(
                "S0208",
                format!("a {}-bit address has no bit number", width.bits()),
                dot..self.text.len(),
                "",
                "leave the bit number out, or write a bit address such as DB10.DBX2.0 or M10.1".into(),
            ));
        }
        let digits = self.at;
        let number = self.number("the bit number", u32::MAX)?;
        match u8::try_from(number) {
            Ok(bit @ 0..=7) => Ok(Some(bit)),
            _ => Err(fault(
                "S0205",
                format!("bit {number} does not exist"),
                digits..self.at,
                "0 to 7",
                "a byte has the bits 0 to 7; bit 8 is bit 0 of the next byte".into(),
            )),
        }
    }
}

fn out_of_range(span: Range<usize>, what: &str, min: u32, max: u32) -> AddressFault {
    let label = format!("{min} to {max}");
    fault("S0206", format!("{what} must be from {min} to {max}"), span, &label, format!("check {what}"))
}

#[cfg(test)]
mod tests;
