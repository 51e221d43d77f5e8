//! Addresses: manual notation, wire notation, and what a type needs there.
//!
//! | notation | example | counts |
//! |---|---|---|
//! | manual | `30053`, `300053` | table digit 0, 1, 3 or 4, then four or five digits **from 1** |
//! | wire | `ir:52`, `hr:0x0BB7`, `co:`, `di:` | **from 0**, as in the request |
//!
//! Both may end in `.0` to `.15`, one bit of a register, 0 the lowest. Canonical is the manual
//! notation in its shortest form: five digits up to number 9999, six beyond.

use std::fmt;
use std::ops::Range;

use forebay_connector::{AddressFault, DataType, Extent, Scalar};

/// Registers one read may ask for (MODBUS Application Protocol V1.1b3, 6.3 and 6.4).
pub const MAX_REGISTERS: u16 = 125;
/// Bits one read may ask for (the same, 6.1 and 6.2).
pub const MAX_BITS: u16 = 2000;
/// Entries of one table: offsets are 16 bits wide.
const TABLE_LEN: u32 = 65_536;

/// One of the four tables of a Modbus device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Function 01, manual digit 0.
    Coils,
    /// Function 02, manual digit 1.
    DiscreteInputs,
    /// Function 04, manual digit 3.
    InputRegisters,
    /// Function 03, manual digit 4.
    HoldingRegisters,
}

impl Table {
    /// All four.
    pub const ALL: [Self; 4] =
        [Self::Coils, Self::DiscreteInputs, Self::InputRegisters, Self::HoldingRegisters];

    /// True when an entry is one bit, false when it is 16.
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }

    /// Function code that reads it (MODBUS Application Protocol V1.1b3, 6.1 to 6.4).
    pub fn function(self) -> u8 {
        match self {
            Self::Coils => 1,
            Self::DiscreteInputs => 2,
            Self::HoldingRegisters => 3,
            Self::InputRegisters => 4,
        }
    }

    fn digit(self) -> char {
        match self {
            Self::Coils => '0',
            Self::DiscreteInputs => '1',
            Self::InputRegisters => '3',
            Self::HoldingRegisters => '4',
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Coils => "co",
            Self::DiscreteInputs => "di",
            Self::InputRegisters => "ir",
            Self::HoldingRegisters => "hr",
        }
    }

    /// One entry, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coils => "coil",
            Self::DiscreteInputs => "discrete input",
            Self::InputRegisters => "input register",
            Self::HoldingRegisters => "holding register",
        }
    }
}

/// Where a value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Table.
    pub table: Table,
    /// Register or coil on the wire, from 0.
    pub start: u16,
    /// Bit of the register, 0 = lowest.
    pub bit: Option<u8>,
}

/// Canonical spelling.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digit, number) = (self.table.digit(), u32::from(self.start) + 1);
        if number <= 9999 {
            write!(f, "{digit}{number:04}")?;
        } else {
            write!(f, "{digit}{number:05}")?;
        }
        self.bit.map_or(Ok(()), |bit| write!(f, ".{bit}"))
    }
}

impl Place {
    /// Wire notation: equal for two tags that read the same place.
    pub fn wire(&self) -> String {
        let wire = format!("{}:{}", self.table.prefix(), self.start);
        self.bit.map_or(wire.clone(), |bit| format!("{wire}.{bit}"))
    }

    /// How `count` entries from here on are asked for: `FC03, wire 2999 (0x0BB7), 2 registers`.
    pub fn asked(&self, count: u16) -> String {
        let entry = if self.table.is_bits() { "bit" } else { "register" };
        let plural = if count == 1 { "" } else { "s" };
        let (function, start) = (self.table.function(), self.start);
        let asked = format!("FC{function:02}, wire {start} (0x{start:04X}), {count} {entry}{plural}");
        self.bit.map_or(asked.clone(), |bit| format!("{asked}, bit {bit}"))
    }

