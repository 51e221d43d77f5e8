//! A lane of the journal as the replicator's [`Source`].

use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use super::{Record, Source, SourceFault, encode};
use crate::clock::now_us;
use crate::lane::{self, Body, LaneReader};

/// Records and stored bytes taken from the reader at once.
const READ_RECORDS: usize = 500;
const READ_BYTES: usize = 256 << 10;

/// Reads a lane and encodes its records.
pub struct JournalSource {
    lane: String,
    epoch: String,
    reader: LaneReader,
    read: std::vec::IntoIter<lane::Record>,
    encoder: RecordEncoder,
}

impl JournalSource {
    /// Reads the lane of this name, which is also the end of its topic.
    pub fn new(lane: &str, mut reader: LaneReader) -> Self {
        reader.hand_over();
        let epoch = reader.epoch().to_string();
        let read = Vec::new().into_iter();
        Self { lane: lane.to_owned(), epoch, reader, read, encoder: RecordEncoder::default() }
    }
}

impl Source for JournalSource {
    fn lane(&self) -> &str {
        &self.lane
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        self.read = Vec::new().into_iter();
        self.reader.seek(offset);
        Ok(())
    }

    fn seek_range(&mut self, range: Range<u64>) -> Result<(), SourceFault> {
        self.read = Vec::new().into_iter();
        self.reader.seek_range(range);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.read.len() == 0 {
            if !self.reader.wait(wait) {
                return Ok(None);
            }
            self.read = self.reader.next(READ_RECORDS, READ_BYTES).into_iter();
        }
        let Some(record) = self.read.next() else { return Ok(None) };
        Ok(Some(self.encoder.encode(record)))
    }

    fn committed(&mut self, next_offset: u64) {
        self.reader.committed(next_offset);
    }

    fn found(&mut self, next_offset: u64) {
        self.reader.found(next_offset);
    }

    fn used(&mut self, next_offset: u64) {
        self.reader.used(next_offset);
    }

    fn secured(&mut self, next_offset: u64) {
        self.reader.secured(next_offset);
    }

    fn end(&self) -> u64 {
        self.reader.synced()
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        let reader = self.reader.another().map_err(|error| SourceFault(error.to_string()))?;
        Ok(Box::new(Self::new(&self.lane, reader)))
    }
}

/// Makes Kafka's records of those of a lane, reusing its buffers.
#[derive(Debug, Default)]
pub struct RecordEncoder {
    key: String,
    value: Vec<u8>,
}

impl RecordEncoder {
    /// The record as it goes to Kafka; valid until the next one.
    pub fn encode(&mut self, record: lane::Record) -> Record<'_> {
        let lane::Record { offset, body } = record;
        self.key.clear();
        let edge_us = match body {
            Body::Batch(batch) => {
                self.key.push_str(&batch.schema.device);
                encode::batch(
                    &mut self.value,
                    &batch.schema,
                    batch.edge_us,
                    batch.gap.as_ref(),
                    &batch.samples,
                );
                batch.edge_us
            }
            Body::Thinned(thinned) => {
                self.key.push_str(&thinned.schema.device);
                encode::thinned(&mut self.value, &thinned);
                thinned.to_us
            }
            Body::Event(json) => {
                let head = EventHead::read(&json);
                self.key.push_str(&head.device);
                self.value = json;
                head.edge_us()
            }
        };
        Record { offset, edge_us, key: &self.key, value: &self.value, fault: None }
    }
}

/// What Kafka's key and timestamp are made of.
#[derive(Deserialize, Default)]
struct EventHead {
    #[serde(default)]
    device: String,
    #[serde(default)]
    edge_time: String,
}

impl EventHead {
    /// An event without them is passed on all the same.
    fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    fn edge_us(&self) -> i64 {
        self.edge_time.parse().map_or_else(|_| now_us(), jiff::Timestamp::as_microsecond)
    }
}
