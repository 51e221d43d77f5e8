//! The registry: which version of a model is active, which was before, which runs in shadow.
//!
//! One value in the small state (sled), so that every change is whole or did not happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::SetOnce;

use super::shadow::Comparison;
use crate::state::{State, StateError, Table};

/// Names of the values in the state.
const ENTRIES: &str = "registry";
const TRIALS: &str = "trials";
const DELIVERED: &str = "delivered";
const FIGURES: &str = "figures";
/// Earlier versions that are remembered.
const BEFORE_MAX: usize = 8;
/// Trials and deliveries that are remembered.
const REMEMBERED_MAX: usize = 512;

/// Why the registry was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no small state yet.
    #[error("the small state of the box is not open (disk full or read-only?): see the log, and try again")]
    NoState,
    /// It could not be written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A version of a model: its name in the store, or `None` for the one outside of the store, in
/// `[paths] models` or in the binary.
pub type Version = Option<String>;

/// What is known of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The version that is to run.
    pub active: Version,
    /// Those that ran before, the last one at the end; a roll-back goes back along them.
    pub before: Vec<Version>,
    /// When `active` became so, microseconds since 1970 UTC; 0 = it always was.
    pub since_us: i64,
    /// Who did it.
    pub by: String,
    /// The version that runs beside, and says nothing.
    pub shadow: Option<Shadow>,
    /// Devices it watches besides those of `forebay.toml`.
    pub devices: Vec<String>,
    /// The version that was given up last, and why.
    pub failed: Option<Failed>,
}

/// A version in shadow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// Its name in the store.
    pub version: String,
    /// Since when, microseconds since 1970 UTC.
    pub since_us: i64,
    /// Who began it.
    pub by: String,
}

/// A version that was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub version: Version,
    /// Why, English.
    pub why: String,
    /// When, microseconds since 1970 UTC.
    pub at_us: i64,
}

/// What the trial of a model has measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Time of one score, microseconds.
    pub score_us: f64,
    /// Time of loading, golden cases included, microseconds.
    pub load_us: f64,
    /// Memory that the model took, bytes.
    pub memory_bytes: u64,
    /// When, microseconds since 1970 UTC.
    pub at_us: i64,
}

impl Entry {
    /// Makes a version active; `None` is the one outside of the store.
    pub fn activate(&mut self, version: Version, by: &str, now_us: i64) {
        if self.active != version {
            self.before.retain(|before| *before != version);
            self.before.push(std::mem::replace(&mut self.active, version));
            let too_many = self.before.len().saturating_sub(BEFORE_MAX);
            self.before.drain(..too_many);
        }
        self.end_active_shadow();
        (self.since_us, self.by) = (now_us, by.to_owned());
    }

    /// What is active is no shadow.
    fn end_active_shadow(&mut self) {
        if self.shadow.as_ref().is_some_and(|shadow| Some(&shadow.version) == self.active.as_ref()) {
            self.shadow = None;
        }
    }

    /// Goes back to the version before. False when there is none.
    pub fn roll_back(&mut self, by: &str, now_us: i64) -> bool {
        let Some(before) = self.before.pop() else { return false };
        self.active = before;
        self.end_active_shadow();
        (self.since_us, self.by) = (now_us, by.to_owned());
        true
    }

    /// Forgets a version that is not active.
    pub fn forget(&mut self, version: &str) {
        self.before.retain(|before| before.as_deref() != Some(version));
        if self.shadow.as_ref().is_some_and(|shadow| shadow.version == version) {
            self.shadow = None;
        }
    }

    /// True when it must stay in the store.
    pub fn needs(&self, version: &str) -> bool {
        let is = |it: &Version| it.as_deref() == Some(version);
        is(&self.active)
            || self.before.iter().any(is)
            || self.shadow.as_ref().is_some_and(|shadow| shadow.version == version)
    }
}

#[derive(Default)]
struct Content {
    entries: BTreeMap<String, Entry>,
    trials: BTreeMap<String, Trial>,
    /// Model → digest of what came last by Kafka.
    delivered: BTreeMap<String, String>,
    /// Model, device and version → how it does in shadow.
    figures: BTreeMap<String, Comparison>,
    /// It was read from the state.
    read: bool,
}

