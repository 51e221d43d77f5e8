//! Learning what is normal from rows of normal running: the graph and the reference for its
//! baseline. `docs/models.md` says what each step is for.

use super::covariance::Covariance;
use super::lag_pca::{FitError, LagPca, Scaled, Score, components, left_over_into};
use super::reference::{Reference, TagReference};

/// Parts the training is cut in, to see how far a tag wanders from one to the next.
const BLOCKS: usize = 10;
/// Most windows the components and limits are learned from; more say nothing new.
const WINDOWS_MAX: usize = 8192;

/// How a model is learned. Chosen on SKAB valve1, on a plateau; the same for all data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learning {
    /// Points of the grid in which the baseline goes most of the way to a new level.
    pub follow: f64,
    /// The level limit is this times the largest distance of level and baseline in training …
    pub level_margin: f64,
    /// … the limit of the rest this times the largest rest …
    pub rest_margin: f64,
    /// … and that of its slow average this times the largest average.
    pub slow_margin: f64,
    /// A tag that wandered in training gets limits wider by up to this.
    pub wander_margin: f64,
    /// The baseline moves at most this times as fast as the blocks of the training did.
    pub rate: f64,
    /// Reach of the baseline of a tag that stood still in training, in deviations …
    pub reach: f64,
    /// … and what is added for one that wandered.
    pub wander_reach: f64,
    /// The baseline of a tag that stood still follows only below this contribution.
    pub gate: f64,
    /// Values farther from the baseline than this, in deviations, count as this.
    pub clip: f64,
    /// Share of the variance that the components explain.
    pub explained: f64,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            follow: 100.0,
            level_margin: 1.2,
            rest_margin: 1.5,
            slow_margin: 1.3,
            wander_margin: 3.0,
            rate: 3.0,
            reach: 2.0,
            wander_reach: 8.0,
            gate: 0.6,
            clip: 3.0,
            explained: 0.8,
        }
    }
}

/// Smallest level that counts as the largest of the training: a constant tag has no distance.
const LEVEL_MIN: f64 = 0.2;
/// A level this many times over its limit is not cut.
const CLIP_OVER_LIMIT: f64 = 1.5;

/// Learns from rows of normal running, each with `tags` values, for windows of `window` rows.
///
/// # Errors
/// [`FitError`].
pub fn learn(
    rows: &[f32],
    tags: usize,
    window: usize,
    learning: Learning,
) -> Result<(LagPca, Reference), FitError> {
    learn_runs(rows, tags, window, &[], learning)
}

/// As [`learn`]; before each of these rows, in rising order, something was left out: no window reaches
/// over it.
///
/// # Errors
/// [`FitError`].
pub fn learn_runs(
    rows: &[f32],
    tags: usize,
    window: usize,
    breaks: &[usize],
    learning: Learning,
) -> Result<(LagPca, Reference), FitError> {
    let needed = (window * 4).max(BLOCKS * 4);
    let Scaled { mean, deviation, values: scaled } = Scaled::new(rows, tags, window, needed)?;
    let count = scaled.len() / tags;
    let mut training = Training::new(scaled, tags, window, learning);
    let level_max = training.follow(breaks);
    if training.starts.len() < BLOCKS * 4 {
        return Err(FitError::TooFew { rows: training.starts.len(), needed: BLOCKS * 4 });
    }
    let (early, mut late) = training.halves();
    let rests = training.rests(&early, &late);
    let slow_follow = to_f64(count) / 6.0;
    let (rest_max, slow, slow_max) = rests.limits(slow_follow);
    let mut limits = Vec::with_capacity(tags);
    let mut references = Vec::with_capacity(tags);
    for tag in 0..tags {
        let wander = training.wander[tag];
        let wide = 1.0 + learning.wander_margin * wander * wander;
        let level_limit = learning.level_margin * wide * level_max[tag].max(LEVEL_MIN);
        // A tag that never moved leaves nothing; then any rest is too much.
        let limit = (learning.rest_margin * wide * rest_max[tag]).max(1e-6);
        let reach = learning.reach + learning.wander_reach * wander;
        limits.push(limit);
        references.push(TagReference {
            mean: mean[tag],
            deviation: deviation[tag],
            level_limit,
            clip: learning.clip.max(CLIP_OVER_LIMIT * level_limit),
            rate: training.rate[tag],
            reach,
            gate: learning.gate + (1.0 - learning.gate) * wander * wander,
            rest_limit: limit,
            slow_limit: (learning.slow_margin * wide * slow_max[tag] / limit).max(1e-6),
            offset: training.base[tag].clamp(-reach, reach),
            slow: slow[tag] / limit,
        });
    }
    late.add(&early);
    let components = components(late, window * tags, learning.explained);
    let model = LagPca { mean, deviation, components, limits, score: Score::Largest, window };
    Ok((model, Reference::new(learning.follow, slow_follow, references)))
}

