//! Models that watch the machine: ONNX scored by tract on windows of tags.
//!
//! A model is a [`folder`]: what it is given ([`spec`]), the graph ([`graph`]), and windows with
//! the outputs it must give ([`golden`]). [`spawn`] runs them all on threads of their own: polling
//! never waits for a model, and what is wrong with one model stays with it. Which version of a model
//! runs is said by the [`registry`]; the versions themselves lie in the [`store`].

pub mod adapt;
mod bounds;
pub mod command;
mod covariance;
mod cpu;
pub mod detector;
pub mod diary;
mod eigen;
pub mod episode;
pub mod evaluate;
pub mod features;
pub mod feedback;
pub mod fit;
pub mod folder;
pub mod golden;
pub mod graph;
pub mod lag_pca;
pub mod models;
mod onnx;
pub mod operators;
pub mod package;
mod planes;
pub mod predictions;
mod quality;
pub mod reference;
pub mod registry;
pub mod rerun;
mod scheduler;
mod screen;
mod service;
pub mod shadow;
pub mod signature;
pub mod since;
pub mod spec;
pub mod store;
mod table;
mod tell;
mod trees;
pub mod trend;
pub mod trial;
pub mod watcher;
mod wire;
pub(crate) mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::device::Text;
use crate::event::Events;
use crate::twin::Twin;
use diary::Diaries;
use folder::Folder;
use predictions::Predictions;
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
    watch_with(binding, box_path, twin, Arc::default(), events)
}

/// As [`watch`], with what was found before in `diaries`.
pub fn watch_with(
    binding: Binding,
    box_path: &str,
    twin: &Twin,
    diaries: Arc<Diaries>,
    events: &Events,
) -> (Option<Watcher>, Arc<Predictions>) {
    let predictions = Predictions::new(vec![binding], box_path, twin, diaries);
    let watcher = predictions.slots().first().and_then(|slot| Watcher::start(slot.clone(), events));
    (watcher, Arc::new(predictions))
}

/// How inference runs.
#[derive(Clone)]
pub struct Options {
    /// Threads that score.
    pub threads: usize,
    /// Share of one processor for all of them, averaged over a minute.
    pub cpu_share: f64,
    /// A score that takes longer than this, and …
    pub score_floor: Duration,
    /// … so many times what it took in its trial, stops its model. Processor time counts, …
    pub score_factor: u32,
    /// … and after so long the time on the wall.
    pub score_wall: Duration,
    /// Tries a model before it is loaded: the time of one score, or why it must not run.
    pub trial: Arc<Trial>,
    /// Somebody puts another version in the place of one that cannot run.
    pub minded: bool,
}

/// Tries a model.
pub type Trial = dyn Fn(&Folder) -> Result<Duration, Text> + Send + Sync;

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            cpu_share: 0.25,
            score_floor: Duration::from_secs(1),
            score_factor: 20,
            score_wall: Duration::from_secs(60),
            trial: Arc::new(|_| Ok(Duration::ZERO)),
            minded: false,
        }
    }
}

/// Loads all models and watches until `stop`, on threads of its own.
///
/// Models are loaded there too, so that a start does not wait for them. Where inference is too
/// slow for its grid, points of the grid are dropped, never samples. What [`Predictions::bind`] changes
/// is followed. What the models find goes into `diaries`.
pub fn spawn(
    bindings: Vec<Binding>,
    box_path: &str,
    twin: &Twin,
    diaries: Arc<Diaries>,
    events: Events,
    stop: CancellationToken,
) -> Arc<Predictions> {
    spawn_with(Options::default(), bindings, box_path, twin, diaries, events, stop)
}

/// As [`spawn`], with these options.
pub fn spawn_with(
    options: Options,
    bindings: Vec<Binding>,
    box_path: &str,
    twin: &Twin,
    diaries: Arc<Diaries>,
    events: Events,
    stop: CancellationToken,
) -> Arc<Predictions> {
    let predictions = Arc::new(Predictions::new(bindings, box_path, twin, diaries));
    service::start(&predictions, options, events, stop);
    predictions
}
