//! The thread behind a lane: encodes, syncs in groups, removes what is sent or too much.

mod confirmed;
mod room;
pub(super) mod taken;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::LaneOptions;
use super::chain::{Content, Meaning};
use super::codec::event_row;
use super::gaps::Gaps;
use super::schemas::{Scalings, dictionary};
use super::status::{Ages, LaneStatus};
use super::waiting::{Waiting, fits, measure};
use super::writer::{Message, Shared};
use crate::batch::{BATCH_SAMPLES_MAX, Batch};
use crate::clock::Clock;
use crate::device::Device;
use crate::event::{Event, Events};
use crate::journal::{AppendError, CODED_DICTIONARIES_MAX, Journal, SyncError};

/// How often the thread looks around when nothing comes.
const IDLE: Duration = Duration::from_secs(1);
/// Pauses between tries while the disk does not work.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// While the disk does not work, batches are taken up to this; the queue holds some more.
const WAITING_BYTES_MAX: usize = 2 << 20;
/// What history, thinned and unsent segments take is added up so often.
const PARTS_EVERY: Duration = Duration::from_secs(1);
/// The free space is asked for so often.
const FREE_SPACE_EVERY: Duration = Duration::from_secs(5);

/// What the thread behind a lane does; without the thread it can be stepped.
pub(crate) struct Worker {
    pub(super) journal: Journal,
    /// First offset that this run gives, until it is known what Kafka had before.
    start_offset: Option<u64>,
    pub(super) clock: Arc<dyn Clock>,
    receiver: Receiver<Message>,
    pub(super) shared: Arc<Shared>,
    pub(super) events: Events,
    pub(super) gaps: Gaps,
    pub(super) options: LaneOptions,
    pub(super) status: LaneStatus,
    ages: Ages,
    waiting: Waiting,
    /// Schema by the address of the device; holding the device keeps the address its own.
    schemas: HashMap<usize, Defined>,
    /// Of these devices.
    scalings: Scalings,
    new_devices: bool,
    pending_samples: u64,
    flushes: Vec<SyncSender<u64>>,
    /// When the waiting block is to be synced.
    deadline: Option<Instant>,
    pause: Option<Duration>,
    synced_at: Option<Instant>,
    /// When the parts of the journal were last added up for the status.
    parts_at: Option<Instant>,
    room: room::Room,
    open: confirmed::Open,
    taken: taken::Taken,
}

/// A device whose schema the journal knows.
struct Defined {
    device: Arc<Device>,
    number: u32,
    meaning: Arc<Meaning>,
}

impl Worker {
    pub(super) fn new(
        journal: Journal,
        clock: Arc<dyn Clock>,
        receiver: Receiver<Message>,
        shared: Arc<Shared>,
        events: Events,
        gaps: Gaps,
        options: LaneOptions,
    ) -> Self {
        let status = LaneStatus {
            lane: options.name.clone(),
            epoch: journal.epoch().to_string(),
            opened_at: journal.opened_at(),
            budget_bytes: options.budget_bytes,
            full_for_s: options.full_for.as_secs(),
            ..LaneStatus::default()
        };
        Self {
            start_offset: Some(journal.next_offset()),
            journal,
            clock,
            receiver,
            shared,
            events,
            gaps,
            options,
            status,
            ages: Ages::default(),
            waiting: Waiting::default(),
            schemas: HashMap::new(),
            scalings: Scalings::default(),
            new_devices: false,
            pending_samples: 0,
            flushes: Vec::new(),
            deadline: None,
            pause: None,
            synced_at: None,
            parts_at: None,
            room: room::Room::default(),
            open: confirmed::Open::default(),
            taken: taken::Taken::default(),
        }
    }

    /// Warns when the disk will be full before the budget is reached: then the outage that it lasts
    /// for is shorter than the configuration says.
    pub(super) fn warn_of_small_disk(&self) {
        let Ok(free_bytes) = self.journal.free_bytes() else { return };
        let room = free_bytes.saturating_add(self.journal.bytes());
        if self.options.budget_bytes > room {
            let text = format!(
                "{}: the budget of {} MB is more than the {} MB this disk has for it; set a smaller budget",
                self.options.name,
                self.options.budget_bytes >> 20,
                room >> 20
            );
            tracing::warn!("{text}");
            self.events.emit(self.gaps.disk_small(
                text,
                (self.options.budget_bytes, room),
                self.clock.now_us(),
            ));
        }
    }

