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
    objection: Option<Text>,
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
        let again_us = i64::try_from(AGAIN.as_micros()).unwrap_or(i64::MAX);
        let mut wanted = Vec::new();
        for (model, entry) in self.registry.entries().into_iter().filter(|_| self.options.promote) {
            let Some(shadow) = entry.shadow else { continue };
            let candidate = Candidate { model, version: shadow.version };
            let looked = self.look_backs.of(&candidate);
            let is_fresh = looked.is_some_and(|it| now_us.saturating_sub(it.at_us) < again_us);
            if !is_fresh && self.figures_object(&candidate.model) == Some(None) {
                let devices = self.devices_of(&candidate.model);
                wanted.push((candidate, devices));
            }
        }
        wanted
    }

    /// What the past says of a version: nothing against it, or why it is not to take over. That is told once.
    pub fn looked_back(&self, candidate: &Candidate, objection: Option<Text>) {
        let before = self.look_backs.of(candidate).and_then(|looked| looked.objection);
        if let Some(why) = objection.as_ref().filter(|why| before.as_ref() != Some(why)) {
            self.say("not-promoted", &candidate.model, "", &candidate.version, why, ITSELF);
        }
        let looked = Looked { at_us: clock::now_us(), objection };
        let mut all = self.look_backs.looked.lock().unwrap_or_else(PoisonError::into_inner);
        // Versions that have left the shadow are of no interest any more.
        let entries = self.registry.entries();
        all.retain(|known, _| {
            let shadow = entries.get(&known.model).and_then(|entry| entry.shadow.as_ref());
            shadow.is_some_and(|shadow| shadow.version == known.version)
        });
        all.insert(candidate.clone(), looked);
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
        match self.look_backs.of(&candidate) {
            Some(looked) => looked.objection,
            None => Some(words::not_looked_back()),
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
}
