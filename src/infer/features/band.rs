//! What lies between two frequencies, by Goertzel's recursion: bands are few, so a whole spectrum is
//! not needed.

use std::f64::consts::TAU;

/// RMS of the frequencies `first` to `last`, both in cycles within `points`, at least 1 and at most half of
/// `points`. The values are not tapered: bands that touch add up to the whole.
#[allow(clippy::cast_precision_loss)] // at most 4096 points
pub(super) fn rms(
    values: impl Iterator<Item = f64> + Clone,
    points: usize,
    first: usize,
    last: usize,
) -> f64 {
    let size = points as f64;
    // Without its mean, a value far from 0 leaves its digits to what moves.
    let centre = values.clone().sum::<f64>() / size;
    let mut sum = 0.0;
    for frequency in first..=last {
        let turn = 2.0 * (TAU * frequency as f64 / size).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for value in values.clone() {
            let next = value - centre + turn * one - two;
            (two, one) = (one, next);
        }
        let power = one * one + two * two - turn * one * two;
        // Each frequency but the highest stands twice in a spectrum.
        let twice = if 2 * frequency == points { 1.0 } else { 2.0 };
        sum += twice * power.max(0.0) / (size * size);
    }
    sum.sqrt()
}
