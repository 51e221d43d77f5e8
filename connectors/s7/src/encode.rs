//! Values to the bytes of a standard block, for the simulated device.

use forebay_connector::{DataType, Scalar, Value};

use crate::address::Place;
use crate::decode::{number_bytes, windows_1252};
use crate::times;

/// Writes `value` over the bytes of a tag. Numbers of another type are rounded and limited to what
/// the type holds; what cannot be expressed leaves the bytes as they were.
pub(crate) fn value(place: &Place, value: &Value, bytes: &mut [u8]) {
    let DataType { scalar, array_len } = place.data_type;
    let elements = match value {
        Value::Array(elements) if array_len.is_some() => elements,
        Value::Array(_) => return,
        single => std::slice::from_ref(single),
    };
    let len = usize::from(array_len.unwrap_or(1));
    let width = bytes.len() / len;
    for (index, value) in elements.iter().take(len).enumerate() {
        if scalar == Scalar::Bool {
            bit(value, usize::from(place.bit) + index, bytes);
        } else if let Some(bytes) = bytes.get_mut(index * width..(index + 1) * width) {
            // Every order is its own inverse: there and, written or not, back again.
            let ordered = bytes.len() == number_bytes(scalar) && bytes.len() > 1;
            if ordered {
                place.order.to_big_endian(bytes);
            }
            element(scalar, value, bytes);
            if ordered {
                place.order.to_big_endian(bytes);
            }
        }
    }
}

fn bit(value: &Value, number: usize, bytes: &mut [u8]) {
    let (Some(on), Some(byte)) = (value.as_f64(), bytes.get_mut(number / 8)) else { return };
    let mask = 1 << (number % 8);
    *byte = if on == 0.0 { *byte & !mask } else { *byte | mask };
}

fn element(scalar: Scalar, value: &Value, bytes: &mut [u8]) {
    match (scalar, value) {
        (Scalar::String(_), Value::Text(text)) => string(text, bytes),
        (Scalar::Wstring(_), Value::Text(text)) => wstring(text, bytes),
        (Scalar::Char, Value::Text(text)) => {
            if let Some(byte) = text.chars().next().and_then(windows_1252) {
                bytes.fill(byte);
            }
        }
        (Scalar::Wchar, Value::Text(text)) => {
            replace(bytes, text.encode_utf16().next().map(u16::to_be_bytes));
        }
        (Scalar::Dtl, Value::DateTime(us)) => replace(bytes, times::to_dtl(*us)),
        (Scalar::DateAndTime, Value::DateTime(us)) => replace(bytes, times::to_date_and_time(*us)),
        (Scalar::Date, Value::Text(text)) => replace(bytes, times::to_date(text).map(u16::to_be_bytes)),
        (Scalar::S5time, _) => {
            replace(bytes, whole(value).map(|ms| times::to_s5time(saturated(ms)).to_be_bytes()));
        }
        (Scalar::Bcd, _) => replace(bytes, whole(value).map(digits::<2>)),
        (Scalar::Lbcd, _) => replace(bytes, whole(value).map(digits::<4>)),
        (Scalar::Real, _) => {
            #[allow(clippy::cast_possible_truncation)] // rounding to the nearest REAL is meant
            if let Some(number) = value.as_f64() {
                bytes.copy_from_slice(&(number as f32).to_be_bytes());
            }
        }
        (Scalar::Lreal, _) => {
            if let Some(number) = value.as_f64() {
                bytes.copy_from_slice(&number.to_be_bytes());
            }
        }
        _ => integer(scalar, value, bytes),
    }
}

fn integer(scalar: Scalar, value: &Value, bytes: &mut [u8]) {
    let Some(bits) = scalar.bits().filter(|bits| scalar.is_number() && *bits <= 64) else { return };
    let Some(number) = whole(value) else { return };
    let signed = matches!(scalar, Scalar::Sint | Scalar::Int | Scalar::Dint | Scalar::Lint | Scalar::Time);
    let (min, max) =
        if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    let max = if scalar == Scalar::Tod { 86_399_999 } else { max };
    let wide = number.clamp(min, max).to_be_bytes();
    bytes.copy_from_slice(&wide[wide.len() - bytes.len()..]);
}

/// Writes what there is to write.
fn replace<const N: usize>(bytes: &mut [u8], written: Option<[u8; N]>) {
    if let (Some(written), Some(bytes)) = (written, bytes.get_mut(..N)) {
        bytes.copy_from_slice(&written);
    }
}

/// The value as a whole number, `None` when it is none.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        #[allow(clippy::cast_possible_truncation)] // saturates, and is limited by the caller
        other => other.as_f64().map(|number| number.round() as i128),
    }
}

