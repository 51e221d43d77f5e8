//! What the models say now, for the page and the metrics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Binding;
use super::diary::{Diaries, Diary};
use super::folder::Folder;
use super::shadow::Tally;
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
    /// How long the machine will last, where the model says so: least, likely, most, and their unit.
    pub remaining: Option<([f32; 3], String)>,
    /// The tag whose baseline has used up most of its reach, and the share of it, 0 to 1.
    pub reach_used: Option<(String, f64)>,
    /// Last smoothed scores, oldest first, at most [`HISTORY_MAX`].
    pub history: Vec<f32>,
    /// Windows that were not scored since it began to run: late, or over the share of the processor.
    pub dropped: u64,
}

/// Windows of a model on a device since it began to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Name of the device.
    pub device: String,
    /// Name of the model.
    pub model: String,
    /// Scored.
    pub scored: u64,
    /// Points of the grid that were dropped because inference was late.
    pub late: u64,
    /// Left out because inference had used up its share of the processor.
    pub over_share: u64,
}

/// The places of all predictions, in the order of configuration.
pub(super) type Slots = Arc<[Arc<Slot>]>;

/// Everything that runs.
#[derive(Clone, Default)]
pub(super) struct Places {
    /// What is shown and told.
    pub(super) active: Slots,
    /// What runs beside and says nothing.
    pub(super) shadows: Slots,
}

impl Places {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.active.iter().chain(&*self.shadows)
    }
}

/// All models on all devices.
pub struct Predictions {
    slots: watch::Sender<Places>,
    box_path: String,
    /// What the models have found.
    pub diaries: Arc<Diaries>,
}

impl Predictions {
    /// Prepares the places; nothing runs yet. `box_path` stands in events about folders that cannot
    /// be read.
    pub(super) fn new(bindings: Vec<Binding>, box_path: &str, twin: &Twin, diaries: Arc<Diaries>) -> Self {
        let slots = bindings.into_iter().map(|binding| Slot::new(binding, box_path, twin, &diaries));
        let active = slots.map(Arc::new).collect();
        let slots = watch::Sender::new(Places { active, shadows: Slots::default() });
        Self { slots, box_path: box_path.to_owned(), diaries }
    }

    /// From now on these models watch these devices. Who watches the same device as before goes on
    /// with its window; a device whose twin is another one is another device.
    pub fn bind(&self, bindings: Vec<Binding>, twin: &Twin) {
        self.bind_with(bindings, self.shadows().iter().map(|slot| slot.binding()).collect(), twin);
    }

