//! The baseline on made-up machines: what it follows, and what it must not.

use std::time::Duration;

use super::*;
use crate::device::Text;
use crate::infer::detector::Detector;
use crate::infer::features::Prepare;
use crate::infer::fit::{Learning, learn};
use crate::infer::folder::Content;
use crate::infer::lag_pca::LagPca;
use crate::infer::reference::Reference;
use crate::infer::spec::{Input, Spec};

pub(in crate::infer) const TAGS: usize = 3;
const WINDOW: usize = 5;
/// Rows of training.
const TRAINING: usize = 1000;

/// Two tags that go with the load, and one that stands alone, all with mean 10 and deviation 1.
pub(in crate::infer) struct Machine {
    rng: fastrand::Rng,
}

impl Machine {
    fn new() -> Self {
        Self::seeded(11)
    }

    pub(in crate::infer) fn seeded(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed) }
    }

    /// About normal, deviation 1.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.rng.f64()).sum::<f64>() - 6.0
    }

    /// A row; `moved` deviations are added to the third tag, and the first has `own` of its own.
    #[allow(clippy::cast_possible_truncation)]
    pub(in crate::infer) fn row(&mut self, moved: f64, own: f64) -> [f32; TAGS] {
        let load = self.noise();
        let first = (1.0 - own) * load + own * self.noise() + 0.1 * self.noise();
        [first, load + 0.1 * self.noise(), self.noise() + moved].map(|value| (10.0 + value) as f32)
    }

    fn learned(&mut self) -> (LagPca, Reference) {
        let rows: Vec<f32> = (0..TRAINING).flat_map(|_| self.row(0.0, 0.0)).collect();
        learn(&rows, TAGS, WINDOW, Learning::default()).expect("it learns")
    }
}

/// Model and baseline without ONNX.
struct Live {
    model: LagPca,
    baseline: Baseline,
    rows: Vec<f32>,
}

