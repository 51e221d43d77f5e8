//! What a reader of the journal gives, as records of a lane.

use std::sync::Arc;

use super::chain::{Chain, Content};
use super::codec::{DecodedBatch, RECORD_EVENT, RecordFault, decode_batch};
use super::reader::{Body, StoredBatch};
use super::schemas::{Known, Schemas};
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
}

/// Takes a row apart, without the dictionaries.
///
/// # Errors
/// [`RecordFault`].
pub(super) fn decode_row(bytes: &[u8], base_us: i64) -> Result<Row, RecordFault> {
    match bytes.split_first() {
        Some((&RECORD_EVENT, json)) => Ok(Row::Event(json.to_vec())),
        Some((&kind, _)) if kind > RECORD_EVENT => Err(RecordFault::Kind(kind)),
        _ => decode_batch(bytes, base_us).map(Row::Batch),
    }
}

impl Decoder {
    /// What a row holds.
    ///
    /// # Errors
    /// [`RecordFault`].
    pub(super) fn row(&mut self, row: Row, reader: &Reader) -> Result<Body, RecordFault> {
        let batch = match row {
            Row::Event(json) => return Ok(Body::Event(json)),
            Row::Batch(batch) => batch,
        };
        let known = self.schemas.known(batch.schema, reader.dictionary(batch.schema))?;
        if !super::waiting::fits(&known.meaning, &batch.samples) {
            return Err(RecordFault::Malformed);
        }
        let schema = Arc::clone(&known.schema);
        let DecodedBatch { edge_us, samples, gap, .. } = batch;
        Ok(Body::Batch(StoredBatch { schema, edge_us, samples, gap }))
    }

    /// What a record of a chain holds; `None` when it was not wanted.
    ///
    /// # Errors
    /// [`RecordFault`] of a record that was wanted.
    pub(super) fn link(&mut self, link: &Link<'_>) -> Result<Option<Body>, RecordFault> {
        let mut content = Content::default();
        let known = match self.content(link, |_| Wanted::All, &mut content) {
            Ok(known) if link.wanted => known,
            Err(fault) if link.wanted => return Err(fault),
            _ => return Ok(None),
        };
        let Content { edge_us, samples, gap } = content;
        let (schema, gap) = (Arc::clone(&known.schema), gap.map(|gap| *gap));
        Ok(Some(Body::Batch(StoredBatch { schema, edge_us, samples, gap })))
    }

    /// Fills `content` with those values of a record of a chain that `wanted` says.
    ///
    /// # Errors
    /// [`RecordFault`]; the device cannot be read until the next chain.
    pub(super) fn content<'w>(
        &mut self,
        link: &Link<'_>,
        wanted: impl FnOnce(&Arc<Known>) -> Wanted<'w>,
        content: &mut Content,
    ) -> Result<Arc<Known>, RecordFault> {
        if link.begins {
            self.chain.begin(link.base_us);
        }
        let known = match self.schemas.known(link.dictionary, link.meaning) {
            Ok(known) => Arc::clone(known),
            Err(fault) => {
                self.chain.give_up(link.dictionary);
                return Err(fault);
            }
        };
        let wanted = match wanted(&known) {
            Wanted::All => None,
            Wanted::Tags(tags) => Some(tags),
            // Nothing of the device is wanted, so its state is not needed either.
            Wanted::Nothing => return Ok(known),
        };
        let slices = (link.front, link.back);
        let taken = self.chain.take(link.dictionary, &known.meaning, slices, wanted, content);
        taken.map(|()| known).ok_or(RecordFault::Malformed)
    }
}

/// What is wanted of a record.
pub(super) enum Wanted<'a> {
    All,
    /// By tag.
    Tags(&'a [bool]),
    Nothing,
}
