//! Thinned records as bytes; `docs/journal-format.md`, "Thinned records", is the specification.

use std::sync::Arc;

use forebay_connector::{Quality, Value};

use super::codec::{
    DEPTH_MAX, Decimals, ELEMENTS_MAX, RECORD_THINNED, put_value, take_byte, take_slice, take_value,
};
use super::thinned::{Numbers, ThinnedBatch, ThinnedSample, number};
use crate::batch::{BATCH_SAMPLES_MAX, Schema};
use crate::journal::varint;

/// There are minimum, maximum and mean.
const NUMBERS: u8 = 1;
/// All three are the last value.
const CONSTANT: u8 = 2;
/// The minimum is the last value.
const LAST_IS_MIN: u8 = 4;
/// The maximum is the last value.
const LAST_IS_MAX: u8 = 8;
/// Parts of the distance from minimum to maximum in which the mean is told.
const MEAN_PARTS: f64 = 65_535.0;

/// Appends the record to `out`. Times are told from `base_us` on, which is the block's.
pub(super) fn put(out: &mut Vec<u8>, schema: u32, base_us: i64, batch: &ThinnedBatch) {
    out.push(RECORD_THINNED);
    varint::put(out, u64::from(schema));
    varint::put_signed(out, batch.to_us.wrapping_sub(base_us));
    varint::put_signed(out, batch.to_us.wrapping_sub(batch.from_us));
    varint::put(out, u64::from(batch.interval_s));
    varint::put(out, batch.batches);
    varint::put(out, batch.samples.len() as u64);
    let mut before = 0;
    for sample in &batch.samples {
        varint::put_signed(out, i64::from(sample.tag) - before);
        before = i64::from(sample.tag);
    }
    out.extend(batch.samples.iter().map(|sample| sample.quality as u8));
    out.extend(batch.samples.iter().map(form));
    batch.samples.iter().for_each(|sample| varint::put(out, sample.count));
    batch.samples.iter().for_each(|sample| varint::put(out, sample.bad));
    put_values(out, batch.samples.iter().map(|sample| &sample.last));
    let written = |flag: u8| {
        let wanted = batch.samples.iter().filter(move |it| form(it) & (NUMBERS | CONSTANT | flag) == NUMBERS);
        wanted.filter_map(|sample| sample.numbers.as_ref())
    };
    put_values(out, written(LAST_IS_MIN).map(|numbers| &numbers.min));
    put_values(out, written(LAST_IS_MAX).map(|numbers| &numbers.max));
    for numbers in written(0) {
        out.extend_from_slice(&mean_part(numbers).to_le_bytes());
    }
}

fn form(sample: &ThinnedSample) -> u8 {
    let Some(Numbers { min, max, .. }) = &sample.numbers else { return 0 };
    let (is_min, is_max) = (*min == sample.last, *max == sample.last);
    NUMBERS
        | if is_min && is_max { CONSTANT } else { 0 }
        | if is_min { LAST_IS_MIN } else { 0 }
        | if is_max { LAST_IS_MAX } else { 0 }
}

/// Where the mean lies between minimum and maximum.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
fn mean_part(Numbers { min, max, mean }: &Numbers) -> u16 {
    let (min, max) = (number(min).unwrap_or(0.0), number(max).unwrap_or(0.0));
    // Halves, because the distance of the largest numbers is none.
    let part = (mean / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0);
    (part.clamp(0.0, 1.0) * MEAN_PARTS + 0.5) as u16
}

fn mean(min: &Value, max: &Value, part: u16) -> Option<f64> {
    let part = f64::from(part) / MEAN_PARTS;
    Some(number(min)? * (1.0 - part) + number(max)? * part)
}

/// Kinds, then values.
fn put_values<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a Value> + Clone) {
    let mut decimals = Decimals::default();
    let kinds = out.len();
    out.extend(values.clone().map(|_| 0));
    for (index, value) in values.enumerate() {
        out[kinds + index] = put_value(out, value, &mut decimals);
    }
}

/// A thinned record as read back, its schema still a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DecodedThinned {
    pub schema: u32,
    from_us: i64,
    to_us: i64,
    interval_s: u32,
    batches: u64,
    pub samples: Vec<ThinnedSample>,
}

