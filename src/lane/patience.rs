//! How long to wait for a disk that gives errors in the place of records.
//!
//! A second reading may give what the first one did not. So a reader keeps its place and tries again
//! with growing pauses. But one dead sector must not stop a lane for ever: what was asked for long
//! enough is passed over, and told as a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::journal::Unreadable;

/// First pause before the next try; doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A file of which something was passed over gets this part of the time for each other place.
const PART_OF_KNOWN_FILE: u32 = 16;
/// Places remembered at most. One that is forgotten gets its time again.
const PLACES_MAX: usize = 1024;

/// A file, and where in it a frame begins.
type Place = (String, u64);

/// Trouble with reading, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadTrouble {
    /// Since when it is tried again, microseconds since 1970 UTC.
    pub since_us: i64,
    /// What the disk says, and where.
    pub what: String,
}

/// What to do about records that the disk does not give.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep the place and try again.
    Wait {
        /// Nobody has met this before.
        is_new: bool,
    },
    /// It was tried for long enough.
    PassOver {
        /// Until now it was waited for.
        is_new: bool,
    },
}

/// What all readers of a lane know.
#[derive(Debug, Default)]
struct Known {
    waited_for: BTreeMap<Place, Waited>,
    passed_over: BTreeSet<Place>,
}

#[derive(Debug)]
struct Waited {
    trouble: ReadTrouble,
    since: Instant,
    pause: Duration,
    retry_at: Instant,
}

/// One reader's patience. Clones are for other readers of the same files, and share what is known.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    known: Arc<Mutex<Known>>,
    /// Where this reader waits, and for which offset.
    stuck: Option<(Place, u64)>,
}

impl Clone for Patience {
    fn clone(&self) -> Self {
        Self { limit: self.limit, known: Arc::clone(&self.known), stuck: None }
    }
}

