//! What stands on the grid where a value is missing.

/// How a missing value is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// With the last good value.
    Last,
    /// With the mean of the last good values, as many as there are in a window.
    Mean,
    /// The line through the last two good values is drawn on. Nothing that comes later is used.
    Linear,
}

/// The rule of one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// What is filled in.
    pub rule: Rule,
    /// For how many points of the grid; after that the window starts anew.
    pub points_max: usize,
}

/// Most good values in a mean.
const MEAN_MAX: usize = 64;

/// Fills the gaps of one input.
#[derive(Debug, Clone)]
pub struct Fill {
    missing: Missing,
    good: [f64; MEAN_MAX],
    /// Good values so far.
    count: usize,
    /// Points filled in since the last good one.
    filled: usize,
}

impl Fill {
    /// Of an input without values yet.
    pub fn new(missing: Missing) -> Self {
        Self { missing, good: [0.0; MEAN_MAX], count: 0, filled: 0 }
    }

    /// A good value has come.
    pub fn good(&mut self, value: f32) {
        if self.filled > 0 && self.missing.rule == Rule::Linear {
            // What lies on the other side of a gap is the first point of a new line.
            self.count = 0;
        }
        self.good[self.count % MEAN_MAX] = f64::from(value);
        self.count += 1;
        self.filled = 0;
    }

    /// The value for a point that has none, if the rule allows one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // few points, 32-bit values
    pub fn fill(&mut self) -> Option<f32> {
        if self.count == 0 || self.filled >= self.missing.points_max {
            return None;
        }
        self.filled += 1;
        let ago = |points: usize| self.good[(self.count - 1 - points) % MEAN_MAX];
        let known = self.count.min(MEAN_MAX);
        let value = match self.missing.rule {
            Rule::Last => ago(0),
            Rule::Mean => (0..known).map(ago).sum::<f64>() / known as f64,
            Rule::Linear if known < 2 => ago(0),
            Rule::Linear => ago(0) + (ago(0) - ago(1)) * self.filled as f64,
        };
        Some(value as f32)
    }

    /// What comes next does not follow what was.
    pub fn reset(&mut self) {
        (self.count, self.filled) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rule: Rule, good: &[f32], points_max: usize) -> Vec<Option<f32>> {
        let mut fill = Fill::new(Missing { rule, points_max });
        good.iter().for_each(|value| fill.good(*value));
        (0..4).map(|_| fill.fill()).collect()
    }

    #[test]
    fn each_rule_fills_as_it_says_and_stops() {
        let good = [1.0, 2.0, 6.0];
        assert_eq!(filled(Rule::Last, &good, 3), [Some(6.0), Some(6.0), Some(6.0), None]);
        assert_eq!(filled(Rule::Mean, &good, 2), [Some(3.0), Some(3.0), None, None]);
        assert_eq!(filled(Rule::Linear, &good, 3), [Some(10.0), Some(14.0), Some(18.0), None]);
        assert_eq!(filled(Rule::Linear, &[5.0], 1), [Some(5.0), None, None, None]);
        assert_eq!(filled(Rule::Last, &[], 3), [None; 4]);
    }

    #[test]
    fn a_good_value_ends_a_gap_and_a_line_does_not_cross_it() {
        let mut fill = Fill::new(Missing { rule: Rule::Linear, points_max: 2 });
        [0.0, 1.0].iter().for_each(|value| fill.good(*value));
        assert_eq!((fill.fill(), fill.fill(), fill.fill()), (Some(2.0), Some(3.0), None));
        fill.good(50.0);
        assert_eq!(fill.fill(), Some(50.0), "one point makes no line");
        fill.reset();
        assert_eq!(fill.fill(), None);
    }
}
