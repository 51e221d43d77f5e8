//! Which scan classes are due, and when the next one is.

use std::time::Duration;

use forebay_connector::ScanClass;
use tokio::time::Instant;

/// Due times of a device's scan classes, on a fixed grid from the first poll on.
#[derive(Debug)]
pub struct Schedule {
    classes: Vec<(Duration, Instant)>,
}

impl Schedule {
    /// Everything is due at `start`.
    pub fn new(scans: &[ScanClass], start: Instant) -> Self {
        Self { classes: scans.iter().map(|scan| (scan.interval, start)).collect() }
    }

    /// When the next class is due; `None` without classes.
    pub fn next(&self) -> Option<Instant> {
        self.classes.iter().map(|(_, due)| *due).min()
    }

    /// Puts the indices of the classes due at `now` into `due` and moves them on.
    ///
    /// Returns how many scans came too late to be made: a poll took longer than its interval.
    pub fn take_due(&mut self, now: Instant, due: &mut Vec<usize>) -> u64 {
        due.clear();
        let mut missed = 0;
        for (index, (interval, next)) in self.classes.iter_mut().enumerate() {
            if *next > now {
                continue;
            }
            due.push(index);
            let interval_ns = interval.as_nanos().max(1);
            let late = u64::try_from((now - *next).as_nanos() / interval_ns).unwrap_or(u64::MAX);
            missed += late;
            let steps = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
            *next = next.checked_add(interval.saturating_mul(steps)).unwrap_or(now + *interval);
        }
        missed
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
}
