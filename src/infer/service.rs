//! Loads models as they come, and watches over those that run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::predictions::{Places, Predictions, Slot};
use super::scheduler::{Scheduler, Shadow};
use super::watcher::{self, Watcher};
use super::{Options, words};
use crate::event::Events;

/// How often scores that do not end are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A model that is to be loaded.
struct Load {
    slot: Arc<Slot>,
    shadow: bool,
}

/// A model that was loaded; without a watcher it cannot run, and its slot says why.
struct Loaded {
    slot: Arc<Slot>,
    watcher: Option<Watcher>,
    score: Duration,
    shadow: Option<Shadow>,
}

/// Starts the threads of the service. They end with `stop`, or with `predictions`.
pub(super) fn start(
    predictions: &Arc<Predictions>,
    options: Options,
    events: Events,
    stop: CancellationToken,
) {
    let places = predictions.follow();
    let thread = std::thread::Builder::new().name("infer".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(serve(places, options, events, stop)),
            Err(error) => {
                tracing::error!("no predictions: the clock of the inference thread failed: {error}");
            }
        }
    });
    if let Err(error) = thread {
        tracing::error!("no predictions: the inference thread did not start: {error}");
    }
}

async fn serve(
    mut places: watch::Receiver<Places>,
    options: Options,
    events: Events,
    stop: CancellationToken,
) {
    // Bounded by the places: each is loaded once.
    let (loads, to_load) = std::sync::mpsc::channel::<Load>();
    let (done, mut loaded) = mpsc::unbounded_channel();
    let (of_loader, loader_options) = (events.clone(), options.clone());
    let loader = std::thread::Builder::new().name("infer-load".into()).spawn(move || {
        for Load { slot, shadow } in to_load {
            if done.send(load(slot, shadow, &loader_options, &of_loader)).is_err() {
                return;
            }
        }
    });
    if let Err(error) = loader {
        tracing::error!("no predictions: the thread that loads models did not start: {error}");
        return;
    }
    let scheduler = Scheduler::start(options.clone(), events.clone());
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut now, mut loading) = (Places::default(), Vec::new());
    places.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = places.changed() => {
                if changed.is_err() {
                    break;
                }
                now = places.borrow_and_update().clone();
                follow(&scheduler, &now, &mut loading, &loads);
            }
            Some(ready) = loaded.recv() => {
                loading.retain(|slot| !Arc::ptr_eq(slot, &ready.slot));
                take(&scheduler, &now, ready, &options);
            }
            _ = look.tick() => {
                // Who is in the hands of a thread is passed over at a change.
                scheduler.pair(&now.active);
                for given_up in scheduler.give_up_late() {
                    let why = words::not_ending(given_up.after);
                    let (quiet, shadow) = (Shadow::new(), is_in(&given_up.slot, &now.shadows));
                    let told = if shadow { quiet.events() } else { &events };
                    watcher::stopped(&given_up.slot, why, told);
                }
            }
        }
    }
    scheduler.stop();
}

fn is_in(slot: &Arc<Slot>, slots: &[Arc<Slot>]) -> bool {
    slots.iter().any(|other| Arc::ptr_eq(other, slot))
}

/// Ends the watchers of places that are gone, and has those of new ones loaded.
fn follow(
    scheduler: &Scheduler,
    now: &Places,
    loading: &mut Vec<Arc<Slot>>,
    loads: &std::sync::mpsc::Sender<Load>,
) {
    let relieved: Vec<Arc<Slot>> = now.active.iter().filter_map(|slot| slot.relieves()).collect();
    scheduler.retain(|slot| is_in(slot, &now.active) || is_in(slot, &now.shadows) || is_in(slot, &relieved));
    for slot in now.all() {
        if slot.was_tried() || scheduler.has(slot) || is_in(slot, loading) {
            continue;
        }
        loading.push(Arc::clone(slot));
        let shadow = is_in(slot, &now.shadows);
        // The loader lives as long as we do.
        let _ended = loads.send(Load { slot: Arc::clone(slot), shadow });
    }
    scheduler.pair(&now.active);
}

/// Begins with what was loaded, if it is still wanted.
fn take(scheduler: &Scheduler, now: &Places, ready: Loaded, options: &Options) {
    let Loaded { slot, watcher, score, shadow } = ready;
    if !is_in(&slot, &now.active) && !is_in(&slot, &now.shadows) {
        return;
    }
    slot.has_been_tried();
    let relieved = slot.relieves();
    match watcher {
        Some(watcher) => scheduler.begin(slot, watcher, relieved.as_ref(), score, shadow),
        // Who minds the models puts another in its place; until then the one before goes on.
        None if options.minded => {}
        None => {
            slot.relieve(None);
            scheduler.retain(|other| relieved.as_ref().is_none_or(|it| !Arc::ptr_eq(it, other)));
        }
    }
    scheduler.pair(&now.active);
}

fn load(slot: Arc<Slot>, shadow: bool, options: &Options, events: &Events) -> Loaded {
    let shadow = shadow.then(Shadow::new);
    let told = shadow.as_ref().map_or(events, Shadow::events);
    let trial = catch_unwind(AssertUnwindSafe(|| (options.trial)(&slot.folder)));
    let trial = trial.unwrap_or_else(|panic| {
        watcher::panicked(&slot, &*panic, told);
        Err(words::english(String::new()))
    });
    let score = match trial {
        Ok(score) => score,
        Err(why) => {
            // After a panic it is stopped already.
            watcher::stopped(&slot, why, told);
            return Loaded { slot, watcher: None, score: Duration::ZERO, shadow };
        }
    };
    let start = || Watcher::start(slot.clone(), told);
    let watcher = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|panic| {
        watcher::panicked(&slot, &*panic, told);
        None
    });
    Loaded { slot, watcher, score, shadow }
}
