//! How far an imported backlog is, as it is shown.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Finished ones that are remembered.
pub(super) const FINISHED_MAX: usize = 20;
/// After an attempt that has disturbed others and brought something.
const PAUSE: Duration = Duration::from_secs(10);
/// After the first one that has brought nothing; doubles with each in a row.
const PAUSE_IN_VAIN: Duration = Duration::from_secs(30);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// One backlog that waits or is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Folder below `import` in the state.
    pub name: String,
    /// Site of the box it comes from.
    pub site: String,
    /// That box.
    pub edge: String,
    /// Lane.
    pub lane: String,
    /// Epoch of its journal.
    pub epoch: String,
    /// First offset.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
    /// Behind the last that Kafka has; `from` until that is known.
    pub next_offset: u64,
    /// How many of its records Kafka had when it was first asked; `None` = not yet known.
    pub had: Option<u64>,
    /// Since when it is in this state, microseconds since 1970 UTC.
    pub since_us: i64,
    /// When it is tried again, if not within seconds; microseconds since 1970 UTC.
    pub next_try_us: Option<i64>,
    /// When that was last found out, microseconds since 1970 UTC.
    pub looked_us: Option<i64>,
    /// It was told that it is being sent.
    #[serde(skip)]
    pub(super) is_begun: bool,
    /// How far it is.
    #[serde(flatten)]
    pub state: ImportState,
}

/// How far a backlog is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "text", rename_all = "kebab-case")]
pub enum ImportState {
    /// Not begun, or not just now; in words what it waits for, empty = its turn. Nobody needs to do
    /// anything.
    Waiting(String),
    /// Being sent; in words what Kafka says.
    Sending(String),
    /// Somebody must do something, in words what.
    Held(String),
}

impl ImportState {
    fn kind(&self) -> u8 {
        match self {
            Self::Waiting(_) => 0,
            Self::Sending(_) => 1,
            Self::Held(_) => 2,
        }
    }
}

impl Import {
    /// Takes this state; the beginning of one of the same kind is kept. Whether it is new.
    pub(super) fn become_(&mut self, state: ImportState, now_us: i64) -> bool {
        if state.kind() != self.state.kind() {
            self.since_us = now_us;
        }
        let is_new = self.state != state;
        self.state = state;
        is_new
    }
}

/// One that is in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// Folder it had.
    pub name: String,
    /// Box it comes from.
    pub edge: String,
    /// Lane.
    pub lane: String,
    /// How many records.
    pub records: u64,
    /// How many of them Kafka had before.
    pub had: u64,
    /// Since when all are known to be there, microseconds since 1970 UTC.
    pub done_us: i64,
}

impl Finished {
    pub(super) fn new(import: &Import, done_us: i64) -> Self {
        let Import { name, edge, lane, from, to, had, .. } = import.clone();
        Self { name, edge, lane, records: to - from, had: had.unwrap_or(0), done_us }
    }
}

/// When a backlog may be tried again that had to be given up after others were disturbed.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    in_vain: u32,
    next_offset: u64,
    until: Option<Instant>,
}

impl Pauses {
    /// The pause after an attempt that ended with everything below `next_offset` in Kafka.
    pub fn next(&mut self, next_offset: u64) -> Duration {
        let pause = if next_offset > self.next_offset {
            (self.in_vain, self.next_offset) = (0, next_offset);
            PAUSE
        } else {
            let pause = PAUSE_IN_VAIN.saturating_mul(1 << self.in_vain.min(10)).min(PAUSE_MAX);
            self.in_vain += 1;
            pause
        };
        self.until = Some(Instant::now() + pause);
        pause
    }

    pub fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_nothing_comes_of_it() {
        let mut pauses = Pauses::default();
        assert!(pauses.is_over());
        let seconds: Vec<u64> =
            [0, 0, 0, 0, 0, 0, 0, 500, 500, 900].map(|next| pauses.next(next).as_secs()).into();
        assert_eq!(seconds, [30, 60, 120, 240, 480, 600, 600, 10, 30, 10]);
        assert!(!pauses.is_over());
    }
}
