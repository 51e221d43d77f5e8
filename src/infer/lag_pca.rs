//! The default model, fitted on the box: principal components of windows ("lag-PCA").
//!
//! A window of all tags is scaled and laid flat. What the first components of normal running
//! explain is taken away; the mean of what is left over, by tag, is the contribution, their sum the
//! score. `models/press-wear/train.py` does the same in Python.

use super::eigen::eigen;
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
        let count = rows.len() / tags.max(1);
        let needed = window * 4;
        if tags == 0 || window == 0 || count < needed {
            return Err(FitError::TooFew { rows: count, needed });
        }
        if let Some(bad) = rows.iter().position(|value| !value.is_finite()) {
            return Err(FitError::NotFinite { row: bad / tags });
        }
        let (mean, deviation) = moments(rows, tags);
        let scaled: Vec<f64> = rows
            .iter()
            .enumerate()
            .map(|(i, v)| (f64::from(*v) - mean[i % tags]) / deviation[i % tags])
            .collect();
        let width = window * tags;
        let flat = || scaled.windows(width).step_by(tags);
        let components = components(covariance(flat(), width), width, settings.explained);
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
    let mut rest = scaled.to_vec();
    for component in components.chunks_exact(scaled.len()) {
        let share: f64 = component.iter().zip(scaled).map(|(a, b)| a * b).sum();
        rest.iter_mut().zip(component).for_each(|(rest, c)| *rest -= share * c);
    }
    let mut means = vec![0.0; tags];
    rest.iter().enumerate().for_each(|(i, value)| means[i % tags] += value.abs());
    #[allow(clippy::cast_precision_loss)] // a window has at most 4096 points
    let rows = (scaled.len() / tags) as f64;
    means.iter_mut().for_each(|mean| *mean /= rows);
    means
}

/// The first components of a covariance: as many as are needed to explain the share, at least one,
/// never all.
pub(super) fn components(covariance: Vec<f64>, width: usize, explained: f64) -> Vec<f64> {
    let (values, vectors) = eigen(covariance, width);
    let total: f64 = values.iter().sum();
    let mut sum = 0.0;
    let kept = values.iter().take_while(|value| {
        let more = sum / total < explained;
        sum += **value;
        more
    });
    let kept = kept.count().clamp(1, (width - 1).max(1));
    vectors[..kept * width].to_vec()
}

/// Mean and standard deviation of each tag; one that never moved gets the deviation 1e-6 of its
/// size, so that any movement shows.
pub(super) fn moments(rows: &[f32], tags: usize) -> (Vec<f64>, Vec<f64>) {
    #[allow(clippy::cast_precision_loss)] // far below 2^53 rows
    let count = (rows.len() / tags) as f64;
    let mut mean = vec![0.0; tags];
    rows.iter().enumerate().for_each(|(i, value)| mean[i % tags] += f64::from(*value) / count);
    let mut deviation = vec![0.0; tags];
    for (i, value) in rows.iter().enumerate() {
        deviation[i % tags] += (f64::from(*value) - mean[i % tags]).powi(2) / count;
    }
    for (deviation, mean) in deviation.iter_mut().zip(&mean) {
        *deviation = deviation.sqrt().max(mean.abs().max(1.0) * 1e-6);
    }
    (mean, deviation)
}

/// Mean of the outer products of all windows.
pub(super) fn covariance<W: AsRef<[f64]>>(windows: impl Iterator<Item = W>, width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width * width];
    let mut count = 0.0;
    for window in windows {
        let window = window.as_ref();
        for (row, x) in window.iter().enumerate() {
            let upper = &mut sum[row * width + row..(row + 1) * width];
            upper.iter_mut().zip(&window[row..]).for_each(|(sum, y)| *sum += x * y);
        }
        count += 1.0;
    }
    for row in 0..width {
        for column in row..width {
            let value = sum[row * width + column] / count;
            sum[row * width + column] = value;
            sum[column * width + row] = value;
        }
    }
    sum
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
