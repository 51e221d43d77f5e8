//! The note of the last removal, so that a power cut right after it cannot make nobody know.

use std::io;

use super::disk::Disk;
use super::index::Index;
use super::segment::{NOTE_FILE, Name, is_of_the_file, read_exact_at, replace_file};
use super::{BODY_BYTES_MAX, Epoch};

const MAGIC: [u8; 8] = *b"FBREMOVD";
const VERSION: u16 = 1;
/// Magic, version, epoch, sequence and first offset of the segment, length of the content.
const HEAD_BYTES: usize = 8 + 2 + 16 + 8 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;

/// Makes durable what is about to be removed.
pub(super) fn write(disk: &dyn Disk, epoch: Epoch, segment: Name, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(|_| io::Error::other("too long"))?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&epoch.0);
    bytes.extend_from_slice(&segment.sequence.to_le_bytes());
    bytes.extend_from_slice(&segment.first_offset.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(content);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    replace_file(disk, NOTE_FILE, &bytes).map_err(|(_, error)| error)
}

/// The content, when the segment it tells of is gone; a note of one that is still there, or that
/// cannot be read, is removed.
pub(super) fn read(disk: &dyn Disk, epoch: Epoch, index: &Index) -> Option<Vec<u8>> {
    let noted = parse(disk, epoch);
    let gone = |name: &Name| index.segments.iter().all(|segment| segment.name != *name);
    match noted {
        Ok(Some((name, content))) if gone(&name) => Some(content),
        Err(error) if !is_of_the_file(&error) => {
            tracing::warn!("{NOTE_FILE} cannot be read now and is told at another start: {error}");
            None
        }
        _ => {
            remove(disk);
            None
        }
    }
}

/// Whether the file is there and damaged.
pub(super) fn is_damaged(disk: &dyn Disk, epoch: Epoch) -> bool {
    disk.open(NOTE_FILE).is_ok() && matches!(parse(disk, epoch), Ok(None))
}

/// Removes the note.
pub(super) fn remove(disk: &dyn Disk) {
    match disk.remove(NOTE_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {NOTE_FILE}: {error}");
        }
        // When it comes back after a power cut, the same is told once more.
        _ => {}
    }
}

fn parse(disk: &dyn Disk, epoch: Epoch) -> io::Result<Option<(Name, Vec<u8>)>> {
    let file = disk.open(NOTE_FILE)?;
    let mut head = [0; HEAD_BYTES];
    if !read_exact_at(file.as_ref(), 0, &mut head)? {
        return Ok(None);
    }
    let length = head.last_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let known = head[..8] == MAGIC && head[8..10] == VERSION.to_le_bytes() && head[10..26] == epoch.0;
    if !known || length > BODY_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; HEAD_BYTES + length + CHECKSUM_BYTES];
    let whole = read_exact_at(file.as_ref(), 0, &mut bytes)?;
    Ok(if whole { checked(&head, &bytes) } else { None })
}

fn checked(head: &[u8; HEAD_BYTES], bytes: &[u8]) -> Option<(Name, Vec<u8>)> {
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if crc32c::crc32c(content).to_le_bytes() != checksum {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(head[at..at + 8].try_into().ok()?));
    let name = Name { sequence: number(26)?, first_offset: number(34)? };
    Some((name, content[HEAD_BYTES..].to_vec()))
}
