//! Which segments a replicator has seen, so that nothing is sent both in full and thinned.
//!
//! The file `handed` names them by ranges of their sequence numbers. Before the first record of a
//! segment is given away, the file names it durably, or is durably gone: where it is missing or
//! damaged, every segment counts as seen until the checkpoint is known. A disk that does neither
//! keeps its records: a file that denies later what Kafka has would do harm, waiting does none.

use std::io;

use super::Epoch;
use super::disk::Disk;
use super::index::{Handed, Index, Shared};
use super::segment::{HANDED_FILE, Name, read_exact_at, replace_file};

const MAGIC: [u8; 8] = *b"FBHANDED";
const VERSION: u16 = 1;
/// Magic, version, count of ranges, epoch.
const HEAD_BYTES: usize = 8 + 2 + 2 + 16;
const RANGE_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// First and last sequence number of segments that were seen.
type Range = (u64, u64);

/// What is known of the directory, held while that is changed. Taken before the index.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// There is durably no file.
    absent: bool,
    /// A thinned segment has taken the name of a full one, and a power cut may undo that.
    pub renamed: bool,
}

/// What the file says; `None` when it is missing, damaged or of another journal.
fn read(disk: &dyn Disk, epoch: Epoch) -> Option<Vec<Range>> {
    let file = disk.open(HANDED_FILE).ok()?;
    let mut head = [0; HEAD_BYTES];
    read_exact_at(file.as_ref(), 0, &mut head).ok().filter(|whole| *whole)?;
    let count = usize::from(u16::from_le_bytes([head[10], head[11]]));
    if head[..8] != MAGIC || u16::from_le_bytes([head[8], head[9]]) != VERSION || head[12..] != epoch.0 {
        return None;
    }
    let mut bytes = vec![0; HEAD_BYTES + count * RANGE_BYTES + CHECKSUM_BYTES];
    read_exact_at(file.as_ref(), 0, &mut bytes).ok().filter(|whole| *whole)?;
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if crc32c::crc32c(content).to_le_bytes() != checksum {
        return None;
    }
    let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
    content[HEAD_BYTES..]
        .chunks_exact(RANGE_BYTES)
        .map(|it| Some((number(&it[..8])?, number(&it[8..])?)))
        .collect()
}

/// Whether the file is there and damaged.
pub(super) fn is_damaged(disk: &dyn Disk, epoch: Epoch) -> bool {
    disk.open(HANDED_FILE).is_ok() && read(disk, epoch).is_none()
}

/// Writes what the index knows.
fn write(disk: &dyn Disk, epoch: Epoch, index: &Index) -> io::Result<()> {
    let ranges = ranges(index);
    let count = u16::try_from(ranges.len()).map_err(|_| io::Error::other("too many ranges"))?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + ranges.len() * RANGE_BYTES + CHECKSUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&epoch.0);
    for (first, last) in ranges {
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&last.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    replace_file(disk, HANDED_FILE, &bytes).map_err(|(_, error)| error)
}

/// The segments seen, neighbours together.
fn ranges(index: &Index) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut before = false;
    for segment in &index.segments {
        let seen = segment.handed == Handed::Yes;
        match ranges.last_mut().filter(|_| before && seen) {
            Some(range) => range.1 = segment.name.sequence,
            None if seen => ranges.push((segment.name.sequence, segment.name.sequence)),
            None => {}
        }
        before = seen;
    }
    ranges
}

/// Marks the segments that a start found. Writes the file of a journal that is `created`: in one
/// without a file nothing could be thinned after the next start. The caller syncs the directory.
pub(super) fn restore(disk: &dyn Disk, epoch: Epoch, index: &mut Index, created: bool) -> OnDisk {
    let known = if created { Some(Vec::new()) } else { read(disk, epoch) };
    mark_all(index, known.as_deref());
    let mut on_disk = OnDisk::default();
    if created {
        let _without_it_all_counts_as_seen = store(disk, epoch, index, &mut on_disk);
    } else if known.is_none() {
        // One that cannot be read now may be readable later.
        on_disk.absent = remove(disk).is_ok();
    }
    on_disk
}

