//! Plausible values for every raw tag of a device: within `range`, as `[[verify]]` demands, and no
//! two alike where that can be, so that a value read from the wrong place shows.

use forebay::device::{Device, Expected, Tag, Transform};
use forebay_connector::{DataType, Scalar, Value};

/// 2026-02-11T08:30:15.123456Z: a Wednesday.
const NOON_US: i64 = 1_770_798_615_123_456;

/// A value for each raw tag of `device`; equal seeds give equal values, unequal ones others.
pub fn plausible(device: &Device, seed: u64) -> Vec<Value> {
    let raws = device.spec.tags.iter().zip(0u32..);
    raws.map(|(spec, raw)| {
        let tag =
            device.tags.iter().find(|tag| tag.raw == raw && !matches!(tag.transform, Transform::Bit(_)));
        let number = number(device, tag, raw, seed);
        value(spec.data_type, &number, u64::from(raw) + seed)
    })
    .collect()
}

/// What a number is chosen from.
enum Number {
    /// Published value, and how it came from the raw one.
    Engineered(f64, Transform),
    /// A text that is demanded.
    Text(Box<str>),
    /// Nothing is known.
    Any,
}

fn number(device: &Device, tag: Option<&Tag>, raw: u32, seed: u64) -> Number {
    let share = 0.3 + 0.4 * spread(u64::from(raw) + seed);
    let within = |low: f64, high: f64| low + (high - low) * share;
    if let Some(verify) = device.verify.iter().find(|verify| verify.raw == raw) {
        return match &verify.expected {
            Expected::Between(low, high) => Number::Engineered(within(*low, *high), verify.transform),
            Expected::Is(Value::Text(text)) => Number::Text(text.clone()),
            Expected::Is(value) => {
                value.as_f64().map_or(Number::Any, |number| Number::Engineered(number, verify.transform))
            }
        };
    }
    let Some(tag) = tag else { return Number::Any };
    if let Some(texts) = &tag.enumeration {
        let nth = usize::try_from(u64::from(raw) + seed).unwrap_or(0) % texts.len().max(1);
        #[allow(clippy::cast_precision_loss)] // numbers of states are small
        return texts
            .keys()
            .nth(nth)
            .map_or(Number::Any, |key| Number::Engineered(*key as f64, Transform::None));
    }
    match tag.range {
        Some((low, high)) => Number::Engineered(within(low, high), tag.transform),
        None => Number::Any,
    }
}

/// 0 to 1, far apart for neighbours.
#[allow(clippy::cast_precision_loss)] // below 101
fn spread(number: u64) -> f64 {
    (number * 37 % 101) as f64 / 100.0
}

fn value(data_type: DataType, number: &Number, nth: u64) -> Value {
    match data_type.array_len {
        Some(len) => {
            let elements = (0..u64::from(len)).map(|element| scalar(data_type.scalar, number, nth + element));
            Value::Array(elements.collect())
        }
        None => scalar(data_type.scalar, number, nth),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
// Values are made up here, from numbers that fit.
fn scalar(scalar: Scalar, number: &Number, nth: u64) -> Value {
    let raw = match number {
        Number::Engineered(value, Transform::Linear { scale, offset, .. }) => (value - offset) / scale,
        Number::Engineered(value, _) => *value,
        _ => 20.0 + (nth % 80) as f64,
    };
    let signed = |low: f64, high: f64| Value::Int(raw.round().clamp(low, high) as i64);
    let unsigned = |high: f64| Value::Uint(raw.round().clamp(0.0, high) as u64);
    match scalar {
        Scalar::Bool => Value::Bool(nth.is_multiple_of(2)),
        Scalar::Byte | Scalar::Usint => unsigned(255.0),
        Scalar::Sint => signed(-128.0, 127.0),
        Scalar::Word | Scalar::Uint => unsigned(65_535.0),
        Scalar::Bcd => unsigned(9999.0),
        Scalar::Int => signed(-32_768.0, 32_767.0),
        Scalar::Dword | Scalar::Udint => unsigned(f64::from(u32::MAX)),
        Scalar::Lbcd => unsigned(99_999_999.0),
        Scalar::Tod => unsigned(86_399_999.0),
        Scalar::Dint | Scalar::Time | Scalar::S5time => signed(f64::from(i32::MIN), f64::from(i32::MAX)),
        Scalar::Lword | Scalar::Ulint => unsigned(9e15),
        Scalar::Lint => signed(-9e15, 9e15),
        Scalar::Real => Value::Real(raw as f32),
        Scalar::Lreal => Value::Lreal(raw),
        Scalar::Char | Scalar::Wchar => Value::Text(char::from(b'a' + (nth % 26) as u8).to_string().into()),
        Scalar::String(len) | Scalar::Wstring(len) => match number {
            Number::Text(text) => Value::Text(text.clone()),
            _ => {
                let text = format!("Text {nth}");
                Value::Text(text[..text.len().min(len.map_or(usize::MAX, usize::from))].into())
            }
        },
        Scalar::Date => Value::Text(format!("2026-02-{:02}", 1 + nth % 28).into()),
        Scalar::Dtl | Scalar::DateAndTime | Scalar::DateTime => {
            Value::DateTime(NOON_US + 1_000_000 * (nth % 1000) as i64)
        }
    }
}