    /// As [`Predictions::bind`], with the models that run beside and say nothing. Another version of a
    /// model takes over from the one before when it is loaded; until then that one goes on.
    pub fn bind_with(&self, bindings: Vec<Binding>, shadows: Vec<Binding>, twin: &Twin) {
        let before = self.slots.borrow().clone();
        let active = |binding: Binding| {
            let new = Slot::new(binding, &self.box_path, twin, &self.diaries);
            // Who waits to be relieved still runs.
            let waiting: Vec<_> = before.active.iter().filter_map(|slot| slot.relieves()).collect();
            let mut running = before.active.iter().chain(&waiting);
            if let Some(same) = running.find(|slot| slot.is_same(&new)) {
                return Arc::clone(same);
            }
            let relieved = before.active.iter().find(|slot| slot.is_version_of(&new));
            let relieved = relieved.map(|slot| slot.relieves().unwrap_or_else(|| Arc::clone(slot)));
            new.relieve(relieved);
            Arc::new(new)
        };
        let active: Slots = bindings.into_iter().map(active).collect();
        let shadow = |binding: Binding| {
            let new = Slot::new(binding, &self.box_path, twin, &self.diaries);
            let is_active = active.iter().any(|slot| slot.has_twin_of(&new) && slot.hash == new.hash);
            let new = Arc::new(new.silent(is_active));
            before.shadows.iter().find(|slot| slot.is_same(&new)).cloned().unwrap_or(new)
        };
        let shadows: Slots = shadows.into_iter().map(shadow).collect();
        let places = Places { active, shadows };
        // Who runs again needs nobody to go on for it.
        for slot in places.active.iter().filter(|slot| slot.is_loaded()) {
            slot.relieve(None);
        }
        self.slots.send_if_modified(|now| {
            let same = |a: &Slots, b: &Slots| {
                a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| Arc::ptr_eq(a, b))
            };
            let same = same(&now.active, &places.active) && same(&now.shadows, &places.shadows);
            *now = places;
            !same
        });
    }

    /// The places of this moment.
    pub(super) fn slots(&self) -> Slots {
        self.slots.borrow().active.clone()
    }

    /// Those of this moment that say nothing.
    pub(super) fn shadows(&self) -> Slots {
        self.slots.borrow().shadows.clone()
    }

    /// Tells when the places change.
    pub(super) fn follow(&self) -> watch::Receiver<Places> {
        self.slots.subscribe()
    }

    /// Has the places looked at again, although they are the same.
    pub(super) fn look_again(&self) {
        self.slots.send_modify(|_| {});
    }

    /// How many windows each model has scored and left out, in the order of configuration.
    pub fn windows(&self) -> Vec<Windows> {
        let windows = |slot: &Arc<Slot>| {
            let tally = slot.tally();
            let (scored, late, over_share) = (tally.scored, tally.late, tally.over_share);
            drop(tally);
            let model = slot.folder.model_name().to_owned();
            Windows { device: slot.device.clone(), model, scored, late, over_share }
        };
        self.slots().iter().map(windows).collect()
    }

    /// A copy of all, in the order of configuration.
    pub fn list(&self) -> Vec<Prediction> {
        self.slots().iter().map(|slot| slot.shown().read()).collect()
    }

    /// The same, each with what its model has found so far.
    pub fn with_diaries(&self) -> Vec<(Prediction, Arc<Diary>)> {
        self.slots().iter().map(|slot| (slot.shown().read(), Arc::clone(&slot.diary))).collect()
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
    /// What the model has found on this device.
    pub(super) diary: Arc<Diary>,
    /// Where stands what it has learned since its training: a shadow keeps that for when it takes over.
    pub(super) learned: Arc<Diary>,
    now: Mutex<Now>,
    /// What runs until this one is loaded.
    relieves: Mutex<Option<Arc<Slot>>>,
    /// Its watcher has begun.
    loaded: AtomicBool,
    /// It has been loaded, or could not be: nobody needs to try it once more.
    tried: AtomicBool,
    tally: Mutex<Tally>,
    /// A person says that what is measured now is the new normal.
    accepted: AtomicBool,
}

/// The part of a slot that changes. Nothing in it is allocated again from score to score.
pub(super) struct Now {
    pub(super) state: State,
    pub(super) since_us: i64,
    pub(super) raised_us: Option<i64>,
    pub(super) score: Option<f32>,
    pub(super) last_us: i64,
    pub(super) contrib: Vec<f32>,
    /// How much of its reach the baseline of each input has used up, 0 to 1; empty without a baseline.
    pub(super) reach_used: Vec<f64>,
    /// What the model last said of how long the machine will last.
    pub(super) remaining: Option<[f32; 3]>,
    pub(super) missing: usize,
    pub(super) history: VecDeque<f32>,
}

