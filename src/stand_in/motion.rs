//! How the values of a simulated machine move: as its profile lets one expect, and no cleverer.

use std::sync::Arc;

use forebay_connector::{DataType, Scalar, Value};
use jiff::tz::TimeZone;

use crate::clock;
use crate::device::{Device, Expected, Tag, Transform};

/// Where values move that have no range: by their unit.
const USUAL: &[(&str, (f64, f64))] = &[
    ("°C", (18.0, 65.0)),
    ("K", (290.0, 340.0)),
    ("bar", (1.0, 6.0)),
    ("mbar", (980.0, 1040.0)),
    ("V", (225.0, 235.0)),
    ("A", (2.0, 40.0)),
    ("Hz", (49.95, 50.05)),
    ("%", (20.0, 80.0)),
    ("1", (0.1, 0.95)),
    ("1/min", (900.0, 1500.0)),
    ("mm/s", (0.5, 4.0)),
];
/// And without one.
const ANY: (f64, f64) = (0.0, 100.0);
/// Seconds that a state or a switch lasts, at least and at most.
const LASTS_S: (f64, f64) = (8.0, 40.0);
/// A named bit is set for one part of this many.
const BIT_SELDOM: u64 = 20;

/// All values of one machine.
pub struct Motion {
    tags: Vec<Moving>,
}

/// One raw tag.
struct Moving {
    data_type: DataType,
    kind: Kind,
    /// Makes equal kinds move differently; from the tag's path, so that each start is the same.
    seed: u64,
    held: Option<Value>,
    /// Bits that are held, and what they are.
    held_bits: (u64, u64),
}

enum Kind {
    /// Within these bounds, raw.
    Wave(f64, f64),
    /// So much more each second.
    Counter(f64),
    /// One of these, one after the other.
    States(Vec<i64>),
    /// On and off.
    Switch,
    /// Named bits, mostly unset.
    Bits(Vec<u8>),
    /// A text of at most so many letters.
    Text(String),
    /// The time of now, by a clock in this zone.
    Now(TimeZone),
    /// Always the same.
    Fixed(Value),
}

impl Motion {
    /// Of a machine as its profile describes it.
    pub fn of(device: &Arc<Device>) -> Self {
        let moving = |(raw, spec): (u32, &forebay_connector::TagSpec)| {
            let made: Vec<&Tag> = device.tags.iter().filter(|tag| tag.raw == raw).collect();
            Moving {
                data_type: spec.data_type,
                kind: kind(device, raw, spec.data_type, &made),
                seed: spec.path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
                }),
                held: None,
                held_bits: (0, 0),
            }
        };
        Self { tags: (0..).zip(device.spec.tags.iter()).map(moving).collect() }
    }

    /// Gives every raw tag its value at `time_s` seconds after the start.
    pub fn step(&mut self, time_s: f64, set: impl Fn(u32, &Value)) {
        for (raw, tag) in (0..).zip(&self.tags) {
            set(raw, &tag.at(time_s));
        }
    }

    /// Raw tag `raw` has this value from now on.
    pub fn hold(&mut self, raw: u32, value: Value) {
        if let Some(tag) = self.tags.get_mut(raw as usize) {
            tag.held = Some(value);
        }
    }

    /// Bit `bit` of raw tag `raw` is `on` from now on.
    pub fn hold_bit(&mut self, raw: u32, bit: u8, on: bool) {
        if let Some(tag) = self.tags.get_mut(raw as usize) {
            let mask = 1_u64.checked_shl(u32::from(bit)).unwrap_or(0);
            tag.held_bits.0 |= mask;
            tag.held_bits.1 = if on { tag.held_bits.1 | mask } else { tag.held_bits.1 & !mask };
        }
    }
}

