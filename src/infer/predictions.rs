//! What the models say now, for the page and the metrics.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Binding;
use super::folder::Folder;
use super::spec::Spec;
use super::words;
use crate::device::Text;
use crate::twin::{DeviceTwin, Twin};

/// Scores kept for the sparkline.
pub const HISTORY_MAX: usize = 240;

/// State of a model on a device. Only `Normal` says that the machine is in order.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Loading, or its window is filling after a start or a gap.
    Filling,
    /// It scores, and the score is not over the threshold for long enough.
    Normal,
    /// The score stayed over the threshold.
    Raised {
        /// When it was raised, microseconds since 1970 UTC.
        since_us: i64,
        /// Highest score since.
        worst: f32,
    },
    /// An input is missing, old or not good: nothing is known of the machine.
    Suppressed {
        /// Which input, and why.
        why: Text,
    },
    /// The model cannot run.
    Broken {
        /// Why, and what to do.
        why: Text,
    },
}

/// One model on one device.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Name of the device; empty for a model folder that cannot be read.
    pub device: String,
    /// Path of the device, or of the box.
    pub device_path: String,
    /// Name of the model.
    pub model: String,
    /// What it watches.
    pub title: Text,
    /// Version of the model; empty when its folder cannot be read.
    pub version: String,
    /// First 8 digits of the SHA-256 of `model.onnx`.
    pub hash8: String,
    /// How it is.
    pub state: State,
    /// Since when it is so, microseconds since 1970 UTC; 0 = since the start.
    pub since_us: i64,
    /// The prediction is raised since then, also while inputs are missing.
    pub raised_us: Option<i64>,
    /// Last smoothed score.
    pub score: Option<f32>,
    /// Over it the prediction is raised; 0 when the folder cannot be read.
    pub threshold: f32,
    /// Time of the last score, microseconds since 1970 UTC; 0 = never.
    pub last_us: i64,
    /// State in words, with what to look at.
    pub words: Text,
    /// Share of each input in the last score, 0 to 1, largest first.
    pub contributions: Vec<(String, f32)>,
    /// Last smoothed scores, oldest first, at most [`HISTORY_MAX`].
    pub history: Vec<f32>,
}

/// The places of all predictions, in the order of configuration.
pub(super) type Slots = Arc<[Arc<Slot>]>;

/// All models on all devices.
pub struct Predictions {
    slots: watch::Sender<Slots>,
    box_path: String,
}

impl Predictions {
    /// Prepares the places; nothing runs yet. `box_path` stands in events about folders that cannot
    /// be read.
    pub(super) fn new(bindings: Vec<Binding>, box_path: &str, twin: &Twin) -> Self {
        let slots = bindings.into_iter().map(|binding| Slot::new(binding, box_path, twin));
        let slots = watch::Sender::new(slots.map(Arc::new).collect());
        Self { slots, box_path: box_path.to_owned() }
    }

    /// From now on these models watch these devices. Who watches the same device as before goes on
    /// with its window; a device whose twin is another one is another device.
    pub fn bind(&self, bindings: Vec<Binding>, twin: &Twin) {
        let before = self.slots();
        let slot = |binding: Binding| {
            let new = Arc::new(Slot::new(binding, &self.box_path, twin));
            before.iter().find(|slot| slot.is_same(&new)).cloned().unwrap_or(new)
        };
        let slots: Slots = bindings.into_iter().map(slot).collect();
        self.slots.send_if_modified(|now| {
            let same = now.len() == slots.len() && now.iter().zip(&*slots).all(|(a, b)| Arc::ptr_eq(a, b));
            *now = slots;
            !same
        });
    }

    /// The places of this moment.
    pub(super) fn slots(&self) -> Slots {
        self.slots.borrow().clone()
    }

    /// Tells when the places change.
    pub(super) fn follow(&self) -> watch::Receiver<Slots> {
        self.slots.subscribe()
    }

    /// A copy of all, in the order of configuration.
    pub fn list(&self) -> Vec<Prediction> {
        self.slots().iter().map(|slot| slot.read()).collect()
    }
}

/// Place of one prediction: written by its watcher, read by everyone else.
pub(super) struct Slot {
    /// Name of the device.
    pub(super) device: String,
    /// Path of the device, or of the box.
    pub(super) path: String,
    /// The device, if it is there.
    pub(super) twin: Option<Arc<DeviceTwin>>,
    /// The model's folder.
    pub(super) folder: Arc<Folder>,
    /// SHA-256 of `model.onnx`, empty when there is none.
    pub(super) hash: String,
    now: Mutex<Now>,
}

