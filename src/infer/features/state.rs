//! Only some states of a machine can be judged: it runs, and what was switched on has settled.

use std::time::Duration;

/// States in which windows are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFilter {
    /// Path of the tag that tells the state.
    pub tag: String,
    /// Names of an enumeration, numbers, or `true` and `false`, as text.
    pub is: Vec<String>,
    /// How long a state must have lasted.
    pub settle: Duration,
}

/// Whether a machine may be judged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Open,
    /// It is in another state.
    Other,
    /// In the right state, not yet for long enough.
    Settling,
}

/// The filter at work.
#[derive(Debug, Clone)]
pub struct Filter {
    settle_us: i64,
    since_us: Option<i64>,
}

impl Filter {
    /// Nothing is known of the machine yet. A state counts once it has lasted for `settle`.
    pub fn new(settle: Duration) -> Self {
        let settle_us = i64::try_from(settle.as_micros()).unwrap_or(i64::MAX);
        Self { settle_us, since_us: None }
    }

    /// Takes whether the machine is in one of the states, at `now_us` (microseconds).
    pub fn push(&mut self, inside: bool, now_us: i64) -> Verdict {
        if !inside {
            self.since_us = None;
            return Verdict::Other;
        }
        // A clock that was set back must not hold it up.
        let since_us = self.since_us.map_or(now_us, |since_us| since_us.min(now_us));
        self.since_us = Some(since_us);
        if now_us.saturating_sub(since_us) < self.settle_us { Verdict::Settling } else { Verdict::Open }
    }

    /// Nothing is known of the state for a while.
    pub fn interrupt(&mut self) {
        self.since_us = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_must_last_before_it_is_judged() {
        let mut filter = Filter::new(Duration::from_micros(3));
        let told: Vec<Verdict> = [(true, 0), (true, 2), (true, 3), (false, 4), (true, 5), (true, 8)]
            .map(|(inside, now_us)| filter.push(inside, now_us))
            .into();
        use Verdict::{Open, Other, Settling};
        assert_eq!(told, [Settling, Settling, Open, Other, Settling, Open]);
        filter.interrupt();
        assert_eq!(filter.push(true, 9), Settling);
        assert_eq!([1, 3, 4].map(|now_us| filter.push(true, now_us)), [Settling, Settling, Open], "set back");
    }
}
