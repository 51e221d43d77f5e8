//! From "a device is away" to the words and records about it.
//!
//! Missing is not unchanged: each time is a `device-state` event when it begins and a `gap`
//! event when it ends, with the times of the last value before and the first value after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{event_of, mark};
use crate::batch::GapBefore;
use crate::clock;
use crate::device::Device;
use crate::event::{Event, Events, Kind};
use crate::twin::{Cause, DeviceTwin, Link, Missing};

/// The same fault is logged again after this time, not at every attempt, nor each time it comes back.
const REMIND: Duration = Duration::from_secs(600);

/// Why samples are lost although the device delivers them.
const JOURNAL_FULL: &str = "the disk is full or too slow, and the memory for what waits for it is full";
/// Code of the gap that ends when the box starts.
const BOX_OFF: &str = "box-off";
/// Code of the gap that ends when a device is read by a new configuration.
pub const RELOADED: &str = "reload";
/// Losses closer together than this are one gap record. Microseconds.
const LOSSES_APART_US: i64 = 1_000_000;

/// Samples that the journal's queue had no room for.
struct Loss {
    from_us: i64,
    to_us: i64,
    samples: u64,
}

/// One device's current outage, if any, and what was said of it.
pub struct Outage {
    pub(super) device: Arc<Device>,
    pub(super) events: Events,
    /// Last value before the outage, microseconds since 1970; 0 = never.
    last_good_us: i64,
    /// Cause the gap will be given; `None` while values come in.
    open: Option<Cause>,
    /// What kept the device away after the box had started again.
    then: Option<Cause>,
    /// Kept until it is over, so that a disk that is full for hours is one record and not one a scan.
    loss: Option<Loss>,
    /// When each cause was logged last, by code: there are about ten.
    logged: HashMap<String, Instant>,
    /// The log knows that the device is away.
    is_logged: bool,
    /// Codes of this outage that have been events.
    told: Vec<String>,
    /// Values of this outage that the device itself had kept.
    from_history: usize,
}

impl Outage {
    /// The time since the box was switched off, or the device was read last, counts as an outage too.
    pub fn before_start(device: Arc<Device>, events: Events, missing: Missing) -> Self {
        let Missing { last_good_us, cause, then } = missing;
        Self {
            device,
            events,
            last_good_us,
            open: cause.filter(|_| last_good_us != 0),
            then: then.filter(|_| last_good_us != 0),
            loss: None,
            logged: HashMap::new(),
            is_logged: false,
            told: Vec::new(),
            from_history: 0,
        }
    }

    /// Leaves what is missing in the twin, for the task that takes this one's place.
    pub fn hand_over(&self, twin: &DeviceTwin) {
        twin.state().missing =
            Missing { last_good_us: self.last_good_us, cause: self.open.clone(), then: self.then.clone() };
    }

    /// Values came in at `edge_us`; closes an outage with its gap record. What is returned is
    /// journalled with the first batch.
    pub fn end(&mut self, twin: &DeviceTwin, edge_us: i64) -> Option<GapBefore> {
        self.told.clear();
        {
            let mut state = twin.state();
            if !matches!(state.link, Link::Up { .. }) {
                state.link = Link::Up { since_us: edge_us };
            }
        }
        let from_us = std::mem::replace(&mut self.last_good_us, edge_us);
        let Some(mut cause) = self.open.take() else {
            tracing::info!(device = %self.device.name, "first values");
            self.emit_state(edge_us, "up", None);
            return None;
        };
        twin.state().missing = Missing { last_good_us: edge_us, ..Missing::default() };
        if let Some(then) = self.then.take() {
            cause.message = format!("{}; then {}", cause.message, then.message);
        }
        if std::mem::take(&mut self.is_logged) {
            tracing::info!(device = %self.device.name, "values come in again after: {}", cause.message);
        }
        // Without a value before there is no time from which something could be missing.
        let gap = (from_us != 0).then_some(GapBefore { from_us, cause });
        let from_history = std::mem::take(&mut self.from_history);
        if let Some(gap) = &gap {
            let mut event = gap_event(&self.device.path, &self.device.standby_for, gap, edge_us);
            if from_history > 0 {
                event
                    .text
                    .push_str(&format!("; {from_history} values of it come from the device's own memory"));
                event.data["from_history"] = json!(from_history);
            }
            self.events.emit(event);
        }
        self.emit_state(edge_us, "up", None);
        gap
    }

