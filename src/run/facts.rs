//! What the page asks, answered from lanes, replicators and models.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::flash::FlashWear;
use super::rates::Rates;
use super::{storage, trend};
use crate::clock;
use crate::control::{Controls, LaneControl};
use crate::device::Text;
use crate::event::Event;
use crate::infer::{self, predictions::Predictions};
use crate::lane::{History, LaneStatus, LaneWriter, WhenFull};
use crate::replicate::{Replication, ReplicationStatus, Replicator, State};
use crate::status::facts::{
    Backfill, DiskError, EVENTS_SHOWN_MAX, Facts, Identity, Lane, Metric, MetricKind, NotRead, Prediction,
    PredictionState, Reserve, ToIt, ToItState, Trend, TrendWanted,
};
use crate::twin::Cause;

/// For so long the page says that somebody else has sent under our name.
const SHUT_OUT_SHOWN_US: i64 = 3_600_000_000;

/// One lane with its way to Kafka.
pub struct LaneFacts {
    /// `telemetry` or `events`.
    pub name: &'static str,
    /// To see whether it still takes records.
    pub writer: LaneWriter,
    /// State of the journal.
    pub status: watch::Receiver<LaneStatus>,
    /// State of its replicator.
    pub replication: Arc<ReplicationStatus>,
    /// State of its way to the second Kafka, if there is one.
    pub second: Option<Arc<ReplicationStatus>>,
    /// Rates, fed once a second.
    pub rates: Mutex<Rates>,
    /// What is on its disk.
    pub history: History,
}

impl LaneFacts {
    /// Of a lane that is written by `writer` and sent by `replicator`.
    pub fn new(name: &'static str, writer: &LaneWriter, replicator: &Replicator, history: History) -> Self {
        Self {
            name,
            writer: writer.clone(),
            status: writer.status(),
            replication: replicator.status(),
            second: replicator.fallback_status(),
            rates: Mutex::default(),
            history,
        }
    }

    /// What the control socket gives access to.
    pub fn control(&self) -> LaneControl {
        let (writer, replication) = (self.writer.clone(), Arc::clone(&self.replication));
        LaneControl { name: self.name, writer, replication }
    }
}

/// The lanes; none until their disk works.
#[derive(Default)]
pub struct Lanes {
    open: OnceLock<Vec<LaneFacts>>,
    /// Why and since when there are none.
    closed: Mutex<Option<DiskError>>,
    given_up: AtomicBool,
}

impl Deref for Lanes {
    type Target = [LaneFacts];

    fn deref(&self) -> &[LaneFacts] {
        self.open.get().map_or(&[], Vec::as_slice)
    }
}

impl Lanes {
    /// The lanes work from now on.
    pub fn open(&self, lanes: Vec<LaneFacts>) {
        *lock(&self.closed) = None;
        // They are opened once.
        let _before = self.open.set(lanes);
    }

    /// Notes why they cannot be opened, in words; tells whether that is news.
    pub fn closed(&self, why: &str) -> bool {
        let message = storage::not_stored(why);
        let mut closed = lock(&self.closed);
        let news = closed.as_ref().is_none_or(|before| before.message != message);
        let since_us = closed.as_ref().map_or_else(clock::now_us, |before| before.since_us);
        *closed = Some(DiskError { since_us, message });
        news
    }

    /// They will not be opened by this process any more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    fn trouble(&self) -> Option<DiskError> {
        lock(&self.closed).clone()
    }
}

