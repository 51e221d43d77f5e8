//! From the bytes of registers and bits to values.

use forebay_connector::{ByteOrder, DecodeFault, Scalar, Value, decode_scalar};

use crate::plan::Item;

/// Value of `item` from the bytes of its registers, two for each, in the order of the wire.
///
/// The byte order applies to each element. Text keeps the order of its registers and swaps the two
/// characters of each with BADC and DCBA. Allocates for text and arrays only.
///
/// # Errors
/// [`DecodeFault`] when the registers hold no value of the type.
pub fn registers(item: &Item, bytes: &[u8]) -> Result<Value, DecodeFault> {
    let scalar = item.data_type.scalar;
    match (item.place.bit, scalar) {
        (Some(bit), _) => {
            let word = words(item.order, bytes).next().ok_or(DecodeFault::Short { needed: 2, got: 0 })?;
            Ok(Value::Bool(word >> bit & 1 == 1))
        }
        (None, Scalar::String(Some(len))) => text(item.order, bytes, usize::from(len)),
        (None, Scalar::Wstring(_)) => wide_text(item.order, bytes),
        (None, scalar) => match item.data_type.array_len {
            None => number(scalar, item.order, bytes),
            Some(_) => {
                // Address checks admit types of whole registers only.
                let width = scalar.bits().map_or(2, |bits| bits as usize / 8).max(2);
                let elements = bytes.chunks_exact(width).map(|bytes| number(scalar, item.order, bytes));
                elements.collect::<Result<_, _>>().map(Value::Array)
            }
        },
    }
}

/// Value of `item` from coils or discrete inputs: `bytes` as on the wire, lowest bit first, and the
/// first bit of the item is number `from` among them.
pub fn bits(item: &Item, bytes: &[u8], from: usize) -> Value {
    let bit = |at: usize| bytes.get(at / 8).map(|byte| Value::Bool(byte >> (at % 8) & 1 == 1));
    match item.data_type.array_len {
        None => bit(from).unwrap_or_default(),
        Some(len) => {
            (from..from + usize::from(len)).map(bit).collect::<Option<_>>().map_or(Value::Null, Value::Array)
        }
    }
}

/// One element of at most four registers.
fn number(scalar: Scalar, order: ByteOrder, bytes: &[u8]) -> Result<Value, DecodeFault> {
    let mut buffer = [0; 8];
    let len = bytes.len().min(buffer.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    order.to_big_endian(&mut buffer[..len]);
    decode_scalar(scalar, &buffer[..len])
}

/// Bytes up to the first NUL, blanks at the end cut off; UTF-8, which ASCII is part of.
fn text(order: ByteOrder, bytes: &[u8], len: usize) -> Result<Value, DecodeFault> {
    let bytes = words(order, bytes).flat_map(u16::to_be_bytes).take(len).take_while(|byte| *byte != 0);
    let read = String::from_utf8(bytes.collect()).map_err(|_| DecodeFault::Text)?;
    Ok(Value::Text(read.trim_end_matches(' ').into()))
}

/// UTF-16, one unit a register, up to the first NUL, blanks at the end cut off.
fn wide_text(order: ByteOrder, bytes: &[u8]) -> Result<Value, DecodeFault> {
    let units = words(order, bytes).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| DecodeFault::Text)?;
    Ok(Value::Text(text.trim_end_matches(' ').into()))
}

/// The registers, high byte first.
fn words(order: ByteOrder, bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks_exact(2).map(move |pair| match order {
        ByteOrder::Abcd | ByteOrder::Cdab => u16::from_be_bytes([pair[0], pair[1]]),
        ByteOrder::Badc | ByteOrder::Dcba => u16::from_le_bytes([pair[0], pair[1]]),
    })
}
