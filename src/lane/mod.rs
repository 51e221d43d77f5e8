//! Lanes: a journal for batches or events, with a thread that writes it and readers that follow.
//!
//! ```text
//! poller ── try_append ──► queue ──► thread: encode, group commit ──► journal ──► LaneReader ──► replicate
//! ```
//!
//! The thread syncs what has come in when the oldest of it has waited `sync_interval`, so at most
//! once in that time; sooner only when `sync_bytes` wait, because memory is bounded. It never gives
//! up: while the disk does not work it says so in the status and by an event, and tries again with
//! pauses. Meanwhile memory stays bounded, because the queue fills and gives batches back to the
//! caller, who records the gap.
//!
//! When the budget is reached, it makes room (`worker/room.rs`): history goes first, then the oldest
//! is summed up, then removed.

#[cfg(test)]
mod budget_tests;
mod chain;
mod codec;
#[cfg(test)]
mod confirmed_tests;
mod decoder;
mod gaps;
mod history;
mod offline;
mod patience;
mod reader;
mod schemas;
mod status;
#[cfg(test)]
mod taken_tests;
mod tally;
#[cfg(test)]
mod tests;
mod thin_codec;
mod thinned;
mod thinner;
mod trim;
mod waiting;
mod worker;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::event::{Event, Events};
use crate::journal::{Disk, Journal, OpenError, Options, RealDisk, Recovery};
use crate::panic;

pub use codec::RecordFault;
pub use history::{History, Past, Wanted};
pub use offline::{Item, OfflineLane};
pub use patience::{Patience, ReadTrouble, Verdict};
pub use reader::{Body, LaneReader, Record, StoredBatch};
pub use status::LaneStatus;
pub use thinned::{Numbers, ThinnedBatch, ThinnedSample};
pub use trim::{Before, TrimError, TrimOrder, Trimmed};
pub(crate) use worker::Worker;
#[cfg(test)]
pub(crate) use worker::taken::Moved;
pub use writer::LaneWriter;

/// Samples in the queue at most: a few megabytes. A batch that finds the queue empty is taken
/// whatever its size.
pub const QUEUED_SAMPLES_MAX: usize = 64 * 1024;
/// How long closing tries to store what is left.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// What the disk does not give is tried again for so long, unless the configuration says otherwise.
pub const SKIP_UNREADABLE_AFTER: Duration = Duration::from_secs(6 * 3600);
/// An event that finds the queue full is tried again so often.
const EVENT_RETRY: Duration = Duration::from_millis(50);

/// What makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest unsent samples are summed up.
    Thin,
    /// The oldest are removed.
    Evict,
}

/// How a lane is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneOptions {
    /// `telemetry` or `events`.
    pub name: String,
    /// Where the journal lives; nothing else does.
    pub directory: PathBuf,
    /// Path of the box, the device of the lane's own events.
    pub box_path: String,
    /// Bytes on disk at most, see `when_full`.
    pub budget_bytes: u64,
    /// What Kafka has stays so long, as far as there is room; zero removes it at once.
    pub keep: Duration,
    /// Bytes that the file system is to have left: below that the journal grows no further.
    pub reserve_bytes: u64,
    /// What makes room when Kafka has nothing of what is there, in this order.
    pub when_full: Vec<WhenFull>,
    /// Samples are summed up over this long; whole seconds.
    pub thin_interval: Duration,
    /// What is younger stays in full as long as anything else can make room.
    pub full_for: Duration,
    /// Size of a segment; at most an eighth of the budget is used.
    pub segment_bytes: u64,
    /// Longest time a record waits to be synced, and least time between two syncs.
    pub sync_interval: Duration,
    /// A record that comes after a quiet time is synced so soon already.
    pub sync_after: Duration,
    /// Bytes of records in memory at most: more are synced without waiting.
    pub sync_bytes: usize,
    /// Batches (or events) in the queue at most.
    pub queue_len: usize,
    /// What the disk does not give (an error in the place of bytes) is tried again for so long before
    /// it is passed over.
    pub skip_unreadable_after: Duration,
}

impl LaneOptions {
    /// The defaults: 2 GiB in segments of 16 MiB, synced every 500 ms, no history, no reserve,
    /// thinned to minutes what is older than a week.
    pub fn new(name: &str, directory: impl Into<PathBuf>, box_path: &str) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.into(),
            box_path: box_path.to_owned(),
            budget_bytes: 2 << 30,
            keep: Duration::ZERO,
            reserve_bytes: 0,
            when_full: vec![WhenFull::Thin, WhenFull::Evict],
            thin_interval: Duration::from_secs(60),
            full_for: Duration::from_secs(7 * 24 * 3600),
            segment_bytes: 16 << 20,
            sync_interval: Duration::from_millis(500),
            sync_after: Duration::MAX,
            sync_bytes: 4 << 20,
            queue_len: 4096,
            skip_unreadable_after: SKIP_UNREADABLE_AFTER,
        }
    }
}

/// A running lane. Dropping it closes it without waiting.
pub struct Lane {
    shared: Arc<writer::Shared>,
    thread: Option<JoinHandle<u64>>,
}

