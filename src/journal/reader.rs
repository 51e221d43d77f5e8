//! Reading what is synced.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::chain::{ChainReader, Link};
use super::disk::{Disk, DiskFile};
use super::frame::{BlockHead, ChainHead, Fault, Frame, Joint};
use super::handed;
use super::index::{Place, Segment, Shared};
use super::opened::{Dictionaries, Failed, Open};
use super::pack::{CODEC_ZSTD, Unpacker};
use super::recovery::SEGMENT_RECORDS_MAX;
use super::scan::{Scanner, Step};
use super::segment::Name;
use super::unreadable::{ReadError, Unreadable};
use super::{CODED_DICTIONARIES_MAX, Damage, DamageKind, Epoch, varint};

/// What [`Reader::read`] gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// The next record, a row.
    Record {
        /// Its number.
        offset: u64,
        /// Wall time of its block, microseconds since 1970 UTC.
        base_us: i64,
        /// As it was appended.
        bytes: &'a [u8],
    },
    /// The next record of a chain, or one before it that is needed to decode it.
    Link(Link<'a>),
    /// Records that cannot be read; the next call goes on behind them.
    Damage(Damage),
    /// Records that the disk does not give now; the next call tries again.
    Unreadable(Unreadable),
    /// The records from `from` to before `to` were removed; the next call goes on at `to`.
    Moved {
        /// Where reading had been.
        from: u64,
        /// Oldest offset that is left.
        to: u64,
    },
    /// Nothing more is synced.
    End,
}

/// Reads a journal in order, with file handles of its own. Sees only what is synced, and verifies
/// the checksum of everything it reads.
pub struct Reader {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    epoch: Epoch,
    /// What it reads leaves the box, so segments are noted before.
    hands_over: bool,
    /// What the disk does not give is passed over, until a record is given or told as lost.
    passes_over: bool,
    /// Why the last read gave nothing although there is something.
    withheld: Option<io::Error>,
    /// Offset of the next record to give.
    wanted: u64,
    /// No record from this offset on is given.
    until: u64,
    open: Option<Open>,
    block: Block,
    chain: ChainReader,
    dictionaries: Dictionaries,
    /// Dictionaries whose records nobody wants.
    ignored: Vec<bool>,
    unpacker: Unpacker,
}

/// The block being read, unpacked.
#[derive(Default)]
struct Block {
    raw: Vec<u8>,
    position: usize,
    /// Offset of the record at the position.
    next: u64,
    end: u64,
    /// It goes on behind `end`, where nobody has said yet that it is synced.
    goes_on: bool,
    base_us: i64,
    thinned: bool,
    chained: Option<Chained>,
    /// The bytes of the records of a chain, when they were packed.
    backs: Vec<u8>,
}

/// What a block of a chain has beside.
#[derive(Debug, Clone, Copy)]
struct Chained {
    one: Option<Option<u32>>,
    /// The next record is the first of its chain.
    begins: bool,
    /// Where the bytes of the next record begin, when they were packed.
    backs: Option<usize>,
}

/// Where the parts of a record of a chain are in its block.
struct Parts {
    dictionary: u32,
    begins: bool,
    front: Range<usize>,
    back: Option<Range<usize>>,
}

