//! Means over the last seconds and the last hour, from counters read once a second.

use std::collections::VecDeque;
use std::time::Instant;

/// Seconds that "now" means.
const SHORT: usize = 10;
/// Samples kept for the long mean, one a minute.
const LONG: usize = 60;

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    appended: u64,
    committed: u64,
    written: u64,
}

/// Counters of the recent past.
#[derive(Debug, Default)]
pub struct Rates {
    seconds: VecDeque<Reading>,
    minutes: VecDeque<Reading>,
}

impl Rates {
    /// Adds the counters as they are now; meant to be called once a second.
    pub fn push(&mut self, appended: u64, committed: u64, written: u64) {
        let reading = Reading { at: Instant::now(), appended, committed, written };
        self.seconds.push_back(reading);
        if self.seconds.len() > SHORT {
            self.seconds.pop_front();
        }
        let due = self.minutes.back().is_none_or(|last| (reading.at - last.at).as_secs() >= 60);
        if due {
            self.minutes.push_back(reading);
            if self.minutes.len() > LONG {
                self.minutes.pop_front();
            }
        }
    }

    /// Records journalled per second, mean of about 10 s.
    pub fn appended_per_s(&self) -> f64 {
        per_s(self.seconds.front(), self.seconds.back(), |reading| reading.appended)
    }

    /// Records confirmed by Kafka per second, mean of about 10 s.
    pub fn committed_per_s(&self) -> f64 {
        per_s(self.seconds.front(), self.seconds.back(), |reading| reading.committed)
    }

    /// Bytes written to disk per second, mean of the last hour or since the start.
    pub fn written_bytes_per_s(&self) -> f64 {
        per_s(self.minutes.front(), self.seconds.back(), |reading| reading.written)
    }
}

#[allow(clippy::cast_precision_loss)] // rates for people
fn per_s(first: Option<&Reading>, last: Option<&Reading>, counter: fn(&Reading) -> u64) -> f64 {
    let (Some(first), Some(last)) = (first, last) else { return 0.0 };
    let seconds = (last.at - first.at).as_secs_f64();
    if seconds < 0.5 { 0.0 } else { counter(last).saturating_sub(counter(first)) as f64 / seconds }
}