/// All entries; held in memory, written through.
pub struct Registry {
    state: Arc<SetOnce<State>>,
    content: Mutex<Content>,
}

impl Registry {
    /// The registry in this state. Until the state is open it is empty.
    pub fn new(state: Arc<SetOnce<State>>) -> Self {
        Self { state, content: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if let (false, Some(state)) = (content.read, self.state.get()) {
            *content = Content {
                entries: read(state, ENTRIES),
                trials: read(state, TRIALS),
                delivered: read(state, DELIVERED),
                figures: read(state, FIGURES),
                read: true,
            };
        }
        content
    }

    /// What is known of a model.
    pub fn entry(&self, model: &str) -> Entry {
        self.lock().entries.get(model).cloned().unwrap_or_default()
    }

    /// What is known of all models.
    pub fn entries(&self) -> BTreeMap<String, Entry> {
        self.lock().entries.clone()
    }

    /// Changes what is known of a model, durably. `change` says what to answer; nothing is written
    /// where nothing is another afterwards.
    ///
    /// # Errors
    /// [`RegistryError`]; all is as it was.
    pub fn change<T>(&self, model: &str, change: impl FnOnce(&mut Entry) -> T) -> Result<T, RegistryError> {
        let mut content = self.lock();
        let before = content.entries.get(model).cloned();
        let mut entry = before.clone().unwrap_or_default();
        let answer = change(&mut entry);
        if before.as_ref() == Some(&entry) {
            return Ok(answer);
        }
        let mut entries = content.entries.clone();
        if entry == Entry::default() {
            entries.remove(model);
        } else {
            entries.insert(model.to_owned(), entry);
        }
        self.save(ENTRIES, &entries, &content.entries)?;
        content.entries = entries;
        Ok(answer)
    }

    /// What the trial of the model with this digest has measured.
    pub fn trial(&self, digest: &str) -> Option<Trial> {
        self.lock().trials.get(digest).copied()
    }

    /// Remembers a trial. Not written, it is done again at the next start.
    pub fn tried(&self, digest: &str, trial: Trial) {
        let mut content = self.lock();
        let mut trials = content.trials.clone();
        trials.insert(digest.to_owned(), trial);
        while trials.len() > REMEMBERED_MAX {
            let oldest = trials.iter().min_by_key(|(_, trial)| trial.at_us).map(|(digest, _)| digest.clone());
            oldest.and_then(|digest| trials.remove(&digest));
        }
        if let Err(error) = self.save(TRIALS, &trials, &content.trials) {
            tracing::warn!("what the trial of a model has measured is not remembered: {error}");
        }
        content.trials = trials;
    }

    /// True when this came last by Kafka under this name.
    pub fn was_delivered(&self, model: &str, digest: &str) -> bool {
        self.lock().delivered.get(model).is_some_and(|before| before == digest)
    }

    /// Remembers what came by Kafka under this name.
    ///
    /// # Errors
    /// When it cannot be remembered.
    pub fn deliver(&self, model: &str, digest: &str) -> Result<(), RegistryError> {
        let mut content = self.lock();
        let mut delivered = content.delivered.clone();
        delivered.insert(model.to_owned(), digest.to_owned());
        if delivered.len() <= REMEMBERED_MAX {
            self.save(DELIVERED, &delivered, &content.delivered)?;
            content.delivered = delivered;
        }
        Ok(())
    }

    /// How a version in shadow has done on a device: model, device, version.
    pub fn figures(&self, (model, device, version): (&str, &str, &str)) -> Option<Comparison> {
        self.lock().figures.get(&figures_key(model, device, version)).copied()
    }

    /// Remembers how those in shadow do; what was known of others is forgotten.
    pub fn keep_figures<'a>(&self, figures: impl Iterator<Item = ((&'a str, &'a str, String), Comparison)>) {
        let figures =
            figures.map(|((model, device, version), it)| (figures_key(model, device, &version), it));
        let figures: BTreeMap<String, Comparison> = figures.collect();
        let mut content = self.lock();
        if content.figures == figures {
            return;
        }
        if let Err(error) = self.save(FIGURES, &figures, &content.figures) {
            tracing::warn!("how the models in shadow do is not remembered: {error}");
        }
        content.figures = figures;
    }

