//! From "a device is away" to the words and records about it.
//!
//! Missing is not unchanged: each time is a `device-state` event when it begins and a `gap`
//! event when it ends, with the times of the last value before and the first value after.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::batch::GapBefore;
use crate::clock;
use crate::device::Device;
use crate::event::{Event, Events, Kind};
use crate::twin::{Cause, DeviceTwin, Link};

/// The same fault is logged again after this time, not at every attempt.
const REMIND: Duration = Duration::from_secs(600);

/// One device's current outage, if any, and what was said of it.
pub struct Outage {
    device: Arc<Device>,
    events: Events,
    /// Last value before the outage, microseconds since 1970; 0 = never.
    last_good_us: i64,
    /// Cause the gap will be given; `None` while values come in.
    open: Option<Cause>,
    logged: Option<(String, Instant)>,
}

impl Outage {
    /// The time since the box was switched off counts as an outage too.
    pub fn before_start(device: Arc<Device>, events: Events, last_good_us: i64) -> Self {
        let open = (last_good_us != 0)
            .then(|| Cause { code: "box-off".into(), message: "Forebay was not running".into() });
        Self { device, events, last_good_us, open, logged: None }
    }

    /// Values came in at `edge_us`; closes an outage with its gap record. What is returned is
    /// journalled with the first batch.
    pub fn end(&mut self, twin: &DeviceTwin, edge_us: i64) -> Option<GapBefore> {
        self.logged = None;
        {
            let mut state = twin.state();
            if !matches!(state.link, Link::Up { .. }) {
                state.link = Link::Up { since_us: edge_us };
            }
        }
        let from_us = std::mem::replace(&mut self.last_good_us, edge_us);
        let Some(cause) = self.open.take() else {
            tracing::info!(device = %self.device.name, "first values");
            self.emit_state(edge_us, "up", None);
            return None;
        };
        tracing::info!(device = %self.device.name, "values come in again after: {}", cause.message);
        // Without a value before there is no time from which something could be missing.
        let gap = (from_us != 0).then_some(GapBefore { from_us, cause });
        if let Some(gap) = &gap {
            self.events.emit(gap_event(&self.device.path, gap, edge_us));
        }
        self.emit_state(edge_us, "up", None);
        gap
    }

    /// Notes that values came in, without an outage before.
    pub fn note_good(&mut self, edge_us: i64) {
        self.last_good_us = edge_us;
    }

    /// True while values come in.
    pub fn is_over(&self) -> bool {
        self.open.is_none() && self.last_good_us != 0
    }

    /// An attempt failed. Logs and records a cause when it is new.
    pub fn begin(&mut self, twin: &DeviceTwin, now_us: i64, cause: Cause) {
        self.log(&cause);
        let changed = {
            let mut state = twin.state();
            state.errors += 1;
            let (since_us, changed) = match &state.link {
                Link::Down { since_us, cause: before } => (*since_us, before.code != cause.code),
                Link::Starting | Link::Up { .. } => (now_us, true),
            };
            state.link = Link::Down { since_us, cause: cause.clone() };
            changed
        };
        if changed {
            self.emit_state(now_us, "down", Some(&cause));
        }
        // The first cause names the gap: what follows (refused after reset) is a consequence.
        self.open.get_or_insert(cause);
    }

    /// Records that a batch could not be journalled.
    pub fn lost_batch(&self, from_us: i64, to_us: i64, samples: usize) {
        let cause = Cause {
            code: "journal-full".into(),
            message: "the disk is too slow: the journal's queue was full".into(),
        };
        tracing::warn!(device = %self.device.name, samples, "{}", cause.message);
        self.events.emit(Event {
            kind: Kind::Gap,
            edge_time: to_us,
            device: self.device.path.clone(),
            text: format!("{samples} samples are missing: {}", cause.message),
            data: json!({
                "tags": "*", "from": clock::rfc3339(from_us), "to": clock::rfc3339(to_us),
                "cause": cause.code, "samples": samples,
            }),
        });
    }

    fn log(&mut self, cause: &Cause) {
        let now = Instant::now();
        let repeated = self
            .logged
            .as_ref()
            .is_some_and(|(code, at)| *code == cause.code && now.duration_since(*at) < REMIND);
        if !repeated {
            tracing::warn!(device = %self.device.name, endpoint = %self.device.spec.endpoint, code = %cause.code,
                "no values: {} (trying again; the next repetition of this message is in {} min)",
                cause.message, REMIND.as_secs() / 60);
            self.logged = Some((cause.code.clone(), now));
        }
    }

    fn emit_state(&self, now_us: i64, state: &str, cause: Option<&Cause>) {
        let text = match cause {
            Some(cause) => format!("{} delivers no values: {}", self.device.name, cause.message),
            None => format!("{} delivers values", self.device.name),
        };
        self.events.emit(Event {
            kind: Kind::DeviceState,
            edge_time: now_us,
            device: self.device.path.clone(),
            text,
            data: json!({ "state": state, "cause": cause.map(|cause| cause.code.as_str()) }),
        });
    }
}

/// The gap record of a device that had no values from `gap.from_us` to `to_us`.
pub fn gap_event(device: &str, gap: &GapBefore, to_us: i64) -> Event {
    let (from, to) = (clock::rfc3339(gap.from_us), clock::rfc3339(to_us));
    Event {
        kind: Kind::Gap,
        edge_time: to_us,
        device: device.to_owned(),
        text: format!("No values from {from} to {to}: {}", gap.cause.message),
        data: json!({
            "tags": "*", "from": from, "to": to,
            "cause": gap.cause.code, "cause_text": gap.cause.message,
        }),
    }
}
