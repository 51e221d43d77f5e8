//! From bytes to values: what Modbus and S7 have in common.

use crate::{Scalar, Value};

/// The bytes are not a value of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    /// Fewer bytes than the type needs.
    #[error("{got} bytes, {needed} needed")]
    Short {
        /// Bytes the type needs.
        needed: usize,
        /// Bytes there were.
        got: usize,
    },
    /// A REAL or LREAL that is NaN or infinite.
    #[error("not a finite number")]
    NotFinite,
    /// Text that claims to be longer than its field, or is not valid text.
    #[error("not a valid text")]
    Text,
    /// A half byte of a decimal number that is no digit.
    #[error("not a decimal digit")]
    Digit,
    /// A date that does not exist.
    #[error("not a valid date")]
    Date,
    /// The type has no fixed layout here.
    #[error("type without a fixed layout")]
    Layout,
}

/// Decodes a value of fixed width from its bytes, high byte first.
///
/// `bytes` holds at least the type's width; what follows is ignored. BOOL is
/// bit 0 of the first byte.
///
/// # Errors
/// [`DecodeFault`]; never a silent 0.
pub fn decode_scalar(scalar: Scalar, bytes: &[u8]) -> Result<Value, DecodeFault> {
    Ok(match scalar {
        Scalar::Bool => Value::Bool(take::<1>(bytes)?[0] & 1 == 1),
        Scalar::Byte | Scalar::Usint => Value::Uint(u64::from(take::<1>(bytes)?[0])),
        Scalar::Sint => Value::Int(i64::from(i8::from_be_bytes(take(bytes)?))),
        Scalar::Char => Value::Text(char::from(take::<1>(bytes)?[0]).to_string().into_boxed_str()),
        Scalar::Wchar => {
            let unit = u16::from_be_bytes(take(bytes)?);
            // Half of a pair is no character.
            let character = char::from_u32(u32::from(unit)).ok_or(DecodeFault::Text)?;
            Value::Text(character.to_string().into_boxed_str())
        }
        Scalar::Word | Scalar::Uint => Value::Uint(u64::from(u16::from_be_bytes(take(bytes)?))),
        Scalar::Int => Value::Int(i64::from(i16::from_be_bytes(take(bytes)?))),
        Scalar::Dword | Scalar::Udint => Value::Uint(u64::from(u32::from_be_bytes(take(bytes)?))),
        Scalar::Dint | Scalar::Time => Value::Int(i64::from(i32::from_be_bytes(take(bytes)?))),
        Scalar::Tod => match u32::from_be_bytes(take(bytes)?) {
            ms @ 0..86_400_000 => Value::Int(i64::from(ms)),
            _ => return Err(DecodeFault::Date),
        },
        Scalar::Bcd => digits(&take::<2>(bytes)?)?,
        Scalar::Lbcd => digits(&take::<4>(bytes)?)?,
        Scalar::Lword | Scalar::Ulint => Value::Uint(u64::from_be_bytes(take(bytes)?)),
        Scalar::Lint => Value::Int(i64::from_be_bytes(take(bytes)?)),
        Scalar::Real => {
            let real = f32::from_be_bytes(take(bytes)?);
            Value::Real(if real.is_finite() { real } else { return Err(DecodeFault::NotFinite) })
        }
        Scalar::Lreal => {
            let real = f64::from_be_bytes(take(bytes)?);
            Value::Lreal(if real.is_finite() { real } else { return Err(DecodeFault::NotFinite) })
        }
        Scalar::String(_)
        | Scalar::Wstring(_)
        | Scalar::S5time
        | Scalar::Date
        | Scalar::DateAndTime
        | Scalar::Dtl
        | Scalar::DateTime => return Err(DecodeFault::Layout),
    })
}

/// Binary coded decimal: one digit in each half byte, highest first.
fn digits(bytes: &[u8]) -> Result<Value, DecodeFault> {
    let mut number = 0;
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        if digit > 9 {
            return Err(DecodeFault::Digit);
        }
        number = number * 10 + u64::from(digit);
    }
    Ok(Value::Uint(number))
}

fn take<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeFault> {
    bytes
        .get(..N)
        .and_then(|head| head.try_into().ok())
        .ok_or(DecodeFault::Short { needed: N, got: bytes.len() })
}
