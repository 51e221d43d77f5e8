//! Who is signed in: in memory only, so that a restart of the box signs everybody out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::people::Person;

/// A session ends after this time.
pub(super) const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// … and when nothing was done for so long.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Sessions at once; the one that was idle for longest goes.
const SESSIONS_MAX: usize = 64;
/// Random bytes of a session and of its token.
const RANDOM_BYTES: usize = 32;

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub(in crate::status) struct Signed {
    /// Who.
    pub person: Person,
    /// What a form must carry to be theirs.
    pub token: String,
}

struct Session {
    signed: Signed,
    begun: Instant,
    used: Instant,
}

/// All sessions, by the hash of their secret: nothing can be learned from how long a search takes.
#[derive(Default)]
pub(super) struct Sessions(HashMap<[u8; 32], Session>);

fn key(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// 256 random bits in hexadecimal digits.
fn random() -> Option<String> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Sessions {
    /// Begins a session and gives its secret; `None` when the system has no random numbers.
    pub fn begin(&mut self, person: Person, now: Instant) -> Option<String> {
        self.end_old(now);
        if self.0.len() >= SESSIONS_MAX {
            let idle = self.0.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            idle.map(|key| self.0.remove(&key));
        }
        let (secret, token) = (random()?, random()?);
        let signed = Signed { person, token };
        self.0.insert(key(&secret), Session { signed, begun: now, used: now });
        Some(secret)
    }

    /// Who has this secret. `uses` = a person does something, no page loads itself.
    pub fn find(&mut self, secret: &str, uses: bool, now: Instant) -> Option<Signed> {
        self.end_old(now);
        let session = self.0.get_mut(&key(secret))?;
        if uses {
            session.used = now;
        }
        Some(session.signed.clone())
    }

    /// Ends a session.
    pub fn end(&mut self, secret: &str) {
        self.0.remove(&key(secret));
    }

    fn end_old(&mut self, now: Instant) {
        self.0.retain(|_, session| {
            now.duration_since(session.begun) < LIFETIME && now.duration_since(session.used) < IDLE_MAX
        });
    }
}

/// Whether two texts are the same, in a time that does not depend on where they differ.
pub(super) fn same(a: &str, b: &str) -> bool {
    let differences = a.bytes().zip(b.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Role;

    fn anna() -> Person {
        Person { name: "anna".to_owned(), role: Role::Operator, added_us: 1 }
    }

    #[test]
    fn a_session_ends_by_itself() {
        let (mut sessions, begun) = (Sessions::default(), Instant::now());
        let secret = sessions.begin(anna(), begun).unwrap();
        assert_eq!(secret.len(), 64);
        let minutes = |minutes: u64| begun + Duration::from_secs(minutes * 60);
        assert_eq!(sessions.find(&secret, true, minutes(29)).unwrap().person, anna());
        assert!(sessions.find(&secret, false, minutes(58)).is_some(), "used 29 minutes ago");
        assert!(sessions.find(&secret, true, minutes(60)).is_none(), "a page that loads itself uses nothing");
        let secret = sessions.begin(anna(), begun).unwrap();
        let used = (1..480).step_by(20).filter(|at| sessions.find(&secret, true, minutes(*at)).is_some());
        assert_eq!(used.count(), 24);
        assert!(sessions.find(&secret, true, minutes(481)).is_none(), "after eight hours");
        let secret = sessions.begin(anna(), begun).unwrap();
        sessions.end(&secret);
        assert!(sessions.find(&secret, true, begun).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_secrets_differ() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let mut secrets: Vec<String> = (0..200).map(|_| sessions.begin(anna(), now).unwrap()).collect();
        assert_eq!(sessions.0.len(), SESSIONS_MAX);
        let last = secrets.last().cloned().unwrap();
        let signed = sessions.find(&last, true, now).unwrap();
        assert!(signed.token.len() == 64 && signed.token != last);
        secrets.sort();
        secrets.dedup();
        assert_eq!(secrets.len(), 200);
        assert!(same("ab", "ab") && !same("ab", "ac") && !same("ab", "abc") && !same("", "a"));
    }
}