/// All that [`Lane::open`] makes.
pub struct Opened {
    /// To close it.
    pub lane: Lane,
    /// Where batches go in.
    pub writer: LaneWriter,
    /// Where records come out; begins at the oldest.
    pub reader: LaneReader,
    /// What was stored, by device, tag and time.
    pub history: History,
    /// What was found in the directory. Its damages become events when they are read.
    pub recovery: Recovery,
}

impl Lane {
    /// Opens the lane's journal and starts its thread.
    ///
    /// # Errors
    /// [`OpenError`] when the directory does not work. Damaged content is no error.
    pub fn open(options: LaneOptions, events: Events) -> Result<Opened, OpenError> {
        let disk = RealDisk::open(&options.directory).map_err(failed(&options, "open"))?;
        Self::open_on(Arc::new(disk), Arc::new(SystemClock), options, events)
    }

    /// The same on any disk and by any clock; `options.directory` is only named in errors.
    ///
    /// # Errors
    /// Those of [`Lane::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: LaneOptions,
        events: Events,
    ) -> Result<Opened, OpenError> {
        let thread_failed = failed(&options, "start a thread for");
        let name = format!("lane-{}", options.name);
        let Parts { worker, writer, reader, history, recovery } = Parts::open(disk, clock, options, events)?;
        let shared = Arc::clone(&writer.shared);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run(CLOSE_PATIENCE))
            .map_err(thread_failed)?;
        Ok(Opened { lane: Self { shared, thread: Some(thread) }, writer, reader, history, recovery })
    }

    /// Stores everything that was handed over, syncs and ends the thread. Blocks, at most some
    /// seconds when the disk does not work. Returns how many records could not be stored: at least
    /// one when the thread ended with a panic, because nobody knows what it still had.
    pub fn close(mut self) -> u64 {
        self.stop();
        let Some(thread) = self.thread.take() else { return 0 };
        let name = thread.thread().name().unwrap_or("lane").to_owned();
        thread.join().unwrap_or_else(|panic| {
            let words = panic::words(&*panic);
            tracing::error!("thread {name} ended with a panic, what it had not synced is lost: {words}");
            1
        })
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

/// A lane whose worker has no thread yet.
pub(crate) struct Parts {
    pub worker: Worker,
    pub writer: LaneWriter,
    pub reader: LaneReader,
    pub history: History,
    pub recovery: Recovery,
}

impl Parts {
    /// Opens the journal in `disk`; `options.directory` is only named in errors.
    ///
    /// # Errors
    /// [`OpenError`] when the directory does not work. Damaged content is no error.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: LaneOptions,
        events: Events,
    ) -> Result<Self, OpenError> {
        let limits = Options { segment_bytes: options.segment_bytes.min(options.budget_bytes / 8) };
        let (journal, recovery) = Journal::open(disk, limits)?;
        let gaps = gaps::Gaps { lane: options.name.clone(), box_path: options.box_path.clone() };
        if let Some(event) = recovery.removal.as_deref().and_then(|note| gaps.noted(note)) {
            tracing::warn!("told again after a restart: {}", event.text);
            events.emit(event);
        }
        for damage in &recovery.damages {
            // It is told when a reader gets there: Kafka may have what is damaged here.
            tracing::warn!("{}: {}", options.name, gaps.damaged(damage, clock.now_us()).text);
        }
        let (queue, receiver) = mpsc::sync_channel(options.queue_len);
        let shared = Arc::new(writer::Shared {
            queue,
            queued_samples: AtomicUsize::new(0),
            given_back: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            used: AtomicU64::new(0),
            secured: AtomicU64::new(0),
            found: OnceLock::new(),
            settled: AtomicBool::new(false),
            damage_told: Mutex::default(),
            lost_records: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            synced: watch::Sender::new(journal.next_offset()),
            status: watch::Sender::new(LaneStatus::default()),
        });
        let first = journal.reader(journal.first_offset()).map_err(failed(&options, "read"))?;
        let history = History::of(first.another(0).map_err(failed(&options, "read"))?);
        let reader = LaneReader::new(
            first,
            journal.epoch(),
            Arc::clone(&clock),
            Arc::clone(&shared),
            events.clone(),
            gaps.clone(),
            Patience::new(options.skip_unreadable_after),
        );
        let mut worker = Worker::new(journal, clock, receiver, Arc::clone(&shared), events, gaps, options);
        if recovery.removal.is_some() {
            worker.noted();
        }
        worker.publish_status();
        worker.warn_of_small_disk();
        Ok(Self { worker, writer: LaneWriter { shared }, reader, history, recovery })
    }
}

fn failed(options: &LaneOptions, action: &'static str) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let file = options.directory.display().to_string();
    move |source| OpenError { action, file, source }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Moves events into their lane until `stop`, then those that are waiting, and returns.
pub async fn store_events(
    mut events: tokio::sync::mpsc::Receiver<Event>,
    writer: LaneWriter,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = stop.cancelled() => None,
        };
        let Some(mut event) = event else { return };
        while let Err(back) = writer.try_append_event(event) {
            if writer.is_closed() {
                tracing::error!(device = %back.device, "event lost, its lane is closed: {}", back.text);
                break;
            }
            event = back;
            tokio::time::sleep(EVENT_RETRY).await;
        }
    }
}
