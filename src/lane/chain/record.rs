//! One batch of a device, coded against its batches before: times, tags and qualities. The values
//! are in `values`.

use forebay_connector::{Quality, Value};

use super::bits::Coder;
use super::device::{Device, Meaning, Tag};
use super::values::code_values;
use crate::batch::{BATCH_SAMPLES_MAX, GapBefore, Sample};
use crate::lane::codec::{put_gap, take_gap};

/// Bits of a quality that is not the one before.
const QUALITY_BITS: u32 = 4;
/// An interval follows one part in this of an error, the expected time one part in that.
const INTERVAL_RATE: i64 = 64;
const PHASE_RATE: i64 = 4;
const MS_US: i64 = 1000;

/// What a record holds; its schema stands beside it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::lane) struct Content {
    /// When the answer was complete, microseconds since 1970 UTC.
    pub edge_us: i64,
    /// At most [`BATCH_SAMPLES_MAX`].
    pub samples: Vec<Sample>,
    /// What is missing before it.
    pub gap: Option<Box<GapBefore>>,
}

/// What of a record is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::lane) struct Only<'a> {
    /// The tags whose values are made, by number; `None` for all.
    pub tags: Option<&'a [bool]>,
    /// What stands behind the last wanted tag is passed over: all values from this tag on. Where
    /// something turns out to depend on them, the record cannot be read, and
    /// [`super::Chain::has_passed_over`] says why.
    pub end: Option<u32>,
}

/// What holds for a whole record.
pub(super) struct Context<'a> {
    pub meaning: &'a Meaning,
    /// Wall time of the chain.
    pub base_us: i64,
    /// When reading.
    pub only: Only<'a>,
    /// Form and number of each sample, kept for its memory.
    pub chosen: &'a mut Vec<(u8, i64)>,
    /// Bits of values of tags that had none before.
    pub first_bits: &'a mut usize,
}

pub(super) fn blank() -> Sample {
    Sample { tag: 0, value: Value::Null, quality: Quality::Good, source_us: None }
}

/// Writes `content` or, with a reading coder, fills it; `false` when not to the end.
pub(super) fn code_record<C: Coder>(
    coder: &mut C,
    device: &mut Device,
    context: &mut Context<'_>,
    content: &mut Content,
) -> Option<bool> {
    code_time(coder, device, context.base_us, &mut content.edge_us)?;
    code_gap(coder, device, content)?;
    let samples = &mut content.samples;
    if !C::WRITES {
        samples.clear();
    }
    code_tags(coder, device, context.meaning.tags, samples)?;
    code_qualities(coder, device, samples)?;
    code_sources(coder, device, content.edge_us, samples)?;
    code_values(coder, device, context, samples)
}

/// Makes the samples of what is read, when more must be kept of each than its value.
fn make(samples: &mut Vec<Sample>, tags: &[u32]) {
    if samples.is_empty() {
        samples.extend(tags.iter().map(|tag| Sample { tag: *tag, ..blank() }));
    }
}

fn code_time<C: Coder>(coder: &mut C, device: &mut Device, base_us: i64, edge_us: &mut i64) -> Option<()> {
    if !device.warm {
        *edge_us = base_us.wrapping_add(coder.wide_signed(edge_us.wrapping_sub(base_us))?);
        device.warm = true;
        device.expected_us = *edge_us;
        return Some(());
    }
    let error = coder.signed(&mut device.time, edge_us.wrapping_sub(device.expected_us))?;
    *edge_us = device.expected_us.wrapping_add(error);
    if device.interval_us == 0 || error.unsigned_abs() > device.interval_us.unsigned_abs() / 2 {
        // The second batch, or scans without news in between: the interval counts from here.
        if device.interval_us == 0 {
            device.interval_us = error;
        }
        device.expected_us = edge_us.wrapping_add(device.interval_us);
    } else {
        device.interval_us = device.interval_us.wrapping_add(error / INTERVAL_RATE);
        let step = device.interval_us.wrapping_add(error / PHASE_RATE);
        device.expected_us = device.expected_us.wrapping_add(step);
    }
    Some(())
}

