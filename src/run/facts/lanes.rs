//! The lanes as the page sees them: none until their disk works.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;

use super::lock;
use crate::clock;
use crate::control::LaneControl;
use crate::lane::{History, LaneStatus, LaneWriter};
use crate::replicate::{ReplicationStatus, Replicator};
use crate::run::rates::Rates;
use crate::run::storage;
use crate::status::facts::DiskError;

/// One lane with its way to Kafka.
pub struct LaneFacts {
    /// `telemetry` or `events`.
    pub name: &'static str,
    /// To see whether it still takes records.
    pub writer: LaneWriter,
    /// State of the journal.
    pub status: watch::Receiver<LaneStatus>,
    /// State of its replicator.
    pub replication: Arc<ReplicationStatus>,
    /// State of its way to the second Kafka, if there is one.
    pub second: Option<Arc<ReplicationStatus>>,
    /// Rates, fed once a second.
    pub rates: Mutex<Rates>,
    /// What is on its disk.
    pub history: History,
}

impl LaneFacts {
    /// Of a lane that is written by `writer` and sent by `replicator`.
    pub fn new(name: &'static str, writer: &LaneWriter, replicator: &Replicator, history: History) -> Self {
        Self {
            name,
            writer: writer.clone(),
            status: writer.status(),
            replication: replicator.status(),
            second: replicator.fallback_status(),
            rates: Mutex::default(),
            history,
        }
    }

    /// What the control socket gives access to.
    pub fn control(&self) -> LaneControl {
        let (writer, replication) = (self.writer.clone(), Arc::clone(&self.replication));
        LaneControl { name: self.name, writer, replication }
    }
}

/// The lanes; none until their disk works.
#[derive(Default)]
pub struct Lanes {
    open: OnceLock<Vec<LaneFacts>>,
    /// Why and since when there are none.
    closed: Mutex<Option<DiskError>>,
    given_up: AtomicBool,
}

impl Deref for Lanes {
    type Target = [LaneFacts];

    fn deref(&self) -> &[LaneFacts] {
        self.open.get().map_or(&[], Vec::as_slice)
    }
}

impl Lanes {
    /// The lanes work from now on.
    pub fn open(&self, lanes: Vec<LaneFacts>) {
        *lock(&self.closed) = None;
        // They are opened once.
        let _before = self.open.set(lanes);
    }

    /// Notes why they cannot be opened, in words; tells whether that is news.
    pub fn closed(&self, why: &str) -> bool {
        let message = storage::not_stored(why);
        let mut closed = lock(&self.closed);
        let news = closed.as_ref().is_none_or(|before| before.message != message);
        let since_us = closed.as_ref().map_or_else(clock::now_us, |before| before.since_us);
        *closed = Some(DiskError { since_us, message });
        news
    }

    /// They will not be opened by this process any more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    /// Whether they will never be opened by this process.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    pub(super) fn trouble(&self) -> Option<DiskError> {
        lock(&self.closed).clone()
    }
}
