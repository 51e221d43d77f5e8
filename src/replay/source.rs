//! The wanted part of a lane's history as the replicator's source.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::job::{Job, Sent};
use crate::clock::SystemClock;
use crate::journal::FilesError;
use crate::lane::{Item, OfflineLane, Patience, ReadTrouble, SKIP_UNREADABLE_AFTER, Verdict};
use crate::past::Filter;
use crate::replicate::{Record, RecordEncoder, Source, SourceFault};

/// How far reading and Kafka are; shared with whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Where reading is.
    pub read: AtomicU64,
    /// Offsets that could not be given.
    pub missing: AtomicU64,
    /// Records that were not sent before, so that they are not sent again either.
    pub unsent: AtomicU64,
    /// Behind the last record given.
    given: AtomicU64,
    /// Behind the last record that Kafka has.
    committed: AtomicU64,
    /// Everything has been read.
    exhausted: AtomicBool,
}

impl Progress {
    /// Everything that was to be sent is in Kafka.
    pub fn is_done(&self) -> bool {
        // In this order: a seek in between takes back that everything was read.
        let (given, committed) = (self.given.load(Ordering::SeqCst), self.committed.load(Ordering::SeqCst));
        committed >= given && self.exhausted.load(Ordering::SeqCst)
    }
}

/// Reads one replay.
pub struct ReplaySource {
    job: Job,
    directory: PathBuf,
    filter: Filter,
    /// What may be sent again.
    sent: Sent,
    reader: OfflineLane,
    encoder: RecordEncoder,
    progress: Arc<Progress>,
    /// Missing offsets before this one are counted.
    counted: u64,
    /// Records before this one that were not sent before are counted.
    left: u64,
    patience: Patience,
}

impl ReplaySource {
    /// Reads what `job` means from the lane in `directory`.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(directory: &Path, job: &Job) -> Result<Self, FilesError> {
        // What it means was synced when it was asked for.
        let reader = OfflineLane::open(directory, Some(job.to_offset))?;
        let progress = Arc::new(Progress { read: AtomicU64::new(job.from_offset), ..Progress::default() });
        Ok(Self {
            filter: job.order.filter(),
            // What nobody knows of was perhaps not sent.
            sent: job.sent.clone().unwrap_or(Sent { below: 0, but: Vec::new() }),
            job: job.clone(),
            directory: directory.to_owned(),
            reader,
            encoder: RecordEncoder::default(),
            progress,
            counted: 0,
            left: 0,
            patience: Patience::new(SKIP_UNREADABLE_AFTER),
        })
    }

    /// Identity of the journal that is there.
    pub fn found_epoch(&self) -> String {
        self.reader.files().epoch().to_string()
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    fn miss(&mut self, from: u64, to: u64) {
        let from = from.max(self.counted);
        self.counted = self.counted.max(to);
        self.progress.missing.fetch_add(to.saturating_sub(from), Ordering::SeqCst);
    }

    /// A record that is meant and was not sent before comes by itself.
    fn leave(&mut self, offset: u64) {
        if offset >= self.left {
            self.left = offset + 1;
            self.progress.unsent.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Source for ReplaySource {
    fn lane(&self) -> &str {
        &self.job.order.lane
    }

    fn epoch(&self) -> &str {
        &self.job.epoch
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        let offset = offset.max(self.job.from_offset);
        self.progress.exhausted.store(false, Ordering::SeqCst);
        // Nothing is given yet beyond what Kafka has.
        self.progress.given.store(0, Ordering::SeqCst);
        self.patience.seek(offset);
        self.reader.seek(offset);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if !self.patience.wait(self.reader.offset(), wait, &SystemClock) {
            return Ok(None);
        }
        loop {
            let item = self.reader.read();
            self.patience.came_to(self.reader.offset());
            self.progress.read.store(self.reader.offset(), Ordering::SeqCst);
            match item {
                Item::Record(record) if record.offset < self.job.to_offset => {
                    if self.filter.has(&record) {
                        if !self.sent.has(record.offset) {
                            self.leave(record.offset);
                            continue;
                        }
                        self.progress.given.store(record.offset + 1, Ordering::SeqCst);
                        return Ok(Some(self.encoder.encode(record)));
                    }
                    continue;
                }
                Item::Damage(damage) => {
                    self.miss(damage.from_offset, damage.to_offset);
                    continue;
                }
                Item::Removed(from, to) => {
                    self.miss(from, to);
                    continue;
                }
                Item::Unreadable(unreadable) => match self.patience.stopped(&unreadable, &SystemClock) {
                    Verdict::PassOver { .. } => {
                        self.reader.pass_over();
                        continue;
                    }
                    Verdict::Wait { is_new } => {
                        if is_new {
                            tracing::warn!("replay: disk cannot be read: {unreadable}; tried again");
                        }
                        return Ok(None);
                    }
                },
                Item::Record(_) | Item::End => {}
            }
            self.progress.exhausted.store(true, Ordering::SeqCst);
            std::thread::sleep(wait);
            return Ok(None);
        }
    }

    fn committed(&mut self, next_offset: u64) {
        self.progress.committed.fetch_max(next_offset, Ordering::SeqCst);
    }

    fn trouble(&self) -> Option<ReadTrouble> {
        self.patience.trouble()
    }

    fn used(&mut self, _: u64) {}

    fn secured(&mut self, _: u64) {}

    fn end(&self) -> u64 {
        self.job.to_offset
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        let other = Self::open(&self.directory, &self.job).map_err(|error| SourceFault(error.to_string()))?;
        Ok(Box::new(Self { patience: self.patience.clone(), ..other }))
    }
}
