//! The way to the broker: requests and answers get lost, come late, come twice; and the source in
//! front of it, which waits by giving its turn away.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::broker::{Broker, PARTITIONS, Producer, Refusal, Seen, Stored, partition, random_time};
use super::context::{Context, Mutant};
use super::coroutine::Turn;
use crate::journal::memory_disk::Fate;
use crate::replicate::checkpoint::{Checkpoint, Found};
use crate::replicate::fault::Fault;
use crate::replicate::transport::{Outgoing, Session, Transport};
use crate::replicate::{JournalSource, Record, Source, SourceFault};

/// Tries of one request before the client gives up.
const TRIES: usize = 4;

/// What is wrong with the network.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Weather>>);

#[derive(Default)]
pub struct Weather {
    pub is_down: bool,
    /// Of a hundred requests or answers, so many are lost.
    pub loss: usize,
    /// Longest time on the way.
    pub slow: Duration,
}

impl Network {
    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        self.0.lock().unwrap()
    }
}

/// The transport of one lane in one run of the box.
pub struct SimTransport {
    pub line: Line,
    pub boot: String,
    /// Records of the checkpoint topic that were there when the last session was opened.
    pub seen: Option<usize>,
}

/// What sessions and their transport share.
#[derive(Clone)]
pub struct Line {
    pub lane: &'static str,
    pub context: Context,
    pub broker: Broker,
    pub network: Network,
    pub turn: Turn,
    pub fate: Arc<Mutex<Fate>>,
}

impl Line {
    /// A number below `end` from the seed.
    fn below(&self, end: usize) -> usize {
        self.fate.lock().unwrap().below(end)
    }

    fn say(&self, line: impl FnOnce() -> String) {
        self.context.say(|| format!("{} {}", self.lane, line()));
    }

    /// Lets time pass on the way; the rest of the box works meanwhile.
    fn travel(&self) -> Result<(), Fault> {
        let most = self.network.weather().slow.max(Duration::from_millis(1));
        let time = random_time(&mut self.fate.lock().unwrap(), most);
        if self.turn.give(time) { Ok(()) } else { Err(Fault::Stopped) }
    }

    fn is_lost(&self) -> bool {
        let Weather { is_down, loss, .. } = *self.network.weather();
        is_down || loss > 0 && self.below(100) < loss
    }

    /// One request, tried again while nothing comes back. It may have been done although this
    /// fails, and may be done several times.
    fn ask<T>(&self, what: &str, request: impl Fn() -> Result<T, Refusal>) -> Result<T, Fault> {
        let mut last = "no answer";
        for _ in 0..TRIES {
            self.travel()?;
            if self.is_lost() {
                self.say(|| format!("{what}: the request is lost"));
                continue;
            }
            let answer = request();
            if self.is_lost() {
                self.say(|| format!("{what}: the answer is lost"));
                continue;
            }
            match answer {
                Ok(done) => return Ok(done),
                Err(Refusal::Fenced) => {
                    self.say(|| format!("{what}: fenced"));
                    return Err(Fault::Fenced);
                }
                Err(refusal) => {
                    self.say(|| format!("{what}: {refusal:?}"));
                    last = "the broker refuses";
                }
            }
        }
        Err(Fault::Lost(format!("{last} while {what}")))
    }
}

impl Transport for SimTransport {
    type Session = SimSession;

    fn open(&mut self, epoch: &str, _: usize) -> Result<SimSession, Fault> {
        let line = self.line.clone();
        let producer = line.ask("init", || Ok(line.broker.init(line.lane)))?;
        let nonce = Stored { boot: self.boot.clone(), checkpoint: None };
        line.ask("nonce", || {
            line.broker.begin(&producer)?;
            line.broker.produce_checkpoint(&producer, nonce.clone())?;
            line.broker.end(&producer, true)
        })?;
        let stored = line.ask("look", || Ok(line.broker.checkpoints(line.lane)))?;
        self.seen = Some(stored.len());
        let mut found = Found::default();
        for checkpoint in stored.into_iter().filter_map(|stored| stored.checkpoint) {
            if checkpoint.epoch == epoch {
                found.add(Some(checkpoint));
            } else {
                found.other_epoch = Some(checkpoint.epoch);
            }
        }
        line.say(|| {
            let next = found.checkpoint.as_ref().map(|checkpoint| checkpoint.next_offset);
            format!("session {} goes on at {next:?}", producer.epoch)
        });
        let batches = Default::default();
        let epoch = epoch.to_owned();
        Ok(SimSession { line, epoch, producer, found, is_open: false, batches, sequences: [0; PARTITIONS] })
    }

    fn find_other(&mut self) -> Option<String> {
        let stored = self.line.broker.checkpoints(self.line.lane);
        let mut newer = stored.iter().skip(self.seen?);
        let other = newer.find(|stored| stored.boot != self.boot)?.boot.clone();
        self.seen = Some(stored.len());
        Some(other)
    }
}

/// A producer.
pub struct SimSession {
    line: Line,
    epoch: String,
    producer: Producer,
    found: Found,
    is_open: bool,
    /// Batches that are not sent yet, by partition.
    batches: [Vec<Seen>; PARTITIONS],
    sequences: [u64; PARTITIONS],
}

impl SimSession {
    fn is(&self, mutant: Mutant) -> bool {
        self.line.context.mutant == Some(mutant)
    }

