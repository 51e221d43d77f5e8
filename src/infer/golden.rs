//! `golden.json`: windows with the outputs the model must give.
//!
//! Mandatory, because a graph can load and be silently wrong: an operator may be read with other
//! defaults than the training wrote.

use serde::Deserialize;

use super::folder::Fault;
use super::spec::Spec;

/// Largest `golden.json`.
pub const GOLDEN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Fewest cases: one of normal running, one that is not.
pub const CASES_MIN: usize = 2;
/// Most cases; each is scored at every start.
pub const CASES_MAX: usize = 64;
/// Widest tolerance: with more the check would prove nothing.
pub const TOLERANCE_MAX: f32 = 0.01;

/// A checked `golden.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Allowed difference of an output, as a share of the expected value or, below 1, absolute.
    pub tolerance: f32,
    /// At least [`CASES_MIN`].
    pub cases: Vec<Case>,
}

/// One window and its outputs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For messages.
    pub name: String,
    /// Rows of the window, oldest first, each with one value for each feature, or each input.
    pub window: Vec<Vec<f32>>,
    /// Contribution of each column of the window.
    pub contrib: Vec<f32>,
    /// Score.
    pub score: f32,
    /// How long the machine will last: at least, probably, at most. Where `model.toml` has
    /// `[remaining_life]`.
    #[serde(default)]
    pub remaining: Option<[f32; 3]>,
}

impl Golden {
    /// Reads a `golden.json` for the model `spec`; `file` is its name in messages.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(file: &str, text: &str, spec: &Spec) -> Result<Self, Fault> {
        let fault = |line, message: String, fix: String| Fault {
            code: "M0201",
            file: file.to_owned(),
            line,
            message,
            fix,
        };
        let again = || "let train.py write it again".to_owned();
        let golden: Self = serde_json::from_str(text)
            .map_err(|error| fault(Some(error.line()), error.to_string(), again()))?;
        if !(golden.tolerance > 0.0 && golden.tolerance <= TOLERANCE_MAX) {
            let message = format!("tolerance is {}", golden.tolerance);
            return Err(fault(None, message, format!("over 0, at most {TOLERANCE_MAX}")));
        }
        if !(CASES_MIN..=CASES_MAX).contains(&golden.cases.len()) {
            let message = format!("{} cases", golden.cases.len());
            return Err(fault(None, message, format!("{CASES_MIN} to {CASES_MAX} cases are needed")));
        }
        let columns = spec.columns();
        for case in &golden.cases {
            let rows = case.window.len();
            let whole =
                case.window.iter().all(|row| row.len() == columns && row.iter().all(|v| v.is_finite()));
            if rows != spec.window || !whole || case.contrib.len() != columns {
                let what = if spec.prepare.features.is_empty() { "inputs" } else { "features" };
                let message =
                    format!("case {:?} does not have {} rows of {columns} {what}", case.name, spec.window);
                return Err(fault(None, message, again()));
            }
            if case.remaining.is_some() != spec.prepare.remaining_life.is_some() {
                let message = format!("case {:?}: `remaining` goes with [remaining_life]", case.name);
                return Err(fault(None, message, again()));
            }
            let remaining = case.remaining.iter().flatten();
            if remaining.chain(&case.contrib).chain([&case.score]).any(|v| !v.is_finite()) {
                return Err(fault(None, format!("case {:?} expects no finite number", case.name), again()));
            }
        }
        Ok(golden)
    }

    /// True when `found` is as close to `expected` as the file asks. NaN never is.
    pub fn close(&self, found: f32, expected: f32) -> bool {
        (found - expected).abs() <= self.tolerance * expected.abs().max(1.0)
    }
}
