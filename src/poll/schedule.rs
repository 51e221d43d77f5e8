//! Which scan classes are due, and when the next one is.
//!
//! A device that is too slow for what is asked of it is slowed down rather than hurried: a scan
//! class whose rounds take longer than its interval again and again is stretched to twice the
//! interval, step by step, and comes back step by step when its rounds have been quick for a while.
//!
//! All due times lie on one grid for the whole box, each device at its own place in it: a hundred
//! devices that are read every second are not all read at the same moment, and two classes of a
//! device whose intervals are multiples are due together and share their requests.

use std::sync::OnceLock;
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
    /// Not yet read since the start: due at once, wherever the grid is.
    is_first: bool,
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

    /// Moves on from a read at `now`; gives the number of reads left out.
    fn move_on(&mut self, now: Instant, grid: Grid) -> u64 {
        let period = self.period();
        if std::mem::take(&mut self.is_first) {
            self.next = grid.after(now + period.saturating_sub(grid.step / 2));
            return 0;
        }
        let late = u64::try_from((now - self.next).as_nanos() / period.as_nanos().max(1));
        let late = late.unwrap_or(u64::MAX);
        let steps = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        self.next = self.next.checked_add(period.saturating_mul(steps)).unwrap_or(now + period);
        late
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

/// The times at which a device is due: `phase` after zero, and whole steps before and after it.
#[derive(Debug, Clone, Copy)]
struct Grid {
    zero: Instant,
    phase: Duration,
    /// The shortest interval of the device.
    step: Duration,
}

impl Grid {
    /// The first time of the grid behind `now`.
    fn after(self, now: Instant) -> Instant {
        let step_ns = self.step.as_nanos().max(1);
        let past_ns = now.saturating_duration_since(self.zero).as_nanos() + step_ns;
        let into_ns = (past_ns - self.phase.as_nanos() % step_ns) % step_ns;
        now + Duration::from_nanos(u64::try_from(step_ns - into_ns).unwrap_or(u64::MAX))
    }
}

/// Due times of a device's scan classes, on a fixed grid from the first poll on.
#[derive(Debug)]
pub struct Schedule {
    classes: Vec<Class>,
    grid: Grid,
}

/// Where in its step a device of this name stands: evenly distributed, and the same after a restart.
fn phase(name: &str, step: Duration) -> Duration {
    // FNV-1a with a last mix: similar names stand far apart.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let step_ns = u128::from(u64::try_from(step.as_nanos()).unwrap_or(u64::MAX));
    // The upper bits of a product are the well mixed ones.
    let phase_ns = (u128::from(hash) * step_ns) >> 64;
    Duration::from_nanos(u64::try_from(phase_ns).unwrap_or(0))
}

impl Schedule {
    /// Everything is due at `start`, later reads at the device's place in the grid.
    pub fn new(name: &str, scans: &[ScanClass], start: Instant) -> Self {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        let step = scans.iter().map(|scan| scan.interval).min().unwrap_or_default();
        let grid = Grid { zero: *ZERO.get_or_init(Instant::now), phase: phase(name, step), step };
        Self::on(grid, scans, start)
    }

    fn on(grid: Grid, scans: &[ScanClass], start: Instant) -> Self {
        let class = |scan: &ScanClass| Class {
            interval: scan.interval,
            stretch: 1,
            next: start,
            is_first: true,
            late: 0,
            quick_since: None,
        };
        Self { classes: scans.iter().map(class).collect(), grid }
    }

    /// Everything is due at `start` again; what was learnt about the device's speed stays.
    pub fn restart(&mut self, start: Instant) {
        for class in &mut self.classes {
            (class.next, class.is_first) = (start, true);
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
            missed += class.move_on(now, self.grid);
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

    /// A schedule whose grid begins at `start`.
    fn schedule(scans: &[ScanClass], start: Instant) -> Schedule {
        let step = scans.iter().map(|scan| scan.interval).min().unwrap();
        Schedule::on(Grid { zero: start, phase: Duration::ZERO, step }, scans, start)
    }

    #[test]
    fn devices_stand_apart_in_the_grid_and_classes_of_one_together() {
        let start = Instant::now();
        let scans = [scan("fast", 200), scan("slow", 1000)];
        let mut due = Vec::new();
        let mut places: Vec<Duration> = (0..100)
            .map(|number| {
                let mut schedule = Schedule::new(&format!("press-{number}"), &scans, start);
                schedule.take_due(start, &mut due);
                let first = schedule.next().unwrap();
                assert!(first - start >= Duration::from_millis(100), "not at once again");
                assert!(first - start <= Duration::from_millis(300), "nor much later than asked");
                while due.len() < 2 || schedule.next().unwrap() == first {
                    assert_eq!(schedule.take_due(schedule.next().unwrap(), &mut due), 0);
                }
                assert_eq!(due, [0, 1], "the slow class is due when the fast one is");
                first - start
            })
            .collect();
        places.sort();
        let widest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest < Duration::from_millis(20), "200 ms hold 100 devices: {widest:?}");
    }

    fn scan(name: &str, ms: u64) -> ScanClass {
        ScanClass { name: name.to_owned(), interval: Duration::from_millis(ms) }
    }

    #[test]
    fn classes_keep_their_grid_and_missed_scans_are_counted() {
        let start = Instant::now();
        let mut schedule = schedule(&[scan("fast", 200), scan("slow", 1000)], start);
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
        let mut schedule = schedule(&[scan("fast", 200)], start);
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
        let mut schedule = schedule(&[scan("fast", 200)], start);
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