/// All facts of a running box.
pub struct BoxFacts {
    /// Who the box is.
    pub identity: Identity,
    /// Both lanes.
    pub lanes: Lanes,
    /// The models.
    pub predictions: Arc<Predictions>,
    /// The latest events, newest first.
    pub latest: Mutex<VecDeque<Event>>,
    /// Machines whose files have faults.
    pub not_read: Vec<NotRead>,
    /// Since when the disk does not work, microseconds since 1970; 0 = it works.
    pub disk_broken_us: Mutex<i64>,
    /// The flash below the journal.
    pub flash: Mutex<FlashWear>,
    /// What is sent besides.
    pub controls: Arc<Controls>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BoxFacts {
    /// Facts of a box that has just started.
    pub fn new(
        identity: Identity,
        predictions: Arc<Predictions>,
        not_read: Vec<NotRead>,
        flash: FlashWear,
        controls: Arc<Controls>,
    ) -> Self {
        let (lanes, latest, disk_broken_us) = Default::default();
        let flash = Mutex::new(flash);
        Self { identity, lanes, predictions, latest, not_read, disk_broken_us, flash, controls }
    }

    /// False when only a new start helps: a lane has ended. A disk that does not work is no such
    /// thing: everything is tried again by itself.
    pub fn is_alive(&self) -> bool {
        !self.lanes.given_up.load(Ordering::SeqCst) && !self.lanes.iter().any(|lane| lane.writer.is_closed())
    }

    /// Remembers an event for the page.
    pub fn remember(&self, event: &Event) {
        let mut latest = lock(&self.latest);
        latest.push_front(event.clone());
        latest.truncate(EVENTS_SHOWN_MAX);
    }

    /// Called once a second.
    pub fn tick(&self) {
        let mut broken = false;
        let mut device_bytes = 0;
        for lane in self.lanes.iter() {
            let status = lane.status.borrow();
            let committed = lane.replication.snapshot().records;
            lock(&lane.rates).push(status.records, committed, status.written_bytes);
            broken |= status.error.is_some();
            device_bytes += status.device_bytes;
        }
        lock(&self.flash).look(Instant::now(), device_bytes);
        let mut since = lock(&self.disk_broken_us);
        *since = match (broken, *since) {
            (false, _) => 0,
            (true, 0) => clock::now_us(),
            (true, since) => since,
        };
    }
}

impl BoxFacts {
    /// Absent until there is one: a time of 0 would look like an outage of half a century.
    #[allow(clippy::cast_precision_loss)] // a time with microseconds fits well
    fn last_commits(&self) -> Metric {
        let at = |lane: &LaneFacts| {
            let us = Some(lane.replication.snapshot().last_commit_us).filter(|us| *us != 0)?;
            Some((vec![("lane", lane.name.to_owned())], us as f64 / 1e6))
        };
        Metric {
            name: "forebay_kafka_last_commit_timestamp_seconds",
            help: "Time of the last commit, seconds since 1970; absent before the first.",
            kind: MetricKind::Gauge,
            samples: self.lanes.iter().filter_map(at).collect(),
        }
    }
}

/// Bytes that a lane may hold: a budget larger than the disk is a promise nobody can keep.
fn budget(status: &LaneStatus) -> u64 {
    status.budget_bytes.min(status.bytes.saturating_add(status.free_bytes))
}

/// How long a lane, or all together, can go on without Kafka at its present rate, everything in
/// full; `None` when nothing is written.
#[allow(clippy::cast_precision_loss)] // seconds for people
fn left_s(status: &LaneStatus, written_bytes_per_s: f64) -> Option<f64> {
    let room_bytes = budget(status).saturating_sub(status.unsent_bytes);
    (written_bytes_per_s > 0.0).then(|| room_bytes as f64 / written_bytes_per_s)
}

/// How much longer than [`left_s`] a lane can go on by summing up what is older than it keeps in
/// full; `None` while nobody knows what that saves, or when it saves nothing.
#[allow(clippy::cast_precision_loss)] // seconds for people
fn thinned_left_s(status: &LaneStatus, written_bytes_per_s: f64) -> Option<f64> {
    let ratio = status.thinned_ratio.filter(|ratio| *ratio > 0.0 && *ratio < 1.0)?;
    let (budget, rate) = (budget(status) as f64, Some(written_bytes_per_s).filter(|rate| *rate > 0.0)?);
    let full_s = (status.full_for_s as f64).min(budget / rate);
    let room_s = full_s + (budget - rate * full_s) / (rate * ratio);
    let thinned = status.thinned_bytes as f64;
    let used_s = (status.unsent_bytes as f64 - thinned) / rate + thinned / (rate * ratio);
    let left_s = room_s - used_s - left_s(status, written_bytes_per_s)?;
    (left_s > 0.0).then_some(left_s)
}

/// What is unsent fills seven eighths of the lane, and this makes room next.
fn is_full(status: &LaneStatus, next: WhenFull) -> bool {
    let budget = budget(status);
    budget > 0 && status.unsent_bytes >= budget - budget / 8 && status.next_room == Some(next)
}

/// Records that Kafka has not confirmed.
fn backlog(status: &LaneStatus) -> u64 {
    status
        .next_offset
        .saturating_sub(status.committed.unwrap_or(status.first_offset).max(status.first_offset))
}

/// The same while newer data goes first: what was sent before its turn is not missing.
fn unsent(status: &LaneStatus, replication: &Replication) -> u64 {
    match (&replication.backlog, replication.next_offset) {
        (Some(waiting), Some(next)) => status.next_offset.saturating_sub(next) + waiting.records,
        _ => backlog(status),
    }
}

impl Facts for BoxFacts {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    #[allow(clippy::cast_precision_loss)] // seconds for people
    fn to_it(&self) -> ToIt {
        let states: Vec<ToItState> =
            self.lanes.iter().map(|lane| to_it_state(&lane.replication.snapshot())).collect();
        let statuses: Vec<LaneStatus> = self.lanes.iter().map(|lane| lane.status.borrow().clone()).collect();
        let per_s = |rate: fn(&Rates) -> f64| self.lanes.iter().map(|lane| rate(&lock(&lane.rates))).sum();
        let oldest_us = statuses.iter().filter_map(|status| status.oldest_unsent_us).min();
        let seen = statuses.iter().any(|status| status.committed.is_some());
        let replications: Vec<Replication> =
            self.lanes.iter().map(|lane| lane.replication.snapshot()).collect();
        let backfill = backfill(&replications);
        // While fresh data goes first, the oldest that waits says nothing of its delay.
        let delay_s = match backfill {
            Some(_) => {
                replications.iter().map(|lane| lane.delay_us.max(0) as f64 / 1e6).max_by(f64::total_cmp)
            }
            None => {
                oldest_us.map(|oldest| (clock::now_us() - oldest).max(0) as f64 / 1e6).or(seen.then_some(0.0))
            }
        };
        let seconds: Vec<Replication> =
            self.lanes.iter().filter_map(|lane| Some(lane.second.as_ref()?.snapshot())).collect();
        ToIt {
            backfill,
            errands: self.controls.errands(),
            second_records: (!seconds.is_empty()).then(|| seconds.iter().map(|lane| lane.records).sum()),
            second_up: seconds.iter().any(|lane| lane.state == State::Up),
            shut_out: replications.iter().map(|lane| lane.shut_out).sum(),
            shut_out_us: replications.iter().map(|lane| lane.shut_out_us).max().filter(|us| {
                // Long after it nobody needs to look for anybody.
                *us > clock::now_us() - SHUT_OUT_SHOWN_US
            }),
            state: states.into_iter().max_by_key(urgency).unwrap_or_default(),
            delay_s,
            backlog_records: statuses.iter().zip(&replications).map(|(lane, sent)| unsent(lane, sent)).sum(),
            records_per_s: per_s(Rates::committed_per_s),
            intake_per_s: per_s(Rates::appended_per_s),
            committed_records: self.lanes.iter().map(|lane| lane.replication.snapshot().records).sum(),
        }
    }

