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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn numeric() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::Uint),
            any::<f32>().prop_filter("finite", |real| real.is_finite()).prop_map(Value::Real),
            any::<f64>().prop_filter("finite", |real| real.is_finite()).prop_map(Value::Lreal),
            (-400i32..400).prop_map(|tenths| Value::Lreal(f64::from(tenths) / 10.0)),
        ]
    }

    fn last() -> impl Strategy<Value = Value> {
        prop_oneof![
            numeric(),
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            "\\PC{0,9}".prop_map(|text| Value::Text(text.into())),
            vec(any::<i64>().prop_map(Value::Int), 0..3).prop_map(|all| Value::Array(all.into())),
        ]
    }

    /// Minimum and maximum, in order, and which of both the last value is, if any.
    fn row() -> impl Strategy<Value = ThinnedSample> {
        let numbers = option::of((numeric(), numeric(), 0u16.., 0..4));
        (any::<u32>(), any::<u64>(), any::<u64>(), 0..9u8, last(), numbers).prop_map(
            |(tag, count, bad, quality, last, numbers)| {
                let quality = Quality::from_u8(quality).unwrap();
                let mut row = ThinnedSample { tag, count, bad, quality, last, numbers: None };
                if let Some((one, other, part, form)) = numbers {
                    let (min, max) = if number(&one) <= number(&other) { (one, other) } else { (other, one) };
                    let (min, max) = if form == 3 { (min.clone(), min) } else { (min, max) };
                    match form {
                        1 | 3 => row.last = min.clone(),
                        2 => row.last = max.clone(),
                        _ => {}
                    }
                    let mean = mean(&min, &max, part).unwrap();
                    row.numbers = Some(Numbers { min, max, mean });
                }
                row
            },
        )
    }

    fn schema() -> Arc<Schema> {
        let texts = || (String::new(), String::new());
        let ((device, name), (profile, profile_version)) = (texts(), texts());
        Arc::new(Schema {
            device,
            name,
            profile,
            profile_version,
            standby_for: String::new(),
            tags: [].into(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn thinned_records_round_trip(
            samples in vec(row(), 0..20), times in any::<[i64; 3]>(), interval_s in any::<u32>(), batches in any::<u64>(),
        ) {
            let [from_us, to_us, base_us] = times;
            let batch = ThinnedBatch { schema: schema(), from_us, to_us, interval_s, batches, samples };
            let mut record = Vec::new();
            put(&mut record, 7, base_us, &batch);
            let decoded = decode(&record, base_us).unwrap();
            prop_assert_eq!(decoded.schema, 7);
            let read = decoded.with_schema(schema());
            prop_assert_eq!((read.from_us, read.to_us), (from_us, to_us));
            prop_assert_eq!((read.interval_s, read.batches, read.samples.len()), (interval_s, batches, batch.samples.len()));
            for (read, written) in read.samples.iter().zip(&batch.samples) {
                prop_assert_eq!((read.tag, read.count, read.bad, read.quality), (written.tag, written.count, written.bad, written.quality));
                prop_assert_eq!(&read.last, &written.last);
                prop_assert_eq!(read.numbers.is_some(), written.numbers.is_some());
                if let (Some(read), Some(written)) = (&read.numbers, &written.numbers) {
                    prop_assert_eq!((&read.min, &read.max), (&written.min, &written.max));
                    let (min, max) = (number(&read.min).unwrap(), number(&read.max).unwrap());
                    let near = (max / 131_000.0 - min / 131_000.0) + (min.abs().max(max.abs())) * 1e-12;
                    prop_assert!((read.mean - written.mean).abs() <= near, "{} {}", read.mean, written.mean);
                }
            }
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), base_us in any::<i64>()) {
            // The outcome does not matter, only that there is one.
            let _outcome = decode(&[&[RECORD_THINNED], bytes.as_slice()].concat(), base_us);
        }

        #[test]
        fn changed_records_never_panic(samples in vec(row(), 1..9), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let batch = ThinnedBatch { schema: schema(), from_us: 1, to_us: 2, interval_s: 60, batches: 3, samples };
            let mut record = Vec::new();
            put(&mut record, 7, 0, &batch);
            *at.get_mut(&mut record) = byte;
            if let Some(decoded) = decode(&record, 0) {
                prop_assert!(decoded.samples.len() <= BATCH_SAMPLES_MAX);
            }
        }
    }

    #[test]
    fn a_thinned_record_has_exactly_the_documented_bytes() {
        let row = |tag, last: f64, numbers: Option<(f64, f64, f64)>| ThinnedSample {
            tag,
            count: 6,
            bad: 0,
            quality: Quality::Good,
            last: Value::Lreal(last),
            numbers: numbers.map(|(min, max, mean)| Numbers {
                min: Value::Lreal(min),
                max: Value::Lreal(max),
                mean,
            }),
        };
        let rows = vec![
            row(0, 1.5, Some((1.5, 1.5, 1.5))),
            row(1, 2.5, Some((1.5, 2.5, 2.0))),
            row(2, 2.0, Some((1.5, 2.5, 1.5))),
            row(3, 2.5, None),
        ];
        let batch = ThinnedBatch {
            schema: schema(),
            from_us: 900,
            to_us: 1100,
            interval_s: 60,
            batches: 6,
            samples: rows,
        };
        let mut record = Vec::new();
        put(&mut record, 7, 1000, &batch);
        let expected = [
            // Kind, schema, end +100 µs, 200 µs long, 60 s, 6 batches, 4 rows; tags 0, +1, +1, +1; qualities; forms.
            &[3, 7, 0xc8, 1, 0x90, 3, 60, 6, 4, 0, 2, 2, 2, 0, 0, 0, 0, 15, 9, 1, 0][..],
            // Good, bad; last values in tenths: 15, 25, 20, 25.
            &[6, 6, 6, 6, 0, 0, 0, 0, 33, 33, 33, 33, 30, 50, 40, 50],
            // Minima of rows 1 and 2, maximum of row 2, means: half, none.
            &[33, 33, 30, 30, 33, 50, 0, 0x80, 0, 0],
        ];
        assert_eq!(record, expected.concat());
    }
}
