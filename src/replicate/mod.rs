//! From the journal to Kafka, exactly once and in order (docs/kafka.md, ADR 0004).
//!
//! Each lane has a thread and a transactional producer. A transaction holds a run of records and
//! one checkpoint that says how far the run goes; both become visible together or not at all.
//! After every start and every fault the thread makes a new producer, which shuts out its
//! predecessor, reads the last checkpoint and goes on from there. So there is one way to recover,
//! and it is used all the time.

mod batch_size;
pub(crate) mod checkpoint;
mod control;
pub mod encode;
mod fallback;
pub(crate) mod fault;
mod fenced;
mod fill;
mod followed;
mod identity;
mod journal;
pub(crate) mod lane;
pub(crate) mod lease;
mod left_out;
mod limits;
mod lookup;
pub mod mock;
mod options;
mod pace;
mod plain;
mod progress;
mod reports;
mod session;
mod status;
pub(crate) mod stop;
mod template;
mod topics;
pub(crate) mod transport;
mod window;

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use checkpoint::{Checkpoint, Nonce};
pub use control::{Memory, Pause, ReplicationControl};
pub use fallback::Fallback;
pub(crate) use fenced::shut_out_words;
pub use followed::{Followed, follow};
pub use journal::{JournalSource, RecordEncoder};
pub use lookup::{NotSeen, Onlooker, Seen};
pub use options::{
    Backfill, CreateTopics, Located, Mechanism, Mode, Options, Password, Sasl, TRANSACTION_RECORDS_MAX, Tls,
};
pub use pace::Line;
pub use status::{Backlogged, Replication, ReplicationStatus, State, importer, importer_boot};
pub use transport::Delivery;
pub use window::DailyWindow;

use crate::clock::SystemClock;
use crate::event::Events;
use crate::lane::ReadTrouble;

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

    /// Goes on reading at the beginning of `range`. What is missing is told as far as its end;
    /// records behind it may be given all the same.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn seek_range(&mut self, range: Range<u64>) -> Result<(), SourceFault> {
        self.seek(range.start)
    }

    /// The next record, in ascending order of offsets; waits for it at most `wait`.
    /// `None` = nothing new. Only synced records may be returned.
    ///
    /// # Errors
    /// When the journal cannot be read; the replicator then begins again with [`Source::seek`].
    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault>;

    /// All records below `next_offset` are in Kafka: they may be trimmed.
    fn committed(&mut self, next_offset: u64);

    /// Kafka had seen offsets up to before this one when a session was opened, except those of
    /// `backlog`; 0 = none. The first time it tells what earlier runs have sent.
    fn found(&mut self, next_offset: u64, _backlog: &[(u64, u64)]) {
        self.used(next_offset);
    }

    /// Kafka has seen offsets up to before this one, with or without holes: none of them may be
    /// given to a new record. A journal that was put back from a copy learns it from this.
    fn used(&mut self, next_offset: u64);

    /// A second cluster has what the first one lacks below `next_offset`: when the disk is full,
    /// it counts as sent.
    fn secured(&mut self, next_offset: u64);

    /// Behind the last record that could be read now.
    fn end(&self) -> u64;

    /// What the disk does not give at the place of reading, which is tried again meanwhile:
    /// [`Source::next`] gives nothing for so long. `None` = it gives all.
    fn trouble(&self) -> Option<ReadTrouble> {
        None
    }

    /// A second reader of the same lane, which reads on its own.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn another(&self) -> Result<Box<dyn Source>, SourceFault>;
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
    /// Why it cannot be expressed as that; the value then is whatever is known of it.
    pub fault: Option<&'a str>,
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn lane(&self) -> &str {
        (**self).lane()
    }
    fn epoch(&self) -> &str {
        (**self).epoch()
    }
    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        (**self).seek(offset)
    }
    fn seek_range(&mut self, range: Range<u64>) -> Result<(), SourceFault> {
        (**self).seek_range(range)
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        (**self).next(wait)
    }
    fn committed(&mut self, next_offset: u64) {
        (**self).committed(next_offset);
    }
    fn found(&mut self, next_offset: u64, backlog: &[(u64, u64)]) {
        (**self).found(next_offset, backlog);
    }

    fn used(&mut self, next_offset: u64) {
        (**self).used(next_offset);
    }
    fn secured(&mut self, next_offset: u64) {
        (**self).secured(next_offset);
    }
    fn end(&self) -> u64 {
        (**self).end()
    }
    fn trouble(&self) -> Option<ReadTrouble> {
        (**self).trouble()
    }
    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        (**self).another()
    }
}

/// The journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceFault(pub String);

/// A running lane. Ends with [`Replicator::stop`] or when dropped.
pub struct Replicator {
    status: Arc<ReplicationStatus>,
    fallback: Option<Arc<ReplicationStatus>>,
    control: Arc<ReplicationControl>,
    stop: Arc<stop::Stop>,
    threads: Vec<JoinHandle<()>>,
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
        let control = Arc::clone(&options.control);
        let mut replicator = Self { status, fallback: None, control, stop, threads: Vec::new() };
        let (lane, epoch) = (source.lane().to_owned(), source.epoch().to_owned());
        if let Some(Fallback { options: second, after }) = &options.fallback {
            let gate = fallback::Gate::new(Arc::clone(&replicator.status), *after, &options, &lane, &epoch);
            let source = source.another().map_err(std::io::Error::other)?;
            let status = Arc::new(ReplicationStatus::default());
            replicator.fallback = Some(Arc::clone(&status));
            let shared = replicator.shared((**second).clone(), &lane, boot, status, events.clone());
            let kafka = session::Kafka::new(&shared);
            let second = lane::Lane::new(shared, source, kafka).behind(gate);
            replicator.spawn(format!("fallback-{lane}"), move || second.run())?;
        }
        let shared = replicator.shared(options, &lane, boot, Arc::clone(&replicator.status), events);
        let kafka = session::Kafka::new(&shared);
        let first = lane::Lane::new(shared, source, kafka);
        replicator.spawn(format!("replicate-{lane}"), move || first.run())?;
        Ok(replicator)
    }

    fn shared(
        &self,
        options: Options,
        lane: &str,
        boot: &str,
        status: Arc<ReplicationStatus>,
        events: Option<Events>,
    ) -> Arc<lane::Shared> {
        let (lane, boot, stop) = (lane.to_owned(), boot.to_owned(), Arc::clone(&self.stop));
        Arc::new(lane::Shared { options, boot, status, stop, events, clock: Arc::new(SystemClock), lane })
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// A guest that has ended by itself; its state says why.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// How the way to the second cluster is doing; `None` without one.
    pub fn fallback_status(&self) -> Option<Arc<ReplicationStatus>> {
        self.fallback.clone()
    }

    /// How it is doing; stays valid after the end.
    pub fn status(&self) -> Arc<ReplicationStatus> {
        Arc::clone(&self.status)
    }

    /// To pause and resume it, together with all others that were given the same control.
    pub fn control(&self) -> Arc<ReplicationControl> {
        Arc::clone(&self.control)
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
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a replicator panicked");
            }
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
            Ok(Some(Record {
                offset: self.next - 1,
                edge_us: 0,
                key: "Works1/press",
                value: b"{}",
                fault: None,
            }))
        }

        fn committed(&mut self, next_offset: u64) {
            self.committed.store(next_offset, Ordering::SeqCst);
        }

        fn used(&mut self, _: u64) {}

        fn secured(&mut self, _: u64) {}

        fn end(&self) -> u64 {
            100
        }

        fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
            Err(SourceFault("there is only one".to_owned()))
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
