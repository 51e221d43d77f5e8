//! Pauses between attempts: doubling, with jitter, up to a cap.

use std::time::Duration;

/// First pause.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// Pauses after failures in a row.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// Starts with half a second; never longer than `cap`.
    pub fn new(cap: Duration) -> Self {
        Self { next: PAUSE_FIRST.min(cap), cap }
    }

    /// It worked: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.next = PAUSE_FIRST.min(self.cap);
    }

    /// The next pause. Jitter takes up to a quarter off, so that devices that went away together
    /// (a switch) do not come back in step.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.cap);
        pause.mul_f64(1.0 - 0.25 * fastrand::f64())
    }

    /// The longest pause, for faults where trying again may do harm (a wrong password).
    pub fn longest(&mut self) -> Duration {
        self.next = self.cap;
        self.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_secs(3));
        for most in [0.5, 1.0, 2.0, 3.0, 3.0] {
            let pause = backoff.pause().as_secs_f64();
            assert!(pause <= most && pause >= most * 0.75, "{pause} of {most}");
        }
        backoff.reset();
        assert!(backoff.pause() <= PAUSE_FIRST);
    }
}
