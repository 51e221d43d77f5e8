//! Bytes of a standard (not optimised) block to values.

use forebay_connector::{ByteOrder, DecodeFault, Scalar, Value, decode_scalar};

use crate::address::{Area, Place};
use crate::times;

/// Windows-1252 where it differs from Latin-1: 0x80 to 0x9F. Siemens tools on Windows write
/// STRINGs in this code page. The five unused codes stay control characters.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Decodes the bytes of a tag, which `bytes` begins with; an array with one element that is no value
/// is no value.
pub(crate) fn value(place: &Place, bytes: &[u8]) -> Result<Value, DecodeFault> {
    let needed = place.len_bytes as usize;
    let bytes = bytes.get(..needed).ok_or(DecodeFault::Short { needed, got: bytes.len() })?;
    let Some(len) = place.data_type.array_len else { return element(place, bytes, 0) };
    let elements: Result<_, _> = (0..usize::from(len)).map(|index| element(place, bytes, index)).collect();
    Ok(Value::Array(elements?))
}

fn bit(bytes: &[u8], number: usize) -> Result<Value, DecodeFault> {
    let short = DecodeFault::Short { needed: number / 8 + 1, got: bytes.len() };
    let byte = bytes.get(number / 8).ok_or(short)?;
    Ok(Value::Bool(byte >> (number % 8) & 1 == 1))
}

/// Bits of a timer or counter that mean nothing to a reader: two above the time base, four above
/// the digits (System Software for S7-300/400, chapters on timers and counters).
fn meaningless(area: Area) -> u16 {
    match area {
        Area::Timer => 0xC000,
        Area::Counter => 0xF000,
        _ => 0,
    }
}

/// The element with this index of a tag's bytes.
fn element(place: &Place, bytes: &[u8], index: usize) -> Result<Value, DecodeFault> {
    let scalar = place.data_type.scalar;
    if scalar == Scalar::Bool {
        return bit(bytes, usize::from(place.bit) + index);
    }
    let width = bytes.len() / usize::from(place.data_type.array_len.unwrap_or(1));
    let bytes = bytes.get(index * width..).unwrap_or_default();
    if place.order != ByteOrder::Abcd
        && let Some(wire) = bytes.get(..number_bytes(scalar)).filter(|wire| !wire.is_empty())
    {
        let mut ordered = [0; 8];
        let number = &mut ordered[..wire.len()];
        number.copy_from_slice(wire);
        place.order.to_big_endian(number);
        return big_endian(place.area, scalar, number);
    }
    big_endian(place.area, scalar, bytes)
}

/// One element with its high byte first.
fn big_endian(area: Area, scalar: Scalar, bytes: &[u8]) -> Result<Value, DecodeFault> {
    match scalar {
        Scalar::String(_) => string(bytes),
        Scalar::Wstring(_) => wstring(bytes),
        Scalar::Dtl => times::dtl(bytes),
        Scalar::DateAndTime => times::date_and_time(bytes),
        Scalar::Date => times::date(word(bytes)?),
        Scalar::S5time => times::s5time(word(bytes)? & !meaningless(area)),
        Scalar::Bcd => decode_scalar(scalar, &(word(bytes)? & !meaningless(area)).to_be_bytes()),
        Scalar::Char => match bytes {
            [byte, ..] => Ok(text(&[*byte])),
            [] => Err(DecodeFault::Short { needed: 1, got: 0 }),
        },
        _ => decode_scalar(scalar, bytes),
    }
}

fn word(bytes: &[u8]) -> Result<u16, DecodeFault> {
    let word = bytes.first_chunk().ok_or(DecodeFault::Short { needed: 2, got: bytes.len() })?;
    Ok(u16::from_be_bytes(*word))
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

#[cfg(test)]
mod tests {
    use forebay_connector::DataType;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Slot;
    use crate::steps::Step;

    /// The value as it is made for a sample, behind other bytes; a plain one is made both ways.
    fn value(place: &Place, bytes: &[u8]) -> Result<Value, DecodeFault> {
        let slot = Slot { tag: 0, image: 3..3 + bytes.len(), ranges: 0..1 };
        let mut plain = Value::Null;
        let is_plain = Step::new(&slot, place).plain(&[&[0xA5; 3], bytes].concat(), &mut plain);
        let value = super::value(place, bytes);
        if is_plain {
            assert_eq!(value.as_ref(), Ok(&plain));
        }
        value
    }

    fn decode(data_type: &str, bytes: &[u8]) -> Result<Value, DecodeFault> {
        let data_type = DataType::parse(data_type).unwrap();
        let address = match data_type.scalar {
            Scalar::Bool => "DB1.DBX0.1",
            Scalar::Wchar => "DB1.DBW0",
            _ => "DB1.DBB0",
        };
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
        assert_eq!(decode("WCHAR", b"\x20\xac"), as_text("€"));
        assert_eq!(decode("WCHAR", b"\xd8\x00"), Err(DecodeFault::Text), "half a pair");
        let letters = ["Ö", "l"].map(|letter| Value::Text(letter.into()));
        assert_eq!(decode("WCHAR[2]", b"\0\xd6\0l"), Ok(Value::Array(Box::new(letters))));
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
    fn timers_and_counters_have_bits_that_mean_nothing() {
        let read = |address, data_type, bytes: [u8; 2]| {
            let place = Place::read(address, DataType::parse(data_type).unwrap()).unwrap();
            value(&place, &bytes)
        };
        assert_eq!(read("T5", "S5TIME", [0xE1, 0x27]), Ok(Value::Int(127_000)));
        assert_eq!(read("T5", "WORD", [0xE1, 0x27]), Ok(Value::Uint(0xE127)));
        assert_eq!(read("C5", "BCD", [0xF9, 0x99]), Ok(Value::Uint(999)));
        assert_eq!(read("C5", "BCD", [0x0A, 0x99]), Err(DecodeFault::Digit));
        assert_eq!(read("DB1.DBW0", "S5TIME", [0xE1, 0x27]), Err(DecodeFault::Digit));
        assert_eq!(read("DB1.DBW0", "BCD", [0x99, 0x99]), Ok(Value::Uint(9999)));
        assert_eq!(read("DB1.DBW0", "BCD", [0xF9, 0x99]), Err(DecodeFault::Digit));
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

    /// Every type with single values and arrays, over whatever bytes a device may send.
    #[test]
    fn no_bytes_make_a_decoder_panic_or_an_impossible_value() {
        proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..64), len in 1u16..6)| {
            for name in DataType::names() {
                for data_type in [name.to_owned(), format!("{name}[{len}]")] {
                    let Some(data_type) = DataType::parse(&data_type) else { continue };
                    let letters = ["DB1.DBX0.3", "DB1.DBB0", "DB1.DBW0", "DB1.DBD0", "T5", "C5"];
                    let places = letters.iter().filter_map(|address| Place::read(address, data_type).ok());
                    for (place, order) in places.zip(ByteOrder::NAMES.iter().cycle()) {
                        let place = Place { order: ByteOrder::parse(order).unwrap(), ..place };
                        let found = value(&place, &bytes);
                        if bytes.len() < place.len_bytes as usize {
                            prop_assert!(found.is_err(), "{data_type} of {} bytes: {found:?}", bytes.len());
                        }
                    }
                }
            }
        });
    }
}
