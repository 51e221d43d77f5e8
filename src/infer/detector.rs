//! From rows of values to a smoothed score, and from scores to a prediction.
//!
//! The same code runs live and in `forebay evaluate`.

use super::adapt::{Baseline, State};
use super::features::Features;
use super::folder::Content;
use super::graph::{GateError, Graph};
use super::reference::Reference;

/// A loaded model with its window: takes one row for each point of the grid.
pub struct Detector {
    /// What is made of a row before it enters the window.
    features: Option<Features>,
    /// Contributions of the features, summed up by input.
    by_input: Vec<f32>,
    graph: Graph,
    /// Follows slow normal change, of a model that was learned with a reference.
    baseline: Option<Baseline>,
    window: Window,
    median: Median,
    stride: usize,
    until_score: usize,
}

impl Detector {
    /// Loads a model; it must pass its gate.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn load(content: &Content) -> Result<Self, GateError> {
        let spec = &content.spec;
        let graph = Graph::load(content)?;
        let reference = Reference::read(&content.onnx, graph.contrib().len()).map_err(GateError::Load)?;
        Ok(Self {
            features: Features::new(&spec.prepare, spec.inputs.len()),
            by_input: vec![0.0; spec.inputs.len()],
            graph,
            baseline: reference.map(|reference| Baseline::new(reference, spec.stride)),
            window: Window::new(spec.window, spec.columns()),
            median: Median::new(spec.smoothing),
            stride: spec.stride,
            until_score: 0,
        })
    }

    /// Takes the row of the next point of the grid, one value for each input. Gives the smoothed
    /// score, or `None` while the window is filling and between two strides.
    ///
    /// # Errors
    /// [`GateError`], after which the model is to be given up.
    pub fn push(&mut self, row: &[f32]) -> Result<Option<f32>, GateError> {
        if !self.enter(row) {
            return Ok(None);
        }
        if !self.window.is_full() {
            return Ok(None);
        }
        if self.until_score > 0 {
            self.until_score -= 1;
            return Ok(None);
        }
        self.until_score = self.stride - 1;
        let (window, baseline) = (&self.window, &mut self.baseline);
        self.graph.run(|input| {
            window.copy_to(input);
            baseline.iter_mut().for_each(|baseline| baseline.correct(input));
        })?;
        let score = match baseline {
            Some(baseline) => baseline.take(self.graph.contrib()),
            None => self.graph.score(),
        };
        let contrib = baseline.as_ref().map_or_else(|| self.graph.contrib(), Baseline::contrib);
        match &self.features {
            None => self.by_input.copy_from_slice(contrib),
            Some(features) => features.by_input(contrib, &mut self.by_input),
        }
        Ok(Some(self.median.push(score)))
    }

    /// Brings a row, or what is made of it, into the window; false while features are filling.
    fn enter(&mut self, row: &[f32]) -> bool {
        let row = match &mut self.features {
            None => Some(row),
            Some(features) => features.push(row),
        };
        if let Some(row) = row {
            self.window.push(row);
        }
        row.is_some()
    }

    /// True when the next row brings a score.
    pub fn is_due(&self) -> bool {
        self.missing() <= 1 && self.until_score == 0
    }

    /// Takes a row as [`Detector::push`] does, and leaves its score out.
    pub fn pass(&mut self, row: &[f32]) {
        if self.enter(row) && self.window.is_full() {
            self.until_score = self.until_score.checked_sub(1).unwrap_or(self.stride - 1);
        }
    }

    /// Begins with the window of another model that takes the same inputs on the same grid. Its scores
    /// are not taken: they mean something else.
    pub fn take_over(&mut self, before: &Self) {
        self.reset();
        self.features.clone_from(&before.features);
        before.window.rows().for_each(|row| self.window.push(row));
    }

    /// Forgets the window and the last scores: what comes next does not follow what was.
    pub fn reset(&mut self) {
        if let Some(features) = &mut self.features {
            features.reset();
        }
        self.window.clear();
        self.median.clear();
        self.until_score = 0;
    }

    /// Points of the grid that are still missing in the window.
    pub fn missing(&self) -> usize {
        let before = self.features.as_ref().map_or(0, |features| features.missing().saturating_sub(1));
        before + self.window.length - self.window.filled
    }

    /// Contribution of each input to the last score.
    pub fn contrib(&self) -> &[f32] {
        &self.by_input
    }

    /// How long the machine will last, of a model that says so: at least, probably, at most.
    pub fn remaining(&self) -> Option<[f32; 3]> {
        self.graph.remaining()
    }

    /// The baseline of a model that follows slow change.
    pub fn baseline(&mut self) -> Option<&mut Baseline> {
        self.baseline.as_mut()
    }

    /// Puts into `used` how much of its reach the baseline of each input has used up, 0 to 1; of an input
    /// with several features the most. Empty where the model follows no drift.
    pub fn reach_used(&self, used: &mut Vec<f64>) {
        used.clear();
        let Some(baseline) = &self.baseline else { return };
        used.resize(self.by_input.len(), 0.0);
        for (column, drift) in baseline.drift().enumerate() {
            let input = self.features.as_ref().map_or(column, |features| features.input(column));
            used[input] = used[input].max(drift.abs());
        }
    }

    /// What the model has learned since training, to be kept for a restart.
    pub fn drift_state(&self) -> Option<State> {
        self.baseline.as_ref().map(|baseline| baseline.state(self.graph.hash()))
    }

    /// Goes on from what was kept.
    ///
    /// # Errors
    /// It belongs to another model; then the baseline is that of the training.
    pub fn restore_drift(&mut self, state: &State) -> Result<(), String> {
        match &mut self.baseline {
            Some(baseline) => baseline.restore(state, self.graph.hash()),
            None => Err("the model follows no drift".into()),
        }
    }

    /// SHA-256 of `model.onnx` in hexadecimal digits.
    pub fn hash(&self) -> &str {
        self.graph.hash()
    }
}

