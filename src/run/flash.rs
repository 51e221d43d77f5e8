//! How much the flash is written, and how long it lasts at that rate.
//!
//! What counts is what reaches the device, and that is more than the journal's bytes: whole blocks,
//! and the file system's own journal with every sync. Linux counts it for each block device
//! (Documentation/admin-guide/iostats.rst, field 7, in sectors of 512 bytes), whoever writes. Where
//! the journal's file system has no such device (tmpfs, some overlays), the journal's own estimate
//! takes its place.

use std::collections::VecDeque;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::status::facts::Flash;

const SECTOR_BYTES: u64 = 512;
/// Bytes are remembered so often, for a day.
const STEP: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Before this the start of the box is most of what was written.
const MEASURED_AFTER: Duration = Duration::from_secs(600);
/// Days of a year, in the mean.
const YEAR_DAYS: f64 = 365.25;

/// Bytes written to the device below the journal.
pub struct FlashWear {
    endurance_bytes: u64,
    directory: PathBuf,
    /// The kernel's counters; `None` when the file system has no device of its own.
    counters: Option<PathBuf>,
    /// When, and bytes by then; oldest first.
    steps: VecDeque<(Instant, u64)>,
    latest: Option<(Instant, u64)>,
}

impl FlashWear {
    /// Of the device that `directory` is on.
    pub fn new(directory: &Path, endurance_bytes: u64) -> Self {
        let directory = directory.to_owned();
        Self { endurance_bytes, directory, counters: None, steps: VecDeque::new(), latest: None }
    }

    /// Takes a reading; `estimated_bytes` are what the journal thinks it wrote since the start.
    pub fn look(&mut self, now: Instant, estimated_bytes: u64) {
        // The folder may come later than the start.
        if self.counters.is_none() {
            self.counters = counters_of(&self.directory).filter(|path| written_bytes(path).is_some());
            if self.counters.is_some() {
                self.steps.clear();
            }
        }
        let bytes = self.counters.as_deref().and_then(written_bytes).unwrap_or(estimated_bytes);
        if self.steps.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            self.steps.push_back((now, bytes));
        }
        while self.steps.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= DAY) {
            self.steps.pop_front();
        }
        self.latest = Some((now, bytes));
    }

    /// What is known so far.
    #[allow(clippy::cast_precision_loss)] // years for people
    pub fn facts(&self) -> Flash {
        let endurance_bytes = self.endurance_bytes;
        let mut flash = Flash { endurance_bytes, measured: self.counters.is_some(), ..Flash::default() };
        if let (Some((from, before)), Some((to, after))) = (self.steps.front(), self.latest) {
            let lasted = to.saturating_duration_since(*from);
            if lasted >= MEASURED_AFTER {
                let per_day = after.saturating_sub(*before) as f64 / lasted.as_secs_f64() * DAY.as_secs_f64();
                flash.written_bytes_per_day = Some(per_day);
                flash.years = (per_day > 0.0).then(|| endurance_bytes as f64 / per_day / YEAR_DAYS);
            }
        }
        flash
    }
}

fn counters_of(directory: &Path) -> Option<PathBuf> {
    let device = fs::metadata(directory).ok()?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Some(PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat")))
}

/// Field 7 of the device's counters.
fn written_bytes(counters: &Path) -> Option<u64> {
    parse(&fs::read_to_string(counters).ok()?)
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

    #[test]
    fn a_gigabyte_a_day_wears_30_terabytes_in_82_years() {
        let mut wear = FlashWear::new(Path::new("/nowhere at all"), 30_000_000_000_000);
        assert!(!wear.facts().measured);
        let start = Instant::now();
        // The first day writes ten times as much; only the last day counts.
        for hour in 0..72u32 {
            let gigabytes = u64::from(hour.min(24) * 10 + hour.saturating_sub(24));
            wear.look(start + hour * Duration::from_secs(3600), gigabytes * 1_000_000_000 / 24);
            assert_eq!(wear.facts().years.is_some(), hour > 0);
        }
        let facts = wear.facts();
        assert!((facts.written_bytes_per_day.unwrap() / 1e9 - 1.0).abs() < 1e-6, "{facts:?}");
        assert!((facts.years.unwrap() - 82.1).abs() < 0.1, "{facts:?}");
    }

    #[test]
    fn a_device_that_counts_is_asked() {
        // Whatever this machine's disk is: either it is found and counts up, or nothing is claimed.
        let folder = tempfile::tempdir().unwrap();
        let mut wear = FlashWear::new(folder.path(), 1);
        wear.look(Instant::now(), 17);
        let bytes = wear.latest.unwrap().1;
        assert!(if wear.facts().measured { bytes > 0 } else { bytes == 17 }, "{bytes}");
    }
}
