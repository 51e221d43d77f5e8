//! Where a journal ended when it was closed in order. With this witness a start can tell rot in the
//! last write from a write that a power cut has torn, and files that somebody removed from files that
//! never were.

use super::disk::Disk;
use super::index::Index;
use super::segment::{CLOSED_FILE, NUMBERS_END, Name, read_exact_at, replace_file};
use super::{Damage, Epoch};

const MAGIC: [u8; 8] = *b"FBCLOSED";
const VERSION: u16 = 1;
/// Magic, version, reserved, epoch, five numbers, checksum.
const BYTES: usize = 8 + 2 + 2 + 16 + 5 * 8 + 4;

/// The end of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// Oldest offset that was left.
    pub first_offset: u64,
    /// Behind the last synced record.
    pub next_offset: u64,
    /// The newest segment.
    pub newest: Name,
    /// Its synced length.
    pub bytes: u64,
}

impl Closed {
    /// Of the journal as it is now; `None` when it has no segment.
    pub(super) fn of(index: &Index) -> Option<Self> {
        let newest = index.segments.back()?;
        Some(Self {
            first_offset: index.first_offset(),
            next_offset: index.next_offset,
            newest: newest.name,
            bytes: newest.bytes,
        })
    }

    /// Writes it into the directory.
    pub(super) fn write(&self, disk: &dyn Disk, epoch: Epoch) -> std::io::Result<()> {
        let mut content = Vec::with_capacity(BYTES);
        content.extend_from_slice(&MAGIC);
        content.extend_from_slice(&VERSION.to_le_bytes());
        content.extend_from_slice(&[0; 2]);
        content.extend_from_slice(&epoch.0);
        let numbers =
            [self.first_offset, self.next_offset, self.newest.sequence, self.newest.first_offset, self.bytes];
        numbers.iter().for_each(|number| content.extend_from_slice(&number.to_le_bytes()));
        content.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
        replace_file(disk, CLOSED_FILE, &content).map_err(|(_, error)| error)
    }

    /// Takes it out of the directory: what follows now makes it wrong. `None` when the journal was not
    /// closed in order, or went on since.
    pub(super) fn take(disk: &dyn Disk, epoch: Epoch, newest_sequence: Option<u64>) -> Option<Self> {
        disk.open(CLOSED_FILE).ok()?;
        let closed = Self::read(disk, epoch, newest_sequence);
        if let Err(error) = disk.remove(CLOSED_FILE) {
            tracing::warn!("cannot remove {CLOSED_FILE}: {error}");
        }
        closed
    }

    /// Reads it and leaves it there.
    pub(super) fn read(disk: &dyn Disk, epoch: Epoch, newest_sequence: Option<u64>) -> Option<Self> {
        // One that could not be removed may be older than what was written since.
        let fits = |closed: &Self| {
            closed.next_offset < NUMBERS_END
                && newest_sequence.is_none_or(|newest| newest <= closed.newest.sequence)
        };
        Self::parse(disk, epoch).filter(fits)
    }

    /// Whether the file is there and damaged.
    pub(super) fn is_damaged(disk: &dyn Disk, epoch: Epoch) -> bool {
        disk.open(CLOSED_FILE).is_ok() && Self::parse(disk, epoch).is_none()
    }

    fn parse(disk: &dyn Disk, epoch: Epoch) -> Option<Self> {
        let file = disk.open(CLOSED_FILE).ok()?;
        let mut content = [0; BYTES];
        let whole = read_exact_at(file.as_ref(), 0, &mut content).unwrap_or(false);
        let (checked, checksum) = content.split_at(BYTES - 4);
        let right = whole
            && checked[..8] == MAGIC
            && checked[8..10] == VERSION.to_le_bytes()
            && checked[12..28] == epoch.0
            && crc32c::crc32c(checked).to_le_bytes() == checksum;
        let number =
            |at: usize| u64::from_le_bytes(std::array::from_fn(|index| checked[28 + 8 * at + index]));
        right.then(|| Self {
            first_offset: number(0),
            next_offset: number(1),
            newest: Name { sequence: number(2), first_offset: number(3) },
            bytes: number(4),
        })
    }

    /// Bytes of this segment that were synced for certain.
    pub(super) fn synced_bytes(&self, segment: Name) -> u64 {
        if segment == self.newest { self.bytes } else { 0 }
    }

    /// Behind the last record of this segment, when all that was synced of it is there.
    pub(super) fn end_of(&self, segment: Name, bytes: u64) -> Option<u64> {
        (segment == self.newest && bytes >= self.bytes).then_some(self.next_offset)
    }

    /// What is missing in front, because its files are gone.
    pub(super) fn missing_in_front(&self, first_offset: u64) -> Option<Damage> {
        (self.first_offset < first_offset).then(|| {
            let to_offset = first_offset.min(self.next_offset);
            Damage::new(self.first_offset, to_offset, "segment files are missing".to_owned())
        })
    }
}
