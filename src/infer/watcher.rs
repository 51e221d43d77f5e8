//! One model on one device: takes the inputs on the grid, scores, and tells what changed.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Scalar;
use serde_json::json;

use super::adapt::{Baseline, State as Drift};
use super::detector::{Alarm, Detector};
use super::diary::Scored;
use super::episode::{Identity, Raise};
use super::features::{Fill, LiveState};
use super::folder::Content;
use super::graph::GateError;
use super::predictions::{Now, Slot, State};
use super::quality::InputQuality;
use super::spec::Spec;
use super::tell::{self, Source};
use super::words::{self, Reason, both};
use crate::clock;
use crate::device::{Device, Text};
use crate::event::{Event, Events, Kind};
use crate::twin::{DeviceTwin, Link};

/// An input may be this many scans old.
const SCANS_OLD_MAX: i64 = 3;
/// Younger than this is never called old: a poll may be late by a retry. Microseconds.
const AGE_FLOOR_US: i64 = 1_000_000;
/// A score is missing this long before it is an event; the page shows it at once. Microseconds.
const SUPPRESSED_EVENT_US: i64 = 5_000_000;
/// More points of the grid than this are lost in no other way than by a clock that was set.
const LOST_MAX: i64 = 100_000;

/// Without a score for so long, because there was no time for one, nothing is normal. Microseconds.
const PASSED_OVER_US: i64 = 60_000_000;

/// A model that runs on a device.
pub struct Watcher {
    slot: Arc<Slot>,
    twin: Arc<DeviceTwin>,
    inputs: Vec<InputTag>,
    /// The model watches only in some states of the machine.
    state: Option<LiveState>,
    detector: Detector,
    alarm: Alarm,
    identity: Identity,
    row: Vec<f32>,
    quality: InputQuality,
    /// Last point of the grid, microseconds since 1970 UTC.
    last_us: Option<i64>,
    suppressed: Option<Suppressed>,
    broken: bool,
}

/// What came of a point of the grid.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ticked {
    /// A score.
    pub(super) score: Option<f32>,
    /// A score was due, and there was no time for it.
    pub(super) over_share: bool,
}

/// Where an input is found.
struct InputTag {
    index: usize,
    age_max_us: i64,
    /// Its rule for missing values, if it has one.
    fill: Option<Fill>,
}

/// Inputs are missing.
#[derive(Clone)]
struct Suppressed {
    since_us: i64,
    input: usize,
    reason: Reason,
    /// The event has been sent.
    told: bool,
}

impl Watcher {
    /// Loads the model of `slot` for its device. `None` when it cannot run: `slot` is then
    /// [`State::Broken`], and an event says why.
    pub(super) fn start(slot: Arc<Slot>, events: &Events) -> Option<Self> {
        let twin = slot.twin.clone();
        let loaded = Self::load(&slot, twin.as_deref());
        match (loaded, twin) {
            (Ok((detector, inputs, state)), Some(twin)) => {
                let spec = slot.spec()?;
                let alarm = Alarm::new(spec.threshold, spec.clear_below, micros(spec.hold));
                let (row, quality) = (vec![0.0; inputs.len()], InputQuality::new(spec.window));
                let identity = identity(&slot);
                let (last_us, suppressed, broken) = Default::default();
                let mut watcher = Self {
                    slot,
                    twin,
                    inputs,
                    state,
                    detector,
                    alarm,
                    identity,
                    row,
                    quality,
                    last_us,
                    suppressed,
                    broken,
                };
                watcher.resume(clock::now_us(), events);
                Some(watcher)
            }
            (Ok(_), None) => None,
            (Err(why), _) => {
                broken(&slot, why, clock::now_us(), events);
                None
            }
        }
    }

    /// Goes on with an episode that runs already, of an earlier run or another version.
    fn resume(&mut self, now_us: i64, events: &Events) {
        // What another version has learned is of no use to this one.
        if let Some(state) = self.slot.learned.baseline(self.detector.hash()) {
            self.go_on_from(&state);
        }
        self.go_on(now_us, events);
    }

    /// Goes on from what this version has learned before.
    fn go_on_from(&mut self, learned: &Drift) {
        if let Err(why) = self.detector.restore_drift(learned) {
            let (model, path) = (self.slot.folder.model_name(), &self.slot.path);
            tracing::warn!("{model} on {path}: its baseline begins as trained: {why}");
        }
    }

