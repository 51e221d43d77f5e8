//! Bytes of a standard (not optimised) block to values.

use forebay_connector::{ByteOrder, DataType, DecodeFault, Scalar, Value, decode_scalar};

use crate::address::Place;

/// Windows-1252 where it differs from Latin-1: 0x80 to 0x9F. Siemens tools on Windows write
/// STRINGs in this code page. The five unused codes stay control characters.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Decodes the bytes of a tag; an array with one element that is no value is no value.
pub(crate) fn value(place: &Place, bytes: &[u8]) -> Result<Value, DecodeFault> {
    let DataType { scalar, array_len } = place.data_type;
    let Some(len) = array_len else {
        return match scalar {
            Scalar::Bool => bit(bytes, usize::from(place.bit)),
            _ => element(scalar, place.order, bytes),
        };
    };
    let len = usize::from(len);
    let width = bytes.len() / len;
    (0..len)
        .map(|index| match scalar {
            Scalar::Bool => bit(bytes, usize::from(place.bit) + index),
            _ => element(scalar, place.order, bytes.get(index * width..).unwrap_or_default()),
        })
        .collect::<Result<_, _>>()
        .map(Value::Array)
}

fn bit(bytes: &[u8], number: usize) -> Result<Value, DecodeFault> {
    let short = DecodeFault::Short { needed: number / 8 + 1, got: bytes.len() };
    let byte = bytes.get(number / 8).ok_or(short)?;
    Ok(Value::Bool(byte >> (number % 8) & 1 == 1))
}

fn element(scalar: Scalar, order: ByteOrder, bytes: &[u8]) -> Result<Value, DecodeFault> {
    match scalar {
        Scalar::String(_) => string(bytes),
        Scalar::Wstring(_) => wstring(bytes),
        Scalar::Dtl => dtl(bytes),
        Scalar::Char => match bytes {
            [byte, ..] => Ok(text(&[*byte])),
            [] => Err(DecodeFault::Short { needed: 1, got: 0 }),
        },
        _ => match bytes.get(..number_bytes(scalar)) {
            Some(wire) if order != ByteOrder::Abcd => {
                let mut number = [0; 8];
                let number = &mut number[..wire.len()];
                number.copy_from_slice(wire);
                order.to_big_endian(number);
                decode_scalar(scalar, number)
            }
            _ => decode_scalar(scalar, bytes),
        },
    }
}

/// Bytes of a number, at most 8; other types have no byte order.
pub(crate) fn number_bytes(scalar: Scalar) -> usize {
    scalar.bits().filter(|_| scalar.is_number()).map_or(0, |bits| (bits / 8) as usize)
}

/// STRING: declared length, actual length, characters. A length over the declared one or over the
/// field shows that something else lies at this address.
fn string(bytes: &[u8]) -> Result<Value, DecodeFault> {
    let [max, len, field @ ..] = bytes else {
        return Err(DecodeFault::Short { needed: 2, got: bytes.len() });
    };
    let characters = field.get(..usize::from(*len)).filter(|_| len <= max).ok_or(DecodeFault::Text)?;
    Ok(text(characters))
}

fn text(characters: &[u8]) -> Value {
    let text: String = characters
        .iter()
        .map(|byte| match byte {
            0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
            _ => char::from(*byte),
        })
        .collect();
    Value::Text(text.into_boxed_str())
}

/// The byte of a character in a STRING, `None` when the code page has none.
pub(crate) fn windows_1252(character: char) -> Option<u8> {
    let special = WINDOWS_1252.iter().position(|known| *known == character);
    match special {
        Some(index) => u8::try_from(0x80 + index).ok(),
        None => u8::try_from(u32::from(character)).ok().filter(|byte| !(0x80..=0x9F).contains(byte)),
    }
}

/// WSTRING: the same with words, in UTF-16 with the high byte first.
fn wstring(bytes: &[u8]) -> Result<Value, DecodeFault> {
    let [m1, m0, l1, l0, field @ ..] = bytes else {
        return Err(DecodeFault::Short { needed: 4, got: bytes.len() });
    };
    let (max, len) = (u16::from_be_bytes([*m1, *m0]), u16::from_be_bytes([*l1, *l0]));
    let units = field.get(..usize::from(len) * 2).filter(|_| len <= max).ok_or(DecodeFault::Text)?;
    let units = units.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| DecodeFault::Text)?;
    Ok(Value::Text(text.into_boxed_str()))
}

/// DTL: year, month, day, weekday, hour, minute, second, nanosecond; read as if it were UTC, the
/// profile's time zone is applied outside. The weekday is not looked at: it follows from the date.
fn dtl(bytes: &[u8]) -> Result<Value, DecodeFault> {
    let [y1, y0, month, day, _, hour, minute, second, n3, n2, n1, n0, ..] = bytes else {
        return Err(DecodeFault::Short { needed: 12, got: bytes.len() });
    };
    let year = u16::from_be_bytes([*y1, *y0]);
    let nanosecond = u32::from_be_bytes([*n3, *n2, *n1, *n0]);
    // The range of the type: 1970-01-01 to 2262-04-11.
    let valid = (1970..=2262).contains(&year)
        && (1..=12).contains(month)
        && (1..=days_of_month(year, *month)).contains(day)
        && *hour < 24
        && *minute < 60
        && *second < 60
        && nanosecond < 1_000_000_000;
    if !valid {
        return Err(DecodeFault::Date);
    }
    let days = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>()
        + (1..*month).map(|month| i64::from(days_of_month(year, month))).sum::<i64>()
        + i64::from(*day)
        - 1;
    let seconds = ((days * 24 + i64::from(*hour)) * 60 + i64::from(*minute)) * 60 + i64::from(*second);
    Ok(Value::DateTime(seconds * 1_000_000 + i64::from(nanosecond / 1000)))
}

