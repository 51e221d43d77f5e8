//! Rows: records that are read without what is before them. Events as their JSON, and, from version
//! 1 of the format, batches, which are only read; new ones are records of a chain.
//!
//! `docs/journal-format.md`, "Rows", is the specification. A batch is column by column (tags,
//! qualities, source times, kinds, values), and a column that says nothing (all good, no source
//! times) is left out. A decimal number such as 41.2 is 412 and its power of ten.

#[cfg(test)]
pub(super) mod row_writer;

use forebay_connector::{Quality, Value};

use crate::batch::{BATCH_SAMPLES_MAX, GapBefore, Sample};
use crate::journal::varint;
use crate::twin::Cause;

pub(super) const RECORD_BATCH: u8 = 1;
pub(super) const RECORD_EVENT: u8 = 2;
/// See [`super::thin_codec`].
pub(super) const RECORD_THINNED: u8 = 3;

const TAGS_IN_ORDER: u8 = 1;
const ALL_GOOD: u8 = 2;
const NO_SOURCE: u8 = 4;
const ALL_SOURCE: u8 = 8;
const ONE_KIND: u8 = 16;
const GAP: u8 = 32;

/// Longest text of a gap's cause on disk, in bytes.
const CAUSE_BYTES_MAX: usize = 1024;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const REAL: u8 = 5;
const LREAL: u8 = 6;
const TEXT: u8 = 7;
const DATE_TIME: u8 = 8;
const ARRAY: u8 = 9;
/// In an array: each element has its own kind in front.
const MIXED: u8 = 10;
/// REAL = whole number / 10^k, k in the low bits.
const REAL_TENTHS: u8 = 16;
/// LREAL = whole number / 10^k.
const LREAL_TENTHS: u8 = 32;
/// LREAL = whole number * 10^-k, which is what scaling by 0.1 gives.
const LREAL_SCALED: u8 = 48;

const POWERS: [f64; 5] = [1.0, 10.0, 100.0, 1e3, 1e4];
const FRACTIONS: [f64; 5] = [1.0, 0.1, 0.01, 1e-3, 1e-4];
/// Larger whole numbers would not be shorter than the REAL (LREAL) itself.
const REAL_WHOLE_MAX: f64 = 1e6;
const LREAL_WHOLE_MAX: f64 = 1e12;
/// Elements of all arrays of one record, and depth of arrays in arrays.
pub(super) const ELEMENTS_MAX: usize = 1 << 20;
pub(super) const DEPTH_MAX: u8 = 4;

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// It ends too early, or says something impossible.
    #[error("the record is malformed")]
    Malformed,
    /// Its schema was lost.
    #[error("schema {0} is missing")]
    NoSchema(u32),
    /// Written by a newer Forebay.
    #[error("records of kind {0} are unknown")]
    Kind(u8),
}

/// The row of an event.
pub(super) fn event_row(json: &[u8]) -> Vec<u8> {
    [&[RECORD_EVENT], json].concat()
}

/// Most decimals found so far in a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Decimals {
    real: u8,
    lreal: u8,
    /// More were found after a number had been written with fewer.
    late: bool,
    written: bool,
}

impl Decimals {
    fn found(&mut self, more: bool) {
        self.late |= more && self.written;
        self.written = true;
    }
}

pub(super) fn put_gap(record: &mut Vec<u8>, edge_us: i64, gap: &GapBefore) {
    varint::put_signed(record, edge_us.wrapping_sub(gap.from_us));
    for text in [&gap.cause.code, &gap.cause.message] {
        let text = &text[..text.floor_char_boundary(CAUSE_BYTES_MAX)];
        varint::put(record, text.len() as u64);
        record.extend_from_slice(text.as_bytes());
    }
}

pub(super) fn take_gap(bytes: &mut &[u8], edge_us: i64) -> Option<GapBefore> {
    let from_us = edge_us.wrapping_sub(varint::take_signed(bytes)?);
    let mut text = || {
        let length =
            usize::try_from(varint::take(bytes)?).ok().filter(|length| *length <= CAUSE_BYTES_MAX)?;
        String::from_utf8(take_slice(bytes, length)?.to_vec()).ok()
    };
    let cause = Cause { code: text()?, message: text()? };
    Some(GapBefore { from_us, cause })
}

/// Writes the value and returns its kind.
pub(super) fn put_value(out: &mut Vec<u8>, value: &Value, decimals: &mut Decimals) -> u8 {
    match value {
        Value::Real(real) => put_real(out, *real, decimals),
        Value::Lreal(real) => put_lreal(out, *real, decimals),
        other => put_plain(out, other),
    }
}