impl Slot {
    fn new(binding: Binding, box_path: &str, twin: &Twin, diaries: &Diaries) -> Self {
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
            reach_used: Vec::new(),
            remaining: None,
            missing: content.map_or(0, |content| content.spec.points()),
            history: VecDeque::with_capacity(HISTORY_MAX),
        };
        let diary = diaries.of(&path, folder.model_name());
        let learned = Arc::clone(&diary);
        let (relieves, loaded, tried, tally, accepted) = Default::default();
        let now = Mutex::new(now);
        Self {
            device,
            path,
            twin,
            folder,
            hash,
            diary,
            learned,
            now,
            relieves,
            loaded,
            tried,
            tally,
            accepted,
        }
    }

    /// What it finds is remembered by nobody: it runs beside and says nothing. Neither is what it learns
    /// where the same graph is active, which keeps its own.
    fn silent(self, is_active: bool) -> Self {
        let learned = if is_active { Arc::default() } else { self.learned };
        Self { diary: Arc::default(), learned, ..self }
    }

    fn binding(&self) -> Binding {
        Binding { folder: Arc::clone(&self.folder), device: self.device.clone() }
    }

    /// What runs of the model: this, or the version before until this is loaded.
    fn shown(self: &Arc<Self>) -> Arc<Self> {
        self.relieves().unwrap_or_else(|| Arc::clone(self))
    }

    /// What runs, and is shown, until this one is loaded.
    pub(super) fn relieves(&self) -> Option<Arc<Self>> {
        self.relieves.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what runs until this one is loaded.
    pub(super) fn relieve(&self, relieved: Option<Arc<Self>>) {
        *self.relieves.lock().unwrap_or_else(PoisonError::into_inner) = relieved;
    }

    /// Its watcher has begun.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Its watcher has begun: what ran until now is not needed any more.
    pub(super) fn has_begun(&self) {
        self.loaded.store(true, Ordering::Relaxed);
        self.relieve(None);
    }

    /// It has been loaded, or could not be.
    pub(super) fn was_tried(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    /// See [`Slot::was_tried`].
    pub(super) fn has_been_tried(&self) {
        self.tried.store(true, Ordering::Relaxed);
    }

    /// A person says that what is measured now is the new normal; its watcher does it with the next
    /// score.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// True once after [`Slot::accept`].
    pub(super) fn take_accepted(&self) -> bool {
        self.accepted.swap(false, Ordering::Relaxed)
    }

    /// What it has done since its start.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another version of the same model on the same device.
    pub(super) fn is_version_of(&self, other: &Self) -> bool {
        self.has_twin_of(other) && self.folder.model_name() == other.folder.model_name()
    }

    /// The same model on the same device, with nothing about either changed.
    fn is_same(&self, other: &Self) -> bool {
        self.has_twin_of(other)
            && self.folder.origin == other.folder.origin
            && self.hash == other.hash
            && self.spec() == other.spec()
    }

    fn has_twin_of(&self, other: &Self) -> bool {
        match (&self.twin, &other.twin) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => self.device == other.device,
            _ => false,
        }
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
        let tally = self.tally();
        let dropped = tally.late + tally.over_share;
        drop(tally);
        let now = self.now();
        let contributions = spec.map(|spec| words::shares(spec, &now.contrib)).unwrap_or_default();
        let life = spec.and_then(|spec| spec.prepare.remaining_life.as_ref());
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
            reach_used: most_used(spec, &now.reach_used),
            remaining: now.remaining.zip(life.map(|life| life.unit.clone())),
            history: now.history.iter().copied().collect(),
            dropped,
        }
    }
}

fn most_used(spec: Option<&Spec>, used: &[f64]) -> Option<(String, f64)> {
    let used = spec?.inputs.iter().zip(used);
    let (input, used) = used.max_by(|a, b| a.1.total_cmp(b.1))?;
    Some((input.tag.clone(), *used))
}

impl Now {
    /// Changes the state; `now_us` is when. [`State::Broken`] is final.
    pub(super) fn enter(&mut self, state: State, now_us: i64) {
        if self.is_broken() {
            return;
        }
        self.state = state;
        self.since_us = now_us;
    }

    /// The model was given up for good.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken { .. })
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
        let predictions = Predictions::new(bind(), "Works1/box", &twin, Arc::default());
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
