//! S7 addresses as Kepware writes them: `DB10,REAL48`, `DB1,X0.3`, `MW20`, `IB4`, `T5`.
//!
//! Standard item syntax of the driver: memory type, S7 data type, byte, and behind it `.3` (a bit),
//! `.20` (length of a text) or `[2][5]` (an array). STEP 7's own `DB10.DBD48` is read, too.

use forebay_connector::{DataType, Protocol, Scalar};

use super::super::report::Refusal;
use super::super::s7_area;
use super::types::{Kind, Type};
use super::{Found, Told, array, count, elements};

/// S7 data types of an address and what they are without a data type of the tag.
const LETTERS: &[(&str, Scalar)] = &[
    ("", Scalar::Bool),
    ("X", Scalar::Bool),
    ("BOOL", Scalar::Bool),
    ("B", Scalar::Byte),
    ("BYTE", Scalar::Byte),
    ("C", Scalar::Sint),
    ("CHAR", Scalar::Sint),
    ("SINT", Scalar::Sint),
    ("USINT", Scalar::Usint),
    ("W", Scalar::Word),
    ("WORD", Scalar::Word),
    ("I", Scalar::Int),
    ("INT", Scalar::Int),
    ("UINT", Scalar::Uint),
    ("D", Scalar::Dword),
    ("DW", Scalar::Dword),
    ("DWORD", Scalar::Dword),
    ("DI", Scalar::Dint),
    ("DINT", Scalar::Dint),
    ("UDINT", Scalar::Udint),
    ("R", Scalar::Real),
    ("REAL", Scalar::Real),
    ("LREAL", Scalar::Lreal),
    ("LWORD", Scalar::Lword),
    ("LINT", Scalar::Lint),
    ("ULINT", Scalar::Ulint),
    ("TIME", Scalar::Time),
    ("TOD", Scalar::Tod),
    ("S5TIME", Scalar::S5time),
    ("DATE", Scalar::Date),
    ("DT", Scalar::DateAndTime),
    ("DTL", Scalar::Dtl),
    ("STRING", Scalar::String(None)),
];

/// An address, taken apart.
struct Parts<'a> {
    /// As profiles write it: `DB10`, `M`, `PI`.
    area: String,
    scalar: Scalar,
    byte: u32,
    /// What follows the byte.
    rest: &'a str,
}

/// Where the tag is, in the notation of profiles.
///
/// # Errors
/// The address or its type cannot be read, with the reason.
pub fn find(address: &str, kind: Kind, protocol: &dyn Protocol) -> Result<Found, Refusal> {
    let text: String = address.chars().filter(|c| *c != ' ').collect::<String>().to_ascii_uppercase();
    let text = text.trim_start_matches('%');
    if let Some(found) = s7_area::timer_or_counter(text, protocol) {
        return found.map(|(address, data_type)| Found::new(address, data_type));
    }
    let parts = parts(address, text)?;
    let mut changes = Vec::new();
    let scalar = coerced(address, &parts, kind)?;
    let (byte, bit, data_type) = match (scalar, parts.rest.as_bytes().first()) {
        (Scalar::Bool, Some(b'.')) => {
            let (byte, bit, told) = bit(address, &parts)?;
            changes.extend(told);
            (byte, Some(bit), DataType::single(Scalar::Bool))
        }
        (Scalar::Bool, _) => {
            return Err(Refusal::new("I0101", format!("`{address}` has no bit number"), "add .0 to .7"));
        }
        (Scalar::String(_), rest) => {
            let is_text = matches!(parts.scalar, Scalar::String(_));
            let len = match rest {
                Some(b'.') => count(&parts.rest[1..]).filter(|len| *len <= 932),
                None if is_text => Some(254),
                _ => None,
            };
            let len = len.ok_or_else(|| {
                Refusal::new("I0101", format!("`{address}` has no text length"), "add it: DB1,STRING10.20")
            })?;
            (parts.byte, None, text_type(is_text, len, &mut changes))
        }
        (_, Some(b'[')) => {
            let (count, by_rows) = elements(parts.rest).ok_or_else(|| {
                Refusal::new("I0101", format!("`{address}` is no array"), "write [10], or [rows][columns]")
            })?;
            let (data_type, told) = array(scalar, count, by_rows);
            changes.extend(told);
            (parts.byte, None, data_type)
        }
        (_, None) => (parts.byte, None, DataType::single(scalar)),
        (..) => {
            let what = format!("`{address}` has a bit number, its data type is {}", kind.name);
            return Err(Refusal::new("I0102", what, "take Boolean, or leave the bit number out"));
        }
    };
    if scalar == Scalar::Date {
        changes.push(("it is a text such as 2026-02-11".into(), String::new()));
    }
    place(&parts.area, byte, bit, data_type, changes, protocol)
}