fn code_gap<C: Coder>(coder: &mut C, device: &mut Device, content: &mut Content) -> Option<()> {
    if !coder.bit(content.gap.is_some())? {
        content.gap = None;
        return Some(());
    }
    if device.passed_from.is_some() {
        // Texts may have been passed over, whose lengths are coded like this one.
        return None;
    }
    let mut bytes = Vec::new();
    if let Some(gap) = content.gap.as_deref().filter(|_| C::WRITES) {
        put_gap(&mut bytes, content.edge_us, gap);
    }
    let bytes = coder.bytes(&mut device.length, &bytes)?;
    if !C::WRITES {
        let mut rest = bytes.as_slice();
        let gap = take_gap(&mut rest, content.edge_us).filter(|_| rest.is_empty())?;
        content.gap = Some(Box::new(gap));
    }
    Some(())
}

/// What is read stands in the device, not in the samples.
fn code_tags<C: Coder>(
    coder: &mut C,
    device: &mut Device,
    tags_len: usize,
    samples: &[Sample],
) -> Option<()> {
    let same = C::WRITES && samples.iter().map(|sample| sample.tag).eq(device.tags_before.iter().copied());
    if coder.bit(same)? {
        return Some(());
    }
    let count = coder.number(&mut device.count, samples.len() as u64)?;
    let count = usize::try_from(count).ok().filter(|count| *count <= BATCH_SAMPLES_MAX)?;
    let ascending = coder.bit(C::WRITES && samples.windows(2).all(|pair| pair[0].tag < pair[1].tag))?;
    let (mut next, mut end) = (0u32, 0);
    device.ascending = ascending;
    device.tags_before.clear();
    for at in 0..count {
        let written = if C::WRITES { samples.get(at)?.tag } else { 0 };
        let tag = if ascending {
            let gap = coder.number(&mut device.gap, u64::from(written.wrapping_sub(next)))?;
            next.checked_add(u32::try_from(gap).ok()?)?
        } else {
            u32::try_from(coder.wide(u64::from(written))?).ok()?
        };
        next = tag.checked_add(1)?;
        end = end.max(usize::try_from(next).ok()?);
        device.tags_before.push(tag);
    }
    if end > tags_len {
        return None;
    }
    if device.tags.len() < end {
        device.tags.resize_with(end, Tag::default);
    }
    Some(())
}

fn code_qualities<C: Coder>(coder: &mut C, device: &mut Device, samples: &mut Vec<Sample>) -> Option<()> {
    let good = coder.bit(C::WRITES && samples.iter().all(|sample| sample.quality.is_good()))?;
    if good && !device.odd_quality {
        // So they all are already.
        return Some(());
    }
    device.odd_quality = true;
    if !C::WRITES {
        make(samples, &device.tags_before);
    }
    for sample in samples {
        let tag = device.tag(sample.tag)?;
        if good {
            tag.quality = Quality::Good;
        } else if coder.bit(sample.quality != tag.quality)? {
            let number = coder.raw(QUALITY_BITS, sample.quality as u64)?;
            tag.quality = Quality::from_u8(u8::try_from(number).ok()?)?;
        }
        sample.quality = tag.quality;
    }
    Some(())
}

fn code_sources<C: Coder>(
    coder: &mut C,
    device: &mut Device,
    edge_us: i64,
    samples: &mut Vec<Sample>,
) -> Option<()> {
    if coder.bit(C::WRITES && samples.iter().all(|sample| sample.source_us.is_none()))? {
        return Some(());
    }
    if !C::WRITES {
        make(samples, &device.tags_before);
    }
    // Most devices count in whole milliseconds.
    let whole_ms = samples.iter().filter_map(|sample| sample.source_us).all(|us| us % MS_US == 0);
    let unit = if coder.bit(whole_ms)? { MS_US } else { 1 };
    let mut before = edge_us / unit;
    for sample in samples {
        if coder.bit(sample.source_us.is_some())? {
            let source = sample.source_us.unwrap_or(0) / unit;
            before = before.wrapping_add(coder.signed(&mut device.source, source.wrapping_sub(before))?);
            sample.source_us = Some(before.wrapping_mul(unit));
        } else {
            sample.source_us = None;
        }
    }
    Some(())
}
