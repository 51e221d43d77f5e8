//! From values to registers, for the simulated device.
//!
//! Written apart from `decode` on purpose: it works on numbers and whole registers where that
//! works on bytes, so that a slip in one shows as a difference.

use forebay_connector::{ByteOrder, Scalar, Value};

use crate::plan::Item;

/// The registers of `value`; `None` when it is no value of the item's type.
pub fn registers(item: &Item, value: &Value) -> Option<Vec<u16>> {
    let words = match (item.data_type.scalar, item.data_type.array_len, value) {
        (Scalar::String(_), None, Value::Text(text)) => {
            let mut bytes = text.bytes();
            let mut next = || u16::from(bytes.next().unwrap_or(0));
            let words = (0..item.count).map(|_| ordered(item.order, vec![next() << 8 | next()]));
            words.flatten().collect()
        }
        (Scalar::Wstring(_), None, Value::Text(text)) => {
            let units = text.encode_utf16().chain(std::iter::repeat(0)).take(item.count.into());
            units.flat_map(|unit| ordered(item.order, vec![unit])).collect()
        }
        (scalar, None, value) => element(scalar, item.order, value)?,
        (scalar, Some(len), Value::Array(values)) if values.len() == usize::from(len) => {
            let elements: Option<Vec<_>> =
                values.iter().map(|value| element(scalar, item.order, value)).collect();
            elements?.concat()
        }
        _ => return None,
    };
    (words.len() == usize::from(item.count)).then_some(words)
}

/// The bits of a BOOL or an array of them; `None` for anything else.
pub fn bits(item: &Item, value: &Value) -> Option<Vec<bool>> {
    let values = match (item.data_type.array_len, value) {
        (None, value) => std::slice::from_ref(value),
        (Some(_), Value::Array(values)) => values,
        _ => return None,
    };
    let bits: Option<Vec<bool>> =
        values.iter().map(|value| if let Value::Bool(bit) = value { Some(*bit) } else { None }).collect();
    bits.filter(|bits| bits.len() == usize::from(item.count))
}

fn element(scalar: Scalar, order: ByteOrder, value: &Value) -> Option<Vec<u16>> {
    let width = scalar.bits()?;
    let pattern = match scalar {
        Scalar::Real => {
            #[allow(clippy::cast_possible_truncation)] // a REAL has 32 bits, whatever the value had
            let real = value.as_f64()? as f32;
            u64::from(real.to_bits())
        }
        Scalar::Lreal => value.as_f64()?.to_bits(),
        Scalar::Bcd | Scalar::Lbcd => decimal(width, value)?,
        _ => {
            let signed = matches!(scalar, Scalar::Int | Scalar::Dint | Scalar::Lint | Scalar::Time);
            let number = match value {
                Value::Int(number) => i128::from(*number),
                Value::Uint(number) => i128::from(*number),
                _ => return None,
            };
            let (low, high) =
                if signed { (-(1i128 << (width - 1)), 1i128 << (width - 1)) } else { (0, 1i128 << width) };
            if !(low..high).contains(&number) {
                return None;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range; two's complement
            let pattern = number as u64;
            pattern
        }
    };
    #[allow(clippy::cast_possible_truncation)] // 16 bits at a time
    let words = (0..width / 16).rev().map(|word| (pattern >> (16 * word)) as u16).collect();
    Some(ordered(order, words))
}

/// One decimal digit in each half byte.
fn decimal(width: u32, value: &Value) -> Option<u64> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok()?,
        Value::Uint(number) => *number,
        _ => return None,
    };
    let text = number.to_string();
    (text.len() <= width as usize / 4).then(|| u64::from_str_radix(&text, 16).ok()).flatten()
}

/// Registers from high to low in the order of the wire.
pub fn ordered(order: ByteOrder, mut words: Vec<u16>) -> Vec<u16> {
    if matches!(order, ByteOrder::Cdab | ByteOrder::Dcba) {
        words.reverse();
    }
    if matches!(order, ByteOrder::Badc | ByteOrder::Dcba) {
        for word in &mut words {
            *word = word.rotate_left(8);
        }
    }
    words
}

#[cfg(test)]
mod tests;
