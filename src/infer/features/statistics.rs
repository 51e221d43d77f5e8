//! Statistics of a run of values. Two passes where one would lose digits.

#[allow(clippy::cast_precision_loss)] // at most 4096 points
fn share(points: usize) -> f64 {
    1.0 / points.max(1) as f64
}

pub(super) fn mean(values: impl Iterator<Item = f64>, points: usize) -> f64 {
    values.sum::<f64>() * share(points)
}

/// Mean of the `power`th power of what differs from the mean.
fn moment(values: impl Iterator<Item = f64> + Clone, points: usize, power: i32) -> f64 {
    let centre = mean(values.clone(), points);
    mean(values.map(|value| (value - centre).powi(power)), points)
}

pub(super) fn deviation(values: impl Iterator<Item = f64> + Clone, points: usize) -> f64 {
    moment(values, points, 2).sqrt()
}

pub(super) fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.reduce(f64::min).unwrap_or_default()
}

pub(super) fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.reduce(f64::max).unwrap_or_default()
}

pub(super) fn rms(values: impl Iterator<Item = f64>, points: usize) -> f64 {
    mean(values.map(|value| value * value), points).sqrt()
}

/// 0 for a constant, which has no shape.
pub(super) fn kurtosis(values: impl Iterator<Item = f64> + Clone, points: usize) -> f64 {
    let second = moment(values.clone(), points, 2);
    if second > 0.0 { moment(values, points, 4) / (second * second) } else { 0.0 }
}

/// 0 for nothing but zeros.
pub(super) fn crest(values: impl Iterator<Item = f64> + Clone, points: usize) -> f64 {
    let rms = rms(values.clone(), points);
    if rms > 0.0 { most(values.map(f64::abs)) / rms } else { 0.0 }
}
