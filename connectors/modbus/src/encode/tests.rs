use forebay_connector::{DataType, DecodeFault};
use proptest::prelude::*;

use super::*;
use crate::{address, decode};

const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];

fn item(address: &str, data_type: &str, order: ByteOrder) -> Item {
    let data_type = DataType::parse(data_type).unwrap();
    let (place, count) = address::check(address, data_type).unwrap();
    Item { place, count, data_type, order, scan: 0 }
}

/// The decoder works on bytes as they come.
fn read(item: &Item, words: &[u16]) -> Result<Value, DecodeFault> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    decode::registers(item, &bytes)
}

fn round_trip(data_type: &str, value: &Value) {
    for order in ORDERS {
        let item = item("40001", data_type, order);
        let words = registers(&item, value).unwrap_or_else(|| panic!("{data_type} cannot hold {value:?}"));
        assert_eq!(read(&item, &words).as_ref(), Ok(value), "{data_type} {order:?}");
    }
}

#[test]
fn orders_are_those_of_the_documentation() {
    for (order, wire, wide) in [
        (ByteOrder::Abcd, [0x1122, 0x3344], [0x0102, 0x0304, 0x0506, 0x0708]),
        (ByteOrder::Cdab, [0x3344, 0x1122], [0x0708, 0x0506, 0x0304, 0x0102]),
        (ByteOrder::Badc, [0x2211, 0x4433], [0x0201, 0x0403, 0x0605, 0x0807]),
        (ByteOrder::Dcba, [0x4433, 0x2211], [0x0807, 0x0605, 0x0403, 0x0201]),
    ] {
        let (narrow, broad) = (Value::Uint(0x1122_3344), Value::Uint(0x0102_0304_0506_0708));
        assert_eq!(registers(&item("40001", "UDINT", order), &narrow).as_deref(), Some(&wire[..]));
        assert_eq!(registers(&item("40001", "LWORD", order), &broad).as_deref(), Some(&wide[..]));
        assert_eq!(read(&item("40001", "UDINT", order), &wire), Ok(narrow));
        assert_eq!(read(&item("40001", "LWORD", order), &wide), Ok(broad));
    }
}

#[test]
fn text_ends_at_nul_or_with_its_last_character() {
    let read = |data_type: &str, order, words: &[u16]| read(&item("40001", data_type, order), words);
    let text = |text: &str| Ok(Value::Text(text.into()));
    assert_eq!(read("STRING[6]", ByteOrder::Abcd, &[0x4142, 0x4300, 0x5858]), text("ABC"));
    assert_eq!(read("STRING[6]", ByteOrder::Dcba, &[0x4241, 0x2043, 0x2020]), text("ABC"));
    assert_eq!(read("STRING[3]", ByteOrder::Abcd, &[0x4142, 0x4344]), text("ABC"));
    assert_eq!(read("STRING[2]", ByteOrder::Abcd, &[0xFFFF]), Err(DecodeFault::Text));
    assert_eq!(read("WSTRING[2]", ByteOrder::Abcd, &[0x00E4, 0]), text("ä"));
    assert_eq!(read("WSTRING[1]", ByteOrder::Abcd, &[0xD800]), Err(DecodeFault::Text));
}

#[test]
fn bits_count_from_the_lowest() {
    assert_eq!(read(&item("40001.0", "BOOL", ByteOrder::Abcd), &[1]), Ok(Value::Bool(true)));
    assert_eq!(read(&item("40001.15", "BOOL", ByteOrder::Abcd), &[1]), Ok(Value::Bool(false)));
    assert_eq!(read(&item("40001.8", "BOOL", ByteOrder::Badc), &[1]), Ok(Value::Bool(true)));
}

#[test]
fn decimal_numbers_have_a_digit_in_each_half_byte() {
    for (order, words) in [
        (ByteOrder::Abcd, [0x1234, 0x5678]),
        (ByteOrder::Cdab, [0x5678, 0x1234]),
        (ByteOrder::Dcba, [0x7856, 0x3412]),
    ] {
        assert_eq!(read(&item("40001", "LBCD", order), &words), Ok(Value::Uint(12_345_678)));
    }
    assert_eq!(read(&item("40001", "BCD", ByteOrder::Badc), &[0x3412]), Ok(Value::Uint(1234)));
    assert_eq!(read(&item("40001", "BCD", ByteOrder::Abcd), &[0x123A]), Err(DecodeFault::Digit));
    assert_eq!(read(&item("40001", "BCD[2]", ByteOrder::Abcd), &[0x1234, 0xF000]), Err(DecodeFault::Digit));
}

