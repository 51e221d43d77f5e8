//! Drift without blindness: a baseline that follows slow normal change, within limits that a slow
//! fault cannot pass.
//!
//! One number a tag is all that adapts; scaling, components and limits stay as they were learned.
//! The baseline follows the level of a tag under three conditions: the tag is quiet (what alarms
//! is never learned), no faster than a few times what training showed, and never farther from the
//! frozen [`Reference`] than its reach. Past that the score rises, and a person accepts or looks.
//!
//! Three charts make the score, each with limit 1: the *level* of the window against the baseline,
//! what the *graph* says of the window without its baseline, and a *slow* average of the latter
//! that finds what is too small for one window.

use serde::{Deserialize, Serialize};

use super::reference::Reference;

/// Version of the saved state.
const FORMAT: u32 = 1;
/// From this share of its reach on a person is told of a baseline, so that they can look before it ends.
pub const TELL_FROM: f64 = 0.8;
/// They are told again only when it was below this share in between.
pub const TELL_AGAIN_BELOW: f64 = 0.6;

/// The baseline of one model on one device.
#[derive(Debug, Clone)]
pub struct Baseline {
    reference: Reference,
    /// Points of the grid from one score to the next.
    stride: f64,
    tags: Vec<TagState>,
    /// Mean of the last window from the baseline, outliers cut, in deviations.
    level: Vec<f64>,
    /// The same with its outliers, averaged over as many points as the baseline needs.
    recent: Vec<f64>,
    contrib: Vec<f32>,
    /// The same by how far each tag is off in deviations: what one tag does shows in the rest of those
    /// that move with it, and where their limits are narrow it shows more there.
    blame: Vec<f32>,
}

/// What was learned of a tag since training, in deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagState {
    /// What a person has accepted as the new normal, from the mean in training.
    pub accepted: f64,
    /// Baseline, from what was accepted.
    pub offset: f64,
    /// Slow chart, in contributions of the graph.
    pub slow: f64,
}

/// State of a baseline, for a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of this format, 1.
    pub forebay: u32,
    /// SHA-256 of the `model.onnx` it belongs to.
    pub hash: String,
    /// In the order of the graph.
    pub tags: Vec<TagState>,
}

