//! Segment files: their names, the header in front, and the identity of the journal.

use std::io;

use super::disk::{Disk, DiskFile};
use super::frame::Format;
use super::{Epoch, OpenError};

/// Version of the format that this program writes, and the newest it reads.
pub const FORMAT_VERSION: u16 = 2;
const VERSION_ONE: u16 = 1;
const HEADER_LENGTH: u16 = 64;
pub(super) const HEADER_BYTES: usize = HEADER_LENGTH as usize;
const SEGMENT_MAGIC: [u8; 8] = *b"FBJOURNL";
const EPOCH_MAGIC: [u8; 8] = *b"FBEPOCH\0";
const EPOCH_VERSION: u16 = 1;
const EPOCH_LENGTH: u16 = 32;
const EPOCH_BYTES: usize = EPOCH_LENGTH as usize;
pub(super) const EPOCH_FILE: &str = "epoch";
/// Which segments a replicator has seen.
pub(super) const HANDED_FILE: &str = "handed";
/// What was removed last.
pub(super) const NOTE_FILE: &str = "removed";
/// Where the journal ended when it was closed in order.
pub(super) const CLOSED_FILE: &str = "closed";
const SUFFIX: &str = ".segment";
/// Of files that are being written; one that a start finds was cut off and is removed.
pub(super) const TEMPORARY: &str = ".tmp";
/// Bit 0 of byte 52: the records sum up what the segment of this name held before.
const FLAG_THINNED: u8 = 1;
/// Written by a newer Forebay; kept for it.
pub(super) const ASIDE_FUTURE: &str = ".future";
/// Of another journal.
pub(super) const ASIDE_FOREIGN: &str = ".foreign";
/// Cannot be opened, although the directory can be read.
pub(super) const ASIDE_UNREADABLE: &str = ".unreadable";

/// Sequence numbers and offsets stay below this, so that adding to them never overflows.
pub(super) const NUMBERS_END: u64 = 1 << 62;

/// What the name of a segment file says: order of creation and first offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub sequence: u64,
    pub first_offset: u64,
}

impl Name {
    pub(super) fn file(self) -> String {
        format!("{:016x}-{:016x}{SUFFIX}", self.sequence, self.first_offset)
    }

    /// Reads only what [`Name::file`] writes.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (sequence, first_offset) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = Self {
            sequence: u64::from_str_radix(sequence, 16).ok()?,
            first_offset: u64::from_str_radix(first_offset, 16).ok()?,
        };
        (name.is_plausible() && name.file() == file).then_some(name)
    }

    /// Nobody writes so many; who names a file so wants the numbers to run over.
    pub(super) fn is_plausible(self) -> bool {
        self.sequence < NUMBERS_END && self.first_offset < NUMBERS_END
    }
}

/// First bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub epoch: Epoch,
    pub name: Name,
    pub created_us: i64,
    /// It sums up what stood there before.
    pub thinned: bool,
    /// Of the frames; what is written has [`Format::Two`].
    pub format: Format,
}

/// What stands where a header should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Header(Header),
    /// A valid header of a version this program does not know.
    Future(u16),
    /// Torn or rotten.
    Nothing,
}

impl Header {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&HEADER_LENGTH.to_le_bytes());
        out.extend_from_slice(&self.epoch.0);
        out.extend_from_slice(&self.name.sequence.to_le_bytes());
        out.extend_from_slice(&self.name.first_offset.to_le_bytes());
        out.extend_from_slice(&self.created_us.to_le_bytes());
        out.push(if self.thinned { FLAG_THINNED } else { 0 });
        out.extend_from_slice(&[0; 7]);
        let checksum = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    pub(super) fn parse(bytes: &[u8]) -> Found {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Found::Nothing };
        let checked = HEADER_BYTES - 4;
        if bytes[..8] != SEGMENT_MAGIC || crc32c::crc32c(&bytes[..checked]).to_le_bytes() != bytes[checked..]
        {
            return Found::Nothing;
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        // A flag that is not known changes what the records mean.
        if version > FORMAT_VERSION || bytes[52] & !FLAG_THINNED != 0 {
            return Found::Future(version);
        }
        let double = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        Found::Header(Self {
            epoch: Epoch(std::array::from_fn(|index| bytes[12 + index])),
            name: Name { sequence: double(28), first_offset: double(36) },
            created_us: double(44).cast_signed(),
            thinned: bytes[52] & FLAG_THINNED != 0,
            format: if version <= VERSION_ONE { Format::One } else { Format::Two },
        })
    }

    /// What stands at the front of `file`.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Found> {
        let mut bytes = [0; HEADER_BYTES];
        let whole = read_exact_at(file, 0, &mut bytes)?;
        Ok(if whole { Self::parse(&bytes) } else { Found::Nothing })
    }
}

