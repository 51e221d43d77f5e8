//! Certificates and passwords that change while we work.

use std::time::{Duration, Instant};

/// Files and secrets are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a session logged in with.
#[derive(Debug)]
pub(super) struct Identity {
    /// At its start.
    used: [u8; 32],
    /// At the last look.
    seen: [u8; 32],
    looked: Instant,
    /// What was found not to work, so that it is said once.
    useless: Option<[u8; 32]>,
}

impl Identity {
    pub fn new(used: [u8; 32], now: Instant) -> Self {
        Self { used, seen: used, looked: now, useless: None }
    }

    /// True when a new session should log in anew: something has changed, has stayed the same
    /// for two looks, so that nobody is still writing it, and works by all that can be told here.
    /// Until then the old connection is worth more.
    pub fn is_renewed(
        &mut self,
        now: Instant,
        fingerprint: impl FnOnce() -> [u8; 32],
        works: impl FnOnce() -> Result<(), String>,
    ) -> bool {
        if now.saturating_duration_since(self.looked) < LOOK_EVERY {
            return false;
        }
        self.looked = now;
        let before = std::mem::replace(&mut self.seen, fingerprint());
        if self.seen == self.used || self.seen != before || self.useless == Some(self.seen) {
            return false;
        }
        match works() {
            Ok(()) => true,
            Err(cause) => {
                tracing::warn!(
                    "the new certificate, key or password is not used, because it does not work: {cause}"
                );
                self.useless = Some(self.seen);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_is_complete_and_works() {
        let start = Instant::now();
        let mut identity = Identity::new([0; 32], start);
        let mut second = 0;
        let mut look = |content: u8, works: bool| {
            second += 5;
            let works = || works.then_some(()).ok_or("key and certificate do not match".to_owned());
            identity.is_renewed(start + Duration::from_secs(second), || [content; 32], works)
        };
        assert!(!look(0, true), "nothing has changed");
        assert!(!look(1, true), "may still be written");
        assert!(!look(2, true), "was still written");
        assert!(!look(2, false));
        assert!(!look(2, false));
        assert!(!look(3, true));
        assert!(look(3, true));
        assert!(!look(0, true), "taken back");
        assert!(!look(0, true));
    }
}
