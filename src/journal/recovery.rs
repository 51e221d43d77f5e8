//! Opening a directory: which segments there are, and where the newest one really ends.

use std::collections::VecDeque;

use super::disk::Disk;
use super::frame::Frame;
use super::handed;
use super::index::{Handed, Index, Segment};
use super::note;
use super::scan::{Scanner, Step};
use super::segment::{
    ASIDE_FOREIGN, ASIDE_FUTURE, Found, HEADER_BYTES, Header, Name, is_left_over, read_epoch, write_epoch,
};
use super::{Damage, Epoch, OpenError, Recovery};

/// More records than any segment holds: added when the records of one cannot be counted.
pub(super) const SEGMENT_RECORDS_MAX: u64 = 1 << 32;

/// All that [`recover`] found.
pub(super) struct Recovered {
    pub index: Index,
    pub epoch: Epoch,
    pub next_sequence: u64,
    pub recovery: Recovery,
}

/// A segment file and its header.
struct Candidate {
    name: Name,
    header: Option<Header>,
}

impl Candidate {
    fn segment(&self, bytes: u64) -> Segment {
        Segment {
            name: self.name,
            created_us: self.header.map_or(0, |header| header.created_us),
            bytes,
            thinned: self.header.is_some_and(|header| header.thinned),
            handed: Handed::Perhaps,
        }
    }
}

/// Opens whatever is in the directory. Fails only when the directory itself does not work.
pub(super) fn recover(disk: &dyn Disk) -> Result<Recovered, OpenError> {
    let failed = |action| move |source| OpenError { action, file: "the journal directory".into(), source };
    let mut recovery = Recovery::default();
    let mut names = disk.list().map_err(failed("list"))?;
    remove_left_over(disk, &mut names);
    let mut next_sequence = highest_sequence(&names).map_or(0, |sequence| sequence.saturating_add(1));
    let mut candidates = read_headers(disk, &names, &mut recovery);
    let epoch = establish_epoch(disk, &mut candidates, &mut recovery)?;

    let mut next_offset = 0;
    let mut newest = None;
    while let Some(candidate) = candidates.pop() {
        // A removed file's name still says that everything before its first offset was synced.
        next_offset = next_offset.max(candidate.name.first_offset);
        if let Some(found) = recover_newest(disk, &candidate, &mut recovery)? {
            newest = Some(found);
            break;
        }
        disk.remove(&candidate.name.file()).map_err(failed("remove a torn segment from"))?;
    }

    let newest_sequence = newest.as_ref().map(|(segment, _): &(Segment, u64)| segment.name.sequence);
    next_offset = next_offset.max(offset_floor(&names, &recovery, newest_sequence));
    let mut index = Index::default();
    if let Some((segment, end)) = newest {
        if end < next_offset {
            let cause = format!("{} ends too early", segment.name.file());
            recovery.damages.push(Damage { from_offset: end, to_offset: next_offset, cause });
        }
        next_offset = next_offset.max(end);
        index.segments.push_front(segment);
        push_older(disk, candidates, &mut index.segments);
    }
    index.next_offset = next_offset;
    clip_damages(&mut recovery.damages, &index);
    handed::restore(disk, epoch, &mut index, recovery.created);
    recovery.removal = note::read(disk, epoch, &index);
    next_sequence = next_sequence.max(1);
    disk.sync_directory().map_err(failed("sync"))?;
    Ok(Recovered { index, epoch, next_sequence, recovery })
}

/// Removes what was being written when the journal ended; nothing of it was promised.
fn remove_left_over(disk: &dyn Disk, names: &mut Vec<String>) {
    names.retain(|name| {
        let left_over = is_left_over(name);
        if left_over && let Err(error) = disk.remove(name) {
            tracing::warn!("cannot remove {name}, which was left over: {error}");
        }
        !left_over
    });
}

/// Highest sequence number of any segment, also of those put aside.
fn highest_sequence(names: &[String]) -> Option<u64> {
    let own = |name: &String| {
        let name = name.strip_suffix(ASIDE_FUTURE).or(name.strip_suffix(ASIDE_FOREIGN)).unwrap_or(name);
        Name::parse(name).map(|name| name.sequence)
    };
    names.iter().filter_map(own).max()
}

