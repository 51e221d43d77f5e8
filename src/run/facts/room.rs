//! How long the room on the disk lasts.

use super::line::backlog;
use super::{BoxFacts, LaneFacts, lock};
use crate::lane::{LaneStatus, WhenFull};
use crate::status::facts::{DiskError, Lane, Reserve};

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

impl BoxFacts {
    /// Numbers of the journal.
    pub(super) fn room(&self) -> Reserve {
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
            perhaps_dropped_records: sum(|status| status.perhaps_evicted_records),
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
