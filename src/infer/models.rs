//! Which version of each model runs: the store, the registry, and who puts one in another's place.

pub mod delivered;
mod listed;
mod look_back;
mod minder;
mod orders;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use super::diary::Diaries;
use super::folder::Folder;
use super::package::Package;
use super::predictions::{Predictions, Slot, State};
use super::registry::{Failed, Registry, Version};
use super::signature::Trust;
use super::store::Store;
use super::trial::{self, TrialError};
use super::{Binding, Options, words};
use crate::clock;
use crate::config::{Model, ModelOptions};
use crate::device::Text;
use crate::event::Events;
use crate::state;
use crate::twin::Twin;

pub use listed::list;
pub use look_back::Candidate;
use look_back::LookBacks;
pub use orders::{Done, OrderError, Then};

/// Who does what happens by itself.
pub const ITSELF: &str = "forebay";

/// What the models of a box need.
pub struct Setup {
    /// `[models]`.
    pub options: ModelOptions,
    /// `[paths] models`.
    pub folders: Vec<PathBuf>,
    /// `[paths] state`.
    pub state_folder: PathBuf,
    /// The small state; the registry is in it.
    pub state: Arc<SetOnce<state::State>>,
    /// Path of the box, for events.
    pub box_path: String,
    /// Devices and their values.
    pub twin: Arc<Twin>,
    /// What the models find is written here.
    pub diaries: Arc<Diaries>,
    /// Where events go.
    pub events: Events,
    /// Ends everything.
    pub stop: CancellationToken,
}

/// All models of a running box.
pub struct Models {
    store: Store,
    registry: Arc<Registry>,
    trust: Trust,
    options: ModelOptions,
    folders: Vec<PathBuf>,
    box_path: String,
    twin: Arc<Twin>,
    events: Events,
    predictions: Arc<Predictions>,
    /// `[[model]]`.
    configured: Mutex<Vec<Model>>,
    /// Models of which was said that they are not there.
    missing: Mutex<BTreeSet<String>>,
    /// Models from Kafka that were refused since the start, with their digest: a topic that is read anew
    /// does not bring them once more.
    refused: Mutex<BTreeMap<String, String>>,
    /// What the past says of versions in shadow.
    look_backs: LookBacks,
    /// Held while something is changed: one order at a time.
    ordering: Mutex<()>,
}

impl Models {
    /// Starts what runs models, with none yet: [`Models::configure`] says which.
    pub fn start(setup: Setup) -> Arc<Self> {
        Self::start_with(setup, Options::default())
    }

    fn start_with(setup: Setup, inference: Options) -> Arc<Self> {
        let Setup { options, folders, state_folder, state, box_path, twin, diaries, events, stop } = setup;
        let store = Store::new(&state_folder);
        if let Err(error) = store.clean() {
            tracing::warn!("what was left half-done of a model stays: {error}");
        }
        let registry = Arc::new(Registry::new(Arc::clone(&state)));
        let trial = {
            let registry = Arc::clone(&registry);
            move |folder: &Folder| try_once(&registry, folder)
        };
        let inference = Options {
            threads: options.threads,
            cpu_share: options.cpu_share,
            trial: Arc::new(trial),
            minded: true,
            ..inference
        };
        let predictions =
            super::spawn_with(inference, Vec::new(), &box_path, &twin, diaries, events.clone(), stop.clone());
        let trust = Trust { keys: options.keys.clone(), unsigned: options.unsigned, store: store.clone() };
        let (configured, missing, refused, look_backs, ordering) = Default::default();
        let models = Arc::new(Self {
            store,
            registry,
            trust,
            options,
            folders,
            box_path,
            twin,
            events,
            predictions,
            configured,
            missing,
            refused,
            look_backs,
            ordering,
        });
        minder::start(&models, state, stop);
        models
    }

    /// What the models say.
    pub fn predictions(&self) -> &Arc<Predictions> {
        &self.predictions
    }

    /// Versions on the disk.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Which of them run.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// From now on these models run. Devices are those of the twin.
    pub fn configure(&self, models: &[Model]) {
        *lock(&self.configured) = models.to_vec();
        let _order = lock(&self.ordering);
        self.bind();
    }

    /// Lets run what configuration and registry say.
    fn bind(&self) {
        let outside: Vec<Arc<Folder>> = Folder::all(&self.folders).into_iter().map(Arc::new).collect();
        let (mut active, mut shadows) = (Vec::new(), Vec::new());
        for (name, devices) in self.wanted() {
            let devices = devices.iter().filter(|device| self.twin.device(device).is_some());
            let devices: Vec<&String> = devices.collect();
            let bound = |folder: &Arc<Folder>| -> Vec<Binding> {
                let binding =
                    |device: &&String| Binding { folder: Arc::clone(folder), device: (*device).clone() };
                devices.iter().map(binding).collect()
            };
            if let Some(folder) = self.resolve(&name, &outside) {
                active.extend(bound(&folder));
            }
            if let Some(folder) = self.resolve_shadow(&name) {
                shadows.extend(bound(&folder));
            }
        }
        self.predictions.bind_with(active, shadows, &self.twin);
        self.remember_figures();
    }

    /// Each model with its devices: those of `forebay.toml`, then those of the registry.
    fn wanted(&self) -> Vec<(String, Vec<String>)> {
        let configured = lock(&self.configured).clone();
        let mut wanted: Vec<(String, Vec<String>)> =
            configured.into_iter().map(|model| (model.name, model.devices)).collect();
        for (name, entry) in self.registry.entries() {
            match wanted.iter_mut().find(|(model, _)| *model == name) {
                Some((_, devices)) => {
                    let new: Vec<_> = entry.devices.into_iter().filter(|it| !devices.contains(it)).collect();
                    devices.extend(new);
                }
                None if !entry.devices.is_empty() => wanted.push((name, entry.devices)),
                None => {}
            }
        }
        wanted
    }

