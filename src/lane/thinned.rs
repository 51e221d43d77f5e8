//! Summing up: what many samples of a minute were, in one row for each tag.

use std::collections::VecDeque;
use std::sync::Arc;

use forebay_connector::{Quality, Value};

use super::reader::StoredBatch;
use crate::batch::{BATCH_SAMPLES_MAX, Schema};

/// Batches of one device and one interval, summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct ThinnedBatch {
    /// What the rows mean.
    pub schema: Arc<Schema>,
    /// Edge time of the first batch, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Edge time of the last batch.
    pub to_us: i64,
    /// Length of the interval, seconds.
    pub interval_s: u32,
    /// Batches summed up. Where one interval needs several records, all stand in the last.
    pub batches: u64,
    /// One row for each tag that had a sample, at most [`BATCH_SAMPLES_MAX`].
    pub samples: Vec<ThinnedSample>,
}

/// Samples of one tag, summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct ThinnedSample {
    /// Index into the schema's tags.
    pub tag: u32,
    /// Good samples; only these are in `last` and `numbers`.
    pub count: u64,
    /// Samples of any other quality.
    pub bad: u64,
    /// The worst quality of all.
    pub quality: Quality,
    /// Last good value; without any, the last value there was.
    pub last: Value,
    /// Of numbers only.
    pub numbers: Option<Numbers>,
}

/// What numbers were.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Smallest.
    pub min: Value,
    /// Largest.
    pub max: Value,
    /// Mean of the samples, not weighted by time. After the journal it is exact to the 131,070th
    /// part of the distance from `min` to `max`.
    pub mean: f64,
}

/// The number that `value` is, for comparing and adding; NaN and infinity are none.
#[allow(clippy::cast_precision_loss)] // a mean of 64-bit counters has 53 bits, which is plenty
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Int(int) => *int as f64,
        Value::Uint(uint) => *uint as f64,
        Value::Real(real) => f64::from(*real),
        Value::Lreal(real) => *real,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Whether `left` is below `right`; whole numbers are compared exactly.
fn is_below(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left < right,
        (Value::Uint(left), Value::Uint(right)) => left < right,
        _ => number(left) < number(right),
    }
}

/// One tag while it is being summed up.
#[derive(Debug, Clone, Default)]
struct TagSum {
    count: u64,
    bad: u64,
    quality: Quality,
    last: Option<Value>,
    last_bad: Option<Value>,
    numbers: Option<Numbers>,
    /// Samples in `numbers`.
    added: u32,
}

impl TagSum {
    fn add(&mut self, value: Value, quality: Quality) {
        self.quality = self.quality.max(quality);
        if !quality.is_good() {
            self.bad += 1;
            self.last_bad = Some(value);
            return;
        }
        self.count += 1;
        if let Some(number) = number(&value) {
            self.added += 1;
            match &mut self.numbers {
                None => {
                    let (min, max) = (value.clone(), value.clone());
                    self.numbers = Some(Numbers { min, max, mean: number });
                }
                Some(numbers) => {
                    numbers.mean += (number - numbers.mean) / f64::from(self.added);
                    if is_below(&value, &numbers.min) {
                        numbers.min = value.clone();
                    } else if is_below(&numbers.max, &value) {
                        numbers.max = value.clone();
                    }
                }
            }
        }
        self.last = Some(value);
    }

    fn is_empty(&self) -> bool {
        self.count == 0 && self.bad == 0
    }

    fn into_sample(self, tag: u32) -> ThinnedSample {
        let Self { count, bad, quality, numbers, .. } = self;
        let last = self.last.or(self.last_bad).unwrap_or(Value::Null);
        ThinnedSample { tag, count, bad, quality, last, numbers }
    }
}

/// One device while an interval of it is being summed up.
pub(super) struct DeviceSum {
    schema: Arc<Schema>,
    interval: i64,
    from_us: i64,
    to_us: i64,
    batches: u64,
    tags: Vec<TagSum>,
    /// The last offsets, as many as records may be needed.
    offsets: VecDeque<u64>,
}

impl DeviceSum {
    /// An empty sum for the interval of this number.
    pub(super) fn new(schema: Arc<Schema>, interval: i64) -> Self {
        let tags = vec![TagSum::default(); schema.tags.len()];
        let offsets = VecDeque::new();
        Self { schema, interval, from_us: 0, to_us: 0, batches: 0, tags, offsets }
    }

    /// Offset of the last batch.
    pub(super) fn last_offset(&self) -> Option<u64> {
        self.offsets.back().copied()
    }

    /// Number of the interval.
    pub(super) fn interval(&self) -> i64 {
        self.interval
    }

    /// Adds a batch of this schema and interval.
    pub(super) fn add(&mut self, offset: u64, batch: StoredBatch) {
        if self.batches == 0 {
            self.from_us = batch.edge_us;
        }
        self.to_us = batch.edge_us;
        self.batches += 1;
        for sample in batch.samples {
            // The reader has checked that there is such a tag.
            if let Some(tag) = usize::try_from(sample.tag).ok().and_then(|tag| self.tags.get_mut(tag)) {
                tag.add(sample.value, sample.quality);
            }
        }
        if self.offsets.len() > self.tags.len() / BATCH_SAMPLES_MAX {
            self.offsets.pop_front();
        }
        self.offsets.push_back(offset);
    }

    /// The rows, in as many records as they need, each with the offset it stands at.
    pub(super) fn finish(self, interval_s: u32) -> Vec<(u64, ThinnedBatch)> {
        let tags = (0..).zip(self.tags).filter(|(_, tag)| !tag.is_empty());
        let mut samples: Vec<ThinnedSample> = tags.map(|(number, tag)| tag.into_sample(number)).collect();
        let mut records = Vec::new();
        let Self { from_us, to_us, schema, .. } = self;
        let mut batches = self.batches;
        // From the end, because the last record stands at the last offset. There are enough: as
        // many tags as stand in a record came with at least one batch each.
        for offset in self.offsets.into_iter().rev() {
            let rest = samples.split_off(samples.len().saturating_sub(BATCH_SAMPLES_MAX));
            let schema = Arc::clone(&schema);
            let thinned = ThinnedBatch { schema, from_us, to_us, interval_s, batches, samples: rest };
            records.push((offset, thinned));
            batches = 0;
            if samples.is_empty() {
                break;
            }
        }
        records.reverse();
        records
    }
}
