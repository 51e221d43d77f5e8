//! What brokers and the people who look after them do: upgrades, deleted and re-partitioned topics,
//! full disks, quotas, slow lines.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

mod brokers;
mod line;
mod topics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lanes::Memory;
use crate::support::wait_for;

/// Records that keep coming, so many a second, as long as this lives.
struct Load {
    source: Memory,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Load {
    fn start(source: &Memory, records_per_s: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (pushed, ends) = (source.clone(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut count = 0;
            while !ends.load(Ordering::SeqCst) {
                let due = u64::try_from(start.elapsed().as_millis()).unwrap() * records_per_s / 1000;
                pushed.push_numbered(due - count);
                count = due;
                std::thread::sleep(Duration::from_millis(5));
            }
            count
        });
        Self { source: source.clone(), over, thread: Some(thread) }
    }

    /// Waits until `more` records than now are committed.
    fn progress(&self, what: &str, more: u64) {
        let goal = self.source.committed_to() + more;
        wait_for(what, Duration::from_secs(90), || (self.source.committed_to() >= goal).then_some(()));
    }

    /// Ends it; how many records there were.
    fn stop(mut self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}
