//! Pauses between attempts: doubling, with jitter, up to a cap.
//!
//! Two kinds of attempts have pauses of their own. One at which nobody even takes the connection costs
//! a controller nothing: it is repeated every two seconds at the latest, so that a controller which was
//! switched off over night is read soon after it is switched on. One that reached somebody took up a
//! session, or a place among few connections: its pauses go up to the cap.

use std::time::Duration;

/// First pause.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// Longest pause while nobody takes the connection.
const UNREACHED_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses after failures in a row.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    unreached: Duration,
    cap: Duration,
}

impl Backoff {
    /// Starts with half a second; never longer than `cap`.
    pub fn new(cap: Duration) -> Self {
        Self { next: PAUSE_FIRST.min(cap), unreached: PAUSE_FIRST.min(cap), cap }
    }

    /// It worked: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        *self = Self::new(self.cap);
    }

    /// The next pause after somebody was reached.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.cap);
        with_jitter(pause)
    }

    /// The next pause after nobody took the connection. What was reached before counts on: a
    /// controller that comes and goes gets no more sessions than another.
    pub fn unreached(&mut self) -> Duration {
        let pause = self.unreached;
        self.unreached = (self.unreached * 2).min(UNREACHED_PAUSE_MAX).min(self.cap);
        with_jitter(pause)
    }

    /// The longest pause, for faults where trying again may do harm (a wrong password).
    pub fn longest(&mut self) -> Duration {
        self.next = self.cap;
        self.pause()
    }
}

/// Jitter takes up to a quarter off, so that devices that went away together (a switch) do not come
/// back in step.
fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - 0.25 * fastrand::f64())
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

    #[test]
    fn whoever_is_not_there_is_tried_often_and_who_was_reached_seldom() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let mut pauses = |reached: bool, most: &[f64]| {
            for most in most {
                let pause = if reached { backoff.pause() } else { backoff.unreached() }.as_secs_f64();
                assert!(pause <= *most && pause >= most * 0.75, "{pause} of {most}");
            }
        };
        pauses(false, &[0.5, 1.0, 2.0, 2.0, 2.0]);
        pauses(true, &[0.5, 1.0, 2.0, 4.0]);
        pauses(false, &[2.0]);
        pauses(true, &[8.0]);
        let mut short = Backoff::new(Duration::from_secs(1));
        assert!((0..5).all(|_| short.unreached() <= Duration::from_secs(1)), "the cap holds for both");
    }
}
