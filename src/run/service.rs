//! Talking to systemd, and noticing when the clock jumps.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::event::{Event, Events, Kind, What};

/// A wall clock that moves this much against the monotonic one has jumped.
const JUMP_MIN_US: i64 = 2_000_000;

/// Tells systemd something; without systemd nothing happens.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd does not listen: {error}");
    }
}

/// Feeds systemd's watchdog while `alive` says so, and records jumps of the clock, until `stop`.
pub async fn watch(alive: impl Fn() -> bool + Send, device: String, events: Events, stop: CancellationToken) {
    let watchdog = sd_notify::watchdog_enabled();
    // Three signs of life in the time that systemd waits for one.
    let period = watchdog.map_or(Duration::from_secs(5), |limit| (limit / 3).min(Duration::from_secs(5)));
    let mut tick = tokio::time::interval(period.max(Duration::from_millis(100)));
    let mut last = (Instant::now(), clock::now_us());
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if watchdog.is_some() && alive() {
            notify(&[NotifyState::Watchdog]);
        }
        let now = (Instant::now(), clock::now_us());
        let passed_us = i64::try_from((now.0 - last.0).as_micros()).unwrap_or(i64::MAX);
        let jump_us = now.1 - last.1 - passed_us;
        if jump_us.abs() >= JUMP_MIN_US {
            report_jump(jump_us, now.1, &device, &events);
        }
        last = now;
    }
}

#[allow(clippy::cast_precision_loss)] // seconds for people
fn report_jump(jump_us: i64, now_us: i64, device: &str, events: &Events) {
    let seconds = jump_us as f64 / 1e6;
    tracing::warn!(
        "the clock was set by {seconds:+.1} s; order stays right, it does not depend on the clock"
    );
    events.emit(Event {
        kind: Kind::Box,
        edge_time: now_us,
        device: device.to_owned(),
        text: format!("The clock of the box was set by {seconds:+.1} s"),
        data: json!({ "what": What::ClockJump, "seconds": seconds }),
    });
}
