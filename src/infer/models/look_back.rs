//! What the past says of a version in shadow, before it takes over by itself.
//!
//! Whoever reads the journal ([`crate::learn`]) asks what is wanted here and says what came of it. No thread
//! of the models reads a journal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::shadow::Objection;
use super::super::words;
use super::{ITSELF, Models};
use crate::clock;
use crate::device::Text;

/// After so long an objection is looked at anew: what raised alarms may lie too far back now.
const AGAIN: Duration = Duration::from_secs(6 * 3600);
/// After so long it is tried again where the journal could not be read.
const LATER: Duration = Duration::from_secs(600);

/// A version that would take over by itself if the past says nothing against it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Name of the model.
    pub model: String,
    /// Its version in shadow.
    pub version: String,
}

/// What came of it.
#[derive(Debug, Clone)]
struct Looked {
    at_us: i64,
    /// The devices it was run for.
    devices: Vec<String>,
    outcome: Outcome,
    /// The last answer was an objection, so it has been told.
    told: bool,
}

#[derive(Debug, Clone)]
enum Outcome {
    /// Nothing against it, or why it is not to take over.
    Answer(Option<Text>),
    /// It could not be run for now.
    Later,
}

impl Looked {
    /// It holds still, for these devices. One from the future was taken before the clock was set.
    fn holds(&self, devices: &[String], now_us: i64) -> bool {
        let holds = match self.outcome {
            Outcome::Answer(_) => AGAIN,
            Outcome::Later => LATER,
        };
        let holds_us = i64::try_from(holds.as_micros()).unwrap_or(i64::MAX);
        self.devices == devices && (0..holds_us).contains(&now_us.saturating_sub(self.at_us))
    }
}

/// All that is known of the past of versions in shadow. Not kept over a restart: it is looked at anew.
#[derive(Default)]
pub(super) struct LookBacks {
    /// Somebody looks back; until then no version waits for it.
    someone: AtomicBool,
    looked: Mutex<BTreeMap<Candidate, Looked>>,
}

impl LookBacks {
    fn of(&self, candidate: &Candidate) -> Option<Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).get(candidate).cloned()
    }
}

impl Models {
    /// From now on no version takes over by itself before [`Models::looked_back`] was told of it.
    pub fn look_back_first(&self) {
        self.look_backs.someone.store(true, Ordering::Relaxed);
    }

    /// Versions in shadow that nothing but their past keeps from taking over, with the devices they watch.
    pub fn wants_look_back(&self) -> Vec<(Candidate, Vec<String>)> {
        let now_us = clock::now_us();
        let mut wanted = Vec::new();
        for (model, entry) in self.registry.entries().into_iter().filter(|_| self.options.promote) {
            let Some(shadow) = entry.shadow else { continue };
            let candidate = Candidate { model, version: shadow.version };
            let devices = self.looked_at(&candidate.model);
            let looked = self.look_backs.of(&candidate);
            let holds = looked.is_some_and(|it| it.holds(&devices, now_us));
            if !holds && self.figures_object(&candidate.model) == Some(None) {
                wanted.push((candidate, devices));
            }
        }
        wanted
    }

    /// The devices of a model that the twin has: an order or `forebay.toml` may name others.
    fn looked_at(&self, model: &str) -> Vec<String> {
        let mut devices = self.devices_of(model);
        devices.retain(|device| self.twin.device(device).is_some());
        devices
    }

    /// What the past of these devices says of a version: nothing against it, or why it is not to take over.
    /// That is told when it begins; its figures move with every run.
    pub fn looked_back(&self, candidate: &Candidate, devices: Vec<String>, objection: Option<Text>) {
        if !self.is_in_shadow(candidate) {
            return;
        }
        let told = self.look_backs.of(candidate).is_some_and(|looked| looked.told);
        if let Some(why) = objection.as_ref().filter(|_| !told) {
            self.say("not-promoted", &candidate.model, "", &candidate.version, why, ITSELF);
        }
        let told = objection.is_some();
        self.remember(
            candidate,
            Looked { at_us: clock::now_us(), devices, outcome: Outcome::Answer(objection), told },
        );
    }

    /// The past could not be read for now: nothing is known, and it is tried again after ten minutes.
    pub fn look_back_later(&self, candidate: &Candidate, devices: Vec<String>) {
        let told = self.look_backs.of(candidate).is_some_and(|looked| looked.told);
        self.remember(candidate, Looked { at_us: clock::now_us(), devices, outcome: Outcome::Later, told });
    }

    fn remember(&self, candidate: &Candidate, looked: Looked) {
        let mut all = self.look_backs.looked.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(candidate.clone(), looked);
        // Versions that have left the shadow are of no interest any more.
        all.retain(|known, _| self.is_in_shadow(known));
    }

    fn is_in_shadow(&self, candidate: &Candidate) -> bool {
        let shadow = self.registry.entry(&candidate.model).shadow;
        shadow.is_some_and(|shadow| shadow.version == candidate.version)
    }

    /// Why the figures of a shadow speak against it; `None` where none runs.
    fn figures_object(&self, model: &str) -> Option<Option<Objection>> {
        let (figures, devices) = self.figures_of(model)?;
        Some(figures.objection(self.options.shadow, devices))
    }

    /// Why the past speaks against a version in shadow, or that nobody has looked yet.
    pub(super) fn past_objection(&self, model: &str, version: &str) -> Option<Text> {
        if !self.look_backs.someone.load(Ordering::Relaxed) {
            return None;
        }
        let candidate = Candidate { model: model.to_owned(), version: version.to_owned() };
        let looked = self.look_backs.of(&candidate);
        match looked.filter(|it| it.holds(&self.looked_at(model), clock::now_us())).map(|it| it.outcome) {
            Some(Outcome::Answer(objection)) => objection,
            Some(Outcome::Later) | None => Some(words::not_looked_back()),
        }
    }

    /// As if the shadow had scored for a while and raised nothing.
    #[cfg(test)]
    pub(crate) fn pretend_scored(&self) {
        let slots = self.predictions.shadows();
        assert!(!slots.is_empty(), "no shadow runs");
        for slot in slots.iter() {
            let comparison =
                super::super::shadow::Comparison { watched_us: 1, scored: 1000, ..Default::default() };
            slot.tally().comparison = comparison;
        }
    }

    /// As if all that is known were older.
    #[cfg(test)]
    pub(crate) fn pretend_looked_earlier(&self, by: Duration) {
        let mut all = self.look_backs.looked.lock().unwrap_or_else(PoisonError::into_inner);
        all.values_mut().for_each(|looked| looked.at_us -= i64::try_from(by.as_micros()).unwrap_or(0));
    }
}