/// Fills `buffer` from `position`; `false` when the file ends before.
pub(super) fn read_exact_at(file: &dyn DiskFile, position: u64, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(position + filled as u64, &mut buffer[filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The epoch that the directory's own file names; `None` when it is missing or damaged.
///
/// # Errors
/// Those of the disk in the place of the file: it may well name one.
pub(super) fn read_epoch(disk: &dyn Disk) -> io::Result<Option<Epoch>> {
    let mut bytes = [0; EPOCH_BYTES];
    let read = disk.open(EPOCH_FILE).and_then(|file| read_exact_at(file.as_ref(), 0, &mut bytes));
    match read {
        Ok(true) => Ok(parse_epoch(&bytes)),
        Ok(false) => Ok(None),
        Err(error) if is_of_the_file(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that this name stands for no file of ours, and will not by waiting.
pub(super) fn is_of_the_file(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    const TOO_MANY_LINKS: i32 = 40;
    matches!(error.kind(), IsADirectory | NotADirectory | NotFound | PermissionDenied)
        || error.raw_os_error() == Some(TOO_MANY_LINKS)
}

fn parse_epoch(bytes: &[u8; EPOCH_BYTES]) -> Option<Epoch> {
    let checked = EPOCH_BYTES - 4;
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    let valid = bytes[..8] == EPOCH_MAGIC
        && version <= EPOCH_VERSION
        && crc32c::crc32c(&bytes[..checked]).to_le_bytes() == bytes[checked..];
    valid.then(|| Epoch(std::array::from_fn(|index| bytes[12 + index])))
}

/// Writes the directory's epoch.
pub(super) fn write_epoch(disk: &dyn Disk, epoch: Epoch) -> Result<(), OpenError> {
    let mut bytes = Vec::with_capacity(EPOCH_BYTES);
    bytes.extend_from_slice(&EPOCH_MAGIC);
    bytes.extend_from_slice(&EPOCH_VERSION.to_le_bytes());
    bytes.extend_from_slice(&EPOCH_LENGTH.to_le_bytes());
    bytes.extend_from_slice(&epoch.0);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    replace_file(disk, EPOCH_FILE, &bytes).map_err(|(action, source)| OpenError {
        action,
        file: EPOCH_FILE.to_owned(),
        source,
    })
}

/// Puts `content` in the place of a small file: temporary file, sync, rename, sync of the
/// directory. A power cut leaves the old content or the new one.
///
/// # Errors
/// Those of the system, with what was tried.
pub(super) fn replace_file(
    disk: &dyn Disk,
    name: &str,
    content: &[u8],
) -> Result<(), (&'static str, io::Error)> {
    let temporary = name.to_owned() + TEMPORARY;
    // Left over from a try that was cut off; mostly there is none.
    let _usually_missing = disk.remove(&temporary);
    let mut file = disk.create(&temporary).map_err(|error| ("create", error))?;
    file.append(content).map_err(|error| ("write", error))?;
    file.sync().map_err(|error| ("sync", error))?;
    let renamed = disk.rename(&temporary, name).or_else(|error| {
        // A folder of that name is none of ours and must not be in the way.
        if error.kind() != io::ErrorKind::IsADirectory {
            return Err(error);
        }
        disk.rename(name, &(name.to_owned() + ASIDE_FOREIGN))?;
        disk.rename(&temporary, name)
    });
    renamed.map_err(|error| ("rename", error))?;
    disk.sync_directory().map_err(|error| ("sync the directory of", error))
}

/// Whether this is a file that was being written when a journal ended.
pub(super) fn is_left_over(file: &str) -> bool {
    file.strip_suffix(TEMPORARY).is_some_and(|name| {
        [EPOCH_FILE, HANDED_FILE, NOTE_FILE, CLOSED_FILE].contains(&name) || Name::parse(name).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_only_as_written() {
        let name = Name { sequence: 17, first_offset: 70_000 };
        assert_eq!(Name::parse(&name.file()), Some(name));
        for wrong in ["epoch", "11-22.segment", "0000000000000011-000000000001117+.segment", ".segment"] {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_damaged_byte_of_a_header_is_noticed() {
        let name = Name { sequence: 1, first_offset: 2 };
        let header =
            Header { epoch: Epoch([9; 16]), name, created_us: -3, thinned: true, format: Format::Two };
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Header::parse(&bytes), Found::Header(header));
        for index in 0..HEADER_BYTES {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert_eq!(Header::parse(&damaged), Found::Nothing, "byte {index}");
        }
    }
}
