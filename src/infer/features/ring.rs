//! The last values of one input.

/// A ring of values, allocated once.
#[derive(Clone)]
pub(super) struct Ring {
    values: Vec<f64>,
    /// Where the next value goes.
    next: usize,
}

impl Ring {
    pub(super) fn new(length: usize) -> Self {
        Self { values: vec![0.0; length.max(1)], next: 0 }
    }

    pub(super) fn push(&mut self, value: f64) {
        self.values[self.next] = value;
        self.next = (self.next + 1) % self.values.len();
    }

    /// The value so many pushes ago, 0 for the newest; less than the length.
    pub(super) fn ago(&self, points: usize) -> f64 {
        let length = self.values.len();
        self.values[(self.next + length - 1 - points % length) % length]
    }

    /// The newest values, oldest first.
    pub(super) fn last(&self, points: usize) -> impl Iterator<Item = f64> + Clone {
        let length = self.values.len();
        let start = (self.next + length - points.min(length)) % length;
        let (before, from) = self.values.split_at(start);
        from.iter().chain(before).take(points).copied()
    }
}
