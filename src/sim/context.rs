//! What all parts of a simulation share: clock, log, verdict, and the mistake that is built in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// Lines of the log that are kept, unless `FOREBAY_SIM_LINES` says otherwise.
const LINES_MAX: usize = 120;
/// The simulation begins on 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;

/// A mistake that could be made, built into what surrounds the real code. The oracle must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Syncing a file does nothing.
    NoSync,
    /// Whatever is damaged has the right checksum.
    NoChecksum,
    /// The journal is told that records are committed when they are read.
    TrimBeforeCommit,
    /// The checkpoint is committed by itself, before the records.
    CheckpointOutside,
    /// After the start and after an abort, reading begins one record too late.
    CursorLate,
    /// After the start and after an abort, reading begins one record too early.
    CursorEarly,
    /// One gap record in three is lost.
    LostGap,
    /// A batch that is sent again lands behind those that were sent after it.
    ReorderedRetry,
    /// A batch that is sent again is stored again.
    DoubledRetry,
    /// What the disk does not give is taken for zeros. Only where reading fails.
    ErrorIsZeros,
}

impl Mutant {
    pub const ALL: [Self; 10] = [
        Self::NoSync,
        Self::NoChecksum,
        Self::TrimBeforeCommit,
        Self::CheckpointOutside,
        Self::CursorLate,
        Self::CursorEarly,
        Self::LostGap,
        Self::ReorderedRetry,
        Self::DoubledRetry,
        Self::ErrorIsZeros,
    ];
}

/// Shared by everything in one run.
#[derive(Clone)]
pub struct Context {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    time: Arc<Mutex<Time>>,
    log: Arc<Mutex<Log>>,
}

struct Time {
    start: Instant,
    passed: Duration,
    wall_us: i64,
}

#[derive(Default)]
struct Log {
    lines_max: usize,
    lines: VecDeque<String>,
    /// What was violated first.
    failure: Option<String>,
    /// Checksum over everything that was said.
    digest: u64,
}

impl Context {
    pub fn new(seed: u64, mutant: Option<Mutant>, is_logged: bool) -> Self {
        let wanted = || std::env::var("FOREBAY_SIM_LINES").ok()?.parse().ok();
        let lines_max = if is_logged { wanted().unwrap_or(LINES_MAX) } else { 0 };
        let time = Time { start: Instant::now(), passed: Duration::ZERO, wall_us: START_US };
        Self {
            seed,
            mutant,
            time: Arc::new(Mutex::new(time)),
            log: Arc::new(Mutex::new(Log { lines_max, ..Log::default() })),
        }
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap()
    }

    /// Time goes on, on both clocks.
    pub fn pass(&self, time: Duration) {
        let mut state = self.time();
        state.passed += time;
        state.wall_us += i64::try_from(time.as_micros()).unwrap();
    }

    /// The wall clock jumps.
    pub fn jump(&self, by_us: i64) {
        self.time().wall_us += by_us;
    }

    /// Time since the beginning.
    pub fn passed(&self) -> Duration {
        self.time().passed
    }

    /// Writes a line into the log, when there is one.
    pub fn say(&self, line: impl FnOnce() -> String) {
        let mut log = self.log.lock().unwrap();
        if log.lines_max == 0 {
            return;
        }
        let line = format!("{:>10.3} s  {}", self.passed().as_secs_f64(), line());
        log.digest = line.bytes().fold(log.digest ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if log.lines.len() >= log.lines_max {
            log.lines.pop_front();
        }
        log.lines.push_back(line);
    }

    /// A promise is broken. The first one counts.
    pub fn fail(&self, what: impl FnOnce() -> String) {
        if !self.has_failed() {
            let what = what();
            self.say(|| format!("BROKEN: {what}"));
            self.log.lock().unwrap().failure.get_or_insert(what);
        }
    }

    /// Fails unless `holds`.
    pub fn demand(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what);
        }
    }

    pub fn has_failed(&self) -> bool {
        self.log.lock().unwrap().failure.is_some()
    }

    pub fn failure(&self) -> Option<String> {
        self.log.lock().unwrap().failure.clone()
    }

    /// Checksum over the whole log.
    pub fn digest(&self) -> u64 {
        self.log.lock().unwrap().digest
    }

    /// The last lines of the log.
    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().lines.iter().cloned().collect()
    }
}

impl Clock for Context {
    fn now_us(&self) -> i64 {
        self.time().wall_us
    }

    fn now(&self) -> Instant {
        let time = self.time();
        time.start + time.passed
    }
}
