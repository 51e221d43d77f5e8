//! The reading side of a lane.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::codec::RecordFault;
use super::decoder::{Decoder, decode_row};
use super::gaps::Gaps;
use super::patience::{Patience, ReadTrouble, Verdict};
use super::thinned::ThinnedBatch;
use super::writer::Shared;
use crate::batch::{GapBefore, Sample, Schema};
use crate::clock::Clock;
use crate::event::{Event, Events};
use crate::journal::{Damage, DamageKind, Epoch, Read, Reader, Unreadable};

/// What is to be sent waits so long before it asks again whether its offsets are its own.
const UNSETTLED: Duration = Duration::from_millis(10);

/// One record of a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number.
    pub offset: u64,
    /// What it holds.
    pub body: Body,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Samples of one device.
    Batch(StoredBatch),
    /// Samples of one device, summed up because the disk was full.
    Thinned(ThinnedBatch),
    /// An event as JSON.
    Event(Vec<u8>),
}

/// A batch as it comes out of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredBatch {
    /// What the samples mean; the same `Arc` for all batches of a device.
    pub schema: Arc<Schema>,
    /// When the answer was complete, microseconds since 1970 UTC.
    pub edge_us: i64,
    /// Their tags are valid indices into the schema's.
    pub samples: Vec<Sample>,
    /// What is missing before it.
    pub gap: Option<GapBefore>,
}

/// Reads what is synced, in order. Damage and undecodable records become gap events, once each,
/// and are skipped.
pub struct LaneReader {
    reader: Reader,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
    decoder: Decoder,
    synced: watch::Receiver<u64>,
    shared: Arc<Shared>,
    events: Events,
    gaps: Gaps,
    patience: Patience,
    /// It only counts: what the disk does not give is passed over at once.
    only_counts: bool,
    /// What is missing is given as a record, too.
    gives_gaps: bool,
    /// What lies behind is somebody else's to tell.
    end: Option<u64>,
}

impl LaneReader {
    pub(super) fn new(
        reader: Reader,
        epoch: Epoch,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        events: Events,
        gaps: Gaps,
        patience: Patience,
    ) -> Self {
        let synced = shared.synced.subscribe();
        let (decoder, only_counts, gives_gaps, end) = Default::default();
        Self {
            reader,
            epoch,
            clock,
            decoder,
            synced,
            shared,
            events,
            gaps,
            patience,
            only_counts,
            gives_gaps,
            end,
        }
    }

    /// Identity of the journal; offsets of another epoch mean nothing here.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Offset of the next record to be read. After [`LaneReader::next`] everything before it was
    /// given or told as a gap: this is what goes into the checkpoint.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Behind the last record that can be read now.
    pub fn synced(&self) -> u64 {
        self.reader.synced()
    }

    /// Goes on at `offset`: the checkpoint's, or back after an aborted transaction.
    pub fn seek(&mut self, offset: u64) {
        self.reader.seek(offset);
        self.patience.seek(offset);
        self.end = None;
    }

    /// Goes on at the beginning of `range`. What is missing is told as far as its end.
    pub fn seek_range(&mut self, range: Range<u64>) {
        self.reader.seek(range.start);
        self.patience.seek(range.start);
        self.end = Some(range.end);
    }

    /// From now on what is read leaves the box, so it will never be thinned.
    pub fn hand_over(&mut self) {
        self.reader.hand_over();
        self.gives_gaps = true;
    }

    /// Tells that Kafka has everything before `next_offset`. The writer removes what lies behind,
    /// and never gives a lower offset to a record again.
    pub fn committed(&self, next_offset: u64) {
        self.shared.committed.fetch_max(next_offset.saturating_add(1), Ordering::SeqCst);
        self.used(next_offset);
    }