    /// Sends what waits for one partition, in batches of a few records.
    fn flush(&mut self, partition: usize) -> Result<(), Fault> {
        let records = std::mem::take(&mut self.batches[partition]);
        if records.is_empty() {
            return Ok(());
        }
        let split = self.line.below(records.len() + 1);
        let (first, second) = records.split_at(split);
        // The first try of the first batch is lost, and the second batch overtakes it.
        if self.is(Mutant::ReorderedRetry) && self.line.network.weather().loss > 0 {
            self.produce(partition, second)?;
            return self.produce(partition, first);
        }
        self.produce(partition, first)?;
        self.produce(partition, second)
    }

    fn produce(&mut self, partition: usize, batch: &[Seen]) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        let sequence = self.sequences[partition];
        self.sequences[partition] += batch.len() as u64;
        let checks = !self.is(Mutant::ReorderedRetry) && !self.is(Mutant::DoubledRetry);
        let line = &self.line;
        let (first, last) = (batch[0].offset, batch[batch.len() - 1].offset);
        line.ask(&format!("produce {first} to {last}"), || {
            line.broker.produce(&self.producer, partition, sequence, batch, checks)
        })
    }

    /// Ends the transaction, or gives up and does not know whether it has.
    fn end(&mut self) -> Result<(), Fault> {
        let line = &self.line;
        if line.network.weather().loss > 0 && line.below(8) == 0 {
            line.say(|| "commit: is late, the client does not wait for it".to_owned());
            line.broker.commit_late(&self.producer, random_time(&mut line.fate.lock().unwrap(), LATE_MAX));
            return Err(Fault::Lost("no answer while committing".into()));
        }
        line.ask("commit", || line.broker.end(&self.producer, true))
    }
}

/// A commit is on its way at most so long.
const LATE_MAX: Duration = Duration::from_secs(2);

impl Session for SimSession {
    fn found(&self) -> &Found {
        &self.found
    }

    fn begin(&mut self) -> Result<(), Fault> {
        let line = &self.line;
        line.ask("begin", || line.broker.begin(&self.producer))?;
        self.is_open = true;
        Ok(())
    }

    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Fault> {
        let Record { offset, key, value, .. } = outgoing.record;
        let is_gap = self.line.lane == "telemetry" && value.starts_with(br#"{"kind":"gap""#);
        if is_gap && self.is(Mutant::LostGap) && self.line.below(3) == 0 {
            return Ok(());
        }
        let partition = partition(key);
        self.batches[partition].push(Seen {
            lane: self.line.lane,
            epoch: self.epoch.clone(),
            offset,
            key: key.to_owned(),
            value: value.to_vec(),
            delivery: outgoing.delivery,
        });
        if self.line.below(12) == 0 { self.flush(partition) } else { Ok(()) }
    }

    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let stored = Stored { boot: checkpoint.boot.clone(), checkpoint: Some(checkpoint.clone()) };
        if self.is(Mutant::CheckpointOutside) {
            self.line.broker.put_checkpoint(self.line.lane, stored.clone());
        }
        for partition in 0..PARTITIONS {
            self.flush(partition)?;
        }
        if !self.is(Mutant::CheckpointOutside) {
            let line = &self.line;
            line.ask("checkpoint", || line.broker.produce_checkpoint(&self.producer, stored.clone()))?;
        }
        self.end()?;
        self.is_open = false;
        self.line.say(|| format!("committed up to {}", checkpoint.next_offset));
        Ok(())
    }

    fn abort(&mut self) {
        if std::mem::take(&mut self.is_open) && !self.line.is_lost() && !self.line.turn.is_killed() {
            let outcome = self.line.broker.end(&self.producer, false);
            self.line.say(|| format!("abort: {outcome:?}"));
        }
    }

    fn wire_bytes(&self) -> u64 {
        0
    }

    fn probe(&mut self) -> Result<(), Fault> {
        self.line.ask("probe", || Ok(()))
    }
}

/// The real source, whose waiting gives the turn away.
pub struct SimSource {
    pub inner: JournalSource,
    pub line: Line,
    /// For [`Mutant::TrimBeforeCommit`]: behind the last record that was read.
    pub read: Option<u64>,
}

impl Source for SimSource {
    fn lane(&self) -> &str {
        self.inner.lane()
    }

    fn epoch(&self) -> &str {
        self.inner.epoch()
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceFault> {
        let offset = match self.line.context.mutant {
            Some(Mutant::CursorLate) if offset > 0 => offset + 1,
            Some(Mutant::CursorEarly) => offset.saturating_sub(1),
            _ => offset,
        };
        self.inner.seek(offset)
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Record<'_>>, SourceFault> {
        if self.line.context.mutant == Some(Mutant::TrimBeforeCommit)
            && let Some(read) = self.read.take()
        {
            self.inner.committed(read);
        }
        if !wait.is_zero() {
            let time = random_time(&mut self.line.fate.lock().unwrap(), wait);
            if !self.line.turn.give(time) {
                return Ok(None);
            }
        }
        let record = self.inner.next(Duration::ZERO)?;
        self.read = record.map(|record| record.offset + 1).or(self.read);
        Ok(record)
    }

    fn committed(&mut self, next_offset: u64) {
        self.inner.committed(next_offset);
    }

    fn found(&mut self, next_offset: u64, backlog: &[(u64, u64)]) {
        self.inner.found(next_offset, backlog);
    }

    fn used(&mut self, next_offset: u64) {
        self.inner.used(next_offset);
    }

    fn secured(&mut self, next_offset: u64) {
        self.inner.secured(next_offset);
    }

    fn end(&self) -> u64 {
        self.inner.end()
    }

    fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
        self.inner.another()
    }
}
