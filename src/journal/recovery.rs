//! Opening a directory: which segments there are, and where the newest one really ends.

use std::collections::VecDeque;
use std::io;

use super::closed::Closed;
use super::disk::{Disk, DiskFile};
use super::handed::{self, OnDisk};
use super::index::{Handed, Index, Segment};
use super::note;
use super::scan::Scanner;
use super::segment::{
    ASIDE_FOREIGN, ASIDE_FUTURE, ASIDE_UNREADABLE, EPOCH_FILE, Found, HEADER_BYTES, Header, Name,
    is_left_over, is_of_the_file, read_epoch, read_exact_at, write_epoch,
};
use super::survey::Survey;
use super::unreadable::ReadError;
use super::{Damage, Epoch, OpenError, Recovery};

/// More records than any segment holds: added when the records of one cannot be counted.
pub(super) const SEGMENT_RECORDS_MAX: u64 = 1 << 32;

/// All that [`recover`] found.
pub(super) struct Recovered {
    pub index: Index,
    pub epoch: Epoch,
    pub next_sequence: u64,
    pub recovery: Recovery,
    pub on_disk: OnDisk,
    /// Files that should be gone and are not.
    pub left: Vec<Name>,
}

/// A segment file and its header.
struct Candidate {
    name: Name,
    header: Option<Header>,
    /// The disk gave an error in the place of the header.
    is_unread: bool,
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
    let mut candidates = read_headers(disk, &names, &mut recovery)?;
    let epoch = establish_epoch(disk, &mut candidates, &mut recovery)?;
    let closed = Closed::take(disk, epoch, highest_sequence(&names));

    let mut next_offset = closed.map_or(0, |closed| closed.next_offset);
    let mut newest = None;
    let mut left = Vec::new();
    while let Some(candidate) = candidates.pop() {
        // A removed file's name still says that everything before its first offset was synced.
        next_offset = next_offset.max(candidate.name.first_offset);
        match recover_newest(disk, &candidate, closed, &mut recovery)? {
            Newest::Found(segment, end) => {
                newest = Some((segment, end));
                break;
            }
            Newest::Torn => left.extend(remove_torn(disk, candidate.name)),
            Newest::Unreadable(error) => {
                let cause = format!("{} cannot be opened: {error}", candidate.name.file());
                put_aside_unknown(disk, candidate.name, ASIDE_UNREADABLE, cause, &mut recovery);
            }
        }
    }

