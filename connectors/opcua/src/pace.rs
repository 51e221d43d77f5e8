//! How often a server is asked for a session.
//!
//! Servers have room for few sessions (a controller for five to twenty), and one whose end the
//! server has not seen stays for its timeout. So no more than a few may be left behind at a time,
//! and a server that is full, or that refuses the user, is left alone for a while.

use std::time::{Duration, Instant};

use forebay_connector::PollError;

/// A session that we could not close ends on the server after this time.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Most sessions that the server may still hold for us when another one is opened.
const LEFT_BEHIND_MAX: usize = 4;
/// How long a server is left alone that is full or refuses the user.
const REST: Duration = Duration::from_secs(60);

/// What the server may still hold for us, and what it has said.
#[derive(Default)]
pub(crate) struct Pace {
    /// When sessions were left without their end having been confirmed.
    left: Vec<Instant>,
    rest: Option<(Instant, PollError)>,
}

impl Pace {
    /// Says why no session may be opened now.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), PollError> {
        if let Some((end, error)) = &self.rest {
            if now < *end {
                return Err(error.clone());
            }
            self.rest = None;
        }
        self.left.retain(|left| now.duration_since(*left) < SESSION_TIMEOUT);
        let Some(first) = self.left.first().filter(|_| self.left.len() >= LEFT_BEHIND_MAX) else {
            return Ok(());
        };
        let wait = SESSION_TIMEOUT.saturating_sub(now.duration_since(*first)).as_secs() + 1;
        Err(PollError::Refused {
            what: format!(
                "{} connections in a row broke before they could be ended, and the server may still hold their \
                 sessions; the next one is opened in {wait} s. See why connections break: network, server log",
                self.left.len()
            ),
        })
    }

    /// Notes a session whose end the server has not confirmed.
    pub(crate) fn left_behind(&mut self, now: Instant) {
        self.left.push(now);
    }

    /// Leaves the server alone for a while, with this as the reason.
    pub(crate) fn rest(&mut self, now: Instant, error: PollError) {
        self.rest = Some((now + REST, error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_left_behind_are_few_at_a_time() {
        let mut pace = Pace::default();
        let start = Instant::now();
        for number in 0..4u64 {
            assert_eq!(pace.check(start + Duration::from_secs(number)), Ok(()));
            pace.left_behind(start + Duration::from_secs(number));
        }
        let error = pace.check(start + Duration::from_secs(5)).expect_err("four are left");
        assert!(matches!(&error, PollError::Refused { what } if what.contains("26 s")), "{error}");
        assert_eq!(pace.check(start + SESSION_TIMEOUT), Ok(()));
    }

    #[test]
    fn a_full_server_is_left_alone() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let full = PollError::Refused { what: "full".into() };
        pace.rest(start, full.clone());
        assert_eq!(pace.check(start + REST / 2), Err(full));
        assert_eq!(pace.check(start + REST), Ok(()));
    }
}
