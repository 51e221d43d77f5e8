//! How much goes into a transaction, and when the next may begin.
//!
//! **Size.** A transaction ends when that much is in it or when its time is over. It costs some round trips whatever it holds. [`Size`] measures that cost as
//! the shortest transaction of late, and lets the full ones grow until they take ten times as
//! long, at least one second and at most five: then nine tenths of the line's time carry data, and
//! live data is never held up for longer.
//!
//! **Bandwidth.** [`Line`] is a token bucket over the bytes that librdkafka has given to its
//! sockets, as its statistics count them, compressed and with Kafka's framing, but without TLS,
//! TCP and IP. Between two looks at the statistics it counts by estimate: the bytes of values times
//! the ratio that was measured last. What the estimate got wrong is put right with the next look.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A full transaction is to take this many times what an empty one takes.
const GROWTH: u32 = 10;
/// … but at least
const TAKES_MIN: Duration = Duration::from_secs(1);
/// … and at most this long.
const TAKES_MAX: Duration = Duration::from_secs(5);
/// No transaction is made smaller than so many records …
const RECORDS_MIN: f64 = 78.0;
/// … and a lane begins with so many.
const RECORDS_START: f64 = 2500.0;
/// A transaction holds at most this many times what the one before held.
const STEP_MAX: f64 = 4.0;
/// The cheapest transaction is forgotten after so many, because lines change.
const CHEAPEST_OF: u32 = 64;

/// A rested line may carry this many seconds' worth at once: a transaction and the wait after it.
const BURST_S: f64 = 2.0;

/// The part of the greatest size that the next transaction may have.
#[derive(Debug)]
pub(crate) struct Size {
    part: f64,
    part_min: f64,
    /// Shortest transaction of this round, and of the one before.
    cheapest: [Option<Duration>; 2],
    seen: u32,
    longest: Duration,
}

impl Size {
    /// Transactions take at most a quarter of what the broker allows them, and hold at most so many
    /// records.
    #[allow(clippy::cast_precision_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn new(transaction_timeout: Duration, records_max: usize) -> Self {
        let part = |records: f64| (records / records_max.max(1) as f64).min(1.0);
        Self {
            part: part(RECORDS_START),
            part_min: part(RECORDS_MIN),
            cheapest: [None; 2],
            seen: 0,
            longest: TAKES_MAX.min(transaction_timeout / 4),
        }
    }

    /// `greatest`, cut down to what was found to fit.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn of(&self, greatest: usize) -> u64 {
        ((greatest as f64 * self.part) as u64).max(1)
    }

    /// A transaction took this long; `is_full` = it had the size that was allowed.
    pub fn took(&mut self, took: Duration, is_full: bool) {
        let cheapest = &mut self.cheapest[0];
        *cheapest = Some(cheapest.map_or(took, |before| before.min(took)));
        self.seen += 1;
        if self.seen >= CHEAPEST_OF {
            self.seen = 0;
            self.cheapest = [None, self.cheapest[0]];
        }
        if is_full {
            let factor = self.target().as_secs_f64() / took.as_secs_f64().max(0.001);
            self.part = (self.part * factor.clamp(0.25, STEP_MAX)).clamp(self.part_min, 1.0);
        }
    }

    /// A transaction with so many records (0 = nobody knows) of at most `records_max` was given up:
    /// the next ones are smaller, in case it was too long.
    #[allow(clippy::cast_precision_loss)] // shares
    pub fn gave_up(&mut self, records: u64, records_max: usize) {
        // It may have ended by its time, far below the size that was allowed.
        let held = if records == 0 { 1.0 } else { records as f64 / records_max.max(1) as f64 };
        self.part = (self.part.min(held) / 4.0).max(self.part_min);
    }

    /// How long the next transaction is to take.
    pub fn target(&self) -> Duration {
        let cheapest = self.cheapest.into_iter().flatten().min().unwrap_or_default();
        (cheapest * GROWTH).clamp(TAKES_MIN.min(self.longest), self.longest)
    }
}

/// The line to Kafka, shared by the lanes of a box.
#[derive(Debug)]
pub struct Line {
    /// `None` = no limit.
    bytes_per_s: Option<f64>,
    /// Part of it that the backlog may take.
    backlog_share: f64,
    buckets: Mutex<Buckets>,
}