    /// Runs until the lane is closed, then stores what is left, trying for `patience`. Returns
    /// how many records could not be stored.
    pub(super) fn run(mut self, patience: Duration) -> u64 {
        let _ended = Ended(Arc::clone(&self.shared));
        let left = self.run_until_closed(patience);
        if let Err(error) = self.journal.note_end(self.clock.now_us()) {
            tracing::warn!("{}: the end of the journal is not noted: {error}", self.options.name);
        }
        self.publish_status();
        left
    }

    fn run_until_closed(&mut self, patience: Duration) -> u64 {
        while !self.shared.stopping.load(Ordering::SeqCst) {
            self.wait();
            self.step();
        }
        let end = self.clock.now() + patience;
        loop {
            let left = self.finish();
            let pause = end.saturating_duration_since(self.clock.now()).min(PAUSE_MIN);
            if left == 0 || pause.is_zero() {
                return left;
            }
            std::thread::sleep(pause);
        }
    }

    /// Takes the next message, waiting for it until a block is due, or [`IDLE`].
    fn wait(&mut self) {
        if self.pending_bytes_left() == 0 {
            // The queue fills up behind this and gives batches back: that is its purpose.
            if self.pause.is_some() {
                std::thread::sleep(self.until_deadline().min(PAUSE_MIN));
            }
            return;
        }
        let limit = if self.is_making_room() { Duration::ZERO } else { self.until_deadline() };
        match self.receiver.recv_timeout(limit) {
            Ok(message) => self.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.shared.stopping.store(true, Ordering::SeqCst),
        }
    }

    /// Takes the messages that are there, syncs what is due, removes what is sent. Never waits,
    /// except for the disk.
    pub(crate) fn step(&mut self) {
        while self.pending_bytes_left() > 0 {
            match self.receiver.try_recv() {
                Ok(message) => self.take(message),
                Err(_) => break,
            }
        }
        self.look_around();
    }

    /// Stores everything that was handed over, in one try; returns how many records are left.
    pub(crate) fn finish(&mut self) -> u64 {
        while let Ok(message) = self.receiver.try_recv() {
            self.take(message);
        }
        self.commit();
        self.answer_flushes();
        u64::from(self.journal.pending_records())
    }

    /// How much more may be taken before a sync, or, while the disk does not work, at all.
    fn pending_bytes_left(&self) -> usize {
        let most = if self.pause.is_some() { WAITING_BYTES_MAX } else { self.options.sync_bytes };
        most.saturating_sub(self.journal.pending_bytes()).min(self.journal.pending_room())
    }

