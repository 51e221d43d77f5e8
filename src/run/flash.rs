//! How much Forebay wears the flash, and how long it lasts at that rate.
//!
//! Counted is what Forebay itself writes, whatever else is on the disk: Linux counts for each process
//! the bytes of the blocks it has dirtied (proc_pid_io(5), `write_bytes`), all files of it together.
//! To that comes what the file system writes of its own with each sync ([`SYNC_BYTES`]), which is
//! nobody's. Where the kernel does not count, the journal's own estimate takes its place.
//!
//! A device wears by what all write to it. That is counted too, where the file system has a block
//! device of its own (Documentation/admin-guide/iostats.rst, field 7, in sectors of 512 bytes).

use std::collections::VecDeque;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::journal::SYNC_BYTES;
use crate::status::facts::Flash;

const SECTOR_BYTES: u64 = 512;
/// Bytes are remembered so often, for a day.
const STEP: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Before this the start of the box is most of what was written.
const MEASURED_AFTER: Duration = Duration::from_secs(600);
/// Days of a year, in the mean.
const YEAR_DAYS: f64 = 365.25;
/// What the kernel says that this process has written.
const PROCESS: &str = "/proc/self/io";

/// What the journal knows of its writing since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Journalled {
    /// Bytes that reached the device for it, estimated.
    pub device_bytes: u64,
    /// How often it has synced.
    pub syncs: u64,
}

/// Bytes written by Forebay, and to the device below the journal.
pub struct FlashWear {
    endurance_bytes: u64,
    directory: PathBuf,
    process: PathBuf,
    /// The kernel counts what this process writes.
    is_counted: bool,
    own: Daily,
    device: Daily,
}

impl FlashWear {
    /// Of the device that `directory` is on.
    pub fn new(directory: &Path, endurance_bytes: u64) -> Self {
        Self::with(directory, endurance_bytes, Path::new(PROCESS))
    }

    fn with(directory: &Path, endurance_bytes: u64, process: &Path) -> Self {
        let (directory, process) = (directory.to_owned(), process.to_owned());
        let is_counted = written_by_process(&process).is_some();
        let (own, device) = Default::default();
        Self { endurance_bytes, directory, process, is_counted, own, device }
    }

    /// Takes a reading.
    pub fn look(&mut self, now: Instant, journalled: Journalled) {
        // What was once counted is not guessed later: the two do not add up.
        let own = match self.is_counted {
            true => written_by_process(&self.process).map(|bytes| bytes + journalled.syncs * SYNC_BYTES),
            false => Some(journalled.device_bytes),
        };
        if let Some(bytes) = own {
            self.own.add(now, bytes);
        }
        // The folder may come later than the start.
        if let Some(bytes) = counters_of(&self.directory).as_deref().and_then(written_to_device) {
            self.device.add(now, bytes);
        }
    }

    /// What is known so far.
    #[allow(clippy::cast_precision_loss)] // years for people
    pub fn facts(&self) -> Flash {
        let endurance = self.endurance_bytes as f64;
        let years = |per_day: Option<f64>| {
            per_day.filter(|per_day| *per_day > 0.0).map(|per_day| endurance / per_day / YEAR_DAYS)
        };
        let (own, device) = (self.own.per_day(), self.device.per_day());
        Flash {
            written_bytes_per_day: own,
            endurance_bytes: self.endurance_bytes,
            years: years(own),
            measured: self.is_counted,
            device_bytes_per_day: device,
            device_years: years(device),
        }
    }
}

/// A counter of bytes over the last day.
#[derive(Debug, Default)]
struct Daily {
    /// When, and bytes by then; oldest first.
    steps: VecDeque<(Instant, u64)>,
    latest: Option<(Instant, u64)>,
}

impl Daily {
    fn add(&mut self, now: Instant, bytes: u64) {
        // Another device is there, or the same one anew.
        if self.latest.is_some_and(|(_, before)| bytes < before) {
            self.steps.clear();
        }
        if self.steps.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            self.steps.push_back((now, bytes));
        }
        while self.steps.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= DAY) {
            self.steps.pop_front();
        }
        self.latest = Some((now, bytes));
    }

    /// Mean of the last day; `None` in the first minutes.
    #[allow(clippy::cast_precision_loss)] // for people
    fn per_day(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.steps.front()?, self.latest?);
        let lasted = to.saturating_duration_since(*from);
        let bytes = after.saturating_sub(*before) as f64;
        (lasted >= MEASURED_AFTER).then(|| bytes / lasted.as_secs_f64() * DAY.as_secs_f64())
    }
}

