//! From what the server sends to what the tag declares.

use forebay_connector::{DataType, DecodeFault, Quality, RawSample, Scalar, Value};
use opcua::types::{DataValue, DateTime, StatusCode, Variant};

/// Turns one answer into the sample of tag number `tag`.
pub(crate) fn sample(tag: u32, data_type: DataType, answer: DataValue) -> RawSample {
    let (quality, source_us) = judge(&answer);
    judged(tag, data_type, answer.value, quality, source_us)
}

/// What the server says of a value, and the time it gave it.
pub(crate) fn judge(answer: &DataValue) -> (Quality, Option<i64>) {
    let stamp = answer.source_timestamp.or(answer.server_timestamp);
    let source_us = stamp.filter(|stamp| !stamp.is_null()).map(|stamp| stamp.as_chrono().timestamp_micros());
    (quality(answer.status.unwrap_or(StatusCode::Good)), source_us)
}

/// True when a value of this quality is one.
pub(crate) fn has_value(quality: Quality) -> bool {
    matches!(quality, Quality::Good | Quality::Uncertain)
}

/// The sample of a value, or of a part of one, of which the server says this.
pub(crate) fn judged(
    tag: u32,
    data_type: DataType,
    value: Option<Variant>,
    quality: Quality,
    source_us: Option<i64>,
) -> RawSample {
    let (value, quality) = match value {
        _ if !has_value(quality) => (Value::Null, quality),
        Some(value) => match decode(data_type, value) {
            Ok(value) => (value, quality),
            Err(_) => (Value::Null, Quality::Invalid),
        },
        None => (Value::Null, Quality::Invalid),
    };
    RawSample { tag, value, quality, source_us }
}

/// A sample without value, for a tag that the server refused.
pub(crate) fn refused(tag: u32) -> RawSample {
    RawSample { tag, value: Value::Null, quality: Quality::Refused, source_us: None }
}

/// What a status code is worth (OPC UA Part 4, 7.39; Part 8, 6.3).
///
/// A good value whose overflow bit says that values before it were lost in the server is
/// uncertain: missing is not unchanged.
fn quality(status: StatusCode) -> Quality {
    if status.is_good() {
        return if status.overflow() { Quality::Uncertain } else { Quality::Good };
    }
    if status.is_uncertain() {
        return Quality::Uncertain;
    }
    let bare = StatusCode::from(status.bits() & 0xFFFF_0000);
    if is_refusal(bare) { Quality::Refused } else { Quality::Bad }
}

/// Codes that speak about the address or the rights, not about the value.
fn is_refusal(status: StatusCode) -> bool {
    [
        StatusCode::BadNodeIdUnknown,
        StatusCode::BadNodeIdInvalid,
        StatusCode::BadAttributeIdInvalid,
        StatusCode::BadNotReadable,
        StatusCode::BadUserAccessDenied,
        StatusCode::BadSecurityModeInsufficient,
    ]
    .contains(&status)
}

/// The value in the declared type, where nothing is lost by it.
///
/// # Errors
/// [`DecodeFault`]; a number that does not fit is never cut.
fn decode(data_type: DataType, value: Variant) -> Result<Value, DecodeFault> {
    let Some(length) = data_type.array_len else { return scalar(data_type.scalar, value) };
    let values: Box<[Value]> = match value {
        Variant::Array(array) => {
            array.values.into_iter().map(|value| scalar(data_type.scalar, value)).collect::<Result<_, _>>()?
        }
        // The wire has its own form for arrays of bytes.
        Variant::ByteString(bytes) => bytes
            .value
            .unwrap_or_default()
            .iter()
            .map(|byte| scalar(data_type.scalar, Variant::Byte(*byte)))
            .collect::<Result<_, _>>()?,
        _ => return Err(DecodeFault::Layout),
    };
    if values.len() == usize::from(length) {
        Ok(Value::Array(values))
    } else {
        Err(DecodeFault::Short { needed: usize::from(length), got: values.len() })
    }
}

