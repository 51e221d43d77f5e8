//! Looks after what runs: rolls back what cannot run or floods, promotes a shadow that is no worse.

use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use super::super::predictions::{Slot, State};
use super::super::shadow::Comparison;
use super::super::{watcher, words};
use super::{ITSELF, Models, lock};
use crate::clock;
use crate::state;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the figures of shadows are saved, and looked at for a promotion.
const FIGURES_EVERY: Duration = Duration::from_secs(60);
/// A flood of alarms counts so long after a change, microseconds.
const NEW_US: i64 = 86_400_000_000;
/// Alarms are counted over this time, microseconds.
const FLOOD_US: i64 = 3_600_000_000;

/// Starts the thread; it ends with `stop`.
pub(super) fn start(models: &Arc<Models>, state: Arc<SetOnce<state::State>>, stop: CancellationToken) {
    let models = Arc::clone(models);
    let thread = std::thread::Builder::new().name("models".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(mind(&models, &state, &stop)),
            Err(error) => tracing::error!("nobody looks after the models: {error}"),
        }
    });
    if let Err(error) = thread {
        tracing::error!("nobody looks after the models: {error}");
    }
}

async fn mind(models: &Models, state: &SetOnce<state::State>, stop: &CancellationToken) {
    let mut known = state.get().is_some();
    let mut figures = Instant::now();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        if !known && state.get().is_some() {
            // The registry can be read only now.
            known = true;
            let _order = lock(&models.ordering);
            models.bind();
        }
        // Who orders something looks after it.
        let order = match models.ordering.try_lock() {
            Ok(order) => order,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => continue,
        };
        models.look_after_active();
        models.look_after_shadows();
        drop(order);
        if figures.elapsed() >= FIGURES_EVERY {
            figures = Instant::now();
            models.save_figures();
            models.promote();
        }
    }
    models.save_figures();
}

impl Models {
    fn look_after_active(&self) {
        for slot in self.predictions.slots().iter() {
            let (model, version) = (slot.folder.model_name(), self.stored_version(slot));
            let entry = self.registry.entry(model);
            if entry.active != version {
                continue;
            }
            let broken = match &slot.now().state {
                State::Broken { why } => Some(why.clone()),
                _ => None,
            };
            if let Some(why) = broken.filter(|_| slot.was_tried()) {
                if version.is_some() && !misfits(slot) && self.went_back(model, &version, why) {
                    return;
                }
                // Nothing takes its place: what ran before ends, and the page says why.
                if slot.relieves().is_some() {
                    slot.relieve(None);
                    self.predictions.look_again();
                }
                continue;
            }
            let now_us = clock::now_us();
            // What a roll-back has brought is not new: or one flood would go back through all of them.
            let went_back = entry.failed.as_ref().is_some_and(|failed| failed.at_us == entry.since_us);
            let is_new = !went_back && entry.since_us != 0 && now_us.saturating_sub(entry.since_us) < NEW_US;
            let since_us = entry.since_us.max(now_us.saturating_sub(FLOOD_US));
            let raised = slot.tally().raised_since(since_us);
            if is_new && !entry.before.is_empty() && raised > self.options.flood {
                let why = words::flood(raised, &slot.device);
                if self.went_back(model, &version, why) {
                    return;
                }
            }
        }
    }

    /// Rolls back and lets the version before run.
    fn went_back(&self, model: &str, version: &super::Version, why: crate::device::Text) -> bool {
        match self.go_back(model, version, why) {
            Ok(()) => self.bind(),
            Err(error) => {
                tracing::error!("model {model} cannot be rolled back: {error}");
                return false;
            }
        }
        true
    }

    fn look_after_shadows(&self) {
        let mut ended = false;
        for slot in self.predictions.shadows().iter() {
            let broken = match &slot.now().state {
                State::Broken { why } if slot.was_tried() => why.clone(),
                _ => continue,
            };
            self.end_shadow_because(slot.folder.model_name(), &broken);
            ended = true;
        }
        if ended {
            self.bind();
        }
    }

    /// Lets each shadow take over that has shown itself no worse, where the configuration says so.
    pub(crate) fn promote(&self) {
        if !self.options.promote {
            return;
        }
        for (model, entry) in self.registry.entries() {
            let Some(shadow) = entry.shadow else { continue };
            let Some((figures, devices)) = self.figures_of(&model) else { continue };
            if figures.objection(self.options.shadow, devices).is_some() {
                continue;
            }
            if self.past_objection(&model, &shadow.version).is_some() {
                continue;
            }
            let why = words::promoted(&figures);
            if let Err(error) = self.activate(&model, &Some(shadow.version), ITSELF, &why) {
                tracing::error!("model {model}: its shadow is not promoted: {error}");
            }
        }
    }

    /// The figures of a model's shadow, and on how many devices it runs.
    pub(super) fn figures_of(&self, model: &str) -> Option<(Comparison, usize)> {
        let slots = self.predictions.shadows();
        let mine = slots.iter().filter(|slot| slot.folder.model_name() == model);
        let (mut sum, mut devices) = (Comparison::default(), 0);
        for slot in mine {
            sum.add(&slot.tally().comparison);
            devices += 1;
        }
        (devices > 0).then_some((sum, devices))
    }
}

/// The device has not what the model needs: no other version would be better off by that.
fn misfits(slot: &Slot) -> bool {
    let content = slot.folder.content.as_ref().ok();
    content
        .zip(slot.twin.as_ref())
        .is_some_and(|(content, twin)| watcher::misfit(content, &twin.device).is_some())
}