fn leap(year: u16) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// Days of a month from 1 to 12.
pub(crate) fn days_of_month(year: u16, month: u8) -> u8 {
    match month {
        2 => 28 + u8::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(data_type: &str, bytes: &[u8]) -> Result<Value, DecodeFault> {
        let data_type = DataType::parse(data_type).unwrap();
        let address = if data_type.scalar == Scalar::Bool { "DB1.DBX0.1" } else { "DB1.DBB0" };
        let place = Place::read(address, data_type).unwrap();
        assert_eq!(place.len_bytes as usize, bytes.len());
        value(&place, bytes)
    }

    fn as_text(text: &str) -> Result<Value, DecodeFault> {
        Ok(Value::Text(text.into()))
    }

    #[test]
    fn strings() {
        assert_eq!(decode("STRING[4]", b"\x04\x02abcd"), as_text("ab"));
        assert_eq!(decode("STRING[4]", b"\x04\x04\xfc\x80\xb0C"), as_text("ü€°C"));
        assert_eq!(decode("STRING[4]", b"\0\0\0\0\0\0"), as_text(""), "never written");
        assert_eq!(decode("STRING[4]", b"\xfe\x05abcd"), Err(DecodeFault::Text), "behind the field");
        assert_eq!(decode("STRING[4]", b"\x01\x02abcd"), Err(DecodeFault::Text), "over its own maximum");
        assert_eq!(decode("WSTRING[2]", b"\0\x02\0\x02\x20\xac\0A"), as_text("€A"));
        assert_eq!(decode("WSTRING[2]", b"\0\x02\0\x01\xd8\x00\0A"), Err(DecodeFault::Text), "half a pair");
        assert_eq!(decode("WSTRING[2]", b"\0\x09\0\x03\0A\0A"), Err(DecodeFault::Text));
        assert_eq!(decode("CHAR", b"\x80"), as_text("€"));
    }

    #[test]
    fn characters_round_trip() {
        for byte in 0..=255u8 {
            let Value::Text(text) = text(&[byte]) else { panic!("text") };
            assert_eq!(text.chars().next().and_then(windows_1252), Some(byte));
        }
        assert_eq!(windows_1252('ł'), None);
    }

    #[test]
    fn dates() {
        // 2026-02-11 08:30:15.123456789, Wednesday, as TIA shows it.
        let bytes = [0x07, 0xEA, 2, 11, 4, 8, 30, 15, 0x07, 0x5B, 0xCD, 0x15];
        assert_eq!(decode("DTL", &bytes), Ok(Value::DateTime(1_770_798_615_123_456)));
        let date = |year: u16, month, day| {
            let [high, low] = year.to_be_bytes();
            decode("DTL", &[high, low, month, day, 1, 0, 0, 0, 0, 0, 0, 0])
        };
        assert_eq!(date(1970, 1, 1), Ok(Value::DateTime(0)));
        assert_eq!(date(2000, 3, 1), Ok(Value::DateTime(951_868_800_000_000)));
        assert_eq!(date(2262, 4, 11), Ok(Value::DateTime(9_223_286_400_000_000)));
        for (year, month, day) in
            [(0, 0, 0), (2026, 2, 29), (2100, 2, 29), (2026, 13, 1), (2026, 4, 31), (1969, 1, 1)]
        {
            assert_eq!(date(year, month, day), Err(DecodeFault::Date), "{year}-{month}-{day}");
        }
        let mut late = bytes;
        late[8] = 0x3B;
        late[9] = 0x9B; // over a billion nanoseconds
        assert_eq!(decode("DTL", &late), Err(DecodeFault::Date));
        late = bytes;
        late[5] = 24;
        assert_eq!(decode("DTL", &late), Err(DecodeFault::Date));
    }

    #[test]
    fn another_byte_order_is_put_right_for_each_element() {
        let mut place = Place::read("DB1.DBD0", DataType::parse("UDINT[2]").unwrap()).unwrap();
        place.order = ByteOrder::Cdab;
        let numbers = [0x1122_3344u64, 5].map(Value::Uint);
        assert_eq!(value(&place, &[0x33, 0x44, 0x11, 0x22, 0, 5, 0, 0]), Ok(Value::Array(Box::new(numbers))));
    }

    #[test]
    fn numbers_bits_and_arrays() {
        assert_eq!(decode("BOOL", &[0b10]), Ok(Value::Bool(true)));
        assert_eq!(decode("BOOL", &[0b1101]), Ok(Value::Bool(false)));
        assert_eq!(decode("LREAL", &1.5f64.to_be_bytes()), Ok(Value::Lreal(1.5)));
        let bits: Box<[Value]> =
            [true, false, true, false, false, false, false, true].map(Value::Bool).into();
        assert_eq!(decode("BOOL[8]", &[0b1010, 1]), Ok(Value::Array(bits)), "from bit 1 on");
        let numbers = Value::Array(Box::new([Value::Uint(1), Value::Uint(2)]));
        assert_eq!(decode("USINT[2]", &[1, 2]), Ok(numbers));
    }
}