impl State {
    /// As JSON.
    pub fn to_json(&self) -> String {
        // Plain numbers and a text: writing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`State::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

impl Baseline {
    /// As it was at the end of the training. `stride` is that of the model.
    #[allow(clippy::cast_precision_loss)] // at most 4096
    pub fn new(reference: Reference, stride: usize) -> Self {
        let count = reference.tags.len();
        let tags =
            reference.tags.iter().map(|tag| TagState { accepted: 0.0, offset: tag.offset, slow: tag.slow });
        let tags = tags.collect();
        let (level, contrib, blame) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        Self { reference, stride: stride as f64, tags, recent: level.clone(), level, contrib, blame }
    }

    /// Takes the baseline out of a window, in place: afterwards its values are about the means of
    /// the training, without outliers. Keeps the level for [`Baseline::take`].
    pub fn correct(&mut self, window: &mut [f32]) {
        let count = self.tags.len();
        #[allow(clippy::cast_precision_loss)] // at most 4096 rows
        let rows = (window.len() / count) as f64;
        for (number, (tag, state)) in self.reference.tags.iter().zip(&self.tags).enumerate() {
            let base = state.accepted + state.offset;
            let (mut sum, mut whole) = (0.0, 0.0);
            for value in window.iter_mut().skip(number).step_by(count) {
                let from_base = (f64::from(*value) - tag.mean) / tag.deviation - base;
                let cut = from_base.clamp(-tag.clip, tag.clip);
                #[allow(clippy::cast_possible_truncation)] // the graph computes in 32 bits
                let corrected = (tag.mean + tag.deviation * cut) as f32;
                *value = corrected;
                sum += cut;
                whole += from_base;
            }
            self.level[number] = sum / rows;
            let share = (self.stride / self.reference.follow).min(1.0);
            self.recent[number] += (whole / rows - self.recent[number]) * share;
        }
    }

    /// Takes the contributions the graph gave for the corrected window; gives the score, and moves
    /// the baseline.
    pub fn take(&mut self, graph: &[f32]) -> f32 {
        for (number, by_graph) in graph.iter().enumerate() {
            #[allow(clippy::cast_possible_truncation)] // a share of a limit
            let by_level = (self.level[number] / self.reference.tags[number].level_limit).abs() as f32;
            self.contrib[number] = by_level.max(*by_graph);
        }
        // While one tag alarms it moves the rest of the others too: that says nothing slow.
        let quiet = self.contrib.iter().all(|contrib| *contrib < 1.0);
        for (number, by_graph) in graph.iter().enumerate() {
            let (tag, state) = (&self.reference.tags[number], &mut self.tags[number]);
            if quiet {
                let share = (self.stride / self.reference.slow_follow).min(1.0);
                state.slow += (f64::from(*by_graph) - state.slow) * share;
            }
            #[allow(clippy::cast_possible_truncation)] // a share of a limit
            let by_slow = (state.slow / tag.slow_limit) as f32;
            // The slow chart stands near its limit by its nature: it closes the gate only over it.
            if f64::from(self.contrib[number]) < tag.gate && by_slow < 1.0 {
                let share = (self.stride / self.reference.follow).min(1.0);
                let rate = tag.rate * self.stride;
                let step = (self.level[number] * share).clamp(-rate, rate);
                state.offset = (state.offset + step).clamp(-tag.reach, tag.reach);
            }
            self.contrib[number] = self.contrib[number].max(by_slow);
        }
        let score = self.contrib.iter().copied().fold(0.0, f32::max);
        self.lay_blame(graph, score);
        score
    }

    /// Shares the score out: the largest share is the score itself.
    fn lay_blame(&mut self, graph: &[f32], score: f32) {
        for (number, (tag, state)) in self.reference.tags.iter().zip(&self.tags).enumerate() {
            let level = self.level[number].abs();
            let by_level = if level > tag.level_limit { level } else { 0.0 };
            let by_slow = if state.slow > tag.slow_limit { state.slow } else { 0.0 };
            let by_rest = f64::from(graph[number]).max(by_slow) * tag.rest_limit;
            #[allow(clippy::cast_possible_truncation)] // a few deviations
            let off = by_level.max(by_rest) as f32;
            self.blame[number] = off;
        }
        let most = self.blame.iter().copied().fold(0.0, f32::max);
        if most > 0.0 && self.reference.tags.iter().all(|tag| tag.rest_limit > 0.0) {
            self.blame.iter_mut().for_each(|off| *off *= score / most);
        } else {
            self.blame.copy_from_slice(&self.contrib);
        }
    }

    /// Contribution of each input to the last score; the largest is the score itself.
    #[allow(clippy::misnamed_getters)] // the charts are nobody else's business
    pub fn contrib(&self) -> &[f32] {
        &self.blame
    }

    /// How far the baseline of each input has moved, as a share of its reach: at 1 or -1 it moves
    /// no farther until a person accepts.
    pub fn drift(&self) -> impl Iterator<Item = f64> {
        let share = |(state, reach): (&TagState, f64)| if reach > 0.0 { state.offset / reach } else { 0.0 };
        self.tags.iter().zip(self.reference.tags.iter().map(|tag| tag.reach)).map(share)
    }

    /// A person says that what was measured of late is the new normal: the baselines stand where
    /// the tags were on average, and the reach is counted from there.
    pub fn accept(&mut self) {
        for (number, state) in self.tags.iter_mut().enumerate() {
            state.accepted += state.offset + self.recent[number];
            state.offset = 0.0;
            state.slow = self.reference.tags[number].slow;
            self.recent[number] = 0.0;
        }
    }

    /// What to keep for a restart. `hash` is that of the model.
    pub fn state(&self, hash: &str) -> State {
        State { forebay: FORMAT, hash: hash.to_owned(), tags: self.tags.clone() }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// It belongs to another model, or holds what cannot be; the baseline stays as it was.
    pub fn restore(&mut self, state: &State, hash: &str) -> Result<(), String> {
        if state.forebay != FORMAT {
            return Err(format!("format {}, {FORMAT} is needed", state.forebay));
        }
        if state.hash != hash || state.tags.len() != self.tags.len() {
            return Err("it belongs to another version of the model".into());
        }
        let possible = |(state, reach): (&TagState, f64)| {
            // Reading decimal digits may be off in the last of them.
            let within = state.offset.abs() <= reach * (1.0 + 1e-9);
            state.accepted.is_finite() && within && state.slow.is_finite()
        };
        if !state.tags.iter().zip(self.reference.tags.iter().map(|tag| tag.reach)).all(possible) {
            return Err("it holds a number that is not possible".into());
        }
        self.tags.clone_from(&state.tags);
        Ok(())
    }
}

#[cfg(test)]
pub(in crate::infer) mod tests;
