//! A lane read from its files, beside the running process or without one: for the tools, for an
//! imported backlog, for sending history again. No lock, no change, no events.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::codec::{DecodedBatch, RECORD_EVENT, RECORD_THINNED, RecordFault, decode_batch};
use super::reader::check_tags;
use super::thin_codec::{self, DecodedThinned};
use super::{Body, Record, StoredBatch};
use crate::batch::Schema;
use crate::journal::{Damage, FilesError, JournalFiles, Read, Reader};

/// What [`OfflineLane::read`] gives.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// The next record.
    Record(Record),
    /// Records that cannot be read.
    Damage(Damage),
    /// Records that were removed meanwhile, from … to before ….
    Removed(u64, u64),
    /// All that was synced has been read.
    End,
}

/// Schemas by number, each with the bytes it was read from.
type Schemas = HashMap<u32, (Arc<[u8]>, Arc<Schema>)>;

/// Reads a lane's files in order.
pub struct OfflineLane {
    files: JournalFiles,
    reader: Reader,
    schemas: Schemas,
}

impl OfflineLane {
    /// Opens the lane in `directory`; `synced` as for [`JournalFiles::open`].
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(directory: &Path, synced: Option<u64>) -> Result<Self, FilesError> {
        let files = JournalFiles::open(directory, synced)?;
        let unreadable = |error: io::Error| FilesError::Unreadable { directory: directory.into(), error };
        let reader = files.reader(files.first_offset()).map_err(unreadable)?;
        Ok(Self { files, reader, schemas: HashMap::new() })
    }

    /// The files.
    pub fn files(&self) -> &JournalFiles {
        &self.files
    }

    /// Offset of the next record.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Goes on at `offset`.
    pub fn seek(&mut self, offset: u64) {
        self.reader.seek(offset);
    }

    /// Goes to the first segment that may hold something of `from_us` (microseconds since 1970
    /// UTC) or later. Segments are told apart by when they were begun, with an hour to spare for
    /// batches that waited and for a clock that was set.
    pub fn seek_time(&mut self, from_us: i64) {
        const SPARE_US: i64 = 3_600_000_000;
        let segments = self.files.segments();
        let ended = |pair: &&[crate::journal::SegmentFile]| {
            pair[1].created_us != 0 && pair[1].created_us.saturating_add(SPARE_US) < from_us
        };
        let passed = segments.windows(2).take_while(ended).count();
        if let Some(first) = segments.get(passed) {
            self.seek(first.first_offset);
        }
    }

    /// The next record, or what is in its place.
    pub fn read(&mut self) -> Item {
        match self.reader.read() {
            Read::End => Item::End,
            Read::Moved { from, to } => Item::Removed(from, to),
            Read::Damage(damage) => Item::Damage(damage),
            Read::Record { offset, base_us, bytes } => {
                let body = match bytes.split_first() {
                    Some((&RECORD_EVENT, json)) => Ok(Body::Event(json.to_vec())),
                    Some((&RECORD_THINNED, _)) => match thin_codec::decode(bytes, base_us) {
                        Some(thinned) => self.with_schema_of_thinned(thinned),
                        None => Err(RecordFault::Malformed),
                    },
                    _ => match decode_batch(bytes, base_us) {
                        Ok(batch) => self.with_schema(batch),
                        Err(_) if bytes.first().is_some_and(|kind| *kind > RECORD_THINNED) => {
                            Err(RecordFault::Kind(bytes[0]))
                        }
                        Err(fault) => Err(fault),
                    },
                };
                match body {
                    Ok(body) => Item::Record(Record { offset, body }),
                    Err(fault) => {
                        let (from_offset, to_offset) = (offset, offset + 1);
                        Item::Damage(Damage { from_offset, to_offset, cause: fault.to_string() })
                    }
                }
            }
        }
    }

    fn with_schema(&mut self, batch: DecodedBatch) -> Result<Body, RecordFault> {
        let schema = self.schema(batch.schema)?;
        check_tags(&schema, batch.samples.iter().map(|sample| sample.tag))?;
        let DecodedBatch { edge_us, samples, gap, .. } = batch;
        Ok(Body::Batch(StoredBatch { schema, edge_us, samples, gap }))
    }

    fn with_schema_of_thinned(&mut self, thinned: DecodedThinned) -> Result<Body, RecordFault> {
        let schema = self.schema(thinned.schema)?;
        check_tags(&schema, thinned.samples.iter().map(|sample| sample.tag))?;
        Ok(Body::Thinned(thinned.with_schema(schema)))
    }

    fn schema(&mut self, number: u32) -> Result<Arc<Schema>, RecordFault> {
        let missing = RecordFault::NoSchema(number);
        let json = self.reader.dictionary(number).ok_or(missing)?;
        Ok(match self.schemas.get(&number) {
            Some((known, schema)) if known == json => Arc::clone(schema),
            _ => {
                let parsed = Arc::new(serde_json::from_slice::<Schema>(json).map_err(|_| missing)?);
                self.schemas.insert(number, (Arc::clone(json), Arc::clone(&parsed)));
                parsed
            }
        })
    }
}
