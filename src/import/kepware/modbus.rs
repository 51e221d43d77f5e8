//! Modbus addresses as Kepware writes them.
//!
//! The first digit is the table, the rest the number: 41, 401, 4001, 40001 and 400001 are all holding
//! register 1 (PTC, "5-Digit Addressing vs. 6-Digit Addressing"). Behind it may follow `.3` (a bit),
//! `.20H` or `.20L` (a text and the order of its bytes), `[10]` or `[2][5]` (an array).

use forebay_connector::{ByteOrder, DataType, Protocol, Scalar};

use super::super::report::Refusal;
use super::types::{Kind, Type};
use super::{Found, Kepware, Switch, array, count, elements};

/// Longest text of Kepware's driver, in bytes.
const TEXT_BYTES: std::ops::RangeInclusive<u16> = 2..=240;

/// Where the tag is, in the notation of profiles.
///
/// # Errors
/// The address or its type cannot be read, with the reason.
pub fn find(address: &str, kind: Kind, options: &Kepware, protocol: &dyn Protocol) -> Result<Found, Refusal> {
    let text: String = address.chars().filter(|c| *c != ' ').collect::<String>().to_ascii_uppercase();
    let at = text.find(['.', '[', '#']).unwrap_or(text.len());
    let (body, rest) = text.split_at(at);
    let (table, number) = place(address, body, options.zero_based)?;
    let bits = matches!(table, '0' | '1');
    let mut found = match (bits, rest.as_bytes().first()) {
        (true, None) => boolean(address, kind).map(|()| Found::new("", DataType::single(Scalar::Bool)))?,
        (true, Some(b'[')) => {
            boolean(address, kind)?;
            list(address, rest, Scalar::Bool)?
        }
        (false, None) => Found::new("", DataType::single(number_type(address, kind)?)),
        (false, Some(b'[')) => list(address, rest, number_type(address, kind)?)?,
        (false, Some(b'.')) => {
            return behind_point(address, &rest[1..], kind, options, (table, number), protocol);
        }
        _ => {
            let what = format!("`{address}` packs coils into a number");
            return Err(Refusal::new(
                "I0101",
                what,
                "write one tag for each coil, or an array of Boolean: 000001[16]",
            ));
        }
    };
    found.address = manual(table, number);
    checked(found, protocol)
}

/// A bit or a text of registers.
fn behind_point(
    address: &str,
    rest: &str,
    kind: Kind,
    options: &Kepware,
    (table, number): (char, u32),
    protocol: &dyn Protocol,
) -> Result<Found, Refusal> {
    let text = rest.strip_suffix(['H', 'L']);
    let mut found = match text {
        Some(digits) => {
            let len = count(digits).filter(|len| TEXT_BYTES.contains(len)).ok_or_else(|| {
                Refusal::new(
                    "I0101",
                    format!("`{address}` has no text length"),
                    "a text has 2 to 240 bytes: 400001.20H",
                )
            })?;
            if !matches!(kind.single, Type::String | Type::Default) || kind.is_array {
                return Err(conflict(address, "a text", kind));
            }
            let swapped = rest.ends_with('L');
            let mut found = Found::new(manual(table, number), DataType::single(Scalar::String(Some(len))));
            // What the device says of its registers holds for texts, too.
            let device = options.order.as_deref().and_then(ByteOrder::parse).unwrap_or(ByteOrder::Cdab);
            let device_swaps = matches!(device, ByteOrder::Badc | ByteOrder::Dcba);
            found.order = match (swapped, device_swaps) {
                (true, false) => Some(ByteOrder::Badc),
                (false, true) => Some(ByteOrder::Abcd),
                _ => None,
            };
            found
        }
        None => {
            boolean(address, kind)?;
            let digits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
            let bit = digits.then(|| rest.parse::<u8>().ok()).flatten();
            let first = if options.zero_based_bits == Switch::Enable { 0 } else { 1 };
            let bit =
                bit.and_then(|bit| bit.checked_sub(first)).filter(|bit| *bit < 16).ok_or_else(|| {
                    let what = format!("`{address}` names no bit of a register");
                    let fix = format!(
                        "bits have the numbers {first} to {}; a text needs H or L: 400001.20H",
                        first + 15
                    );
                    Refusal::new("I0101", what, fix)
                })?;
            Found::new(format!("{}.{bit}", manual(table, number)), DataType::single(Scalar::Bool))
        }
    };
    found = checked(found, protocol)?;
    Ok(found)
}

