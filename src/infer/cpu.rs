//! Processor time of threads, and the share of it that inference may have.

use std::fs;
use std::time::{Duration, Instant};

/// Time over which the share is averaged.
const AVERAGED_OVER: Duration = Duration::from_secs(60);

/// A thread of this process, as the kernel numbers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread(Option<i32>);

impl Thread {
    /// The thread that asks.
    pub(super) fn current() -> Self {
        // proc_pid_task(5): `<process>/task/<thread>`
        let link = fs::read_link("/proc/thread-self").ok();
        Self(link.and_then(|link| link.file_name()?.to_str()?.parse().ok()))
    }

    /// Processor time it has had; `None` where the kernel does not say.
    pub(super) fn time(self) -> Option<Duration> {
        // The first number, see Documentation/scheduler/sched-stats of the kernel.
        let stat = fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.0?)).ok()?;
        stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    /// Lets everything else come first.
    pub(super) fn put_last(self) {
        // On Linux each thread has its own priority; where it may not be set, it stays as it is.
        if let Some(thread) = self.0.and_then(rustix::process::Pid::from_raw) {
            let _refused = rustix::process::setpriority_process(Some(thread), 19);
        }
    }
}

/// A share of one processor, averaged over a minute.
#[derive(Debug)]
pub(super) struct Budget {
    share: f64,
    left_s: f64,
    looked: Instant,
}

impl Budget {
    /// `share` of one processor; a minute's worth is there at the start.
    pub(super) fn new(share: f64, now: Instant) -> Self {
        Self { share, left_s: share * AVERAGED_OVER.as_secs_f64(), looked: now }
    }

    /// Takes what was used.
    pub(super) fn spend(&mut self, used: Duration) {
        self.left_s -= used.as_secs_f64();
    }

    /// False when nothing is left.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        self.left_s = (self.left_s + self.share * passed.as_secs_f64()).min(self.most_s());
        self.left_s > 0.0
    }

    /// True while more than half is left, as of the last look.
    pub(super) fn is_half_full(&self) -> bool {
        self.left_s > self.most_s() / 2.0
    }

    fn most_s(&self) -> f64 {
        self.share * AVERAGED_OVER.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_over_a_minute() {
        let begin = Instant::now();
        let mut budget = Budget::new(0.25, begin);
        // Work that takes all there is: half a second each half second.
        let (mut done, half) = (0, Duration::from_millis(500));
        for round in 1..=1200 {
            if budget.allows(begin + half * round) {
                budget.spend(half);
                done += 1;
            }
        }
        // A quarter of ten minutes, and the minute's worth of the start.
        let whole = 600.0 * 0.25 + 15.0;
        assert!((f64::from(done) * 0.5 - whole).abs() <= 1.0, "{done}");
    }

    #[test]
    fn half_of_it_can_be_kept_back() {
        let begin = Instant::now();
        let mut budget = Budget::new(0.5, begin);
        assert!(budget.is_half_full());
        budget.spend(Duration::from_secs(15));
        assert!(budget.allows(begin) && !budget.is_half_full());
        assert!(budget.allows(begin + Duration::from_secs(1)) && budget.is_half_full());
    }

    #[test]
    fn the_kernel_counts_what_a_thread_does() {
        let thread = Thread::current();
        let before = thread.time().expect("the kernel of a test machine says so");
        let end = Instant::now() + Duration::from_secs(30);
        while thread.time().unwrap() < before + Duration::from_millis(20) {
            assert!(Instant::now() < end, "it counts nothing");
        }
    }
}