/// Offsets below this may have been used by segments of a newer version that were put aside and
/// are younger than all others, so that nothing else tells where they ended.
fn offset_floor(names: &[String], recovery: &Recovery, newest_sequence: Option<u64>) -> u64 {
    let future = |name: &String| Name::parse(name.strip_suffix(ASIDE_FUTURE)?);
    let aside = names.iter().chain(&recovery.put_aside).filter_map(future);
    let younger = aside.filter(|name| newest_sequence.is_none_or(|newest| name.sequence > newest));
    younger.map(|name| name.first_offset.saturating_add(SEGMENT_RECORDS_MAX)).max().unwrap_or(0)
}

/// The damage of a segment that was put aside ends where the next one begins.
fn clip_damages(damages: &mut [Damage], index: &Index) {
    for damage in damages {
        let firsts = index.segments.iter().map(|segment| segment.name.first_offset);
        let later = firsts.filter(|first| *first > damage.from_offset).min();
        damage.to_offset = damage.to_offset.min(later.unwrap_or(index.next_offset));
    }
}

/// Segment files in order of their creation; those of a newer version are put aside.
fn read_headers(disk: &dyn Disk, names: &[String], recovery: &mut Recovery) -> Vec<Candidate> {
    let mut segments: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
    segments.sort_unstable();
    let mut candidates = Vec::with_capacity(segments.len());
    for name in segments {
        let found = disk.open(&name.file()).map_or(Found::Nothing, |file| Header::read(file.as_ref()));
        let header = match found {
            Found::Header(header) if header.name == name => Some(header),
            Found::Header(_) => {
                put_aside(disk, name, ASIDE_FOREIGN, recovery);
                continue;
            }
            Found::Future(version) => {
                let cause = format!("{} has the format version {version} of a newer Forebay", name.file());
                tracing::error!("{cause}; it is put aside");
                let to_offset = name.first_offset.saturating_add(SEGMENT_RECORDS_MAX);
                recovery.damages.push(Damage { from_offset: name.first_offset, to_offset, cause });
                put_aside(disk, name, ASIDE_FUTURE, recovery);
                continue;
            }
            Found::Nothing => None,
        };
        candidates.push(Candidate { name, header });
    }
    candidates
}

fn put_aside(disk: &dyn Disk, name: Name, suffix: &str, recovery: &mut Recovery) {
    let aside = name.file() + suffix;
    if let Err(error) = disk.rename(&name.file(), &aside) {
        // It is left out all the same, now and at the next start.
        tracing::warn!("cannot rename {} to {aside}: {error}", name.file());
    }
    recovery.put_aside.push(aside);
}

/// The directory's epoch; segments of another one are put aside.
///
/// Without a readable epoch file the newest readable segment decides.
fn establish_epoch(
    disk: &dyn Disk,
    candidates: &mut Vec<Candidate>,
    recovery: &mut Recovery,
) -> Result<Epoch, OpenError> {
    let epoch = if let Some(epoch) = read_epoch(disk) {
        epoch
    } else {
        let known = candidates.iter().rev().find_map(|candidate| Some(candidate.header.as_ref()?.epoch));
        recovery.created = known.is_none();
        let random = || {
            let failed = |source| OpenError { action: "make a random", file: "epoch".into(), source };
            disk.random().map(Epoch).map_err(failed)
        };
        let epoch = known.map_or_else(random, Ok)?;
        write_epoch(disk, epoch)?;
        epoch
    };
    candidates.retain(|candidate| {
        let own = candidate.header.as_ref().is_none_or(|header| header.epoch == epoch);
        if !own {
            tracing::error!("{} belongs to another journal; it is put aside", candidate.name.file());
            put_aside(disk, candidate.name, ASIDE_FOREIGN, recovery);
        }
        own
    });
    Ok(epoch)
}

/// Adds the older segments in front of the newest. One that begins where a later one begins was
/// given up before anything of it was synced, and is removed.
fn push_older(disk: &dyn Disk, mut candidates: Vec<Candidate>, segments: &mut VecDeque<Segment>) {
    while let Some(candidate) = candidates.pop() {
        let name = candidate.name;
        let later = segments.front().map_or(u64::MAX, |segment| segment.name.first_offset);
        let length = disk.open(&name.file()).and_then(|file| file.length());
        if name.first_offset >= later {
            if let Err(error) = disk.remove(&name.file()) {
                tracing::warn!("cannot remove {}, which a later segment replaces: {error}", name.file());
            }
        } else {
            segments.push_front(candidate.segment(length.unwrap_or(0)));
        }
    }
}