/// Marks the segments as the file says, for who only looks.
pub(super) fn look(disk: &dyn Disk, epoch: Epoch, index: &mut Index) {
    mark_all(index, read(disk, epoch).as_deref());
}

fn mark_all(index: &mut Index, known: Option<&[Range]>) {
    for segment in &mut index.segments {
        let sequence = segment.name.sequence;
        segment.handed = match known {
            None => Handed::Perhaps,
            Some(ranges) if ranges.iter().any(|(first, last)| (*first..=*last).contains(&sequence)) => {
                Handed::Yes
            }
            Some(_) => Handed::No,
        };
    }
}

/// Makes durable that records of the segment `name` are about to be given away.
///
/// # Errors
/// Those of the system: a power cut may leave a file that denies it, so nothing may be given away.
pub(super) fn note(disk: &dyn Disk, epoch: Epoch, shared: &Shared, name: Name) -> io::Result<()> {
    let mut on_disk = shared.lock_handed_file();
    let Some(before) = mark(shared, name, Handed::Yes) else { return Ok(()) };
    let noted = if before == Handed::Yes { Ok(()) } else { note_marked(disk, epoch, shared, &mut on_disk) };
    if noted.is_err() {
        mark(shared, name, before);
    }
    noted
}

/// Sets the mark of a segment and gives the one before; `None` when it was removed.
fn mark(shared: &Shared, name: Name, handed: Handed) -> Option<Handed> {
    let mut index = shared.lock();
    let segment = index.segments.iter_mut().find(|segment| segment.name == name)?;
    Some(std::mem::replace(&mut segment.handed, handed))
}

fn note_marked(disk: &dyn Disk, epoch: Epoch, shared: &Shared, on_disk: &mut OnDisk) -> io::Result<()> {
    if on_disk.renamed {
        // What is sent of a thinned segment must not be there in full after a power cut.
        disk.sync_directory()?;
        on_disk.renamed = false;
    }
    let index = shared.lock().clone();
    // While one of them is in doubt there is no file, and that says enough.
    if index.segments.iter().any(|segment| segment.handed == Handed::Perhaps) {
        return withdraw(disk, on_disk);
    }
    store(disk, epoch, &index, on_disk)
}

/// The records before `used` were sent or left for later, those behind were not, as far as anybody
/// knows: ends the doubts of a start without a file.
pub(super) fn settle(disk: &dyn Disk, epoch: Epoch, shared: &Shared, used: u64) {
    let mut on_disk = shared.lock_handed_file();
    let index = {
        let mut index = shared.lock();
        let mut doubted = false;
        for segment in index.segments.iter_mut().filter(|segment| segment.handed == Handed::Perhaps) {
            doubted = true;
            segment.handed = if segment.name.first_offset < used { Handed::Yes } else { Handed::No };
        }
        if !doubted {
            return;
        }
        index.clone()
    };
    let _without_it_all_counts_as_seen = store(disk, epoch, &index, &mut on_disk);
}

/// Writes the file; where that fails, it must not stay as it is.
///
/// # Errors
/// Those of removing it: what a power cut leaves may be any file there ever was.
fn store(disk: &dyn Disk, epoch: Epoch, index: &Index, on_disk: &mut OnDisk) -> io::Result<()> {
    let written = write(disk, epoch, index);
    on_disk.absent = false;
    let Err(error) = written else { return Ok(()) };
    tracing::warn!("cannot write which segments were sent: {error}; none will be thinned after a restart");
    withdraw(disk, on_disk)
}

/// Makes sure that no file is left, also after a power cut.
fn withdraw(disk: &dyn Disk, on_disk: &mut OnDisk) -> io::Result<()> {
    if !on_disk.absent {
        remove(disk)?;
        disk.sync_directory()?;
        on_disk.absent = true;
    }
    Ok(())
}

fn remove(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(HANDED_FILE) {
        // A folder of that name is no file of ours, now and later.
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
            Err(error)
        }
        _ => Ok(()),
    }
}