fn scalar(scalar: Scalar, value: Variant) -> Result<Value, DecodeFault> {
    match scalar {
        Scalar::Bool => match value {
            Variant::Boolean(bit) => Ok(Value::Bool(bit)),
            _ => Err(DecodeFault::Layout),
        },
        Scalar::Sint => signed(&value, i64::from(i8::MIN), i64::from(i8::MAX)),
        Scalar::Int => signed(&value, i64::from(i16::MIN), i64::from(i16::MAX)),
        Scalar::Dint | Scalar::Time => signed(&value, i64::from(i32::MIN), i64::from(i32::MAX)),
        Scalar::Lint => signed(&value, i64::MIN, i64::MAX),
        Scalar::Byte | Scalar::Usint => unsigned(&value, u64::from(u8::MAX)),
        Scalar::Word | Scalar::Uint => unsigned(&value, u64::from(u16::MAX)),
        Scalar::Dword | Scalar::Udint => unsigned(&value, u64::from(u32::MAX)),
        Scalar::Lword | Scalar::Ulint => unsigned(&value, u64::MAX),
        Scalar::Real => real(&value),
        Scalar::Lreal => lreal(&value).map(Value::Lreal),
        Scalar::Char | Scalar::Wchar => character(value),
        Scalar::String(limit) => text(value, limit, str::len),
        Scalar::Wstring(limit) => text(value, limit, |text| text.encode_utf16().count()),
        Scalar::DateTime => match value {
            Variant::DateTime(time) => date(&time),
            _ => Err(DecodeFault::Layout),
        },
        Scalar::Bcd
        | Scalar::Lbcd
        | Scalar::S5time
        | Scalar::Date
        | Scalar::Tod
        | Scalar::DateAndTime
        | Scalar::Dtl => Err(DecodeFault::Layout),
    }
}

/// Any whole number; wide enough for both UInt64 and Int64. A Double is taken where it is whole,
/// because a duration comes as Double milliseconds (OPC UA Part 3, 8.13).
fn whole(value: &Variant) -> Result<i128, DecodeFault> {
    Ok(match *value {
        Variant::SByte(number) => number.into(),
        Variant::Byte(number) => number.into(),
        Variant::Int16(number) => number.into(),
        Variant::UInt16(number) => number.into(),
        Variant::Int32(number) => number.into(),
        Variant::UInt32(number) => number.into(),
        Variant::Int64(number) => number.into(),
        Variant::UInt64(number) => number.into(),
        #[allow(clippy::cast_possible_truncation)] // whole and far below 2^127
        Variant::Double(number) if number.fract() == 0.0 && number.abs() < 1e18 => number as i128,
        _ => return Err(DecodeFault::Layout),
    })
}

fn signed(value: &Variant, min: i64, max: i64) -> Result<Value, DecodeFault> {
    let number = i64::try_from(whole(value)?).map_err(|_| DecodeFault::Layout)?;
    if (min..=max).contains(&number) { Ok(Value::Int(number)) } else { Err(DecodeFault::Layout) }
}

fn unsigned(value: &Variant, max: u64) -> Result<Value, DecodeFault> {
    let number = u64::try_from(whole(value)?).map_err(|_| DecodeFault::Layout)?;
    if number <= max { Ok(Value::Uint(number)) } else { Err(DecodeFault::Layout) }
}

fn real(value: &Variant) -> Result<Value, DecodeFault> {
    if let Variant::Float(number) = *value {
        return if number.is_finite() { Ok(Value::Real(number)) } else { Err(DecodeFault::NotFinite) };
    }
    let wide = lreal(value)?;
    #[allow(clippy::cast_possible_truncation)] // compared below
    let number = wide as f32;
    if f64::from(number) == wide { Ok(Value::Real(number)) } else { Err(DecodeFault::Layout) }
}

fn lreal(value: &Variant) -> Result<f64, DecodeFault> {
    let number = match *value {
        Variant::Double(number) => number,
        Variant::Float(number) => f64::from(number),
        _ => {
            let number = whole(value)?;
            #[allow(clippy::cast_precision_loss)] // checked: every whole number up to 2^53 is exact
            if number.unsigned_abs() <= 1 << 53 { number as f64 } else { return Err(DecodeFault::Layout) }
        }
    };
    if number.is_finite() { Ok(number) } else { Err(DecodeFault::NotFinite) }
}

fn character(value: Variant) -> Result<Value, DecodeFault> {
    let character = match value {
        Variant::Byte(code) => char::from(code),
        Variant::String(text) => {
            let mut characters = text.as_ref().chars();
            match (characters.next(), characters.next()) {
                (Some(only), None) => only,
                _ => return Err(DecodeFault::Text),
            }
        }
        _ => return Err(DecodeFault::Layout),
    };
    Ok(Value::Text(character.to_string().into_boxed_str()))
}

/// A text; a null text is an empty one. Longer than declared is a fault, not cut.
fn text(value: Variant, limit: Option<u16>, length: fn(&str) -> usize) -> Result<Value, DecodeFault> {
    let text = match value {
        Variant::String(text) => text,
        Variant::LocalizedText(text) => text.text,
        _ => return Err(DecodeFault::Layout),
    };
    let text = text.value().clone().unwrap_or_default();
    if limit.is_some_and(|limit| length(&text) > usize::from(limit)) {
        return Err(DecodeFault::Text);
    }
    Ok(Value::Text(text.into_boxed_str()))
}

