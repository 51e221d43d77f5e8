//! Polling: one task for each device, so that one bad device harms only itself.
//!
//! A task connects, verifies, reads what is due, and hands batches to the journal. It never
//! waits for Kafka, the page or a model; a full journal queue costs the batch, and the gap is
//! recorded. Every failure is a [`Cause`] in the twin and an event, and the
//! task tries again for ever.

mod address;
mod backoff;
mod budget;
mod calculated;
mod connections;
mod door;
mod engineer;
mod history;
mod messages;
pub(crate) mod outage;
mod pace;
mod schedule;
mod task;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::clock;
use crate::device::Device;
use crate::event::{Event, Events, Kind};
use crate::standby::Gate;
use crate::twin::{Cause, DeviceTwin, Link, Missing};

pub use engineer::{Engineer, transform};
pub(crate) use task::failed_check;

pub use outage::{RELOADED, box_off, gap_event};
pub use task::holds;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod connections_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// An event of a device.
fn event_of(device: &Device, kind: Kind, edge_time: i64, text: String, mut data: Json) -> Event {
    mark(&mut data, &device.standby_for);
    Event { kind, edge_time, device: device.path.clone(), text, data }
}

/// Says in the data of an event that a box has read which only stands by: the other one may tell
/// something else of the same time.
fn mark(data: &mut Json, standby_for: &str) {
    if !standby_for.is_empty() {
        data["standby_for"] = standby_for.into();
    }
}

/// Where batches go: the telemetry lane.
pub trait Sink: Send + Sync {
    /// Takes a batch without waiting, or gives it back when the queue is full.
    ///
    /// # Errors
    /// The batch itself.
    fn append(&self, batch: Batch) -> Result<(), Batch>;
}

/// What all device tasks share.
#[derive(Clone)]
pub struct Shared {
    /// Where batches go.
    pub sink: Arc<dyn Sink>,
    /// Where events go.
    pub events: Events,
    /// Longest pause between attempts to reach a device.
    pub reconnect_pause_max: Duration,
    /// Whether devices are read that another box reads while it lives; closed when there are none.
    pub gate: Gate,
    /// Ends all tasks.
    pub stop: CancellationToken,
}

/// Pause after a panic in a device's task: it is a fault of ours, so no hurry to repeat it.
const PANIC_PAUSE: Duration = Duration::from_secs(10);

/// After a restart of a standby box a time without values is told as a gap where it is no longer than
/// this, in microseconds. See [`carries_on`].
const STANDBY_RESTART_MAX_US: i64 = 600_000_000;

/// Polls one device until `shared.stop`; a panic is caught, reported and followed by a new start.
///
/// `last_good_us` is when the device's last value was journalled before this start, 0 = never.
pub async fn run(device: Arc<Device>, twin: Arc<DeviceTwin>, shared: Shared, last_good_us: i64) {
    run_after(device, twin, shared, Missing::since(last_good_us, box_off())).await;
}

/// As [`run`], carrying on with what is `missing` from the time before.
pub async fn run_after(device: Arc<Device>, twin: Arc<DeviceTwin>, shared: Shared, missing: Missing) {
    if device.standby_for.is_empty() {
        return read(device, twin, shared, missing).await;
    }
    let mut gate = shared.gate.clone();
    let was_open = *gate.borrow();
    let mut before = missing;
    loop {
        {
            let mut state = twin.state();
            state.link = Link::StandingBy;
            state.missing = before.clone();
        }
        let opened = async { gate.wait_for(|open| *open).await.is_ok() };
        match shared.stop.run_until_cancelled(opened).await {
            Some(true) => {}
            // Nobody turns the gate any more: the box is stopping.
            Some(false) => return shared.stop.cancelled().await,
            None => return,
        }
        twin.state().link = Link::Starting;
        let turn = Shared { stop: shared.stop.child_token(), ..shared.clone() };
        let end = turn.stop.clone();
        let closing = async {
            let _closed = gate.wait_for(|open| !*open).await.is_ok();
            end.cancel();
        };
        // Only of the first turn: before the others the other box has read.
        let missing = std::mem::take(&mut before);
        let missing = if carries_on(&missing, was_open) { missing } else { Missing::default() };
        tokio::join!(read(Arc::clone(&device), Arc::clone(&twin), turn, missing), async {
            shared.stop.run_until_cancelled(closing).await;
        });
        if shared.stop.is_cancelled() {
            // Who takes this task's place finds in the twin how it was.
            return;
        }
    }
}

/// Whether the time before the first turn of a standby box is a gap: this box has read until then, and
/// not the other one. That is certain where the gate was open already when the task began: another
/// configuration was taken over in the middle of a turn. A restart forgets who has read. When the
/// gate opens soon after our own last value, most likely we were reading when we were stopped; later
/// the other box may have read meanwhile, and its own gap tells when it did not.
fn carries_on(missing: &Missing, was_open: bool) -> bool {
    let restarted = missing.cause.as_ref() == Some(&box_off());
    let soon = clock::now_us().saturating_sub(missing.last_good_us) <= STANDBY_RESTART_MAX_US;
    was_open || (restarted && soon)
}

async fn read(device: Arc<Device>, twin: Arc<DeviceTwin>, shared: Shared, missing: Missing) {
    let events = shared.events.clone();
    let mut outage = outage::Outage::before_start(Arc::clone(&device), events, missing);
    outage.hand_over(&twin);
    while !shared.stop.is_cancelled() {
        let work = task::Task::new(Arc::clone(&device), Arc::clone(&twin), shared.clone());
        let ended = std::panic::AssertUnwindSafe(work.run(&mut outage)).catch_unwind().await;
        if ended.is_ok() {
            break;
        }
        let cause = Cause {
            code: "panic".into(),
            message: "a fault inside Forebay; the log has the details, please report it".into(),
        };
        outage.begin(&twin, clock::now_us(), cause);
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = tokio::time::sleep(PANIC_PAUSE) => {}
        }
    }
    outage.tell_loss(clock::now_us());
    outage.hand_over(&twin);
}