    fn reserve(&self) -> Reserve {
        let statuses: Vec<LaneStatus> = self.lanes.iter().map(|lane| lane.status.borrow().clone()).collect();
        let on_disk: u64 = statuses.iter().map(|status| status.bytes).sum();
        let free = statuses.iter().map(|status| status.free_bytes).min().unwrap_or(u64::MAX);
        // Each lane has a budget of its own, and all share the disk: what is full first counts.
        let all = LaneStatus {
            bytes: on_disk,
            free_bytes: free,
            budget_bytes: statuses.iter().map(|status| status.budget_bytes).sum(),
            unsent_bytes: statuses.iter().map(|status| status.unsent_bytes).sum(),
            ..LaneStatus::default()
        };
        let written: Vec<f64> =
            self.lanes.iter().map(|lane| lock(&lane.rates).written_bytes_per_s()).collect();
        let measured = self.lanes.iter().all(|lane| lock(&lane.rates).is_measured());
        let written_bytes_per_s: f64 = written.iter().sum();
        let pairs = || statuses.iter().zip(written.iter().copied());
        let lanes = pairs().map(|(status, written)| left_s(status, written));
        let left_s = lanes.chain([left_s(&all, written_bytes_per_s)]).flatten();
        let thinned_left_s = pairs().filter_map(|(status, written)| thinned_left_s(status, written));
        let thinned_left_s = thinned_left_s.min_by(f64::total_cmp).filter(|_| measured);
        let full_from = |status: &LaneStatus| status.full_from_us.filter(|_| status.thinned_bytes > 0);
        let sum = |part: fn(&LaneStatus) -> u64| statuses.iter().map(part).sum();
        let error = statuses.iter().find_map(|status| status.error.clone());
        Reserve {
            unsent_bytes: all.unsent_bytes,
            budget_bytes: budget(&all),
            written_bytes_per_s,
            left_s: left_s.min_by(f64::total_cmp).filter(|_| measured),
            oldest_unsent_us: statuses.iter().filter_map(|status| status.oldest_unsent_us).min(),
            dropped_records: sum(|status| status.evicted_records),
            thinned_left_s,
            history_bytes: sum(|status| status.history_bytes),
            thinned_bytes: sum(|status| status.thinned_bytes),
            thinned_records: sum(|status| status.thinned_records),
            full_from_us: statuses.iter().filter_map(full_from).min(),
            thinning: statuses.iter().any(|status| is_full(status, WhenFull::Thin)),
            full: statuses.iter().any(|status| is_full(status, WhenFull::Evict)),
            flash: lock(&self.flash).facts(),
            disk_error: error
                .map(|message| DiskError { since_us: *lock(&self.disk_broken_us), message })
                .or(self.lanes.trouble()),
            lanes: statuses
                .iter()
                .zip(self.lanes.iter())
                .map(|(status, lane)| lane_numbers(status, lane))
                .collect(),
        }
    }

