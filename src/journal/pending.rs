//! The block in memory: rows as bytes, or coded records of which only the measures are here.

use super::chain::Coded;
use super::frame::HEAD_BYTES_MAX;
use super::{AppendError, BODY_BYTES_MAX, RECORD_BYTES_MAX, varint};

/// Rows of a block are at most this many bytes.
pub(super) const BLOCK_RAW_BYTES_MAX: usize = BODY_BYTES_MAX - HEAD_BYTES_MAX;
/// Longest length in front of a row.
const ROW_PREFIX_BYTES_MAX: usize = 5;
/// Longest lengths and dictionary in front of a coded record.
const CODED_PREFIX_BYTES_MAX: usize = 3 * 5;

/// See the module. A block holds rows or coded records, never both.
#[derive(Default)]
pub(super) struct Pending {
    pub rows: Vec<u8>,
    pub coded: Vec<Coded>,
    pub count: u32,
    base_us: Option<i64>,
    /// What the coded records are expected to take, and what they take at most.
    coded_bytes: usize,
    coded_bytes_max: usize,
}

impl Pending {
    /// What waits, as far as it can be said before it is written.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() + self.coded_bytes
    }

    /// Bytes that are sure to find room, whatever they turn out to be on disk; the longest record
    /// fits besides.
    pub(super) fn room(&self) -> usize {
        (BLOCK_RAW_BYTES_MAX - RECORD_BYTES_MAX).saturating_sub(self.rows.len() + self.coded_bytes_max)
    }

    /// Wall time of the block: the first caller's `now_us` in whole milliseconds.
    pub(super) fn base_us(&mut self, now_us: i64) -> i64 {
        *self.base_us.get_or_insert(now_us.div_euclid(1000).saturating_mul(1000))
    }

    pub(super) fn append(&mut self, record: &[u8], now_us: i64) -> Result<(), AppendError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLong(record.len(), RECORD_BYTES_MAX));
        }
        let after = self.rows.len() + record.len() + ROW_PREFIX_BYTES_MAX;
        if after > BLOCK_RAW_BYTES_MAX || !self.coded.is_empty() {
            return Err(AppendError::BlockFull(self.bytes()));
        }
        varint::put(&mut self.rows, record.len() as u64);
        self.rows.extend_from_slice(record);
        self.base_us(now_us);
        self.count += 1;
        Ok(())
    }

    pub(super) fn append_coded(&mut self, coded: Coded) -> Result<(), AppendError> {
        if coded.bytes_max > RECORD_BYTES_MAX {
            return Err(AppendError::TooLong(coded.bytes_max, RECORD_BYTES_MAX));
        }
        let after = self.coded_bytes_max + coded.bytes_max + CODED_PREFIX_BYTES_MAX;
        if after > BLOCK_RAW_BYTES_MAX || !self.rows.is_empty() {
            return Err(AppendError::BlockFull(self.bytes()));
        }
        self.base_us(coded.time_us);
        self.coded_bytes += coded.bytes;
        self.coded_bytes_max = after;
        self.coded.push(coded);
        self.count += 1;
        Ok(())
    }

    /// Empties the block but keeps its buffers; returns how many records it had.
    pub(super) fn clear(&mut self) -> u32 {
        self.rows.clear();
        self.coded.clear();
        (self.base_us, self.coded_bytes, self.coded_bytes_max) = (None, 0, 0);
        std::mem::take(&mut self.count)
    }
}
