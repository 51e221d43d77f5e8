//! python-snap7: bytes in data blocks, bit memory and inputs, laid out here by hand after the
//! Siemens rules and not with the connector's own encoder, so that the two cannot err together.

use std::collections::BTreeMap;

use forebay_connector::{DeviceSpec, Scalar, TagSpec, Value};

use super::foreign::Language;

/// Bytes that a block has behind its last tag.
const SPARE_BYTES: usize = 64;

/// How to tell python-snap7 about `spec`.
pub fn language(spec: &DeviceSpec, python: &'static str) -> Language {
    let mut blocks: BTreeMap<u32, usize> = BTreeMap::new();
    for place in spec.tags.iter().filter_map(|tag| Place::read(&tag.address)) {
        if let Area::Block(number) = place.area {
            let size = blocks.entry(number).or_default();
            *size = (*size).max(place.byte + SPARE_BYTES);
        }
    }
    Language {
        python,
        script: "s7_server.py",
        arguments: Vec::new(),
        scheme: "",
        prepare: blocks.iter().map(|(number, size)| format!("db {number} {size}")).collect(),
        sets: spec.tags.iter().map(|tag| Place::read(&tag.address).is_some()).collect(),
        set: commands,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Area {
    Block(u32),
    Memory,
    Inputs,
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    area: Area,
    byte: usize,
    bit: u8,
}

impl Place {
    /// Reads `DB10.DBX2.0`, `M10.1`, `IW64`; outputs cannot be set.
    fn read(address: &str) -> Option<Self> {
        let (area, rest) = match address.strip_prefix("DB") {
            Some(rest) => {
                let (number, rest) = rest.split_once(".DB")?;
                (Area::Block(number.parse().ok()?), rest)
            }
            None if address.starts_with('M') => (Area::Memory, &address[1..]),
            None if address.starts_with('I') => (Area::Inputs, &address[1..]),
            None => return None,
        };
        let rest = rest.trim_start_matches(['X', 'B', 'W', 'D']);
        let (byte, bit) = rest.split_once('.').unwrap_or((rest, "0"));
        Some(Self { area, byte: byte.parse().ok()?, bit: bit.parse().ok()? })
    }
}

fn commands(spec: &DeviceSpec, values: &[Value]) -> Vec<String> {
    // Bits of one byte belong to several tags: they are gathered first.
    let mut image: BTreeMap<(Area, usize), u8> = BTreeMap::new();
    for (tag, value) in spec.tags.iter().zip(values) {
        let Some(place) = Place::read(&tag.address) else { continue };
        if let Value::Bool(set) = value {
            *image.entry((place.area, place.byte)).or_default() |= u8::from(*set) << place.bit;
            continue;
        }
        for (offset, byte) in bytes_of(tag, value).into_iter().enumerate() {
            image.insert((place.area, place.byte + offset), byte);
        }
    }
    let command = |((area, byte), value): (&(Area, usize), &u8)| match area {
        Area::Block(number) => format!("set {number} {byte} {value:02x}"),
        Area::Memory => format!("setm {byte} {value:02x}"),
        Area::Inputs => format!("seti {byte} {value:02x}"),
    };
    image.iter().map(command).collect()
}

#[allow(clippy::cast_possible_truncation)] // the low bytes of two's complement
fn bytes_of(tag: &TagSpec, value: &Value) -> Vec<u8> {
    let low = |bytes: [u8; 8], width: u32| bytes[8 - (width / 8) as usize..].to_vec();
    match (value, tag.data_type.scalar) {
        (Value::Array(values), _) => values.iter().flat_map(|value| bytes_of(tag, value)).collect(),
        (Value::Int(number), scalar) => low(number.to_be_bytes(), scalar.bits().unwrap_or(8)),
        (Value::Uint(number), scalar) => low(number.to_be_bytes(), scalar.bits().unwrap_or(8)),
        (Value::Real(number), _) => number.to_be_bytes().to_vec(),
        (Value::Lreal(number), _) => number.to_be_bytes().to_vec(),
        (Value::DateTime(us), Scalar::Dtl) => dtl(*us),
        (Value::Text(text), Scalar::String(Some(len))) => {
            let mut bytes = vec![len as u8, text.len() as u8];
            bytes.extend(text.bytes());
            bytes
        }
        _ => Vec::new(),
    }
}

/// Year, month, day, weekday (1 = Sunday), hour, minute, second, nanoseconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // years of this century
fn dtl(us: i64) -> Vec<u8> {
    let (days, in_day) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    let (mut year, mut left) = (1970, days);
    let length = |year: i64| if year % 4 == 0 { 366 } else { 365 };
    while left >= length(year) {
        left -= length(year);
        year += 1;
    }
    let months = [31, length(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    let seconds = in_day / 1_000_000;
    let nanoseconds = (in_day % 1_000_000 * 1000) as u32;
    // 1970-01-01 was a Thursday, the fifth day.
    let weekday = (days + 4).rem_euclid(7) + 1;
    let mut bytes = (year as u16).to_be_bytes().to_vec();
    bytes.extend([month as u8 + 1, left as u8 + 1, weekday as u8]);
    bytes.extend([(seconds / 3600) as u8, (seconds / 60 % 60) as u8, (seconds % 60) as u8]);
    bytes.extend(nanoseconds.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = |area, byte, bit| Some(Place { area, byte, bit });
        assert_eq!(Place::read("DB110.DBX2.3"), place(Area::Block(110), 2, 3));
        assert_eq!(Place::read("DB10.DBB52"), place(Area::Block(10), 52, 0));
        assert_eq!(Place::read("M10.1"), place(Area::Memory, 10, 1));
        assert_eq!(Place::read("IW64"), place(Area::Inputs, 64, 0));
        assert_eq!(Place::read("QB4"), None);
    }

    #[test]
    fn a_dtl_is_that_of_the_manual() {
        // The bytes of `tests/peers_s7.rs`, written by hand.
        let bytes = [0x07, 0xEA, 2, 11, 4, 8, 0x1E, 0x0F, 0x07, 0x5B, 0xCA, 0x00];
        assert_eq!(dtl(1_770_798_615_123_456), bytes);
    }
}