    fn predictions(&self) -> Vec<Prediction> {
        self.predictions.list().into_iter().map(prediction).collect()
    }

    fn not_read(&self) -> Vec<NotRead> {
        self.not_read.clone()
    }

    fn events(&self) -> Vec<Event> {
        lock(&self.latest).iter().cloned().collect()
    }

    fn stopped(&self) -> Vec<Text> {
        let closed = self.lanes.iter().filter(|lane| lane.writer.is_closed());
        let mut stopped: Vec<Text> =
            closed.map(|lane| Text::plain(format!("the {} lane takes nothing more", lane.name))).collect();
        if let Some(error) = self.reserve().disk_error {
            stopped.push(Text::plain(error.message));
        }
        stopped
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.journal_metrics();
        metrics.extend(self.kafka_metrics());
        metrics.push(self.last_commits());
        metrics
    }

    fn trend(&self, wanted: &TrendWanted<'_>) -> Trend {
        trend::read(self.lanes.first().map(|telemetry| &telemetry.history), wanted)
    }
}

#[allow(clippy::cast_precision_loss)] // counts as metrics have them
impl BoxFacts {
    /// One metric with a value for each lane.
    fn each_lane(
        &self,
        name: &'static str,
        help: &'static str,
        kind: MetricKind,
        value: fn(&LaneStatus, &Replication) -> f64,
    ) -> Metric {
        let sample = |lane: &LaneFacts| {
            let value = value(&lane.status.borrow(), &lane.replication.snapshot());
            (vec![("lane", lane.name.to_owned())], value)
        };
        Metric { name, help, kind, samples: self.lanes.iter().map(sample).collect() }
    }