    /// The bits of the table that `count` entries from here on take, a bit of a register alone.
    pub fn extent(self, count: u16) -> Extent {
        let width = if self.table.is_bits() { 1 } else { 16 };
        let start = u64::from(self.start) * width;
        let bits = match self.bit {
            Some(bit) => start + u64::from(bit)..start + u64::from(bit) + 1,
            None => start..start + u64::from(count) * width,
        };
        Extent { area: self.table.prefix().to_owned(), bits }
    }

    /// The place `by` registers or coils further on; `None` past the end of the table.
    pub fn shifted(self, by: u32) -> Option<Self> {
        let start = u32::from(self.start).checked_add(by)?;
        Some(Self { start: u16::try_from(start).ok()?, ..self })
    }
}

/// Reads either notation.
///
/// # Errors
/// [`AddressFault`] M0201 (ambiguous short form), M0202 (not an address), M0204 (bit), M0205
/// (outside of the table).
pub fn parse(text: &str) -> Result<Place, AddressFault> {
    parse_as(text, false)
}

/// [`parse`]; `bool` when the value is a BOOL, of which the help of M0201 speaks.
fn parse_as(text: &str, bool: bool) -> Result<Place, AddressFault> {
    let (body, bit) = match text.split_once('.') {
        Some((body, bit)) => (body, Some(bit)),
        None => (text, None),
    };
    let (table, start) = match body.split_once(':') {
        Some((prefix, number)) => parse_wire(text, prefix, number)?,
        None => parse_manual(text, body, bool && bit.is_none())?,
    };
    let Some(bit) = bit else { return Ok(Place { table, start, bit: None }) };
    let span = body.len() + 1..text.len();
    if table.is_bits() {
        return Err(AddressFault {
            label: "one bit already".into(),
            help: format!("write \"{body}\""),
            ..fault("M0204", format!("a {} has no bit number", table.name()), span)
        });
    }
    let number = digits(bit).and_then(|number| u8::try_from(number).ok()).filter(|bit| *bit < 16);
    match number {
        Some(number) => Ok(Place { table, start, bit: Some(number) }),
        None => Err(AddressFault {
            label: "0 to 15".into(),
            help: format!("a register has the bits 0 (lowest) to 15, for example \"{body}.0\""),
            ..fault("M0204", format!("`{bit}` is no bit of a register"), span)
        }),
    }
}

fn parse_wire(text: &str, prefix: &str, number: &str) -> Result<(Table, u16), AddressFault> {
    let Some(table) = Table::ALL.into_iter().find(|table| table.prefix().eq_ignore_ascii_case(prefix)) else {
        return Err(AddressFault {
            label: "co, di, ir or hr".into(),
            help: format!(
                "write \"hr:{number}\" for a holding register, \"ir:{number}\" for an input register"
            ),
            ..fault("M0202", format!("there is no table `{prefix}`"), 0..prefix.len())
        });
    };
    let span = prefix.len() + 1..prefix.len() + 1 + number.len();
    let hex = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X"));
    let value = match hex {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => digits(number),
    };
    match value.map(u16::try_from) {
        Some(Ok(start)) => Ok((table, start)),
        Some(Err(_)) => Err(AddressFault {
            label: "0 to 65535".into(),
            help: "wire offsets count from 0 and end at 65535 (0xFFFF)".into(),
            ..fault("M0205", format!("`{number}` is outside of the table"), span)
        }),
        None => Err(AddressFault {
            label: "a number from 0".into(),
            help: format!("write for example \"{}:52\" or \"{}:0x0034\"", table.prefix(), table.prefix()),
            ..fault("M0202", format!("`{text}` is no Modbus address"), span)
        }),
    }
}

