//! "Since when": where the score left its usual band before a prediction was raised.
//!
//! The limit is crossed last: a bearing that wears has left its usual noise long before. So the
//! past scores are walked back from the raise, single scores first, then means of minutes (a day),
//! then means of hours (30 days), to the last time that the score stayed in its band for a while.
//!
//! * Usual level `m`: the median of the past means. Its noise `s`: 1.4826 times the median distance
//!   from it, which a fault of less than half the time does not move.
//! * Top of the band: `m + max(3 s, (limit − m) / 4)`, never above the limit: the score has left its
//!   band when it has done a quarter of the way to the limit and is beyond its noise.
//! * A while: a tenth of the time from there to the raise, at least 30 s.
//!
//! It is an estimate: what went up and down again before is not counted, and a fault that has been
//! there for most of the remembered time is its usual level.

use serde::{Deserialize, Serialize};

/// Shortest calm that counts, microseconds.
const CALM_US: i64 = 30_000_000;
/// Past values from which a usual level can be told.
const USUAL_MIN: usize = 10;

/// When it began, estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    /// It is so for as long as anything is remembered: it began then or earlier.
    pub or_earlier: bool,
}

/// A past score, or the mean of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Past {
    /// Begin of the time it stands for, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Its end.
    pub to_us: i64,
    /// Score.
    pub score: f32,
}

/// Top of the usual band of these past values, below the limit `clear_below`; `None` when too few are known.
pub(super) fn band_top(past: impl Iterator<Item = f32>, limit: f32) -> Option<f32> {
    let mut scores: Vec<f32> = past.filter(|score| score.is_finite()).collect();
    if scores.len() < USUAL_MIN {
        return None;
    }
    let usual = median(&mut scores);
    scores.iter_mut().for_each(|score| *score = (*score - usual).abs());
    let noise = 1.4826 * median(&mut scores);
    Some((usual + (3.0 * noise).max((limit - usual) / 4.0)).min(limit))
}

fn median(scores: &mut [f32]) -> f32 {
    let middle = scores.len() / 2;
    *scores.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Walks back from `raised_us`. `newest_first` are past scores that do not overlap.
pub(super) fn estimate(newest_first: impl Iterator<Item = Past>, top: f32, raised_us: i64) -> Option<Since> {
    let mut left_us = None;
    let mut calm_us = 0;
    for past in newest_first.filter(|past| past.from_us <= raised_us) {
        if past.score > top {
            left_us = Some(past.from_us);
            calm_us = 0;
            continue;
        }
        // A time without any scores is no calm.
        calm_us += past.to_us.min(raised_us) - past.from_us;
        let until_us = left_us.unwrap_or(raised_us);
        if calm_us >= CALM_US.max(raised_us.saturating_sub(until_us) / 10) {
            return Some(Since { at_us: until_us, or_earlier: false });
        }
    }
    Some(Since { at_us: left_us?, or_earlier: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    /// Scores by second, newest first.
    fn seconds(scores: &[f32]) -> impl Iterator<Item = Past> {
        let past =
            |(at, score): (i64, f32)| Past { from_us: at * SECOND_US, to_us: (at + 1) * SECOND_US, score };
        (0..).zip(scores.to_vec()).map(past).collect::<Vec<_>>().into_iter().rev()
    }

    /// Calm at 0.4 for `calm` s, then a ramp of `ramp` s to the limit 1.
    fn ramp(calm: usize, ramp: usize) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(7);
        let rise =
            |at: usize| 0.6 * f32::from(u16::try_from(at).unwrap()) / f32::from(u16::try_from(ramp).unwrap());
        (0..calm + ramp).map(|at| 0.4 + 0.05 * rng.f32() + rise(at.saturating_sub(calm))).collect()
    }

    #[test]
    fn a_ramp_began_long_before_the_limit_was_crossed() {
        for (calm, rising) in [(300, 60), (3000, 1000), (40_000, 9000)] {
            let scores = ramp(calm, rising);
            let top = band_top(scores.iter().copied(), 0.9).unwrap();
            assert!((0.45..0.65).contains(&top), "{top}");
            let raised = i64::try_from(calm + rising).unwrap() * SECOND_US;
            let since = estimate(seconds(&scores), top, raised).unwrap();
            let after_s = since.at_us / SECOND_US - i64::try_from(calm).unwrap();
            let rising = i64::try_from(rising).unwrap();
            assert!((0..rising / 2).contains(&after_s) && !since.or_earlier, "{after_s} s of {rising}");
        }
    }

    #[test]
    fn a_short_return_into_the_band_does_not_hide_the_beginning() {
        let mut scores = ramp(600, 400);
        scores[900..915].fill(0.4);
        let top = band_top(scores.iter().copied(), 0.9).unwrap();
        let since = estimate(seconds(&scores), top, 1000 * SECOND_US).unwrap();
        assert!((600..800).contains(&(since.at_us / SECOND_US)), "{since:?}");
    }

    #[test]
    fn what_was_so_from_the_beginning_began_then_or_earlier() {
        let scores = vec![0.95; 100];
        let since = estimate(seconds(&scores), 0.5, 100 * SECOND_US);
        assert_eq!(since, Some(Since { at_us: 0, or_earlier: true }));
        assert_eq!(estimate(seconds(&[]), 0.5, 1), None);
        assert_eq!(band_top([0.4; 9].into_iter(), 1.0), None, "too little to know what is usual");
    }

    #[test]
    fn a_sudden_fault_began_when_it_was_raised() {
        let mut scores = vec![0.4; 100];
        scores.extend([1.4; 3]);
        let since = estimate(seconds(&scores), 0.55, 103 * SECOND_US).unwrap();
        assert_eq!(since, Since { at_us: 100 * SECOND_US, or_earlier: false });
    }
}