/// The last rows, in a ring that is allocated once.
struct Window {
    values: Vec<f32>,
    inputs: usize,
    length: usize,
    filled: usize,
    /// Row that is written next; when full it is the oldest.
    next: usize,
}

impl Window {
    fn new(length: usize, inputs: usize) -> Self {
        Self { values: vec![0.0; length * inputs], inputs, length, filled: 0, next: 0 }
    }

    fn push(&mut self, row: &[f32]) {
        let start = self.next * self.inputs;
        self.values[start..start + self.inputs].copy_from_slice(row);
        self.next = (self.next + 1) % self.length;
        self.filled = (self.filled + 1).min(self.length);
    }

    fn is_full(&self) -> bool {
        self.filled == self.length
    }

    fn clear(&mut self) {
        (self.filled, self.next) = (0, 0);
    }

    /// What it holds, oldest row first.
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let first = (self.next + self.length - self.filled) % self.length;
        let rows = (0..self.filled).map(move |at| (first + at) % self.length * self.inputs);
        rows.map(|start| &self.values[start..start + self.inputs])
    }

    /// Copies the full window, oldest row first.
    fn copy_to(&self, input: &mut [f32]) {
        let (newer, older) = self.values.split_at(self.next * self.inputs);
        let (first, last) = input.split_at_mut(older.len());
        first.copy_from_slice(older);
        last.copy_from_slice(newer);
    }
}

/// Longest median.
const MEDIAN_MAX: usize = 9;

/// Median of the last scores: one outlier says nothing.
struct Median {
    last: [f32; MEDIAN_MAX],
    length: usize,
    count: usize,
}

impl Median {
    fn new(length: usize) -> Self {
        Self { last: [0.0; MEDIAN_MAX], length: length.clamp(1, MEDIAN_MAX), count: 0 }
    }

    /// Of as many as there are until enough have come.
    fn push(&mut self, score: f32) -> f32 {
        self.last[self.count % self.length] = score;
        self.count += 1;
        let known = self.count.min(self.length);
        let mut sorted = self.last;
        let sorted = &mut sorted[..known];
        sorted.sort_by(f32::total_cmp);
        (sorted[(known - 1) / 2] + sorted[known / 2]) / 2.0
    }

    fn clear(&mut self) {
        self.count = 0;
    }
}

/// What became of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// The score has stayed over the threshold for the hold time.
    Raised,
    /// The score has stayed below the lower limit for the hold time.
    Cleared,
}

/// Threshold with hold time and hysteresis: each crossing is told once.
#[derive(Debug, Clone)]
pub struct Alarm {
    threshold: f32,
    clear_below: f32,
    hold_us: i64,
    raised_us: Option<i64>,
    /// Since when the score has been on the other side.
    crossing_us: Option<i64>,
}

