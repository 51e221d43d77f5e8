//! A Kafka in memory, as far as one box can tell: transactions with their coordinator, fencing by
//! epoch, idempotent producers, time limits, and readers that see what is committed.
//!
//! Requests and answers get lost in [`super::transport`]; what arrives here is handled at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::context::Context;
use crate::clock::Clock;
use crate::journal::memory_disk::Fate;
use crate::replicate::Delivery;
use crate::replicate::checkpoint::Checkpoint;

/// Partitions of the telemetry topic.
pub const PARTITIONS: usize = 3;

/// One record of a data topic, as a reader sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub lane: &'static str,
    pub epoch: String,
    pub offset: u64,
    pub key: String,
    pub value: Vec<u8>,
    pub delivery: Delivery,
}

/// What a request is answered with when it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A newer producer has this transactional id.
    Fenced,
    /// The broker has forgotten the producer.
    UnknownProducer,
    /// A batch came before the one in front of it.
    OutOfOrder,
    /// The topic is not there.
    NoTopic,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub lane: &'static str,
    pub epoch: u32,
}

struct Coordinator {
    epoch: u32,
    transaction: Option<Open>,
    /// Next sequence number by partition; those of the checkpoints are not simulated.
    sequences: [u64; PARTITIONS],
    used: Instant,
}

struct Open {
    since: Instant,
    records: Vec<Seen>,
    checkpoints: Vec<Stored>,
}

/// A record of the checkpoint topic.
#[derive(Clone)]
pub struct Stored {
    pub boot: String,
    /// `None` = a nonce.
    pub checkpoint: Option<Checkpoint>,
}

struct State {
    context: Context,
    coordinators: BTreeMap<&'static str, Coordinator>,
    /// What is committed, in order, by lane.
    checkpoints: BTreeMap<&'static str, Vec<Stored>>,
    /// Committed and not yet taken by the reader.
    visible: Vec<Seen>,
    topics_missing: u32,
    /// Ends of transactions that are still on their way.
    late: Vec<(Instant, Producer)>,
    transaction_timeout: Duration,
    producer_expiry: Duration,
}

/// See the module. Clones are the same broker.
#[derive(Clone)]
pub struct Broker(Arc<Mutex<State>>);