#[test]
fn no_number_is_no_value() {
    let real = item("40001", "REAL", ByteOrder::Abcd);
    for nan in [[0x7FC0, 0], [0x7F80, 0], [0xFF80, 0], [0xFFFF, 0xFFFF]] {
        assert_eq!(read(&real, &nan), Err(DecodeFault::NotFinite));
    }
    let reals = item("40001", "REAL[2]", ByteOrder::Abcd);
    assert_eq!(read(&reals, &[0x3F80, 0, 0x7FC0, 0]), Err(DecodeFault::NotFinite));
}

#[test]
fn what_does_not_fit_is_refused() {
    for (data_type, value) in [
        ("INT", Value::Int(32_768)),
        ("UINT", Value::Int(-1)),
        ("UDINT", Value::Uint(1 << 32)),
        ("REAL", Value::Text("1".into())),
        ("INT", Value::Null),
        ("INT[2]", Value::Array([Value::Int(1)].into())),
        ("BCD", Value::Uint(10_000)),
        ("LBCD", Value::Int(-1)),
    ] {
        assert_eq!(registers(&item("40001", data_type, ByteOrder::Abcd), &value), None, "{data_type}");
    }
}

proptest! {
    #[test]
    fn numbers_round_trip(bits: u64, short: [i16; 3]) {
        let bytes = bits.to_be_bytes();
        let [a, b, c, d, ..] = bytes;
        round_trip("LINT", &Value::Int(i64::from_be_bytes(bytes)));
        round_trip("ULINT", &Value::Uint(bits));
        round_trip("DINT", &Value::Int(i32::from_be_bytes([a, b, c, d]).into()));
        round_trip("TIME", &Value::Int(i32::from_be_bytes([a, b, c, d]).into()));
        round_trip("DWORD", &Value::Uint(u32::from_be_bytes([a, b, c, d]).into()));
        round_trip("INT", &Value::Int(i16::from_be_bytes([a, b]).into()));
        round_trip("WORD", &Value::Uint(u16::from_be_bytes([a, b]).into()));
        round_trip("BCD", &Value::Uint(bits % 10_000));
        round_trip("LBCD", &Value::Uint(bits % 100_000_000));
        round_trip("LBCD[1]", &Value::Array([Value::Uint(bits % 100_000_000)].into()));
        round_trip("INT[3]", &Value::Array(short.map(|n| Value::Int(n.into())).into()));
        if f64::from_bits(bits).is_finite() {
            round_trip("LREAL", &Value::Lreal(f64::from_bits(bits)));
        }
        let real = f32::from_be_bytes([a, b, c, d]);
        if real.is_finite() {
            round_trip("REAL", &Value::Real(real));
            round_trip("REAL[1]", &Value::Array([Value::Real(real)].into()));
        }
    }

    /// Whatever a device sends, and however much of it: a value or a fault, never a panic, and never
    /// more than the bytes can hold.
    #[test]
    fn any_bytes_are_a_value_or_a_fault(
        name in proptest::sample::select(DataType::names().collect::<Vec<_>>()),
        len in 1u16..=125, is_array: bool, bit in proptest::option::of(0u8..16),
        order in proptest::sample::select(ORDERS.to_vec()),
        bytes in proptest::collection::vec(any::<u8>(), 0..260), from in 0usize..3000,
    ) {
        let data_type = DataType::parse(&if is_array { format!("{name}[{len}]") } else { name.to_owned() }).unwrap();
        let place = address::Place { table: address::Table::HoldingRegisters, start: 0, bit };
        let item = Item { place, count: len, data_type, order, scan: 0 };
        match decode::registers(&item, &bytes) {
            Ok(Value::Array(values)) => prop_assert!(values.len() <= bytes.len() / 2),
            Ok(Value::Text(text)) => prop_assert!(text.len() <= 2 * bytes.len()),
            Ok(_) | Err(_) => {}
        }
        match decode::bits(&item, &bytes, from) {
            Value::Array(values) => prop_assert!(from + values.len() <= 8 * bytes.len()),
            Value::Bool(_) => prop_assert!(from < 8 * bytes.len()),
            value => prop_assert_eq!(value, Value::Null),
        }
    }

    #[test]
    fn text_round_trips(text in "[a-zA-Z0-9äß€ ]{0,5}[a-z]") {
        round_trip("STRING[20]", &Value::Text(text.as_str().into()));
        round_trip("WSTRING[6]", &Value::Text(text.as_str().into()));
    }
}
