//! The default model, fitted on the box: principal components of windows ("lag-PCA").
//!
//! A window of all tags is scaled and laid flat. What the first components of normal running
//! explain is taken away; the mean of what is left over, by tag, is the contribution, their sum the
//! score. `models/press-wear/train.py` does the same in Python.

use super::covariance::Covariance;
use super::eigen::{dot, eigen};
use super::folder::Content;
use super::golden::{Case, Golden};
use super::onnx;
use super::reference::Reference;
use super::spec::Spec;

/// How a model is fitted. The defaults were chosen on SKAB valve1 and are not tuned to any file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Share of the variance that counts as normal.
    pub explained: f64,
    /// This quantile of the scores in normal running …
    pub quantile: f64,
    /// … times this is the limit. The score is divided by it, so that 1 is the limit.
    pub margin: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { explained: 0.8, quantile: 0.99, margin: 1.33 }
    }
}

/// Why a model cannot be fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Not enough to learn from.
    #[error("{rows} rows of normal running, at least {needed} are needed")]
    TooFew {
        /// Rows given.
        rows: usize,
        /// Rows needed.
        needed: usize,
    },
    /// A value that is no number.
    #[error("row {row} holds a value that is not finite")]
    NotFinite {
        /// Counted from 0.
        row: usize,
    },
}

/// How contributions make a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// Their sum: all limits are the limit of the sum.
    Sum,
    /// The largest of them: each tag has a limit of its own.
    Largest,
}

impl Score {
    fn of<T: Copy + Into<f64>>(self, contrib: &[T]) -> f64 {
        let contrib = contrib.iter().map(|value| (*value).into());
        match self {
            Self::Sum => contrib.sum(),
            Self::Largest => contrib.fold(0.0, f64::max),
        }
    }
}

/// A fitted model, 64 bits wide.
#[derive(Debug, Clone)]
pub struct LagPca {
    /// Mean of each tag.
    pub mean: Vec<f64>,
    /// Standard deviation of each tag.
    pub deviation: Vec<f64>,
    /// Components one after another, each `window * tags` long.
    pub components: Vec<f64>,
    /// Limits the contributions are divided by, one for each tag, so that 1 is the limit.
    pub limits: Vec<f64>,
    /// How the contributions make the score.
    pub score: Score,
    /// Points of the grid in a window.
    pub window: usize,
}

impl LagPca {
    /// Fits a model on rows of normal running, each with `tags` values.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn fit(rows: &[f32], tags: usize, window: usize, settings: Settings) -> Result<Self, FitError> {
        let Scaled { mean, deviation, values: scaled } = Scaled::new(rows, tags, window, window * 4)?;
        let width = window * tags;
        let flat = || scaled.windows(width).step_by(tags);
        let mut covariance = Covariance::new(width);
        flat().for_each(|window| covariance.push(|into| into.copy_from_slice(window)));
        let components = components(covariance, width, settings.explained);
        let (limits, score) = (vec![1.0; tags], Score::Sum);
        let mut model = Self { mean, deviation, components, limits, score, window };
        let mut scores: Vec<f64> = flat().map(|scaled| model.left_over(scaled).iter().sum()).collect();
        model.limits.fill(quantile(&mut scores, settings.quantile) * settings.margin);
        Ok(model)
    }

    /// Contribution of each tag for one window, oldest row first: what the ONNX graph computes,
    /// in 64 bits and without it.
    pub fn contrib(&self, window: &[f32]) -> Vec<f64> {
        let tags = self.mean.len();
        let scale =
            |(i, value): (usize, &f32)| (f64::from(*value) - self.mean[i % tags]) / self.deviation[i % tags];
        let scaled: Vec<f64> = window.iter().enumerate().map(scale).collect();
        self.left_over(&scaled).iter().zip(&self.limits).map(|(mean, limit)| mean / limit).collect()
    }

    fn left_over(&self, scaled: &[f64]) -> Vec<f64> {
        left_over(&self.components, scaled, self.mean.len())
    }

    /// The model as the content of a folder: ONNX, and golden cases from `windows` (each flat,
    /// oldest row first) computed without ONNX.
    pub fn content(&self, spec: Spec, windows: &[&[f32]]) -> Content {
        self.content_with(spec, windows, None)
    }

    /// As [`LagPca::content`], with the reference its baseline moves about.
    pub fn content_with(&self, spec: Spec, windows: &[&[f32]], reference: Option<&Reference>) -> Content {
        #[allow(clippy::cast_possible_truncation)] // outputs are compared as 32-bit numbers
        let case = |(number, window): (usize, &&[f32])| {
            let contrib: Vec<f32> = self.contrib(window).iter().map(|value| *value as f32).collect();
            Case {
                name: format!("window {number}"),
                window: window.chunks_exact(self.mean.len()).map(<[f32]>::to_vec).collect(),
                score: self.score.of(&contrib) as f32,
                contrib,
                remaining: None,
            }
        };
        let golden = Golden { tolerance: 1e-3, cases: windows.iter().enumerate().map(case).collect() };
        Content { spec, golden, onnx: onnx::write(self, reference) }
    }
}