/// Finds the end of the newest segment, cuts what a crash has torn, and makes the rest durable:
/// after kill -9 a block may be readable that was never synced, and readers are about to see it.
///
/// `None` when nothing of the segment was ever synced.
fn recover_newest(
    disk: &dyn Disk,
    candidate: &Candidate,
    recovery: &mut Recovery,
) -> Result<Option<(Segment, u64)>, OpenError> {
    let name = candidate.name.file();
    let failed = |action| {
        let file = name.clone();
        move |source| OpenError { action, file, source }
    };
    let file = disk.open(&name).map_err(failed("open"))?;
    let length = file.length().map_err(failed("measure"))?;
    let survey = Survey::of(Scanner::new(file), candidate, length);
    let cut = survey.cut();
    if cut < HEADER_BYTES as u64 {
        recovery.torn_bytes += length;
        return Ok(None);
    }
    let file = disk.open(&name).map_err(failed("open"))?;
    if cut < length {
        tracing::warn!("{name}: {} bytes of a torn write cut off", length - cut);
        recovery.torn_bytes += length - cut;
        file.truncate(cut).map_err(failed("cut"))?;
    }
    file.sync().map_err(failed("sync"))?;
    let end = survey.damages(candidate, cut, &mut recovery.damages);
    Ok(Some((candidate.segment(cut), end)))
}

/// Everything found in a segment, good and bad, in order.
struct Survey {
    parts: Vec<Part>,
    length: u64,
    /// It was synced as a whole before it got its name, so that nothing of it can be torn.
    thinned: bool,
}

struct Part {
    at: u64,
    /// First offset, count and bytes since the sync before, of a block.
    block: Option<(u64, u64, u64)>,
    good: bool,
}

impl Survey {
    fn of(mut scanner: Scanner, candidate: &Candidate, length: u64) -> Self {
        let mut parts = vec![Part { at: 0, block: None, good: candidate.header.is_some() }];
        let mut thinned = candidate.header.is_some_and(|header| header.thinned);
        loop {
            let part = match scanner.step(length) {
                Step::End => return Self { parts, length, thinned },
                Step::Frame { at, frame: Frame::Dictionary { .. } } => Part { at, block: None, good: true },
                Step::Frame { at, frame: Frame::Block { head, .. } } => {
                    thinned |= head.thinned;
                    let block = (head.first_offset, u64::from(head.count), u64::from(head.group_bytes));
                    Part { at, block: Some(block), good: true }
                }
                Step::Bad(_) => {
                    let at = scanner.position();
                    scanner.resync(length);
                    Part { at, block: None, good: false }
                }
            };
            parts.push(part);
        }
    }

    /// Everything before this was synced, because a block says that it was written after that.
    fn proven(&self) -> u64 {
        let start = |part: &Part| part.block.map(|(_, _, group)| part.at.saturating_sub(group));
        self.parts.iter().filter_map(start).max().unwrap_or(0)
    }

    /// Where the file is to end: at the first bad byte that may belong to a torn write. Good
    /// frames behind it belong to the same write and were never synced either.
    fn cut(&self) -> u64 {
        if self.thinned {
            return self.length;
        }
        let proven = self.proven();
        let ends = self.parts.iter().skip(1).map(|part| part.at).chain([self.length]);
        let torn = self.parts.iter().zip(ends).find(|(part, end)| !part.good && *end > proven);
        torn.map_or(self.length, |(part, _)| part.at.max(proven))
    }

    /// Damage before `cut`; returns the offset behind the last record.
    fn damages(&self, candidate: &Candidate, cut: u64, damages: &mut Vec<Damage>) -> u64 {
        let mut end = candidate.name.first_offset;
        for part in &self.parts {
            let Some((first, count, _)) = part.block else { continue };
            // A block behind the cut is gone, but its offset tells what was before it.
            if first > end {
                let cause = format!("checksum mismatch in {}", candidate.name.file());
                damages.push(Damage { from_offset: end, to_offset: first, cause });
                end = first;
            }
            if part.at < cut {
                end = end.max(first.saturating_add(count));
            }
        }
        end
    }
}
