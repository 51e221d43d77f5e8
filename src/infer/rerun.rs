//! Rows that are known already, scored one after another as live: window, baseline, threshold and hold.
//!
//! `forebay evaluate`, `forebay backtest` and the look back before a promotion all go through here.

use super::detector::{Alarm, Crossing, Detector};
use super::folder::Content;
use super::graph::GateError;

/// A model that takes rows.
pub struct Rerun {
    detector: Detector,
    alarm: Alarm,
    threshold: f32,
    /// The last score was over the limit.
    over: bool,
}

/// What came of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// A score, if one was due.
    pub score: Option<f32>,
    /// The window is full: the machine was watched at this point.
    pub watched: bool,
    /// The last score was over the limit.
    pub over: bool,
    /// A prediction began or ended.
    pub crossing: Option<Crossing>,
    /// A prediction is raised.
    pub raised: bool,
    /// The model gave no finite number: its window starts anew, as live.
    pub no_number: bool,
}

impl Rerun {
    /// Loads a model; it must pass its gate.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn load(content: &Content) -> Result<Self, GateError> {
        let spec = &content.spec;
        let hold_us = i64::try_from(spec.hold.as_micros()).unwrap_or(i64::MAX);
        let alarm = Alarm::new(spec.threshold, spec.clear_below, hold_us);
        Ok(Self { detector: Detector::load(content)?, alarm, threshold: spec.threshold, over: false })
    }

    /// The next row does not follow the one before. A raised prediction stays.
    pub fn interrupt(&mut self) {
        self.detector.reset();
        self.alarm.interrupt();
        self.over = false;
    }

    /// Takes a row that only fills the window and moves the baseline; nothing is told of it.
    ///
    /// # Errors
    /// [`GateError`], after which the model is to be given up.
    pub fn prime(&mut self, row: &[f32]) -> Result<(), GateError> {
        self.detector.push(row).map(drop)
    }

    /// Takes the next row, at `now_us` (microseconds).
    ///
    /// # Errors
    /// [`GateError`], after which the model is to be given up.
    pub fn push(&mut self, row: &[f32], now_us: i64) -> Result<Told, GateError> {
        let score = match self.detector.push(row) {
            Ok(score) => score,
            Err(GateError::NotFinite(_)) => {
                self.interrupt();
                return Ok(self.told(None, None, true));
            }
            Err(error) => return Err(error),
        };
        let crossing = score.and_then(|score| {
            self.over = score > self.threshold;
            self.alarm.push(score, now_us)
        });
        Ok(self.told(score, crossing, false))
    }

    fn told(&self, score: Option<f32>, crossing: Option<Crossing>, no_number: bool) -> Told {
        let watched = self.detector.missing() == 0;
        let raised = self.alarm.raised_us().is_some();
        Told { score, watched, over: self.over, crossing, raised, no_number }
    }

    /// The model and its window.
    pub fn detector(&mut self) -> &mut Detector {
        &mut self.detector
    }
}
