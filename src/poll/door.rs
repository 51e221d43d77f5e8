//! The swinging door: of a line of readings only those are published that straight lines between
//! them need, so that nothing that was read lies farther from these lines than asked for.
//!
//! From the last published reading two bounds of the slope are kept: a line within them passes
//! every reading since within the deviation. Each reading narrows them. As long as the newest one
//! lies within the bounds that those before it left, the line to it is good for all, and it is
//! held; when it does not, the one held before it is published and is where the next line begins.

use forebay_connector::{Quality, Value};

/// A reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The published value.
    pub value: Value,
    /// What it is worth.
    pub quality: Quality,
    /// The same as a number.
    pub number: f64,
    /// When it was, by the device if it says so, microseconds since 1970 UTC.
    pub time_us: i64,
    /// When it was read.
    pub edge_us: i64,
    /// No reading: a subscription had not told of a change, so the value was taken to stand still.
    pub is_renewal: bool,
}

/// The door of one tag.
#[derive(Debug, Clone)]
pub struct Door {
    deviation: f64,
    /// The last published reading: its number and time.
    origin: Option<(f64, i64)>,
    /// The last reading, not published.
    held: Option<Reading>,
    /// Bounds of the slope, in units per microsecond.
    least: f64,
    most: f64,
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// A reading from before that was held.
    pub held: Option<Reading>,
    /// The newest one, too.
    pub newest: bool,
}

impl Door {
    /// A door through which nothing has come yet.
    pub fn new(deviation: f64) -> Self {
        Self { deviation, origin: None, held: None, least: f64::NEG_INFINITY, most: f64::INFINITY }
    }

    /// Takes the newest reading. `must_pass` publishes it whatever it is.
    pub fn offer(&mut self, newest: &Reading, must_pass: bool) -> Passed {
        let Some(slope) = self.slope(newest) else {
            // The first one, or a clock that was set back: nothing to draw a line from.
            let held = self.held.take().and_then(|held| self.until(held, newest));
            self.begin(newest.number, newest.time_us);
            return Passed { held, newest: true };
        };
        let held = if (self.least..=self.most).contains(&slope) {
            None
        } else {
            let held = self.held.take();
            if let Some(held) = &held {
                self.begin(held.number, held.time_us);
            }
            held
        };
        if must_pass {
            self.held = None;
            self.begin(newest.number, newest.time_us);
        } else {
            self.narrow(newest);
            self.held = Some(newest.clone());
        }
        Passed { held, newest: must_pass }
    }

    /// `held` as it may be published before `newest`. A value that was taken to stand still stood still
    /// only until a change that is told later than it happened; a real reading stays what it is.
    fn until(&self, held: Reading, newest: &Reading) -> Option<Reading> {
        if !held.is_renewal {
            return Some(held);
        }
        let time_us = held.time_us.min(newest.time_us - 1);
        let (_, since_us) = self.origin?;
        (time_us > since_us).then_some(Reading { time_us, ..held })
    }

    /// The newest value is no number, or nobody may draw a line to it: what is held is published,
    /// and the next reading begins anew.
    pub fn close(&mut self) -> Option<Reading> {
        self.origin = None;
        self.held.take()
    }

    fn begin(&mut self, number: f64, time_us: i64) {
        self.origin = Some((number, time_us));
        (self.least, self.most) = (f64::NEG_INFINITY, f64::INFINITY);
    }

    /// Slope from the origin to a reading; `None` where there is none.
    fn slope(&self, reading: &Reading) -> Option<f64> {
        let (number, time_us) = self.origin?;
        let latest_us = self.held.as_ref().map_or(time_us, |held| held.time_us);
        (reading.time_us > latest_us).then(|| (reading.number - number) / apart(time_us, reading.time_us))
    }

    fn narrow(&mut self, reading: &Reading) {
        let Some((number, time_us)) = self.origin else { return };
        let apart = apart(time_us, reading.time_us);
        self.least = self.least.max((reading.number - self.deviation - number) / apart);
        self.most = self.most.min((reading.number + self.deviation - number) / apart);
    }
}

