//! Means over the last seconds and the last hour, from counters read once a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Seconds that "now" means.
const SHORT: usize = 10;
/// Samples kept for the long mean, one a minute.
const LONG: usize = 60;

/// A shorter time would make a reserve of days jump with every block that is written.
const MEASURED_MIN: Duration = Duration::from_secs(180);

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
    /// The first minute is left out of the long mean.
    settled: bool,
}

impl Rates {
    /// Adds the counters as they are now; meant to be called once a second.
    pub fn push(&mut self, appended: u64, committed: u64, written: u64) {
        self.take(Reading { at: Instant::now(), appended, committed, written });
    }

    fn take(&mut self, reading: Reading) {
        self.seconds.push_back(reading);
        if self.seconds.len() > SHORT {
            self.seconds.pop_front();
        }
        let due = self.minutes.back().is_none_or(|last| (reading.at - last.at).as_secs() >= 60);
        if due {
            self.minutes.push_back(reading);
            // At the start everything is written once, which says nothing of the hours to come.
            let settled = self.minutes.len() == 2 && !std::mem::replace(&mut self.settled, true);
            if settled || self.minutes.len() > LONG {
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

    /// Whether [`Rates::written_bytes_per_s`] says something of the hours to come: the first
    /// minute is left out, and [`MEASURED_MIN`] must have passed since.
    pub fn is_measured(&self) -> bool {
        let (first, last) = (self.minutes.front(), self.seconds.back());
        first.zip(last).is_some_and(|(first, last)| self.settled && last.at - first.at >= MEASURED_MIN)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_mean_waits_until_it_means_something() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut push = |second: u64| {
            // 1 MB at the start, then 100 B in each second.
            let written = if second == 0 { 0 } else { 1_000_000 + 100 * second };
            let at = start + Duration::from_secs(second);
            rates.take(Reading { at, appended: 0, committed: 0, written });
            (rates.is_measured(), rates.written_bytes_per_s())
        };
        for second in 0..240 {
            assert!(!push(second).0, "second {second}");
        }
        let (measured, per_s) = push(240);
        assert!(measured && (99.0..101.0).contains(&per_s), "{per_s}");
    }
}