fn kind(device: &Device, raw: u32, data_type: DataType, made: &[&Tag]) -> Kind {
    let scalar = data_type.scalar;
    // A simulated machine is the right one.
    let checks: Vec<_> = device.verify.iter().filter(|verify| verify.raw == raw).collect();
    let fixed = checks.iter().find_map(|verify| match &verify.expected {
        Expected::Is(value) => Some(unscaled(value, verify.transform, scalar)),
        Expected::Between(..) => None,
    });
    if let Some(value) = fixed {
        return Kind::Fixed(value);
    }
    let published = made.iter().find(|tag| !matches!(tag.transform, Transform::Bit(_)));
    if let Some(states) = published.and_then(|tag| tag.enumeration.as_ref()) {
        // Nobody works on it.
        let numbers = states.iter().filter(|(_, value)| !value.function_check).map(|(number, _)| *number);
        return Kind::States(numbers.collect());
    }
    let bits: Vec<u8> = made
        .iter()
        .filter_map(|tag| match tag.transform {
            Transform::Bit(bit) => Some(bit),
            Transform::None | Transform::Linear { .. } => None,
        })
        .collect();
    match scalar {
        Scalar::Bool if published.is_some_and(|tag| tag.function_check) => Kind::Fixed(Value::Bool(false)),
        Scalar::Bool => Kind::Switch,
        Scalar::Char | Scalar::Wchar => Kind::Text("S".to_owned()),
        Scalar::String(len) | Scalar::Wstring(len) => {
            let letters = usize::from(len.unwrap_or(16));
            Kind::Text(device.name.chars().take(letters).collect())
        }
        Scalar::Date => Kind::Text(jiff::Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()),
        Scalar::Dtl | Scalar::DateAndTime => {
            Kind::Now(published.and_then(|tag| tag.timezone.clone()).unwrap_or(TimeZone::UTC))
        }
        Scalar::DateTime => Kind::Now(TimeZone::UTC),
        _ if !bits.is_empty() => Kind::Bits(bits),
        _ if published.is_some_and(|tag| tag.counter) => Kind::Counter(0.4),
        _ => {
            let (low, high) = bounds(published.copied(), &checks);
            let transform = published.map_or(Transform::None, |tag| tag.transform);
            let (a, b) = (unscale(low, transform), unscale(high, transform));
            Kind::Wave(a.min(b), a.max(b))
        }
    }
}

/// Where a value moves, in published units: well within its range, below its alarms, and as the
/// checks demand.
fn bounds(tag: Option<&Tag>, checks: &[&crate::device::Verify]) -> (f64, f64) {
    let usual = |tag: &Tag| USUAL.iter().find(|(unit, _)| *unit == tag.unit).map_or(ANY, |(_, usual)| *usual);
    let (mut low, mut high) = match tag {
        Some(tag) => match tag.range {
            Some((low, high)) => {
                let (room, usual) = (high - low, usual(tag));
                // What is usual, when the range has it; else the middle of the range.
                if usual != ANY && low <= usual.0 && usual.1 <= high {
                    usual
                } else {
                    (low + 0.2 * room, high - 0.2 * room)
                }
            }
            None => usual(tag),
        },
        None => ANY,
    };
    let mut within = |from: f64, to: f64| {
        if to < low || from > high {
            (low, high) = (from + 0.25 * (to - from), to - 0.25 * (to - from));
        } else {
            (low, high) = (low.max(from), high.min(to));
        }
    };
    if let Some(tag) = tag {
        let limit = |names: [&str; 2], none: f64| {
            names.iter().find_map(|name| tag.limits.get(*name)).copied().unwrap_or(none)
        };
        let (from, to) = (limit(["lo", "lolo"], f64::MIN / 4.0), limit(["hi", "hihi"], f64::MAX / 4.0));
        within(from, to);
    }
    for check in checks {
        if let Expected::Between(from, to) = check.expected {
            within(from, to);
        }
    }
    (low, high)
}

fn unscale(value: f64, transform: Transform) -> f64 {
    match transform {
        Transform::Linear { scale, offset, .. } if scale != 0.0 => (value - offset) / scale,
        _ => value,
    }
}

fn unscaled(value: &Value, transform: Transform, scalar: Scalar) -> Value {
    match value.as_f64() {
        Some(value) if scalar.is_number() => number(unscale(value, transform), scalar),
        _ => value.clone(),
    }
}

