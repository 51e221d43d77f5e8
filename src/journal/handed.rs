//! Which segments a replicator has seen, so that nothing is sent both in full and thinned.
//!
//! The file `handed` names them by ranges of their sequence numbers. It is written before the
//! first record of a segment is given away. Where it is missing or damaged, every segment counts
//! as seen until the checkpoint is known.

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
/// without a file nothing could be thinned after the next start.
pub(super) fn restore(disk: &dyn Disk, epoch: Epoch, index: &mut Index, created: bool) {
    let known = if created { Some(Vec::new()) } else { read(disk, epoch) };
    for segment in &mut index.segments {
        let sequence = segment.name.sequence;
        segment.handed = match &known {
            None => Handed::Perhaps,
            Some(ranges) if ranges.iter().any(|(first, last)| (*first..=*last).contains(&sequence)) => {
                Handed::Yes
            }
            Some(_) => Handed::No,
        };
    }
    if created {
        store(disk, epoch, index);
    }
}

/// Makes durable that records of the segment `name` are about to be given away.
///
/// When that fails it is true only in memory, and no file is left that would deny it.
pub(super) fn note(disk: &dyn Disk, epoch: Epoch, shared: &Shared, name: Name) {
    let _one_at_a_time = shared.lock_handed_file();
    let index = {
        let mut index = shared.lock();
        let Some(segment) = index.segments.iter_mut().find(|segment| segment.name == name) else { return };
        if segment.handed == Handed::Yes {
            return;
        }
        segment.handed = Handed::Yes;
        // While one of them is in doubt there is no file, and that says enough.
        if index.segments.iter().any(|segment| segment.handed == Handed::Perhaps) {
            return;
        }
        index.clone()
    };
    store(disk, epoch, &index);
}

/// The records before `committed` are sent, those behind were not, as far as anybody knows: ends
/// the doubts of a start without a file.
pub(super) fn settle(disk: &dyn Disk, epoch: Epoch, shared: &Shared, committed: u64) {
    let _one_at_a_time = shared.lock_handed_file();
    let index = {
        let mut index = shared.lock();
        let mut doubted = false;
        for segment in index.segments.iter_mut().filter(|segment| segment.handed == Handed::Perhaps) {
            doubted = true;
            segment.handed = if segment.name.first_offset < committed { Handed::Yes } else { Handed::No };
        }
        if !doubted {
            return;
        }
        index.clone()
    };
    store(disk, epoch, &index);
}

fn store(disk: &dyn Disk, epoch: Epoch, index: &Index) {
    if let Err(error) = write(disk, epoch, index) {
        tracing::warn!(
            "cannot write which segments were sent: {error}; none will be thinned after a restart"
        );
        // What it says is no longer true.
        let _may_be_missing = disk.remove(HANDED_FILE);
        let _best_effort = disk.sync_directory();
    }
}
