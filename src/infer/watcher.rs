//! One model on one device: takes the inputs on the grid, scores, and tells what changed.

use std::any::Any;
use std::sync::Arc;

use forebay_connector::Scalar;
use serde_json::{Value as Json, json};

use super::detector::{Alarm, Crossing, Detector};
use super::folder::Content;
use super::graph::GateError;
use super::predictions::{Now, Slot, State};
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

/// A model that runs on a device.
pub struct Watcher {
    slot: Arc<Slot>,
    twin: Arc<DeviceTwin>,
    inputs: Vec<InputTag>,
    detector: Detector,
    alarm: Alarm,
    row: Vec<f32>,
    suppressed: Option<Suppressed>,
    broken: bool,
}

/// Where an input is found.
struct InputTag {
    index: usize,
    age_max_us: i64,
}

/// Inputs are missing.
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
            (Ok((detector, inputs)), Some(twin)) => {
                let spec = slot.spec()?;
                let hold_us = i64::try_from(spec.hold.as_micros()).unwrap_or(i64::MAX);
                let alarm = Alarm::new(spec.threshold, spec.clear_below, hold_us);
                let row = vec![0.0; inputs.len()];
                Some(Self { slot, twin, inputs, detector, alarm, row, suppressed: None, broken: false })
            }
            (Ok(_), None) => None,
            (Err(why), _) => {
                broken(&slot, why, clock::now_us(), events);
                None
            }
        }
    }

    fn load(slot: &Slot, twin: Option<&DeviceTwin>) -> Result<(Detector, Vec<InputTag>), Text> {
        let content = slot.folder.content.as_ref();
        let content = content.map_err(|faults| {
            words::english(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let twin = twin.ok_or_else(|| words::no_device(&slot.device))?;
        let inputs = find_inputs(content, &twin.device)?;
        let detector = Detector::load(content)
            .map_err(|error| words::english(format!("{}: {error}", slot.folder.origin)))?;
        Ok((detector, inputs))
    }

    /// The next point of the grid, at `now_us` (microseconds since 1970 UTC).
    pub fn tick(&mut self, now_us: i64, events: &Events) {
        if self.broken {
            return;
        }
        match self.read(now_us) {
            Err((input, reason)) => self.suppress(input, reason, now_us, events),
            Ok(()) => match self.detector.push(&self.row) {
                Ok(score) => self.scored(score, now_us, events),
                // A wild value may do that; the next window need not.
                Err(GateError::NotFinite(_)) => self.suppress(0, Reason::NoScore, now_us, events),
                Err(error) => {
                    self.broken = true;
                    broken(&self.slot, words::english(error.to_string()), now_us, events);
                }
            },
        }
    }

    /// Points of the grid were missed: the window does not hold together any more.
    pub fn gap(&mut self, now_us: i64) {
        self.detector.reset();
        self.alarm.interrupt();
        let mut now = self.slot.now();
        now.missing = self.detector.missing();
        if matches!(now.state, State::Normal | State::Raised { .. }) {
            now.enter(State::Filling, now_us);
        }
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

    /// Fills `row` from the twin, or says which input is missing, and why.
    fn read(&mut self, now_us: i64) -> Result<(), (usize, Reason)> {
        let state = self.twin.state();
        if matches!(state.link, Link::Down { .. }) {
            return Err((0, Reason::Down));
        }
        for (number, (input, cell)) in self.inputs.iter().zip(&mut self.row).enumerate() {
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
                        continue;
                    }
                    _ => Reason::NotNumber,
                },
            };
            return Err((number, reason));
        }
        Ok(())
    }

    fn suppress(&mut self, input: usize, reason: Reason, now_us: i64, events: &Events) {
        self.detector.reset();
        self.alarm.interrupt();
        let Some(spec) = self.slot.spec() else { return };
        let tag = spec.inputs.get(input).map_or("", |input| &input.tag);
        let (since_us, told, changed) = match &self.suppressed {
            None => (now_us, false, true),
            Some(s) => (s.since_us, s.told, (s.input, s.reason) != (input, reason)),
        };
        if changed {
            let mut now = self.slot.now();
            now.state = State::Suppressed { why: words::suppressed(tag, reason) };
            now.since_us = since_us;
            now.missing = self.detector.missing();
        }
        let tell = !told && now_us.saturating_sub(since_us) >= SUPPRESSED_EVENT_US;
        if tell {
            let why = words::suppressed(tag, reason);
            emit_state(&self.slot, "suppressed", "does not watch", &why, now_us, events);
        }
        self.suppressed = Some(Suppressed { since_us, input, reason, told: told || tell });
    }

    fn scored(&mut self, score: Option<f32>, now_us: i64, events: &Events) {
        let slot = Arc::clone(&self.slot);
        let mut now = slot.now();
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
        let crossing = self.alarm.push(score, now_us);
        self.follow(&mut now, score, now_us);
        // Events are made of a copy: nobody waits for the lock while text is written.
        let contrib = crossing.map(|_| now.contrib.clone());
        drop(now);
        if self.suppressed.take().is_some_and(|suppressed| suppressed.told) {
            let why = both("all inputs are good again", "alle Eingänge sind wieder gut");
            emit_state(&self.slot, "scoring", "watches again", &why, now_us, events);
        }
        if let (Some(crossing), Some(contrib)) = (crossing, contrib) {
            emit_crossing(&self.slot, crossing, score, &contrib, now_us, events);
        }
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
        Ok(InputTag { index, age_max_us: scans_us.max(AGE_FLOOR_US) })
    };
    content.spec.inputs.iter().map(|input| find(&input.tag)).collect()
}