/// Memory, S7 data type and byte.
fn parts<'a>(address: &str, text: &'a str) -> Result<Parts<'a>, Refusal> {
    let wrong = || {
        Refusal::new(
            "I0101",
            format!("`{address}` is no S7 address of Kepware"),
            "for example DB10,REAL48, DB10,X2.0, MW20 or I0.1",
        )
    };
    let (area, rest) = match text.strip_prefix("DB") {
        Some(rest) => {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u16 = rest[..digits].parse().map_err(|_| wrong())?;
            let rest = &rest[digits..];
            let inner = match (rest.strip_prefix(','), rest.strip_prefix('.')) {
                // STEP 7's own way: DB10.DBD48; some write DB10,DBD48.
                (Some(inner), _) | (None, Some(inner)) => inner.strip_prefix("DB").unwrap_or(inner),
                (None, None) => return Err(wrong()),
            };
            (format!("DB{number}"), inner)
        }
        None => s7_area::area(text).ok_or_else(wrong)?,
    };
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic());
    // `S5TIME` has a digit in its name.
    let letters = if rest.starts_with("S5TIME") { Some(6) } else { letters }.ok_or_else(wrong)?;
    let (letters, rest) = rest.split_at(letters);
    let scalar = LETTERS.iter().find(|(known, _)| *known == letters).map(|(_, scalar)| *scalar);
    let scalar = scalar.ok_or_else(|| {
        let known: Vec<&str> = LETTERS.iter().map(|(name, _)| *name).filter(|name| name.len() > 2).collect();
        let what = format!("`{address}`: the S7 data type {letters} is not known");
        Refusal::new("I0101", what, format!("known are X, B, C, W, I, D, DI, R and {}", known.join(", ")))
    })?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let byte = rest[..digits].parse().ok().filter(|byte| *byte <= 65_535).ok_or_else(wrong)?;
    Ok(Parts { area, scalar, byte, rest: &rest[digits..] })
}

/// The type of the value: what the address says, made exact by the data type of the tag.
fn coerced(address: &str, parts: &Parts<'_>, kind: Kind) -> Result<Scalar, Refusal> {
    use Scalar as S;
    let text_of_bytes = matches!(parts.scalar, S::Byte | S::Sint | S::Usint);
    Ok(match (kind.single, parts.scalar) {
        (Type::Default, S::Bool) | (Type::Boolean, S::Bool) => S::Bool,
        (Type::Boolean, scalar)
            if parts.rest.starts_with('.') && scalar.bits().is_some_and(|bits| bits <= 32) =>
        {
            S::Bool
        }
        // Without a data type `.20` behind bytes is the length of a text, behind others a bit.
        (Type::Default, scalar)
            if parts.rest.starts_with('.') && scalar.bits().is_some_and(|bits| bits <= 32) =>
        {
            if text_of_bytes { S::String(None) } else { S::Bool }
        }
        (Type::Default, scalar) => scalar,
        (Type::String, S::String(_)) => S::String(None),
        (Type::String, _) if text_of_bytes => S::String(None),
        (Type::String | Type::Date, S::Date) => S::Date,
        (Type::Date | Type::String, S::DateAndTime) => S::DateAndTime,
        (Type::Date | Type::String, S::Dtl) => S::Dtl,
        (Type::Byte, S::Byte | S::Sint | S::Usint) => S::Byte,
        (Type::Char, S::Byte | S::Sint | S::Usint) => S::Sint,
        (Type::Word, S::Word | S::Int | S::Uint) => S::Word,
        (Type::Short, S::Word | S::Int | S::Uint) => S::Int,
        (Type::Bcd, S::Word | S::Int | S::Uint) => S::Bcd,
        (Type::DWord, S::Dword | S::Dint | S::Udint) => S::Dword,
        (Type::Long, S::Dword | S::Dint | S::Udint) => S::Dint,
        (Type::Lbcd, S::Dword | S::Dint | S::Udint) => S::Lbcd,
        (Type::Float, S::Dword | S::Real) => S::Real,
        (Type::DWord | Type::Long, scalar @ (S::Time | S::Tod | S::S5time)) => scalar,
        (Type::Double, S::Lreal | S::Lword) => S::Lreal,
        (Type::QWord, S::Lword | S::Lint | S::Ulint) => S::Lword,
        (Type::LLong, S::Lword | S::Lint | S::Ulint) => S::Lint,
        (_, scalar) => {
            let what = format!("`{address}` is {}, its data type is {}", DataType::single(scalar), kind.name);
            return Err(Refusal::new("I0102", what, "correct the data type or the address"));
        }
    })
}

