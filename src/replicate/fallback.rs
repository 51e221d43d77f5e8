//! A second cluster for the time when the first is away (`[kafka.fallback]`).
//!
//! It has a lane of its own, with a reader, a producer and a checkpoint topic of its own, so
//! everything that holds for the first cluster holds for it: exactly once, in order. It sends only
//! while the first has been away for a given time, and only what the first does not have. What it
//! has done changes nothing for the first, which gets everything when it is back.

use std::sync::Arc;
use std::time::Duration;

use super::control::ReplicationControl;
use super::options::Options;
use super::status::{ReplicationStatus, State};

/// The second cluster.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// The way there. Control and line should be those of the first cluster.
    pub options: Box<Options>,
    /// It gets data when the first has been away for so long.
    pub after: Duration,
}

/// The first cluster, as the second one's lane sees it.
pub(crate) struct Gate {
    first: Arc<ReplicationStatus>,
    after: Duration,
    control: Arc<ReplicationControl>,
    lane: String,
    epoch: String,
}

impl Gate {
    pub fn new(
        first: Arc<ReplicationStatus>,
        after: Duration,
        options: &Options,
        lane: &str,
        epoch: &str,
    ) -> Self {
        let control = Arc::clone(&options.control);
        Self { first, after, control, lane: lane.to_owned(), epoch: epoch.to_owned() }
    }

    /// True while the first cluster has been away for long enough. A second box under our name is
    /// no absence, and a pause holds for both.
    pub fn is_open(&self, now_us: i64) -> bool {
        let since_us = match self.first.snapshot().state {
            State::Waiting { since_us, .. }
            | State::Refused { since_us, .. }
            | State::NotLetIn { since_us, .. }
            | State::Settings { since_us, .. } => since_us,
            State::Connecting | State::Up | State::Fenced { .. } | State::Paused { .. } => return false,
            // The second one could be given nothing either.
            State::Unreadable { .. } => return false,
            State::Standby | State::Stopped => return false,
        };
        let after_us = i64::try_from(self.after.as_micros()).unwrap_or(i64::MAX);
        now_us.saturating_sub(since_us) >= after_us
    }

    /// Everything below is in the first cluster, by what is known; 0 = nothing is.
    pub fn first_has(&self) -> u64 {
        let seen = self.first.snapshot().complete_below;
        seen.or_else(|| self.control.recall_complete(&self.lane, &self.epoch)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_when_the_first_cluster_has_been_away_for_long_enough() {
        let first: Arc<ReplicationStatus> = Arc::default();
        let options = Options::new("kafka:9092", "forebay", "werk1", "box-1");
        let gate = Gate::new(Arc::clone(&first), Duration::from_secs(600), &options, "telemetry", "0a");
        let cause = || "no answer".to_owned();
        assert!(!gate.is_open(i64::MAX), "never tried");
        first.set(State::Waiting { since_us: 1_000_000, cause: cause() });
        assert!(!gate.is_open(600_999_999));
        assert!(gate.is_open(601_000_000));
        first.set(State::Refused { since_us: 5_000_000, cause: cause() });
        assert!(!gate.is_open(601_000_000), "it answers since 5 s, if only with a no");
        for state in [State::Up, State::Paused { since_us: 0, by: cause() }] {
            first.set(state);
            assert!(!gate.is_open(i64::MAX));
        }
    }
}