    /// Since when values are missing, microseconds since 1970; `None` while none are, or when there
    /// never was one.
    pub fn missing_since(&self) -> Option<i64> {
        (self.open.is_some() && self.last_good_us != 0).then_some(self.last_good_us)
    }

    /// The device itself had kept this many values of the outage; called before [`Outage::end`].
    pub fn note_history(&mut self, samples: usize) {
        self.from_history = samples;
    }

    /// Notes that values came in, without an outage before.
    pub fn note_good(&mut self, edge_us: i64) {
        self.last_good_us = edge_us;
    }

    /// The device had been silent since `us` when the connection was given up: what a subscription
    /// seemed to leave unchanged since then is unknown.
    pub fn silent_since(&mut self, us: i64) {
        self.last_good_us = self.last_good_us.min(us);
    }

    /// True while values come in.
    pub fn is_over(&self) -> bool {
        self.open.is_none() && self.last_good_us != 0
    }

    /// An attempt failed. Logs and records a cause when it is new.
    pub fn begin(&mut self, twin: &DeviceTwin, now_us: i64, cause: Cause) {
        self.log(&cause);
        {
            let mut state = twin.state();
            state.errors += 1;
            let since_us = match &state.link {
                Link::Down { since_us, .. } => *since_us,
                Link::Starting | Link::StandingBy | Link::Up { .. } => now_us,
            };
            state.link = Link::Down { since_us, cause: cause.clone() };
        }
        // Two causes that take turns are two events, not one at each attempt.
        if !self.told.contains(&cause.code) {
            self.told.push(cause.code.clone());
            self.emit_state(now_us, "down", Some(&cause));
        }
        // The first cause names the gap: what follows (refused after reset) is a consequence. Only
        // of the box itself or of its files it is not.
        match &self.open {
            None => self.open = Some(cause),
            Some(open) if [BOX_OFF, RELOADED].contains(&open.code.as_str()) => {
                self.then.get_or_insert(cause);
            }
            Some(_) => {}
        }
        self.hand_over(twin);
    }

    /// Notes samples of `edge_us` that the journal's queue had no room for.
    pub fn lost(&mut self, edge_us: i64, samples: usize) {
        let samples = samples as u64;
        // The clock was set back: one record over both times would end before it begins.
        if self.loss.as_ref().is_some_and(|loss| edge_us < loss.to_us) {
            self.tell_loss(edge_us);
        }
        match &mut self.loss {
            Some(loss) => {
                loss.to_us = edge_us;
                loss.samples += samples;
            }
            None => {
                tracing::error!(device = %self.device.name, "samples are lost: {JOURNAL_FULL}");
                self.loss = Some(Loss { from_us: edge_us, to_us: edge_us, samples });
            }
        }
    }

    /// Everything of `edge_us` was taken by the journal: a loss that is over becomes a gap record.
    pub fn stored(&mut self, edge_us: i64) {
        if self.loss.as_ref().is_some_and(|loss| (edge_us - loss.to_us).abs() >= LOSSES_APART_US) {
            self.tell_loss(edge_us);
        }
    }

    /// Records at `now_us` what was lost, if anything was.
    pub fn tell_loss(&mut self, now_us: i64) {
        let Some(Loss { from_us, to_us, samples }) = self.loss.take() else { return };
        let (from, to) = (clock::rfc3339(from_us), clock::rfc3339(to_us));
        let text = format!("{samples} samples from {from} to {to} are missing: {JOURNAL_FULL}");
        tracing::warn!(device = %self.device.name, "{text}");
        let data = json!({
            "tags": "*", "from": from, "to": to,
            "cause": "journal-full", "cause_text": JOURNAL_FULL, "samples": samples,
        });
        self.events.emit(event_of(&self.device, Kind::Gap, now_us, text, data));
    }

