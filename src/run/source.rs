//! What the replicator reads: a lane, with its batches as JSON.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Schema;
use crate::lane::{Body, LaneReader, Record as Stored};
use crate::replicate::{Record, Source, SourceFault, encode};

/// Records decoded ahead at most.
const AHEAD_RECORDS: usize = 512;
/// Stored bytes decoded ahead at most.
const AHEAD_BYTES: usize = 256 * 1024;

/// A lane as a [`Source`].
pub struct LaneSource {
    lane: &'static str,
    epoch: String,
    reader: LaneReader,
    ahead: VecDeque<Stored>,
    value: Vec<u8>,
    key: Key,
}

/// Key of the present record, without a copy for each.
enum Key {
    Schema(Arc<Schema>),
    Device(String),
}

impl LaneSource {
    /// The lane `name`, read by `reader`.
    pub fn new(name: &'static str, reader: LaneReader) -> Self {
        let epoch = reader.epoch().to_string();
        let key = Key::Device(String::new());
        Self { lane: name, epoch, reader, ahead: VecDeque::new(), value: Vec::new(), key }
    }
}

impl Source for LaneSource {
    fn lane(&self) -> &str {
        self.lane
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        self.ahead.clear();
        self.reader.seek(offset);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.ahead.is_empty() {
            self.ahead.extend(self.reader.next(AHEAD_RECORDS, AHEAD_BYTES));
        }
        if self.ahead.is_empty() && !wait.is_zero() && self.reader.wait(wait) {
            self.ahead.extend(self.reader.next(AHEAD_RECORDS, AHEAD_BYTES));
        }
        let Some(stored) = self.ahead.pop_front() else { return Ok(None) };
        let edge_us = match stored.body {
            Body::Batch(batch) => {
                encode::batch(&mut self.value, &batch.schema, batch.edge_us, &batch.samples);
                self.key = Key::Schema(batch.schema);
                batch.edge_us
            }
            Body::Event(json) => {
                let head = EventHead::read(&json);
                self.key = Key::Device(head.device);
                self.value = json;
                head.edge_time.map_or(0, |time| time.as_microsecond())
            }
        };
        let key = match &self.key {
            Key::Schema(schema) => &schema.device,
            Key::Device(device) => device,
        };
        Ok(Some(Record { offset: stored.offset, edge_us, key, value: &self.value }))
    }

    fn committed(&mut self, next_offset: u64) {
        self.reader.committed(next_offset);
    }
}

/// What the replicator must know of an event.
#[derive(serde::Deserialize, Default)]
struct EventHead {
    #[serde(default)]
    device: String,
    #[serde(default, deserialize_with = "time")]
    edge_time: Option<jiff::Timestamp>,
}

impl EventHead {
    /// Events are our own JSON; one that is not is sent as it is, without key and time.
    fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let text: std::borrow::Cow<'de, str> = serde::Deserialize::deserialize(deserializer)?;
    Ok(text.parse().ok())
}
