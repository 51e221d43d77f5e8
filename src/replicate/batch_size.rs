//! How large the batches are that a broker is handed: smaller when it refuses them, larger again
//! after a while without refusals.

use std::time::{Duration, Instant};

/// Largest batch of records that is handed to a broker at once, unless it refused that.
const BYTES_MAX: usize = 1_000_000;
/// With smaller batches than this, each record has one of its own.
const BYTES_SMALL: usize = 1_000;
/// Pause before larger batches are tried again; doubles while they are refused, because each try
/// costs a transaction.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Size of batches, in bytes of records.
#[derive(Debug)]
pub(super) struct BatchSize {
    bytes: usize,
    pause: Duration,
    changed: Instant,
    /// The last change was to larger batches.
    has_grown: bool,
}

impl BatchSize {
    pub fn new(now: Instant) -> Self {
        Self { bytes: BYTES_MAX, pause: PAUSE_MIN, changed: now, has_grown: false }
    }

    /// Bytes at most, except that a batch holds at least one record. So a record that has more
    /// was alone in its batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A batch was refused. False when each record has a batch of its own already.
    pub fn shrink(&mut self, now: Instant) -> bool {
        if self.bytes <= 1 {
            return false;
        }
        self.bytes = if self.bytes > BYTES_SMALL { (self.bytes / 4).max(BYTES_SMALL) } else { 1 };
        if std::mem::take(&mut self.has_grown) {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        self.changed = now;
        true
    }

    /// Each record is to have a batch of its own. False when each has already.
    pub fn single(&mut self, now: Instant) -> bool {
        let changes = self.bytes > 1;
        (self.bytes, self.changed) = (1, now);
        changes
    }

    /// A batch was taken. True when larger ones are to be tried now, which needs a new producer.
    pub fn grow(&mut self, now: Instant) -> bool {
        if self.bytes == BYTES_MAX || now.saturating_duration_since(self.changed) < self.pause {
            return false;
        }
        // Larger batches were taken for as long as we would wait for a try: the refusals are over.
        if self.has_grown {
            self.pause = PAUSE_MIN;
        }
        self.bytes = (self.bytes * 4).clamp(BYTES_SMALL, BYTES_MAX);
        self.has_grown = true;
        self.changed = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_to_single_records_and_grow_again() {
        let start = Instant::now();
        let mut size = BatchSize::new(start);
        assert!(!size.grow(start + PAUSE_MAX), "nothing is larger");
        let mut sizes = Vec::new();
        while size.shrink(start) {
            sizes.push(size.bytes());
        }
        assert_eq!(sizes, [250_000, 62_500, 15_625, 3_906, 1_000, 1]);
        let mut now = start;
        assert!(!size.grow(now + PAUSE_MIN / 2));
        let mut sizes = Vec::new();
        loop {
            now += PAUSE_MIN;
            if !size.grow(now) {
                break;
            }
            sizes.push(size.bytes());
        }
        assert_eq!(sizes, [1_000, 4_000, 16_000, 64_000, 256_000, BYTES_MAX]);
    }

    #[test]
    fn a_limit_that_stays_is_tried_ever_less_often() {
        let mut now = Instant::now();
        let mut size = BatchSize::new(now);
        assert!(size.shrink(now));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let refused = now;
            while !size.grow(now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - refused).as_secs());
            assert!(size.shrink(now));
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
    }
}