    /// Raises the alarm where an episode runs.
    fn go_on(&mut self, now_us: i64, events: &Events) {
        let slot = Arc::clone(&self.slot);
        let Some(spec) = slot.spec() else { return };
        let source = self.source(spec, None, now_us);
        let make = |change, episode: &_| tell::prediction(change, episode, &source);
        slot.diary.resume(&self.identity.version, now_us, make, events);
        if let Some(raised_us) = slot.diary.running_us() {
            self.alarm.resume(raised_us);
            slot.now().raised_us = Some(raised_us);
        }
    }

    fn source<'a>(&'a self, spec: &'a Spec, score: Option<f32>, now_us: i64) -> Source<'a> {
        let input_quality = self.quality.share(self.inputs.len());
        // A window that was not scored says nothing of what is left.
        let remaining = score.and_then(|_| self.detector.remaining());
        let (path, identity) = (&self.slot.path, &self.identity);
        Source { path, identity, spec, score, input_quality, remaining, now_us }
    }

    fn load(
        slot: &Slot,
        twin: Option<&DeviceTwin>,
    ) -> Result<(Detector, Vec<InputTag>, Option<LiveState>), Text> {
        let content = slot.folder.content.as_ref();
        let content = content.map_err(|faults| {
            words::english(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let twin = twin.ok_or_else(|| words::no_device(&slot.device))?;
        let inputs = find_inputs(content, &twin.device)?;
        let state = content.spec.prepare.state.as_ref();
        let state =
            state.map(|state| LiveState::find(state, &content.spec.name, &twin.device)).transpose()?;
        let detector = Detector::load(content)
            .map_err(|error| words::english(format!("{}: {error}", slot.folder.origin)))?;
        Ok((detector, inputs, state))
    }

    /// The next point of the grid, at `now_us` (microseconds since 1970 UTC).
    pub fn tick(&mut self, now_us: i64, events: &Events) {
        self.tick_within(now_us, true, events);
    }

    /// As [`Watcher::tick`]; where there is no time for a score, the row is taken all the same.
    pub(super) fn tick_within(&mut self, now_us: i64, may_score: bool, events: &Events) -> Ticked {
        let mut ticked = Ticked::default();
        if self.broken {
            return ticked;
        }
        let (good, read) = self.read(now_us);
        // While the machine is in another state nothing is asked of its inputs.
        let idle = matches!(read, Err((input, _)) if input == self.inputs.len());
        let asked = if idle { 0 } else { self.inputs.len() };
        if !idle {
            self.quality.push(good);
        }
        self.point((good, asked), read.is_ok(), now_us, events);
        if let Err((input, reason)) = read {
            self.suppress(input, reason, now_us, events);
            return ticked;
        }
        if !may_score && self.detector.is_due() {
            self.detector.pass(&self.row);
            self.passed_over(now_us);
            ticked.over_share = true;
            return ticked;
        }
        let pushed = self.detector.push(&self.row);
        if self.was_given_up() {
            return ticked;
        }
        match pushed {
            Ok(score) => {
                ticked.score = score;
                self.scored(score, now_us, events);
            }
            // A wild value may do that; the next window need not.
            Err(GateError::NotFinite(_)) => self.suppress(0, Reason::NoScore, now_us, events),
            Err(error) => {
                self.broken = true;
                broken(&self.slot, words::english(error.to_string()), now_us, events);
            }
        }
        ticked
    }

    /// True when it was given up while it scored: then nothing of it counts any more.
    fn was_given_up(&mut self) -> bool {
        self.broken |= self.slot.now().is_broken();
        self.broken
    }

    /// A score was left out. After a while without any nothing is known of the machine.
    fn passed_over(&self, now_us: i64) {
        self.slot.diary.dropped(1);
        let mut now = self.slot.now();
        now.missing = self.detector.missing();
        // A clock that was set back must not make it young for ever.
        now.last_us = now.last_us.min(now_us);
        let is_old = now_us.saturating_sub(now.last_us) >= PASSED_OVER_US;
        if is_old && !matches!(now.state, State::Suppressed { .. } | State::Raised { .. }) {
            now.enter(State::Suppressed { why: words::no_time() }, now_us);
        }
    }

    /// Goes on where another version of the model stands: with its window, and with its alarm if there
    /// is one. Where it takes other inputs, its window is of no use.
    pub(super) fn take_over(&mut self, before: &Self) {
        let (Some(spec), Some(other)) = (self.slot.spec(), before.slot.spec()) else { return };
        if before.is_running() && spec.sees_as(other) {
            self.detector.take_over(&before.detector);
            for (input, before) in self.inputs.iter_mut().zip(&before.inputs) {
                input.fill.clone_from(&before.fill);
            }
        }
        if before.is_running() && spec.prepare.state == other.prepare.state {
            self.state.clone_from(&before.state);
        }
        self.suppressed.clone_from(&before.suppressed);
        self.alarm.take_over(&before.alarm);
        self.keep_of(before);
        let earlier = before.slot.now();
        let (state, since_us) = (earlier.state.clone(), earlier.since_us);
        let (raised_us, history) = (earlier.raised_us, earlier.history.clone());
        drop(earlier);
        let mut now = self.slot.now();
        now.missing = self.detector.missing();
        // An alarm goes on, and so does what is known while no input comes.
        if matches!(state, State::Raised { .. } | State::Suppressed { .. }) {
            now.enter(state, since_us);
        }
        (now.raised_us, now.history) = (raised_us, history);
    }

    /// Keeps what the one before has learned since the last minute, for when it comes back.
    fn keep_of(&mut self, before: &Self) {
        let Some((learned, now_us)) = before.detector.drift_state().zip(before.last_us) else { return };
        let late = before.slot.learned.keep_baseline(learned.clone(), false, now_us);
        // The same graph with other settings goes on at once.
        if self.detector.hash() == before.detector.hash() {
            self.go_on_from(&late.unwrap_or(learned));
        }
    }

    /// Counts a point of the grid; when it begins a minute, the one before is told.
    fn point(&mut self, (good, asked): (usize, usize), valid: bool, now_us: i64, events: &Events) {
        self.last_us = Some(now_us);
        let Some(spec) = self.slot.spec() else { return };
        // Until the window is full nothing is watched.
        let valid = valid && self.detector.missing() <= 1;
        let valid_us = if valid { micros(spec.sample_interval) } else { 0 };
        if let Some(minute) = self.slot.diary.point(now_us, good, asked, valid_us) {
            events.emit(tell::summary(&self.slot.path, &self.identity, &minute));
            self.keep_drift(false, now_us, events);
        }
    }

    /// Has written down, now and then, what the model has learned since its training, soon if a person
    /// has accepted it; tells of what it cannot follow much farther.
    fn keep_drift(&mut self, accepted: bool, now_us: i64, events: &Events) {
        let Some(state) = self.detector.drift_state() else { return };
        // What was learned before may be known only now: the state has opened late.
        if let Some(before) = self.slot.learned.keep_baseline(state, accepted, now_us) {
            self.go_on_from(&before);
        }
        let Some(spec) = self.slot.spec() else { return };
        let mut used = Vec::new();
        self.detector.reach_used(&mut used);
        let used: Vec<_> = spec.inputs.iter().map(|input| input.tag.as_str()).zip(used).collect();
        // What a shadow has learned is kept by another diary than its own, so it tells nothing.
        for number in self.slot.diary.nearly_used_up(self.detector.hash(), &used) {
            let Some((input, (_, used))) = spec.inputs.get(number).zip(used.get(number)) else { continue };
            let event = tell::drift(&self.slot.path, &self.identity, input, *used, now_us);
            tracing::warn!(device = %self.slot.path, "{}", event.text);
            events.emit(event);
        }
    }

    /// Points of the grid were missed: the window does not hold together any more.
    pub fn gap(&mut self, now_us: i64) {
        let interval_us = self.slot.spec().map_or(i64::MAX, |spec| micros(spec.sample_interval)).max(1);
        let away_us = self.last_us.map_or(0, |last_us| now_us.saturating_sub(last_us));
        let lost = (away_us / interval_us - 1).clamp(1, LOST_MAX);
        self.slot.diary.dropped(u32::try_from(lost).unwrap_or(u32::MAX));
        self.quality.clear();
        self.forget();
        self.state.iter_mut().for_each(LiveState::interrupt);
        let mut now = self.slot.now();
        now.missing = self.detector.missing();
        if matches!(now.state, State::Normal | State::Raised { .. }) {
            now.enter(State::Filling, now_us);
        }
    }

    /// What comes next does not follow what was.
    fn forget(&mut self) {
        self.detector.reset();
        self.alarm.interrupt();
        self.inputs.iter_mut().filter_map(|input| input.fill.as_mut()).for_each(Fill::reset);
    }

    /// A panic outside the graph: what it has left half-done is given up with the model.
    pub(super) fn panicked(&mut self, panic: &(dyn Any + Send), events: &Events) {
        self.broken = true;
        panicked(&self.slot, panic, events);
    }

    /// False once the model has failed; it needs no more ticks.
    pub fn is_running(&self) -> bool {
        !self.broken
    }

    /// Fills `row` from the twin: how many inputs are good, and the first that is not, with the reason.
    fn read(&mut self, now_us: i64) -> (usize, Result<(), (usize, Reason)>) {
        let state = self.twin.state();
        if matches!(state.link, Link::Down { .. }) {
            self.state.iter_mut().for_each(LiveState::interrupt);
            return (0, Err((0, Reason::Down)));
        }
        if let Some(reason) = self.state.as_mut().and_then(|filter| filter.push(&state, now_us)) {
            return (0, Err((self.inputs.len(), reason)));
        }
        let (mut good, mut missing) = (0, Ok(()));
        for (number, (input, cell)) in self.inputs.iter_mut().zip(&mut self.row).enumerate() {
            let reason = match state.values.get(input.index) {
                None => Reason::NeverRead,
                Some(current) if current.edge_us == 0 => Reason::NeverRead,
                Some(current) if !current.quality.is_good() => Reason::NotGood(current.quality),
                Some(current) if now_us.saturating_sub(current.edge_us) > input.age_max_us => {
                    Reason::Old { limit_ms: input.age_max_us / 1000 }
                }
                Some(current) => match current.value.as_f64() {
                    #[allow(clippy::cast_possible_truncation)] // models compute in 32 bits
                    Some(value) if (value as f32).is_finite() => {
                        *cell = value as f32;
                        good += 1;
                        input.fill.iter_mut().for_each(|fill| fill.good(*cell));
                        continue;
                    }
                    _ => Reason::NotNumber,
                },
            };
            if let Some(value) = input.fill.as_mut().and_then(Fill::fill) {
                *cell = value;
                continue;
            }
            missing = missing.and(Err((number, reason)));
        }
        (good, missing)
    }

    fn suppress(&mut self, input: usize, reason: Reason, now_us: i64, events: &Events) {
        self.forget();
        if self.was_given_up() {
            return;
        }
        let Some(spec) = self.slot.spec() else { return };
        // Behind the inputs stands the tag of the state.
        let state = spec.prepare.state.as_ref().map_or("", |state| &state.tag);
        let tag = spec.inputs.get(input).map_or(state, |input| &input.tag);
        let (since_us, told, changed) = match &self.suppressed {
            None => (now_us, false, true),
            // A clock that was set back must not hold it up.
            Some(s) => (s.since_us.min(now_us), s.told, (s.input, s.reason) != (input, reason)),
        };
        if changed {
            let mut now = self.slot.now();
            now.state = State::Suppressed { why: words::suppressed(tag, reason) };
            now.since_us = since_us;
            now.missing = self.detector.missing();
        }
        let by_design = matches!(reason, Reason::OtherState | Reason::Settling);
        let tell = !told && !by_design && now_us.saturating_sub(since_us) >= SUPPRESSED_EVENT_US;
        if tell {
            let why = words::suppressed(tag, reason);
            emit_state(&self.slot, "suppressed", "does not watch", &why, now_us, events);
        }
        self.suppressed = Some(Suppressed { since_us, input, reason, told: told || tell });
    }

    fn scored(&mut self, score: Option<f32>, now_us: i64, events: &Events) {
        let slot = Arc::clone(&self.slot);
        // What an earlier run has begun may be known only now: the state has opened late.
        if score.is_some() && self.alarm.raised_us().is_none() && slot.diary.running_us().is_some() {
            self.go_on(now_us, events);
        }
        let mut now = slot.now();
        if now.is_broken() {
            self.broken = true;
            return;
        }
        now.missing = self.detector.missing();
        let Some(score) = score else {
            // Without a number from the model a full window changes nothing; good inputs do.
            let no_score = self.suppressed.as_ref().is_some_and(|s| s.reason == Reason::NoScore);
            if matches!(now.state, State::Suppressed { .. }) && !no_score {
                now.enter(State::Filling, now_us);
            }
            return;
        };
        now.scored(score, self.detector.contrib(), now_us);
        now.remaining = self.detector.remaining();
        let accepted = slot.take_accepted();
        if accepted {
            self.detector.baseline().into_iter().for_each(Baseline::accept);
        }
        self.detector.reach_used(&mut now.reach_used);
        let crossing = self.alarm.push(score, now_us);
        self.follow(&mut now, score, now_us);
        drop(now);
        if accepted {
            self.keep_drift(true, now_us, events);
        }
        if self.suppressed.take().is_some_and(|suppressed| suppressed.told) {
            let why = both("all inputs are good again", "alle Eingänge sind wieder gut");
            emit_state(&self.slot, "scoring", "watches again", &why, now_us, events);
        }
        let Some(spec) = slot.spec() else { return };
        let source = self.source(spec, Some(score), now_us);
        let raise = Raise {
            path: &slot.path,
            identity: &self.identity,
            spec,
            score,
            contrib: self.detector.contrib(),
            input_quality: source.input_quality,
        };
        let make = |change, episode: &_| tell::prediction(change, episode, &source);
        slot.diary.scored(Scored { raise, crossing, now_us }, make, events);
    }

    /// Brings the shown state in line with the alarm.
    fn follow(&self, now: &mut Now, score: f32, now_us: i64) {
        now.raised_us = self.alarm.raised_us();
        match (now.raised_us, &mut now.state) {
            (Some(_), State::Raised { worst, .. }) => *worst = worst.max(score),
            (Some(since_us), _) => now.enter(State::Raised { since_us, worst: score }, now_us),
            (None, State::Normal) => {}
            (None, _) => now.enter(State::Normal, now_us),
        }
    }
}

/// Finds each input among the tags of a device.
fn find_inputs(content: &Content, device: &Device) -> Result<Vec<InputTag>, Text> {
    let find = |tag: &str| {
        let missing = || words::missing_tag(&content.spec.name, tag, &device.profile);
        let index = device.tag_index(tag).ok_or_else(missing)?;
        let found = device.tags.get(index).ok_or_else(missing)?;
        let number = found.data_type.array_len.is_none()
            && (found.data_type.scalar.is_number() || found.data_type.scalar == Scalar::Bool);
        if !number {
            return Err(words::no_number(tag, &found.data_type.to_string()));
        }
        let scan = device.spec.scans.get(found.scan).map_or(0, |scan| scan.interval.as_micros());
        let scans_us = i64::try_from(scan).unwrap_or(i64::MAX).saturating_mul(SCANS_OLD_MAX);
        Ok(InputTag { index, age_max_us: scans_us.max(AGE_FLOOR_US), fill: None })
    };
    let missing = content.spec.prepare.missing.iter().copied().chain(std::iter::repeat(None));
    let fill = |(input, missing): (InputTag, Option<_>)| InputTag { fill: missing.map(Fill::new), ..input };
    let inputs = content.spec.inputs.iter().zip(missing);
    inputs.map(|(input, missing)| Ok(fill((find(&input.tag)?, missing)))).collect()
}

fn broken(slot: &Slot, why: Text, now_us: i64, events: &Events) {
    let mut now = slot.now();
    if now.is_broken() {
        return;
    }
    now.enter(State::Broken { why: why.clone() }, now_us);
    drop(now);
    tracing::error!(device = %slot.path, model = slot.folder.model_name(), "model cannot run: {}", why.get("en"));
    emit_state(slot, "broken", "cannot run", &why, now_us, events);
}

/// A model that must not go on.
pub(super) fn stopped(slot: &Slot, why: Text, events: &Events) {
    broken(slot, why, clock::now_us(), events);
}

/// Why a model cannot watch a device, if it cannot: its inputs are not there.
pub fn misfit(content: &Content, device: &Device) -> Option<Text> {
    let state = content.spec.prepare.state.as_ref();
    let found = state.map(|state| LiveState::find(state, &content.spec.name, device)).transpose();
    find_inputs(content, device).err().or(found.err())
}

/// A panic of ours is the fault of one model only: it stops, the others go on.
pub(super) fn panicked(slot: &Slot, panic: &(dyn Any + Send), events: &Events) {
    let words = crate::panic::words(panic);
    let why = format!("a fault inside Forebay, please report it: {words}");
    broken(slot, words::english(why), clock::now_us(), events);
}

/// The model behind a slot.
fn identity(slot: &Slot) -> Identity {
    Identity {
        model: slot.folder.model_name().to_owned(),
        version: slot.spec().map(|spec| spec.version.clone()).unwrap_or_default(),
        hash: slot.hash.clone(),
    }
}

/// A time in microseconds.
fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn emit_state(slot: &Slot, state: &str, verb: &str, why: &Text, now_us: i64, events: &Events) {
    let mut data = tell::data_of(&identity(slot));
    data["state"] = json!(state);
    data["why"] = json!(why.0);
    let text = format!("model {} {verb}: {}", slot.folder.model_name(), why.get("en"));
    events.emit(Event { kind: Kind::ModelState, edge_time: now_us, device: slot.path.clone(), text, data });
}

#[cfg(test)]
mod tests;