impl Reader {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        epoch: Epoch,
        offset: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            disk,
            shared,
            epoch,
            hands_over: false,
            passes_over: false,
            withheld: None,
            wanted: offset,
            until: u64::MAX,
            open: None,
            block: Block::default(),
            chain: ChainReader::default(),
            dictionaries: Dictionaries::default(),
            ignored: Vec::new(),
            unpacker: Unpacker::new()?,
        })
    }

    /// Another reader of the same journal.
    ///
    /// # Errors
    /// Only when the decompressor gets no memory.
    pub fn another(&self, offset: u64) -> io::Result<Self> {
        Self::new(Arc::clone(&self.disk), Arc::clone(&self.shared), self.epoch, offset)
    }

    /// From now on what is read leaves the box: each segment is noted durably before its first
    /// record is given, and is never thinned then. While a disk does not take the note, reading
    /// ends in front of the segment, and [`Reader::withheld`] says why.
    pub fn hand_over(&mut self) {
        self.hands_over = true;
        // A segment that is open already must be noted too.
        self.seek(self.wanted);
    }

    /// Why the last [`Read::End`] was none; asked once.
    pub fn withheld(&mut self) -> Option<io::Error> {
        self.withheld.take()
    }

    /// Offset of the next record.
    pub fn offset(&self) -> u64 {
        self.wanted
    }

    /// Behind the last record that can be read now.
    pub fn synced(&self) -> u64 {
        self.shared.lock().next_offset
    }

    /// Identity of the journal.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Oldest offset that is left.
    pub fn first(&self) -> u64 {
        self.shared.lock().first_offset()
    }

    /// Ranges of offsets, in order, outside of which no record is of a time between `from_us` and
    /// `to_us`. Exact where a segment has its table of contents; else a clock that was set by more
    /// than an hour may hide records.
    pub fn between(&self, from_us: i64, to_us: i64) -> Vec<Range<u64>> {
        self.shared.between(self.disk.as_ref(), from_us, to_us)
    }

    /// As [`Reader::between`], in pieces of some megabytes at most: for several readers, each of
    /// which begins a piece without having read the one before.
    pub fn pieces(&self, from_us: i64, to_us: i64) -> Vec<Range<u64>> {
        self.shared.pieces(self.disk.as_ref(), from_us, to_us)
    }

    /// Reading ends in front of `offset`, as if nothing more were synced.
    pub fn end_at(&mut self, offset: u64) {
        self.until = offset;
    }

    /// Records of chains that refer to the dictionary which has this number now are not given any
    /// more, unless a chain begins with them. For who has no use for them.
    pub fn ignore(&mut self, dictionary: u32) {
        let index = usize::try_from(dictionary).unwrap_or(usize::MAX);
        if dictionary < CODED_DICTIONARIES_MAX {
            if self.ignored.len() <= index {
                self.ignored.resize(index + 1, false);
            }
            self.ignored[index] = true;
        }
    }

    fn ignores(&self, dictionary: u32) -> bool {
        let index = usize::try_from(dictionary).unwrap_or(usize::MAX);
        self.ignored.get(index).copied().unwrap_or(false)
    }

    /// Goes on at `offset`.
    pub fn seek(&mut self, offset: u64) {
        self.wanted = offset;
        self.open = None;
        self.block.end = 0;
        self.block.next = 0;
    }

    /// What the disk does not give is passed over, and told as [`DamageKind::Unreadable`], up to the
    /// next record that is given or told as lost. Else it stops the reader for as long as it lasts.
    pub fn pass_over(&mut self) {
        self.passes_over = true;
    }

    /// Whether something of the segment was passed over that the disk does not give: what else is
    /// missing in it may be so for that.
    pub fn has_passed_over(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.scanner.failure().is_some())
    }

    /// The dictionary that records of the current block call `number`.
    pub fn dictionary(&self, number: u32) -> Option<&Arc<[u8]>> {
        self.dictionaries.by_number.get(number)
    }

    /// All dictionaries of the segment being read, as far as reading has come; at its last record,
    /// all that it has.
    pub fn dictionaries(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.dictionaries.by_number.values()
    }

    /// Waits until something can be read, at most `limit`; tells whether it can.
    pub fn wait(&self, limit: Duration) -> bool {
        self.shared.wait(self.wanted, limit)
    }

    /// The next record, or what is in its place.
    pub fn read(&mut self) -> Read<'_> {
        loop {
            if self.wanted >= self.until {
                return Read::End;
            }
            if self.block.next < self.block.end && self.block.chained.is_some() {
                match self.next_in_chain() {
                    Some(parts) if !parts.begins && self.ignores(parts.dictionary) => {
                        // Nothing was given, so what was allowed for the next record still is.
                        self.wanted = self.wanted.max(self.block.next);
                        continue;
                    }
                    Some(parts) => return Read::Link(self.link(parts)),
                    None => continue,
                }
            }
            if self.block.next < self.block.end {
                match self.next_in_block() {
                    // The borrow of a record returned inside the loop would last too long.
                    Ok((start, end)) => {
                        let (offset, base_us) = (self.wanted - 1, self.block.base_us);
                        return Read::Record { offset, base_us, bytes: &self.block.raw[start..end] };
                    }
                    Err(None) => continue,
                    Err(Some(damage)) => return Read::Damage(damage),
                }
            }
            let place = self.shared.lock().locate(self.wanted);
            match place {
                Place::Ahead => return Read::End,
                Place::Behind(first) => {
                    let from = self.wanted;
                    self.seek(first);
                    return Read::Moved { from, to: first };
                }
                Place::In { segment, end } => {
                    if !self.may_give(segment.name) {
                        return Read::End;
                    }
                    if let Some(read) = self.advance(&segment, end) {
                        return read;
                    }
                }
            }
        }
    }

    /// Bounds of the next record in the block; `None` when it lies before the wanted one.
    fn next_in_block(&mut self) -> Result<(usize, usize), Option<Damage>> {
        let block = &mut self.block;
        let mut rest = &block.raw[block.position..];
        if block.thinned {
            if rest.is_empty() {
                // What is absent at the end is so by design.
                (block.next, self.wanted) = (block.end, block.end.max(self.wanted));
                return Err(None);
            }
            // A number that is none leaves no length either.
            block.next = block.next.saturating_add(varint::take(&mut rest).unwrap_or(0));
            if block.next >= block.end && block.goes_on {
                // Thinned since the index was made; what this sums up ends where nobody looks yet.
                (block.next, self.wanted) = (block.end, block.end.max(self.wanted));
                return Err(None);
            }
        }
        let length = varint::take(&mut rest).and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| *length <= rest.len() && block.next < block.end) else {
            let to_offset = block.end;
            block.next = block.end;
            return Err(Some(self.lose(to_offset, &Fault::Content)));
        };
        let start = block.raw.len() - rest.len();
        block.position = start + length;
        block.next += 1;
        if block.next <= self.wanted {
            return Err(None);
        }
        self.wanted = block.next;
        self.passes_over = false;
        Ok((start, start + length))
    }

    /// The next record in a block of a chain; `None` when there is none that can be read.
    fn next_in_chain(&mut self) -> Option<Parts> {
        let block = &mut self.block;
        let chained = block.chained.as_mut()?;
        let mut records = &block.raw[block.position..];
        let mut backs = chained.backs.map(|start| &block.backs[start..]);
        let Some((dictionary, front, back)) = self.chain.take(chained.one, &mut records, &mut backs) else {
            self.break_chain(Fault::Content);
            return None;
        };
        block.position = block.raw.len() - records.len();
        chained.backs = backs.map(|rest| block.backs.len() - rest.len());
        let front = block.position - front.len()..block.position;
        let back = back.zip(chained.backs).map(|(back, end)| end - back.len()..end);
        let begins = std::mem::take(&mut chained.begins);
        block.next += 1;
        Some(Parts { dictionary, begins, front, back })
    }

    /// Goes behind the record of a chain that was taken; tells whether it was asked for.
    fn pass_record(&mut self) -> bool {
        let wanted = self.block.next > self.wanted;
        if wanted {
            self.wanted = self.block.next;
            self.passes_over = false;
        }
        wanted
    }

    fn link(&mut self, parts: Parts) -> Link<'_> {
        let wanted = self.pass_record();
        let block = &self.block;
        let offset = block.next - 1;
        Link {
            offset,
            wanted,
            begins: parts.begins,
            base_us: block.base_us,
            dictionary: parts.dictionary,
            meaning: self.dictionaries.by_number.get(parts.dictionary),
            front: &block.raw[parts.front],
            back: parts.back.map(|back| &block.backs[back]),
        }
    }

    /// What follows of the chain cannot be decoded; what that costs is known when the next begins.
    fn break_chain(&mut self, fault: Fault) {
        self.chain.next = None;
        self.block.end = 0;
        if let Some(open) = &mut self.open {
            open.fault = Some(fault);
        }
    }

    /// Whether records of this segment may be given; notes that they are.
    fn may_give(&mut self, name: Name) -> bool {
        if !self.hands_over || self.open.as_ref().is_some_and(|open| open.name == name) {
            return true;
        }
        self.withheld = handed::note(self.disk.as_ref(), self.epoch, &self.shared, name).err();
        self.withheld.is_none()
    }

    /// Reads one frame of the segment that holds the wanted record.
    fn advance(&mut self, segment: &Segment, end: u64) -> Option<Read<'static>> {
        if self.open.as_ref().is_none_or(|open| open.name != segment.name) {
            let entered = match self.disk.open(&segment.name.file()) {
                Ok(file) => self.enter_segment(segment, file),
                Err(error) => return self.cannot_open(segment, end, &error.into()),
            };
            match entered {
                Ok(true) => {}
                Ok(false) => return None,
                // Not even its length is given.
                Err((_, error)) if self.passes_over => {
                    return Some(Read::Damage(self.lose(end, &Fault::Unreadable(error))));
                }
                Err((position, error)) => return Some(self.stop(segment, position, error)),
            }
        }
        let open = self.open.as_mut()?;
        if open.thinned == segment.thinned && segment.bytes > 0 {
            open.bytes = segment.bytes;
        }
        let limit = open.bytes;
        open.scanner.tolerate(self.passes_over);
        let damage = match open.scanner.step(limit) {
            Step::Frame { frame: Frame::Dictionary { number, codec, raw_bytes, content }, .. } => {
                self.ignored.clear();
                self.dictionaries.take(&mut self.unpacker, (number, codec, raw_bytes), content);
                None
            }
            Step::Frame { frame: Frame::Block { head, content }, .. } => {
                let block_end = head.first_offset.saturating_add(u64::from(head.count)).min(end);
                // A block behind the segment's end is none of its own.
                if block_end <= self.wanted || head.first_offset >= end {
                    return None;
                }
                let unpacked = self.unpacker.unpack(head.codec, head.raw_bytes, content, &mut self.block.raw);
                self.enter(head, block_end, unpacked.err())
            }
            Step::Frame { frame: Frame::Chain { head, backs, content }, .. } => {
                self.block.raw.clear();
                self.block.raw.extend_from_slice(content);
                let unpacked = backs.map(|(raw_bytes, packed)| {
                    self.unpacker.unpack(CODEC_ZSTD, raw_bytes, packed, &mut self.block.backs)
                });
                self.enter_chain(&head, unpacked, end)
            }
            Step::Frame { frame: Frame::Contents(_), .. } => None,
            Step::Bad(fault) => {
                open.fault = Some(fault);
                let moved = open.resync();
                self.chain.next = None;
                if let Err((position, error)) = moved {
                    return Some(self.stop(segment, position, error));
                }
                None
            }
            Step::Failed(error) => {
                let position = open.scanner.position();
                return Some(self.stop(segment, position, error));
            }
            Step::End => Some(match open.fault.take() {
                // A start that could not read its end went on behind all it could hold.
                None if end == segment.name.first_offset.saturating_add(SEGMENT_RECORDS_MAX) => {
                    self.unused(end)
                }
                fault => self.lose(end, &fault.unwrap_or(Fault::Short)),
            }),
        };
        damage.map(Read::Damage)
    }

    /// The disk does not give what is wanted. The next try begins with opening the file.
    fn stop(&mut self, segment: &Segment, position: u64, error: ReadError) -> Read<'static> {
        self.seek(self.wanted);
        Read::Unreadable(Unreadable { from_offset: self.wanted, file: segment.name.file(), position, error })
    }

    /// Begins with the file of a segment; `false` when another may have taken its name since the
    /// index was read.
    fn enter_segment(&mut self, segment: &Segment, file: Box<dyn DiskFile>) -> Result<bool, Failed> {
        match self.shared.lock().locate(self.wanted) {
            Place::In { segment: now, .. } if (now.name, now.thinned) == (segment.name, segment.thinned) => {}
            _ => return Ok(false),
        }
        let Segment { name, thinned, mut bytes, .. } = *segment;
        if bytes == 0 {
            // The start could not ask for it.
            bytes = file.length().map_err(|error| (0, error.into()))?;
        }
        self.dictionaries = Dictionaries::default();
        self.ignored.clear();
        self.chain.next = None;
        let mut open = Open { name, thinned, bytes, scanner: Scanner::new(file), fault: None };
        open.scanner.tolerate(self.passes_over);
        let known = self.shared.known_contents(name, thinned);
        open.find(self.wanted, known.as_deref(), &mut self.dictionaries, &mut self.unpacker)?;
        self.open = Some(open);
        Ok(true)
    }

    /// Makes an unpacked block current. What is missing in front of it, or the block itself when
    /// it did not unpack, is damage.
    fn enter(&mut self, head: BlockHead, block_end: u64, bad: Option<Fault>) -> Option<Damage> {
        if let Some(fault) = bad {
            return Some(self.lose(block_end, &fault));
        }
        let block = &mut self.block;
        (block.position, block.next, block.end, block.base_us) =
            (0, head.first_offset, block_end, head.base_us);
        (block.thinned, block.chained) = (head.thinned, None);
        block.goes_on = head.first_offset.saturating_add(u64::from(head.count)) > block_end;
        if head.first_offset > self.wanted {
            let fault = self.open.as_mut().and_then(|open| open.fault.take()).unwrap_or(Fault::Short);
            return Some(self.lose(head.first_offset, &fault));
        }
        None
    }

    /// Makes a block of a chain current, unless it does not go on where the one before ended. What
    /// is missing in front of it is damage.
    fn enter_chain(
        &mut self,
        head: &ChainHead,
        unpacked: Option<Result<(), Fault>>,
        end: u64,
    ) -> Option<Damage> {
        self.block.end = 0;
        let first_offset = self.chain.join(head)?;
        if first_offset >= end {
            self.break_chain(Fault::Content);
            return None;
        }
        if let Some(Err(fault)) = unpacked {
            self.break_chain(fault);
            return None;
        }
        let block = &mut self.block;
        (block.position, block.next, block.base_us) = (0, first_offset, self.chain.base_us);
        block.end = first_offset.saturating_add(u64::from(head.count)).min(end);
        let begins = matches!(head.joint, Joint::Key { .. });
        block.chained = Some(Chained { one: head.one, begins, backs: unpacked.map(|_| 0) });
        if first_offset > self.wanted {
            let fault = self.open.as_mut().and_then(|open| open.fault.take()).unwrap_or(Fault::Short);
            return Some(self.lose(first_offset, &fault));
        }
        None
    }

    fn cannot_open(&mut self, segment: &Segment, end: u64, error: &ReadError) -> Option<Read<'static>> {
        // It may have been removed since the index was read; then the index says where to go on.
        match self.shared.lock().locate(self.wanted) {
            Place::In { segment: now, .. } if now.name == segment.name => {}
            _ => return None,
        }
        if !error.is_no_file() && !self.passes_over {
            return Some(self.stop(segment, 0, *error));
        }
        let damage = self.lose(end, &Fault::Unreadable(*error));
        let cause = format!("{} cannot be opened: {error}", segment.name.file());
        Some(Read::Damage(Damage { cause, ..damage }))
    }

    /// Gives up the records before `to_offset`.
    fn lose(&mut self, to_offset: u64, fault: &Fault) -> Damage {
        let file = self.open.as_ref().map_or_else(|| "a segment".to_owned(), |open| open.name.file());
        let from_offset = self.wanted;
        self.wanted = to_offset;
        let kind = match fault {
            Fault::Unreadable(error) if !error.is_no_file() => DamageKind::Unreadable,
            _ => DamageKind::Damaged,
        };
        self.passes_over = false;
        Damage { from_offset, to_offset, cause: format!("{fault} in {file}"), kind }
    }

    /// Goes on behind offsets that no record has.
    fn unused(&mut self, to_offset: u64) -> Damage {
        let (kind, cause) = (DamageKind::Unused, "no record was ever given these numbers".to_owned());
        Damage { from_offset: std::mem::replace(&mut self.wanted, to_offset), to_offset, cause, kind }
    }
}
