//! Writes rows of batches as version 1 of the format did, so that tests can read them.

use super::*;

/// Writes batches, reusing its buffers.
#[derive(Default)]
pub(in crate::lane) struct Encoder {
    record: Vec<u8>,
    kinds: Vec<u8>,
    values: Vec<u8>,
}

impl Encoder {
    /// The record of at most [`BATCH_SAMPLES_MAX`] samples.
    pub(in crate::lane) fn batch(
        &mut self,
        schema: u32,
        edge_us: i64,
        base_us: i64,
        samples: &[Sample],
        gap: Option<&GapBefore>,
    ) -> &[u8] {
        let mut decimals = Decimals::default();
        self.put_values(samples, &mut decimals);
        if decimals.late {
            // 23 before 23.7: written as 230 tenths, all have the same kind.
            self.put_values(samples, &mut decimals);
        }
        self.record.clear();
        let flags = flags(samples, &self.kinds) | if gap.is_some() { GAP } else { 0 };
        let record = &mut self.record;
        record.extend_from_slice(&[RECORD_BATCH, flags]);
        varint::put(record, u64::from(schema));
        varint::put_signed(record, edge_us.wrapping_sub(base_us));
        varint::put(record, samples.len() as u64);
        if let Some(gap) = gap {
            put_gap(record, edge_us, gap);
        }
        put_tags(record, samples, flags);
        if flags & ALL_GOOD == 0 {
            record.extend(samples.iter().map(|sample| sample.quality as u8));
        }
        put_sources(record, samples, edge_us, flags);
        let kinds = if flags & ONE_KIND == 0 { self.kinds.len() } else { self.kinds.len().min(1) };
        record.extend_from_slice(&self.kinds[..kinds]);
        record.extend_from_slice(&self.values);
        record
    }

    fn put_values(&mut self, samples: &[Sample], decimals: &mut Decimals) {
        self.kinds.clear();
        self.values.clear();
        for sample in samples {
            self.kinds.push(put_value(&mut self.values, &sample.value, decimals));
        }
    }
}

fn flags(samples: &[Sample], kinds: &[u8]) -> u8 {
    let in_order = samples.windows(2).all(|pair| pair[0].tag.checked_add(1) == Some(pair[1].tag));
    let sources = samples.iter().filter(|sample| sample.source_us.is_some()).count();
    let mut flags = 0;
    for (flag, set) in [
        (TAGS_IN_ORDER, in_order),
        (ALL_GOOD, samples.iter().all(|sample| sample.quality.is_good())),
        (NO_SOURCE, sources == 0),
        (ALL_SOURCE, sources == samples.len() && sources > 0),
        (ONE_KIND, kinds.windows(2).all(|pair| pair[0] == pair[1])),
    ] {
        flags |= if set { flag } else { 0 };
    }
    flags
}

fn put_tags(record: &mut Vec<u8>, samples: &[Sample], flags: u8) {
    let written = if flags & TAGS_IN_ORDER == 0 { samples.len() } else { samples.len().min(1) };
    let mut before = 0;
    for sample in &samples[..written] {
        varint::put_signed(record, i64::from(sample.tag) - before);
        before = i64::from(sample.tag);
    }
}

fn put_sources(record: &mut Vec<u8>, samples: &[Sample], edge_us: i64, flags: u8) {
    if flags & NO_SOURCE != 0 {
        return;
    }
    let mut before = edge_us;
    for sample in samples {
        if flags & ALL_SOURCE == 0 {
            record.push(u8::from(sample.source_us.is_some()));
        }
        if let Some(source_us) = sample.source_us {
            varint::put_signed(record, source_us.wrapping_sub(before));
            before = source_us;
        }
    }
}
