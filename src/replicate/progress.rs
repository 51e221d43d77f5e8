//! How far a lane has come, with what it left for later.

use std::ops::Range;

use super::checkpoint::Checkpoint;

/// Ranges at most: with more, live waits for its turn again. The checkpoint of so many has 3 KB.
pub(crate) const RANGES_MAX: usize = 100;

/// All offsets below `live` are in Kafka except the backlog.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// First offset that live has not sent.
    live: u64,
    /// Left for later: ascending, not empty, apart from each other, all below `live`.
    backlog: Vec<Range<u64>>,
}

impl Progress {
    /// What a checkpoint says. It came over the network, so nothing in it is taken for granted.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let live = checkpoint.next_offset;
        let mut read: Vec<_> = checkpoint.backlog.iter().map(|&(from, to)| from..to.min(live)).collect();
        read.retain(|range| !range.is_empty());
        read.sort_by_key(|range| range.start);
        let mut backlog: Vec<Range<u64>> = Vec::new();
        for range in read {
            match backlog.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => backlog.push(range),
            }
        }
        Self { live, backlog }
    }

    /// First offset that live has not sent.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// As a checkpoint holds it.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        self.backlog.iter().map(|range| (range.start, range.end)).collect()
    }

    /// What is to be sent next of the backlog.
    pub fn next_range(&self) -> Option<Range<u64>> {
        self.backlog.first().cloned()
    }

    /// Everything below is in Kafka.
    pub fn complete_below(&self) -> u64 {
        self.backlog.first().map_or(self.live, |range| range.start)
    }

    /// Kafka has this one.
    pub fn has(&self, offset: u64) -> bool {
        offset < self.live && !self.backlog.iter().any(|range| range.contains(&offset))
    }

    /// Offsets that wait in the backlog; those that were evicted meanwhile count, too.
    pub fn backlog_records(&self) -> u64 {
        self.backlog.iter().map(|range| range.end - range.start).sum()
    }

    /// Live has sent everything before `next`.
    pub fn live_sent(&mut self, next: u64) {
        self.live = self.live.max(next);
    }

    /// The first range of the backlog has been sent up to before `next`.
    pub fn backlog_sent(&mut self, next: u64) {
        if let Some(first) = self.backlog.first_mut() {
            first.start = first.start.max(next);
            if first.is_empty() {
                self.backlog.remove(0);
            }
        }
    }

    /// Leaves everything from `from`, where live stands, to before `to` for later. False when
    /// there are too many ranges already, or nothing to leave.
    pub fn leave_for_later(&mut self, from: u64, to: u64) -> bool {
        let from = from.max(self.live);
        if from >= to {
            return false;
        }
        let ranges = self.backlog.len();
        match self.backlog.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ if ranges >= RANGES_MAX => return false,
            _ => self.backlog.push(from..to),
        }
        self.live = to;
        true
    }

    /// Someone else has everything below `offset`, so it need not be sent.
    pub fn skip_below(&mut self, offset: u64) {
        self.live = self.live.max(offset);
        for range in &mut self.backlog {
            range.start = range.start.max(offset);
        }
        self.backlog.retain(|range| !range.is_empty());
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // a few hundred offsets
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint(next_offset: u64, backlog: Vec<(u64, u64)>) -> Checkpoint {
        Checkpoint { next_offset, backlog, ..Checkpoint::default() }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Live(u64),
        Backlog(u64),
        Leave(u64),
        Restart,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_u64..9).prop_map(Step::Live),
            (1_u64..9).prop_map(Step::Backlog),
            (1_u64..9).prop_map(Step::Leave),
            Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against the plain list of what was sent.
        #[test]
        fn what_is_not_sent_is_in_the_backlog_or_before_live(steps in prop::collection::vec(any_step(), 0..40)) {
            let mut progress = Progress::default();
            let mut sent = [false; 400];
            for step in steps {
                let live = progress.live();
                match step {
                    Step::Live(count) => {
                        sent[live as usize..(live + count) as usize].fill(true);
                        progress.live_sent(live + count);
                    }
                    Step::Backlog(count) => {
                        let Some(range) = progress.next_range() else { continue };
                        let next = (range.start + count).min(range.end);
                        prop_assert!(!sent[range.start as usize..next as usize].contains(&true), "sent twice");
                        sent[range.start as usize..next as usize].fill(true);
                        progress.backlog_sent(next);
                    }
                    Step::Leave(count) => prop_assert!(progress.leave_for_later(live, live + count)),
                    Step::Restart => progress = Progress::of(&checkpoint(live, progress.ranges())),
                }
                let waits = |offset: u64| progress.ranges().iter().any(|(from, to)| (*from..*to).contains(&offset));
                for offset in 0..400 {
                    prop_assert_eq!(sent[offset as usize], offset < progress.live() && !waits(offset));
                    prop_assert_eq!(sent[offset as usize], progress.has(offset));
                }
                let complete = sent.iter().position(|sent| !sent).unwrap() as u64;
                prop_assert_eq!(progress.complete_below(), complete);
            }
        }

        #[test]
        fn any_checkpoint_is_taken_without_harm(next in any::<u64>(), ranges in prop::collection::vec(any::<(u64, u64)>(), 0..9)) {
            let progress = Progress::of(&checkpoint(next, ranges));
            let mut before = None;
            for (from, to) in progress.ranges() {
                prop_assert!(from < to && to <= next && before.is_none_or(|before| before < from));
                before = Some(to);
            }
        }
    }

    #[test]
    fn ranges_that_touch_become_one_and_too_many_are_refused() {
        let mut progress = Progress::default();
        assert!(progress.leave_for_later(0, 5));
        assert!(progress.leave_for_later(5, 9), "a second outage before anything was live");
        assert_eq!(progress.ranges(), [(0, 9)]);
        assert!(!progress.leave_for_later(9, 9), "nothing to leave");
        while progress.ranges().len() < RANGES_MAX {
            progress.live_sent(progress.live() + 1);
            assert!(progress.leave_for_later(progress.live(), progress.live() + 1));
        }
        let live = progress.live() + 1;
        progress.live_sent(live);
        assert!(!progress.leave_for_later(live, live + 1));
        assert_eq!(progress.live(), live, "live goes on in order");
        progress.skip_below(12);
        assert_eq!(progress.complete_below(), 12);
    }
}