/// What may be sent now, in bytes; below zero = owed.
#[derive(Debug)]
struct Buckets {
    all: f64,
    backlog: f64,
    filled: Option<Instant>,
}

impl Line {
    /// A line of so many bits a second, or without a limit; of it the backlog gets `backlog_share`
    /// (0 to 1).
    #[allow(clippy::cast_precision_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn new(bits_per_s: Option<u64>, backlog_share: f64) -> Self {
        let bytes_per_s = bits_per_s.map(|bits| bits as f64 / 8.0);
        let buckets = Buckets { all: 0.0, backlog: 0.0, filled: None };
        Self { bytes_per_s, backlog_share, buckets: Mutex::new(buckets) }
    }

    /// True when there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.bytes_per_s.is_some()
    }

    /// Part of a transaction, or of the bandwidth, that the backlog may take.
    pub(crate) fn backlog_share(&self) -> f64 {
        self.backlog_share
    }

    /// What may be sent now: bytes on the wire of live data and of the backlog. `None` = any number.
    pub(crate) fn allowance(&self, now: Instant) -> Option<Allowance> {
        let rate = self.bytes_per_s?;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = buckets.filled.replace(now);
        let passed = filled.map_or(1.0, |filled| now.saturating_duration_since(filled).as_secs_f64());
        buckets.all = (buckets.all + rate * passed).min(rate * BURST_S);
        let backlog_rate = rate * self.backlog_share;
        buckets.backlog = (buckets.backlog + backlog_rate * passed).min(backlog_rate * BURST_S);
        let (live, backlog) = (buckets.all, buckets.backlog.min(buckets.all));
        let wait = Duration::from_secs_f64((2.0 * TRANSACTION_BYTES - live).max(0.0) / rate.max(1.0));
        Some(Allowance { live, backlog, wait })
    }

    /// So many bytes were sent, by estimate or as a correction of one.
    pub(crate) fn spend(&self, all: f64, backlog: f64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.all -= all;
        buckets.backlog -= backlog;
    }
}

/// Bytes on the wire that may be sent now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Allowance {
    pub live: f64,
    pub backlog: f64,
    /// Until a transaction can be paid for.
    pub wait: Duration,
}

impl Allowance {
    /// What is left for records beside what a transaction costs; `None` = not even that is there.
    pub fn usable(&self) -> Option<f64> {
        Some(self.live - TRANSACTION_BYTES).filter(|usable| *usable > 0.0)
    }
}

/// What a transaction costs on the wire beside its values, until it was measured.
const TRANSACTION_BYTES: f64 = 600.0;
/// Bytes on the wire for a byte of values, until it was measured: JSON with zstd has less.
const RATIO_START: f64 = 0.25;

/// Bytes on the wire by estimate, and by measurement as it comes in.
#[derive(Debug)]
pub(crate) struct Wire {
    ratio: f64,
    measured: u64,
    /// Since the last measurement.
    values: f64,
    estimated: f64,
    backlog_part: f64,
}

impl Wire {
    pub fn new() -> Self {
        Self { ratio: RATIO_START, measured: 0, values: 0.0, estimated: 0.0, backlog_part: 0.0 }
    }

    /// Bytes of values that make so many on the wire.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn values_for(&self, wire_bytes: f64) -> u64 {
        (wire_bytes.max(0.0) / self.ratio) as u64
    }

    /// A transaction with these values was sent. Takes it off the line.
    #[allow(clippy::cast_precision_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn sent(&mut self, line: &Line, live_bytes: u64, backlog_bytes: u64) {
        let backlog = backlog_bytes as f64 * self.ratio;
        let all = live_bytes as f64 * self.ratio + backlog + TRANSACTION_BYTES;
        self.values += (live_bytes + backlog_bytes) as f64;
        self.estimated += all;
        self.backlog_part += backlog;
        line.spend(all, backlog);
    }

    /// A new session counts from 0. What was estimated of the last one stays.
    pub fn new_session(&mut self) {
        self.measured = 0;
        (self.values, self.estimated, self.backlog_part) = (0.0, 0.0, 0.0);
    }

    /// What the session has sent in all, as measured. Returns the bytes that came in addition.
    #[allow(clippy::cast_precision_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn measured(&mut self, line: &Line, total: u64) -> u64 {
        let more = total.saturating_sub(self.measured);
        self.measured = total;
        if more == 0 {
            return 0;
        }
        let wrong = more as f64 - self.estimated;
        let share = if self.estimated > 0.0 { self.backlog_part / self.estimated } else { 0.0 };
        line.spend(wrong, wrong * share);
        // Little data says nothing of the ratio: it is mostly framing.
        if self.values > 20_000.0 {
            self.ratio = (self.ratio + (more as f64 / self.values).clamp(0.005, 1.5)) / 2.0;
        }
        (self.values, self.estimated, self.backlog_part) = (0.0, 0.0, 0.0);
        more
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some megabytes
mod tests {
    use super::*;