/// Rows of the training and the baseline that ran through them.
struct Training {
    scaled: Vec<f64>,
    tags: usize,
    window: usize,
    learning: Learning,
    /// Mean of each block, tag by tag.
    blocks: Vec<Vec<f64>>,
    /// How much each tag wanders: share of its variance that is between blocks, at most 1.
    wander: Vec<f64>,
    /// Farthest the baseline of each tag moves from row to row.
    rate: Vec<f64>,
    /// Baseline of each tag; after [`Training::follow`] that of the last row.
    base: Vec<f64>,
    /// First row that has a window and a baseline.
    first: usize,
    /// Windows that are learned from: first row of each …
    starts: Vec<usize>,
    /// … and the baseline at its last row, tag by tag.
    bases: Vec<f64>,
}

impl Training {
    fn new(scaled: Vec<f64>, tags: usize, window: usize, learning: Learning) -> Self {
        let count = scaled.len() / tags;
        let length = count / BLOCKS;
        let blocks: Vec<Vec<f64>> =
            scaled.chunks_exact(length * tags).take(BLOCKS).map(|block| means(block, tags)).collect();
        let by_tag = |tag: usize| blocks.iter().map(move |means| means[tag]);
        let wander = (0..tags).map(|tag| variance(by_tag(tag)).min(1.0)).collect();
        let range = |tag: usize| by_tag(tag).fold(f64::MIN, f64::max) - by_tag(tag).fold(f64::MAX, f64::min);
        let rate = (0..tags).map(|tag| learning.rate * range(tag) / to_f64(count)).collect();
        let base = blocks[0].clone();
        let first = length.max(window - 1);
        let (starts, bases) = Default::default();
        Self { scaled, tags, window, learning, wander, rate, base, first, blocks, starts, bases }
    }

    fn count(&self) -> usize {
        self.scaled.len() / self.tags
    }

    /// Lets the baseline run through the training as it will run live, always open. Gives the
    /// largest distance of level and baseline of each tag.
    fn follow(&mut self, mut breaks: &[usize]) -> Vec<f64> {
        self.base.clone_from(&self.blocks[0]);
        let step = (self.count() - self.first).div_ceil(WINDOWS_MAX);
        let (mut largest, mut level) = (vec![0.0_f64; self.tags], vec![0.0; self.tags]);
        for row in self.first..self.count() {
            let start = row + 1 - self.window;
            breaks = &breaks[breaks.partition_point(|at| *at <= start)..];
            if breaks.first().is_some_and(|at| *at <= row) {
                continue;
            }
            if (row - self.first).is_multiple_of(step) {
                self.starts.push(start);
                self.bases.extend_from_slice(&self.base);
            }
            self.level(start, &mut level);
            for tag in 0..self.tags {
                largest[tag] = largest[tag].max(level[tag].abs());
                let rate = self.rate[tag];
                self.base[tag] += (level[tag] / self.learning.follow).clamp(-rate, rate);
            }
        }
        largest
    }

    /// Mean of each tag in a window, less the baseline and without outliers.
    fn level(&self, start: usize, level: &mut [f64]) {
        let clip = self.learning.clip;
        level.fill(0.0);
        for row in self.rows(start).chunks_exact(self.tags) {
            for ((level, value), base) in level.iter_mut().zip(row).zip(&self.base) {
                *level += cut(value - base, clip);
            }
        }
        let count = to_f64(self.window);
        level.iter_mut().for_each(|level| *level /= count);
    }

