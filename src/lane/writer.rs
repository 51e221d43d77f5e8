//! The writing side of a lane: a handle that never waits.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::QUEUED_SAMPLES_MAX;
use super::status::LaneStatus;
use super::trim::{TrimError, TrimOrder, Trimmed};
use crate::batch::Batch;
use crate::event::Event;
use crate::journal::Damage;

/// Damages remembered, so that each is told once although it may be read again.
const DAMAGES_REMEMBERED_MAX: usize = 1024;
/// A flush that finds the queue full is tried again so often.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

/// What goes through the queue.
pub(super) enum Message {
    Batch(Batch),
    Event(Event),
    /// Answered when everything before it is synced.
    Flush(SyncSender<u64>),
    /// Answered when it is done.
    Trim(TrimOrder, SyncSender<Result<Trimmed, TrimError>>),
    /// The records before this offset have left the box; answered when that is noted.
    HandOver(u64, SyncSender<io::Result<()>>),
    /// Look at the shared state.
    Wake,
}

/// What the handles, the readers and the thread share.
pub(super) struct Shared {
    pub queue: SyncSender<Message>,
    pub queued_samples: AtomicUsize,
    pub given_back: AtomicU64,
    /// One more than the committed offset; 0 until it is known.
    pub committed: AtomicU64,
    /// What Kafka is remembered to have confirmed before this start: everything before this offset;
    /// 0 = nothing is remembered.
    pub confirmed: AtomicU64,
    /// Offsets before this one are known outside and not given again; 0 until it is known.
    pub used: AtomicU64,
    /// A second cluster has everything before this offset that Kafka lacks; 0 = none has.
    pub secured: AtomicU64,
    /// Ranges of offsets whose damage was told.
    pub damage_told: Mutex<BTreeSet<(u64, u64)>>,
    pub lost_records: AtomicU64,
    pub stopping: AtomicBool,
    /// The thread has ended: nothing more will be synced.
    pub closed: AtomicBool,
    /// What Kafka had before this run sent any: the end of its offsets, and which ranges below it
    /// still lacks.
    pub found: OnceLock<(u64, Vec<(u64, u64)>)>,
    /// The thread has done what follows from that.
    pub settled: AtomicBool,
    pub synced: watch::Sender<u64>,
    pub status: watch::Sender<LaneStatus>,
}

impl Shared {
    /// Makes the thread look at the shared state. A full queue keeps it awake anyway.
    pub(super) fn wake(&self) {
        let _awake_anyway = self.queue.try_send(Message::Wake);
    }

    /// Remembers that this damage was told; `false` when it was told before.
    pub(super) fn first_told(&self, damage: &Damage) -> bool {
        let mut told = self.damage_told.lock().unwrap_or_else(PoisonError::into_inner);
        let Damage { from_offset, to_offset, .. } = *damage;
        if told.iter().any(|(from, to)| *from <= from_offset && to_offset <= *to) {
            return false;
        }
        // Telling twice is better than remembering without end.
        if told.len() >= DAMAGES_REMEMBERED_MAX {
            told.clear();
        }
        told.insert((from_offset, to_offset))
    }

    /// Kafka has been heard, and it is not yet known whether records have offsets of others. Until
    /// then none is sent: what was not sent when the power goes is looked at again.
    pub(super) fn is_unsettled(&self) -> bool {
        self.found.get().is_some()
            && !self.settled.load(Ordering::SeqCst)
            && !self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn committed(&self) -> Option<u64> {
        self.committed.load(Ordering::SeqCst).checked_sub(1)
    }
}

/// Where batches and events go in. Cheap to clone; never waits.
#[derive(Clone)]
pub struct LaneWriter {
    pub(super) shared: Arc<Shared>,
}

impl LaneWriter {
    /// Hands a batch to the lane. It is stored with the next group commit.
    ///
    /// # Errors
    /// Gives the batch back when the queue is full or the lane is closed; the caller records the
    /// gap.
    // The batch is what the caller gets back, not a description of a failure.
    #[allow(clippy::result_large_err)]
    pub fn try_append(&self, batch: Batch) -> Result<(), Batch> {
        let samples = batch.samples.len();
        let shared = &self.shared;
        let queued = shared.queued_samples.fetch_add(samples, Ordering::SeqCst);
        let refused = if queued > 0 && queued + samples > QUEUED_SAMPLES_MAX
            || shared.stopping.load(Ordering::SeqCst)
        {
            batch
        } else {
            match shared.queue.try_send(Message::Batch(batch)) {
                Err(
                    TrySendError::Full(Message::Batch(batch))
                    | TrySendError::Disconnected(Message::Batch(batch)),
                ) => batch,
                _ => return Ok(()),
            }
        };
        shared.queued_samples.fetch_sub(samples, Ordering::SeqCst);
        shared.given_back.fetch_add(1, Ordering::SeqCst);
        Err(refused)
    }

    /// Hands an event to the lane.
    ///
    /// # Errors
    /// Gives the event back when the queue is full or the lane is closed.
    #[allow(clippy::result_large_err)] // as above
    pub fn try_append_event(&self, event: Event) -> Result<(), Event> {
        if self.shared.stopping.load(Ordering::SeqCst) {
            return Err(event);
        }
        match self.shared.queue.try_send(Message::Event(event)) {
            Err(
                TrySendError::Full(Message::Event(event)) | TrySendError::Disconnected(Message::Event(event)),
            ) => Err(event),
            _ => Ok(()),
        }
    }

    /// Waits until everything handed over before is synced, at most `limit`; the offset behind it.
    /// For tests, benchmarks and the end of the program: it blocks.
    pub fn flush(&self, limit: Duration) -> Option<u64> {
        let end = Instant::now() + limit;
        let (answer, synced) = std::sync::mpsc::sync_channel(1);
        let mut message = Message::Flush(answer);
        // The queue stays full while the disk does not work, and its own `send` knows no limit.
        while let Err(refused) = self.shared.queue.try_send(message) {
            let TrySendError::Full(back) = refused else { return None };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(left.min(FLUSH_RETRY));
            message = back;
        }
        synced.recv_timeout(end.saturating_duration_since(Instant::now())).ok()
    }

    /// Kafka had confirmed everything before `offset` when it was last heard, before this start. It
    /// counts until Kafka is heard again, for what is said and for what is history; what is sent
    /// does not depend on it.
    pub fn remember_confirmed(&self, offset: u64) {
        self.shared.confirmed.fetch_max(offset, Ordering::SeqCst);
        self.shared.wake();
    }

    /// True when the lane takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.shared.stopping.load(Ordering::SeqCst)
    }

    /// Follows the offset behind the last synced record.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.shared.synced.subscribe()
    }

    /// Follows the state of the lane.
    pub fn status(&self) -> watch::Receiver<LaneStatus> {
        self.shared.status.subscribe()
    }
}