    fn log(&mut self, cause: &Cause) {
        let now = Instant::now();
        if self.logged.get(&cause.code).is_some_and(|at| now.duration_since(*at) < REMIND) {
            return;
        }
        tracing::warn!(device = %self.device.name, endpoint = %self.device.spec.endpoint, code = %cause.code,
            "no values: {} (trying again; this message is not repeated for {} min)",
            cause.message, REMIND.as_secs() / 60);
        self.logged.insert(cause.code.clone(), now);
        self.is_logged = true;
    }

    fn emit_state(&self, now_us: i64, state: &str, cause: Option<&Cause>) {
        let text = match cause {
            Some(cause) => format!("{} delivers no values: {}", self.device.name, cause.message),
            None => format!("{} delivers values", self.device.name),
        };
        let data = json!({ "state": state, "cause": cause.map(|cause| cause.code.as_str()) });
        self.events.emit(event_of(&self.device, Kind::DeviceState, now_us, text, data));
    }
}

/// Why there are no values from before a start.
pub fn box_off() -> Cause {
    Cause { code: BOX_OFF.into(), message: "Forebay was not running".into() }
}

/// The gap record of a device (its path, and for which box this one has read it, empty = it is our own)
/// that had no values from `gap.from_us` to `to_us`. When the clock was
/// set back in between, the end lies before the beginning: both stay as they were read, and the
/// record says so.
pub fn gap_event(device: &str, standby_for: &str, gap: &GapBefore, to_us: i64) -> Event {
    let (from, to) = (clock::rfc3339(gap.from_us), clock::rfc3339(to_us));
    let message = &gap.cause.message;
    let mut text = format!("No values from {from} to {to}: {message}");
    let mut data = json!({
        "tags": "*", "from": from, "to": to,
        "cause": gap.cause.code, "cause_text": message,
    });
    if to_us < gap.from_us {
        text.push_str("; the clock of the box was set back meanwhile, so how long it was is not known");
        data["clock"] = json!("set back");
    }
    mark(&mut data, standby_for);
    Event { kind: Kind::Gap, edge_time: to_us, device: device.to_owned(), text, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_before_and_after_a_clock_that_was_set_back_are_two_records() {
        let (events, mut emitted) = Events::new();
        let mut outage =
            Outage::before_start(crate::poll::testing::device(Vec::new()), events, Missing::default());
        outage.lost(5_000_000, 1);
        outage.lost(6_000_000, 2);
        outage.lost(1_000_000, 4);
        outage.tell_loss(2_000_000);
        for (from, to, samples) in [(5_000_000, 6_000_000, 3), (1_000_000, 1_000_000, 4)] {
            let data = emitted.try_recv().unwrap().data;
            assert_eq!(
                (&data["from"], &data["to"]),
                (&json!(clock::rfc3339(from)), &json!(clock::rfc3339(to)))
            );
            assert_eq!(data["samples"], samples);
        }
    }

    #[test]
    fn a_gap_over_a_clock_that_was_set_back_says_so_and_keeps_both_times() {
        let cause = Cause { code: BOX_OFF.into(), message: "Forebay was not running".into() };
        let gap = GapBefore { from_us: 2_000_000, cause };
        let event = gap_event("Works1/press", "", &gap, 1_000_000);
        assert_eq!(event.data["clock"], "set back");
        assert_eq!(event.data["from"], clock::rfc3339(2_000_000));
        assert_eq!(event.data["to"], clock::rfc3339(1_000_000));
        assert!(event.text.contains("the clock of the box was set back"), "{}", event.text);
        let ordinary = gap_event("Works1/press", "", &gap, 2_000_000);
        assert!(ordinary.data.get("clock").is_none() && !ordinary.text.contains("clock"));
    }
}
