//! From the journal to Kafka, exactly once and in order (docs/kafka.md, ADR 0004).
//!
//! Each lane has a thread and a transactional producer. A transaction holds a run of records and
//! one checkpoint that says how far the run goes; both become visible together or not at all.
//! After every start and every fault the thread makes a new producer, which shuts out its
//! predecessor, reads the last checkpoint and goes on from there. So there is one way to recover,
//! and it is used all the time.

mod batch_size;
pub(crate) mod checkpoint;
pub mod encode;
pub(crate) mod fault;
mod journal;
pub(crate) mod lane;
pub mod mock;
mod options;
mod reports;
mod session;
mod status;
pub(crate) mod stop;
mod topics;
pub(crate) mod transport;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use checkpoint::{Checkpoint, Nonce};
pub use journal::JournalSource;
pub use options::{CreateTopics, Mechanism, Options, Password, Sasl, Tls};
pub use status::{Replication, ReplicationStatus, State};

use crate::event::Events;

/// One lane of a journal, as the replicator reads it. Calls come from one thread and may block.
pub trait Source: Send {
    /// Name of the lane, also the end of its topic: `telemetry` or `events`.
    fn lane(&self) -> &str;

    /// Identity of the journal: 32 hexadecimal digits.
    fn epoch(&self) -> &str;

    /// Goes on reading at `offset`, or at the first one after it that is there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn seek(&mut self, offset: u64) -> Result<(), SourceFault>;

    /// The next record, in ascending order of offsets; waits for it at most `wait`.
    /// `None` = nothing new. Only synced records may be returned.
    ///
    /// # Errors
    /// When the journal cannot be read; the replicator then begins again with [`Source::seek`].
    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault>;

    /// All records below `next_offset` are in Kafka: they may be trimmed.
    fn committed(&mut self, next_offset: u64);
}

/// One record for Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number in its lane.
    pub offset: u64,
    /// When it was read at the edge, microseconds since 1970 UTC.
    pub edge_us: i64,
    /// Path of the device.
    pub key: &'a str,
    /// JSON, see [`encode`] and `docs/kafka.md`.
    pub value: &'a [u8],
}

/// The journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceFault(pub String);

/// A running lane. Ends with [`Replicator::stop`] or when dropped.
pub struct Replicator {
    status: Arc<ReplicationStatus>,
    stop: Arc<stop::Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Replicator {
    /// Starts the thread of one lane. It never ends by itself, whatever Kafka does.
    ///
    /// `boot` names this run of the process and must differ after every start. Records that Kafka
    /// would not take and a second box under our name become `events`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        options: Options,
        source: impl Source + 'static,
        boot: &str,
        events: Option<Events>,
    ) -> std::io::Result<Self> {
        let status = Arc::new(ReplicationStatus::default());
        let stop = Arc::new(stop::Stop::default());
        let lane = source.lane().to_owned();
        let shared = lane::Shared {
            options,
            boot: boot.to_owned(),
            status: Arc::clone(&status),
            stop: Arc::clone(&stop),
            events,
            lane,
        };
        let shared = Arc::new(shared);
        let name = format!("replicate-{}", shared.lane);
        let kafka = session::Kafka::new(&shared);
        let lane = lane::Lane::new(shared, source, kafka);
        let thread = std::thread::Builder::new().name(name).spawn(move || lane.run())?;
        Ok(Self { status, stop, thread: Some(thread) })
    }

    /// How it is doing; stays valid after the end.
    pub fn status(&self) -> Arc<ReplicationStatus> {
        Arc::clone(&self.status)
    }

    /// Asks it to end, without waiting: a transaction that is nearly through is committed, else
    /// it is given up and sent again after the next start.
    pub fn stop(&self) {
        self.stop.set();
    }

    /// Asks it to end and waits, at most some 10 s.
    pub fn join(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a replicator panicked");
        }
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// A hundred records; the first time it is to give the fortieth it panics, in the middle of a
    /// transaction. After that it is found again only once somebody has seen the fault.
    struct Panics {
        next: u64,
        has_panicked: bool,
        seen: mpsc::Receiver<()>,
        committed: Arc<AtomicU64>,
    }

    impl Source for Panics {
        fn lane(&self) -> &str {
            "telemetry"
        }

        fn epoch(&self) -> &str {
            "00112233445566778899aabbccddeeff"
        }

        fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
            if self.has_panicked {
                // Ends with the sender, too.
                let _seen = self.seen.recv();
            }
            self.next = offset;
            Ok(())
        }

        fn next(&mut self, _: Duration) -> Result<Option<Record<'_>>, SourceFault> {
            assert!(self.next != 40 || std::mem::replace(&mut self.has_panicked, true), "a fault at 40");
            if self.next == 100 {
                return Ok(None);
            }
            self.next += 1;
            Ok(Some(Record { offset: self.next - 1, edge_us: 0, key: "Works1/press", value: b"{}" }))
        }

        fn committed(&mut self, next_offset: u64) {
            self.committed.store(next_offset, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_panic_is_shown_and_replication_goes_on_from_the_checkpoint() {
        let broker = mock::Broker::start("panics").unwrap();
        let options = Options::new(broker.bootstrap(), "panics", "Works1", "box");
        let committed = Arc::new(AtomicU64::new(0));
        let (tell, seen) = mpsc::channel();
        let source = Panics { next: 0, has_panicked: false, seen, committed: Arc::clone(&committed) };
        let replicator = Replicator::start(options, source, "boot", None).unwrap();
        let wait_for = |what: &str, is_so: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !is_so() {
                let status = replicator.status().snapshot();
                assert!(start.elapsed() < Duration::from_secs(60), "no {what}: {status:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait_for("fault", &|| {
            let state = replicator.status().snapshot().state;
            matches!(state, State::Waiting { cause, .. } if cause.contains("please report it: a fault at 40"))
        });
        drop(tell);
        wait_for("commit", &|| committed.load(Ordering::SeqCst) == 100);
        assert_eq!(replicator.status().snapshot().records, 100, "each record once");
    }
}