    /// Tells that offsets before `next_offset` are known outside, with or without holes: the
    /// writer never gives a lower one to a record again.
    pub fn used(&self, next_offset: u64) {
        self.shared.used.fetch_max(next_offset, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Tells up to which offset Kafka knew this journal before anything of this run was sent, and
    /// which ranges below it lacked. To what else of this run has lower offsets the writer gives
    /// new ones, because Kafka has other records under those.
    pub fn found(&self, next_offset: u64, backlog: &[(u64, u64)]) {
        // Only the first time nothing of this run is in it.
        let _known = self.shared.found.set((next_offset, backlog.to_vec()));
        self.used(next_offset);
    }

    /// Tells that a second cluster has everything before `next_offset` that Kafka lacks.
    pub fn secured(&self, next_offset: u64) {
        self.shared.secured.fetch_max(next_offset, Ordering::SeqCst);
        self.used(next_offset);
    }

    /// Why the last records given were none although there are some: that they leave the box
    /// cannot be noted on this disk. Asked once.
    pub fn withheld(&mut self) -> Option<std::io::Error> {
        self.reader.withheld()
    }

    /// Another reader of the same lane, at the oldest record.
    ///
    /// # Errors
    /// Only when the decompressor gets no memory.
    pub fn another(&self) -> std::io::Result<Self> {
        Ok(Self {
            reader: self.reader.another(0)?,
            epoch: self.epoch,
            clock: Arc::clone(&self.clock),
            decoder: Decoder::default(),
            synced: self.synced.clone(),
            shared: Arc::clone(&self.shared),
            events: self.events.clone(),
            gaps: self.gaps.clone(),
            patience: self.patience.clone(),
            only_counts: self.only_counts,
            gives_gaps: false,
            end: None,
        })
    }

    /// From now on what the disk does not give is passed over at once, for who only counts.
    pub(super) fn only_count(&mut self) {
        self.only_counts = true;
    }

    /// What the disk does not give, and since when it is tried again; `None` while it gives all.
    pub fn trouble(&self) -> Option<ReadTrouble> {
        self.patience.trouble()
    }

    /// Waits until there is something to read, at most `limit`; tells whether there is. While the
    /// disk does not give it, until it is time for the next try.
    pub fn wait(&self, limit: Duration) -> bool {
        if self.gives_gaps && self.shared.is_unsettled() {
            std::thread::sleep(limit.min(UNSETTLED));
            return false;
        }
        self.patience.wait(self.reader.offset(), limit, self.clock.as_ref()) && self.reader.wait(limit)
    }

    /// Waits until there is something to read; `false` when the lane has been closed and nothing
    /// more will come. Cancel-safe.
    pub async fn readable(&mut self) -> bool {
        let offset = self.reader.offset();
        let shared = &self.shared;
        let wanted = self.synced.wait_for(|next| *next > offset || shared.closed.load(Ordering::SeqCst));
        wanted.await.is_ok_and(|next| *next > offset)
    }

    /// The next records, at most `records_max`, ending with the one that reaches `bytes_max` bytes
    /// as stored. Empty when nothing more is synced, and while the disk does not give what is
    /// wanted: then [`LaneReader::trouble`] says so.
    pub fn next(&mut self, records_max: usize, bytes_max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut bytes_read = 0;
        if self.patience.pause_left(self.reader.offset(), self.clock.now()).is_some() {
            return records;
        }
        while records.len() < records_max && bytes_read < bytes_max {
            if self.only_counts {
                self.reader.pass_over();
            }
            match self.reader.read() {
                Read::End => break,
                Read::Unreadable(unreadable) => {
                    if !self.passes_over(&unreadable) {
                        break;
                    }
                    self.reader.pass_over();
                }
                Read::Moved { from, to } => {
                    tracing::warn!("{}: reading goes on at offset {to} instead of {from}", self.gaps.lane);
                    let to = self.clipped(to);
                    if from < to {
                        let event = self.gaps.moved(from, to, self.clock.now_us());
                        self.give_gap(to, &event, &mut records);
                    }
                }
                Read::Damage(damage) => self.tell(&damage, &mut records),
                Read::Record { offset, base_us, bytes } => {
                    bytes_read += bytes.len();
                    let row = decode_row(bytes, base_us);
                    let body = row.and_then(|row| self.decoder.row(row, &self.reader));
                    self.take(offset, body, &mut records);
                }
                Read::Link(link) => {
                    let (offset, length) = (link.offset, link.front.len());
                    if let Some(body) = self.decoder.link(&link).transpose() {
                        bytes_read += length;
                        self.take(offset, body, &mut records);
                    }
                }
            }
        }
        if let Some(trouble) = self.patience.came_to(self.reader.offset()) {
            self.tell_trouble(format!("the disk can be read again, no longer: {}", trouble.what), true);
        }
        records
    }

    /// Whether what the disk does not give was waited for long enough.
    fn passes_over(&mut self, unreadable: &Unreadable) -> bool {
        let verdict = self.patience.stopped(unreadable, self.clock.as_ref());
        match verdict {
            Verdict::Wait { is_new: true } => {
                let words =
                    format!("disk cannot be read: {unreadable}; tried again by itself, nothing is lost");
                self.tell_trouble(words, false);
            }
            Verdict::PassOver { is_new: true } => {
                self.tell_trouble(format!("passed over, it was tried for long enough: {unreadable}"), true);
            }
            Verdict::Wait { .. } | Verdict::PassOver { .. } => {}
        }
        matches!(verdict, Verdict::PassOver { .. })
    }

    fn tell_trouble(&self, words: String, works: bool) {
        let text = format!("{}: {words}", self.gaps.lane);
        tracing::warn!("{text}");
        if self.gives_gaps {
            self.events.emit(self.gaps.disk_read(text, works, self.clock.now_us()));
        }
    }

    /// Adds a record, or tells why there is none.
    fn take(&self, offset: u64, body: Result<Body, RecordFault>, records: &mut Vec<Record>) {
        match body {
            Ok(body) => records.push(Record { offset, body }),
            Err(fault) => {
                let mut damage = Damage::new(offset, offset + 1, fault.to_string());
                if self.reader.has_passed_over() {
                    // What it needs may have been there.
                    damage.kind = DamageKind::Unreadable;
                }
                self.tell(&damage, records);
            }
        }
    }

    /// Tells damage of what is to be sent: as a record in its place, and as an event unless that
    /// was told before a [`LaneReader::seek`] back. To others it says nothing about what Kafka has.
    fn tell(&self, damage: &Damage, records: &mut Vec<Record>) {
        let damage = &Damage { to_offset: self.clipped(damage.to_offset), ..damage.clone() };
        if damage.from_offset >= damage.to_offset {
            return;
        }
        let event = self.gaps.damaged(damage, self.clock.now_us());
        if !self.gives_gaps {
            tracing::debug!("{}", event.text);
            return;
        }
        self.give_gap(damage.to_offset, &event, records);
        if damage.kind != DamageKind::Unused && self.shared.first_told(damage) {
            self.shared.lost_records.fetch_add(damage.to_offset - damage.from_offset, Ordering::SeqCst);
            tracing::error!("{}", event.text);
            self.events.emit(event);
        }
    }

    fn clipped(&self, offset: u64) -> u64 {
        self.end.map_or(offset, |end| offset.min(end))
    }

    /// Puts a gap record in the place of what is missing before `to_offset`. Thereby Kafka gets it
    /// in the transaction that leaves the gap behind: no power cut can keep the one and lose the
    /// other, as it can with an event.
    fn give_gap(&self, to_offset: u64, event: &Event, records: &mut Vec<Record>) {
        if !self.gives_gaps {
            return;
        }
        let json = serde_json::to_vec(event).unwrap_or_default();
        records.push(Record { offset: to_offset - 1, body: Body::Event(json) });
    }
}

/// Whether all tags are in the schema.
pub(super) fn check_tags(schema: &Schema, mut tags: impl Iterator<Item = u32>) -> Result<(), RecordFault> {
    let count = schema.tags.len();
    let known = tags.all(|tag| usize::try_from(tag).is_ok_and(|tag| tag < count));
    if known { Ok(()) } else { Err(RecordFault::Malformed) }
}
