//! The one writer of a journal.

use std::io;
use std::sync::Arc;

use super::chain::{BlockCoder, ChainWriter, Coded, Place};
use super::closed::Closed;
use super::contents::Gathering;
use super::dictionaries::Dictionaries;
use super::disk::{Disk, DiskFile, touched_bytes};
use super::frame::{BlockHead, Format, FrameWriter, HEAD_BYTES_MAX};
use super::index::{Handed, Segment, Shared};
use super::pending::Pending;
use super::recovery::{Recovered, recover};
use super::segment::{Header, Name};
use super::{AppendError, BODY_BYTES_MAX, Epoch, OpenError, Options, Reader, Recovery, SyncError};

/// Longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// Longest dictionary, in bytes.
pub const DICTIONARY_BYTES_MAX: usize = BODY_BYTES_MAX - HEAD_BYTES_MAX;
/// A segment that is older ends too, so that a small one can be found by its time.
const SEGMENT_AGE_MAX_US: u64 = 24 * 3600 * 1_000_000;

/// A journal open for writing. There must be only one for a directory.
pub struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    options: Options,
    pub(super) epoch: Epoch,
    pub(super) shared: Arc<Shared>,
    next_sequence: u64,
    active: Option<Active>,
    pending: Pending,
    dictionaries: Dictionaries,
    frames: FrameWriter,
    chain: ChainWriter,
    out: Vec<u8>,
    pub(super) committed: u64,
    /// Remembered of the time before this start, see [`Journal::confirm`].
    pub(super) confirmed: u64,
    /// Behind what was there at the start.
    pub(super) opened_at: u64,
    written_bytes: u64,
    pub(super) rewritten_bytes: u64,
    pub(super) device_bytes: u64,
    pub(super) removal_unsynced: bool,
    /// Files that another at the same offset has replaced, and that could not be removed. They must
    /// go before that one: alone they would pass for a segment.
    pub(super) left: Vec<Name>,
}

/// The segment that is being written.
struct Active {
    name: Name,
    file: Box<dyn DiskFile>,
    created_us: i64,
    /// Synced bytes, 0 when it is new.
    bytes: u64,
    gathering: Gathering,
}

