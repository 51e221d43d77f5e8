//! Models that watch the machine: ONNX scored by tract on windows of tags.
//!
//! A model is a [`folder`]: what it is given ([`spec`]), the graph ([`graph`]), and windows with
//! the outputs it must give ([`golden`]). [`spawn`] runs them all on a thread of their own: polling
//! never waits for a model, and what is wrong with one model stays with it.

pub mod detector;
mod eigen;
pub mod evaluate;
pub mod folder;
pub mod golden;
pub mod graph;
pub mod lag_pca;
mod onnx;
pub mod predictions;
pub mod spec;
mod table;
pub mod watcher;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::event::Events;
use crate::twin::Twin;
use folder::Folder;
use predictions::{Predictions, Slot, Slots};
use watcher::Watcher;

pub use predictions::{Prediction, State};

/// A model on a device.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The model.
    pub folder: Arc<Folder>,
    /// Name of the device.
    pub device: String,
}

/// Loads one model for one device, outside the service: tests and replays call
/// [`Watcher::tick`] in their own time.
pub fn watch(
    binding: Binding,
    box_path: &str,
    twin: &Twin,
    events: &Events,
) -> (Option<Watcher>, Arc<Predictions>) {
    let predictions = Predictions::new(vec![binding], box_path, twin);
    let watcher = predictions.slots().first().and_then(|slot| Watcher::start(slot.clone(), events));
    (watcher, Arc::new(predictions))
}

/// Loads all models and watches until `stop`, on a thread of its own.
///
/// Models are loaded there too, so that a start does not wait for them. Where inference is too
/// slow for its grid, points of the grid are dropped, never samples. What [`Predictions::bind`] changes
/// is followed.
pub fn spawn(
    bindings: Vec<Binding>,
    box_path: &str,
    twin: &Twin,
    events: Events,
    stop: CancellationToken,
) -> Arc<Predictions> {
    let predictions = Arc::new(Predictions::new(bindings, box_path, twin));
    let slots = predictions.follow();
    let thread = std::thread::Builder::new().name("infer".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(serve(slots, &events, stop)),
            Err(error) => {
                tracing::error!("no predictions: the clock of the inference thread failed: {error}")
            }
        }
    });
    if let Err(error) = thread {
        tracing::error!("no predictions: the inference thread did not start: {error}");
    }
    predictions
}

/// A watcher and its grid.
struct Gridded {
    /// Where its prediction stands; a prediction that is gone ends its watcher.
    slot: Arc<Slot>,
    watcher: Watcher,
    interval: Duration,
    next: Instant,
}

async fn serve(mut slots: watch::Receiver<Slots>, events: &Events, stop: CancellationToken) {
    let (mut watchers, mut before) = (Vec::new(), Slots::default());
    slots.mark_changed();
    loop {
        let next = watchers.iter().map(|gridded: &Gridded| gridded.next).min();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = slots.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = slots.borrow_and_update().clone();
                follow(&mut watchers, &before, &now, events);
                before = now;
            }
            () = at(next) => {}
        }
        for gridded in &mut watchers {
            gridded.advance_guarded(events);
        }
        watchers.retain(|gridded| gridded.watcher.is_running());
    }
}

/// Waits for the next point of a grid, for ever without one.
async fn at(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// Ends the watchers of places that are gone and starts those of new ones.
fn follow(watchers: &mut Vec<Gridded>, before: &Slots, now: &Slots, events: &Events) {
    let is_in = |slots: &Slots, slot: &Arc<Slot>| slots.iter().any(|other| Arc::ptr_eq(other, slot));
    watchers.retain(|gridded| is_in(now, &gridded.slot));
    for slot in now.iter().filter(|slot| !is_in(before, slot)) {
        let interval = slot.spec().map(|spec| spec.sample_interval);
        let start = || Watcher::start(slot.clone(), events);
        let watcher = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|panic| {
            watcher::panicked(slot, &*panic, events);
            None
        });
        if let (Some(watcher), Some(interval)) = (watcher, interval) {
            let (slot, next) = (Arc::clone(slot), Instant::now() + interval);
            watchers.push(Gridded { slot, watcher, interval, next });
        }
    }
}

impl Gridded {
    /// As [`Gridded::advance`]; a panic ends this model and no other.
    fn advance_guarded(&mut self, events: &Events) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.advance(events))) {
            self.watcher.panicked(&*panic, events);
        }
    }

    /// Takes the point of the grid that is due, if one is.
    fn advance(&mut self, events: &Events) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let now_us = clock::now_us();
        self.next += self.interval;
        if self.next <= now {
            // Late by more than an interval: the points in between are lost.
            self.watcher.gap(now_us);
            self.next = now + self.interval;
        }
        self.watcher.tick(now_us, events);
    }
}