impl Alarm {
    /// Not raised. `clear_below` is at most `threshold`; `hold_us` in microseconds.
    pub fn new(threshold: f32, clear_below: f32, hold_us: i64) -> Self {
        Self { threshold, clear_below, hold_us, raised_us: None, crossing_us: None }
    }

    /// Takes a score and its time in microseconds.
    pub fn push(&mut self, score: f32, now_us: i64) -> Option<Crossing> {
        let crossing = match self.raised_us {
            None => score > self.threshold,
            Some(_) => score < self.clear_below,
        };
        if !crossing {
            self.crossing_us = None;
            return None;
        }
        // A clock that was set back must not hold it up.
        let since_us = self.crossing_us.map_or(now_us, |since_us| since_us.min(now_us));
        self.crossing_us = Some(since_us);
        if now_us.saturating_sub(since_us) < self.hold_us {
            return None;
        }
        self.crossing_us = None;
        if self.raised_us.take().is_some() {
            return Some(Crossing::Cleared);
        }
        self.raised_us = Some(now_us);
        Some(Crossing::Raised)
    }

    /// Goes on with a prediction that is raised.
    pub fn take_over(&mut self, before: &Self) {
        (self.raised_us, self.crossing_us) = (before.raised_us, None);
    }

    /// It is raised since then, as was remembered of an earlier run.
    pub fn resume(&mut self, raised_us: i64) {
        self.raised_us = Some(raised_us);
    }

    /// There are no scores for a while: a raised prediction stays, a begun crossing is forgotten.
    pub fn interrupt(&mut self) {
        self.crossing_us = None;
    }

    /// Since when the prediction is raised, in microseconds.
    pub fn raised_us(&self) -> Option<i64> {
        self.raised_us
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_is_read_oldest_first() {
        let mut window = Window::new(3, 2);
        for row in 0..5_u8 {
            window.push(&[f32::from(row), f32::from(row) + 0.5]);
            assert_eq!(window.is_full(), row >= 2);
        }
        let mut input = [0.0; 6];
        window.copy_to(&mut input);
        assert!(
            input.iter().zip([2.0, 2.5, 3.0, 3.5, 4.0, 4.5]).all(|(a, b)| (a - b).abs() < 1e-6),
            "{input:?}"
        );
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let mut median = Median::new(5);
        let scores: Vec<f32> =
            [1.0, 1.0, 90.0, 1.0, 1.0, 2.0].iter().map(|score| median.push(*score)).collect();
        assert!(scores.iter().all(|score| *score <= 1.0), "{scores:?}");
    }

    #[test]
    fn a_crossing_must_last_and_is_told_once() {
        let mut alarm = Alarm::new(1.0, 0.8, 3);
        let told: Vec<_> = [1.1, 1.1, 0.9, 1.1, 1.1, 1.1, 1.1, 1.2, 0.9, 0.7, 0.7, 0.9, 0.7, 0.7, 0.7, 0.7]
            .iter()
            .enumerate()
            .filter_map(|(at, score)| Some((at, alarm.push(*score, i64::try_from(at).ok()?)?)))
            .collect();
        assert_eq!(told, [(6, Crossing::Raised), (15, Crossing::Cleared)]);
    }

    proptest! {
            /// Whatever the scores: raised and cleared alternate, and each is earned.
            #[test]
            fn crossings_alternate(scores in prop::collection::vec(0.0_f32..2.0, 0..200), hold in 0_i64..6) {
                let mut alarm = Alarm::new(1.0, 0.8, hold);
                let mut raised = false;
                let (mut over, mut under) = (0_i64, 0_i64);
                for (at, score) in (0_i64..).zip(scores) {
                    over = if score > 1.0 { over + 1 } else { 0 };
                    under = if score < 0.8 { under + 1 } else { 0 };
                    match alarm.push(score, at) {
                        Some(Crossing::Raised) => {
                            prop_assert!(!raised && over > hold);
                            raised = true;
                        }
                        Some(Crossing::Cleared) => {
                            prop_assert!(raised && under > hold);
                            raised = false;
                        }
                        None => {
     let lasted = if raised { under } else { over };
     prop_assert!(lasted <= hold);
    }
                    }
                    prop_assert_eq!(alarm.raised_us().is_some(), raised);
                }
            }
        }
}