impl Broker {
    pub fn new(context: &Context, transaction_timeout: Duration, producer_expiry: Duration) -> Self {
        Self(Arc::new(Mutex::new(State {
            context: context.clone(),
            coordinators: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            visible: Vec::new(),
            topics_missing: 0,
            late: Vec::new(),
            transaction_timeout,
            producer_expiry,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        state.expire();
        state
    }

    /// What readers with `read_committed` see since they looked last.
    pub fn take_visible(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().visible)
    }

    /// InitProducerId: ends the predecessor's transaction and shuts it out.
    pub fn init(&self, lane: &'static str) -> Producer {
        let mut state = self.state();
        let now = state.context.now();
        let before = state.coordinators.get(lane).map_or(0, |before| before.epoch);
        let new = Coordinator { epoch: before + 1, transaction: None, sequences: [0; PARTITIONS], used: now };
        state.coordinators.insert(lane, new);
        Producer { lane, epoch: before + 1 }
    }

    /// AddPartitionsToTxn.
    pub fn begin(&self, producer: &Producer) -> Result<(), Refusal> {
        let mut state = self.state();
        let now = state.context.now();
        let coordinator = state.of(producer)?;
        let open = Open { since: now, records: Vec::new(), checkpoints: Vec::new() };
        coordinator.transaction.get_or_insert(open);
        Ok(())
    }

    /// Produce: a batch for one partition that begins with `sequence`. A batch that is here already
    /// is accepted and not stored again. Without `checks_sequence` it is stored as it comes.
    pub fn produce(
        &self,
        producer: &Producer,
        partition: usize,
        sequence: u64,
        batch: &[Seen],
        checks_sequence: bool,
    ) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.topics_missing > 0 {
            state.topics_missing -= 1;
            return Err(Refusal::NoTopic);
        }
        let coordinator = state.of(producer)?;
        let expected = coordinator.sequences[partition];
        if checks_sequence && sequence != expected {
            return if sequence < expected { Ok(()) } else { Err(Refusal::OutOfOrder) };
        }
        coordinator.sequences[partition] = expected.max(sequence + batch.len() as u64);
        // A record outside of a transaction is a mistake of the simulation.
        coordinator.transaction.as_mut().unwrap().records.extend_from_slice(batch);
        Ok(())
    }

    /// Produce for the checkpoint topic.
    pub fn produce_checkpoint(&self, producer: &Producer, stored: Stored) -> Result<(), Refusal> {
        let mut state = self.state();
        state.of(producer)?.transaction.as_mut().unwrap().checkpoints.push(stored);
        Ok(())
    }

    /// EndTxn. A second one after the first was done changes nothing.
    pub fn end(&self, producer: &Producer, commit: bool) -> Result<(), Refusal> {
        let mut state = self.state();
        state.end(producer, commit)
    }

    /// EndTxn that arrives after `time`, unless something else ends the transaction before.
    pub fn commit_late(&self, producer: &Producer, time: Duration) {
        let mut state = self.state();
        let at = state.context.now() + time;
        state.late.push((at, producer.clone()));
    }

    /// The lane's committed checkpoints and nonces, oldest first.
    pub fn checkpoints(&self, lane: &str) -> Vec<Stored> {
        self.state().checkpoints.get(lane).cloned().unwrap_or_default()
    }

    /// A checkpoint that is in no transaction.
    pub fn put_checkpoint(&self, lane: &'static str, stored: Stored) {
        self.state().checkpoints.entry(lane).or_default().push(stored);
    }

    /// A second box with our name starts, writes its nonce and is gone.
    pub fn intrude(&self, lane: &'static str, boot: &str) {
        self.init(lane);
        self.put_checkpoint(lane, Stored { boot: boot.to_owned(), checkpoint: None });
    }

    /// The coordinator loses what it knew of all producers.
    pub fn forget_producers(&self) {
        let mut state = self.state();
        for coordinator in state.coordinators.values_mut() {
            coordinator.transaction = None;
            coordinator.epoch += 1;
        }
    }

    /// A topic is deleted and made again; what readers have read they keep.
    pub fn recreate_topic(&self, requests: u32) {
        let mut state = self.state();
        state.topics_missing = requests;
        for coordinator in state.coordinators.values_mut() {
            coordinator.transaction = None;
            coordinator.epoch += 1;
        }
    }
}

impl State {
    fn of(&mut self, producer: &Producer) -> Result<&mut Coordinator, Refusal> {
        let now = self.context.now();
        let coordinator = self.coordinators.get_mut(producer.lane).ok_or(Refusal::UnknownProducer)?;
        if coordinator.epoch != producer.epoch {
            return Err(Refusal::Fenced);
        }
        coordinator.used = now;
        Ok(coordinator)
    }

    fn end(&mut self, producer: &Producer, commit: bool) -> Result<(), Refusal> {
        let Some(open) = self.of(producer)?.transaction.take() else { return Ok(()) };
        if commit {
            self.visible.extend(open.records);
            self.checkpoints.entry(producer.lane).or_default().extend(open.checkpoints);
        }
        Ok(())
    }

    /// Transactions that last too long are given up, and with them their producer; producers that
    /// are silent for too long are forgotten.
    fn expire(&mut self) {
        let now = self.context.now();
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= now);
        self.late = late;
        let due: Vec<(Instant, Producer)> = due;
        for (_, producer) in due {
            let outcome = self.end(&producer, true);
            self.context.say(|| format!("{} broker: the late commit arrives: {outcome:?}", producer.lane));
        }
        for (lane, coordinator) in &mut self.coordinators {
            let is_late = |open: &Open| now - open.since > self.transaction_timeout;
            if coordinator.transaction.as_ref().is_some_and(is_late) {
                self.context.say(|| format!("{lane} broker: the open transaction is given up"));
                coordinator.transaction = None;
                coordinator.epoch += 1;
            }
            if now - coordinator.used > self.producer_expiry {
                coordinator.epoch += 1;
                coordinator.used = now;
            }
        }
    }
}

/// Partition of a key.
pub fn partition(key: &str) -> usize {
    let sum = key.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    sum % PARTITIONS
}

/// A random time up to `most`.
pub fn random_time(fate: &mut Fate, most: Duration) -> Duration {
    let most_us = usize::try_from(most.as_micros()).unwrap();
    Duration::from_micros(fate.below(most_us + 1) as u64)
}
