//! The axes of a curve: round values and round times.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// Distances between two marks that the axis of values tries for.
const INTERVALS: f64 = 4.0;

/// The axis of values, from one round value to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    step: f64,
    intervals: u32,
}

impl Scale {
    /// No and yes.
    pub(super) const NO_YES: Self = Self { low: 0.0, step: 1.0, intervals: 1 };

    /// Around the finite values from `low` to `high`; `is_whole` = there is nothing between integers.
    pub(super) fn around(low: f64, high: f64, is_whole: bool) -> Self {
        let least = if is_whole { 1.0 } else { 1e-9 };
        // Below this the marks of so large numbers cannot be told apart.
        let apart = (low.abs().max(high.abs()) * 1e-12).max(least);
        let (low, high) = if high - low >= apart {
            (low, high)
        } else {
            // A value that stands still lies in the middle.
            let around = (low.abs() * 0.1).max(least);
            (low - around, high + around)
        };
        let mut step = round_step((high - low) / INTERVALS).max(if is_whole { 1.0 } else { 0.0 });
        let count = |step: f64| (high / step).ceil() - (low / step).floor();
        // Both ends were moved outwards, so that there may be more distances than tried for.
        while count(step) > INTERVALS + 1.0 {
            step = round_step(step * 1.5);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most 5
        let intervals = count(step).clamp(1.0, INTERVALS + 1.0) as u32;
        Self { low: (low / step).floor() * step, step, intervals }
    }

    /// The marks, from the lowest to the highest.
    pub(super) fn marks(&self) -> Vec<f64> {
        (0..=self.intervals).map(|at| self.low + f64::from(at) * self.step).collect()
    }

    /// Where a value stands, from 0 at the lowest mark to 1 at the highest.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.step * f64::from(self.intervals))).clamp(0.0, 1.0)
    }

    /// Decimals that tell the marks apart.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0 … 9
    pub(super) fn decimals(&self) -> usize {
        (-self.step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let parts = [1.0, 2.0, 5.0].into_iter().map(|part| part * power);
    parts.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// What the axis of times has marks at, local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// Each quarter of an hour.
    Quarters,
    /// Each six hours.
    SixHours,
    /// Each midnight.
    Days,
}

/// A mark on the axis of times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TimeMark {
    /// Where, from 0 at the begin to 1 at the end.
    pub(super) share: f64,
    /// When, local time.
    pub(super) time: Time,
    /// On which day.
    pub(super) date: Date,
}

/// The marks between two moments, microseconds since 1970; none when these cannot be named.
#[allow(clippy::cast_precision_loss)] // shares of a picture
pub(super) fn time_marks(from_us: i64, to_us: i64, marks: Marks, zone: &TimeZone) -> Vec<TimeMark> {
    let local = |us: i64| Some(Timestamp::from_microsecond(us).ok()?.to_zoned(zone.clone()).date());
    let (Some(first), Some(last)) = (local(from_us), local(to_us)) else { return Vec::new() };
    let minutes: Vec<i8> = if marks == Marks::Quarters { vec![0, 15, 30, 45] } else { vec![0] };
    let every: usize = match marks {
        Marks::Quarters => 1,
        Marks::SixHours => 6,
        Marks::Days => 24,
    };
    let times: Vec<Time> = (0..24i8)
        .step_by(every)
        .flat_map(|hour| minutes.iter().map(move |minute| jiff::civil::time(hour, *minute, 0, 0)))
        .collect();
    let mut found = Vec::new();
    for date in first.series(jiff::Span::new().days(1)).take_while(|date| *date <= last) {
        for time in &times {
            let Ok(at) = date.to_datetime(*time).to_zoned(zone.clone()) else { continue };
            let at_us = at.timestamp().as_microsecond();
            if (from_us..=to_us).contains(&at_us) {
                let share = (at_us - from_us) as f64 / (to_us - from_us).max(1) as f64;
                found.push(TimeMark { share, time: at.time(), date: at.date() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_between_round_marks() {
        for (low, high, is_whole, marks) in [
            (20.0, 60.0, false, vec![20.0, 30.0, 40.0, 50.0, 60.0]),
            (20.3, 59.8, false, vec![20.0, 30.0, 40.0, 50.0, 60.0]),
            (0.0, 3.0, true, vec![0.0, 1.0, 2.0, 3.0]),
            (3.0, 4.0, true, vec![3.0, 4.0]),
            (5.0, 5.0, true, vec![4.0, 5.0, 6.0]),
            (-1.0, 1.0, false, vec![-1.0, -0.5, 0.0, 0.5, 1.0]),
            (41.2, 41.2, false, vec![35.0, 40.0, 45.0, 50.0]),
        ] {
            let scale = Scale::around(low, high, is_whole);
            assert_eq!(scale.marks(), marks, "{low} to {high}");
        }
        assert_eq!(Scale::around(0.11, 0.14, false).decimals(), 2);
        assert!((Scale::around(20.0, 60.0, false).share(30.0) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn any_values_have_a_few_marks_that_hold_them() {
        for (low, high) in [
            (0.0, 0.0),
            (-1e300, 1e300),
            (1e300, 1e300),
            (1e15, 1e15 + 0.125),
            (-7.3, 1234.9),
            (1e-12, 2e-12),
            (999.0, 1001.0),
        ] {
            let scale = Scale::around(low, high, false);
            let marks = scale.marks();
            assert!((2..=6).contains(&marks.len()), "{low} to {high}: {marks:?}");
            assert!(marks.windows(2).all(|two| two[0] < two[1]), "{low} to {high}: {marks:?}");
            let slack = scale.step * 1e-6;
            assert!(
                marks[0] <= low + slack && marks[marks.len() - 1] >= high - slack,
                "{low}, {high}: {marks:?}"
            );
            assert!((0.0..=1.0).contains(&scale.share(low)));
        }
    }

    #[test]
    fn times_are_round_in_the_zone_of_the_box() {
        const HOUR_US: i64 = 3_600_000_000;
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
        // 2026-02-11 14:36:05 in Berlin.
        let now_us = 1_770_816_965_000_000;
        let marks = |hours: i64, marks| time_marks(now_us - hours * HOUR_US, now_us, marks, &zone);
        let times = |found: &[TimeMark]| found.iter().map(|mark| mark.time.to_string()).collect::<Vec<_>>();
        assert_eq!(times(&marks(1, Marks::Quarters)), ["13:45:00", "14:00:00", "14:15:00", "14:30:00"]);
        assert_eq!(times(&marks(24, Marks::SixHours)), ["18:00:00", "00:00:00", "06:00:00", "12:00:00"]);
        let days = marks(168, Marks::Days);
        assert_eq!((days.len(), days[0].date.to_string().as_str()), (7, "2026-02-05"));
        assert!(days.windows(2).all(|two| two[0].share < two[1].share));
        assert!((days[0].share - 9.4 / 168.0).abs() < 0.001, "{days:?}");
        assert!(time_marks(i64::MIN, i64::MAX, Marks::Days, &zone).is_empty());
    }
}
