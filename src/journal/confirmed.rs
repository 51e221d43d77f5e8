//! What of a journal its receiver is known to have, while the receiver itself cannot be asked: a
//! lower bound that somebody remembered. It decides nothing but words, counts and what is history.

use std::ops::Range;

use super::Journal;
use super::index::{Handed, Index, Segment};

/// Records by what is known of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The receiver has them.
    pub confirmed: u64,
    /// Some of them were given away, or nobody knows whether: the receiver may have them.
    pub perhaps: u64,
    /// Never given away.
    pub unsent: u64,
    /// The first that is not confirmed; `None` when there is none.
    pub first_open: Option<u64>,
    /// The first that was never given away; `None` when there is none.
    pub first_unsent: Option<u64>,
}

impl Index {
    /// What is known of the records in `range`, when all before `confirmed` were confirmed. Of a
    /// segment that nobody was given that cannot be true: a journal that was put back from a copy
    /// has given the offsets to other records.
    pub(super) fn known(&self, range: &Range<u64>, confirmed: u64) -> Known {
        let mut known = Known::default();
        for (at, segment) in self.segments.iter().enumerate() {
            let first = segment.name.first_offset.max(range.start);
            let end = self.end(at).min(range.end);
            if first >= end {
                continue;
            }
            let open = confirmed_of(segment, confirmed).clamp(first, end);
            known.confirmed += open - first;
            if open == end {
                continue;
            }
            known.first_open = known.first_open.or(Some(open));
            if segment.handed == Handed::No {
                known.unsent += end - open;
                known.first_unsent = known.first_unsent.or(Some(open));
            } else {
                known.perhaps += end - open;
            }
        }
        known
    }
}

/// How much of `confirmed` holds in this segment.
pub(super) fn confirmed_of(segment: &Segment, confirmed: u64) -> u64 {
    if segment.handed == Handed::Yes { confirmed } else { 0 }
}

impl Journal {
    /// Whoever the records are handed to had confirmed those before `offset` when it was last heard,
    /// before this start. What was stored since is left out of it.
    pub fn confirm(&mut self, offset: u64) {
        self.confirmed = self.confirmed.max(offset.min(self.opened_at));
    }

    /// The receiver itself was heard: what was remembered of it does not count any more.
    pub fn forget_confirmed(&mut self) {
        self.confirmed = 0;
    }

    /// Offset behind the records that were there at the start.
    pub fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// What is known of the records before `end`.
    pub fn known_before(&self, end: u64) -> Known {
        let index = self.shared.lock();
        let mut known = index.known(&(self.committed..end.max(self.committed)), self.confirmed);
        known.confirmed += self.committed.min(end).saturating_sub(index.first_offset());
        known
    }
}
