//! The load budget of a controller: at most so many requests in any second, at most such a share of
//! the time. Devices on one line (behind one gateway) have one budget together.
//!
//! Connectors ask [`Pace::turn`] before every request. A request that may not be sent yet waits; in
//! any second no more than `requests_per_second` are released, right after a reconnect and during
//! `[[verify]]` as well. The share counts whole rounds: after one that took a second at `share =
//! "50%"` the line rests for a second.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::Pace;
use tokio::sync::{Mutex as Turns, MutexGuard};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout};

use crate::device::{Budget, Device};

/// In which no more than the permitted number of requests is sent.
const WINDOW: Duration = Duration::from_secs(1);

/// Lines with a budget. A line ends with its last device, but not while its last second counts: a
/// device that is opened anew begins with no fresh budget.
static LINES: Mutex<BTreeMap<(&'static str, String), Arc<Line>>> = Mutex::new(BTreeMap::new());

/// What the devices of a line have used of their budget.
#[derive(Default)]
struct Line {
    /// When the latest requests were released, as many as are permitted in a second.
    released: Mutex<VecDeque<Instant>>,
    /// When the next round may begin; locked during a round.
    rest_until: Turns<Option<Instant>>,
}

impl Line {
    /// A request was released within the last second, or is yet to be.
    fn counts(&self) -> bool {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        released.back().is_some_and(|last| *last + WINDOW > Instant::now())
    }
}

/// One device's part in the budget of its line.
pub struct Allowance {
    line: Arc<Line>,
    budget: Budget,
    waited_us: AtomicU64,
    turns: AtomicU64,
    waiting: AtomicUsize,
}

impl Allowance {
    /// The allowance of this device, `None` when it has no budget.
    pub fn of(device: &Device) -> Option<Arc<Self>> {
        let budget = device.access.budget;
        if !budget.paces() {
            return None;
        }
        let key = (device.protocol.name(), device.access.line.clone());
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|_, line| Arc::strong_count(line) > 1 || line.counts());
        let line = Arc::clone(lines.entry(key).or_default());
        Some(Arc::new(Self {
            line,
            budget,
            waited_us: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// When the request asked for now may be sent; counts it.
    fn release(&self, permitted: usize) -> Option<Instant> {
        let now = Instant::now();
        let mut released = self.line.released.lock().unwrap_or_else(PoisonError::into_inner);
        let first_free = if released.len() < permitted { None } else { released.front().copied() };
        while released.len() >= permitted {
            released.pop_front();
        }
        let at = first_free.map_or(now, |first| (first + WINDOW).max(now));
        released.push_back(at);
        (at > now).then_some(at)
    }

    /// Waits until a round may begin, and keeps other devices of the line from beginning one when
    /// the share is limited.
    pub async fn round(&self) -> Round<'_> {
        let rest_until = match self.budget.share_percent {
            None => None,
            Some(_) => {
                let rest_until = self.line.rest_until.lock().await;
                if let Some(until) = *rest_until {
                    sleep_until(until).await;
                }
                Some(rest_until)
            }
        };
        let waited_us = self.waited_us.load(Ordering::Relaxed);
        Round { allowance: self, rest_until, begun: Instant::now(), waited_us }
    }
}

#[async_trait]
impl Pace for Allowance {
    async fn turn(&self) {
        let Some(permitted) = self.budget.requests_per_second else { return };
        if let Some(at) = self.release(permitted as usize) {
            let begun = Instant::now();
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _waiting = Waiting(&self.waiting);
            sleep_until(at).await;
            self.waited_us.fetch_add(micros(begun.elapsed()), Ordering::Relaxed);
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a request that waits, also when it is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A round of reads under a budget.
pub struct Round<'a> {
    allowance: &'a Allowance,
    rest_until: Option<MutexGuard<'a, Option<Instant>>>,
    begun: Instant,
    waited_us: u64,
}

impl Round<'_> {
    /// The round is over: the line rests as long as its share demands. Waiting for turns was no work
    /// for the device. A round that failed is dropped instead: then the device is left alone anyway.
    pub fn end(mut self) {
        let Some(share) = self.allowance.budget.share_percent.filter(|share| (1..100).contains(share)) else {
            return;
        };
        let waited_us = self.allowance.waited_us.load(Ordering::Relaxed) - self.waited_us;
        let busy = self.begun.elapsed().saturating_sub(Duration::from_micros(waited_us));
        if let Some(rest_until) = self.rest_until.as_deref_mut() {
            *rest_until = Some(Instant::now() + busy * (100 - share) / share);
        }
    }
}

/// Waits until a round may begin; at once for a device without a budget.
pub async fn begin_round(allowance: Option<&Allowance>) -> Option<Round<'_>> {
    match allowance {
        Some(allowance) => Some(allowance.round().await),
        None => None,
    }
}

/// Waits for `work`, but not longer than `limit` without a request being sent or waiting for its turn.
pub async fn within<T>(
    allowance: Option<&Allowance>,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let turns = || allowance.map_or(0, |allowance| allowance.turns.load(Ordering::Relaxed));
    let waits = || allowance.is_some_and(|allowance| allowance.waiting.load(Ordering::Relaxed) > 0);
    loop {
        let before = turns();
        match timeout(limit, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_) if turns() != before || waits() => {}
            Err(elapsed) => return Err(elapsed),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::testing;

    fn device(name: &str, budget: Budget) -> Device {
        let mut device = Arc::into_inner(testing::device(Vec::new())).unwrap();
        device.access.budget = budget;
        device.access.line = name.to_owned();
        device
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_requests_than_permitted_and_a_line_shares_them() {
        let budget = Budget { requests_per_second: Some(7), ..Budget::default() };
        let device = device("shared", budget);
        let allowances = [Allowance::of(&device).unwrap(), Allowance::of(&device).unwrap()];
        let begun = Instant::now();
        let mut sent = Vec::new();
        for request in 0..50_u64 {
            allowances[usize::try_from(request % 2).unwrap()].turn().await;
            sent.push(begun.elapsed());
            // Some requests take long, most do not.
            tokio::time::sleep(Duration::from_millis(if request % 9 == 0 { 300 } else { 1 })).await;
        }
        for (index, at) in sent.iter().enumerate() {
            let in_second = sent[index..].iter().filter(|other| **other < *at + WINDOW).count();
            assert!(in_second <= 7, "{in_second} requests in the second from {at:?}");
        }
        assert!(sent[49] < Duration::from_secs(9), "and not slower than it must be: {:?}", sent[49]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_rests_for_its_share() {
        let budget = Budget { share_percent: Some(25), ..Budget::default() };
        let allowance = Allowance::of(&device("rest", budget)).unwrap();
        let begun = Instant::now();
        for _ in 0..4 {
            let round = allowance.round().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            round.end();
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(4 * 100 + 3 * 300));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_is_no_silence() {
        let budget = Budget { requests_per_second: Some(1), ..Budget::default() };
        let allowance = Allowance::of(&device("slow", budget)).unwrap();
        let limit = Duration::from_millis(300);
        let slow = async {
            for _ in 0..5 {
                allowance.turn().await;
            }
        };
        assert!(within(Some(&*allowance), limit, slow).await.is_ok());
        let silent = std::future::pending::<()>();
        assert!(within(Some(&*allowance), limit, silent).await.is_err());
    }
}
