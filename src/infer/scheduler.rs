//! The threads that score: each takes the watcher whose point of the grid is due.
//!
//! A watcher is in the table or in the hands of one thread. What is due and finds no thread in time
//! is dropped and counted; so nothing can pile up. A thread that does not come back is given up with
//! its model, and another one takes its place.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Options;
use super::cpu::{Budget, Thread};
use super::predictions::Slot;
use super::shadow::Outcome;
use super::watcher::Watcher;
use crate::clock;
use crate::event::{Event, Events};

/// A model that runs.
pub(super) struct Place {
    /// What it says.
    pub(super) slot: Arc<Slot>,
    /// `None` while a thread has it, and when it was given up.
    watcher: Option<Watcher>,
    /// Takes over when the watcher comes back.
    successor: Option<(Arc<Slot>, Watcher)>,
    interval: Duration,
    next: Instant,
    /// When it took its last point.
    last: Option<Instant>,
    run: Option<Run>,
    /// Time of one score, from its trial.
    score: Duration,
    shadow: Option<Shadow>,
}

/// What a watcher in shadow needs.
pub(super) struct Shadow {
    events: Events,
    /// Where they end.
    nowhere: mpsc::Receiver<Event>,
    /// The active one, and what it had done at the last look.
    beside: Option<Beside>,
}

struct Beside {
    slot: Arc<Slot>,
    scored: u64,
    sum: f64,
    raised: u64,
}

/// A watcher in the hands of a thread.
#[derive(Clone, Copy)]
struct Run {
    worker: u64,
    thread: Thread,
    since: Instant,
    had: Option<Duration>,
}

impl Shadow {
    pub(super) fn new() -> Self {
        let (events, nowhere) = Events::new();
        Self { events, nowhere, beside: None }
    }

    /// Where what it says goes: nowhere.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// What it runs beside, from now on.
    fn set_beside(&mut self, active: Option<&Arc<Slot>>) {
        let same = match (&self.beside, active) {
            (Some(beside), Some(active)) => Arc::ptr_eq(&beside.slot, active),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.beside = active.map(|slot| {
                let tally = slot.tally();
                let (scored, sum, raised) = (tally.scored, tally.sum, tally.raised);
                drop(tally);
                Beside { slot: Arc::clone(slot), scored, sum, raised }
            });
        }
    }

    fn compare(&mut self, own: &Slot, interval: Duration, outcome: Outcome) {
        let mut tally = own.tally();
        let comparison = &mut tally.comparison;
        comparison.watched_us += i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        if let Some(score) = outcome.score {
            comparison.scored += 1;
            comparison.sum += f64::from(score);
            comparison.highest = comparison.highest.max(score);
        }
        comparison.raised += u64::from(outcome.raised_us.is_some());
        let Some(beside) = &mut self.beside else { return };
        let active = beside.slot.tally();
        let now = (active.scored, active.sum, active.raised);
        drop(active);
        comparison.active_scored += now.0.saturating_sub(beside.scored);
        comparison.active_sum += now.1 - beside.sum;
        comparison.active_raised += now.2.saturating_sub(beside.raised);
        let scored_too = now.0 > beside.scored;
        (beside.scored, beside.sum, beside.raised) = now;
        let sides = (side(own, outcome.score), side(&beside.slot, beside.slot.now().score));
        if let (true, (Some(own), Some(active))) = (scored_too, sides) {
            comparison.compared += 1;
            comparison.agreed += u64::from(own == active);
        }
    }
}

/// True when a score is over the threshold.
fn side(slot: &Slot, score: Option<f32>) -> Option<bool> {
    Some(score? > slot.spec()?.threshold)
}

struct Table {
    places: Vec<Place>,
    budget: Budget,
    /// Threads that work.
    workers: BTreeSet<u64>,
    named: u64,
    stopped: bool,
}

/// The table and the threads at it.
pub(super) struct Scheduler {
    table: Mutex<Table>,
    due: Condvar,
    options: Options,
    events: Events,
}

/// A model that was stopped because it did not come back.
pub(super) struct GivenUp {
    pub(super) slot: Arc<Slot>,
    pub(super) after: Duration,
}