    let newest_sequence = newest.as_ref().map(|(segment, _): &(Segment, u64)| segment.name.sequence);
    next_offset = next_offset.max(offset_floor(&names, &recovery, newest_sequence));
    let mut index = Index::default();
    if let Some((segment, end)) = newest {
        if end < next_offset {
            let cause = format!("{} ends too early", segment.name.file());
            recovery.damages.push(Damage::new(end, next_offset, cause));
        }
        next_offset = next_offset.max(end);
        index.segments.push_front(segment);
        left.extend(push_older(disk, candidates, &mut index.segments));
    }
    index.next_offset = next_offset;
    recovery.damages.extend(closed.and_then(|closed| closed.missing_in_front(index.first_offset())));
    clip_damages(&mut recovery.damages, &index);
    let on_disk = handed::restore(disk, epoch, &mut index, recovery.created);
    recovery.removal = note::read(disk, epoch, &index);
    next_sequence = next_sequence.max(1);
    disk.sync_directory().map_err(failed("sync"))?;
    Ok(Recovered { index, epoch, next_sequence, recovery, on_disk, left })
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
pub(super) fn highest_sequence(names: &[String]) -> Option<u64> {
    let own = |name: &String| {
        let aside =
            [ASIDE_FUTURE, ASIDE_FOREIGN, ASIDE_UNREADABLE].iter().find_map(|it| name.strip_suffix(it));
        Name::parse(aside.unwrap_or(name)).map(|name| name.sequence)
    };
    names.iter().filter_map(own).max()
}

/// Offsets below this may have been used by segments that were put aside unread and are younger than
/// all others, so that nothing else tells where they ended.
fn offset_floor(names: &[String], recovery: &Recovery, newest_sequence: Option<u64>) -> u64 {
    let unread =
        |name: &String| Name::parse(name.strip_suffix(ASIDE_FUTURE).or(name.strip_suffix(ASIDE_UNREADABLE))?);
    let aside = names.iter().chain(&recovery.put_aside).filter_map(unread);
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
fn read_headers(
    disk: &dyn Disk,
    names: &[String],
    recovery: &mut Recovery,
) -> Result<Vec<Candidate>, OpenError> {
    let mut segments: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
    segments.sort_unstable();
    let mut candidates = Vec::with_capacity(segments.len());
    for name in segments {
        let found = disk.open(&name.file()).and_then(|file| Header::read(file.as_ref()));
        let is_unread = found.as_ref().is_err_and(|error| !is_of_the_file(error));
        let header = match found {
            Err(error) if ReadError::from(&error).is_passing() => {
                return Err(OpenError { action: "open", file: name.file(), source: error });
            }
            Ok(Found::Header(header)) if header.name == name => Some(header),
            Ok(Found::Header(_)) => {
                put_aside(disk, name, ASIDE_FOREIGN, recovery);
                continue;
            }
            Ok(Found::Future(version)) => {
                let cause = format!("{} has the format version {version} of a newer Forebay", name.file());
                put_aside_unknown(disk, name, ASIDE_FUTURE, cause, recovery);
                continue;
            }
            Ok(Found::Nothing) | Err(_) => None,
        };
        candidates.push(Candidate { name, header, is_unread });
    }
    Ok(candidates)
}

/// Puts a segment aside whose records cannot even be counted.
fn put_aside_unknown(disk: &dyn Disk, name: Name, suffix: &str, cause: String, recovery: &mut Recovery) {
    tracing::error!("{cause}; it is put aside");
    let to_offset = name.first_offset.saturating_add(SEGMENT_RECORDS_MAX);
    recovery.damages.push(Damage::new(name.first_offset, to_offset, cause));
    put_aside(disk, name, suffix, recovery);
}

/// Removes a segment of which nothing was ever synced. It may stay: the next one begins at the same
/// offset and replaces it.
fn remove_torn(disk: &dyn Disk, name: Name) -> Option<Name> {
    let error = disk.remove(&name.file()).err()?;
    tracing::warn!("cannot remove {}, of which nothing was synced: {error}", name.file());
    Some(name)
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
    let read = read_epoch(disk);
    let epoch = if let Ok(Some(epoch)) = read {
        epoch
    } else {
        let known = candidates.iter().rev().find_map(|candidate| Some(candidate.header.as_ref()?.epoch));
        match read {
            // A new name would make everything here somebody else's.
            Err(source) if known.is_none() => {
                return Err(OpenError { action: "read", file: EPOCH_FILE.to_owned(), source });
            }
            _ if known.is_none() && candidates.iter().any(|candidate| candidate.is_unread) => {
                let source = io::Error::other("no segment tells what the journal is called");
                return Err(OpenError { action: "read", file: "the heads of the segments".into(), source });
            }
            _ => {}
        }
        recovery.created = known.is_none();
        let random = || {
            let failed = |source| OpenError { action: "make a random", file: "epoch".into(), source };
            disk.random().map(Epoch).map_err(failed)
        };
        let epoch = known.map_or_else(random, Ok)?;
        match write_epoch(disk, epoch) {
            // The segments know it as well, also when the disk is full or read-only.
            Err(error) if known.is_some() => tracing::warn!("{error}: {}", error.source),
            written => written?,
        }
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
/// given up before anything of it was synced, and is removed; those that could not be are given.
fn push_older(
    disk: &dyn Disk,
    mut candidates: Vec<Candidate>,
    segments: &mut VecDeque<Segment>,
) -> Vec<Name> {
    let mut left = Vec::new();
    while let Some(candidate) = candidates.pop() {
        let name = candidate.name;
        let later = segments.front().map_or(u64::MAX, |segment| segment.name.first_offset);
        let length = disk.open(&name.file()).and_then(|file| file.length());
        if name.first_offset >= later {
            if let Err(error) = disk.remove(&name.file()) {
                tracing::warn!("cannot remove {}, which a later segment replaces: {error}", name.file());
                left.push(name);
            }
        } else {
            segments.push_front(candidate.segment(length.unwrap_or(0)));
        }
    }
    left
}

/// What the newest segment is.
enum Newest {
    /// It and the offset behind its last record.
    Found(Segment, u64),
    /// Nothing of it was ever synced.
    Torn,
    /// Nobody knows what it holds.
    Unreadable(io::Error),
}

/// Finds the end of the newest segment, cuts what a crash has torn, and makes the rest durable:
/// after kill -9 a block may be readable that was never synced, and readers are about to see it.
///
/// `closed` knows how much of it was synced, when the journal was closed in order.
fn recover_newest(
    disk: &dyn Disk,
    candidate: &Candidate,
    closed: Option<Closed>,
    recovery: &mut Recovery,
) -> Result<Newest, OpenError> {
    let name = candidate.name.file();
    let failed = |action| {
        let file = name.clone();
        move |source| OpenError { action, file, source }
    };
    let opened = disk.open(&name).and_then(|file| Ok((file.length()?, file)));
    let (length, file) = match opened {
        Ok(opened) => opened,
        Err(error) if ReadError::from(&error).is_passing() => return Err(failed("open")(error)),
        Err(error) if is_of_the_file(&error) => return Ok(Newest::Unreadable(error)),
        Err(error) => return Ok(keep_unread(candidate, closed, 0, None, &error.into())),
    };
    let survey = Survey::of(Scanner::new(file), candidate.name, candidate.header.as_ref(), length);
    if let Some(error) = survey.failure() {
        return Ok(keep_unread(candidate, closed, length, survey.readable_end(), &error));
    }
    let cut = survey.cut().max(closed.map_or(0, |closed| closed.synced_bytes(candidate.name)).min(length));
    if cut < HEADER_BYTES as u64 {
        recovery.torn_bytes += length;
        return Ok(Newest::Torn);
    }
    let file = disk.open(&name).map_err(failed("open"))?;
    if cut < length {
        tracing::warn!("{name}: {} bytes of a torn write cut off", length - cut);
        recovery.torn_bytes += length - cut;
        // It may stay, as on a file system that is read-only now: nothing behind the cut is ever read.
        if let Err(error) = file.truncate(cut) {
            tracing::warn!("{name}: cannot be cut: {error}");
        }
    }
    let durable = closed.map_or(0, |closed| closed.synced_bytes(candidate.name)).max(survey.proven());
    if let Err(error) = rewrite(file.as_ref(), durable, cut) {
        // Of a file system that is read-only now nothing more can be had.
        tracing::warn!("{name}: its end cannot be written again: {error}");
    }
    file.sync().map_err(failed("sync"))?;
    let end = survey.damages(cut, &mut recovery.damages);
    // Behind damage it may have been estimated, and then too high.
    let known = closed.and_then(|closed| closed.end_of(candidate.name, cut));
    Ok(Newest::Found(candidate.segment(cut), known.map_or(end, |known| end.min(known))))
}

/// A newest segment of which the disk does not give all: nothing of it is cut or told as lost, because
/// it may be read later. Where its end is not known, offsets go on behind all it can hold.
fn keep_unread(
    candidate: &Candidate,
    closed: Option<Closed>,
    length: u64,
    readable_end: Option<u64>,
    error: &ReadError,
) -> Newest {
    let name = candidate.name;
    tracing::error!("{} cannot be read now: {error}; it is kept, and tried again", name.file());
    let synced = closed.map_or(0, |closed| closed.synced_bytes(name));
    let known = closed.filter(|_| synced > 0).map(|closed| closed.next_offset).or(readable_end);
    let end = known.unwrap_or(name.first_offset.saturating_add(SEGMENT_RECORDS_MAX));
    Newest::Found(candidate.segment(if synced > 0 { synced } else { length }), end)
}

/// Writes the last bytes again, because a sync of them may have failed before the process died.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    if bytes.is_empty() || !read_exact_at(file, from, &mut bytes)? {
        return Ok(());
    }
    file.rewrite(from, &bytes)
}

/// Where the newest segment really ends.
pub(super) struct NewestEnd {
    /// Bytes that were synced; less than a header when nothing was.
    pub bytes: u64,
    /// Behind the last record in them.
    pub offset: u64,
}

/// The end of the newest segment as a start would find it, without changing anything; `closed` as
/// for a start.
pub(super) fn newest_end(disk: &dyn Disk, name: Name, closed: Option<Closed>) -> std::io::Result<NewestEnd> {
    let file = disk.open(&name.file())?;
    let length = file.length()?;
    let header = match Header::read(file.as_ref()) {
        Ok(Found::Header(header)) => Some(header),
        _ => None,
    };
    let survey = Survey::of(Scanner::new(file), name, header.as_ref(), length);
    if survey.failure().is_some() {
        let most = name.first_offset.saturating_add(SEGMENT_RECORDS_MAX);
        return Ok(NewestEnd { bytes: length, offset: survey.readable_end().unwrap_or(most) });
    }
    let cut = survey.cut().max(closed.map_or(0, |closed| closed.synced_bytes(name)).min(length));
    Ok(NewestEnd { bytes: cut, offset: survey.damages(cut, &mut Vec::new()) })
}

/// The segments of one journal in order of their creation, without changing anything: its epoch is
/// the one given, else that of the newest readable segment. `None` when there is neither.
pub(super) fn read_headers_only(
    disk: &dyn Disk,
    names: &[String],
    epoch: Option<Epoch>,
) -> (Option<Epoch>, Vec<Segment>) {
    let mut sorted: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
    sorted.sort_unstable();
    let mut found = Vec::with_capacity(sorted.len());
    for name in sorted {
        let read = match disk.open(&name.file()) {
            // What has been removed since the directory was listed is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.and_then(|file| Ok((Header::read(file.as_ref())?, file.length()?))),
        };
        let is_unread = read.is_err();
        let (header, bytes) = match read {
            Ok((Found::Header(header), bytes)) if header.name == name => (Some(header), bytes),
            Ok((Found::Header(_) | Found::Future(_), _)) => continue,
            Ok((Found::Nothing, bytes)) => (None, bytes),
            Err(_) => (None, 0),
        };
        let candidate = Candidate { name, header, is_unread };
        let segment = candidate.segment(bytes);
        found.push((candidate.header.map(|header| header.epoch), segment));
    }
    let epoch = epoch.or_else(|| found.iter().rev().find_map(|(epoch, _)| *epoch));
    let own = found.into_iter().filter(|(of, _)| of.is_none() || *of == epoch);
    (epoch, own.map(|(_, segment)| segment).collect())
}