impl DecodedThinned {
    pub(super) fn with_schema(self, schema: Arc<Schema>) -> ThinnedBatch {
        let Self { from_us, to_us, interval_s, batches, samples, .. } = self;
        ThinnedBatch { schema, from_us, to_us, interval_s, batches, samples }
    }
}

/// Reads what [`put`] wrote; `None` for anything else. Memory stays bounded whatever the bytes say.
pub(super) fn decode(record: &[u8], base_us: i64) -> Option<DecodedThinned> {
    let mut bytes = record.strip_prefix(&[RECORD_THINNED])?;
    let decoded = take(&mut bytes, base_us)?;
    bytes.is_empty().then_some(decoded)
}

fn take(bytes: &mut &[u8], base_us: i64) -> Option<DecodedThinned> {
    let schema = u32::try_from(varint::take(bytes)?).ok()?;
    let to_us = base_us.wrapping_add(varint::take_signed(bytes)?);
    let from_us = to_us.wrapping_sub(varint::take_signed(bytes)?);
    let interval_s = u32::try_from(varint::take(bytes)?).ok()?;
    let batches = varint::take(bytes)?;
    let count = usize::try_from(varint::take(bytes)?).ok().filter(|count| *count <= BATCH_SAMPLES_MAX)?;
    let mut samples = Vec::with_capacity(count);
    let mut tag = 0i64;
    for _ in 0..count {
        tag = tag.checked_add(varint::take_signed(bytes)?)?;
        let tag = u32::try_from(tag).ok()?;
        let (quality, last) = (Quality::Good, Value::Null);
        samples.push(ThinnedSample { tag, count: 0, bad: 0, quality, last, numbers: None });
    }
    for sample in &mut samples {
        sample.quality = Quality::from_u8(take_byte(bytes)?)?;
    }
    let forms = take_slice(bytes, count)?;
    for sample in &mut samples {
        sample.count = varint::take(bytes)?;
    }
    for sample in &mut samples {
        sample.bad = varint::take(bytes)?;
    }
    take_values(bytes, samples.iter_mut().map(|sample| &mut sample.last))?;
    take_numbers(bytes, forms, &mut samples)?;
    Some(DecodedThinned { schema, from_us, to_us, interval_s, batches, samples })
}

fn take_numbers(bytes: &mut &[u8], forms: &[u8], samples: &mut [ThinnedSample]) -> Option<()> {
    let mut ends: Vec<(Value, Value)> =
        samples.iter().map(|sample| (sample.last.clone(), sample.last.clone())).collect();
    let written = |form: u8, flag: u8| form & (NUMBERS | CONSTANT | flag) == NUMBERS;
    let pairs = || forms.iter().copied().zip(0usize..);
    let mins: Vec<usize> =
        pairs().filter(|(form, _)| written(*form, LAST_IS_MIN)).map(|(_, at)| at).collect();
    let maxs: Vec<usize> =
        pairs().filter(|(form, _)| written(*form, LAST_IS_MAX)).map(|(_, at)| at).collect();
    let (mut read_mins, mut read_maxs) = (vec![Value::Null; mins.len()], vec![Value::Null; maxs.len()]);
    take_values(bytes, read_mins.iter_mut())?;
    take_values(bytes, read_maxs.iter_mut())?;
    mins.into_iter().zip(read_mins).for_each(|(at, min)| ends[at].0 = min);
    maxs.into_iter().zip(read_maxs).for_each(|(at, max)| ends[at].1 = max);
    for ((form, sample), (min, max)) in forms.iter().zip(samples).zip(ends) {
        if form & NUMBERS == 0 {
            continue;
        }
        let part =
            if written(*form, 0) { u16::from_le_bytes(take_slice(bytes, 2)?.try_into().ok()?) } else { 0 };
        let mean = mean(&min, &max, part)?;
        sample.numbers = Some(Numbers { min, max, mean });
    }
    Some(())
}

fn take_values<'a>(bytes: &mut &[u8], values: impl ExactSizeIterator<Item = &'a mut Value>) -> Option<()> {
    let kinds = take_slice(bytes, values.len())?;
    let mut elements_left = ELEMENTS_MAX;
    for (kind, value) in kinds.iter().zip(values) {
        *value = take_value(bytes, *kind, DEPTH_MAX, &mut elements_left)?;
    }
    Some(())
}