    /// Writes a value. What could not be written is not to come with the next save, either.
    fn save<T: Serialize>(&self, name: &str, value: &T, before: &T) -> Result<(), RegistryError> {
        let state = self.state.get().ok_or(RegistryError::NoState)?;
        // Maps of texts and numbers: nothing in them that JSON cannot say.
        let bytes = |value: &T| serde_json::to_vec(value).unwrap_or_default();
        let saved = state.save(Table::Models, [(name, bytes(value))].into_iter());
        if saved.is_err() {
            // It may fail just the same; in memory it counts.
            let _again = state.save(Table::Models, [(name, bytes(before))].into_iter());
        }
        Ok(saved?)
    }
}

fn figures_key(model: &str, device: &str, version: &str) -> String {
    format!("{model}/{device}/{version}")
}

/// What is not to be understood is as good as nothing: it is of another version of Forebay.
fn read<T: for<'a> Deserialize<'a> + Default>(state: &State, name: &str) -> T {
    let Some(bytes) = state.get(Table::Models, name) else { return T::default() };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::error!("the registry of models ({name}) is not understood, and is begun anew: {error}");
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &std::path::Path) -> Registry {
        let state = Arc::new(SetOnce::new());
        assert!(state.set(State::open(directory).unwrap().state).is_ok());
        Registry::new(state)
    }

    #[test]
    fn what_was_activated_is_so_after_a_restart_and_can_be_rolled_back() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        let registry = open(&directory);
        for (at, version) in [(1, "1"), (2, "2")] {
            registry.change("m", |entry| entry.activate(Some(version.into()), "anna", at)).unwrap();
        }
        registry.tried("abc", Trial { score_us: 12.5, ..Trial::default() });
        registry.deliver("m", "abc").unwrap();
        drop(registry);
        let registry = open(&directory);
        let entry = registry.entry("m");
        assert_eq!(
            (entry.active.as_deref(), entry.before.as_slice()),
            (Some("2"), [None, Some("1".into())].as_slice())
        );
        assert_eq!((entry.since_us, entry.by.as_str()), (2, "anna"));
        assert!(registry.trial("abc").is_some_and(|trial| trial.score_us > 12.0));
        assert!(registry.was_delivered("m", "abc") && !registry.was_delivered("m", "abd"));
        let back = || registry.change("m", |entry| entry.roll_back("forebay", 3)).unwrap();
        assert!(back() && registry.entry("m").active.as_deref() == Some("1"));
        assert!(back() && registry.entry("m").active.is_none());
        assert!(!back(), "there is nothing before");
    }

    #[test]
    fn to_and_fro_does_not_grow_and_the_shadow_ends_when_it_is_active() {
        let mut entry = Entry::default();
        let shadow = Shadow { version: "b".into(), since_us: 0, by: String::new() };
        entry.shadow = Some(shadow);
        for at in 0..50 {
            entry.activate(Some(if at % 2 == 0 { "a" } else { "b" }.into()), "", at);
        }
        assert_eq!(entry.before, [None, Some("a".to_owned())]);
        assert!(entry.shadow.is_none());
        entry.shadow = Some(Shadow { version: "a".into(), since_us: 0, by: String::new() });
        let mut back = entry.clone();
        assert!(back.roll_back("", 50) && back.active.as_deref() == Some("a") && back.shadow.is_none());
        entry.shadow = None;
        assert!(entry.needs("a") && entry.needs("b") && !entry.needs("c"));
        entry.forget("a");
        assert!(!entry.needs("a"));
    }

    #[test]
    fn without_a_state_nothing_is_changed() {
        let registry = Registry::new(Arc::new(SetOnce::new()));
        let changed = registry.change("m", |entry| entry.activate(Some("1".into()), "", 1));
        assert!(matches!(changed, Err(RegistryError::NoState)));
        assert_eq!(registry.entry("m"), Entry::default());
    }
}
