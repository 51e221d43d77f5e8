//! Which scan classes are due, and when the next one is.
//!
//! A device that is too slow for what is asked of it is slowed down rather than hurried: a scan
//! class whose rounds take longer than its interval again and again is stretched to twice the
//! interval, step by step, and comes back step by step when its rounds have been quick for a while.

use std::time::Duration;

use forebay_connector::ScanClass;
use tokio::time::Instant;

/// Rounds that are looked back upon.
const ROUNDS: u32 = 10;
/// So many of them later than the interval stretch the class.
const LATE_MAX: u32 = 5;
/// Longest stretch, as a multiple of the interval.
const STRETCH_MAX: u32 = 64;
/// A class comes back one step after so much time of quick rounds.
const QUICK_FOR: Duration = Duration::from_secs(60);
/// Quick is a round that takes less than this share of the shorter interval, in percent.
const QUICK_PERCENT: u32 = 70;

/// One scan class.
#[derive(Debug)]
struct Class {
    interval: Duration,
    /// Multiple of the interval at which it is read.
    stretch: u32,
    next: Instant,
    /// The latest rounds, one bit each, the newest lowest; set when it took longer than the interval.
    late: u32,
    /// Since when all rounds have been quick enough for the step below.
    quick_since: Option<Instant>,
}

impl Class {
    /// Time between two reads as it is now.
    fn period(&self) -> Duration {
        self.interval.saturating_mul(self.stretch)
    }
}

/// A scan class is read more or less often than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Index of the class.
    pub scan: usize,
    /// It is read at this multiple of its interval now; 1: as asked.
    pub stretch: u32,
    /// What its latest round took.
    pub took: Duration,
    /// It is read less often than before.
    pub slower: bool,
}

/// Due times of a device's scan classes, on a fixed grid from the first poll on.
#[derive(Debug)]
pub struct Schedule {
    classes: Vec<Class>,
}

impl Schedule {
    /// Everything is due at `start`.
    pub fn new(scans: &[ScanClass], start: Instant) -> Self {
        let class = |scan: &ScanClass| Class {
            interval: scan.interval,
            stretch: 1,
            next: start,
            late: 0,
            quick_since: None,
        };
        Self { classes: scans.iter().map(class).collect() }
    }

    /// Everything is due at `start` again; what was learnt about the device's speed stays.
    pub fn restart(&mut self, start: Instant) {
        for class in &mut self.classes {
            class.next = start;
        }
    }

    /// When the next class is due; `None` without classes.
    pub fn next(&self) -> Option<Instant> {
        self.classes.iter().map(|class| class.next).min()
    }

    /// Puts the indices of the classes due at `now` into `due` and moves them on.
    ///
    /// Returns how many scans came too late to be made: a poll took longer than its interval.
    pub fn take_due(&mut self, now: Instant, due: &mut Vec<usize>) -> u64 {
        due.clear();
        let mut missed = 0;
        for (index, class) in self.classes.iter_mut().enumerate() {
            if class.next > now {
                continue;
            }
            due.push(index);
            let period = class.period();
            let late = u64::try_from((now - class.next).as_nanos() / period.as_nanos().max(1));
            let late = late.unwrap_or(u64::MAX);
            missed += late;
            let steps = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
            class.next = class.next.checked_add(period.saturating_mul(steps)).unwrap_or(now + period);
        }
        missed
    }

    /// Notes at `now` that the round of the classes in `due` took so long; gives the classes that
    /// are read more or less often from now on.
    pub fn note(&mut self, due: &[usize], took: Duration, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for scan in due {
            let Some(class) = self.classes.get_mut(*scan) else { continue };
            let before = class.stretch;
            class.note(took, now);
            if class.stretch != before {
                let slower = class.stretch > before;
                changes.push(Change { scan: *scan, stretch: class.stretch, took, slower });
            }
        }
        changes
    }
}

impl Class {
    fn note(&mut self, took: Duration, now: Instant) {
        self.late = (self.late << 1 | u32::from(took > self.period())) & ((1 << ROUNDS) - 1);
        if self.late.count_ones() >= LATE_MAX && self.stretch < STRETCH_MAX {
            self.stretch *= 2;
            (self.late, self.quick_since) = (0, None);
            return;
        }
        let quick = self.interval.saturating_mul(self.stretch / 2) * QUICK_PERCENT / 100;
        if self.stretch == 1 || took > quick {
            self.quick_since = None;
            return;
        }
        if now.duration_since(*self.quick_since.get_or_insert(now)) >= QUICK_FOR {
            self.stretch /= 2;
            (self.late, self.quick_since) = (0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(name: &str, ms: u64) -> ScanClass {
        ScanClass { name: name.to_owned(), interval: Duration::from_millis(ms) }
    }

    #[test]
    fn classes_keep_their_grid_and_missed_scans_are_counted() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&[scan("fast", 200), scan("slow", 1000)], start);
        let mut due = Vec::new();
        assert_eq!(schedule.take_due(start, &mut due), 0);
        assert_eq!(due, [0, 1]);
        assert_eq!(schedule.next(), Some(start + Duration::from_millis(200)));
        // 450 ms late: the scan of 200 is made now, that of 400 is missed, the grid stays.
        assert_eq!(schedule.take_due(start + Duration::from_millis(450), &mut due), 1);
        assert_eq!(due, [0]);
        assert_eq!(schedule.next(), Some(start + Duration::from_millis(600)));
    }

    #[test]
    fn a_slow_device_is_slowed_step_by_step_and_comes_back_step_by_step() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&[scan("fast", 200)], start);
        let mut now = start;
        let mut stretches = Vec::new();
        let mut due = Vec::new();
        // 700 ms a round for a while, then 20 ms.
        for took in [vec![700; 100], vec![20; 1000]].concat().into_iter().map(Duration::from_millis) {
            now = now.max(schedule.next().unwrap());
            schedule.take_due(now, &mut due);
            now += took;
            for change in schedule.note(&due, took, now) {
                stretches.push((change.stretch, change.slower));
            }
        }
        assert_eq!(stretches, [(2, true), (4, true), (2, false), (1, false)]);
    }

    #[test]
    fn one_slow_round_changes_nothing_and_a_stretch_ends_somewhere() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&[scan("fast", 200)], start);
        for round in 0..100_u64 {
            let took = Duration::from_millis(if round % 3 == 0 { 900 } else { 20 });
            assert_eq!(schedule.note(&[0], took, start + Duration::from_millis(200 * round)), []);
        }
        for _ in 0..1000 {
            schedule.note(&[0], Duration::from_secs(3600), start);
        }
        assert_eq!(schedule.classes[0].stretch, STRETCH_MAX);
    }
}