impl Patience {
    /// Waits for each place at most so long.
    pub fn new(limit: Duration) -> Self {
        Self { limit, known: Arc::default(), stuck: None }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a reader at `offset` has to wait before the next try; `None` when it may read.
    pub fn pause_left(&self, offset: u64, now: Instant) -> Option<Duration> {
        let (place, _) = self.stuck.as_ref().filter(|(_, stuck)| *stuck == offset)?;
        let left = self.known().waited_for.get(place)?.retry_at.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Waits, at most `limit`, until a reader at `offset` may read; tells whether it may.
    pub fn wait(&self, offset: u64, limit: Duration, clock: &dyn Clock) -> bool {
        let Some(left) = self.pause_left(offset, clock.now()) else { return true };
        std::thread::sleep(left.min(limit));
        left <= limit
    }

    /// What this reader waits for.
    pub fn trouble(&self) -> Option<ReadTrouble> {
        let (place, _) = self.stuck.as_ref()?;
        self.known().waited_for.get(place).map(|waited| waited.trouble.clone())
    }

    /// The disk has not given something.
    pub fn stopped(&mut self, unreadable: &Unreadable, clock: &dyn Clock) -> Verdict {
        let place = (unreadable.file.clone(), unreadable.position);
        let now = clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.passed_over.contains(&place) {
            return Verdict::PassOver { is_new: false };
        }
        let is_known_file = known.passed_over.iter().any(|(file, _)| *file == place.0);
        let limit = if is_known_file { self.limit / PART_OF_KNOWN_FILE } else { self.limit };
        let is_new = !known.waited_for.contains_key(&place);
        let waited = known.waited_for.entry(place.clone()).or_insert_with(|| Waited {
            trouble: ReadTrouble { since_us: clock.now_us(), what: String::new() },
            since: now,
            pause: PAUSE_MIN / 2,
            retry_at: now,
        });
        if unreadable.error.is_passing() {
            // That says nothing of these records.
            waited.since = now;
        }
        if now.saturating_duration_since(waited.since) >= limit && !unreadable.error.is_passing() {
            known.waited_for.remove(&place);
            if known.passed_over.len() >= PLACES_MAX {
                known.passed_over.clear();
            }
            known.passed_over.insert(place);
            self.stuck = None;
            return Verdict::PassOver { is_new: true };
        }
        if waited.retry_at <= now {
            waited.pause = (waited.pause * 2).min(PAUSE_MAX);
            waited.retry_at = now + waited.pause;
        }
        waited.trouble.what = unreadable.to_string();
        self.stuck = Some((place, unreadable.from_offset));
        Verdict::Wait { is_new }
    }

    /// Reading goes on at `offset` now. What is skipped thereby somebody else will read.
    pub fn seek(&mut self, offset: u64) {
        self.stuck.take_if(|(_, stuck)| *stuck < offset);
    }

    /// Reading has come to `offset`. Gives the trouble that is over by that.
    pub fn came_to(&mut self, offset: u64) -> Option<ReadTrouble> {
        let (place, _) = self.stuck.take_if(|(_, stuck)| *stuck < offset)?;
        self.known().waited_for.remove(&place).map(|waited| waited.trouble)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Hours(Instant, AtomicU64);

    impl Hours {
        fn pass(&self, time: Duration) {
            self.1.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
        }
    }

    impl Clock for Hours {
        fn now_us(&self) -> i64 {
            i64::try_from(self.1.load(Ordering::SeqCst)).unwrap() * 1000
        }
        fn now(&self) -> Instant {
            self.0 + Duration::from_millis(self.1.load(Ordering::SeqCst))
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const EIO: i32 = 5;
    const EMFILE: i32 = 24;

    fn clock() -> Hours {
        Hours(Instant::now(), AtomicU64::new(0))
    }

    fn at(file: &str, position: u64, number: i32) -> Unreadable {
        let error = io::Error::from_raw_os_error(number).into();
        Unreadable { from_offset: 7, file: file.to_owned(), position, error }
    }

    #[test]
    fn pauses_grow_to_a_minute_and_it_is_passed_over_after_the_time() {
        let (clock, mut patience) = (clock(), Patience::new(6 * HOUR));
        let mut pauses = Vec::new();
        while patience.stopped(&at("a", 64, EIO), &clock) != (Verdict::PassOver { is_new: true }) {
            assert!(patience.pause_left(6, clock.now()).is_none(), "elsewhere it may read");
            let pause = patience.pause_left(7, clock.now()).unwrap();
            pauses.push(pause.as_secs());
            clock.pass(pause);
            assert_eq!(patience.pause_left(7, clock.now()), None);
        }
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses.iter().max(), Some(&60));
        assert!((6 * 3600..6 * 3600 + 60).contains(&pauses.iter().sum::<u64>()), "{pauses:?}");
        assert_eq!(patience.trouble(), None);
        // Read again, as after an aborted transaction, by this reader or another.
        let again = Verdict::PassOver { is_new: false };
        assert_eq!(
            (
                patience.stopped(&at("a", 64, EIO), &clock),
                patience.clone().stopped(&at("a", 64, EIO), &clock)
            ),
            (again, Verdict::PassOver { is_new: false })
        );
        // Elsewhere in the file it takes less, in another as long.
        for (file, time) in [("a", 6 * HOUR / 16), ("b", 6 * HOUR)] {
            assert_eq!(patience.stopped(&at(file, 99, EIO), &clock), Verdict::Wait { is_new: true });
            clock.pass(time - Duration::from_secs(1));
            assert_eq!(patience.stopped(&at(file, 99, EIO), &clock), Verdict::Wait { is_new: false });
            clock.pass(Duration::from_secs(1));
            assert_eq!(patience.stopped(&at(file, 99, EIO), &clock), Verdict::PassOver { is_new: true });
        }
    }

    #[test]
    fn want_of_file_handles_is_waited_for_without_end() {
        let (clock, mut patience) = (clock(), Patience::new(HOUR));
        for _ in 0..100 {
            assert!(matches!(patience.stopped(&at("a", 0, EMFILE), &clock), Verdict::Wait { .. }));
            clock.pass(HOUR);
        }
        assert!(matches!(patience.stopped(&at("a", 0, EIO), &clock), Verdict::PassOver { .. }));
    }

    #[test]
    fn trouble_says_since_when_and_ends_when_reading_gets_behind_it() {
        let (clock, mut patience) = (clock(), Patience::new(HOUR));
        patience.stopped(&at("a", 4096, EIO), &clock);
        clock.pass(Duration::from_secs(90));
        patience.stopped(&at("a", 4096, EIO), &clock);
        let what = "Input/output error (os error 5) at byte 4096 of a".to_owned();
        assert_eq!(patience.trouble(), Some(ReadTrouble { since_us: 0, what }));
        assert_eq!(patience.came_to(7), None, "that is where it waits");
        assert!(patience.came_to(8).is_some());
        assert_eq!((patience.trouble(), patience.came_to(9)), (None, None));
        assert_eq!(patience.stopped(&at("a", 4096, EIO), &clock), Verdict::Wait { is_new: true });
        // Fresh data goes first, and another reader meets the same.
        patience.seek(100);
        assert_eq!((patience.trouble(), patience.came_to(101)), (None, None));
        assert_eq!(patience.clone().stopped(&at("a", 4096, EIO), &clock), Verdict::Wait { is_new: false });
    }
}
