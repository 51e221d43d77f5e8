//! A lane of the journal as the replicator's [`Source`].

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
    key: String,
    value: Vec<u8>,
}

impl JournalSource {
    /// Reads the lane of this name, which is also the end of its topic.
    pub fn new(lane: &str, mut reader: LaneReader) -> Self {
        reader.hand_over();
        let epoch = reader.epoch().to_string();
        let read = Vec::new().into_iter();
        Self { lane: lane.to_owned(), epoch, reader, read, key: String::new(), value: Vec::new() }
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

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.read.len() == 0 {
            if !self.reader.wait(wait) {
                return Ok(None);
            }
            self.read = self.reader.next(READ_RECORDS, READ_BYTES).into_iter();
        }
        let Some(lane::Record { offset, body }) = self.read.next() else { return Ok(None) };
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
        Ok(Some(Record { offset, edge_us, key: &self.key, value: &self.value, fault: None }))
    }

    fn committed(&mut self, next_offset: u64) {
        self.reader.committed(next_offset);
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