fn counters_of(directory: &Path) -> Option<PathBuf> {
    let device = fs::metadata(directory).ok()?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Some(PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat")))
}

/// Field 7 of the device's counters.
fn written_to_device(counters: &Path) -> Option<u64> {
    parse(&fs::read_to_string(counters).ok()?)
}

/// Bytes of blocks that this process has dirtied since its start.
fn written_by_process(io: &Path) -> Option<u64> {
    let io = fs::read_to_string(io).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

fn parse(counters: &str) -> Option<u64> {
    counters.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_seventh_field_is_what_was_written() {
        let line =
            "  446216   784926  9550688  4382310   874187  1251251 20480000  2211330        0   3002\n";
        assert_eq!(parse(line), Some(20_480_000 * 512));
        assert_eq!(parse("1 2 3"), None);
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_gigabyte_a_day_wears_30_terabytes_in_82_years() {
        let nowhere = Path::new("/nowhere at all");
        let mut wear = FlashWear::with(nowhere, 30_000_000_000_000, nowhere);
        assert!(!wear.facts().measured);
        let start = Instant::now();
        // The first day writes ten times as much; only the last day counts.
        for hour in 0..72u32 {
            let gigabytes = u64::from(hour.min(24) * 10 + hour.saturating_sub(24));
            let journalled = Journalled { device_bytes: gigabytes * 1_000_000_000 / 24, syncs: 0 };
            wear.look(start + hour * HOUR, journalled);
            assert_eq!(wear.facts().years.is_some(), hour > 0);
        }
        let facts = wear.facts();
        assert!((facts.written_bytes_per_day.unwrap() / 1e9 - 1.0).abs() < 1e-6, "{facts:?}");
        assert!((facts.years.unwrap() - 82.1).abs() < 0.1, "{facts:?}");
        assert_eq!(facts.device_years, None, "nothing is claimed of a device that nobody counts");
    }

    #[test]
    fn only_what_this_process_writes_and_its_syncs_count() {
        let folder = tempfile::tempdir().unwrap();
        let io = folder.path().join("io");
        let told = |bytes: u64| {
            let text = format!("rchar: 9\nwchar: 999999\nwrite_bytes: {bytes}\ncancelled_write_bytes: 7\n");
            fs::write(&io, text).unwrap();
        };
        told(1_000_000);
        let mut wear = FlashWear::with(folder.path(), 1 << 40, &io);
        let start = Instant::now();
        wear.look(start, Journalled { device_bytes: 0, syncs: 5 });
        told(3_000_000);
        wear.look(start + 24 * HOUR, Journalled { device_bytes: 1 << 40, syncs: 1005 });
        let facts = wear.facts();
        let per_day = facts.written_bytes_per_day.unwrap();
        assert!(
            facts.measured && (per_day - 14_288_000.0).abs() < 1.0,
            "2 MB and 1000 syncs of 12 KiB: {facts:?}"
        );
    }

    #[test]
    fn the_kernel_of_this_machine_counts_for_this_process() {
        let counted = written_by_process(Path::new(PROCESS));
        assert!(counted.is_some(), "{PROCESS} has no write_bytes");
        // Whatever this machine's disk is: either it is found and counts, or nothing is claimed.
        let folder = tempfile::tempdir().unwrap();
        let mut wear = FlashWear::new(folder.path(), 1);
        wear.look(Instant::now(), Journalled::default());
        assert_eq!(
            wear.device.latest.is_some(),
            counters_of(folder.path()).is_some_and(|path| path.exists())
        );
    }

    #[test]
    fn a_device_that_was_changed_is_counted_anew() {
        let (mut daily, start) = (Daily::default(), Instant::now());
        daily.add(start, 1 << 40);
        daily.add(start + HOUR, 100);
        assert_eq!(daily.per_day(), None);
        daily.add(start + 2 * HOUR, 200);
        assert_eq!(daily.per_day(), Some(2400.0));
    }
}
