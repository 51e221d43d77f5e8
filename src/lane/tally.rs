//! What is thinned or removed, counted for the event that tells it.

use std::collections::BTreeMap;

use crate::batch::Schema;

use super::reader::{Body, Record};

/// Batches and samples by device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub devices: BTreeMap<String, DeviceTally>,
    /// Batches, those that stand summed up in thinned records included; events count as one each.
    pub batches: u64,
    /// Samples, those that stand summed up in thinned records included.
    pub samples: u64,
    /// Edge times of first and last batch.
    pub times_us: Option<(i64, i64)>,
}

/// What of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeviceTally {
    pub batches: u64,
    pub samples: u64,
    /// Tags with samples, and how many each.
    pub tags: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a record.
    pub(super) fn add(&mut self, record: &Record) {
        match &record.body {
            Body::Batch(batch) => {
                let tags = batch.samples.iter().map(|sample| (sample.tag, 1));
                self.count(&batch.schema, batch.edge_us, batch.edge_us, 1, tags);
            }
            Body::Thinned(thinned) => {
                let tags = thinned.samples.iter().map(|sample| (sample.tag, sample.count + sample.bad));
                self.count(&thinned.schema, thinned.from_us, thinned.to_us, thinned.batches, tags);
            }
            Body::Event(_) => self.batches += 1,
        }
    }

    fn count(
        &mut self,
        schema: &Schema,
        from_us: i64,
        to_us: i64,
        batches: u64,
        tags: impl Iterator<Item = (u32, u64)>,
    ) {
        self.batches += batches;
        self.times_us = Some(match self.times_us {
            None => (from_us, to_us),
            Some((first, last)) => (first.min(from_us), last.max(to_us)),
        });
        if !self.devices.contains_key(&schema.device) {
            self.devices.insert(schema.device.clone(), DeviceTally::default());
        }
        let Some(device) = self.devices.get_mut(&schema.device) else { return };
        device.batches += batches;
        for (tag, count) in tags {
            self.samples += count;
            device.samples += count;
            let Some(tag) = usize::try_from(tag).ok().and_then(|tag| schema.tags.get(tag)) else { continue };
            match device.tags.get_mut(&tag.path) {
                Some(known) => *known += count,
                None => {
                    device.tags.insert(tag.path.clone(), count);
                }
            }
        }
    }
}
