//! Values as whole numbers: the form of a value says how its number is to be read.
//!
//! Every form but the plain ones is used only where it gives back exactly the same bits. They are
//! made of one IEEE 754 division or multiplication each, so all targets agree.

use forebay_connector::Value;

pub(super) const NULL: u8 = 0;
pub(super) const BOOL: u8 = 1;
pub(super) const INT: u8 = 2;
pub(super) const UINT: u8 = 3;
/// The bits of a REAL or LREAL, in such an order that near values are near numbers.
pub(super) const REAL: u8 = 4;
pub(super) const LREAL: u8 = 5;
pub(super) const TEXT: u8 = 6;
pub(super) const TIME: u8 = 7;
/// An LREAL that a REAL holds exactly.
pub(super) const SINGLE: u8 = 8;
/// LREAL = number * scale + offset of the tag, as the poller computes it.
pub(super) const LINEAR: u8 = 9;
/// Its elements are bytes at the end of the record.
pub(super) const ARRAY: u8 = 10;
/// + k: REAL = number / 10^k.
const REAL_TENTHS: u8 = 16;
const REAL_TENTHS_LAST: u8 = REAL_TENTHS + 7;
/// + k: LREAL = number / 10^k.
const LREAL_TENTHS: u8 = 32;
const LREAL_TENTHS_LAST: u8 = LREAL_TENTHS + 9;
/// + k: LREAL = number * 10^-k, which is what scaling by 0.1 gives.
const LREAL_SCALED: u8 = 48;
const LREAL_SCALED_LAST: u8 = LREAL_SCALED + 9;
/// The power of ten stands in the low bits.
const POWER_MASK: u8 = 15;
/// Forms with decimals have one of these bits.
const DECIMALS: u8 = 0x30;
/// No value of this tag yet in this chain.
pub(super) const COLD: u8 = 127;

const POWERS: [f64; 10] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const FRACTIONS: [f64; 10] = [1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9];
/// Larger whole numbers are no shorter than the bits of the REAL (LREAL) itself.
const REAL_WHOLE_MAX: f64 = 16_777_216.0;
const LREAL_WHOLE_MAX: f64 = 1e13;

/// Scaling of a tag, as its schema tells it.
#[derive(Debug, Clone, Copy)]
pub(in crate::lane) struct Linear {
    pub scale: f64,
    pub offset: f64,
}

/// By their bits: equal ones stand for each other, and -0 gives other values than 0.
impl PartialEq for Linear {
    fn eq(&self, other: &Self) -> bool {
        let bits = |linear: &Self| (linear.scale.to_bits(), linear.offset.to_bits());
        bits(self) == bits(other)
    }
}

/// True for forms whose values are bytes at the end of the record.
pub(super) fn has_bytes(form: u8) -> bool {
    matches!(form, TEXT | ARRAY)
}

/// True when `form` has more decimals than `before`.
pub(super) fn has_more_decimals(form: u8, before: u8) -> bool {
    form & DECIMALS != 0 && form > before
}