fn broken(slot: &Slot, why: Text, now_us: i64, events: &Events) {
    tracing::error!(device = %slot.path, model = slot.folder.model_name(), "model cannot run: {}", why.get("en"));
    slot.now().enter(State::Broken { why: why.clone() }, now_us);
    emit_state(slot, "broken", "cannot run", &why, now_us, events);
}

/// A panic of ours is the fault of one model only: it stops, the others go on.
pub(super) fn panicked(slot: &Slot, panic: &(dyn Any + Send), events: &Events) {
    let words = crate::panic::words(panic);
    let why = format!("a fault inside Forebay, please report it: {words}");
    broken(slot, words::english(why), clock::now_us(), events);
}

/// Whose event it is: model, version and hash stand in each.
fn identity(slot: &Slot, state: &str) -> Json {
    let version = slot.spec().map(|spec| spec.version.as_str()).unwrap_or_default();
    json!({ "model": slot.folder.model_name(), "version": version, "hash": slot.hash, "state": state })
}

fn emit_state(slot: &Slot, state: &str, verb: &str, why: &Text, now_us: i64, events: &Events) {
    let mut data = identity(slot, state);
    data["why"] = json!(why.0);
    let text = format!("model {} {verb}: {}", slot.folder.model_name(), why.get("en"));
    events.emit(Event { kind: Kind::ModelState, edge_time: now_us, device: slot.path.clone(), text, data });
}

fn emit_crossing(slot: &Slot, crossing: Crossing, score: f32, contrib: &[f32], now_us: i64, events: &Events) {
    let Some(spec) = slot.spec() else { return };
    let (state, title) = match crossing {
        Crossing::Raised => ("raised", spec.title.get("en")),
        Crossing::Cleared => ("cleared", "over"),
    };
    let look_at = words::look_at(spec, contrib);
    let largest = words::largest(spec, contrib);
    let text = match crossing {
        Crossing::Raised => format!(
            "{title}: score {score:.2}, limit {:.2}, for {} s. {} ({largest})",
            spec.threshold,
            spec.hold.as_secs_f32(),
            look_at.get("en"),
        ),
        Crossing::Cleared => {
            format!("{} is {title}: score {score:.2}, below {:.2}", spec.title.get("en"), spec.clear_below)
        }
    };
    let shares = words::shares(spec, contrib).into_iter();
    let mut data = identity(slot, state);
    data["score"] = json!(score);
    data["threshold"] = json!(spec.threshold);
    data["contributions"] = shares.map(|(tag, share)| json!({ "tag": tag, "share": share })).collect();
    data["look_at"] = json!(look_at.0);
    events.emit(Event { kind: Kind::Prediction, edge_time: now_us, device: slot.path.clone(), text, data });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::folder::Folder;
    use super::super::{Binding, Gridded, watch};
    use super::*;
    use crate::poll::testing::{device, tag};
    use crate::twin::Twin;

    #[test]
    fn a_panic_outside_the_graph_breaks_one_model_and_the_others_go_on() {
        let folder = Arc::new(Folder::built_in().remove(0));
        let inputs = &folder.content.as_ref().unwrap().spec.inputs;
        let device = device((0..).zip(inputs).map(|(raw, input)| tag(&input.tag, raw)).collect());
        let (name, twin) = (device.name.clone(), Twin::new(&[device]));
        let (events, mut received) = Events::new();
        let start = || {
            let binding = Binding { folder: Arc::clone(&folder), device: name.clone() };
            let (watcher, predictions) = watch(binding, "Works1/box", &twin, &events);
            let interval = Duration::from_millis(500);
            let (slot, watcher) = (Arc::clone(&predictions.slots()[0]), watcher.unwrap());
            (Gridded { slot, watcher, interval, next: Instant::now() }, predictions)
        };
        let ((mut faulty, faulty_says), (mut other, other_says)) = (start(), start());
        // A row that does not fit the window.
        faulty.watcher.row = Vec::new();
        faulty.advance_guarded(&events);
        other.advance_guarded(&events);
        assert!(!faulty.watcher.is_running());
        let State::Broken { why } = faulty_says.list().remove(0).state else { panic!("still runs") };
        assert!(why.get("en").contains("a fault inside Forebay, please report it: "), "{why:?}");
        let event = received.try_recv().unwrap();
        assert_eq!((event.kind, &event.data["state"]), (Kind::ModelState, &json!("broken")));
        assert!(other.watcher.is_running());
        assert!(matches!(other_says.list().remove(0).state, State::Suppressed { .. }));
    }
}
