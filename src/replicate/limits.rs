//! What the next transaction may hold, and how long the backlog will still take.

use std::time::{Duration, Instant};

use super::fill::{Amount, Filled, Limits};
use super::lane::IDLE;
use super::options::{Backfill, Options};
use super::pace::{Size, Wire};
use super::progress::Progress;
use super::status::Backlogged;

/// Something is always left for live data.
const BACKLOG_MAX: f64 = 0.9;
/// The rate of the backlog is measured over at least this long.
const MEASURED_OVER: Duration = Duration::from_secs(10);

impl Limits {
    /// True when there may be more to send than the transaction took.
    pub fn are_reached(&self, filled: &Filled) -> bool {
        let is_reached = |amount: Amount, limit: Amount| {
            amount.records > 0 && (amount.records >= limit.records || amount.bytes >= limit.bytes)
        };
        filled.is_late || is_reached(filled.live, self.live) || is_reached(filled.backlog, self.backlog)
    }
}

/// The limits of the next transaction, or how long the line must rest first.
pub(super) fn of(
    options: &Options,
    progress: &Progress,
    size: &Size,
    wire: &Wire,
    now: Instant,
    now_us: i64,
) -> Result<Limits, Duration> {
    let shares = Shares::now(options, progress, now_us);
    let all = Amount {
        records: size.of(options.transaction_records_max),
        bytes: size.of(options.transaction_bytes_max),
    };
    let (mut live, mut backlog) = (part(all, shares.live), part(all, shares.backlog));
    if let Some(allowance) = options.line.allowance(now) {
        let Some(usable) = allowance.usable() else { return Err(allowance.wait) };
        let for_backlog = (usable * shares.backlog).min(shares.limit(allowance.backlog));
        live.bytes = live
            .bytes
            .min(wire.values_for((usable - for_backlog) * if shares.live > 0.0 { 1.0 } else { 0.0 }));
        backlog.bytes = backlog.bytes.min(wire.values_for(for_backlog));
    }
    let sends_backlog = backlog.records > 0 && backlog.bytes > 0;
    let wait = if sends_backlog { Duration::ZERO } else { IDLE };
    let time = size.target();
    Ok(Limits { live, backlog, wait, live_time: time.mul_f64(shares.live), time, now_us })
}

/// Parts of a transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shares {
    live: f64,
    backlog: f64,
}

impl Shares {
    fn now(options: &Options, progress: &Progress, now_us: i64) -> Self {
        match options.backfill {
            _ if progress.next_range().is_none() => Self { live: 1.0, backlog: 0.0 },
            // Left from a time when fresh data went first: it is older, so now it goes before.
            Backfill::InOrder => Self { live: 0.0, backlog: 1.0 },
            Backfill::LiveFirst { window: Some(window), .. } if !window.is_open(now_us) => {
                Self { live: 1.0, backlog: 0.0 }
            }
            Backfill::LiveFirst { .. } => {
                let backlog = options.line.backlog_share().min(BACKLOG_MAX);
                Self { live: 1.0 - backlog, backlog }
            }
        }
    }

    /// What the line allows the backlog; no less than everything when there is nothing beside it.
    fn limit(&self, allowed: f64) -> f64 {
        if self.live > 0.0 { allowed.max(0.0) } else { f64::INFINITY }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares and rates: the last digits say nothing, and floats saturate
fn part(all: Amount, share: f64) -> Amount {
    // Anything more than nothing is at least one record.
    let of = |whole: u64| (whole as f64 * share).ceil() as u64;
    Amount { records: of(all.records), bytes: of(all.bytes) }
}

/// How fast the backlog goes.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Since when, and how many records since then.
    round: Option<(Instant, u64)>,
    records_per_s: Option<f64>,
}

impl Backlog {
    /// So many records of the backlog were committed.
    #[allow(clippy::cast_precision_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn sent(&mut self, records: u64, now: Instant) {
        if records == 0 {
            return;
        }
        let (since, sent) = self.round.get_or_insert((now, 0));
        let passed = now.saturating_duration_since(*since);
        *sent += records;
        if passed >= MEASURED_OVER || self.records_per_s.is_none() && passed >= MEASURED_OVER / 10 {
            self.records_per_s = Some(*sent as f64 / passed.as_secs_f64());
            self.round = None;
        }
    }

    /// For people: what waits, and how long still.
    #[allow(clippy::cast_precision_loss)] // shares and rates: the last digits say nothing, and floats saturate
    pub fn look(&mut self, progress: &Progress, options: &Options, now_us: i64) -> Option<Backlogged> {
        let records = progress.backlog_records();
        if records == 0 {
            *self = Self::default();
            return None;
        }
        let waits_for_window = matches!(options.backfill, Backfill::LiveFirst { window: Some(window), .. }
            if !window.is_open(now_us));
        let left_s = self.records_per_s.filter(|rate| *rate > 0.0 && !waits_for_window);
        Some(Backlogged { records, left_s: left_s.map(|rate| records as f64 / rate), waits_for_window })
    }
}