/// The table's digit and the number from 1.
fn place(address: &str, body: &str, zero_based: Switch) -> Result<(char, u32), Refusal> {
    let wrong =
        |fix: &str| Refusal::new("I0101", format!("`{address}` is no Modbus address of Kepware"), fix);
    let (digits, radix) = match body.strip_prefix('H') {
        Some(digits) => (digits, 16),
        None => (body, 10),
    };
    let mut letters = digits.chars();
    let table = letters.next().filter(|table| matches!(table, '0' | '1' | '3' | '4'));
    let number = letters.as_str();
    let table =
        table.ok_or_else(|| wrong("the first digit names the table: 0, 1, 3 or 4; for example 400001"))?;
    let plain = (1..=5).contains(&number.len()) && number.chars().all(|digit| digit.is_digit(radix));
    let number = plain.then(|| u32::from_str_radix(number, radix).ok()).flatten();
    let number = number.ok_or_else(|| wrong("write the table and up to five digits, for example 400001"))?;
    match zero_based {
        Switch::Enable if number == 0 => Err(wrong(
            "numbers count from 1; where the device has \"Zero-Based Addressing\" disabled, give --zero-based disable",
        )),
        Switch::Enable => Ok((table, number)),
        Switch::Disable => Ok((table, number + 1)),
    }
}

/// The notation of profiles.
fn manual(table: char, number: u32) -> String {
    if number <= 9999 { format!("{table}{number:04}") } else { format!("{table}{number:05}") }
}

fn boolean(address: &str, kind: Kind) -> Result<(), Refusal> {
    match kind.single {
        Type::Boolean | Type::Default => Ok(()),
        _ => Err(conflict(address, "one bit", kind)),
    }
}

fn conflict(address: &str, is: &str, kind: Kind) -> Refusal {
    Refusal::new(
        "I0102",
        format!("`{address}` is {is}, its data type is {}", kind.name),
        "correct the data type or the address",
    )
}

fn number_type(address: &str, kind: Kind) -> Result<Scalar, Refusal> {
    Ok(match kind.single {
        Type::Word | Type::Default => Scalar::Word,
        Type::Short => Scalar::Int,
        Type::DWord => Scalar::Dword,
        Type::Long => Scalar::Dint,
        Type::QWord => Scalar::Lword,
        Type::LLong => Scalar::Lint,
        Type::Float => Scalar::Real,
        Type::Double => Scalar::Lreal,
        Type::Bcd => Scalar::Bcd,
        Type::Lbcd => Scalar::Lbcd,
        Type::Boolean => {
            let what = format!("`{address}` is a register, its data type is Boolean");
            return Err(Refusal::new("I0102", what, "add the bit: 400001.0 is the lowest"));
        }
        Type::String => {
            let what = format!("`{address}` has no text length");
            return Err(Refusal::new("I0102", what, "add it and the order of the bytes: 400001.20H"));
        }
        Type::Byte | Type::Char | Type::Date => {
            let what = format!("a register holds no {}", kind.name);
            return Err(Refusal::new("I0102", what, "take Word or Short, or DWord for seconds"));
        }
    })
}

fn list(address: &str, rest: &str, scalar: Scalar) -> Result<Found, Refusal> {
    let (count, by_rows) = elements(rest).ok_or_else(|| {
        Refusal::new(
            "I0101",
            format!("`{address}` is no array"),
            "write [10], or [rows][columns]: 400001[2][5]",
        )
    })?;
    let (data_type, changes) = array(scalar, count, by_rows);
    Ok(Found { changes, ..Found::new("", data_type) })
}

/// The address as the protocol writes it, or what it has against it.
fn checked(found: Found, protocol: &dyn Protocol) -> Result<Found, Refusal> {
    let address = protocol.check_address(&found.address, found.data_type)?;
    Ok(Found { address: address.canonical, ..found })
}