impl Journal {
    /// Opens the journal in `disk`, or begins one.
    ///
    /// # Errors
    /// [`OpenError`] when the directory does not work. Damaged content is no error.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovery), OpenError> {
        let Recovered { index, epoch, next_sequence, recovery, on_disk, left } = recover(disk.as_ref())?;
        let frames = FrameWriter::new().map_err(|source| OpenError {
            action: "start",
            file: "the compressor".into(),
            source,
        })?;
        let opened_at = index.next_offset;
        let journal = Self {
            disk,
            options,
            epoch,
            shared: Arc::new(Shared::new(index, on_disk)),
            next_sequence,
            active: None,
            pending: Pending::default(),
            dictionaries: Dictionaries::default(),
            frames,
            chain: ChainWriter::default(),
            out: Vec::new(),
            committed: 0,
            confirmed: 0,
            opened_at,
            written_bytes: 0,
            rewritten_bytes: 0,
            device_bytes: 0,
            removal_unsynced: false,
            left,
        };
        Ok((journal, recovery))
    }

    /// Identity of the directory.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Oldest offset that is left.
    pub fn first_offset(&self) -> u64 {
        self.shared.lock().first_offset()
    }

    /// Behind the last synced record.
    pub fn next_offset(&self) -> u64 {
        self.shared.lock().next_offset
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes()
    }

    /// Bytes written to segments since opening, for write amplification and rates.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes of thinned segments written since opening.
    pub fn rewritten_bytes(&self) -> u64 {
        self.rewritten_bytes
    }

    /// What the device has written for that, estimated: whole blocks, and what the file system
    /// writes of its own with each sync. For flash wear where the system does not count it.
    pub fn device_bytes(&self) -> u64 {
        self.device_bytes
    }

    /// Bytes of records that wait in memory; of coded ones what they are expected to take on disk.
    pub fn pending_bytes(&self) -> usize {
        self.pending.bytes()
    }

    /// Bytes that may still wait besides: at 0 the next record might not be taken.
    pub fn pending_room(&self) -> usize {
        self.pending.room()
    }

    /// Records that wait in memory.
    pub fn pending_records(&self) -> u32 {
        self.pending.count
    }

    /// A reader that begins at `offset`, or at the oldest that is left.
    ///
    /// # Errors
    /// Only when the decompressor gets no memory.
    pub fn reader(&self, offset: u64) -> io::Result<Reader> {
        Reader::new(Arc::clone(&self.disk), Arc::clone(&self.shared), self.epoch, offset)
    }

    /// Wall time of the waiting block, to which records may refer: the first caller's `now_us` in
    /// whole milliseconds.
    pub fn base_us(&mut self, now_us: i64) -> i64 {
        self.pending.base_us(now_us)
    }

    /// Defines a dictionary: bytes that records refer to by the returned number. The same bytes
    /// get the same number until the journal is opened again. Each segment holds all it needs.
    ///
    /// # Errors
    /// [`AppendError::TooLong`] above [`DICTIONARY_BYTES_MAX`].
    pub fn define(&mut self, bytes: &[u8]) -> Result<u32, AppendError> {
        if bytes.len() > DICTIONARY_BYTES_MAX {
            return Err(AppendError::TooLong(bytes.len(), DICTIONARY_BYTES_MAX));
        }
        Ok(self.dictionaries.define(bytes))
    }

    /// Leaves a dictionary out of later segments. No waiting or later record may refer to it.
    pub fn forget(&mut self, number: u32) {
        self.dictionaries.forget(number);
    }

    /// Adds a record to the block in memory and returns the offset it will have.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was taken.
    pub fn append(&mut self, record: &[u8], now_us: i64) -> Result<u64, AppendError> {
        let offset = self.next_offset() + u64::from(self.pending.count);
        self.pending.append(record, now_us)?;
        Ok(offset)
    }

    /// Adds a record that the [`BlockCoder`] given to [`Journal::sync_coded`] codes, and returns
    /// the offset it will have.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was taken. While rows wait, the block is full for it.
    pub fn append_coded(&mut self, coded: Coded) -> Result<u64, AppendError> {
        let offset = self.next_offset() + u64::from(self.pending.count);
        self.pending.append_coded(coded)?;
        Ok(offset)
    }

    /// Makes the block in memory durable with one write and one sync, then shows it to the
    /// readers. Returns the offset behind it. Does nothing when no record waits.
    ///
    /// # Errors
    /// [`SyncError`]: the segment was given up, because nobody knows what of the write is on disk.
    /// The block is still in memory and keeps its offsets; the next call begins a new segment.
    pub fn sync(&mut self, now_us: i64) -> Result<u64, SyncError> {
        self.sync_block(None, now_us)
    }

    /// As [`Journal::sync`]. When coded records wait, `coder` is asked for each of them, in order;
    /// it may forget them when this has succeeded.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn sync_coded(&mut self, coder: &mut dyn BlockCoder, now_us: i64) -> Result<u64, SyncError> {
        self.sync_block(Some(coder), now_us)
    }

    fn sync_block(&mut self, coder: Option<&mut dyn BlockCoder>, now_us: i64) -> Result<u64, SyncError> {
        let first_offset = self.next_offset();
        if self.pending.count == 0 {
            return Ok(first_offset);
        }
        self.write_group(coder, now_us)?;
        Ok(first_offset + u64::from(self.pending.clear()))
    }

    /// Begins a segment at `offset`, so that no lower one is ever given to a record: somebody
    /// knows that they were used, although the disk has lost them. Readers get them as damage.
    /// Records that wait in memory move behind.
    ///
    /// # Errors
    /// [`SyncError`] when the segment cannot be made durable; nothing has changed then.
    pub fn skip_to(&mut self, offset: u64, now_us: i64) -> Result<(), SyncError> {
        if offset <= self.next_offset() {
            return Ok(());
        }
        self.active = None;
        let mut active = self.begin_segment(offset, now_us)?;
        self.out.clear();
        self.put_header(&active);
        // The next block begins its own segment at the same offset, and this one is removed then.
        self.commit(&mut active, offset, now_us)
    }

    /// Ends the segment with its table of contents, and notes where the journal ends, so that the next
    /// start can tell rot from a torn write. For a journal that is closed in order; without it nothing that was synced is lost either.
    ///
    /// # Errors
    /// Those of the system.
    pub fn note_end(&mut self, now_us: i64) -> io::Result<()> {
        if let Some(mut active) = self.active.take() {
            self.out.clear();
            active.gathering.put(&mut self.frames, &mut self.out);
            // Without its table of contents the segment is read from its beginning.
            if let Err(error) = self.commit(&mut active, self.next_offset(), now_us) {
                tracing::warn!("{error}");
            }
        }
        let closed = Closed::of(&self.shared.lock());
        closed.map_or(Ok(()), |closed| closed.write(self.disk.as_ref(), self.epoch))
    }

    /// True while the segments and the waiting block exceed so many bytes and there is an older
    /// segment that could make room.
    pub fn exceeds(&self, bytes: u64) -> bool {
        let index = self.shared.lock();
        index.segments.len() > 1 && index.bytes() + self.pending.bytes() as u64 > bytes
    }

    /// Bytes that may still be written to the file system.
    ///
    /// # Errors
    /// Those of the system.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    /// Writes the waiting block, with all that must stand before and behind it, and syncs it.
    fn write_group(&mut self, coder: Option<&mut dyn BlockCoder>, now_us: i64) -> Result<(), SyncError> {
        let first_offset = self.next_offset();
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin_segment(first_offset, now_us)?,
        };
        self.out.clear();
        if active.bytes == 0 {
            self.put_header(&active);
            self.dictionaries.begin_segment();
            self.chain.end();
        }
        for (number, bytes) in self.dictionaries.take_unwritten() {
            active.gathering.dictionary(number, active.bytes + self.out.len() as u64);
            self.frames.dictionary(&mut self.out, number, &bytes);
        }
        self.put_block(coder, &mut active, first_offset, now_us);
        let ends = active.bytes + self.out.len() as u64 >= self.options.segment_bytes
            || now_us.abs_diff(active.created_us) >= SEGMENT_AGE_MAX_US;
        if ends {
            active.gathering.put(&mut self.frames, &mut self.out);
        }
        self.commit(&mut active, first_offset + u64::from(self.pending.count), now_us)?;
        if !ends {
            self.active = Some(active);
        }
        Ok(())
    }

    /// Appends the block to what is going to be written.
    fn put_block(
        &mut self,
        coder: Option<&mut dyn BlockCoder>,
        active: &mut Active,
        first_offset: u64,
        now_us: i64,
    ) {
        let base_us = self.pending.base_us(now_us);
        let position = active.bytes + self.out.len() as u64;
        let group_bytes = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        let Some(coder) = coder.filter(|_| !self.pending.coded.is_empty()) else {
            let count = self.pending.count;
            let head = BlockHead {
                codec: 0,
                thinned: false,
                count,
                first_offset,
                base_us,
                group_bytes,
                raw_bytes: 0,
            };
            self.frames.block(&mut self.out, head, &self.pending.rows);
            self.chain.end();
            active.gathering.begin(position, first_offset);
            active.gathering.record(None, base_us);
            return;
        };
        let place = Place { first_offset, base_us, group_bytes };
        if self.chain.put(&mut self.frames, &mut self.out, coder, &self.pending.coded, place) {
            active.gathering.begin(position, first_offset);
        }
        for coded in &self.pending.coded {
            active.gathering.record(Some(coded.dictionary), coded.time_us);
        }
    }

    fn begin_segment(&mut self, first_offset: u64, created_us: i64) -> Result<Active, SyncError> {
        let name = Name { sequence: self.next_sequence, first_offset };
        if !name.is_plausible() {
            // The next start would not take it for one of its own. Files of nobody's making lead here.
            let source = io::Error::other("numbers are used up: move the folder of this journal away");
            return Err(SyncError::Failed { action: "begin", file: name.file(), source });
        }
        self.next_sequence += 1;
        let file = self.disk.create(&name.file()).map_err(|source| failed("create", name, source))?;
        Ok(Active { name, file, created_us, bytes: 0, gathering: Gathering::default() })
    }

    fn put_header(&mut self, active: &Active) {
        let Active { name, created_us, .. } = *active;
        let header = Header { epoch: self.epoch, name, created_us, thinned: false, format: Format::Two };
        header.put(&mut self.out);
    }

    /// One write, one sync (and one of the directory for a new file); then the readers may know.
    fn commit(&mut self, active: &mut Active, next_offset: u64, now_us: i64) -> Result<(), SyncError> {
        let new = active.bytes == 0;
        let written = active
            .file
            .append(&self.out)
            .map_err(|error| ("write", error))
            .and_then(|()| active.file.sync().map_err(|error| ("sync", error)))
            .and_then(|()| {
                if new {
                    self.disk.sync_directory().map_err(|error| ("sync the directory of", error))
                } else {
                    Ok(())
                }
            });
        self.written_bytes += self.out.len() as u64;
        self.device_bytes += touched_bytes(active.bytes, self.out.len() as u64);
        if let Err((action, error)) = written {
            self.abandon(active);
            return Err(failed(action, active.name, error));
        }
        active.bytes += self.out.len() as u64;
        self.publish(active, next_offset, now_us);
        Ok(())
    }

    /// Frees what a failed write took, where that is possible. It need not be: what is left is
    /// never read, because the next segment begins at the same offset.
    fn abandon(&mut self, active: &Active) {
        let freed = if active.bytes == 0 {
            self.disk.remove(&active.name.file())
        } else {
            active.file.truncate(active.bytes)
        };
        // The name may come back after a crash as long as the directory is not synced.
        self.removal_unsynced |= active.bytes == 0;
        if let Err(error) = freed {
            tracing::warn!("cannot cut {} after a failed write: {error}", active.name.file());
            if active.bytes == 0 {
                self.left.push(active.name);
            }
        }
    }

    fn publish(&mut self, active: &Active, next_offset: u64, now_us: i64) {
        let mut superseded = None;
        {
            let mut index = self.shared.lock();
            match index.segments.back_mut() {
                Some(last) if last.name == active.name => last.bytes = active.bytes,
                last => {
                    // One without a record, at whose offset this one begins.
                    if last.is_some_and(|last| last.name.first_offset >= active.name.first_offset) {
                        superseded = index.segments.pop_back();
                    }
                    let (name, bytes) = (active.name, active.bytes);
                    let (thinned, handed) = (false, Handed::No);
                    index.segments.push_back(Segment { name, created_us: now_us, bytes, thinned, handed });
                }
            }
            index.next_offset = next_offset;
            index.grow(active.name, active.gathering.dictionaries(), active.gathering.last_part());
        }
        self.shared.notify();
        if let Some(segment) = superseded {
            self.removal_unsynced = true;
            if let Err(error) = self.disk.remove(&segment.name.file()) {
                tracing::warn!("cannot remove {}: {error}", segment.name.file());
                self.left.push(segment.name);
            }
        }
    }
}

pub(super) fn failed(action: &'static str, name: Name, source: io::Error) -> SyncError {
    let file = name.file();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SyncError::Full { action, file, source },
        _ => SyncError::Failed { action, file, source },
    }
}
