//! A lane of the journal as the replicator's [`Source`].

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Deserialize;

use super::encode::Times;
use super::template::Templates;
use super::{Record, Source, SourceFault, encode};
use crate::clock::now_us;
use crate::lane::{self, Body, LaneReader, ReadTrouble, StoredBatch};
use crate::panic;

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
            if self.read.len() == 0
                && let Some(error) = self.reader.withheld()
            {
                return Err(SourceFault(format!(
                    "its disk does not take the note of what is sent next ({error}), and without it the same could \
                     be sent again in another form: nothing is lost, sending goes on when the disk can be written"
                )));
            }
        }
        let Some(record) = self.read.next() else { return Ok(None) };
        Ok(Some(self.encoder.encode(record)))
    }

    fn committed(&mut self, next_offset: u64) {
        self.reader.committed(next_offset);
    }

    fn found(&mut self, next_offset: u64, backlog: &[(u64, u64)]) {
        self.reader.found(next_offset, backlog);
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

    fn trouble(&self) -> Option<ReadTrouble> {
        self.reader.trouble()
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
    fault: Option<String>,
    templates: Templates,
    times: Times,
}

impl RecordEncoder {
    /// Path of the device and edge time of an event.
    pub fn event(json: &[u8]) -> (String, i64) {
        let head = EventHead::read(json);
        let edge_us = head.edge_us();
        (head.device, edge_us)
    }

    /// The record as it goes to Kafka; valid until the next one. One that cannot be expressed comes
    /// with its `fault`, so that it does not hold up those behind it.
    pub fn encode(&mut self, record: lane::Record) -> Record<'_> {
        let lane::Record { offset, mut body } = record;
        self.encode_by(offset, |encoder| encoder.write(&mut body))
    }

    /// `write` fills key and value and gives the edge time. A panic in it would come again with
    /// every attempt.
    fn encode_by(
        &mut self,
        offset: u64,
        write: impl FnOnce(&mut Self) -> Result<i64, &'static str>,
    ) -> Record<'_> {
        self.key.clear();
        self.fault = None;
        let edge_us = match catch_unwind(AssertUnwindSafe(|| write(self))) {
            Ok(Ok(edge_us)) => edge_us,
            Ok(Err(fault)) => {
                self.fault = Some(fault.to_owned());
                now_us()
            }
            Err(panic) => {
                let words = panic::words(&*panic);
                self.fault = Some(format!("a fault inside Forebay, please report it: {words}"));
                now_us()
            }
        };
        Record { offset, edge_us, key: &self.key, value: &self.value, fault: self.fault.as_deref() }
    }

    fn write(&mut self, body: &mut Body) -> Result<i64, &'static str> {
        match body {
            Body::Batch(batch) => {
                self.key.push_str(&batch.schema.device);
                let StoredBatch { schema, edge_us, samples, gap } = &*batch;
                let template = self.templates.of(schema);
                template.batch(&mut self.value, &mut self.times, schema, *edge_us, gap.as_ref(), samples);
                Ok(batch.edge_us)
            }
            Body::Thinned(thinned) => {
                self.key.push_str(&thinned.schema.device);
                encode::thinned(&mut self.value, thinned);
                Ok(thinned.to_us)
            }
            Body::Event(json) => {
                self.value = std::mem::take(json);
                let head = EventHead::read(&self.value);
                self.key.push_str(&head.device);
                match serde_json::from_slice::<serde::de::IgnoredAny>(&self.value) {
                    Ok(_) => Ok(head.edge_us()),
                    Err(_) => Err("what the journal holds under this number is no JSON"),
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_expressed_comes_with_its_reason_and_is_no_obstacle() {
        let mut encoder = RecordEncoder::default();
        let event = |json: &str| lane::Record { offset: 7, body: Body::Event(json.as_bytes().to_vec()) };
        let record = encoder.encode(event(r#"{"device":"Works1/press"}"#));
        assert_eq!((record.key, record.fault), ("Works1/press", None));
        let record = encoder.encode(event("{\"device\":\"Works1/pre"));
        assert_eq!((record.offset, record.value), (7, b"{\"device\":\"Works1/pre".as_slice()));
        assert!(record.fault.unwrap().contains("no JSON"), "{record:?}");
        let record = encoder.encode_by(8, |_| panic!("a digit too many"));
        assert!(record.fault.unwrap().contains("please report it: a digit too many"), "{record:?}");
        assert_eq!(encoder.encode(event("{}")).fault, None);
    }
}
