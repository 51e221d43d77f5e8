//! Every type in every byte order at the edges of its range and length, made by the peers.

use forebay_connector::{ByteOrder, Quality, Value};

use super::{Expected, Plant, tag};
use crate::support::PATIENCE;

/// Registers of both peers.
const TABLE_LEN: u16 = 16_384;

/// A type of the peers, values as they read them, our type, and what we must read; `None` for bits
/// that are no value of the type.
struct Vector {
    foreign: &'static str,
    texts: Vec<String>,
    data_type: String,
    value: Option<Value>,
    registers: u16,
}

fn one(foreign: &'static str, text: impl ToString, data_type: &str, value: Value, registers: u16) -> Vector {
    let (texts, value) = (vec![text.to_string()], Some(value));
    Vector { foreign, texts, data_type: data_type.to_owned(), value, registers }
}

/// An array of our type whose elements the peer makes from `texts`.
fn array(foreign: &'static str, name: &str, values: Vec<(String, Value)>, width: u16) -> Vector {
    let len = u16::try_from(values.len()).expect("a length");
    let (texts, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
    let value = Some(Value::Array(values.into()));
    Vector { foreign, texts, data_type: format!("{name}[{len}]"), value, registers: len * width }
}

fn integers() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for number in [i16::MIN, -1, 0, 1, i16::MAX] {
        vectors.push(one("INT16", number, "INT", Value::Int(number.into()), 1));
    }
    for number in [0, 1, 0x8000, 0xBEEF, u16::MAX] {
        vectors.push(one("UINT16", number, "UINT", Value::Uint(number.into()), 1));
        vectors.push(one("UINT16", number, "WORD", Value::Uint(number.into()), 1));
    }
    for number in [i32::MIN, -2, 0x1122_3344, i32::MAX] {
        vectors.push(one("INT32", number, "DINT", Value::Int(number.into()), 2));
        vectors.push(one("INT32", number, "TIME", Value::Int(number.into()), 2));
    }
    for number in [0, 0x8000_0000, 0x1122_3344, u32::MAX] {
        vectors.push(one("UINT32", number, "UDINT", Value::Uint(number.into()), 2));
        vectors.push(one("UINT32", number, "DWORD", Value::Uint(number.into()), 2));
    }
    for number in [i64::MIN, -3, 0x0102_0304_0506_0708, i64::MAX] {
        vectors.push(one("INT64", number, "LINT", Value::Int(number), 4));
    }
    for number in [0, 1 << 63, 0x0123_4567_89AB_CDEF, u64::MAX] {
        vectors.push(one("UINT64", number, "ULINT", Value::Uint(number), 4));
        vectors.push(one("UINT64", number, "LWORD", Value::Uint(number), 4));
    }
    for number in [0, 1, 1234, 9999] {
        vectors.push(one("BCD16", number, "BCD", Value::Uint(number), 1));
    }
    for number in [0, 1, 12_345_678, 99_999_999] {
        vectors.push(one("BCD32", number, "LBCD", Value::Uint(number), 2));
    }
    vectors
}

fn reals() -> Vec<Vector> {
    let mut vectors = Vec::new();
    // The smallest normal numbers: text to binary below them differs from peer to peer.
    for number in [0.0, -0.0, 41.2, -1.5, f32::MIN_POSITIVE, f32::MIN, f32::MAX] {
        vectors.push(one("FLOAT32", format!("{number:e}"), "REAL", Value::Real(number), 2));
    }
    for number in [0.0, 41.2, -1e-300, f64::MIN_POSITIVE, f64::MIN, f64::MAX] {
        vectors.push(one("FLOAT64", format!("{number:e}"), "LREAL", Value::Lreal(number), 4));
    }
    for text in ["nan", "inf", "-inf"] {
        let none = |vector: Vector| Vector { value: None, ..vector };
        vectors.push(none(one("FLOAT32", text, "REAL", Value::Null, 2)));
        vectors.push(none(one("FLOAT64", text, "LREAL", Value::Null, 4)));
    }
    vectors
}

/// Texts of every length around a register's two characters, and the longest that one read carries.
fn texts() -> Vec<Vector> {
    let letters = |len: usize| ('a'..='z').cycle().take(len).collect::<String>();
    [1, 2, 3, 15, 16, 17, 249, 250]
        .into_iter()
        .map(|len| {
            let registers = u16::try_from(len).expect("a length").div_ceil(2);
            one(
                "STRING",
                letters(len),
                &format!("STRING[{len}]"),
                Value::Text(letters(len).into()),
                registers,
            )
        })
        .collect()
}

