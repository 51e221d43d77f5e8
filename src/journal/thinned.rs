//! Thinned segments: fewer records in the place of many.
//!
//! A thinned record stands at the last offset of what it sums up; the other offsets are absent by
//! design. Each block says which offsets it covers, so that what is absent by design is told from
//! what is damaged. A thinned segment is written beside the one it replaces and takes its name in
//! one rename: a power cut leaves the one or the other, whole.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, touched_bytes};
use super::frame::{BlockHead, Format, FrameWriter};
use super::index::{Handed, Segment};
use super::pending::BLOCK_RAW_BYTES_MAX;
use super::segment::{Header, Name, TEMPORARY};
use super::writer::{Journal, failed};
use super::{AppendError, DICTIONARY_BYTES_MAX, RECORD_BYTES_MAX, SyncError, varint};

/// Longest two numbers in front of a record.
const PREFIX_BYTES_MAX: usize = 2 * 10;

/// A finished segment, for the choice which one makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first offset.
    pub first_offset: u64,
    /// Behind its last offset.
    pub end_offset: u64,
    /// Wall time at which it was begun, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Wall time at which the next one was begun.
    pub to_us: i64,
    /// Its length.
    pub bytes: u64,
    /// It was thinned.
    pub thinned: bool,
    /// A replicator has seen it, or may have.
    pub handed: bool,
}

/// What [`Journal::replace`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// First offset of the segment.
    pub from_offset: u64,
    /// Behind its last offset.
    pub to_offset: u64,
    /// Its length before.
    pub bytes_before: u64,
    /// Its length now.
    pub bytes: u64,
}

/// A thinned segment that is being written. Dropping it gives it up.
pub struct Thinning {
    disk: Arc<dyn Disk>,
    segment: Segment,
    end_offset: u64,
    file: Box<dyn DiskFile>,
    bytes: u64,
    frames: FrameWriter,
    dictionaries: HashMap<Arc<[u8]>, u32>,
    out: Vec<u8>,
    /// Records of the block, each with the number of absent offsets before it and its length.
    block: Vec<u8>,
    base_us: Option<i64>,
    /// First offset of the block.
    first: u64,
    /// Behind the last record of the block.
    next: u64,
    replaced: bool,
}

impl Thinning {
    /// First offset of the segment, and the one behind its last.
    pub fn range(&self) -> (u64, u64) {
        (self.segment.name.first_offset, self.end_offset)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the records in the block.
    pub fn block_bytes(&self) -> usize {
        self.block.len()
    }

    /// Wall time of the block, to which its records may refer: the first caller's `now_us` in
    /// whole milliseconds.
    pub fn base_us(&mut self, now_us: i64) -> i64 {
        *self.base_us.get_or_insert(now_us.div_euclid(1000).saturating_mul(1000))
    }

    /// As [`Journal::define`], for this segment alone.
    ///
    /// # Errors
    /// [`AppendError::TooLong`] above [`DICTIONARY_BYTES_MAX`].
    pub fn define(&mut self, bytes: &[u8]) -> Result<u32, AppendError> {
        if let Some(number) = self.dictionaries.get(bytes) {
            return Ok(*number);
        }
        if bytes.len() > DICTIONARY_BYTES_MAX {
            return Err(AppendError::TooLong(bytes.len(), DICTIONARY_BYTES_MAX));
        }
        let number = u32::try_from(self.dictionaries.len() + 1).unwrap_or(u32::MAX);
        self.frames.dictionary(&mut self.out, number, bytes);
        self.dictionaries.insert(bytes.into(), number);
        Ok(number)
    }

    /// Adds a record that stands at `offset`, which is behind all before it and in the segment.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was taken. When the block is full, end it and try again.
    pub fn append(&mut self, offset: u64, record: &[u8]) -> Result<(), AppendError> {
        debug_assert!(offset >= self.next && offset < self.end_offset, "{offset} is out of order");
        if record.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLong(record.len(), RECORD_BYTES_MAX));
        }
        if self.block.len() + record.len() + PREFIX_BYTES_MAX > BLOCK_RAW_BYTES_MAX {
            return Err(AppendError::BlockFull(self.block.len()));
        }
        varint::put(&mut self.block, offset.saturating_sub(self.next));
        varint::put(&mut self.block, record.len() as u64);
        self.block.extend_from_slice(record);
        self.next = offset + 1;
        Ok(())
    }

    /// Writes the block, which covers everything before `end`. Not durable yet.
    ///
    /// # Errors
    /// Those of the system; the thinning must be given up.
    pub fn end_block(&mut self, end: u64) -> io::Result<()> {
        let end = end.min(self.end_offset);
        if end <= self.first {
            return Ok(());
        }
        let head = BlockHead {
            codec: 0,
            thinned: true,
            count: u32::try_from(end - self.first).map_err(|_| io::Error::other("too many offsets"))?,
            first_offset: self.first,
            base_us: self.base_us.take().unwrap_or(self.segment.created_us),
            group_bytes: 0,
            raw_bytes: 0,
        };
        self.frames.block(&mut self.out, head, &self.block);
        self.block.clear();
        self.leave_out(end);
        self.write_out()
    }

    /// Leaves everything from the last block to before `end` out: it cannot be read, and readers
    /// get it as damage, as before.
    pub fn leave_out(&mut self, end: u64) {
        debug_assert!(self.block.is_empty(), "a block must be ended first");
        (self.first, self.next) = (end, end);
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.file.append(&self.out)?;
        self.bytes += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn temporary(&self) -> String {
        temporary(self.segment.name)
    }
}