impl Live {
    fn new(machine: &mut Machine) -> Self {
        let (model, reference) = machine.learned();
        Self { model, baseline: Baseline::new(reference, 1), rows: Vec::new() }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn push(&mut self, row: [f32; TAGS]) -> f32 {
        self.rows.extend(row);
        let excess = self.rows.len().saturating_sub(WINDOW * TAGS);
        self.rows.drain(..excess);
        if self.rows.len() < WINDOW * TAGS {
            return 0.0;
        }
        let mut window = self.rows.clone();
        self.baseline.correct(&mut window);
        let graph: Vec<f32> = self.model.contrib(&window).iter().map(|value| *value as f32).collect();
        self.baseline.take(&graph)
    }

    /// Share of `rows` rows over the limit.
    fn over(&mut self, machine: &mut Machine, rows: u32, moved: impl Fn(u32) -> f64) -> f64 {
        let over = (0..rows).filter(|row| self.push(machine.row(moved(*row), 0.0)) > 1.0).count();
        f64::from(u32::try_from(over).expect("few")) / f64::from(rows)
    }

    fn drift(&self, tag: usize) -> f64 {
        self.baseline.drift().nth(tag).expect("three tags")
    }
}

#[test]
fn slow_normal_change_is_followed_and_does_not_alarm() {
    let (mut machine, reach) = (Machine::new(), Learning::default().reach);
    let mut live = Live::new(&mut machine);
    let still = live.over(&mut machine, 2000, |_| 0.0);
    assert!(still < 0.002, "{still} without change");
    // Up to three quarters of the reach, then it stays there.
    let slow = live.over(&mut machine, 6000, |row| 0.75 * reach * f64::from(row).min(4000.0) / 4000.0);
    assert!(slow < 0.02, "{slow} of the rows while it moves slowly");
    assert!((0.5..1.0).contains(&live.drift(2)), "{}", live.drift(2));
    assert!(live.drift(0).abs() < 0.4, "the others stay where they were: {}", live.drift(0));
}

#[test]
fn a_slow_fault_is_found_at_the_latest_past_the_reach_and_is_never_learned() {
    let mut machine = Machine::new();
    let mut live = Live::new(&mut machine);
    let tag = live.baseline.reference.tags[2];
    // As slow as the drift above: every single step of it could be normal.
    let per_row = 0.75 * Learning::default().reach / 4000.0;
    let moved = |row: u32| per_row * f64::from(row);
    let mut found = None;
    for row in 0..20_000 {
        if live.push(machine.row(moved(row), 0.0)) > 1.0 && moved(row) > 0.75 * tag.reach {
            found = Some(row);
            break;
        }
    }
    let found = found.expect("it is found");
    let latest = tag.reach + tag.level_limit;
    assert!(moved(found) <= latest, "found at {} deviations of {latest}", moved(found));
    // The fault stays: it must alarm for as long as it does.
    let stays = moved(found) + 4.0;
    let after = live.over(&mut machine, 10_000, |_| stays);
    assert!(after > 0.99, "{after} of the rows while the fault stays");
    assert!(live.drift(2).abs() <= 1.0, "{}", live.drift(2));
}

#[test]
fn a_step_is_not_learned_and_a_person_can_accept_it() {
    let mut machine = Machine::new();
    let mut live = Live::new(&mut machine);
    live.over(&mut machine, 200, |_| 0.0);
    let before = live.drift(2);
    let stays = live.over(&mut machine, 10_000, |_| 5.0);
    assert!(stays > 0.99, "{stays} of the rows");
    assert!((live.drift(2) - before).abs() < 0.05, "what alarms is not followed");
    live.baseline.accept();
    assert_eq!(live.baseline.drift().collect::<Vec<_>>(), [0.0; TAGS], "the reach counts from here");
    let accepted = live.over(&mut machine, 3000, |_| 5.0);
    assert!(accepted < 0.01, "{accepted} of the rows after it was accepted");
    let back = live.over(&mut machine, 1000, |_| 0.0);
    assert!(back > 0.99, "and now the old level is not normal: {back}");
}

#[test]
fn a_correlation_that_is_lost_slowly_is_found() {
    let mut machine = Machine::new();
    let mut live = Live::new(&mut machine);
    live.over(&mut machine, 200, |_| 0.0);
    let mut over = 0;
    for row in 0..6000_u32 {
        // Mean and deviation of the tag hardly change; only that it goes with the load.
        let score = live.push(machine.row(0.0, (f64::from(row) / 3000.0).min(1.0)));
        over += u32::from(row >= 3000 && score > 1.0);
    }
    assert!(over > 2900, "{over} of the last 3000 rows");
}

#[test]
fn one_outlier_is_cut() {
    let mut machine = Machine::new();
    let mut live = Live::new(&mut machine);
    for _ in 0..100 {
        live.push(machine.row(0.0, 0.0));
    }
    let row = machine.row(1000.0, 0.0);
    let score = live.push(row);
    assert!(score < 3.0, "{score}");
    assert!(live.drift(2).abs() < 0.3, "{}", live.drift(2));
}

/// A model of it, with inputs `a`, `b` and `c` on a grid of a second.
pub(in crate::infer) fn content(machine: &mut Machine) -> Content {
    let (model, reference) = machine.learned();
    let spec = Spec {
        name: "made-up".into(),
        version: "1".into(),
        title: Text::plain("made up"),
        profile: String::new(),
        sample_interval: Duration::from_secs(1),
        window: WINDOW,
        stride: 1,
        smoothing: 1,
        threshold: 1.0,
        clear_below: 0.85,
        hold: Duration::from_secs(5),
        inputs: ["a", "b", "c"].map(|tag| Input { tag: tag.into(), look_at: Text::plain(tag) }).into(),
        prepare: Prepare::default(),
    };
    let windows: Vec<f32> = (0..WINDOW).flat_map(|_| machine.row(0.0, 0.0)).collect();
    let other: Vec<f32> = (0..WINDOW).flat_map(|_| machine.row(9.0, 1.0)).collect();
    model.content_with(spec, &[&windows, &other], Some(&reference))
}

#[test]
fn the_written_model_scores_as_the_fit_and_goes_on_after_a_restart() {
    let content = content(&mut Machine::new());
    let mut machine = Machine::new();
    let mut live = Live::new(&mut machine);
    let mut detector = Detector::load(&content).expect("it passes its gate");
    let moved = |row: u16| f64::from(row) / 600.0;
    let mut last = None;
    for row in 0..900 {
        let values = machine.row(moved(row), 0.0);
        last = detector.push(&values).expect("it runs");
        let expected = live.push(values);
        if let Some(score) = last {
            assert!((score - expected).abs() < 1e-3, "row {row}: {score} instead of {expected}");
        }
    }
    assert!(last.is_some());
    // A restart: the graph is loaded anew, the window fills anew, the baseline goes on.
    let saved = detector.drift_state().expect("it follows drift").to_json();
    let state = State::from_json(&saved).expect("it reads what it wrote");
    let mut restarted = Detector::load(&content).expect("it passes its gate");
    restarted.restore_drift(&state).expect("it is its own");
    detector.reset();
    for _ in 0..100 {
        let values = machine.row(moved(900), 0.0);
        let [before, after] = [&mut detector, &mut restarted].map(|d| d.push(&values).expect("it runs"));
        assert_eq!(before.is_some(), after.is_some());
        if let (Some(before), Some(after)) = (before, after) {
            assert!((before - after).abs() < 1e-5, "{before} and {after}");
        }
    }
}

#[test]
fn a_state_that_does_not_belong_or_cannot_be_is_refused() {
    let content = content(&mut Machine::new());
    let mut detector = Detector::load(&content).expect("it passes its gate");
    let state = detector.drift_state().expect("it follows drift");
    let mut refused = |change: &dyn Fn(&mut State)| {
        let mut state = state.clone();
        change(&mut state);
        detector.restore_drift(&state).expect_err("it is refused")
    };
    let other = refused(&|state| state.hash = "0".repeat(64));
    assert!(other.contains("another version"), "{other}");
    assert!(refused(&|state| state.forebay = 2).contains("format 2"));
    assert!(refused(&|state| _ = state.tags.pop()).contains("another version"));
    assert!(refused(&|state| state.tags[0].offset = 1e6).contains("not possible"));
    assert!(refused(&|state| state.tags[0].slow = f64::NAN).contains("not possible"));
    assert!(State::from_json("{\"forebay\":1}").is_err());
    assert_eq!(detector.drift_state(), Some(state), "nothing was taken over");
}

#[test]
fn a_reference_that_cannot_be_is_refused_before_it_scores() {
    let machine = &mut Machine::new();
    let (model, reference) = machine.learned();
    let good = content(machine);
    let mut refused = |change: &dyn Fn(&mut Reference)| {
        let mut reference = reference.clone();
        change(&mut reference);
        let window: Vec<f32> = (0..WINDOW).flat_map(|_| machine.row(0.0, 0.0)).collect();
        let bad = model.content_with(good.spec.clone(), &[&window, &window], Some(&reference));
        Detector::load(&bad).err().expect("it is refused").to_string()
    };
    assert!(refused(&|r| r.tags[1].deviation = 0.0).contains("tag 1"));
    assert!(refused(&|r| r.tags[2].offset = 99.0).contains("tag 2"));
    assert!(refused(&|r| _ = r.tags.pop()).contains("2 tags, the model has 3 inputs"));
    assert!(refused(&|r| r.follow = 0.0).contains("follow"));
    assert!(refused(&|r| r.forebay = 7).contains("format 7"));
}
