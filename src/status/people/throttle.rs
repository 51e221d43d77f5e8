//! Wrong passwords: a few are free, then each costs more time.
//!
//! Counted by address and name, so that nobody keeps somebody else out from another machine; and by
//! address alone, against many names. All tries together are bounded too, because each costs the box
//! some work: who floods it keeps others waiting as long as the flood lasts, and no longer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong passwords for one name that cost nothing.
const FREE_OF_NAME: u32 = 3;
/// Wrong passwords of one address that cost nothing.
const FREE_OF_ADDRESS: u32 = 10;
/// What the next one costs; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(15);
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Without a try for so long all is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// What is remembered at most.
const REMEMBERED_MAX: usize = 512;
/// Tries in [`ALL_WITHIN`] at most, of everybody together.
const ALL_MAX: usize = 30;
const ALL_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
    /// Until then no further try.
    until: Instant,
}

/// Who has typed wrong passwords.
#[derive(Default)]
pub(super) struct Throttle {
    /// Address, and name; the empty name stands for the address alone.
    wrong: HashMap<(IpAddr, String), Wrong>,
    tries: Vec<Instant>,
}

impl Throttle {
    /// Whether a password may be tried now; else how long to wait. A try that may be is counted.
    pub fn may_try(&mut self, from: IpAddr, name: &str, now: Instant) -> Result<(), Duration> {
        self.tries.retain(|at| now.duration_since(*at) < ALL_WITHIN);
        if let Some(first) = self.tries.first().filter(|_| self.tries.len() >= ALL_MAX) {
            return Err(ALL_WITHIN.saturating_sub(now.duration_since(*first)));
        }
        let of = |name: &str| self.wrong.get(&(from, name.to_owned()));
        let until = of(name).into_iter().chain(of("")).map(|wrong| wrong.until).max();
        if let Some(wait) = until.map(|until| until.saturating_duration_since(now)).filter(|it| !it.is_zero())
        {
            return Err(wait);
        }
        self.tries.push(now);
        Ok(())
    }

    /// The password was wrong. Gives whether that is worth an event: one that costs time from now on.
    pub fn was_wrong(&mut self, from: IpAddr, name: &str, now: Instant) -> bool {
        self.wrong.retain(|_, wrong| now.duration_since(wrong.last) < FORGET_AFTER);
        let of_name = self.count((from, name.to_owned()), FREE_OF_NAME, now);
        let of_address = self.count((from, String::new()), FREE_OF_ADDRESS, now);
        of_name || of_address
    }

    fn count(&mut self, key: (IpAddr, String), free: u32, now: Instant) -> bool {
        if self.wrong.len() >= REMEMBERED_MAX && !self.wrong.contains_key(&key) {
            // Of names that nobody tried again the oldest goes; the count of its address stays.
            let oldest = self.wrong.iter().filter(|((_, name), _)| !name.is_empty());
            let oldest = oldest.min_by_key(|(_, wrong)| wrong.last).map(|(key, _)| key.clone());
            oldest.or_else(|| self.wrong.keys().next().cloned()).map(|key| self.wrong.remove(&key));
        }
        let wrong = self.wrong.entry(key).or_insert(Wrong { count: 0, last: now, until: now });
        (wrong.count, wrong.last) = (wrong.count.saturating_add(1), now);
        let Some(doubled) = wrong.count.checked_sub(free) else { return false };
        let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(doubled.min(16)).unwrap_or(u32::MAX));
        wrong.until = now + wait.min(WAIT_MAX);
        true
    }

    /// The password was right: what this person typed wrong before does not count any more.
    pub fn was_right(&mut self, from: IpAddr, name: &str) {
        self.wrong.remove(&(from, name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 8));

    #[test]
    fn wrong_passwords_cost_more_and_more_time() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            while let Err(wait) = throttle.may_try(HERE, "anna", now) {
                waits.push(wait.as_secs());
                now += wait;
            }
            throttle.was_wrong(HERE, "anna", now);
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(throttle.may_try(THERE, "anna", now), Ok(()), "another machine is not kept out");
        throttle.was_right(HERE, "anna");
        assert!(throttle.may_try(HERE, "anna", now + WAIT_MAX).is_ok());
        assert!(throttle.wrong.contains_key(&(HERE, String::new())), "the address is remembered");
    }

    #[test]
    fn many_names_from_one_address_cost_time_too() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        let mut refused = 0;
        for at in 0..40 {
            now += Duration::from_secs(3);
            let name = format!("name-{at}");
            match throttle.may_try(HERE, &name, now) {
                Ok(()) => {
                    throttle.was_wrong(HERE, &name, now);
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= 25, "{refused} of 40");
    }

    #[test]
    fn all_tries_together_and_all_that_is_remembered_are_bounded() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let address = |at: u32| IpAddr::V4((0x0a00_0000 + at).into());
        let tried = (0..1000).filter(|at| throttle.may_try(address(*at), "anna", now).is_ok()).count();
        assert_eq!(tried, ALL_MAX);
        assert_eq!(throttle.may_try(HERE, "anna", now + ALL_WITHIN), Ok(()), "and then it goes on");
        for at in 0..2000 {
            throttle.was_wrong(address(at), "anna", now);
        }
        assert!(throttle.wrong.len() <= REMEMBERED_MAX);
    }
}