/// Microseconds since 1970. The null date (1601) is no date.
fn date(time: &DateTime) -> Result<Value, DecodeFault> {
    if time.is_null() {
        return Err(DecodeFault::Date);
    }
    Ok(Value::DateTime(time.as_chrono().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: impl Into<Variant>) -> Result<Value, DecodeFault> {
        decode(DataType::parse(name).expect("a type"), value.into())
    }

    #[test]
    fn every_type_takes_its_own() {
        assert_eq!(of("BOOL", true), Ok(Value::Bool(true)));
        assert_eq!(of("SINT", -7i8), Ok(Value::Int(-7)));
        assert_eq!(of("WORD", 0xBEEFu16), Ok(Value::Uint(0xBEEF)));
        assert_eq!(of("LWORD", u64::MAX), Ok(Value::Uint(u64::MAX)));
        assert_eq!(of("LINT", i64::MIN), Ok(Value::Int(i64::MIN)));
        assert_eq!(of("REAL", 41.2f32), Ok(Value::Real(41.2)));
        assert_eq!(of("LREAL", 41.2f64), Ok(Value::Lreal(41.2)));
        assert_eq!(of("STRING", "Größe"), Ok(Value::Text("Größe".into())));
        assert_eq!(of("CHAR", "x"), Ok(Value::Text("x".into())));
        assert_eq!(
            of("REAL[2]", vec![1f32, 2.0]),
            Ok(Value::Array([Value::Real(1.0), Value::Real(2.0)].into()))
        );
        assert_eq!(
            of("BYTE[2]", opcua::types::ByteString::from(vec![1u8, 2])),
            Ok(Value::Array([Value::Uint(1), Value::Uint(2)].into()))
        );
        let time = DateTime::ymd_hms(2026, 3, 2, 1, 2, 3);
        assert_eq!(of("DATETIME", time), Ok(Value::DateTime(1_772_413_323_000_000)));
    }

    #[test]
    fn conversions_lose_nothing_or_fail() {
        assert_eq!(of("DINT", 7u8), Ok(Value::Int(7)));
        assert_eq!(of("USINT", 255i64), Ok(Value::Uint(255)));
        assert_eq!(of("TIME", 1500.0f64), Ok(Value::Int(1500)));
        assert_eq!(of("REAL", 0.5f64), Ok(Value::Real(0.5)));
        assert_eq!(of("LREAL", 3i32), Ok(Value::Lreal(3.0)));
        for (name, value) in [
            ("USINT", Variant::from(256i32)),
            ("UINT", Variant::from(-1i16)),
            ("LINT", Variant::from(u64::MAX)),
            ("DINT", Variant::from(1.5f64)),
            ("REAL", Variant::from(0.1f64)),
            ("REAL", Variant::from(f32::NAN)),
            ("LREAL", Variant::from(f64::INFINITY)),
            ("LREAL", Variant::from(i64::MAX)),
            ("BOOL", Variant::from(1u8)),
            ("INT", Variant::from("1")),
            ("STRING[3]", Variant::from("four")),
            ("CHAR", Variant::from("xy")),
            ("REAL", Variant::from(vec![1f32])),
            ("REAL[2]", Variant::from(vec![1f32])),
            ("REAL[2]", Variant::from(1f32)),
            ("DATETIME", Variant::from(DateTime::null())),
            ("DINT", Variant::Empty),
        ] {
            assert!(of(name, value.clone()).is_err(), "{name} took {value:?}");
        }
    }

    #[test]
    fn status_codes_become_qualities() {
        assert_eq!(quality(StatusCode::Good), Quality::Good);
        assert_eq!(quality(StatusCode::GoodLocalOverride), Quality::Good);
        assert_eq!(quality(StatusCode::from(0x0000_0480)), Quality::Uncertain);
        assert_eq!(quality(StatusCode::UncertainLastUsableValue), Quality::Uncertain);
        assert_eq!(quality(StatusCode::BadNoCommunication), Quality::Bad);
        assert_eq!(quality(StatusCode::BadNodeIdUnknown), Quality::Refused);
    }

    #[test]
    fn a_bad_value_is_no_value() {
        let answer = DataValue::new_now_status(5i32, StatusCode::BadSensorFailure);
        let sample = sample(3, DataType::single(Scalar::Dint), answer);
        assert_eq!((sample.tag, sample.value, sample.quality), (3, Value::Null, Quality::Bad));
        assert!(sample.source_us.is_some());
    }
}
