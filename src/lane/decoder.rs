//! What a reader of the journal gives, as records of a lane.

use std::sync::Arc;

use super::chain::{Chain, Content, Only};
use super::codec::{DecodedBatch, RECORD_EVENT, RECORD_THINNED, RecordFault, decode_batch};
use super::reader::{Body, StoredBatch, check_tags};
use super::schemas::{Known, Schemas};
use super::thin_codec::{self, DecodedThinned};
use crate::journal::{Link, Reader};

/// Decodes the records of one reader, in the order in which it gives them.
#[derive(Default)]
pub(super) struct Decoder {
    schemas: Schemas,
    chain: Chain,
}

/// A row, its schema still a number.
pub(super) enum Row {
    Event(Vec<u8>),
    Batch(DecodedBatch),
    Thinned(DecodedThinned),
}

/// Takes a row apart, without the dictionaries.
///
/// # Errors
/// [`RecordFault`].
pub(super) fn decode_row(bytes: &[u8], base_us: i64) -> Result<Row, RecordFault> {
    match bytes.split_first() {
        Some((&RECORD_EVENT, json)) => Ok(Row::Event(json.to_vec())),
        Some((&RECORD_THINNED, _)) => {
            thin_codec::decode(bytes, base_us).map(Row::Thinned).ok_or(RecordFault::Malformed)
        }
        Some((&kind, _)) if kind > RECORD_THINNED => Err(RecordFault::Kind(kind)),
        _ => decode_batch(bytes, base_us).map(Row::Batch),
    }
}

impl Decoder {
    /// What a row holds.
    ///
    /// # Errors
    /// [`RecordFault`].
    pub(super) fn row(&mut self, row: Row, reader: &Reader) -> Result<Body, RecordFault> {
        match row {
            Row::Event(json) => Ok(Body::Event(json)),
            Row::Batch(DecodedBatch { schema, edge_us, samples, gap }) => {
                let schema = &self.schemas.known(schema, reader.dictionary(schema))?.schema;
                check_tags(schema, samples.iter().map(|sample| sample.tag))?;
                let schema = Arc::clone(schema);
                Ok(Body::Batch(StoredBatch { schema, edge_us, samples, gap }))
            }
            Row::Thinned(thinned) => {
                let number = thinned.schema;
                let schema = &self.schemas.known(number, reader.dictionary(number))?.schema;
                check_tags(schema, thinned.samples.iter().map(|sample| sample.tag))?;
                Ok(Body::Thinned(thinned.with_schema(Arc::clone(schema))))
            }
        }
    }

    /// What a record of a chain holds; `None` when it was not wanted.
    ///
    /// # Errors
    /// [`RecordFault`] of a record that was wanted.
    pub(super) fn link(&mut self, link: &Link<'_>) -> Result<Option<Body>, RecordFault> {
        let known = match self.known(link) {
            Ok(known) => known,
            Err(fault) if link.wanted => return Err(fault),
            Err(_) => return Ok(None),
        };
        let mut content = Content::default();
        match self.take(link, &known, Only::default(), &mut content) {
            Err(fault) if link.wanted => return Err(fault),
            _ if !link.wanted => return Ok(None),
            _ => {}
        }
        let Content { edge_us, samples, gap } = content;
        let (schema, gap) = (Arc::clone(&known.schema), gap.map(|gap| *gap));
        Ok(Some(Body::Batch(StoredBatch { schema, edge_us, samples, gap })))
    }

    /// What the numbers in a record of a chain mean. Called for every record that the reader gives,
    /// also for those that are not decoded.
    ///
    /// # Errors
    /// [`RecordFault::NoSchema`]; the device cannot be read until the next chain.
    pub(super) fn known(&mut self, link: &Link<'_>) -> Result<Arc<Known>, RecordFault> {
        if link.begins {
            self.chain.begin(link.base_us);
        }
        let known = self.schemas.known(link.dictionary, link.meaning).map(Arc::clone);
        if known.is_err() {
            self.chain.give_up(link.dictionary);
        }
        known
    }

    /// Whether a record of this device may be unreadable only because values before it were passed
    /// over, as [`Only`] had it.
    pub(super) fn has_passed_over(&self, dictionary: u32) -> bool {
        self.chain.has_passed_over(dictionary)
    }

    /// Fills `content` from a record of a chain; all of a device must be taken, or none.
    ///
    /// # Errors
    /// [`RecordFault::Malformed`]; the device cannot be read until the next chain.
    pub(super) fn take(
        &mut self,
        link: &Link<'_>,
        known: &Known,
        only: Only<'_>,
        content: &mut Content,
    ) -> Result<(), RecordFault> {
        let slices = (link.front, link.back);
        let taken = self.chain.take(link.dictionary, &known.meaning, slices, only, content);
        taken.ok_or(RecordFault::Malformed)
    }
}