    fn journal_metrics(&self) -> Vec<Metric> {
        use MetricKind::Counter;
        let metric = |name, help, kind, value| self.each_lane(name, help, kind, value);
        vec![
            metric("forebay_samples_journalled_total", "Samples written and synced.", Counter, |lane, _| {
                lane.samples as f64
            }),
            metric(
                "forebay_journal_written_bytes_total",
                "Bytes written to the disk.",
                Counter,
                |lane, _| lane.written_bytes as f64,
            ),
            metric(
                "forebay_journal_rewritten_bytes_total",
                "Bytes of summed-up segments written.",
                Counter,
                |lane, _| lane.rewritten_bytes as f64,
            ),
            metric(
                "forebay_journal_device_bytes_total",
                "Bytes that the device wrote for the journal, estimated.",
                Counter,
                |lane, _| lane.device_bytes as f64,
            ),
            metric("forebay_journal_syncs_total", "Blocks synced.", Counter, |lane, _| lane.syncs as f64),
            metric(
                "forebay_journal_failed_syncs_total",
                "Writes and syncs that failed.",
                Counter,
                |lane, _| lane.failed_syncs as f64,
            ),
            metric(
                "forebay_journal_lost_records_total",
                "Records damaged or not storable.",
                Counter,
                |lane, _| lane.lost_records as f64,
            ),
            metric(
                "forebay_journal_given_back_batches_total",
                "Batches refused because the queue was full.",
                Counter,
                |lane, _| lane.given_back as f64,
            ),
        ]
    }

