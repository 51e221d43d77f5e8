//! From registers and bits to values.

use forebay_connector::{ByteOrder, DecodeFault, Scalar, Value, decode_scalar};

use crate::plan::Item;

/// Value of `item` from its registers; `words` is as long as [`Item::count`] says.
///
/// The byte order applies to each element. Text keeps the order of its registers and swaps the two
/// characters of each with BADC and DCBA. Allocates for text and arrays only.
///
/// # Errors
/// [`DecodeFault`] when the registers hold no value of the type.
pub fn registers(item: &Item, words: &[u16]) -> Result<Value, DecodeFault> {
    let scalar = item.data_type.scalar;
    match (item.place.bit, scalar) {
        (Some(bit), _) => {
            let word = in_order(item.order, words.first().copied().unwrap_or_default());
            Ok(Value::Bool(word >> bit & 1 == 1))
        }
        (None, Scalar::String(Some(len))) => text(item.order, words, usize::from(len)),
        (None, Scalar::Wstring(_)) => wide_text(item.order, words),
        (None, scalar) => {
            let width = usize::try_from(scalar.bits().unwrap_or(16) / 16).unwrap_or(1).max(1);
            match item.data_type.array_len {
                None => number(scalar, item.order, words),
                Some(_) => words
                    .chunks_exact(width)
                    .map(|words| number(scalar, item.order, words))
                    .collect::<Result<_, _>>()
                    .map(Value::Array),
            }
        }
    }
}

/// Value of `item` from its coils or discrete inputs.
pub fn bits(item: &Item, bits: &[bool]) -> Value {
    match item.data_type.array_len {
        None => bits.first().map_or(Value::Null, |bit| Value::Bool(*bit)),
        Some(_) => Value::Array(bits.iter().map(|bit| Value::Bool(*bit)).collect()),
    }
}

/// One element of at most four registers.
fn number(scalar: Scalar, order: ByteOrder, words: &[u16]) -> Result<Value, DecodeFault> {
    let mut buffer = [0; 8];
    let len = (words.len() * 2).min(buffer.len());
    for (pair, word) in buffer.chunks_exact_mut(2).zip(words) {
        pair.copy_from_slice(&word.to_be_bytes());
    }
    order.to_big_endian(&mut buffer[..len]);
    decode_scalar(scalar, &buffer[..len])
}

/// Bytes up to the first NUL, blanks at the end cut off; UTF-8, which ASCII is part of.
fn text(order: ByteOrder, words: &[u16], len: usize) -> Result<Value, DecodeFault> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| in_order(order, *word).to_be_bytes()).collect();
    bytes.truncate(len);
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    let read = String::from_utf8(bytes).map_err(|_| DecodeFault::Text)?;
    Ok(Value::Text(read.trim_end_matches(' ').into()))
}

/// UTF-16, one unit a register, up to the first NUL, blanks at the end cut off.
fn wide_text(order: ByteOrder, words: &[u16]) -> Result<Value, DecodeFault> {
    let units = words.iter().map(|word| in_order(order, *word)).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| DecodeFault::Text)?;
    Ok(Value::Text(text.trim_end_matches(' ').into()))
}

/// A single register, high byte first.
fn in_order(order: ByteOrder, word: u16) -> u16 {
    match order {
        ByteOrder::Abcd | ByteOrder::Cdab => word,
        ByteOrder::Badc | ByteOrder::Dcba => word.swap_bytes(),
    }
}