    /// The devices that a model watches.
    fn devices_of(&self, model: &str) -> Vec<String> {
        self.wanted().into_iter().find(|(name, _)| name == model).map(|it| it.1).unwrap_or_default()
    }

    /// The version that is to run. One that has gone, or that is not allowed any more, falls back to the
    /// one before.
    fn resolve(&self, name: &str, outside: &[Arc<Folder>]) -> Option<Arc<Folder>> {
        // As many as are remembered, and the one outside.
        while let Some(version) = self.registry.entry(name).active {
            let why = match self.read(name, &version) {
                Ok(folder) => return Some(Arc::new(folder)),
                Err(why) => why,
            };
            let reason = words::not_usable(&why);
            if let Err(error) = self.go_back(name, &Some(version), reason) {
                // The registry stays as it is; what runs is what can.
                tracing::error!("model {name} falls back to the one outside of the store: {error}");
                break;
            }
        }
        let found = outside.iter().find(|folder| folder.model_name() == name).cloned();
        match found {
            Some(_) => _ = lock(&self.missing).remove(name),
            None if self.registry.entry(name).shadow.is_some() => {}
            None => {
                if lock(&self.missing).insert(name.to_owned()) {
                    self.tell_missing(name);
                }
            }
        }
        found
    }

    fn resolve_shadow(&self, name: &str) -> Option<Arc<Folder>> {
        let shadow = self.registry.entry(name).shadow?;
        match self.read(name, &shadow.version) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(why) => {
                self.end_shadow_because(name, &words::not_usable(&why));
                None
            }
        }
    }

    /// A version in the store that may run.
    fn read(&self, name: &str, version: &str) -> Result<Folder, String> {
        let package = self.store.read(name, version).map_err(|error| error.to_string())?;
        self.trust.check(&package).map_err(|error| error.to_string())?;
        let path = self.store.path(name, version).ok_or_else(|| "it has gone".to_owned())?;
        let folder = Folder::read(&path);
        match &folder.content {
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            Ok(content) if content.spec.name != name || content.spec.version != version => {
                Err(format!("model.toml in {} is of another model or version", path.display()))
            }
            Ok(_) => Ok(folder),
        }
    }

    /// Puts the version before in the place of one that cannot run, and says so.
    fn go_back(&self, name: &str, failed: &Version, why: Text) -> Result<(), OrderError> {
        let now_us = clock::now_us();
        let to = self.registry.change(name, |entry| {
            if entry.active != *failed {
                return None;
            }
            if !entry.roll_back(ITSELF, now_us) {
                (entry.active, entry.since_us, entry.by) = (None, now_us, ITSELF.to_owned());
            }
            let why = why.get("en").to_owned();
            entry.failed = Some(Failed { version: failed.clone(), why, at_us: now_us });
            Some(entry.active.clone())
        })?;
        if let Some(to) = to {
            self.tell("rolled-back", name, failed, &to, &why, ITSELF);
        }
        Ok(())
    }

    /// The version in the store that a slot runs.
    fn stored_version(&self, slot: &Slot) -> Version {
        let path = Path::new(&slot.folder.origin).strip_prefix(self.store.root()).ok()?;
        path.file_name()?.to_str().map(str::to_owned)
    }

    /// Figures of shadows that ran before this start go on.
    fn remember_figures(&self) {
        for slot in self.predictions.shadows().iter() {
            let Some(version) = self.stored_version(slot) else { continue };
            let key = (slot.folder.model_name(), slot.device.as_str(), version.as_str());
            let mut tally = slot.tally();
            if tally.comparison == Default::default()
                && let Some(comparison) = self.registry.figures(key)
            {
                tally.comparison = comparison;
            }
        }
    }

    fn save_figures(&self) {
        let slots = self.predictions.shadows();
        let figures = slots.iter().filter_map(|slot| {
            let (model, version) = (slot.folder.model_name(), self.stored_version(slot)?);
            Some(((model, slot.device.as_str(), version), slot.tally().comparison))
        });
        self.registry.keep_figures(figures);
    }
}

/// Tries a model that this box has not seen yet; the time of one score.
fn try_once(registry: &Registry, folder: &Folder) -> Result<Duration, Text> {
    let path = Path::new(&folder.origin);
    // Those in the binary are tried where it is made; of what cannot be read the reason is told later.
    if folder.content.is_err() || !path.is_dir() {
        return Ok(Duration::ZERO);
    }
    let package = Package::read_folder(path).map_err(|error| words::english(error.to_string()))?;
    let identity = super::package::Identity {
        model: folder.model_name().to_owned(),
        version: folder.content.as_ref().map(|content| content.spec.version.clone()).unwrap_or_default(),
    };
    let trial = try_package(registry, &package.digest(&identity), path);
    let trial = trial.map_err(|error| words::english(format!("{}: {error}", folder.origin)))?;
    Ok(Duration::from_secs_f64(trial.score_us.clamp(0.0, 1e9) / 1e6))
}

fn try_package(registry: &Registry, digest: &str, path: &Path) -> Result<super::registry::Trial, TrialError> {
    if let Some(trial) = registry.trial(digest) {
        return Ok(trial);
    }
    let trial = trial::try_out(path)?;
    registry.tried(digest, trial);
    Ok(trial)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
