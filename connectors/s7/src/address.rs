//! Addresses in Siemens notation: reading, checking against the type, writing canonically.

mod area;
mod cursor;

use std::fmt;
use std::ops::Range;

use forebay_connector::{Address, AddressFault, ByteOrder, DataType, Extent, Scalar};

pub(crate) use area::Area;
use area::{AREA_BYTES, ELEMENT_BYTES, ELEMENT_MAX};
use cursor::Cursor;

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
    /// Written as variable memory of a LOGO!, which is its DB1.
    vm: bool,
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
    /// Order of the bytes of a number; CPUs store the high byte first, data taken over from other
    /// devices may lie otherwise.
    pub order: ByteOrder,
    /// Written as variable memory of a LOGO! (`VW4`), which is its DB1.
    pub vm: bool,
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
        if written.byte + len_bytes > written.area.bytes_max() {
            let (last, help) = match written.area {
                Area::Timer | Area::Counter => (
                    format!("{}{ELEMENT_MAX}", written.area),
                    "CPUs have at most 2048 timers and 2048 counters",
                ),
                _ => (
                    format!("byte {}", AREA_BYTES - 1),
                    "a block that can be read by offset has at most 65536 bytes",
                ),
            };
            return Err(fault(
                "S0206",
                format!("the {len_bytes} bytes of {data_type} end behind {last}"),
                written.letters.start..address.len(),
                "too high",
                help.into(),
            ));
        }
        let Written { area, byte, vm, .. } = written;
        Ok(Self { area, byte, bit, len_bytes, data_type, order: ByteOrder::default(), vm })
    }

    /// Bits of the value.
    fn bits(&self) -> u32 {
        match self.data_type.scalar {
            Scalar::Bool => u32::from(self.data_type.array_len.unwrap_or(1)),
            _ => self.len_bytes * 8,
        }
    }

    /// The bits of its area that it reads.
    pub(crate) fn extent(&self) -> Extent {
        let start = u64::from(self.byte) * 8 + u64::from(self.bit);
        Extent { area: self.area.to_string(), bits: start..start + u64::from(self.bits()) }
    }

    /// TIA and STEP 7 begin everything wider than a byte at an even byte of a block. DB1 is left
    /// out: in a LOGO! it is the variable memory, which has no such rule.
    pub(crate) fn doubt(&self, address: &str) -> Option<AddressFault> {
        let wide = self.data_type.scalar.bits().is_none_or(|bits| bits > 8);
        let odd = matches!(self.area, Area::Db(2..)) && wide && self.byte % 2 == 1;
        let (below, above) =
            (Self { byte: self.byte - u32::from(odd), ..*self }, Self { byte: self.byte + 1, ..*self });
        odd.then(|| {
            fault(
                "S0209",
                format!("{} in a data block begins at an even byte", self.data_type),
                0..address.len(),
                "odd byte",
                format!("look the offset up in the block: {below} or {above}?"),
            )
        })
    }

    /// How the place is asked for, for `explain`.
    pub(crate) fn wire(&self) -> String {
        let Self { area, byte, bit, len_bytes, .. } = *self;
        let code = format!("(area 0x{:02X})", area.code());
        let end = byte + len_bytes - 1;
        match area.element_bytes() {
            Some(bytes) if len_bytes == bytes => format!("read item {self} {code}"),
            Some(bytes) => format!("read item {self} to {area}{} {code}", end / bytes),
            None => {
                let bytes = match len_bytes {
                    1 => format!("byte {byte}"),
                    _ => format!("bytes {byte} to {end}"),
                };
                let bit = match (self.data_type.scalar, self.data_type.array_len) {
                    (Scalar::Bool, None) => format!(", bit {bit} of it"),
                    (Scalar::Bool, Some(_)) => format!(", from bit {bit} on"),
                    _ => String::new(),
                };
                format!("read item {area}, {bytes}{bit} {code}")
            }
        }
    }

    /// The canonical spelling and the place, for [`forebay_connector::Protocol::check_address`].
    pub(crate) fn address(&self) -> Address {
        let bits = self.bits();
        // The area and not its spelling: VW4 and DB1.DBW4 are the same place.
        Address {
            canonical: self.to_string(),
            place: format!("{}+{}.{}/{bits}", self.area, self.byte, self.bit),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_address(f, (self.area, self.vm), Width::of(self.data_type.scalar), self.byte, self.bit)
    }
}