fn parse_manual(text: &str, body: &str, bool: bool) -> Result<(Table, u16), AddressFault> {
    let Some(value) = digits(body).filter(|_| body.len() <= 6) else {
        let span = match body.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => at..body.len(),
            None => 0..body.len(),
        };
        return Err(AddressFault {
            label: "not an address".into(),
            help: "write \"30053\" (table 0, 1, 3 or 4, then the number from 1) or \"ir:52\" (wire offset from 0)".into(),
            ..fault("M0202", format!("`{text}` is no Modbus address"), span)
        });
    };
    let table = Table::ALL.into_iter().find(|table| body.starts_with(table.digit()));
    if body.len() < 5 {
        return Err(ambiguous(body, value, table, bool));
    }
    let Some(table) = table else {
        return Err(AddressFault {
            label: "0, 1, 3 or 4".into(),
            help: format!(
                "the first digit names the table; for wire offset {value} write \"hr:{value}\" or \"ir:{value}\""
            ),
            ..fault("M0202", format!("there is no table {}", &body[..1]), 0..1)
        });
    };
    let number = digits(&body[1..]).unwrap_or(0);
    match number.checked_sub(1).map(u16::try_from) {
        Some(Ok(start)) => Ok((table, start)),
        _ => Err(AddressFault {
            label: "1 to 65536".into(),
            help: format!(
                "manual numbers count from 1 to 65536; the first {} is \"{}0001\" or \"{}:0\"",
                table.name(),
                table.digit(),
                table.prefix()
            ),
            ..fault("M0205", format!("{} {number} does not exist", table.name()), 1..body.len())
        }),
    }
}

/// `41`, `401` and `4001` all mean holding register 1 to Kepware, and three others to the rest.
fn ambiguous(body: &str, value: u64, table: Option<Table>, bool: bool) -> AddressFault {
    let [one, other] = match bool {
        true => [Table::Coils, Table::DiscreteInputs],
        false => [Table::HoldingRegisters, Table::InputRegisters],
    };
    let wire = |table: Table| format!("\"{}:{value}\"", table.prefix());
    let manual = |table: Table, number: u64| format!("\"{}{number:04}\"", table.digit());
    let plain =
        format!("{} (or {}) if {body} is the offset on the wire, counting from 0", wire(one), wire(other));
    let padded = table.zip(digits(&body[body.len().min(1)..]));
    let help = match padded.filter(|(table, number)| *number > 0 && table.is_bits() == bool) {
        Some((table, number)) => format!(
            "write {} if it is {} {number} with its zeros left out, or {plain}",
            manual(table, number),
            table.name()
        ),
        // Nothing that counts from 1 has a number 0.
        None if value == 0 => format!("write {plain}"),
        None => format!(
            "write {plain}, or {} (or {}) if it counts from 1",
            manual(one, value),
            manual(other, value)
        ),
    };
    AddressFault {
        label: "5 or 6 digits needed".into(),
        help,
        ..fault(
            "M0201",
            format!("`{body}` can mean several {}", if bool { "bits" } else { "registers" }),
            0..body.len(),
        )
    }
}

/// A checked place and how many registers or bits the value takes there.
///
/// # Errors
/// As [`parse`], and M0203 (width), M0204 (BOOL without bit), M0205 (value passes the end),
/// M0206 (type unknown to Modbus), M0207 (longer than one read).
pub fn check(address: &str, data_type: DataType) -> Result<(Place, u16), AddressFault> {
    let place = parse_as(address, data_type.scalar == Scalar::Bool)?;
    let elements = u32::from(data_type.array_len.unwrap_or(1));
    let width = match (place.table.is_bits(), place.bit, data_type.scalar) {
        (true, _, Scalar::Bool) => 1,
        (false, Some(_), Scalar::Bool) if data_type.array_len.is_none() => 1,
        (true, ..) | (false, Some(_), _) => return Err(too_narrow(address, place, data_type)),
        (false, None, Scalar::Bool) => return Err(bit_needed(address, data_type)),
        (false, None, scalar) => registers(scalar).ok_or_else(|| unknown_type(address, data_type))?,
    };
    let count = elements * width;
    let limit = if place.table.is_bits() { MAX_BITS } else { MAX_REGISTERS };
    let unit = if place.table.is_bits() { "bits" } else { "registers" };
    let all = 0..address.len();
    if count > u32::from(limit) {
        return Err(AddressFault {
            type_label: Some(format!("{count} {unit}")),
            help: format!(
                "one read carries {limit} {unit}, and a value is never split; write several shorter tags"
            ),
            ..fault("M0207", format!("{data_type} takes {count} {unit}, one read carries {limit}"), all)
        });
    }
    if u32::from(place.start) + count > TABLE_LEN {
        return Err(AddressFault {
            type_label: Some(format!("{count} {unit}")),
            help: format!("the table ends at wire offset 65535; begin at {} or before", TABLE_LEN - count),
            ..fault("M0205", format!("{data_type} passes the end of the table"), all)
        });
    }
    // At most 2000, checked above.
    Ok((place, u16::try_from(count).unwrap_or(limit)))
}