/// The part of a slot that changes. Nothing in it is allocated again from score to score.
pub(super) struct Now {
    pub(super) state: State,
    pub(super) since_us: i64,
    pub(super) raised_us: Option<i64>,
    pub(super) score: Option<f32>,
    pub(super) last_us: i64,
    pub(super) contrib: Vec<f32>,
    pub(super) missing: usize,
    pub(super) history: VecDeque<f32>,
}

impl Slot {
    fn new(binding: Binding, box_path: &str, twin: &Twin) -> Self {
        let Binding { folder, device } = binding;
        let twin = twin.device(&device);
        let path = twin.as_ref().map_or_else(|| box_path.to_owned(), |twin| twin.device.path.clone());
        let content = folder.content.as_ref().ok();
        let hash = content.map(|content| super::graph::hash(&content.onnx)).unwrap_or_default();
        let now = Now {
            state: State::Filling,
            since_us: 0,
            raised_us: None,
            score: None,
            last_us: 0,
            contrib: vec![0.0; content.map_or(0, |content| content.spec.inputs.len())],
            missing: content.map_or(0, |content| content.spec.window),
            history: VecDeque::with_capacity(HISTORY_MAX),
        };
        Self { device, path, twin, folder, hash, now: Mutex::new(now) }
    }

    /// The same model on the same device, with nothing about either changed.
    fn is_same(&self, other: &Self) -> bool {
        let same_twin = match (&self.twin, &other.twin) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => self.device == other.device,
            _ => false,
        };
        same_twin && self.folder.origin == other.folder.origin && self.hash == other.hash
    }

    /// A poisoned lock is taken over, as in the twin.
    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spec(&self) -> Option<&Spec> {
        self.folder.content.as_ref().ok().map(|content| &content.spec)
    }

    fn read(&self) -> Prediction {
        let spec = self.spec();
        let now = self.now();
        let contributions = spec.map(|spec| words::shares(spec, &now.contrib)).unwrap_or_default();
        Prediction {
            device: self.device.clone(),
            device_path: self.path.clone(),
            model: self.folder.model_name().to_owned(),
            title: spec.map_or_else(|| Text::plain(self.folder.model_name()), |spec| spec.title.clone()),
            version: spec.map(|spec| spec.version.clone()).unwrap_or_default(),
            hash8: self.hash.chars().take(8).collect(),
            state: now.state.clone(),
            since_us: now.since_us,
            raised_us: now.raised_us,
            score: now.score,
            threshold: spec.map_or(0.0, |spec| spec.threshold),
            last_us: now.last_us,
            words: words::state(spec, &now),
            contributions: contributions.into_iter().map(|(tag, share)| (tag.to_owned(), share)).collect(),
            history: now.history.iter().copied().collect(),
        }
    }
}

impl Now {
    /// Changes the state; `now_us` is when.
    pub(super) fn enter(&mut self, state: State, now_us: i64) {
        self.state = state;
        self.since_us = now_us;
    }

    /// Takes a score.
    pub(super) fn scored(&mut self, score: f32, contrib: &[f32], now_us: i64) {
        self.score = Some(score);
        self.last_us = now_us;
        self.contrib.copy_from_slice(contrib);
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::testing::{device, tag};

    #[test]
    fn another_configuration_touches_only_models_whose_device_has_changed() {
        let folder = Arc::new(Folder::built_in().remove(0));
        let inputs = || {
            let spec = &folder.content.as_ref().unwrap().spec;
            (0..).zip(&spec.inputs).map(|(raw, input)| tag(&input.tag, raw)).collect::<Vec<_>>()
        };
        let press = device(inputs());
        let name = press.name.clone();
        let bind = || vec![Binding { folder: Arc::clone(&folder), device: name.clone() }];
        let twin = Twin::new(&[Arc::clone(&press)]);
        let predictions = Predictions::new(bind(), "Works1/box", &twin);
        let mut places = predictions.follow();
        let first = Arc::clone(&predictions.slots()[0]);

        // The same files, read again.
        let again = Binding { folder: Arc::new(Folder::built_in().remove(0)), device: name.clone() };
        predictions.bind(vec![again], &twin);
        assert!(Arc::ptr_eq(&first, &predictions.slots()[0]) && !places.has_changed().unwrap());

        // The device is another one.
        twin.set_devices(Arc::from([Arc::new(DeviceTwin::new(device(inputs())))]));
        predictions.bind(bind(), &twin);
        assert!(!Arc::ptr_eq(&first, &predictions.slots()[0]) && places.has_changed().unwrap());
        places.mark_unchanged();

        // It is gone, and its model with it.
        twin.set_devices(Arc::default());
        predictions.bind(Vec::new(), &twin);
        assert!(predictions.list().is_empty() && places.has_changed().unwrap());
    }
}