    /// A line with this round trip and rate; 4 round trips for a transaction.
    fn settle(round_trip: Duration, bytes_per_s: f64, timeout: Duration) -> (f64, f64) {
        let mut size = Size::new(timeout, 20_000);
        size.took(round_trip * 4, false);
        let (mut records, mut took) = (0.0, Duration::ZERO);
        for _ in 0..40 {
            records = size.of(20_000) as f64;
            took = round_trip * 4 + Duration::from_secs_f64(records * 20.0 / bytes_per_s);
            size.took(took, true);
        }
        (records, took.as_secs_f64())
    }

    #[test]
    fn transactions_grow_with_the_round_trip_and_shrink_with_the_line() {
        let minute = Duration::from_secs(60);
        let (records, _) = settle(Duration::from_millis(1), 10e6, minute);
        assert_eq!(records, 20_000.0, "a fast line takes the greatest");
        let (records, took) = settle(Duration::from_millis(1), 60_000.0, minute);
        assert!((2_900.0..3_100.0).contains(&records) && took < 1.1, "one second: {records}");
        let (records, took) = settle(Duration::from_millis(100), 60_000.0, minute);
        assert!(records > 10_000.0 && (3.9..4.2).contains(&took), "ten times 400 ms: {records} {took}");
        let (_, took) = settle(Duration::from_millis(500), 60_000.0, minute);
        assert!(took < 5.1, "{took}");
        let (_, took) = settle(Duration::from_millis(100), 60_000.0, Duration::from_secs(10));
        assert!(took < 2.6, "a quarter of the timeout: {took}");
        let mut size = Size::new(minute, 20_000);
        (0..20).for_each(|_| size.gave_up(0, 20_000));
        assert_eq!(size.of(20_000), 78);
        // One that ended by its time tells more than the size it might have had.
        let mut size = Size::new(minute, 1_000_000);
        (0..10).for_each(|_| size.took(Duration::from_millis(10), true));
        assert_eq!(size.of(1_000_000), 1_000_000);
        size.gave_up(50_000, 1_000_000);
        assert_eq!(size.of(1_000_000), 12_500);
    }

    /// Ten minutes of a line of 1 Mbit/s, on which everything is sent as soon as it may be.
    #[test]
    fn the_line_carries_what_it_was_told_and_the_backlog_its_share() {
        let start = Instant::now();
        let line = Line::new(Some(1_000_000), 0.4);
        let mut wire = Wire::new();
        let (mut live, mut backlog, mut session_total) = (0.0, 0.0, 0_u64);
        let truth = 0.08;
        for second in 0..600_u32 {
            let now = start + Duration::from_secs(1) * second;
            let Some(allowance) = line.allowance(now) else { panic!("there is a limit") };
            let usable = allowance.usable().unwrap_or(0.0);
            let for_backlog = (usable * 0.4).min(allowance.backlog.max(0.0));
            let backlog_values = wire.values_for(for_backlog);
            let live_values = wire.values_for(usable - for_backlog);
            if live_values + backlog_values > 0 {
                live += live_values as f64 * truth + 600.0;
                backlog += backlog_values as f64 * truth;
                session_total += ((live_values + backlog_values) as f64 * truth) as u64 + 600;
                wire.sent(&line, live_values, backlog_values);
            }
            wire.measured(&line, session_total);
        }
        let rate = (live + backlog) / 600.0;
        assert!((115_000.0..=126_000.0).contains(&rate), "{rate} of 125,000 bytes/s");
        let share = backlog / 600.0 / 125_000.0;
        assert!((0.35..=0.41).contains(&share), "{share} of 0.4");
    }
}