#[allow(clippy::cast_precision_loss)] // differences of microseconds stay far below 2^53
fn apart(from_us: i64, to_us: i64) -> f64 {
    (to_us - from_us) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(number: f64, time_us: i64) -> Reading {
        Reading {
            value: Value::Lreal(number),
            quality: Quality::Good,
            number,
            time_us,
            edge_us: time_us,
            is_renewal: false,
        }
    }

    /// What was published of these readings, the last one included.
    fn published(readings: &[(f64, i64)], deviation: f64, forced: impl Fn(usize) -> bool) -> Vec<(f64, i64)> {
        let mut door = Door::new(deviation);
        let mut out = Vec::new();
        for (index, (number, time_us)) in readings.iter().enumerate() {
            let passed =
                door.offer(&reading(*number, *time_us), forced(index) || index + 1 == readings.len());
            out.extend(passed.held.map(|held| (held.number, held.time_us)));
            out.extend(passed.newest.then_some((*number, *time_us)));
        }
        out
    }

    fn between(published: &[(f64, i64)], time_us: i64) -> f64 {
        let after = published.partition_point(|(_, at)| *at < time_us);
        let (number, at) = published[after];
        if at == time_us {
            return number;
        }
        let (before, from) = published[after - 1];
        before + (number - before) * apart(from, time_us) / apart(from, at)
    }

    #[test]
    fn a_straight_line_needs_its_ends_only() {
        let ramp: Vec<(f64, i64)> = (0..100).map(|i| (f64::from(i) * 0.5, i64::from(i) * 1000)).collect();
        assert_eq!(published(&ramp, 0.01, |_| false), [(0.0, 0), (49.5, 99_000)]);
        let mut step = vec![(0.0, 0), (0.0, 1000), (0.0, 2000), (9.0, 3000)];
        step.push((9.0, 4000));
        assert_eq!(published(&step, 0.1, |_| false), [(0.0, 0), (0.0, 2000), (9.0, 3000), (9.0, 4000)]);
    }

    #[test]
    fn what_is_held_is_given_back() {
        let mut door = Door::new(1.0);
        assert!(door.offer(&reading(1.0, 0), false).newest);
        assert!(!door.offer(&reading(1.0, 10), false).newest);
        assert_eq!(door.close().map(|held| held.time_us), Some(10));
        assert!(door.offer(&reading(1.0, 20), false).newest, "it begins anew");
    }

    proptest! {
        /// The reference: every reading is within the deviation of the lines between what was
        /// published.
        #[test]
        fn no_reading_is_missed_by_more_than_the_deviation(
            steps in prop::collection::vec((-5.0..5.0f64, 1..5000i64, prop::bool::weighted(0.05)), 2..300),
            deviation in 0.01..5.0f64,
        ) {
            let (mut number, mut time_us) = (0.0, 1_700_000_000_000_000);
            let readings: Vec<(f64, i64)> = steps.iter().map(|(by, after, _)| {
                number += by;
                time_us += after;
                (number, time_us)
            }).collect();
            let published = published(&readings, deviation, |index| steps[index].2);
            prop_assert!(published.windows(2).all(|pair| pair[0].1 < pair[1].1), "in order");
            for (number, time_us) in &readings {
                let error = (between(&published, *time_us) - number).abs();
                prop_assert!(error <= deviation * (1.0 + 1e-9) + 1e-9, "{error} at {time_us}");
            }
        }
    }

    #[test]
    fn what_was_taken_to_stand_still_ends_where_a_change_is_told_late() {
        let mut door = Door::new(0.5);
        let renewal = |number, time_us| Reading { is_renewal: true, ..reading(number, time_us) };
        assert!(door.offer(&reading(1.0, 100), false).newest);
        assert_eq!(door.offer(&renewal(1.0, 200), false).held, None);
        // It changed at 150, and the server says so after 200.
        let passed = door.offer(&reading(9.0, 150), false);
        let held = passed.held.expect("it stood still until then");
        assert_eq!((held.number, held.time_us, passed.newest), (1.0, 149, true));
        // A reading is never moved: the clock was set back.
        assert_eq!(door.offer(&reading(9.0, 300), false).held, None);
        let held = door.offer(&reading(9.0, 250), false).held.expect("the reading before");
        assert_eq!(held.time_us, 300);
    }
}