impl Drop for Thinning {
    fn drop(&mut self) {
        if !self.replaced {
            // The next start removes it else.
            let _best_effort = self.disk.remove(&self.temporary());
        }
    }
}

fn temporary(name: Name) -> String {
    name.file() + TEMPORARY
}

impl Journal {
    /// All segments but the newest, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let index = self.shared.lock();
        let pairs = index.segments.iter().zip(index.segments.iter().skip(1));
        let info = |(segment, next): (&Segment, &Segment)| SegmentInfo {
            first_offset: segment.name.first_offset,
            end_offset: next.name.first_offset,
            from_us: segment.created_us,
            to_us: next.created_us,
            bytes: segment.bytes,
            thinned: segment.thinned,
            handed: segment.handed != Handed::No || segment.name.first_offset < self.committed,
        };
        pairs.map(info).collect()
    }

    /// Begins to thin the segment that starts at `first_offset`; `None` when it may not be
    /// thinned: it is the newest, thinned already, or a replicator has seen some of it.
    ///
    /// # Errors
    /// Those of the system; nothing has changed.
    pub fn thin(&self, first_offset: u64) -> io::Result<Option<Thinning>> {
        let (segment, end_offset) = {
            let index = self.shared.lock();
            let found = index.segments.iter().position(|segment| segment.name.first_offset == first_offset);
            let Some(at) = found.filter(|at| at + 1 < index.segments.len()) else { return Ok(None) };
            (index.segments[at], index.end(at))
        };
        if segment.thinned || segment.handed != Handed::No || first_offset < self.committed {
            return Ok(None);
        }
        let mut out = Vec::new();
        let Segment { name, created_us, .. } = segment;
        let header = Header { epoch: self.epoch, name, created_us, thinned: true, format: Format::Two };
        header.put(&mut out);
        let frames = FrameWriter::thorough()?;
        // Left over from one that was given up.
        let _usually_missing = self.disk.remove(&temporary(name));
        let file = self.disk.create(&temporary(name))?;
        Ok(Some(Thinning {
            disk: Arc::clone(&self.disk),
            segment,
            end_offset,
            file,
            bytes: 0,
            frames,
            dictionaries: HashMap::new(),
            out,
            block: Vec::new(),
            base_us: None,
            first: first_offset,
            next: first_offset,
            replaced: false,
        }))
    }

    /// Puts the thinned segment in the place of the full one, durably. What no block of it covers
    /// is damage. `None` when a replicator has begun with the segment meanwhile, or when the
    /// thinned one is not smaller; then nothing has changed.
    ///
    /// # Errors
    /// [`SyncError`] when it cannot be made durable; the full one stays. Only when the sync of
    /// the directory fails it is open which of them a power cut would leave; until another sync of
    /// it has succeeded nothing of the segment is given to a replicator.
    pub fn replace(&mut self, mut thinning: Thinning) -> Result<Option<Replaced>, SyncError> {
        let name = thinning.segment.name;
        thinning.write_out().map_err(|error| failed("write", name, error))?;
        self.rewritten_bytes += thinning.bytes;
        self.device_bytes += touched_bytes(0, thinning.bytes);
        if thinning.bytes >= thinning.segment.bytes {
            return Ok(None);
        }
        thinning.file.sync().map_err(|error| failed("sync", name, error))?;
        // Held until the name is durable, so that nobody is given a record of it before.
        let mut on_disk = self.shared.lock_handed_file();
        {
            // Under the lock, so that no replicator begins with the segment in between.
            let mut index = self.shared.lock();
            let segment = index.segments.iter_mut().find(|segment| segment.name == name);
            let segment = segment.filter(|segment| segment.handed == Handed::No && !segment.thinned);
            let Some(segment) = segment else { return Ok(None) };
            let renamed = self.disk.rename(&thinning.temporary(), &name.file());
            renamed.map_err(|error| failed("rename", name, error))?;
            (segment.thinned, segment.bytes) = (true, thinning.bytes);
        }
        thinning.replaced = true;
        on_disk.renamed = true;
        self.disk.sync_directory().map_err(|error| failed("sync the directory of", name, error))?;
        on_disk.renamed = false;
        drop(on_disk);
        let (from_offset, to_offset) = thinning.range();
        let (bytes_before, bytes) = (thinning.segment.bytes, thinning.bytes);
        Ok(Some(Replaced { from_offset, to_offset, bytes_before, bytes }))
    }
}
