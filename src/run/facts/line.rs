//! The way to IT: the lanes' replicators as one line.

use super::{BoxFacts, lock};
use crate::clock;
use crate::lane::LaneStatus;
use crate::replicate::{Replication, State};
use crate::run::rates::Rates;
use crate::status::facts::{Backfill, ToIt, ToItState};
use crate::twin::Cause;

/// For so long the page says that somebody else has sent under our name.
const SHUT_OUT_SHOWN_US: i64 = 3_600_000_000;

/// Records that Kafka has not confirmed.
pub(super) fn backlog(status: &LaneStatus) -> u64 {
    status
        .next_offset
        .saturating_sub(status.confirmed.unwrap_or(status.first_offset).max(status.first_offset))
}

/// The same while newer data goes first: what was sent before its turn is not missing.
fn unsent(status: &LaneStatus, replication: &Replication) -> u64 {
    match (&replication.backlog, replication.next_offset) {
        (Some(waiting), Some(next)) => status.next_offset.saturating_sub(next) + waiting.records,
        _ => backlog(status),
    }
}

impl BoxFacts {
    /// Numbers of the way to Kafka, all lanes together.
    #[allow(clippy::cast_precision_loss)] // seconds for people
    pub(super) fn line(&self) -> ToIt {
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
            perhaps_sent_records: statuses.iter().map(|status| status.perhaps_sent_records).sum(),
            records_per_s: per_s(Rates::committed_per_s),
            intake_per_s: per_s(Rates::appended_per_s),
            committed_records: self.lanes.iter().map(|lane| lane.replication.snapshot().records).sum(),
        }
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
