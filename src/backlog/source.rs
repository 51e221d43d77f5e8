//! An imported backlog as the replicator's source.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::Manifest;
use crate::clock::{SystemClock, now_us};
use crate::event::{Event, Events, Kind};
use crate::journal::{Damage, FilesError};
use crate::lane::{Item, OfflineLane, Patience, ReadTrouble, SKIP_UNREADABLE_AFTER, Verdict};
use crate::replicate::{Record, RecordEncoder, Source, SourceFault};

/// Reads a backlog up to its end.
pub struct BacklogSource {
    folder: PathBuf,
    manifest: Manifest,
    reader: OfflineLane,
    encoder: RecordEncoder,
    accept_gap: bool,
    committed: Arc<AtomicU64>,
    /// Behind the last record given since the last seek; 0 before the first.
    given: u64,
    /// Damage before this offset was told.
    told: u64,
    events: Events,
    patience: Patience,
}

impl BacklogSource {
    /// Opens the backlog in `folder`. With `accept_gap` it is also sent when records before it are
    /// not in Kafka; they can then never follow.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(
        folder: &Path,
        manifest: Manifest,
        accept_gap: bool,
        events: Events,
    ) -> Result<Self, FilesError> {
        let reader = OfflineLane::open(folder, Some(manifest.to))?;
        let (committed, encoder) = Default::default();
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            reader,
            encoder,
            accept_gap,
            committed,
            given: 0,
            told: 0,
            events,
            patience: Patience::new(SKIP_UNREADABLE_AFTER),
        })
    }

    /// Behind the last record that Kafka has; 0 until that is known.
    pub fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.committed)
    }

    fn tell(&mut self, damage: &Damage) {
        if damage.to_offset <= self.told {
            return;
        }
        self.told = damage.to_offset;
        let Manifest { site, edge, lane, epoch, .. } = &self.manifest;
        let Damage { from_offset, to_offset, cause, kind } = damage;
        let batches = to_offset - from_offset;
        let text = format!(
            "{lane} of {edge}, imported: {batches} records from offset {from_offset} cannot be read: {cause}"
        );
        tracing::error!("{text}");
        let data = json!({
            "lane": lane, "cause": kind.code(), "detail": cause, "batches": batches, "epoch": epoch,
            "from_offset": from_offset, "to_offset": to_offset,
        });
        let device = format!("{site}/{edge}");
        self.events.emit(Event { kind: Kind::Gap, edge_time: now_us(), device, text, data });
    }
}

impl Source for BacklogSource {
    fn lane(&self) -> &str {
        &self.manifest.lane
    }

    fn epoch(&self) -> &str {
        &self.manifest.epoch
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        let Manifest { from, edge, lane, .. } = &self.manifest;
        if offset < *from && !self.accept_gap {
            return Err(SourceFault(format!(
                "records {offset} to {} of {lane} of {edge} are neither in Kafka nor in its backlog",
                from - 1
            )));
        }
        let offset = offset.max(*from);
        // Kafka has what lies before it; nothing is given yet beyond that.
        self.given = 0;
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
            match item {
                Item::Record(record) if record.offset < self.manifest.to => {
                    self.given = record.offset + 1;
                    return Ok(Some(self.encoder.encode(record)));
                }
                Item::Damage(damage) => self.tell(&damage),
                Item::Unreadable(unreadable) => match self.patience.stopped(&unreadable, &SystemClock) {
                    Verdict::PassOver { .. } => self.reader.pass_over(),
                    Verdict::Wait { is_new } => {
                        if is_new {
                            tracing::warn!(
                                "imported backlog: disk cannot be read: {unreadable}; tried again"
                            );
                        }
                        return Ok(None);
                    }
                },
                Item::Removed(from, to) => {
                    return Err(SourceFault(format!("records {from} to {to} of the backlog were removed")));
                }
                Item::Record(_) | Item::End => {
                    // The last records may be among what cannot be read.
                    if self.committed.load(Ordering::SeqCst) >= self.given {
                        self.committed.fetch_max(self.manifest.to, Ordering::SeqCst);
                    }
                    std::thread::sleep(wait);
                    return Ok(None);
                }
            }
        }
    }

    fn committed(&mut self, next_offset: u64) {
        self.committed.fetch_max(next_offset, Ordering::SeqCst);
    }

    fn trouble(&self) -> Option<ReadTrouble> {
        self.patience.trouble()
    }

    /// Nothing is ever added to a backlog.
    fn used(&mut self, _: u64) {}

    /// Nothing is ever removed from a backlog to make room.
    fn secured(&mut self, _: u64) {}

    fn end(&self) -> u64 {
        self.manifest.to
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        let another = Self::open(&self.folder, self.manifest.clone(), self.accept_gap, self.events.clone())
            .map_err(|error| SourceFault(error.to_string()))?;
        Ok(Box::new(Self { patience: self.patience.clone(), ..another }))
    }
}