/// Whole numbers in the order of what their bits mean.
fn ordered64(bits: u64) -> i64 {
    let bits = bits.cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn ordered32(bits: u32) -> i64 {
    let bits = bits.cast_signed();
    i64::from(bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed())
}

/// The inverse of [`ordered32`]: the order is its own.
#[allow(clippy::cast_possible_truncation)] // anything above is not a number of ours
fn single(number: i64) -> f32 {
    let bits = number as i32;
    f32::from_bits((bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

#[allow(clippy::cast_possible_truncation)] // bounded by `max`; a NaN is not below it
fn whole(value: f64, power: f64, max: f64) -> Option<i64> {
    let scaled = value * power;
    // Casting rounds towards zero and, unlike `round`, needs no library call on any target.
    (scaled.abs() < max).then(|| (scaled + 0.5_f64.copysign(scaled)) as i64)
}

/// The number that gives back exactly `value` in this form; 0 for values that are bytes.
#[allow(clippy::cast_possible_truncation)] // the value that comes back is compared
pub(super) fn number_of(value: &Value, form: u8, linear: Option<Linear>) -> Option<i64> {
    let power = || POWERS.get(usize::from(form & POWER_MASK)).copied();
    let number = match (value, form) {
        (Value::Null, NULL) | (Value::Text(_), TEXT) | (Value::Array(_), ARRAY) => return Some(0),
        (Value::Bool(bool), BOOL) => return Some(i64::from(*bool)),
        (Value::Int(int), INT) | (Value::DateTime(int), TIME) => return Some(*int),
        (Value::Uint(uint), UINT) => return Some(uint.cast_signed()),
        (Value::Real(real), REAL) => return Some(ordered32(real.to_bits())),
        (Value::Lreal(real), LREAL) => return Some(ordered64(real.to_bits())),
        (Value::Real(real), REAL_TENTHS..=REAL_TENTHS_LAST) => {
            whole(f64::from(*real), power()?, REAL_WHOLE_MAX)?
        }
        (Value::Lreal(real), LREAL_TENTHS..=LREAL_SCALED_LAST) => whole(*real, power()?, LREAL_WHOLE_MAX)?,
        (Value::Lreal(real), LINEAR) => {
            let Linear { scale, offset } = linear?;
            whole((real - offset) / scale, 1.0, LREAL_WHOLE_MAX)?
        }
        // What becomes of a NaN's bits differs from target to target.
        (Value::Lreal(real), SINGLE) if !real.is_nan() => ordered32((*real as f32).to_bits()),
        _ => return None,
    };
    same_bits(&value_of(number, form, linear)?, value).then_some(number)
}

/// REAL and LREAL equal to the last bit: -0.0 is not 0.0, and a NaN equals itself.
fn same_bits(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Real(left), Value::Real(right)) => left.to_bits() == right.to_bits(),
        (Value::Lreal(left), Value::Lreal(right)) => left.to_bits() == right.to_bits(),
        _ => false,
    }
}

/// The value of a number in a form; `None` for values that are bytes and for forms that are none.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // as it was when it was compared
pub(super) fn value_of(number: i64, form: u8, linear: Option<Linear>) -> Option<Value> {
    let number_f64 = number as f64;
    let power = usize::from(form & POWER_MASK);
    Some(match form {
        NULL => Value::Null,
        BOOL => Value::Bool(number != 0),
        INT => Value::Int(number),
        UINT => Value::Uint(number.cast_unsigned()),
        REAL => Value::Real(single(number)),
        LREAL => Value::Lreal(f64::from_bits(ordered64(number.cast_unsigned()).cast_unsigned())),
        TIME => Value::DateTime(number),
        SINGLE => Value::Lreal(f64::from(single(number))),
        LINEAR => linear.map(|Linear { scale, offset }| Value::Lreal(number_f64 * scale + offset))?,
        REAL_TENTHS..=REAL_TENTHS_LAST => Value::Real((number_f64 / POWERS.get(power)?) as f32),
        LREAL_TENTHS..=LREAL_TENTHS_LAST => Value::Lreal(number_f64 / POWERS.get(power)?),
        LREAL_SCALED..=LREAL_SCALED_LAST => Value::Lreal(number_f64 * FRACTIONS.get(power)?),
        _ => return None,
    })
}

/// The form that every value of this kind has.
pub(super) fn plain(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOL,
        Value::Int(_) => INT,
        Value::Uint(_) => UINT,
        Value::Real(_) => REAL,
        Value::Lreal(_) => LREAL,
        Value::Text(_) => TEXT,
        Value::DateTime(_) => TIME,
        Value::Array(_) => ARRAY,
    }
}

/// The form that makes near values near whole numbers, and the number.
pub(super) fn find(value: &Value, linear: Option<Linear>) -> (u8, i64) {
    let number = |form| Some((form, number_of(value, form, linear)?));
    let found = match value {
        Value::Real(_) => (REAL_TENTHS..=REAL_TENTHS_LAST).find_map(number),
        Value::Lreal(_) => number(LINEAR)
            .or_else(|| (0..10).find_map(|k| number(LREAL_TENTHS + k).or_else(|| number(LREAL_SCALED + k))))
            .or_else(|| number(SINGLE)),
        _ => None,
    };
    found.unwrap_or_else(|| in_plain(value))
}

/// The value in its plain form.
pub(super) fn in_plain(value: &Value) -> (u8, i64) {
    let form = plain(value);
    (form, number_of(value, form, None).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_values_are_near_numbers() {
        let number = |real: f64| number_of(&Value::Lreal(real), LREAL, None).unwrap();
        assert_eq!(number(1.0).abs_diff(number(1.0_f64.next_up())), 1);
        assert_eq!(number(-1.0).abs_diff(number((-1.0_f64).next_up())), 1);
        assert_eq!(number(0.0) - number(-0.0), 1);
        let number = |real: f32| number_of(&Value::Real(real), REAL, None).unwrap();
        assert_eq!(number(-3.0).abs_diff(number((-3.0_f32).next_down())), 1);
    }

    #[test]
    fn decimals_and_scalings_are_found() {
        let linear = Some(Linear { scale: 100.0 / 27648.0, offset: -5.0 });
        let scaled = f64::from(1234) * (100.0 / 27648.0) + -5.0;
        assert_eq!(find(&Value::Lreal(scaled), linear), (LINEAR, 1234));
        assert_eq!(find(&Value::Lreal(41.2), None), (LREAL_TENTHS + 1, 412));
        assert_eq!(find(&Value::Lreal(237.0 * 0.1), None).1, 237);
        assert_eq!(find(&Value::Real(41.25), None), (REAL_TENTHS + 2, 4125));
        assert_eq!(find(&Value::Lreal(f64::from(0.1_f32)), None).0, SINGLE);
        assert_eq!(find(&Value::Lreal(std::f64::consts::PI), None).0, LREAL);
        assert_eq!(find(&Value::Lreal(f64::NAN), linear).0, LREAL);
        assert_eq!(find(&Value::Real(-0.0), None).0, REAL);
    }
}
