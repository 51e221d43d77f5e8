//! The wanted part of a lane's history as the replicator's source.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::job::Job;
use crate::clock::SystemClock;
use crate::journal::FilesError;
use crate::lane::{self, Body, Item, OfflineLane, Patience, ReadTrouble, SKIP_UNREADABLE_AFTER, Verdict};
use crate::past::Filter;
use crate::replicate::{Record, RecordEncoder, Source, SourceFault};

/// How far reading and Kafka are; shared with whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Where reading is.
    pub read: AtomicU64,
    /// Offsets that could not be given.
    pub missing: AtomicU64,
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
        self.exhausted.load(Ordering::SeqCst)
            && self.committed.load(Ordering::SeqCst) >= self.given.load(Ordering::SeqCst)
    }
}

/// Reads one replay.
pub struct ReplaySource {
    job: Job,
    directory: PathBuf,
    filter: Filter,
    reader: OfflineLane,
    encoder: RecordEncoder,
    progress: Arc<Progress>,
    /// Missing offsets before this one are counted.
    counted: u64,
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
            job: job.clone(),
            directory: directory.to_owned(),
            reader,
            encoder: RecordEncoder::default(),
            progress,
            counted: 0,
            patience: Patience::new(SKIP_UNREADABLE_AFTER),
        })
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

    fn is_wanted(&self, record: &lane::Record) -> bool {
        let filter = &self.filter;
        match &record.body {
            Body::Batch(batch) => {
                filter.has_time(batch.edge_us, batch.edge_us) && filter.has_device(&batch.schema)
            }
            Body::Thinned(thinned) => {
                filter.has_time(thinned.from_us, thinned.to_us) && filter.has_device(&thinned.schema)
            }
            Body::Event(json) => {
                let (device, edge_us) = RecordEncoder::event(json);
                let name = device.rsplit('/').next().unwrap_or_default();
                let fits = |wanted: &String| *wanted == device || wanted == name;
                filter.has_time(edge_us, edge_us)
                    && (filter.devices.is_empty() || filter.devices.iter().any(fits))
            }
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
                    if self.is_wanted(&record) {
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