fn saturated(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Binary coded decimal, two digits in each of the N bytes, limited to what they hold.
fn digits<const N: usize>(number: i128) -> [u8; N] {
    let mut bytes = [0; N];
    let mut rest = number.clamp(0, (0..N).fold(1, |limit, _| limit * 100) - 1);
    for byte in bytes.iter_mut().rev() {
        let pair = u8::try_from(rest % 100).unwrap_or(0);
        *byte = ((pair / 10) << 4) | (pair % 10);
        rest /= 100;
    }
    bytes
}

fn string(text: &str, bytes: &mut [u8]) {
    let [max, len, field @ ..] = bytes else { return };
    // Fields are at most 254 long by the check of the type.
    *max = u8::try_from(field.len()).unwrap_or(254);
    let mut written = 0;
    for (place, character) in field.iter_mut().zip(text.chars()) {
        *place = windows_1252(character).unwrap_or(b'?');
        written += 1;
    }
    *len = written;
}

fn wstring(text: &str, bytes: &mut [u8]) {
    let [m1, m0, l1, l0, field @ ..] = bytes else { return };
    [*m1, *m0] = u16::try_from(field.len() / 2).unwrap_or(u16::MAX).to_be_bytes();
    let mut written = 0u16;
    for character in text.chars() {
        let mut units = [0; 2];
        let units = character.encode_utf16(&mut units);
        let at = usize::from(written) * 2;
        // A pair that does not fit is left out as a whole.
        let Some(place) = field.get_mut(at..at + units.len() * 2) else { break };
        for (place, unit) in place.chunks_exact_mut(2).zip(units.iter()) {
            place.copy_from_slice(&unit.to_be_bytes());
        }
        written += if units.len() == 2 { 2 } else { 1 };
    }
    [*l1, *l0] = written.to_be_bytes();
}

#[cfg(test)]
mod tests {
    use forebay_connector::ByteOrder;
    use proptest::prelude::*;

    use super::*;
    use crate::decode;

    fn round_trip(data_type: &str, written: Value) -> Value {
        let all = ByteOrder::NAMES
            .map(|order| round_trip_in(ByteOrder::parse(order).unwrap(), data_type, &written));
        assert!(all.iter().all(|read| *read == all[0]), "{all:?}");
        all[0].clone()
    }

    fn round_trip_in(order: ByteOrder, data_type: &str, written: &Value) -> Value {
        let data_type = DataType::parse(data_type).unwrap();
        let letter = ["DB1.DBX0.3", "DB1.DBB0", "DB1.DBW0", "DB1.DBD0"];
        let place = letter.iter().find_map(|address| Place::read(address, data_type).ok()).unwrap();
        let place = Place { order, ..place };
        let mut bytes = vec![0; place.len_bytes as usize];
        value(&place, written, &mut bytes);
        decode::value(&place, &bytes).unwrap()
    }

    #[test]
    fn what_is_set_is_read() {
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(round_trip("BOOL", Value::Bool(true)), Value::Bool(true));
        assert_eq!(round_trip("INT", Value::Lreal(-3.6)), Value::Int(-4));
        assert_eq!(round_trip("INT", Value::Int(70_000)), Value::Int(32_767), "limited, not wrapped");
        assert_eq!(round_trip("UINT", Value::Int(-1)), Value::Uint(0));
        assert_eq!(round_trip("ULINT", Value::Uint(u64::MAX)), Value::Uint(u64::MAX));
        assert_eq!(round_trip("REAL", Value::Lreal(41.2)), Value::Real(41.2));
        assert_eq!(round_trip("STRING[4]", text("Öl zu heiß")), text("Öl z"));
        assert_eq!(round_trip("WSTRING[3]", text("a😀😀")), text("a😀"));
        assert_eq!(round_trip("CHAR", text("ß")), text("ß"));
        assert_eq!(round_trip("TIME", Value::Int(-5)), Value::Int(-5));
        let array = Value::Array(Box::new([Value::Int(1), Value::Int(-2)]));
        assert_eq!(round_trip("DINT[2]", array.clone()), array);
        let bits: Value = Value::Array(Box::new([Value::Bool(true), Value::Bool(false), Value::Bool(true)]));
        assert_eq!(round_trip("BOOL[3]", bits.clone()), bits);
        assert_eq!(round_trip("INT", text("no number")), Value::Int(0));
        assert_eq!(round_trip("BCD", Value::Int(1234)), Value::Uint(1234));
        assert_eq!(round_trip("BCD", Value::Int(12_345)), Value::Uint(9999), "limited");
        assert_eq!(round_trip("LBCD", Value::Lreal(12_345_677.6)), Value::Uint(12_345_678));
        assert_eq!(round_trip("S5TIME", Value::Int(127_400)), Value::Int(127_000), "in whole seconds");
        assert_eq!(round_trip("TOD", Value::Int(90_000_000)), Value::Int(86_399_999));
        assert_eq!(round_trip("DATE", text("2026-02-11")), text("2026-02-11"));
        assert_eq!(round_trip("DATE", text("no date")), text("1990-01-01"), "left as it was");
        let time = Value::DateTime(1_770_798_615_123_000);
        assert_eq!(round_trip("DATE_AND_TIME", time.clone()), time);
        let dates = Value::Array(Box::new([text("1990-01-02"), text("2168-12-31")]));
        assert_eq!(round_trip("DATE[2]", dates.clone()), dates);
    }

    proptest! {
        #[test]
        fn times_round_trip(us in 0i64..9_223_286_400_000_000) {
            prop_assert_eq!(round_trip("DTL", Value::DateTime(us)), Value::DateTime(us));
        }
    }
}
