//! Thins one segment, a little at a time, so that the lane goes on syncing meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::reader::{Body, LaneReader, Record, StoredBatch};
use super::tally::Tally;
use super::thin_codec;
use super::thinned::DeviceSum;
use crate::batch::Schema;
use crate::journal::{AppendError, Thinning};

/// A block of thinned records is ended at this length: what is open then is summed up early.
const BLOCK_BYTES: usize = 512 << 10;
/// Read at once.
const READ_RECORDS: usize = 64;
const READ_BYTES: usize = 64 << 10;

/// Why a segment was not thinned.
#[derive(Debug, thiserror::Error)]
pub(super) enum ThinError {
    #[error("{0}")]
    Disk(#[from] std::io::Error),
    #[error("{0}")]
    Record(#[from] AppendError),
    #[error("its records cannot be summed up")]
    Kind,
    #[error("{0}")]
    Unreadable(String),
    #[error("a list of tags is none")]
    Schema(#[from] serde_json::Error),
}

/// One segment on its way.
pub(super) struct Thinner {
    thinning: Thinning,
    reader: LaneReader,
    interval: Duration,
    /// By the address of the schema, which the sum holds.
    open: HashMap<usize, DeviceSum>,
    /// The same for the numbers that schemas have in the thinned segment.
    numbers: HashMap<usize, (Arc<Schema>, u32)>,
    /// Finished records of the block, not yet in order.
    rows: Vec<(u64, Vec<u8>)>,
    rows_bytes: usize,
    /// Offset behind the last record that was read.
    next: u64,
    tally: Tally,
}

impl Thinner {
    /// `reader` must hand nothing over.
    pub(super) fn new(thinning: Thinning, mut reader: LaneReader, interval: Duration) -> Self {
        let next = thinning.range().0;
        reader.seek(next);
        let (open, numbers, tally) = (HashMap::new(), HashMap::new(), Tally::default());
        Self { thinning, reader, interval, open, numbers, rows: Vec::new(), rows_bytes: 0, next, tally }
    }

    /// First offset of the segment.
    pub(super) fn first_offset(&self) -> u64 {
        self.thinning.range().0
    }

    /// Sums up some more, about `samples_max`; tells whether all is done.
    ///
    /// # Errors
    /// [`ThinError`]: give it up.
    pub(super) fn step(&mut self, samples_max: usize) -> Result<bool, ThinError> {
        let end = self.thinning.range().1;
        let mut samples = 0;
        while samples < samples_max {
            let records = self.reader.next(READ_RECORDS, READ_BYTES);
            if let Some(trouble) = self.reader.trouble() {
                // What is not given now must not be left out for ever.
                return Err(ThinError::Unreadable(trouble.what));
            }
            let done = records.is_empty();
            for record in records {
                if record.offset >= end {
                    self.finish(end)?;
                    return Ok(true);
                }
                self.tally.add(&record);
                let Record { offset, body: Body::Batch(batch) } = record else { return Err(ThinError::Kind) };
                samples += batch.samples.len() + 1;
                self.add(offset, batch)?;
            }
            if done {
                self.finish(end)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The thinned segment, and what it sums up.
    pub(super) fn into_parts(self) -> (Thinning, Tally) {
        (self.thinning, self.tally)
    }

    fn add(&mut self, offset: u64, batch: StoredBatch) -> Result<(), ThinError> {
        if offset > self.next {
            // What could not be read stays told as damage.
            self.end_block(self.next)?;
            self.thinning.leave_out(offset);
        }
        self.next = offset + 1;
        let address = Arc::as_ptr(&batch.schema).addr();
        let interval_us = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let interval = batch.edge_us.div_euclid(interval_us);
        if let Some(sum) = self.open.remove(&address) {
            if sum.interval() == interval {
                self.open.insert(address, sum);
            } else {
                self.close(sum)?;
            }
        }
        let schema = &batch.schema;
        let sum = self.open.entry(address).or_insert_with(|| DeviceSum::new(Arc::clone(schema), interval));
        sum.add(offset, batch);
        if self.rows_bytes >= BLOCK_BYTES { self.end_block(self.next) } else { Ok(()) }
    }

    fn close(&mut self, sum: DeviceSum) -> Result<(), ThinError> {
        let interval_s = u32::try_from(self.interval.as_secs()).unwrap_or(u32::MAX);
        for (offset, thinned) in sum.finish(interval_s) {
            let schema = self.define(&thinned.schema)?;
            let mut row = Vec::new();
            thin_codec::put(&mut row, schema, self.thinning.base_us(thinned.to_us), &thinned);
            self.rows_bytes += row.len();
            self.rows.push((offset, row));
        }
        Ok(())
    }

    fn define(&mut self, schema: &Arc<Schema>) -> Result<u32, ThinError> {
        let address = Arc::as_ptr(schema).addr();
        if let Some((_, number)) = self.numbers.get(&address) {
            return Ok(*number);
        }
        let number = self.thinning.define(&serde_json::to_vec(&**schema)?)?;
        self.numbers.insert(address, (Arc::clone(schema), number));
        Ok(number)
    }

    /// Sums up what is open, so that a block holds all that its offsets stand for: what is lost
    /// with it is told exactly.
    fn end_block(&mut self, end: u64) -> Result<(), ThinError> {
        let mut open: Vec<DeviceSum> = std::mem::take(&mut self.open).into_values().collect();
        // So that equal segments become equal bytes.
        open.sort_unstable_by_key(DeviceSum::last_offset);
        for sum in open {
            self.close(sum)?;
        }
        self.rows.sort_unstable_by_key(|(offset, _)| *offset);
        for (offset, row) in self.rows.drain(..) {
            self.thinning.append(offset, &row)?;
        }
        self.rows_bytes = 0;
        self.thinning.end_block(end)?;
        Ok(())
    }

    fn finish(&mut self, end: u64) -> Result<(), ThinError> {
        self.end_block(self.next)?;
        self.thinning.leave_out(end);
        Ok(())
    }
}
