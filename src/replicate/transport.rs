//! What a lane needs of the way to Kafka. librdkafka is one such way ([`super::session`]), the
//! simulated broker of the tests another.

use std::time::Instant;

use super::Record;
use super::checkpoint::{Checkpoint, Found};
use super::fault::Fault;

/// Opens sessions with a broker, one after the other.
pub(crate) trait Transport: Send + 'static {
    /// What it opens.
    type Session: Session;

    /// A new producer: shuts out older ones of this lane, ends their open transaction and finds
    /// the lane's checkpoint. Batches it hands to the broker hold at most `batch_bytes`.
    ///
    /// # Errors
    /// [`Fault`]; nothing was sent then.
    fn open(&mut self, epoch: &str, batch_bytes: usize) -> Result<Self::Session, Fault>;

    /// Boot id of another run that has written under our name since the last session was opened
    /// or since the last time somebody was found; `None` = nobody has.
    fn find_other(&mut self) -> Option<String>;
}

/// A producer whose place among others is settled. After a [`Fault`] it is aborted and dropped.
pub(crate) trait Session {
    /// What Kafka says of our epoch.
    fn found(&self) -> &Found;

    /// Opens a transaction.
    ///
    /// # Errors
    /// [`Fault`].
    fn begin(&mut self) -> Result<(), Fault>;

    /// Adds one record to the open transaction.
    ///
    /// # Errors
    /// [`Fault`].
    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Fault>;

    /// Adds the checkpoint and commits: after it all records of the transaction are in Kafka, and
    /// the checkpoint says so.
    ///
    /// # Errors
    /// [`Fault`]; then it is not known whether Kafka has them.
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault>;

    /// Gives up the open transaction, if there is one, so that readers need not wait for its
    /// timeout. Failing is no harm: the next producer's start does the same.
    fn abort(&mut self);

    /// Bytes given to the network since the session was opened, as far as they were counted yet.
    fn wire_bytes(&self) -> u64;

    /// Whether certificates or passwords have changed, so that a new session should use them.
    fn is_renewed(&mut self, _now: Instant) -> bool {
        false
    }

    /// Whether Kafka answers, asked while there is nothing to send.
    ///
    /// # Errors
    /// [`Fault`] when it does not.
    fn probe(&mut self) -> Result<(), Fault>;
}

/// One record on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// What is sent.
    pub record: Record<'a>,
    /// Becomes the header `delivery`.
    pub delivery: Delivery,
    /// Why it goes to the dead-letter topic; `None` = to the lane's.
    pub dead_letter: Option<&'a Reason>,
}

/// When a record is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// When it was its turn.
    #[default]
    Live,
    /// After newer ones, because Kafka was away.
    Backfill,
    /// Once more, by request.
    Replay,
}

impl Delivery {
    /// Value of the header `delivery`; live records have none.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Live => None,
            Self::Backfill => Some("backfill"),
            Self::Replay => Some("replay"),
        }
    }
}

/// Why a record cannot go where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// Stable word.
    pub code: &'static str,
    /// For people.
    pub text: String,
}