    fn kafka_metrics(&self) -> Vec<Metric> {
        use MetricKind::Counter;
        let metric = |name, help, kind, value| self.each_lane(name, help, kind, value);
        vec![
            metric("forebay_kafka_transactions_total", "Transactions committed.", Counter, |_, kafka| {
                kafka.transactions as f64
            }),
            metric(
                "forebay_kafka_aborts_total",
                "Transactions given up and sent again.",
                Counter,
                |_, kafka| kafka.aborts as f64,
            ),
            metric(
                "forebay_kafka_value_bytes_total",
                "Bytes of values committed, before compression.",
                Counter,
                |_, kafka| kafka.bytes as f64,
            ),
            metric(
                "forebay_kafka_wire_bytes_total",
                "Bytes given to the network for Kafka, compressed, without TLS and TCP.",
                Counter,
                |_, kafka| kafka.wire_bytes as f64,
            ),
            metric(
                "forebay_kafka_backfilled_records_total",
                "Records committed after newer ones.",
                Counter,
                |_, kafka| kafka.backfilled_records as f64,
            ),
            metric(
                "forebay_kafka_backfill_waiting_records",
                "Records that wait while newer ones go first.",
                MetricKind::Gauge,
                |_, kafka| kafka.backlog.as_ref().map_or(0, |backlog| backlog.records) as f64,
            ),
            metric(
                "forebay_kafka_dead_letters_total",
                "Records that went to the dead-letter topic.",
                Counter,
                |_, kafka| kafka.dead_letters as f64,
            ),
            metric(
                "forebay_kafka_rejected_records_total",
                "Records that Kafka refused and that are not in it.",
                Counter,
                |_, kafka| kafka.rejected as f64,
            ),
        ]
    }
}

/// What waits while newer data goes first: the lanes take turns, so the longest counts.
fn backfill(replications: &[Replication]) -> Option<Backfill> {
    let waiting = replications.iter().filter_map(|lane| lane.backlog.as_ref());
    waiting.fold(None, |all, lane| {
        let all = all.unwrap_or_default();
        Some(Backfill {
            records: all.records + lane.records,
            left_s: lane.left_s.into_iter().chain(all.left_s).max_by(f64::total_cmp),
            waits_for_window: all.waits_for_window || lane.waits_for_window,
        })
    })
}

fn lane_numbers(status: &LaneStatus, lane: &LaneFacts) -> Lane {
    Lane {
        name: lane.name.to_owned(),
        disk_bytes: status.bytes,
        unsent_bytes: status.unsent_bytes,
        history_bytes: status.history_bytes,
        thinned_bytes: status.thinned_bytes,
        budget_bytes: status.budget_bytes,
        appended_records: status.records,
        committed_records: lane.replication.snapshot().records,
        backlog_records: backlog(status),
    }
}

/// The worse state of the two lanes is the state of the line.
fn urgency(state: &ToItState) -> u8 {
    match state {
        ToItState::Up => 0,
        ToItState::Connecting => 1,
        ToItState::Waiting { .. } => 2,
        ToItState::Fenced { .. } => 3,
        ToItState::Paused { .. } => 4,
    }
}

fn to_it_state(replication: &Replication) -> ToItState {
    let waiting = |since_us: i64, code: &str, cause: &str| ToItState::Waiting {
        since_us,
        cause: Cause { code: code.into(), message: cause.into() },
    };
    match &replication.state {
        State::Up => ToItState::Up,
        State::Connecting | State::Standby | State::Stopped => ToItState::Connecting,
        State::Waiting { since_us, cause } => waiting(*since_us, "unreachable", cause),
        State::Refused { since_us, cause } => waiting(*since_us, "refused", cause),
        State::Settings { since_us, cause } => waiting(*since_us, "configuration", cause),
        State::Unreadable { since_us, cause } => waiting(*since_us, "disk", cause),
        State::NotLetIn { since_us, cause } => waiting(*since_us, "not-trusted", cause),
        State::Fenced { since_us, .. } => {
            let importer = replication.state.importer().map(str::to_owned);
            ToItState::Fenced { since_us: *since_us, importer }
        }
        State::Paused { since_us, by } => ToItState::Paused { since_us: *since_us, by: by.clone() },
    }
}

fn prediction(prediction: infer::Prediction) -> Prediction {
    let state = match prediction.state {
        infer::State::Filling => PredictionState::Filling,
        infer::State::Normal => PredictionState::Normal,
        infer::State::Raised { .. } => PredictionState::Raised,
        infer::State::Suppressed { .. } => PredictionState::Suppressed,
        infer::State::Broken { .. } => PredictionState::Broken,
    };
    Prediction {
        device: prediction.device,
        model: prediction.model,
        title: prediction.title,
        version: prediction.version,
        state,
        words: prediction.words,
        score: prediction.score.map(f64::from),
        threshold: f64::from(prediction.threshold),
        since_us: (prediction.since_us != 0).then_some(prediction.since_us),
        last_us: (prediction.last_us != 0).then_some(prediction.last_us),
        history: prediction.history,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_of_a_lane_is_what_its_budget_and_the_disk_leave() {
        let status = LaneStatus {
            bytes: 400,
            unsent_bytes: 200,
            budget_bytes: 1000,
            free_bytes: 10_000,
            next_room: Some(WhenFull::Evict),
            ..LaneStatus::default()
        };
        assert_eq!(left_s(&status, 10.0), Some(80.0), "sent history makes room by itself");
        assert_eq!(left_s(&status, 0.0), None);
        let small_disk = LaneStatus { free_bytes: 100, ..status.clone() };
        assert_eq!(left_s(&small_disk, 10.0), Some(30.0), "500 bytes at most, 200 of them in use");
        assert!(!is_full(&status, WhenFull::Evict));
        let full = LaneStatus { unsent_bytes: 900, bytes: 900, ..status };
        assert!(is_full(&full, WhenFull::Evict) && !is_full(&full, WhenFull::Thin));
    }

    #[test]
    fn summing_up_prolongs_the_reserve_by_what_it_saves() {
        let status = LaneStatus {
            bytes: 1000,
            unsent_bytes: 1000,
            budget_bytes: 1000,
            free_bytes: 10_000,
            full_for_s: 60,
            ..LaneStatus::default()
        };
        assert_eq!(thinned_left_s(&status, 10.0), None, "nobody knows what it saves");
        let status = LaneStatus { thinned_ratio: Some(0.25), ..status };
        // 60 s stay in full (600 bytes); the 400 others are those of 40 s now and of 160 s then.
        assert_eq!(thinned_left_s(&status, 10.0), Some(120.0));
        let begun = LaneStatus { unsent_bytes: 900, thinned_bytes: 100, ..status.clone() };
        // 80 s in full and 40 s summed up are there, 10 s more in full; 220 s fit in all.
        assert_eq!((left_s(&begun, 10.0), thinned_left_s(&begun, 10.0)), (Some(10.0), Some(90.0)));
        assert_eq!(thinned_left_s(&status, 100.0), None, "not even the youngest fits in full");
    }
}
