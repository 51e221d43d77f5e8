//! What a device remembers of the time it could not be read.
//!
//! The gap stays a gap: it says when nobody watched. The values that the device kept meanwhile are
//! stored in front of the first new ones, each with the time the device gave it.

use std::time::Duration;

use forebay_connector::{Connector, PollError, RawSample};
use tokio::time::{Instant, timeout};

use super::budget::{Allowance, within};

/// Samples taken over at once; what lies further back than these reach is left to the gap.
pub const SAMPLES_MAX: usize = 100_000;
/// Longest time without a request: what waits for its turn under a budget may take as long as it takes.
const READ_MAX: Duration = Duration::from_secs(60);
/// Longest time altogether, after which live reading begins; what was read until then is kept.
const ALL_MAX: Duration = Duration::from_secs(300);
/// A device whose history cannot be read is asked again after this time: each attempt may cost its
/// connection.
const ASK_AGAIN: Duration = Duration::from_secs(3600);

/// Reads a device's own history after an outage.
#[derive(Debug)]
pub struct History {
    failed: Option<Instant>,
    /// The time that the device gave the last value of each raw tag that was taken, microseconds since
    /// 1970 UTC. The clock of a device may go ahead of ours, and the beginning of an outage may be put
    /// back: what it had already given would come a second time.
    taken_us: Vec<i64>,
}

impl History {
    /// Of a device with so many raw tags, of which nothing was taken yet.
    pub fn new(tags: usize) -> Self {
        Self { failed: None, taken_us: vec![i64::MIN; tags] }
    }

    /// Notes what was taken, oldest first. The last time counts and not the greatest: a device whose
    /// clock was once in the future must not lose its history for that.
    pub fn note(&mut self, samples: &[RawSample]) {
        for sample in samples {
            let taken = self.taken_us.get_mut(sample.tag as usize);
            if let (Some(taken), Some(us)) = (taken, sample.source_us) {
                *taken = us;
            }
        }
    }

    /// Whether the device has not given this value before.
    fn is_new(&self, sample: &RawSample) -> bool {
        let taken = self.taken_us.get(sample.tag as usize);
        taken.is_none_or(|taken| sample.source_us.is_some_and(|us| us > *taken))
    }

    /// Reads what the device kept from `from_us` to `to_us` (microseconds since 1970 UTC, both left
    /// out) into `samples`, in order of time and without what was taken before. Nothing when it keeps
    /// no history.
    ///
    /// # Errors
    /// Those of the connector: the connection is poisoned. The next hour it is not asked again.
    pub async fn read(
        &mut self,
        connector: &mut dyn Connector,
        allowance: Option<&Allowance>,
        (from_us, to_us): (i64, i64),
        samples: &mut Vec<RawSample>,
    ) -> Result<(), PollError> {
        if self.failed.is_some_and(|at| at.elapsed() < ASK_AGAIN) || from_us >= to_us {
            return Ok(());
        }
        let reading = connector.history(from_us, to_us, SAMPLES_MAX, samples);
        let read = timeout(ALL_MAX, within(allowance, READ_MAX, reading)).await;
        let is_whole = read.is_ok();
        let read = read.unwrap_or(Ok(Ok(true))).unwrap_or(Err(PollError::Timeout { waited: READ_MAX }));
        self.failed = (!is_whole || read.is_err()).then(Instant::now);
        if read? {
            let inside = |sample: &RawSample| sample.source_us.is_some_and(|us| from_us < us && us < to_us);
            samples.retain(|sample| inside(sample) && self.is_new(sample));
            samples.truncate(SAMPLES_MAX);
            samples.sort_by_key(|sample| sample.source_us);
            self.note(samples);
        } else {
            samples.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use forebay_connector::{Pace, Quality, Value};

    use super::*;
    use crate::device::Budget;
    use crate::poll::testing;

    /// A device that gives a value every 30 s of waiting for its turn, without end.
    struct Endless(Arc<Allowance>);

    #[async_trait]
    impl Connector for Endless {
        async fn connect(&mut self) -> Result<String, PollError> {
            Ok(String::new())
        }
        async fn poll(&mut self, _: &[usize], _: &mut Vec<RawSample>) -> Result<(), PollError> {
            Ok(())
        }
        async fn read(&mut self, _: &[u32], _: &mut Vec<RawSample>) -> Result<(), PollError> {
            Ok(())
        }
        async fn history(
            &mut self,
            from_us: i64,
            _: i64,
            max: usize,
            samples: &mut Vec<RawSample>,
        ) -> Result<bool, PollError> {
            for number in 1..i64::try_from(max).unwrap() {
                self.0.turn().await;
                tokio::time::sleep(Duration::from_secs(30)).await;
                samples.push(RawSample {
                    tag: 0,
                    value: Value::Int(number),
                    quality: Quality::Good,
                    source_us: Some(from_us + number),
                });
            }
            Ok(true)
        }
        fn requests(&self) -> u64 {
            0
        }
        async fn close(&mut self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn live_reading_begins_after_five_minutes_and_what_was_read_is_kept() {
        let mut device = Arc::into_inner(testing::device(Vec::new())).unwrap();
        device.access.budget = Budget { requests_per_second: Some(1), ..Budget::default() };
        device.access.line = "endless history".to_owned();
        let allowance = Allowance::of(&device).unwrap();
        let mut history = History::new(1);
        let begun = Instant::now();
        let mut samples = Vec::new();
        let mut endless = Endless(Arc::clone(&allowance));
        history.read(&mut endless, Some(&allowance), (0, 1_000_000), &mut samples).await.unwrap();
        assert_eq!(begun.elapsed(), ALL_MAX);
        assert!((9..=10).contains(&samples.len()), "{}", samples.len());
        // It is not asked again at the next outage.
        samples.clear();
        history.read(&mut endless, Some(&allowance), (0, 1_000_000), &mut samples).await.unwrap();
        assert_eq!((begun.elapsed(), samples.len()), (ALL_MAX, 0));
    }
}
