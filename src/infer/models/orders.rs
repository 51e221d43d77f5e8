//! What people, central IT and the box itself order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::folder::Folder;
use super::super::package::{Identity, Package};
use super::super::predictions::Slot;
use super::super::reference::Reference;
use super::super::registry::{RegistryError, Shadow, Trial, Version};
use super::super::signature::SignatureError;
use super::super::store::StoreError;
use super::super::trial::TrialError;
use super::super::{watcher, words};
use super::{ITSELF, Models, lock, try_package};
use crate::clock;
use crate::device::Text;

/// After an activation the exchange is waited for so long, to say how it went.
const EXCHANGED_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Versions of a model that stay in the store; older ones go when a new one comes.
const VERSIONS_MAX: usize = 16;

/// What an order does not do.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever signed it is not trusted.
    #[error("{model} {version} is refused: {error}")]
    Signature {
        /// Its name.
        model: String,
        /// Its version.
        version: String,
        /// Why.
        error: SignatureError,
    },
    /// It failed its gate or its trial.
    #[error("{model} {version} is refused: {error}")]
    Trial {
        /// Its name.
        model: String,
        /// Its version.
        version: String,
        /// Why.
        error: TrialError,
    },
    /// It cannot watch a device that it is to watch.
    #[error("{model} cannot watch {device}: {why}")]
    Misfit {
        /// Its name.
        model: String,
        /// The device.
        device: String,
        /// Why, English.
        why: String,
    },
    /// The order makes no sense as things are.
    #[error("{0}")]
    Wrong(String),
    /// The registry cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl OrderError {
    /// The disk, or the state, says no: the same order may be carried out later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Registry(_) | Self::Store(StoreError::Disk { .. }))
    }
}

/// What is done with a model once it is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// Nothing.
    #[default]
    Keep,
    /// It runs in shadow.
    Shadow,
    /// It takes over.
    Activate,
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Name and version.
    pub identity: Identity,
    /// Whose signature it has; empty without one.
    pub signed_by: String,
    /// What its trial measured.
    pub trial: Option<Trial>,
    /// It runs now: how long the exchange took on the slowest device, microseconds.
    pub swap_us: Option<u64>,
}

impl Models {
    /// Puts a model into the store once its signature, its gate and its trial are right. `devices` are
    /// watched besides those of `forebay.toml`.
    ///
    /// # Errors
    /// [`OrderError`]; everything is as it was.
    pub fn install(
        &self,
        package: &Package,
        then: Then,
        devices: &[String],
        by: &str,
    ) -> Result<Done, OrderError> {
        let identity = package.identity().map_err(StoreError::from)?;
        let Identity { model, version } = &identity;
        let refused = |error| OrderError::Signature { model: model.clone(), version: version.clone(), error };
        let signed_by = self.trust.check(package).map_err(refused)?;
        let staged = self.store.stage(package)?;
        let refused = |error| OrderError::Trial { model: model.clone(), version: version.clone(), error };
        let trial = try_package(&self.registry, &staged.digest, staged.path()).map_err(refused)?;
        self.look_for_misfits(model, &Folder::read(staged.path()), devices)?;
        // Not before: a trial takes its time, and a model that has failed meanwhile must be rolled back.
        let order = lock(&self.ordering);
        let is_new = !self.store.has(model, version);
        staged.keep()?;
        if !devices.is_empty() {
            self.registry.change(model, |entry| {
                let new: Vec<_> = devices.iter().filter(|it| !entry.devices.contains(it)).cloned().collect();
                entry.devices.extend(new);
            })?;
        }
        if is_new {
            self.say("installed", model, "", version, &signed(&signed_by), by);
            self.prune(model);
        }
        drop(order);
        let done = Done { identity: identity.clone(), signed_by, trial: Some(trial), swap_us: None };
        match then {
            Then::Keep => Ok(done),
            Then::Shadow => self.shadow(model, version, by).map(|()| done),
            Then::Activate => {
                let activated = self.activate(model, &Some(version.clone()), by, &Text::default())?;
                Ok(Done { swap_us: activated.swap_us, ..done })
            }
        }
    }

    /// Lets a version take over; `None` is the one outside of the store. Waits until it runs.
    ///
    /// # Errors
    /// [`OrderError`]; what runs goes on.
    pub fn activate(&self, model: &str, version: &Version, by: &str, why: &Text) -> Result<Done, OrderError> {
        let (signed_by, trial) = self.may_run(model, version)?;
        let order = lock(&self.ordering);
        self.still_there(model, version)?;
        let now_us = clock::now_us();
        let from = self.registry.change(model, |entry| {
            let from = entry.active.clone();
            (from != *version).then(|| entry.activate(version.clone(), by, now_us))?;
            Some(from)
        })?;
        if let Some(from) = &from {
            self.tell("activated", model, from, version, why, by);
        }
        self.bind();
        drop(order);
        let identity = Identity { model: model.to_owned(), version: version.clone().unwrap_or_default() };
        Ok(Done { identity, signed_by, trial, swap_us: self.wait_for(model, version)? })
    }

