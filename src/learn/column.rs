//! One tag on a grid: what was known of it at each point.

use serde::Serialize;

use crate::device::Tag;

/// Why a point of the grid is not learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing was read: an outage, or before the first value.
    Gap,
    /// The journal has only sums of minutes, because it made room.
    Thinned,
    /// A value whose quality is not good.
    Quality,
    /// A value that is no finite number.
    NotFinite,
    /// The machine was in another state.
    State,
    /// It had only just come into the state.
    Settling,
    /// A sensor that moves all the time stood still.
    Stuck,
    /// Too few points between two that are left out.
    Short,
}

impl Cause {
    /// In words that go after a duration.
    pub fn words(self) -> &'static str {
        match self {
            Self::Gap => "nothing was read",
            Self::Thinned => "only sums are left of it",
            Self::Quality => "a value was not good",
            Self::NotFinite => "a value was no finite number",
            Self::State => "the machine was in another state",
            Self::Settling => "the machine had only just begun",
            Self::Stuck => "a sensor stood still that moves otherwise",
            Self::Short => "too short between two of the others",
        }
    }
}

/// Points in time at equal distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// First point, microseconds since 1970 UTC.
    pub from_us: i64,
    /// From one to the next.
    pub interval_us: i64,
    /// How many.
    pub points: usize,
}

impl Grid {
    /// Time of a point.
    pub fn time_us(&self, point: usize) -> i64 {
        self.from_us + i64::try_from(point).unwrap_or(i64::MAX).saturating_mul(self.interval_us)
    }
}

/// The last sample of a tag.
struct Last {
    at_us: i64,
    /// The value counts no longer than this.
    until_us: i64,
    value: Result<f32, Cause>,
}

/// Values of one tag, point by point, from samples that come in the order of time.
pub(super) struct Column {
    pub(super) values: Vec<f32>,
    last: Option<Last>,
    /// An unchanged value is published at least this often, with some time for a late scan.
    silence_us: i64,
    /// Between two samples the value runs straight (swinging door); else it stays.
    straight: bool,
}

impl Column {
    pub(super) fn new(tag: &Tag, scan_us: i64, grid: &Grid) -> Self {
        let silence_us = i64::try_from(tag.max_silence.as_micros()).unwrap_or(i64::MAX / 4);
        Self {
            values: Vec::with_capacity(grid.points),
            last: None,
            silence_us: silence_us.saturating_add(3 * scan_us + 1_000_000),
            straight: tag.compress.is_some(),
        }
    }

    /// How long before the first point a sample may be that still counts there.
    pub(super) fn lead_us(&self) -> i64 {
        self.silence_us
    }

    /// Takes a sample.
    pub(super) fn take(
        &mut self,
        at_us: i64,
        value: Result<f32, Cause>,
        grid: &Grid,
        causes: &mut [Option<Cause>],
    ) {
        self.fill(at_us, value.ok(), grid, causes);
        self.last = Some(Last { at_us, until_us: at_us.saturating_add(self.silence_us), value });
    }

    /// From then on nothing is known until the next sample.
    pub(super) fn cut(&mut self, at_us: i64) {
        if let Some(last) = &mut self.last {
            last.until_us = last.until_us.min(at_us);
        }
    }

    /// The end of the grid.
    pub(super) fn finish(&mut self, grid: &Grid, causes: &mut [Option<Cause>]) {
        self.fill(i64::MAX, None, grid, causes);
    }

    /// Fills the points before `to_us`, where the next sample is.
    fn fill(&mut self, to_us: i64, next: Option<f32>, grid: &Grid, causes: &mut [Option<Cause>]) {
        while self.values.len() < grid.points {
            let point = self.values.len();
            let time_us = grid.time_us(point);
            if time_us >= to_us {
                return;
            }
            let known = match &self.last {
                Some(last) if time_us <= last.until_us => last.value.map(|value| match next {
                    Some(next) if self.straight => between(last.at_us, value, to_us, next, time_us),
                    _ => value,
                }),
                _ => Err(Cause::Gap),
            };
            if let Err(cause) = known {
                causes[point].get_or_insert(cause);
            }
            self.values.push(known.unwrap_or(f32::NAN));
        }
    }
}

/// On the straight line from one sample to the next.
fn between(from_us: i64, from: f32, to_us: i64, to: f32, time_us: i64) -> f32 {
    #[allow(clippy::cast_precision_loss)] // a share of some minutes
    let share = (time_us - from_us) as f32 / (to_us - from_us).max(1) as f32;
    from + (to - from) * share
}
