//! What is good and what is bad in the newest segment, and where it really ends.

use super::Damage;
use super::chain::{ChainReader, offset_between};
use super::frame::{ChainHead, Frame, Joint};
use super::scan::{Scanner, Step};
use super::segment::{Header, Name};
use super::unreadable::ReadError;

/// Length and content of a record.
const RECORD_BYTES_MIN: u64 = 2;

/// Everything found in a segment, in order; neighbours of one kind together.
pub(super) struct Survey {
    name: Name,
    runs: Vec<Run>,
    length: u64,
    /// Everything before this was synced, because a block says that it was written after that.
    proven: u64,
    /// It was synced as a whole before it got its name, so that nothing of it can be torn.
    thinned: bool,
    /// What the disk said in the place of some of the bytes: what is bad is not known to be so.
    failure: Option<ReadError>,
}

/// Bytes of one kind.
struct Run {
    at: u64,
    good: bool,
    blocks: Option<Blocks>,
}

/// The blocks of a run.
#[derive(Clone, Copy)]
struct Blocks {
    first_offset: u64,
    /// Behind the last record.
    end: u64,
    /// They can be read. Those of a chain that is broken before them cannot, and their offsets may
    /// be too high.
    readable: bool,
}

/// Finds the offsets of blocks while the runs are gathered.
struct Walk {
    chain: ChainReader,
    /// Behind the last record, as far as is known.
    end: u64,
    /// Bytes that were bad since.
    bad_bytes: u64,
    /// What follows of the chain cannot be read.
    broken: bool,
}

impl Survey {
    pub(super) fn of(scanner: Scanner, name: Name, header: Option<&Header>, length: u64) -> Self {
        let mut scanner = scanner.tolerant();
        let mut survey = Self {
            name,
            runs: vec![Run { at: 0, good: header.is_some(), blocks: None }],
            length,
            proven: 0,
            thinned: header.is_some_and(|header| header.thinned),
            failure: None,
        };
        let (end, chain) = (name.first_offset, ChainReader::default());
        let mut walk = Walk { chain, end, bad_bytes: 0, broken: false };
        loop {
            let (at, blocks, group_bytes) = match scanner.step(length) {
                Step::Failed(_) | Step::End => {
                    survey.failure = scanner.failure();
                    return survey;
                }
                Step::Bad(_) => {
                    let at = scanner.position();
                    if scanner.resync(length).is_err() {
                        scanner.go_to(length);
                    }
                    walk.bad_bytes += scanner.position() - at;
                    walk.broken = true;
                    survey.runs.push(Run { at, good: false, blocks: None });
                    continue;
                }
                Step::Frame { at, frame: Frame::Block { head, .. } } => {
                    survey.thinned |= head.thinned;
                    (at, Some(walk.exact(head.first_offset, head.count)), head.group_bytes)
                }
                Step::Frame { at, frame: Frame::Chain { head, .. } } => {
                    (at, Some(walk.chained(&head)), head.group_bytes)
                }
                Step::Frame { at, .. } => (at, None, 0),
            };
            if blocks.is_some() {
                survey.proven = survey.proven.max(at.saturating_sub(u64::from(group_bytes)));
            }
            survey.add(at, blocks);
        }
    }

    /// Adds a good frame to the run, or begins one.
    fn add(&mut self, at: u64, blocks: Option<Blocks>) {
        let Some(run) = self.runs.last_mut().filter(|run| run.good) else {
            return self.runs.push(Run { at, good: true, blocks });
        };
        match (&mut run.blocks, blocks) {
            (_, None) => {}
            (none @ None, Some(_)) => *none = blocks,
            (Some(before), Some(blocks))
                if before.end == blocks.first_offset && before.readable == blocks.readable =>
            {
                before.end = blocks.end;
            }
            _ => self.runs.push(Run { at, good: true, blocks }),
        }
    }

    /// What the disk said in the place of some of the bytes.
    pub(super) fn failure(&self) -> Option<ReadError> {
        self.failure
    }

    /// The offset behind the last record, when that can be read, whatever is in front of it.
    pub(super) fn readable_end(&self) -> Option<u64> {
        let last = self.runs.last().filter(|run| run.good)?;
        last.blocks.filter(|blocks| blocks.readable).map(|blocks| blocks.end)
    }

    /// Everything before this is known to be synced.
    pub(super) fn proven(&self) -> u64 {
        if self.thinned { self.length } else { self.proven }
    }

    /// Where the file is to end: at the first bad byte that may belong to a torn write. Good
    /// frames behind it belong to the same write and were never synced either.
    pub(super) fn cut(&self) -> u64 {
        if self.thinned {
            return self.length;
        }
        let ends = self.runs.iter().skip(1).map(|run| run.at).chain([self.length]);
        let torn = self.runs.iter().zip(ends).find(|(run, end)| !run.good && *end > self.proven);
        torn.map_or(self.length, |(run, _)| run.at.max(self.proven))
    }

    /// Damage before `cut`; returns the offset behind the last record.
    pub(super) fn damages(&self, cut: u64, damages: &mut Vec<Damage>) -> u64 {
        let mut end = self.name.first_offset;
        let mut tell = |from_offset: u64, to_offset: u64| {
            if to_offset > from_offset {
                let cause = format!("checksum mismatch in {}", self.name.file());
                damages.push(Damage::new(from_offset, to_offset, cause));
            }
            to_offset.max(from_offset)
        };
        let mut unreadable = end;
        for run in &self.runs {
            let Some(blocks) = run.blocks else { continue };
            // A block behind the cut is gone, but its offset tells what was before it.
            let behind = if run.at < cut { blocks.end } else { blocks.first_offset };
            if blocks.readable {
                end = tell(end, blocks.first_offset).max(behind);
                unreadable = end;
            } else {
                unreadable = unreadable.max(behind);
            }
        }
        tell(end, unreadable)
    }
}

impl Walk {
    fn exact(&mut self, first_offset: u64, count: u32) -> Blocks {
        self.end = first_offset.saturating_add(u64::from(count));
        (self.bad_bytes, self.broken) = (0, false);
        Blocks { first_offset, end: self.end, readable: true }
    }

    fn chained(&mut self, head: &ChainHead) -> Blocks {
        let low = match head.joint {
            Joint::Key { first_offset, .. } => {
                self.chain.join(head);
                return self.exact(first_offset, head.count);
            }
            Joint::Next(low) => low,
        };
        if !self.broken
            && let Some(first_offset) = self.chain.join(head)
        {
            return self.exact(first_offset, head.count);
        }
        // The block says only how its offset ends. A record takes two bytes at least, so not more of
        // them are missing than half the bytes.
        let most = self.end.saturating_add(self.bad_bytes / RECORD_BYTES_MIN);
        let first_offset = offset_between(low, self.end, most);
        self.end = first_offset.saturating_add(u64::from(head.count));
        (self.bad_bytes, self.broken) = (0, true);
        Blocks { first_offset, end: self.end, readable: false }
    }
}
