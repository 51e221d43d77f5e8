//! How good the inputs in the window are.

use std::collections::VecDeque;

/// Number of good inputs at each of the last points of the grid.
#[derive(Debug)]
pub(super) struct InputQuality {
    good: VecDeque<usize>,
    sum: usize,
    window: usize,
}

impl InputQuality {
    /// Of a window of so many points.
    pub fn new(window: usize) -> Self {
        Self { good: VecDeque::with_capacity(window), sum: 0, window: window.max(1) }
    }

    /// A point of the grid with so many good inputs.
    pub fn push(&mut self, good: usize) {
        if self.good.len() == self.window {
            self.sum -= self.good.pop_front().unwrap_or_default();
        }
        self.good.push_back(good);
        self.sum += good;
    }

    /// The window begins anew.
    pub fn clear(&mut self) {
        self.good.clear();
        self.sum = 0;
    }

    /// Share of good inputs in the window, 0 to 1, of `inputs` at each point.
    #[allow(clippy::cast_precision_loss)] // at most 4096 points of 64 inputs
    pub fn share(&self, inputs: usize) -> f32 {
        let asked = self.good.len() * inputs;
        if asked == 0 { 0.0 } else { self.sum as f32 / asked as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let mut quality = InputQuality::new(4);
        assert_eq!(quality.share(2), 0.0);
        [0, 2, 2, 1, 2].into_iter().for_each(|good| quality.push(good));
        assert_eq!(quality.share(2), 0.875);
        quality.clear();
        quality.push(2);
        assert_eq!(quality.share(2), 1.0);
    }
}