    /// Runs a version beside the active one; it says nothing.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn shadow(&self, model: &str, version: &str, by: &str) -> Result<(), OrderError> {
        let named = Some(version.to_owned());
        self.may_run(model, &named)?;
        let _order = lock(&self.ordering);
        self.still_there(model, &named)?;
        if self.registry.entry(model).active == named {
            return Err(OrderError::Wrong(format!("{model} {version} is active already")));
        }
        let shadow = Shadow { version: version.to_owned(), since_us: clock::now_us(), by: by.to_owned() };
        let begins = self.registry.change(model, |entry| {
            let same = entry.shadow.as_ref().is_some_and(|before| before.version == version);
            (!same).then(|| entry.shadow = Some(shadow)).is_some()
        })?;
        if begins {
            self.say("shadow", model, "", version, &Text::default(), by);
        }
        self.bind();
        Ok(())
    }

    /// Ends the version in shadow.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn end_shadow(&self, model: &str, by: &str) -> Result<String, OrderError> {
        let _order = lock(&self.ordering);
        let ended = self.registry.change(model, |entry| entry.shadow.take())?;
        let nothing = || OrderError::Wrong(format!("{model} has no version in shadow"));
        let version = ended.ok_or_else(nothing)?.version;
        self.say("shadow-ended", model, &version, "", &Text::default(), by);
        self.bind();
        Ok(version)
    }

    pub(super) fn end_shadow_because(&self, model: &str, why: &Text) {
        match self.registry.change(model, |entry| entry.shadow.take()) {
            Ok(Some(ended)) => self.say("shadow-ended", model, &ended.version, "", why, ITSELF),
            Ok(None) => {}
            Err(error) => tracing::error!("model {model}: its shadow cannot run, and stays noted: {error}"),
        }
    }

    /// Goes back to the version before.
    ///
    /// # Errors
    /// [`OrderError`]; what runs goes on.
    pub fn roll_back(&self, model: &str, by: &str) -> Result<Done, OrderError> {
        let nothing = || OrderError::Wrong(format!("{model} has no version before: nothing to go back to"));
        let to = self.registry.entry(model).before.last().cloned().ok_or_else(nothing)?;
        let (signed_by, trial) = self.may_run(model, &to)?;
        let order = lock(&self.ordering);
        self.still_there(model, &to)?;
        let entry = self.registry.entry(model);
        if entry.before.last() != Some(&to) {
            return Err(OrderError::Wrong(format!(
                "{model} was changed by somebody else meanwhile: try again"
            )));
        }
        self.registry.change(model, |entry| entry.roll_back(by, clock::now_us()))?;
        let ordered = words::both("somebody ordered it", "jemand hat es verlangt");
        self.tell("rolled-back", model, &entry.active, &to, &ordered, by);
        self.bind();
        drop(order);
        let identity = Identity { model: model.to_owned(), version: to.clone().unwrap_or_default() };
        Ok(Done { identity, signed_by, trial, swap_us: self.wait_for(model, &to)? })
    }

    /// What the active version measures now on a device is the new normal. It takes effect with the next
    /// score.
    ///
    /// # Errors
    /// It does not watch that device, or follows no drift.
    pub fn accept(&self, model: &str, device: &str, by: &str) -> Result<(), OrderError> {
        let slots = self.predictions.slots();
        let slot = slots.iter().find(|slot| slot.device == device && slot.folder.model_name() == model);
        let content = slot.and_then(|slot| Some((slot, slot.folder.content.as_ref().ok()?)));
        let Some((slot, content)) = content else {
            return Err(OrderError::Wrong(format!("{model} does not watch {device}")));
        };
        let inputs = content.spec.inputs.len();
        if !matches!(Reference::read(&content.onnx, inputs), Ok(Some(_))) {
            let why = "it was not learned on a box and follows no drift; train it anew, or learn one";
            return Err(OrderError::Wrong(format!("{model}: {why}")));
        }
        slot.accept();
        let why = words::both(format!("on {device}"), format!("an {device}"));
        self.say("accepted", model, "", &content.spec.version, &why, by);
        Ok(())
    }

    /// Lets the version in shadow take over.
    ///
    /// # Errors
    /// There is none, or [`OrderError`].
    pub fn promote_shadow(&self, model: &str, by: &str) -> Result<Done, OrderError> {
        let shadow = self.registry.entry(model).shadow;
        let nothing = || OrderError::Wrong(format!("{model} has no version in shadow"));
        let version = shadow.ok_or_else(nothing)?.version;
        self.activate(model, &Some(version), by, &Text::default())
    }

    /// Removes a version from the store. Neither the active one nor one in shadow.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn remove(&self, model: &str, version: &str, by: &str) -> Result<(), OrderError> {
        let _order = lock(&self.ordering);
        let entry = self.registry.entry(model);
        let (role, fix) = if entry.active.as_deref() == Some(version) {
            ("active", "activate another one first")
        } else if entry.shadow.is_some_and(|shadow| shadow.version == version) {
            ("in shadow", "end its shadow first (`forebay model shadow MODEL --end`)")
        } else {
            self.registry.change(model, |entry| entry.forget(version))?;
            self.store.remove(model, version)?;
            self.say("removed", model, version, "", &Text::default(), by);
            return Ok(());
        };
        Err(OrderError::Wrong(format!("{model} {version} is {role}: {fix}")))
    }

    /// Signature, trial and inputs of a version; who signed it, and what the trial measured.
    fn may_run(&self, model: &str, version: &Version) -> Result<(String, Option<Trial>), OrderError> {
        let Some(version) = version else {
            let outside = Folder::all(&self.folders);
            let folder = outside.iter().find(|folder| folder.model_name() == model);
            let nowhere =
                || OrderError::Wrong(format!("{model} is neither in paths.models nor in the binary"));
            self.look_for_misfits(model, folder.ok_or_else(nowhere)?, &[])?;
            return Ok((String::new(), None));
        };
        let package = self.store.read(model, version)?;
        let refused =
            |error| OrderError::Signature { model: model.to_owned(), version: version.clone(), error };
        let signed_by = self.trust.check(&package).map_err(refused)?;
        let identity = package.identity().map_err(StoreError::from)?;
        let unknown = || StoreError::Unknown { model: model.to_owned(), version: version.clone() };
        let path = self.store.path(model, version).ok_or_else(unknown)?;
        let refused = |error| OrderError::Trial { model: model.to_owned(), version: version.clone(), error };
        let trial = try_package(&self.registry, &package.digest(&identity), &path).map_err(refused)?;
        self.look_for_misfits(model, &Folder::read(&path), &[])?;
        Ok((signed_by, Some(trial)))
    }

    /// Nobody has removed it since it was looked at.
    fn still_there(&self, model: &str, version: &Version) -> Result<(), OrderError> {
        match version {
            Some(version) if !self.store.has(model, version) => {
                Err(StoreError::Unknown { model: model.to_owned(), version: version.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// A version that lacks a tag on a device is refused before anything is changed.
    fn look_for_misfits(&self, model: &str, folder: &Folder, more: &[String]) -> Result<(), OrderError> {
        let Ok(content) = &folder.content else { return Ok(()) };
        for name in self.devices_of(model).iter().chain(more) {
            let Some(device) = self.twin.device(name) else { continue };
            if let Some(why) = watcher::misfit(content, &device.device) {
                let (model, device) = (model.to_owned(), name.clone());
                return Err(OrderError::Misfit { model, device, why: why.get("en").to_owned() });
            }
        }
        Ok(())
    }

    /// Waits until all slots of a model run this version: how long the slowest exchange took.
    fn wait_for(&self, model: &str, version: &Version) -> Result<Option<u64>, OrderError> {
        let end = Instant::now() + EXCHANGED_MAX;
        loop {
            let slots = self.predictions.slots();
            let mine: Vec<_> =
                slots.iter().filter(|slot| slot.folder.model_name() == model).cloned().collect();
            if self.registry.entry(model).active != *version {
                let failed = self.registry.entry(model).failed;
                let why = failed.map_or_else(|| "another order came".to_owned(), |failed| failed.why);
                return Err(OrderError::Wrong(format!("{model} was rolled back at once: {why}")));
            }
            if mine.iter().all(|slot| slot.is_loaded() && slot.relieves().is_none()) {
                return Ok(mine.iter().filter_map(|slot| slot.tally().swap_us).max());
            }
            // One that cannot run is rolled back, unless there is nothing to go back to.
            let ends = |slot: &Arc<Slot>| slot.was_tried() && version.is_none();
            if Instant::now() >= end || mine.iter().all(ends) {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Old versions that nobody needs make room.
    fn prune(&self, model: &str) {
        let entry = self.registry.entry(model);
        let stored = self.store.list().into_iter().filter(|it| it.identity.model == model);
        let stored: Vec<_> = stored.map(|it| it.identity.version).collect();
        let too_many = stored.len().saturating_sub(VERSIONS_MAX);
        // The newest has only just come.
        let oldest = stored.iter().rev().skip(1).rev().filter(|version| !entry.needs(version));
        for version in oldest.take(too_many) {
            match self.store.remove(model, version) {
                Ok(()) => self.say("removed", model, version, "", &words::making_room(), ITSELF),
                Err(error) => tracing::warn!("{model} {version} stays in the store: {error}"),
            }
        }
    }
}

fn signed(by: &str) -> Text {
    match by {
        "" => words::both("not signed", "nicht signiert"),
        by => words::both(format!("signed by {by}"), format!("signiert von {by}")),
    }
}