/// Arrays of every numeric type: one element, and as many as one read carries.
fn arrays() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for full in [false, true] {
        let elements = |width: u16| if full { 125 / width } else { 1 };
        let signed = |n: u16| -i64::from(n) * 257;
        let unsigned = |n: u16| u64::from(n) * 257;
        let of = |width: u16, value: &dyn Fn(u16) -> (String, Value)| -> Vec<(String, Value)> {
            (0..elements(width)).map(value).collect()
        };
        let int = |n: u16| (signed(n).to_string(), Value::Int(signed(n)));
        let uint = |n: u16| (unsigned(n).to_string(), Value::Uint(unsigned(n)));
        let decimal = |n: u16| (n.to_string(), Value::Uint(n.into()));
        for (foreign, name, width) in
            [("INT16", "INT", 1), ("INT32", "DINT", 2), ("INT32", "TIME", 2), ("INT64", "LINT", 4)]
        {
            vectors.push(array(foreign, name, of(width, &int), width));
        }
        for (foreign, name, width) in [
            ("UINT16", "UINT", 1),
            ("UINT16", "WORD", 1),
            ("UINT32", "UDINT", 2),
            ("UINT32", "DWORD", 2),
            ("UINT64", "ULINT", 4),
            ("UINT64", "LWORD", 4),
        ] {
            vectors.push(array(foreign, name, of(width, &uint), width));
        }
        vectors.push(array("BCD16", "BCD", of(1, &decimal), 1));
        vectors.push(array("BCD32", "LBCD", of(2, &decimal), 2));
        let real = |n: u16| (format!("{n}.5"), Value::Real(f32::from(n) + 0.5));
        let lreal = |n: u16| (format!("-{n}.25"), Value::Lreal(-f64::from(n) - 0.25));
        vectors.push(array("FLOAT32", "REAL", of(2, &real), 2));
        vectors.push(array("FLOAT64", "LREAL", of(4, &lreal), 4));
    }
    vectors
}

/// Lets the peer make all vectors in `area`, and reads them with one connector.
fn check(plant: &mut Plant, area: &str, orders: &[&str]) {
    let mut tags: Vec<Expected> = Vec::new();
    let mut valid = Vec::new();
    let mut offset = 0;
    for letters in orders {
        for vector in integers().into_iter().chain(reals()).chain(texts()).chain(arrays()) {
            let Vector { foreign, texts, data_type, value, registers } = vector;
            let command = if foreign == "STRING" { "setv" } else { "seta" };
            plant.command(&format!("{command} {area} {offset} {letters} {foreign} {}", texts.join(" ")));
            let order = ByteOrder::parse(letters);
            valid.push(value.is_some());
            let data_type = data_type.leak();
            tags.push(Expected {
                order,
                ..tag(format!("{area}:{offset}"), data_type, value.unwrap_or_default())
            });
            offset += registers;
            assert!(offset < TABLE_LEN, "the peers have no more registers");
        }
    }
    let mut connector = plant.open(1, PATIENCE, &tags);
    let samples = plant.connect_and_poll(&mut connector).expect("an answer");
    assert_eq!(samples.len(), tags.len());
    for ((tag, sample), valid) in tags.iter().zip(&samples).zip(valid) {
        let Expected { address, data_type, order, value } = tag;
        let quality = if valid { Quality::Good } else { Quality::Invalid };
        assert_eq!((&sample.value, sample.quality), (value, quality), "{address} {data_type} {order:?}");
    }
}

/// Coils and discrete inputs: single ones, arrays that begin and end anywhere in a byte, and the
/// most that one read carries.
fn check_bits(plant: &mut Plant) {
    let pattern = |n: u16| n.is_multiple_of(3) ^ n.is_multiple_of(7);
    for area in ["co", "di"] {
        let bits: Vec<&str> = (0..2100).map(|n| if pattern(n) { "1" } else { "0" }).collect();
        plant.command(&format!("set {area} 0 {}", bits.join(" ")));
        let mut tags = Vec::new();
        for start in [0, 1, 7, 8, 9, 2099] {
            tags.push(tag(format!("{area}:{start}"), "BOOL", Value::Bool(pattern(start))));
        }
        for (start, len) in [(0, 1), (0, 8), (3, 8), (5, 9), (7, 2), (16, 16), (1, 1999), (100, 2000)] {
            let bits = (start..start + len).map(|n| Value::Bool(pattern(n))).collect();
            tags.push(tag(format!("{area}:{start}"), format!("BOOL[{len}]").leak(), Value::Array(bits)));
        }
        let mut connector = plant.open(1, PATIENCE, &tags);
        super::assert_read(&plant.connect_and_poll(&mut connector).expect("an answer"), &tags);
    }
}

#[test]
fn every_type_order_and_length_of_pymodbus_is_read_right() {
    let mut plant = Plant::start(&["--unit", "1"]);
    check(&mut plant, "hr", &ByteOrder::NAMES);
    check(&mut plant, "ir", &ByteOrder::NAMES);
    check_bits(&mut plant);
}

#[test]
fn every_type_order_and_length_of_libmodbus_is_read_right() {
    let mut plant = Plant::libmodbus();
    check(&mut plant, "hr", &ByteOrder::NAMES);
    check(&mut plant, "ir", &ByteOrder::NAMES);
    check_bits(&mut plant);
}

#[test]
fn every_type_and_length_is_read_right_over_rtu_to_pymodbus() {
    let mut plant = Plant::serial(&["--unit", "1"]);
    check(&mut plant, "hr", &["CDAB"]);
    check_bits(&mut plant);
}

#[test]
fn every_type_and_length_is_read_right_over_rtu_to_libmodbus() {
    let mut plant = Plant::libmodbus_serial();
    check(&mut plant, "ir", &["BADC"]);
    check_bits(&mut plant);
}

#[test]
fn every_type_and_length_is_read_right_over_rtu_through_tcp() {
    let mut plant = Plant::rtu_over_tcp(&["--unit", "1"]);
    check(&mut plant, "hr", &["DCBA"]);
    check_bits(&mut plant);
}