/// Writes the value without looking for decimals, so that an array has one kind.
fn put_plain(out: &mut Vec<u8>, value: &Value) -> u8 {
    match value {
        Value::Null => return NULL,
        Value::Bool(bool) => return if *bool { TRUE } else { FALSE },
        Value::Int(int) => varint::put_signed(out, *int),
        Value::Uint(uint) => varint::put(out, *uint),
        Value::Real(real) => out.extend_from_slice(&real.to_le_bytes()),
        Value::Lreal(real) => out.extend_from_slice(&real.to_le_bytes()),
        Value::Text(text) => {
            varint::put(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Value::DateTime(us) => varint::put_signed(out, *us),
        Value::Array(elements) => put_array(out, elements),
    }
    plain_kind(value)
}

fn plain_kind(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(true) => TRUE,
        Value::Bool(false) => FALSE,
        Value::Int(_) => INT,
        Value::Uint(_) => UINT,
        Value::Real(_) => REAL,
        Value::Lreal(_) => LREAL,
        Value::Text(_) => TEXT,
        Value::DateTime(_) => DATE_TIME,
        Value::Array(_) => ARRAY,
    }
}

fn put_array(out: &mut Vec<u8>, elements: &[Value]) {
    varint::put(out, elements.len() as u64);
    let first = elements.first().map_or(NULL, plain_kind);
    let one_kind = elements.iter().all(|element| plain_kind(element) == first);
    out.push(if one_kind { first } else { MIXED });
    for element in elements {
        if !one_kind {
            out.push(plain_kind(element));
        }
        put_plain(out, element);
    }
}

/// The whole number that `value` is after multiplying with a power of ten, if it is near one.
#[allow(clippy::cast_possible_truncation)] // bounded by `max`
fn whole(value: f64, power: f64, max: f64) -> Option<i64> {
    let scaled = value * power;
    // Casting rounds towards zero and, unlike `round`, needs no library call on any target.
    (scaled.abs() < max).then(|| (scaled + 0.5_f64.copysign(scaled)) as i64)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // proved equal before it is used
fn put_real(out: &mut Vec<u8>, real: f32, decimals: &mut Decimals) -> u8 {
    for k in decimals.real..4 {
        let power = POWERS[usize::from(k)];
        let Some(number) = whole(f64::from(real), power, REAL_WHOLE_MAX) else { break };
        if ((number as f64 / power) as f32).to_bits() == real.to_bits() {
            decimals.found(k > decimals.real);
            decimals.real = k;
            varint::put_signed(out, number);
            return REAL_TENTHS + k;
        }
    }
    put_plain(out, &Value::Real(real))
}

#[allow(clippy::cast_precision_loss)] // proved equal before it is used
fn put_lreal(out: &mut Vec<u8>, real: f64, decimals: &mut Decimals) -> u8 {
    for k in decimals.lreal..5 {
        let (power, fraction) = (POWERS[usize::from(k)], FRACTIONS[usize::from(k)]);
        let Some(number) = whole(real, power, LREAL_WHOLE_MAX) else { break };
        let kind = if (number as f64 / power).to_bits() == real.to_bits() {
            LREAL_TENTHS + k
        } else if (number as f64 * fraction).to_bits() == real.to_bits() {
            LREAL_SCALED + k
        } else {
            continue;
        };
        decimals.found(k > decimals.lreal);
        decimals.lreal = k;
        varint::put_signed(out, number);
        return kind;
    }
    put_plain(out, &Value::Lreal(real))
}

/// A batch as read back, its schema still a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DecodedBatch {
    pub schema: u32,
    pub edge_us: i64,
    pub samples: Vec<Sample>,
    pub gap: Option<GapBefore>,
}

/// Reads a row of a batch, as version 1 of the format had them. The bytes may be anything.
///
/// # Errors
/// [`RecordFault::Malformed`]; memory stays bounded whatever the bytes say.
pub(super) fn decode_batch(record: &[u8], base_us: i64) -> Result<DecodedBatch, RecordFault> {
    let mut bytes = record.strip_prefix(&[RECORD_BATCH]).ok_or(RecordFault::Malformed)?;
    let decoded = take_batch(&mut bytes, base_us).ok_or(RecordFault::Malformed)?;
    if bytes.is_empty() { Ok(decoded) } else { Err(RecordFault::Malformed) }
}

fn take_batch(bytes: &mut &[u8], base_us: i64) -> Option<DecodedBatch> {
    let flags = take_byte(bytes)?;
    let schema = u32::try_from(varint::take(bytes)?).ok()?;
    let edge_us = base_us.wrapping_add(varint::take_signed(bytes)?);
    let count = usize::try_from(varint::take(bytes)?).ok().filter(|count| *count <= BATCH_SAMPLES_MAX)?;
    let gap = if flags & GAP == 0 { None } else { Some(take_gap(bytes, edge_us)?) };
    let blank = Sample { tag: 0, value: Value::Null, quality: Quality::Good, source_us: None };
    let mut samples = vec![blank; count];
    take_tags(bytes, &mut samples, flags)?;
    if flags & ALL_GOOD == 0 {
        for sample in &mut samples {
            sample.quality = Quality::from_u8(take_byte(bytes)?)?;
        }
    }
    take_sources(bytes, &mut samples, edge_us, flags)?;
    let kinds = take_slice(bytes, if flags & ONE_KIND == 0 { count } else { count.min(1) })?;
    let mut elements_left = ELEMENTS_MAX;
    for (index, sample) in samples.iter_mut().enumerate() {
        let kind = kinds.get(index).or_else(|| kinds.first())?;
        sample.value = take_value(bytes, *kind, DEPTH_MAX, &mut elements_left)?;
    }
    Some(DecodedBatch { schema, edge_us, samples, gap })
}

fn take_tags(bytes: &mut &[u8], samples: &mut [Sample], flags: u8) -> Option<()> {
    let mut before = 0i64;
    for (index, sample) in samples.iter_mut().enumerate() {
        let step = if index > 0 && flags & TAGS_IN_ORDER != 0 { 1 } else { varint::take_signed(bytes)? };
        before = before.checked_add(step)?;
        sample.tag = u32::try_from(before).ok()?;
    }
    Some(())
}

fn take_sources(bytes: &mut &[u8], samples: &mut [Sample], edge_us: i64, flags: u8) -> Option<()> {
    if flags & NO_SOURCE != 0 {
        return Some(());
    }
    let mut before = edge_us;
    for sample in samples {
        if flags & ALL_SOURCE != 0 || take_byte(bytes)? != 0 {
            before = before.wrapping_add(varint::take_signed(bytes)?);
            sample.source_us = Some(before);
        }
    }
    Some(())
}

/// Writes the elements of an array, for a record of a chain.
pub(super) fn put_elements(out: &mut Vec<u8>, elements: &[Value]) {
    put_array(out, elements);
}

/// Reads what [`put_elements`] wrote, and nothing more. The bytes may be anything.
pub(super) fn take_elements(mut bytes: &[u8]) -> Option<Value> {
    let mut elements_left = ELEMENTS_MAX;
    let array = take_array(&mut bytes, DEPTH_MAX - 1, &mut elements_left)?;
    bytes.is_empty().then_some(array)
}

pub(super) fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

pub(super) fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // the encoder proved that it fits
pub(super) fn take_value(bytes: &mut &[u8], kind: u8, depth: u8, elements_left: &mut usize) -> Option<Value> {
    Some(match kind {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        INT => Value::Int(varint::take_signed(bytes)?),
        UINT => Value::Uint(varint::take(bytes)?),
        REAL => Value::Real(f32::from_le_bytes(take_slice(bytes, 4)?.try_into().ok()?)),
        LREAL => Value::Lreal(f64::from_le_bytes(take_slice(bytes, 8)?.try_into().ok()?)),
        TEXT => {
            let length = usize::try_from(varint::take(bytes)?).ok()?;
            Value::Text(std::str::from_utf8(take_slice(bytes, length)?).ok()?.into())
        }
        DATE_TIME => Value::DateTime(varint::take_signed(bytes)?),
        ARRAY => take_array(bytes, depth.checked_sub(1)?, elements_left)?,
        REAL_TENTHS..=0x13 => {
            let power = POWERS[usize::from(kind - REAL_TENTHS)];
            Value::Real((varint::take_signed(bytes)? as f64 / power) as f32)
        }
        LREAL_TENTHS..=0x24 => {
            Value::Lreal(varint::take_signed(bytes)? as f64 / POWERS[usize::from(kind - LREAL_TENTHS)])
        }
        LREAL_SCALED..=0x34 => {
            Value::Lreal(varint::take_signed(bytes)? as f64 * FRACTIONS[usize::from(kind - LREAL_SCALED)])
        }
        _ => return None,
    })
}

fn take_array(bytes: &mut &[u8], depth: u8, elements_left: &mut usize) -> Option<Value> {
    let count = usize::try_from(varint::take(bytes)?).ok()?;
    *elements_left = elements_left.checked_sub(count)?;
    let kind = take_byte(bytes)?;
    // Elements without bytes of their own (BOOL) are bounded by `elements_left` alone.
    let mut elements = Vec::with_capacity(count.min(bytes.len().max(64)));
    for _ in 0..count {
        let kind = if kind == MIXED { take_byte(bytes)? } else { kind };
        elements.push(take_value(bytes, kind, depth, elements_left)?);
    }
    Some(Value::Array(elements.into()))
}
