//! Polling: one task for each device, so that one bad device harms only itself.
//!
//! A task connects, verifies, reads what is due, and hands batches to the journal. It never
//! waits for Kafka, the page or a model; a full journal queue costs the batch, and the gap is
//! recorded. Every failure is a [`Cause`] in the twin and an event, and the
//! task tries again for ever.

mod address;
mod backoff;
mod budget;
mod engineer;
pub(crate) mod outage;
mod pace;
mod schedule;
mod task;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::clock;
use crate::device::Device;
use crate::event::Events;
use crate::twin::{Cause, DeviceTwin};

pub use engineer::{Engineer, transform};
pub use outage::{box_off, gap_event};

#[cfg(test)]
mod access_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

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
    /// Ends all tasks.
    pub stop: CancellationToken,
}

/// Pause after a panic in a device's task: it is a fault of ours, so no hurry to repeat it.
const PANIC_PAUSE: Duration = Duration::from_secs(10);

/// Polls one device until `shared.stop`; a panic is caught, reported and followed by a new start.
///
/// `last_good_us` is when the device's last value was journalled before this start, 0 = never.
pub async fn run(device: Arc<Device>, twin: Arc<DeviceTwin>, shared: Shared, last_good_us: i64) {
    let mut outage = outage::Outage::before_start(Arc::clone(&device), shared.events.clone(), last_good_us);
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
}