/// Registers of one element; `None` for types that Modbus devices do not have.
///
/// 8-bit types are among them: a register has two bytes, and none says which one is meant.
fn registers(scalar: Scalar) -> Option<u32> {
    match scalar {
        Scalar::String(len) => len.map(|bytes| u32::from(bytes).div_ceil(2)),
        Scalar::Wstring(len) => len.map(u32::from),
        Scalar::S5time | Scalar::Date | Scalar::Tod => None,
        Scalar::DateAndTime | Scalar::Dtl | Scalar::DateTime => None,
        scalar => scalar.bits().filter(|bits| *bits >= 16).map(|bits| bits / 16),
    }
}

fn too_narrow(address: &str, place: Place, data_type: DataType) -> AddressFault {
    let width = match (data_type.scalar.bits(), data_type.array_len) {
        (Some(1), Some(len)) => format!("is {len} bits"),
        (Some(bits), None) => format!("is {bits}"),
        _ => "is wider".to_owned(),
    };
    let help = match place.bit {
        Some(_) => {
            format!("write type = \"BOOL\", or \"{}\" for the whole register", Place { bit: None, ..place })
        }
        None => format!(
            "write type = \"BOOL\", or the address of a register (\"4{0:04}\", \"3{0:04}\")",
            u32::from(place.start) + 1
        ),
    };
    AddressFault {
        label: "1 bit".into(),
        type_label: Some(data_type.scalar.bits().map_or("wider".into(), |bits| format!("{bits} bits"))),
        help,
        ..fault("M0203", format!("address is 1 bit wide, type {data_type} {width}"), 0..address.len())
    }
}

fn bit_needed(address: &str, data_type: DataType) -> AddressFault {
    let help = match data_type.array_len {
        None => format!("write \"{address}.0\" (0 = lowest bit), or type = \"WORD\" with bits = \"…\""),
        Some(_) => "write type = \"WORD\" with bits = \"…\", or the addresses of coils".to_owned(),
    };
    AddressFault {
        label: "add .0 to .15".into(),
        type_label: Some("1 bit".into()),
        help,
        ..fault("M0204", "a BOOL in a register needs the bit number".into(), 0..address.len())
    }
}

fn unknown_type(address: &str, data_type: DataType) -> AddressFault {
    let (why, help) = match data_type.scalar {
        Scalar::String(_) | Scalar::Wstring(_) => (
            "needs its length on Modbus",
            format!("write {data_type}[16] (a STRING has two characters a register)"),
        ),
        Scalar::S5time
        | Scalar::Date
        | Scalar::Tod
        | Scalar::DateAndTime
        | Scalar::Dtl
        | Scalar::DateTime => (
            "does not exist on Modbus",
            "write one tag for each register of the time, or UDINT for seconds".into(),
        ),
        _ => ("is narrower than a register", "write WORD, UINT or INT; STRING[2] for two characters".into()),
    };
    AddressFault {
        type_label: Some("not here".into()),
        help,
        ..fault("M0206", format!("type {data_type} {why}"), 0..address.len())
    }
}

/// Past the end of the table, for `repeat`.
pub fn past_the_end(address: &str, by: u32) -> AddressFault {
    AddressFault {
        label: format!("+ {by}"),
        help: "the table ends at wire offset 65535; check `to` and `stride` of `repeat`".into(),
        ..fault("M0205", format!("{by} further on is past the end of the table"), 0..address.len())
    }
}

fn fault(code: &'static str, message: String, span: Range<usize>) -> AddressFault {
    AddressFault { code, message, span, label: String::new(), type_label: None, help: String::new() }
}

/// Digits only: `parse` of the standard library would take a sign.
fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