    fn until_deadline(&self) -> Duration {
        self.deadline.map_or(IDLE, |deadline| deadline.saturating_duration_since(self.clock.now()).min(IDLE))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Batch(batch) => {
                self.shared.queued_samples.fetch_sub(batch.samples.len(), Ordering::SeqCst);
                self.append_batch(batch);
            }
            Message::Event(event) => self.append_event(&event),
            Message::Flush(answer) => {
                self.flushes.push(answer);
                // While the disk does not work its pause decides.
                if self.pause.is_none() {
                    self.deadline = Some(self.clock.now());
                }
            }
            Message::Trim(order, answer) => {
                let trimmed = self.trim_by_order(order);
                // Whoever asked may have stopped waiting.
                let _gone = answer.send(trimmed);
            }
            Message::HandOver(before, answer) => {
                let noted = self.journal.hand_over(0..before);
                // As above.
                let _gone = answer.send(noted);
            }
            Message::Wake => {}
        }
        if self.deadline.is_none() && self.journal.pending_records() > 0 {
            let now = self.clock.now();
            let latest = now + self.options.sync_interval;
            let next = self.synced_at.map(|at| at + self.options.sync_interval);
            let soon = now + self.options.sync_after.min(self.options.sync_interval);
            self.deadline = Some(next.map_or(soon, |next| next.max(soon)).min(latest));
        }
    }

    fn append_batch(&mut self, batch: Batch) {
        let Batch { device, edge_us, mut samples, mut gap } = batch;
        let address = Arc::as_ptr(&device).addr();
        if !self.schemas.contains_key(&address) {
            match self.define(&device) {
                Ok(defined) => {
                    self.schemas.insert(address, defined);
                    self.new_devices = true;
                }
                Err(cause) => return self.refuse(&device.path, samples.len(), &cause),
            }
        }
        loop {
            let rest = samples.split_off(samples.len().min(BATCH_SAMPLES_MAX));
            self.append_content(address, Content { edge_us, samples, gap: gap.take() });
            if rest.is_empty() {
                return;
            }
            samples = rest;
        }
    }

    fn define(&mut self, device: &Arc<Device>) -> Result<Defined, String> {
        let (json, meaning) = dictionary(device, &mut self.scalings).map_err(|error| error.to_string())?;
        let number = self.journal.define(&json).map_err(|error| format!("its list of tags: {error}"))?;
        if number >= CODED_DICTIONARIES_MAX {
            self.journal.forget(number);
            return Err(format!("more than {CODED_DICTIONARIES_MAX} devices since the last start"));
        }
        Ok(Defined { device: Arc::clone(device), number, meaning: Arc::new(meaning) })
    }

    /// Appends samples as one record; as several when they are too long for one.
    fn append_content(&mut self, address: usize, mut content: Content) {
        let Some(Defined { number, meaning, .. }) = self.schemas.get(&address) else { return };
        let (number, meaning) = (*number, Arc::clone(meaning));
        if !fits(&meaning, &content.samples) {
            return self.refuse_content(address, &content, "a tag is none of the device's");
        }
        let measured = measure(number, &content);
        let mut appended = self.journal.append_coded(measured);
        if matches!(appended, Err(AppendError::BlockFull(_))) && self.commit() {
            appended = self.journal.append_coded(measured);
        }
        match appended {
            Ok(_) => {
                self.pending_samples += content.samples.len() as u64;
                self.waiting.push(number, meaning, content);
            }
            Err(AppendError::TooLong(..)) if content.samples.len() > 1 => {
                let samples = content.samples.split_off(content.samples.len() / 2);
                let rest = Content { edge_us: content.edge_us, samples, gap: None };
                self.append_content(address, content);
                self.append_content(address, rest);
            }
            Err(error) => self.refuse_content(address, &content, &error.to_string()),
        }
    }

    fn refuse_content(&mut self, address: usize, content: &Content, cause: &str) {
        let path = self.schemas.get(&address).map_or_else(String::new, |defined| defined.device.path.clone());
        self.refuse(&path, content.samples.len(), cause);
    }

    fn append_event(&mut self, event: &Event) {
        let json = match serde_json::to_vec(event) {
            Ok(json) => json,
            Err(error) => return self.refuse(&event.device, 1, &error.to_string()),
        };
        let now_us = self.clock.now_us();
        let row = event_row(&json);
        let mut appended = self.journal.append(&row, now_us);
        if matches!(appended, Err(AppendError::BlockFull(_))) && self.commit() {
            appended = self.journal.append(&row, now_us);
        }
        if let Err(error) = appended {
            self.refuse(&event.device, 1, &error.to_string());
        }
    }

    /// Something cannot be stored: tells it.
    fn refuse(&mut self, device: &str, samples: usize, cause: &str) {
        self.shared.lost_records.fetch_add(1, Ordering::SeqCst);
        let event = self.gaps.refused(device, samples, cause, self.clock.now_us());
        tracing::error!("{}", event.text);
        self.events.emit(event);
    }

    /// What is to be done beside taking messages.
    fn look_around(&mut self) {
        self.trim();
        self.make_room(false);
        let due = self.deadline.is_some_and(|deadline| deadline <= self.clock.now());
        let large = self.pause.is_none() && self.pending_bytes_left() == 0;
        if due || large {
            self.commit();
        }
        self.publish_status();
        self.answer_flushes();
    }

    fn answer_flushes(&mut self) {
        if self.journal.pending_records() == 0 {
            for answer in self.flushes.drain(..) {
                // Whoever asked may have stopped waiting.
                let _gone = answer.send(self.journal.next_offset());
            }
        }
    }

    /// Syncs the waiting block; tells whether none is left.
    fn commit(&mut self) -> bool {
        self.deadline = None;
        let records = u64::from(self.journal.pending_records());
        if records == 0 {
            return true;
        }
        self.make_room(true);
        let (first_offset, base_us) = (self.journal.next_offset(), self.journal.base_us(self.clock.now_us()));
        let started = self.clock.now();
        match self.journal.sync_coded(&mut self.waiting, self.clock.now_us()) {
            Ok(next_offset) => {
                let sync_us = u64::try_from(self.clock.now().saturating_duration_since(started).as_micros())
                    .unwrap_or(u64::MAX);
                self.status.sync_us_max = sync_us.max(self.status.sync_us_max / 2);
                self.waiting.clear();
                self.status.syncs += 1;
                self.synced_at = Some(self.clock.now());
                self.status.records += records;
                self.status.samples += std::mem::take(&mut self.pending_samples);
                self.ages.push(first_offset, base_us);
                self.shared.synced.send_replace(next_offset);
                self.disk_works();
                self.forget_devices();
                true
            }
            Err(error) => {
                self.disk_fails(&error);
                false
            }
        }
    }

    fn disk_works(&mut self) {
        self.pause = None;
        if self.status.error.take().is_some() {
            let text = format!("{}: the disk works again, nothing in memory was lost", self.options.name);
            tracing::info!("{text}");
            self.events.emit(self.gaps.disk(text, true, self.clock.now_us()));
        }
    }

    fn disk_fails(&mut self, error: &SyncError) {
        let pause = self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        self.deadline = Some(self.clock.now() + pause);
        self.status.failed_syncs += 1;
        let text = match error {
            SyncError::Full { source, .. } => format!(
                "{}: the disk is full ({source}); new data waits in memory, free space on it",
                self.options.name
            ),
            SyncError::Failed { action, source, .. } => {
                format!("{}: the disk does not work (cannot {action}: {source})", self.options.name)
            }
        };
        // Told once, not with every try; the file names differ each time and are only logged.
        if self.status.error.as_ref() != Some(&text) {
            tracing::error!("{error}; tried again in {} ms", pause.as_millis());
            self.events.emit(self.gaps.disk(text.clone(), false, self.clock.now_us()));
            self.status.error = Some(text);
        }
    }

    /// Leaves schemas out of later segments whose device nobody else knows any more.
    fn forget_devices(&mut self) {
        if std::mem::take(&mut self.new_devices) {
            let journal = &mut self.journal;
            self.schemas.retain(|_, defined| {
                let known = Arc::strong_count(&defined.device) > 1;
                if !known {
                    journal.forget(defined.number);
                }
                known
            });
        }
    }

    /// Removes what Kafka has.
    pub(super) fn trim(&mut self) {
        // Asked in this order: what is committed was used before, and what was used was found before.
        let committed = self.shared.committed();
        let used = self.shared.used.load(Ordering::SeqCst);
        self.look_at_found();
        self.look_at_confirmed();
        if used > self.journal.next_offset() {
            self.skip_to(used);
        }
        if self.taken.is_open() && (used > self.journal.next_offset() || !self.settle_taken()) {
            return;
        }
        if self.shared.found.get().is_some() && self.start_offset.is_none() {
            self.shared.settled.store(true, Ordering::SeqCst);
        }
        let Some(committed) = committed else { return };
        self.journal.settle(used);
        if self.status.committed != Some(committed) {
            self.status.committed = Some(committed);
            self.parts_at = None;
        }
        let keep_from_us = if self.options.keep.is_zero() {
            i64::MAX
        } else {
            let keep_us = i64::try_from(self.options.keep.as_micros()).unwrap_or(i64::MAX);
            self.clock.now_us().saturating_sub(keep_us)
        };
        if let Err(error) = self.journal.trim_history(committed, keep_from_us) {
            tracing::error!("{}: cannot remove a sent segment: {error}", self.options.name);
        }
    }

    /// Kafka has records that this disk has lost. Their offsets must not be used again, or new
    /// records would be taken for sent ones.
    fn skip_to(&mut self, committed: u64) {
        if self.pause.is_some() && self.deadline.is_some_and(|deadline| deadline > self.clock.now()) {
            return;
        }
        let next_offset = self.journal.next_offset();
        match self.journal.skip_to(committed, self.clock.now_us()) {
            Ok(()) => {
                tracing::warn!(
                    "{}: Kafka has offsets up to {committed}, this disk only up to {next_offset}; going on behind",
                    self.options.name
                );
                self.shared.synced.send_replace(self.journal.next_offset());
                self.disk_works();
            }
            Err(error) => self.disk_fails(&error),
        }
    }

    /// Adds up what is history, what is thinned, what is unsent.
    fn add_up_parts(&mut self) {
        let segments = self.journal.segments();
        let committed = self.status.confirmed.unwrap_or(0);
        let thinned_ratio = self.thinned_ratio();
        let next_room = self.next_room(&segments);
        let status = &mut self.status;
        (status.history_bytes, status.thinned_bytes, status.full_from_us) = (0, 0, None);
        let mut newest_bytes = self.journal.bytes();
        let mut history_of_newest = 0;
        for segment in &segments {
            newest_bytes = newest_bytes.saturating_sub(segment.bytes);
            if segment.end_offset <= committed {
                status.history_bytes += segment.bytes;
            } else if segment.thinned {
                status.thinned_bytes += segment.bytes;
            } else if status.full_from_us.is_none() {
                status.full_from_us = Some(segment.from_us);
            }
            if segment.first_offset < committed && committed < segment.end_offset {
                let span = segment.end_offset - segment.first_offset;
                history_of_newest = share(segment.bytes, committed - segment.first_offset, span);
            }
        }
        let first = segments.last().map_or(self.journal.first_offset(), |segment| segment.end_offset);
        let next = self.journal.next_offset();
        if committed > first {
            history_of_newest = share(newest_bytes, committed.min(next) - first, next - first);
        }
        status.unsent_bytes =
            self.journal.bytes().saturating_sub(status.history_bytes).saturating_sub(history_of_newest);
        (status.thinned_ratio, status.next_room) = (thinned_ratio, next_room);
    }

    pub(super) fn publish_status(&mut self) {
        let now = self.clock.now();
        if self.parts_at.is_none_or(|at| now.saturating_duration_since(at) >= PARTS_EVERY) {
            self.parts_at = Some(now);
            self.look_at_known();
            self.add_up_parts();
        }
        let status = &mut self.status;
        status.bytes = self.journal.bytes();
        status.first_offset = self.journal.first_offset();
        status.next_offset = self.journal.next_offset();
        status.written_bytes = self.journal.written_bytes();
        status.rewritten_bytes = self.journal.rewritten_bytes();
        status.device_bytes = self.journal.device_bytes();
        status.lost_records = self.shared.lost_records.load(Ordering::SeqCst);
        status.given_back = self.shared.given_back.load(Ordering::SeqCst);
        status.oldest_unsent_us = self.open.oldest_us(status.next_offset, &mut self.ages);
        #[allow(clippy::cast_precision_loss)] // a ratio to be shown
        let ratio = (status.samples > 0).then(|| status.written_bytes as f64 / status.samples as f64);
        status.bytes_per_sample = ratio;
        self.shared.status.send_if_modified(|shown| {
            let changed = shown != status;
            if changed {
                shown.clone_from(status);
            }
            changed
        });
    }
}

/// Marks the lane as closed when the thread ends, by a panic too: else everyone would go on
/// handing over what nobody stores, and the watchdog would see a box in order.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        self.0.closed.store(true, Ordering::SeqCst);
        // Who waits for more must learn that there is none.
        self.0.synced.send_modify(|_| {});
    }
}

/// The part of `bytes` that `records` of `all` take.
fn share(bytes: u64, records: u64, all: u64) -> u64 {
    let part = u128::from(bytes) * u128::from(records) / u128::from(all.max(1));
    u64::try_from(part).unwrap_or(bytes)
}
