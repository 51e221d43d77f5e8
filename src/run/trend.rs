//! A curve out of the past of one value, from the history on this box's disk.

use std::ops::ControlFlow;
use std::time::Instant;

use forebay_connector::{Quality, Value};

use crate::lane::{Body, History, Past, Wanted};
use crate::status::facts::{TREND_READ_MAX, Trend, TrendStep, TrendWanted};

/// Reads what is stored of the wanted time. Nothing where there is no history.
pub fn read(history: Option<&History>, wanted: &TrendWanted<'_>) -> Trend {
    let mut drawing = Drawing::new(wanted);
    let begun = Instant::now();
    let mut is_cut = false;
    let asked = Wanted {
        device: Some(wanted.device),
        tags: Some(&[wanted.tag]),
        from_us: wanted.from_us,
        to_us: wanted.to_us,
    };
    if let Some(history) = history {
        let read = history.read(&asked, &mut |past| {
            drawing.past(&past);
            is_cut = begun.elapsed() > TREND_READ_MAX;
            if is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(error) = read {
            tracing::warn!("the history of {} cannot be read: {error}", wanted.tag);
        }
    }
    Trend { steps: drawing.end(), is_cut }
}

/// A curve that is being drawn. Only changes are stored, so a value holds until the next one, but
/// not over a gap: missing is not unchanged.
struct Drawing<'a> {
    wanted: &'a TrendWanted<'a>,
    steps: Vec<Sum>,
    /// The value that holds, and since when.
    held: Option<(f64, i64)>,
}

/// What is known of one step.
#[derive(Clone, Copy)]
struct Sum {
    low: f64,
    high: f64,
    /// Of value times microseconds, and microseconds.
    sum: f64,
    weight: f64,
}

impl<'a> Drawing<'a> {
    fn new(wanted: &'a TrendWanted<'a>) -> Self {
        let nothing = Sum { low: f64::INFINITY, high: f64::NEG_INFINITY, sum: 0.0, weight: 0.0 };
        Self { wanted, steps: vec![nothing; wanted.steps], held: None }
    }

    fn past(&mut self, past: &Past<'_>) {
        let Past::Record(record) = past else {
            // Nobody knows the time of what is lost.
            return self.until(i64::MIN);
        };
        match &record.body {
            Body::Batch(batch) => {
                if let Some(gap) = &batch.gap {
                    self.until(gap.from_us);
                }
                for sample in &batch.samples {
                    self.until(batch.edge_us);
                    let good = sample.quality == Quality::Good;
                    self.held = number(&sample.value).filter(|_| good).map(|value| (value, batch.edge_us));
                }
            }
            Body::Thinned(thinned) => {
                for sample in &thinned.samples {
                    self.until(thinned.from_us);
                    if let Some(numbers) = &sample.numbers
                        && let (Some(low), Some(high)) = (number(&numbers.min), number(&numbers.max))
                    {
                        self.put((low, high, numbers.mean), thinned.from_us, thinned.to_us);
                    }
                    let good = sample.count > 0;
                    self.held = number(&sample.last).filter(|_| good).map(|value| (value, thinned.to_us));
                }
            }
            Body::Event(_) => {}
        }
    }

    /// The value that holds has held until this time.
    fn until(&mut self, to_us: i64) {
        if let Some((value, since_us)) = self.held.take() {
            let to_us = to_us.clamp(since_us, since_us.saturating_add(self.wanted.hold_us));
            self.put((value, value, value), since_us, to_us);
        }
    }

    /// A value, or its lowest, highest and mean, over a time.
    #[allow(clippy::cast_precision_loss)] // microseconds of some days are exact
    fn put(&mut self, (low, high, mean): (f64, f64, f64), from_us: i64, to_us: i64) {
        let wanted = self.wanted;
        if to_us < wanted.from_us || from_us > wanted.to_us {
            return;
        }
        let from_us = from_us.max(wanted.from_us);
        let (first, last) = (self.step(from_us), self.step(to_us.min(wanted.to_us)));
        for index in first..=last {
            let begin_us = from_us.max(self.begin_us(index));
            let end_us = to_us.min(self.begin_us(index + 1));
            // A value of a single moment counts, too.
            let weight = end_us.saturating_sub(begin_us).max(1) as f64;
            if let Some(step) = self.steps.get_mut(index) {
                (step.low, step.high) = (step.low.min(low), step.high.max(high));
                step.sum += mean * weight;
                step.weight += weight;
            }
        }
    }

    /// The step in which this time is.
    fn step(&self, at_us: i64) -> usize {
        let wanted = self.wanted;
        let length_us = i128::from(wanted.to_us) - i128::from(wanted.from_us);
        let at = (i128::from(at_us) - i128::from(wanted.from_us)) * self.steps.len() as i128;
        usize::try_from(at / length_us.max(1)).unwrap_or(0).min(self.steps.len().saturating_sub(1))
    }

    fn begin_us(&self, step: usize) -> i64 {
        let wanted = self.wanted;
        let length_us = i128::from(wanted.to_us) - i128::from(wanted.from_us);
        let at = length_us * step as i128 / (self.steps.len() as i128).max(1);
        wanted.from_us.saturating_add(i64::try_from(at).unwrap_or(i64::MAX))
    }

    fn end(mut self) -> Vec<Option<TrendStep>> {
        self.until(self.wanted.to_us);
        let known = |step: Sum| {
            let Sum { low, high, sum, weight } = step;
            (weight > 0.0).then(|| TrendStep { low, high, mean: sum / weight })
        };
        self.steps.into_iter().map(known).collect()
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: TrendWanted<'_> =
        TrendWanted { device: "d", tag: "t", from_us: 1000, to_us: 2000, hold_us: 300, steps: 10 };

    fn steps(of: impl FnOnce(&mut Drawing<'_>)) -> Vec<Option<(f64, f64, f64)>> {
        let mut drawing = Drawing::new(&WANTED);
        of(&mut drawing);
        drawing.end().into_iter().map(|step| step.map(|it| (it.low, it.high, it.mean))).collect()
    }

    #[test]
    fn a_value_holds_until_the_next_one_but_no_longer_than_it_is_known() {
        let drawn = steps(|it| {
            it.held = Some((5.0, 900));
            it.until(1150);
            it.held = Some((7.0, 1150));
        });
        assert_eq!(drawn[0], Some((5.0, 5.0, 5.0)));
        assert_eq!(drawn[1], Some((5.0, 7.0, 6.0)), "half of the time each");
        assert_eq!(drawn[4], Some((7.0, 7.0, 7.0)), "until 1450");
        assert_eq!(drawn[5], None, "not heard of for longer than it may be silent");
    }

    #[test]
    fn what_is_missing_or_outside_is_not_drawn() {
        let drawn = steps(|it| {
            it.held = Some((5.0, 1100));
            it.until(i64::MIN);
            it.held = Some((1.0, 100));
            it.until(400);
            it.held = Some((9.0, 1950));
        });
        let known: Vec<usize> = (0..10).filter(|step| drawn[*step].is_some()).collect();
        assert_eq!(known, [1, 9], "a moment, and what holds at the end");
    }

    #[test]
    fn what_was_summed_up_keeps_its_extremes() {
        let drawn = steps(|it| it.put((1.0, 9.0, 4.0), 1200, 1399));
        assert_eq!(drawn[2..4], [Some((1.0, 9.0, 4.0)); 2]);
        assert_eq!(drawn.iter().flatten().count(), 2);
    }
}