/// Says what CPUs of this family do not have.
pub(crate) fn check_family(address: &str, cpu: &str) -> Result<(), AddressFault> {
    let Ok(written) = Written::read(address) else { return Ok(()) };
    let (what, help) = match (written.area, cpu) {
        _ if written.vm && cpu != "logo" => (
            "variable memory (V) exists in a LOGO! only",
            "write cpu = \"logo\" in [s7], or the data block: DB1.DBW4",
        ),
        (Area::Periphery, "logo") => (
            "a LOGO! has no periphery beside its inputs",
            "map the input to the variable memory (Tools > Parameter VM Mapping) and write VW4",
        ),
        (Area::Timer | Area::Counter, "s7-1200") => (
            "an S7-1200 has no S5 timers and counters",
            "read the member ET or CV of the IEC timer's or counter's data block",
        ),
        (Area::Timer | Area::Counter, "logo") => (
            "timers and counters of a LOGO! cannot be read by their number",
            "map the block's parameter to the variable memory (Tools > Parameter VM Mapping) and write VW4",
        ),
        _ => return Ok(()),
    };
    Err(fault("S0213", what.into(), 0..address.len(), &format!("cpu = \"{cpu}\""), help.into()))
}

/// The address `by` bytes, timers or counters further on, canonically.
pub(crate) fn shift(address: &str, by: u32) -> Result<String, AddressFault> {
    let mut written = Written::read(address)?;
    let (unit, what, max) = match written.area {
        Area::Timer => (ELEMENT_BYTES, "timers", format!("T{ELEMENT_MAX}")),
        Area::Counter => (ELEMENT_BYTES, "counters", format!("C{ELEMENT_MAX}")),
        _ => (1, "bytes", format!("byte {}", AREA_BYTES - 1)),
    };
    let end = written.area.bytes_max();
    let shifted = by.checked_mul(unit).and_then(|by| written.byte.checked_add(by));
    written.byte = shifted.filter(|byte| *byte < end).ok_or_else(|| {
        fault(
            "S0206",
            format!("{by} {what} further on is behind {max}"),
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
            _ if self.area.element_bytes().is_some() => {
                write_address(f, (self.area, false), Width::Word, self.byte, 0)
            }
            (None, _) | (Some(Width::Bit), None) => {
                // Incomplete on purpose: the check with the type says what is missing.
                match self.area {
                    Area::Db(_) if self.vm => write!(f, "V{}", self.byte),
                    Area::Db(_) => write!(f, "{}.DBX{}", self.area, self.byte),
                    _ => write!(f, "{}{}", self.area, self.byte),
                }
            }
            (Some(width), bit) => write_address(f, (self.area, self.vm), width, self.byte, bit.unwrap_or(0)),
        }
    }
}

/// Writes an address canonically; `vm` says that DB1 is written as variable memory.
fn write_address(
    f: &mut fmt::Formatter<'_>,
    (area, vm): (Area, bool),
    width: Width,
    byte: u32,
    bit: u8,
) -> fmt::Result {
    match (area, width) {
        (Area::Timer | Area::Counter, _) => write!(f, "{area}{}", byte / ELEMENT_BYTES),
        (_, Width::Bit) if vm => write!(f, "V{byte}.{bit}"),
        _ if vm => write!(f, "V{}{byte}", width.letter()),
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
        let (area, vm) = cursor.area()?;
        let element = area.element_bytes();
        let (letters, width) = match element {
            Some(_) => (start..cursor.at, None),
            None => cursor.width(area, vm, start)?,
        };
        let (byte, bit) = match element {
            Some(bytes) => (cursor.number("the number", ELEMENT_MAX)? * bytes, None),
            None => (cursor.number("the byte number", AREA_BYTES - 1)?, cursor.bit(width)?),
        };
        if cursor.at < address.len() {
            let rest = cursor.at..address.len();
            return Err(not_an_address(rest, "not expected", "nothing may follow the address".into()));
        }
        // The process images and bit memory need no letter for a bit: `M10.1`.
        let width = width.or(bit.map(|_| Width::Bit));
        Ok(Self { area, width, byte, bit, letters, vm })
    }

    /// A timer or counter is a word of its own kind.
    fn check_element(&self, address: &str, data_type: DataType) -> Result<(), AddressFault> {
        let (what, own, meaning) = match self.area {
            Area::Timer => ("timer", Scalar::S5time, "in milliseconds"),
            _ => ("counter", Scalar::Bcd, "0 to 999"),
        };
        if data_type.scalar == own || data_type.scalar == Scalar::Word {
            return Ok(());
        }
        let own = DataType { scalar: own, array_len: data_type.array_len };
        let raw = DataType { scalar: Scalar::Word, ..own };
        Err(AddressFault {
            type_label: Some(format!("write {own}")),
            ..fault(
                "S0212",
                format!("a {what} is no {data_type}"),
                0..address.len(),
                what,
                format!(
                    "write type = \"{own}\" for its value {meaning}, or type = \"{raw}\" for the raw word"
                ),
            )
        })
    }

    fn check_width(&self, address: &str, data_type: DataType) -> Result<(), AddressFault> {
        if self.area.element_bytes().is_some() {
            return self.check_element(address, data_type);
        }
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

#[cfg(test)]
mod tests;
