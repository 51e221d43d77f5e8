//! The disk budget on real file systems: what reaches the device, and what Kafka is given of what
//! was summed up.

mod flash;
mod kafka;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::clock::Clock;

/// Longer than any single step takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// 2026-01-01.
const START_US: i64 = 1_767_225_600_000_000;

/// A clock that goes on when it is told to.
pub struct StepClock {
    passed: Mutex<Duration>,
    start: Instant,
}

impl StepClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { passed: Mutex::default(), start: Instant::now() })
    }

    pub fn forward(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }
}

impl Clock for StepClock {
    fn now_us(&self) -> i64 {
        START_US + i64::try_from(self.passed.lock().unwrap().as_micros()).unwrap()
    }

    fn now(&self) -> Instant {
        self.start + *self.passed.lock().unwrap()
    }
}