    fn rows(&self, start: usize) -> &[f64] {
        &self.scaled[start * self.tags..(start + self.window) * self.tags]
    }

    /// A window that is learned from, without its baseline and without outliers, laid flat.
    fn flat(&self, number: usize, into: &mut [f64]) {
        let (clip, base) = (self.learning.clip, &self.bases[number * self.tags..(number + 1) * self.tags]);
        let rows = self.rows(self.starts[number]).chunks_exact(self.tags);
        for (row, into) in rows.zip(into.chunks_exact_mut(self.tags)) {
            for ((into, value), base) in into.iter_mut().zip(row).zip(base) {
                *into = cut(value - base, clip);
            }
        }
    }

    fn covariance(&self, windows: std::ops::Range<usize>) -> Covariance {
        let mut covariance = Covariance::new(self.window * self.tags);
        windows.for_each(|number| covariance.push(|into| self.flat(number, into)));
        covariance
    }

    /// Of the first and of the second half of the windows: nearly half of all the work is here.
    fn halves(&self) -> (Covariance, Covariance) {
        let (count, half) = (self.starts.len(), self.starts.len() / 2);
        side_by_side(|| self.covariance(0..half), || self.covariance(half..count))
    }

    /// What the components leave over, window by window. Each half of the windows is measured with
    /// the components of the other: what was fitted would look better than what will come.
    fn rests(&self, early: &Covariance, late: &Covariance) -> Rests {
        let (count, half) = (self.starts.len(), self.starts.len() / 2);
        let width = self.window * self.tags;
        let of = |half: &Covariance| components(half.clone(), width, self.learning.explained);
        let (early, late) = side_by_side(|| of(early), || of(late));
        let (mut flat, mut rest) = (vec![0.0; width], vec![0.0; width]);
        let mut by_window = vec![0.0; count * self.tags];
        for (number, means) in by_window.chunks_exact_mut(self.tags).enumerate() {
            self.flat(number, &mut flat);
            left_over_into(if number < half { &late } else { &early }, &flat, &mut rest, means);
        }
        let step = (self.count() - self.first).div_ceil(WINDOWS_MAX);
        Rests { by_window, tags: self.tags, step: to_f64(step) }
    }
}

/// Does both at a time.
fn side_by_side<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T) -> (T, T) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

/// At most so far from 0. Written so that it becomes two instructions for several values at once.
fn cut(value: f64, most: f64) -> f64 {
    let value = if value > most { most } else { value };
    if value < -most { -most } else { value }
}

/// What is left over, for each window and tag.
struct Rests {
    by_window: Vec<f64>,
    tags: usize,
    /// Rows from one window to the next.
    step: f64,
}

impl Rests {
    /// By tag: the largest, the mean, and the largest of the slow average.
    fn limits(&self, slow_follow: f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let tags = self.tags;
        let count = to_f64(self.by_window.len() / tags);
        let mut largest = vec![0.0_f64; tags];
        let mut mean = vec![0.0; tags];
        for rest in self.by_window.chunks_exact(tags) {
            for tag in 0..tags {
                largest[tag] = largest[tag].max(rest[tag]);
                mean[tag] += rest[tag] / count;
            }
        }
        let (mut slow, mut slow_max) = (mean.clone(), mean.clone());
        let share = (self.step / slow_follow).min(1.0);
        for rest in self.by_window.chunks_exact(tags) {
            for tag in 0..tags {
                slow[tag] += (rest[tag] - slow[tag]) * share;
                slow_max[tag] = slow_max[tag].max(slow[tag]);
            }
        }
        (largest, mean, slow_max)
    }
}

/// Mean of each tag.
fn means(rows: &[f64], tags: usize) -> Vec<f64> {
    let count = to_f64(rows.len() / tags);
    let mut means = vec![0.0; tags];
    for row in rows.chunks_exact(tags) {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
    }
    means
}

/// Variance of a sample.
fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = to_f64(values.clone().count());
    let mean = values.clone().sum::<f64>() / count;
    values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)
}

#[allow(clippy::cast_precision_loss)] // rows in memory are far below 2^53
fn to_f64(count: usize) -> f64 {
    count as f64
}