impl Scheduler {
    /// Starts the threads.
    pub(super) fn start(options: Options, events: Events) -> Arc<Self> {
        let table = Table {
            places: Vec::new(),
            budget: Budget::new(options.cpu_share, Instant::now()),
            workers: BTreeSet::new(),
            named: 0,
            stopped: false,
        };
        let scheduler = Arc::new(Self { table: Mutex::new(table), due: Condvar::new(), options, events });
        (0..scheduler.options.threads.max(1)).for_each(|_| scheduler.add_worker());
        scheduler
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_worker(self: &Arc<Self>) {
        let mut table = self.lock();
        table.named += 1;
        let worker = table.named;
        table.workers.insert(worker);
        drop(table);
        let scheduler = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("infer-{worker}"));
        if let Err(error) = thread.spawn(move || scheduler.work(worker)) {
            self.lock().workers.remove(&worker);
            tracing::error!("an inference thread did not start: {error}");
        }
    }

    /// Ends the threads; one that hangs is not waited for.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.due.notify_all();
    }

    /// Puts a loaded watcher into the table, in the place of `relieved` where that runs: with its
    /// window, between two points of the grid.
    pub(super) fn begin(
        &self,
        slot: Arc<Slot>,
        watcher: Watcher,
        relieved: Option<&Arc<Slot>>,
        score: Duration,
        shadow: Option<Shadow>,
    ) {
        let Some(interval) = slot.spec().map(|spec| spec.sample_interval) else { return };
        let mut table = self.lock();
        let place = relieved.and_then(|old| table.places.iter_mut().find(|it| Arc::ptr_eq(&it.slot, old)));
        match place {
            Some(place) => {
                place.score = score;
                place.successor = Some((slot, watcher));
                if place.run.is_none() {
                    place.exchange();
                }
            }
            None => {
                slot.has_begun();
                let next = Instant::now() + interval;
                let watcher = Some(watcher);
                let (successor, last, run) = Default::default();
                table.places.push(Place {
                    slot,
                    watcher,
                    successor,
                    interval,
                    next,
                    last,
                    run,
                    score,
                    shadow,
                });
            }
        }
        drop(table);
        self.due.notify_all();
    }

    /// Ends all watchers that `keep` does not name.
    pub(super) fn retain(&self, mut keep: impl FnMut(&Arc<Slot>) -> bool) {
        self.lock().places.retain(|place| keep(&place.slot));
    }

    /// Says beside which active model each shadow runs.
    pub(super) fn pair(&self, active: &[Arc<Slot>]) {
        for place in &mut self.lock().places {
            let Place { slot, shadow: Some(shadow), .. } = place else { continue };
            shadow.set_beside(active.iter().find(|other| other.is_version_of(slot)));
        }
    }

    /// True when this one is in the table.
    pub(super) fn has(&self, slot: &Arc<Slot>) -> bool {
        let is = |other: &Arc<Slot>| Arc::ptr_eq(other, slot);
        self.lock().places.iter().any(|it| is(&it.slot) || it.successor.as_ref().is_some_and(|it| is(&it.0)))
    }

    /// Gives up the models that take far longer than in their trial, and their threads.
    pub(super) fn give_up_late(self: &Arc<Self>) -> Vec<GivenUp> {
        let (options, now) = (&self.options, Instant::now());
        let mut given_up = Vec::new();
        let mut table = self.lock();
        let Table { places, workers, .. } = &mut *table;
        for place in places.iter_mut() {
            let Some(run) = place.run else { continue };
            let passed = now.saturating_duration_since(run.since);
            let limit = options.score_floor.max(place.score * options.score_factor);
            let used = run.thread.time().zip(run.had).map(|(now, before)| now.saturating_sub(before));
            // A box that has no time for its models makes none of them late.
            if passed < limit || (used.is_some_and(|used| used < limit) && passed < options.score_wall) {
                continue;
            }
            run.thread.put_last();
            workers.remove(&run.worker);
            place.run = None;
            given_up.push(GivenUp { slot: Arc::clone(&place.slot), after: passed });
            // Who was to take over does so without a window.
            place.exchange();
        }
        drop(table);
        given_up.iter().for_each(|_| self.add_worker());
        given_up
    }

    /// What a thread does until it is told to stop, or given up.
    fn work(&self, worker: u64) {
        // Polling, journal and page come first.
        let _refused = rustix::process::nice(10);
        let thread = Thread::current();
        let mut had = thread.time();
        while let Some(mut job) = self.next(worker, thread, had) {
            let begun = Instant::now();
            let outcome = job.run(&self.events);
            let now = thread.time();
            // Where the kernel does not count, the clock does.
            let used = now.zip(had).map_or_else(|| begun.elapsed(), |(now, had)| now.saturating_sub(had));
            had = now;
            self.put_back(job, outcome, used);
        }
    }

    /// Waits for the next point of a grid and takes its watcher.
    fn next(&self, worker: u64, thread: Thread, had: Option<Duration>) -> Option<Job> {
        let mut table = self.lock();
        loop {
            if table.stopped || !table.workers.contains(&worker) {
                return None;
            }
            let now = Instant::now();
            let waiting = table.places.iter().enumerate().filter(|(_, place)| place.is_waiting());
            let first = waiting.min_by_key(|(_, place)| place.next).map(|(index, place)| (index, place.next));
            table = match first {
                Some((index, next)) if next <= now => {
                    let spare = table.budget.allows(now);
                    // The second half is kept for those that are shown.
                    let much = table.budget.is_half_full();
                    let run = Run { worker, thread, since: now, had };
                    let place = table.places.get_mut(index)?;
                    return place.take(run, spare && (much || place.shadow.is_none()));
                }
                Some((_, next)) => {
                    let waited = self.due.wait_timeout(table, next - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.due.wait(table).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn put_back(&self, job: Job, outcome: Outcome, used: Duration) {
        let Job { slot, watcher, mut shadow, worker, .. } = job;
        let mut table = self.lock();
        table.budget.spend(used);
        let mine = |place: &&mut Place| {
            Arc::ptr_eq(&place.slot, &slot) && place.run.is_some_and(|run| run.worker == worker)
        };
        // Given up, or not wanted any more.
        let Some(place) = table.places.iter_mut().find(mine) else { return };
        slot.tally().note(outcome);
        if let Some(shadow) = &mut shadow {
            shadow.compare(&slot, place.interval, outcome);
            while shadow.nowhere.try_recv().is_ok() {}
        }
        (place.run, place.shadow, place.watcher) = (None, shadow, Some(watcher));
        place.exchange();
        drop(table);
        // Another thread may wait for it.
        self.due.notify_one();
    }
}

impl Place {
    fn is_waiting(&self) -> bool {
        self.watcher.as_ref().is_some_and(Watcher::is_running)
    }

    /// Takes the watcher for its point of the grid that is due.
    fn take(&mut self, run: Run, may_score: bool) -> Option<Job> {
        let watcher = self.watcher.take()?;
        let mut late = 0;
        self.next += self.interval;
        if self.next <= run.since {
            // Late by more than an interval: the points in between are lost.
            let behind = run.since.saturating_duration_since(self.next).as_micros();
            late = behind / self.interval.as_micros().max(1) + 1;
            self.next = run.since + self.interval;
        }
        (self.last, self.run) = (Some(run.since), Some(run));
        self.slot.tally().late += u64::try_from(late).unwrap_or(u64::MAX);
        let (slot, shadow) = (Arc::clone(&self.slot), self.shadow.take());
        Some(Job { slot, watcher, shadow, worker: run.worker, may_score, late: late > 0 })
    }

    /// The successor takes over, if there is one, with the window where it fits.
    fn exchange(&mut self) {
        let Some((slot, mut watcher)) = self.successor.take() else { return };
        let begun = Instant::now();
        let interval = slot.spec().map_or(self.interval, |spec| spec.sample_interval);
        let whole = self.last.is_some_and(|last| begun.saturating_duration_since(last) < interval * 3 / 2);
        if let (Some(before), true) = (&self.watcher, whole && interval == self.interval) {
            watcher.take_over(before);
        }
        if interval != self.interval || !whole {
            (self.interval, self.next) = (interval, begun + interval);
        }
        (self.slot, self.watcher) = (slot, Some(watcher));
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Who waits for the begin asks for the time next.
        self.slot.tally().swap_us = Some(took_us);
        self.slot.has_begun();
    }
}

/// A watcher in the hands of a thread, with what it is to do.
struct Job {
    slot: Arc<Slot>,
    watcher: Watcher,
    shadow: Option<Shadow>,
    worker: u64,
    may_score: bool,
    late: bool,
}

impl Job {
    /// Takes the point of the grid; a panic ends this model and no other.
    fn run(&mut self, events: &Events) -> Outcome {
        let events = self.shadow.as_ref().map_or(events, |shadow| &shadow.events);
        let before = self.slot.now().raised_us;
        let (watcher, late, may_score) = (&mut self.watcher, self.late, self.may_score);
        let tick = || {
            let now_us = clock::now_us();
            if late {
                watcher.gap(now_us);
            }
            watcher.tick_within(now_us, may_score, events)
        };
        match catch_unwind(AssertUnwindSafe(tick)) {
            Ok(ticked) => {
                let raised_us = self.slot.now().raised_us.filter(|_| before.is_none());
                Outcome { score: ticked.score, raised_us, over_share: ticked.over_share }
            }
            Err(panic) => {
                self.watcher.panicked(&*panic, events);
                Outcome::default()
            }
        }
    }
}