/// Mean size, by tag, of what the components do not explain of a scaled window laid flat.
pub(super) fn left_over(components: &[f64], scaled: &[f64], tags: usize) -> Vec<f64> {
    let (mut rest, mut means) = (scaled.to_vec(), vec![0.0; tags]);
    left_over_into(components, scaled, &mut rest, &mut means);
    means
}

/// As [`left_over`], into `means`, one for each tag; `rest` is room as long as the window.
pub(super) fn left_over_into(components: &[f64], scaled: &[f64], rest: &mut [f64], means: &mut [f64]) {
    rest.copy_from_slice(scaled);
    for component in components.chunks_exact(scaled.len()) {
        let share = dot(component, scaled);
        rest.iter_mut().zip(component).for_each(|(rest, c)| *rest -= share * c);
    }
    means.fill(0.0);
    for row in rest.chunks_exact(means.len()) {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value.abs());
    }
    #[allow(clippy::cast_precision_loss)] // a window has at most 4096 points
    let rows = (scaled.len() / means.len()) as f64;
    means.iter_mut().for_each(|mean| *mean /= rows);
}

/// The first components of a covariance: as many as are needed to explain the share, at least one,
/// never all.
pub(super) fn components(covariance: Covariance, width: usize, explained: f64) -> Vec<f64> {
    let wanted = |values: &[f64]| {
        let total: f64 = values.iter().sum();
        let mut sum = 0.0;
        let kept = values.iter().take_while(|value| {
            let more = sum / total < explained;
            sum += **value;
            more
        });
        kept.count().clamp(1, (width - 1).max(1))
    };
    eigen(covariance.mean(), width, wanted).1
}

/// Rows that were found fit to learn from, each tag less its mean and over its deviation.
pub(super) struct Scaled {
    /// Mean of each tag.
    pub(super) mean: Vec<f64>,
    /// Standard deviation of each tag.
    pub(super) deviation: Vec<f64>,
    /// Row after row.
    pub(super) values: Vec<f64>,
}

impl Scaled {
    /// Checks and scales rows of `tags` values for windows of `window` rows; at least `needed` rows.
    ///
    /// # Errors
    /// [`FitError`].
    pub(super) fn new(rows: &[f32], tags: usize, window: usize, needed: usize) -> Result<Self, FitError> {
        let count = rows.len() / tags.max(1);
        if tags == 0 || window == 0 || count < needed {
            return Err(FitError::TooFew { rows: count, needed });
        }
        if let Some(bad) = rows.iter().position(|value| !value.is_finite()) {
            return Err(FitError::NotFinite { row: bad / tags });
        }
        let (mean, deviation) = moments(rows, tags);
        let mut values = Vec::with_capacity(count * tags);
        for row in rows.chunks_exact(tags) {
            let columns = row.iter().zip(&mean).zip(&deviation);
            values.extend(columns.map(|((value, mean), deviation)| (f64::from(*value) - mean) / deviation));
        }
        Ok(Self { mean, deviation, values })
    }
}

/// Mean and standard deviation of each tag; one that never moved gets the deviation 1e-6 of its
/// size, so that any movement shows.
fn moments(rows: &[f32], tags: usize) -> (Vec<f64>, Vec<f64>) {
    #[allow(clippy::cast_precision_loss)] // far below 2^53 rows
    let count = (rows.len() / tags) as f64;
    let (mut mean, mut deviation) = (vec![0.0; tags], vec![0.0; tags]);
    for row in rows.chunks_exact(tags) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value));
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    for row in rows.chunks_exact(tags) {
        for ((deviation, value), mean) in deviation.iter_mut().zip(row).zip(&mean) {
            *deviation += (f64::from(*value) - mean).powi(2);
        }
    }
    for (deviation, mean) in deviation.iter_mut().zip(&mean) {
        *deviation = (*deviation / count).sqrt().max(mean.abs().max(1.0) * 1e-6);
    }
    (mean, deviation)
}

/// Quantile with linear interpolation between the neighbours, as numpy computes it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(values.len() - 1);
    values[below] + (values[above] - values[below]) * part
}