/// The byte and bit of a bit of a byte, word or double word.
fn bit(address: &str, parts: &Parts<'_>) -> Result<(u32, u8, Option<Told>), Refusal> {
    let digits = &parts.rest[1..];
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let bit = plain.then(|| digits.parse::<u32>().ok()).flatten();
    let width = parts.scalar.bits().unwrap_or(8).max(8);
    let bit = bit.filter(|bit| *bit < width).ok_or_else(|| {
        Refusal::new(
            "I0101",
            format!("`{address}` names no bit"),
            format!("bits have the numbers 0 to {}", width - 1),
        )
    })?;
    // The high byte comes first: bit 0 of a word is in its second byte.
    let byte = parts.byte + width / 8 - 1 - bit / 8;
    let within = u8::try_from(bit % 8).unwrap_or(0);
    let told = (width > 8).then(|| {
        (
            format!("bit {bit} of `{address}` is read as bit {within} of byte {byte}"),
            "bit 0 is the lowest of the number; compare one such bit with the PLC".to_owned(),
        )
    });
    Ok((byte, within, told))
}

fn text_type(is_text: bool, len: u16, changes: &mut Vec<Told>) -> DataType {
    if is_text {
        return DataType::single(Scalar::String(Some(len)));
    }
    changes.push((
        format!("the text of {len} bytes without a length before it is now an array of characters"),
        "where the PLC has a STRING, write STRING[n] with the byte before the first letter but one".into(),
    ));
    DataType { scalar: Scalar::Char, array_len: Some(len) }
}

/// The address as the protocol writes it, or what it has against it.
fn place(
    area: &str,
    byte: u32,
    bit: Option<u8>,
    data_type: DataType,
    mut changes: Vec<Told>,
    protocol: &dyn Protocol,
) -> Result<Found, Refusal> {
    let letter = match data_type.scalar.bits() {
        Some(1) => "X",
        Some(16) => "W",
        Some(32) => "D",
        _ => "B",
    };
    let bit = bit.map(|bit| format!(".{bit}")).unwrap_or_default();
    let written = |area: &str| match area.starts_with("DB") {
        true => format!("{area}.DB{letter}{byte}{bit}"),
        false => format!("{area}{}{byte}{bit}", if letter == "X" { "" } else { letter }),
    };
    let checked = |area: &str| protocol.check_address(&written(area), data_type);
    let address = match area.strip_prefix('P') {
        None => checked(area)?,
        // Whether a CPU lets others read its periphery is not known of every one.
        Some(image) => {
            let address = checked(image)?;
            changes.push((
                "it is read from the process image instead of the module itself".into(),
                "the value is one cycle old; the module must lie within the process image".into(),
            ));
            address
        }
    };
    Ok(Found { address: address.canonical, data_type, order: None, changes })
}