/// A number as a value of this type; what the type cannot hold is cut to what it can.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is meant to
pub fn number(value: f64, scalar: Scalar) -> Value {
    let bits = scalar.bits().unwrap_or(64).min(64);
    let (signed, unsigned) = (
        |value: f64| {
            let top = i64::MAX >> (64 - bits);
            Value::Int((value.round() as i64).clamp(-top - 1, top))
        },
        |value: f64, top: u64| Value::Uint((value.round() as u64).min(top)),
    );
    match scalar {
        Scalar::Bool => Value::Bool(value != 0.0),
        Scalar::Real => Value::Real(value as f32),
        Scalar::Sint | Scalar::Int | Scalar::Dint | Scalar::Lint | Scalar::Time => signed(value),
        Scalar::Tod => Value::Int((value.round() as i64).clamp(0, 86_399_999)),
        Scalar::S5time => Value::Int((value.round() as i64).clamp(0, 9_990_000)),
        Scalar::Bcd => unsigned(value, 9_999),
        Scalar::Lbcd => unsigned(value, 99_999_999),
        Scalar::Byte
        | Scalar::Usint
        | Scalar::Word
        | Scalar::Uint
        | Scalar::Dword
        | Scalar::Udint
        | Scalar::Lword
        | Scalar::Ulint => unsigned(value, u64::MAX >> (64 - bits)),
        Scalar::Lreal
        | Scalar::Char
        | Scalar::Wchar
        | Scalar::String(_)
        | Scalar::Wstring(_)
        | Scalar::Date
        | Scalar::DateAndTime
        | Scalar::Dtl
        | Scalar::DateTime => Value::Lreal(value),
    }
}

impl Moving {
    fn at(&self, time_s: f64) -> Value {
        let value = match (&self.held, self.data_type.array_len) {
            (Some(held), _) => held.clone(),
            (None, None) => self.element(time_s, 0),
            (None, Some(len)) => {
                let elements = (0..u64::from(len)).map(|index| self.element(time_s, index));
                Value::Array(elements.collect())
            }
        };
        match (self.held_bits, &value) {
            ((0, _), _) => value,
            ((mask, on), Value::Uint(bits)) => Value::Uint(bits & !mask | on),
            _ => value,
        }
    }

    fn element(&self, time_s: f64, index: u64) -> Value {
        let seed = self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Each lasts a time of its own.
        let lasts_s = LASTS_S.0 + (LASTS_S.1 - LASTS_S.0) * share(seed);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a run takes no centuries
        let turn = (time_s / lasts_s) as u64;
        let scalar = self.data_type.scalar;
        match &self.kind {
            Kind::Wave(low, high) => {
                // A slow swing with a faster one on it.
                let phase = share(seed >> 7) * std::f64::consts::TAU;
                let swing =
                    (time_s / lasts_s * 1.3 + phase).sin() * 0.42 + (time_s * 1.9 + phase * 3.0).sin() * 0.06;
                number(low + (high - low) * (0.5 + swing), scalar)
            }
            Kind::Counter(per_s) => {
                let begin = 1000.0 + (share(seed) * 50_000.0).floor();
                let grown = time_s * per_s * (0.5 + share(seed >> 9));
                let whole = !matches!(scalar, Scalar::Real | Scalar::Lreal);
                number(begin + if whole { grown.floor() } else { grown }, scalar)
            }
            Kind::States(states) => {
                let place = usize::try_from(turn).unwrap_or(0) % states.len().max(1);
                #[allow(clippy::cast_precision_loss)] // numbers of states are small
                number(states.get(place).copied().unwrap_or(0) as f64, scalar)
            }
            Kind::Switch => Value::Bool(!(turn + seed).is_multiple_of(3)),
            Kind::Bits(bits) => {
                let set = |bit: &&u8| (turn + seed + u64::from(**bit) * 7).is_multiple_of(BIT_SELDOM);
                let bits = bits.iter().filter(set).filter_map(|bit| 1_u64.checked_shl(u32::from(*bit)));
                Value::Uint(bits.fold(0, |all, bit| all | bit))
            }
            Kind::Text(text) => Value::Text(text.as_str().into()),
            Kind::Now(zone) => {
                let now_us = clock::now_us();
                let now = jiff::Timestamp::from_microsecond(now_us);
                let offset_s = now.map_or(0, |now| i64::from(zone.to_offset(now).seconds()));
                Value::DateTime(now_us + offset_s * 1_000_000)
            }
            Kind::Fixed(value) => value.clone(),
        }
    }
}

/// From 0 to 1, the same for the same seed.
fn share(seed: u64) -> f64 {
    fastrand::Rng::with_seed(seed).f64()
}
