//! What a model has done, and how one in shadow does beside the active one.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times of alarms that are kept: enough to tell a flood.
const RAISED_KEPT_MAX: usize = 128;
/// Share of the active model's scores that one in shadow must reach.
const SCORED_MIN: f64 = 0.95;
/// Microseconds of a day.
const DAY_US: f64 = 86_400e6;

/// What a model on a device has done since its start.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Points of the grid that came.
    pub points: u64,
    /// Scores.
    pub scored: u64,
    /// Sum of the scores.
    pub sum: f64,
    /// Highest score.
    pub highest: f32,
    /// Points of the grid that were dropped because inference was late.
    pub late: u64,
    /// Windows that were not scored because inference had used up its share of the processor.
    pub over_share: u64,
    /// Alarms.
    pub raised: u64,
    /// When the last ones were raised, microseconds since 1970 UTC, oldest first.
    pub raised_us: VecDeque<i64>,
    /// How long it took to take over from the version before, microseconds; the last one stands there
    /// as long as this runs.
    pub swap_us: Option<u64>,
    /// Beside the active model; for one in shadow.
    pub comparison: Comparison,
}

/// How a point of the grid ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// A score, if one came.
    pub(super) score: Option<f32>,
    /// An alarm was raised at this time.
    pub(super) raised_us: Option<i64>,
    /// A score was due, and was left out.
    pub(super) over_share: bool,
}

impl Tally {
    /// Counts a point of the grid.
    pub(super) fn note(&mut self, outcome: Outcome) {
        self.points += 1;
        self.over_share += u64::from(outcome.over_share);
        if let Some(score) = outcome.score {
            self.scored += 1;
            self.sum += f64::from(score);
            self.highest = self.highest.max(score);
        }
        if let Some(at_us) = outcome.raised_us {
            self.raised += 1;
            if self.raised_us.len() == RAISED_KEPT_MAX {
                self.raised_us.pop_front();
            }
            self.raised_us.push_back(at_us);
        }
    }

    /// Alarms since a time; at most as many as are kept.
    pub(super) fn raised_since(&self, since_us: i64) -> usize {
        self.raised_us.iter().filter(|at_us| **at_us >= since_us).count()
    }
}

/// A model in shadow beside the active one, over the time that both ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// How long the shadow has watched, microseconds: points of its grid, not time on the wall.
    pub watched_us: i64,
    /// Its scores.
    pub scored: u64,
    /// Their sum.
    pub sum: f64,
    /// The highest of them.
    pub highest: f32,
    /// Alarms it would have raised.
    pub raised: u64,
    /// Scores of the active model in the same time.
    pub active_scored: u64,
    /// Their sum.
    pub active_sum: f64,
    /// Alarms of the active model in the same time.
    pub active_raised: u64,
    /// Scores for which there was one of the active model as well …
    pub compared: u64,
    /// … and both were on the same side of their thresholds.
    pub agreed: u64,
}

impl Comparison {
    /// The figures of several devices.
    pub fn add(&mut self, other: &Self) {
        // Whoever has watched longest says how long it was.
        self.watched_us = self.watched_us.max(other.watched_us);
        self.scored += other.scored;
        self.sum += other.sum;
        self.highest = self.highest.max(other.highest);
        self.raised += other.raised;
        self.active_scored += other.active_scored;
        self.active_sum += other.active_sum;
        self.active_raised += other.active_raised;
        self.compared += other.compared;
        self.agreed += other.agreed;
    }

    /// Why the shadow is not to become the active model, or `None` when it may. `devices` is on how
    /// many it runs.
    pub fn objection(&self, wanted: Duration, devices: usize) -> Option<Objection> {
        let wanted_us = i64::try_from(wanted.as_micros()).unwrap_or(i64::MAX);
        #[allow(clippy::cast_precision_loss)] // counts and times of days
        let (scored, active, days, devices) = (
            self.scored as f64,
            self.active_scored as f64,
            (self.watched_us as f64 / DAY_US).max(1.0),
            devices.max(1) as f64,
        );
        if self.watched_us < wanted_us {
            Some(Objection::TooShort)
        } else if self.scored == 0 || scored < SCORED_MIN * active {
            Some(Objection::TooFewScores)
        } else if self.active_scored > 0 && self.raised > self.active_raised {
            Some(Objection::MoreAlarms)
        } else {
            #[allow(clippy::cast_precision_loss)] // a few alarms
            let too_many = self.raised as f64 > days * devices;
            too_many.then_some(Objection::TooManyAlarms)
        }
    }
}

/// Why a shadow is not promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// It has not watched for long enough.
    TooShort,
    /// It scored less than 95 % of what the active one scored, or nothing.
    TooFewScores,
    /// It raised more alarms than the active one.
    MoreAlarms,
    /// It raised more than one alarm a day on each device.
    TooManyAlarms,
}

impl Objection {
    /// For people, English.
    pub fn words(self) -> &'static str {
        match self {
            Self::TooShort => "it has not watched for long enough",
            Self::TooFewScores => "it scores less than 95 % of what the active version scores",
            Self::MoreAlarms => "it would have raised more alarms than the active version",
            Self::TooManyAlarms => "it would have raised more than one alarm a day",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn good() -> Comparison {
        Comparison {
            watched_us: 86_400_000_000,
            scored: 1000,
            active_scored: 1000,
            raised: 1,
            active_raised: 1,
            ..Comparison::default()
        }
    }

    #[test]
    fn only_a_shadow_that_is_no_worse_is_promoted() {
        assert_eq!(good().objection(DAY, 1), None);
        let say = |change: fn(&mut Comparison)| {
            let mut comparison = good();
            change(&mut comparison);
            comparison.objection(DAY, 1)
        };
        assert_eq!(say(|it| it.watched_us -= 1), Some(Objection::TooShort));
        assert_eq!(say(|it| it.scored = 949), Some(Objection::TooFewScores));
        assert_eq!(say(|it| (it.scored, it.active_scored) = (0, 0)), Some(Objection::TooFewScores));
        assert_eq!(say(|it| it.raised = 2), Some(Objection::MoreAlarms));
        assert_eq!(say(|it| (it.raised, it.active_raised) = (2, 9)), Some(Objection::TooManyAlarms));
        assert_eq!(say(|it| it.active_scored = 0), None, "alone it is judged by its alarms");
    }

    #[test]
    fn alarms_are_counted_within_a_time() {
        let mut tally = Tally::default();
        for at_us in 0..1000 {
            tally.note(Outcome { raised_us: Some(at_us), ..Outcome::default() });
        }
        assert_eq!(
            (tally.raised, tally.raised_us.len(), tally.raised_since(990)),
            (1000, RAISED_KEPT_MAX, 10)
        );
    }
}
