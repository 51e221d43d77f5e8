//! One producer's life: fence the predecessor, find the place to go on, send transactions.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use serde_json::json;

use super::checkpoint::{self, Checkpoint, Found, Nonce, Place};
use super::fault::{self, Fault};
use super::identity::Identity;
use super::lane::Shared;
use super::options::{Mode, Options};
use super::plain;
use super::reports::Reports;
use super::topics::{self, DEAD_LETTERS};
use super::transport::{Outgoing, Reason, Session, Transport};
use crate::clock::{now_us, rfc3339};
use crate::event::{Event, Kind, What};

/// Longest single wait inside librdkafka, so that the status stays true and a stop is heard.
const SLICE: Duration = Duration::from_secs(2);
/// Giving up a transaction properly may take this long; after that the next producer does it.
const ABORT: Duration = Duration::from_secs(5);
/// After this long without progress the status says that we wait, and each time the topic is looked for.
const SILENCE: Duration = Duration::from_secs(3);

/// After a failed delivery the reports of others are waited for at most this long.
const MORE_REPORTS: Duration = Duration::from_millis(300);

/// The way to Kafka by librdkafka.
pub(super) struct Kafka {
    shared: Arc<Shared>,
    reports: Reports,
    /// The last session's place, and the offset there of the newest record that we know of.
    last: Option<(Place, i64)>,
    /// The checkpoint topic's settings were looked at.
    looked_at_policy: bool,
    /// The lane's topic was not there when it was looked for.
    was_missing: bool,
    /// Without transactions: the brokers know no idempotent producer, or we may not be one.
    not_idempotent: Arc<AtomicBool>,
}

impl Kafka {
    pub fn new(shared: &Arc<Shared>) -> Self {
        let reports = Reports::new(&shared.lane);
        let (last, not_idempotent) = (None, Arc::default());
        let shared = Arc::clone(shared);
        Self { shared, reports, last, looked_at_policy: false, was_missing: false, not_idempotent }
    }

    /// Says that the lane's topic is a new one although Kafka knows us: somebody has deleted it, and
    /// what was in it.
    fn tell_new_topic(&mut self, topic: &str, found: &Found) {
        let next_offset = found.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.next_offset);
        if !std::mem::take(&mut self.was_missing) || next_offset == 0 {
            return;
        }
        let Shared { options: Options { site, edge, .. }, lane, events, .. } = &*self.shared;
        let text = format!(
            "Topic {topic} had been deleted and is new: the records below {next_offset} were in it and are not \
             sent again by themselves; `forebay replay` sends what the journal still holds"
        );
        tracing::warn!(lane, "{text}");
        let data = json!({"what": What::TopicNew, "lane": lane, "topic": topic, "next_offset": next_offset});
        let device = format!("{site}/{edge}");
        if let Some(events) = events {
            events.emit(Event { kind: Kind::Box, edge_time: now_us(), device, text, data });
        }
    }
}

impl Transport for Kafka {
    type Session = KafkaSession;

    fn open(&mut self, epoch: &str, batch_bytes: usize) -> Result<KafkaSession, Fault> {
        let shared = &self.shared;
        let options = &shared.options;
        options.check_files().map_err(Fault::Settings)?;
        options.check_secrets().map_err(Fault::Settings)?;
        let lane = shared.lane.as_str();
        let reports = self.reports.fresh();
        let create = |error: KafkaError| {
            reports.detail("the settings of [kafka] do not work", &error);
            Fault::Settings(plain::settings(&error))
        };
        let consumer: BaseConsumer<Reports> =
            options.consumer(lane, true).create_with_context(reports.clone()).map_err(create)?;
        let topic = options.topic(lane);
        let checkpoints = options.topic("checkpoints");
        let partitions = topics::ensure(&consumer, shared, &checkpoints, &reports, &mut false)?;
        topics::ensure(&consumer, shared, &topic, &reports, &mut self.was_missing)?;
        if !std::mem::replace(&mut self.looked_at_policy, true) {
            topics::check_compacted(options, &checkpoints);
        }
        let place = Place::new(options, lane, partitions);

        let fingerprint = options.fingerprint();
        let config = options.producer(lane, batch_bytes, !self.not_idempotent.load(Ordering::Relaxed));
        let producer: ThreadedProducer<Reports> =
            config.create_with_context(reports.clone()).map_err(create)?;
        let mut session = KafkaSession {
            shared: Arc::clone(shared),
            epoch: epoch.to_owned(),
            producer,
            reports,
            place,
            partitions,
            topic,
            seen_topic: Cell::new(Instant::now()),
            found: Found::default(),
            is_open: false,
            has_dead_letters: false,
            not_idempotent: Arc::clone(&self.not_idempotent),
            identity: Identity::new(fingerprint, shared.clock.now()),
        };
        session.init()?;
        session.found = session.look(&consumer)?;
        self.tell_new_topic(&session.topic, &session.found);
        self.last = Some((session.place.clone(), session.found.nonce_offset));
        Ok(session)
    }

    fn find_other(&mut self) -> Option<String> {
        let (place, seen) = self.last.as_mut()?;
        let options = &self.shared.options;
        let config = options.consumer(&self.shared.lane, false);
        let consumer: BaseConsumer<Reports> = config.create_with_context(self.reports.fresh()).ok()?;
        let (by, at) =
            checkpoint::find_other(&consumer, place, &self.shared.boot, *seen + 1, options.newcomer_max)?;
        *seen = at.max(*seen);
        Some(by)
    }
}

/// A producer of librdkafka.
pub(super) struct KafkaSession {
    shared: Arc<Shared>,
    epoch: String,
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    /// Where our checkpoints stand.
    place: Place,
    /// Of the checkpoint topic when the place was chosen.
    partitions: i32,
    topic: String,
    /// When the topic was last known to be there.
    seen_topic: Cell<Instant>,
    found: Found,
    /// A transaction is open.
    is_open: bool,
    /// The dead-letter topic was looked for and is there.
    has_dead_letters: bool,
    not_idempotent: Arc<AtomicBool>,
    identity: Identity,
}

impl Session for KafkaSession {
    fn found(&self) -> &Found {
        &self.found
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if self.is_transactional() {
            self.producer
                .begin_transaction()
                .map_err(|error| self.sort(&error, &self.topic, "opening a transaction"))?;
        }
        self.is_open = true;
        Ok(())
    }

    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Fault> {
        if let Some(reason) = outgoing.dead_letter {
            return self.send_dead_letter(outgoing, reason);
        }
        let record = &outgoing.record;
        let mut digits = [0; 20];
        let mut headers = OwnedHeaders::new_with_capacity(4)
            .insert(Header { key: "edge", value: Some(self.shared.options.edge.as_str()) })
            .insert(Header { key: "epoch", value: Some(self.epoch.as_str()) })
            .insert(Header { key: "offset", value: Some(decimal(record.offset, &mut digits)) });
        if let Some(delivery) = outgoing.delivery.header() {
            headers = headers.insert(Header { key: "delivery", value: Some(delivery) });
        }
        if let Some(replay) = &self.shared.options.replay {
            headers = headers.insert(Header { key: "replay", value: Some(replay.as_str()) });
        }
        // Brokers refuse records from the future; the value keeps the time as it was read.
        let timestamp_ms = record.edge_us.min(now_us()).max(0) / 1000;
        self.put(
            BaseRecord::to(&self.topic)
                .key(record.key)
                .payload(record.value)
                .timestamp(timestamp_ms)
                .headers(headers),
        )
        .map_err(|fault| match fault {
            // librdkafka refuses a record itself, before there is a delivery that could fail.
            Fault::TooLarge { offsets } if offsets.is_empty() => {
                Fault::TooLarge { offsets: vec![(record.offset, record.value.len())] }
            }
            fault => fault,
        })
    }

    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let checkpoint = Checkpoint { partitions: self.partitions, ..checkpoint.clone() };
        let value = serde_json::to_vec(&checkpoint).expect("strings and numbers are always JSON");
        if !self.is_transactional() {
            // It must not be there before what it speaks of.
            self.flush(&self.topic)?;
        }
        self.put_checkpoint(&self.place.checkpoint_key(&self.epoch), &value, self.place.partition)?;
        self.end_transaction(&self.topic)?;
        self.is_open = false;
        Ok(())
    }

    fn abort(&mut self) {
        if std::mem::take(&mut self.is_open) && self.producer.client().fatal_error().is_none() {
            self.shared.status.lock().aborts += 1;
            if !self.is_transactional() {
                return self.producer.purge(PurgeConfig::default().queue().inflight());
            }
            if let Err(error) = self.producer.abort_transaction(ABORT) {
                let lane = &self.shared.lane;
                tracing::debug!(
                    lane,
                    "transaction left to the next producer or to the broker's timeout: {error}"
                );
            }
        }
    }

    fn wire_bytes(&self) -> u64 {
        self.reports.wire_bytes()
    }

    fn is_renewed(&mut self, now: Instant) -> bool {
        let options = &self.shared.options;
        let works = || {
            options.check_files()?;
            options.check_secrets()?;
            // librdkafka loads and compares them when it makes a client.
            let made: Result<ThreadedProducer<Reports>, _> =
                options.producer(&self.shared.lane, 1, false).create_with_context(self.reports.fresh());
            made.map(drop).map_err(|error| plain::settings(&error))
        };
        self.identity.is_renewed(now, || options.fingerprint(), works)
    }

    fn probe(&mut self) -> Result<(), Fault> {
        match self.producer.client().fetch_metadata(Some(&self.topic), SLICE) {
            Ok(_) => Ok(()),
            Err(_) => Err(fault::unreachable(&self.reports, &self.shared.options)),
        }
    }
}

impl KafkaSession {
    /// Fences whoever wrote under our id before and ends its open transaction.
    fn init(&self) -> Result<(), Fault> {
        if !self.is_transactional() {
            return Ok(());
        }
        self.shared.status.lock().announced += 1;
        let end = Instant::now() + self.shared.options.transaction_timeout;
        loop {
            self.stopped()?;
            let Err(error) = self.producer.init_transactions(SLICE) else { return Ok(()) };
            let again = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !again || Instant::now() > end {
                return Err(self.sort(&error, &self.place.topic, "announcing itself"));
            }
            self.shared.status.waiting(fault::no_answer(&self.reports, &self.shared.options));
            self.shared.stop.sleep(Duration::from_millis(100));
        }
    }

    /// Reads our checkpoint: in our partition, and unless it was written there for this number of
    /// partitions in all others, because a topic that was given more partitions has moved us.
    fn look(&mut self, consumer: &BaseConsumer<Reports>) -> Result<Found, Fault> {
        let nonce = self.send_nonce(&[self.place.partition])?;
        let mut found = checkpoint::find(consumer, &self.place, &self.epoch, &nonce, &self.shared)?;
        if !found.is_newest(self.partitions) {
            let others: Vec<i32> =
                (0..self.partitions).filter(|partition| *partition != self.place.partition).collect();
            let nonce = self.send_nonce(&others)?;
            for partition in others {
                self.stopped()?;
                let place = Place { partition, ..self.place.clone() };
                let there = checkpoint::find(consumer, &place, &self.epoch, &nonce, &self.shared)?;
                found.add(there.checkpoint);
                found.other_epoch = found.other_epoch.or(there.other_epoch);
            }
        }
        Ok(found)
    }

    /// Writes one nonce into these partitions of the checkpoint topic.
    fn send_nonce(&mut self, partitions: &[i32]) -> Result<String, Fault> {
        let nonce = format!("{:016x}", fastrand::u64(..));
        let value = Nonce {
            nonce: nonce.clone(),
            epoch: self.epoch.clone(),
            boot: self.shared.boot.clone(),
            time: rfc3339(now_us()),
        };
        let value = serde_json::to_vec(&value).expect("strings are always JSON");
        self.begin()?;
        for partition in partitions {
            self.put_checkpoint(&self.place.nonce_key(), &value, *partition)?;
        }
        self.end_transaction(&self.place.topic)?;
        self.is_open = false;
        Ok(nonce)
    }

    /// A record that its topic refuses, with everything that was known of it. It gets a new time,
    /// because the old one may be what was refused.
    fn send_dead_letter(&mut self, outgoing: &Outgoing<'_>, reason: &Reason) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.has_dead_letters, true) {
            topics::dead_letters(self.producer.client(), &self.shared, &self.reports)?;
        }
        let record = &outgoing.record;
        let (offset, time) = (record.offset.to_string(), rfc3339(record.edge_us));
        let mut headers = OwnedHeaders::new_with_capacity(8);
        let texts = [
            ("edge", Some(self.shared.options.edge.as_str())),
            ("epoch", Some(self.epoch.as_str())),
            ("offset", Some(offset.as_str())),
            ("delivery", outgoing.delivery.header()),
            ("replay", self.shared.options.replay.as_deref()),
            ("topic", Some(self.topic.as_str())),
            ("edge_time", Some(time.as_str())),
            ("reason", Some(reason.code)),
            ("reason_text", Some(reason.text.as_str())),
        ];
        for (key, value) in texts {
            if value.is_some() {
                headers = headers.insert(Header { key, value });
            }
        }
        let topic = self.shared.options.topic(DEAD_LETTERS);
        self.put(BaseRecord::to(&topic).key(record.key).payload(record.value).headers(headers)).map_err(
            |fault| match fault {
                // librdkafka refuses it itself.
                Fault::TooLarge { .. } => {
                    Fault::NoDeadLetters { offset: Some(record.offset), cause: fault.to_string() }
                }
                fault => fault,
            },
        )
    }

    fn put_checkpoint(&self, key: &str, value: &[u8], partition: i32) -> Result<(), Fault> {
        self.put(BaseRecord::to(&self.place.topic).key(key).payload(value).partition(partition))
    }

    /// Queues one record; waits while librdkafka's queue is full.
    fn put<K: rdkafka::message::ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, [u8]>,
    ) -> Result<(), Fault> {
        let topic = record.topic;
        let start = Instant::now();
        let mut record = record;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    self.wait(start, topic)?;
                }
                Err((error, _)) => {
                    return Err(self.trouble(topic).unwrap_or_else(|| self.sort(&error, topic, "sending")));
                }
            }
        }
    }

    /// Waits until all is delivered, then commits.
    ///
    /// rdkafka's `commit_transaction` flushes in slices of 100 ms that are always used up, so the
    /// flush is done here, and its own finds nothing left to wait for.
    fn end_transaction(&self, topic: &str) -> Result<(), Fault> {
        let start = Instant::now();
        self.flush(topic)?;
        if !self.is_transactional() {
            return Ok(());
        }
        loop {
            let Err(error) = self.producer.commit_transaction(SLICE) else { return Ok(()) };
            let again = match &error {
                KafkaError::Flush(_) => true,
                KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
                _ => false,
            };
            if !again {
                return Err(self.trouble(topic).unwrap_or_else(|| self.sort(&error, topic, "committing")));
            }
            self.wait(start, topic)?;
        }
    }

    /// Waits until all is delivered.
    fn flush(&self, topic: &str) -> Result<(), Fault> {
        let start = Instant::now();
        while self.producer.in_flight_count() > 0 {
            // Sends what lingers; not being done at once is what the loop is for.
            let _in_time = self.producer.flush(Duration::ZERO);
            self.wait(start, topic)?;
        }
        // Nothing in flight: each has been delivered, or has failed, or was thrown away because the
        // producer is broken.
        let is_broken = self.reports.is_broken() || self.producer.client().fatal_error().is_some();
        is_broken.then(|| self.trouble(topic)).flatten().map_or(Ok(()), Err)
    }

    fn is_transactional(&self) -> bool {
        self.shared.options.mode == Mode::ExactlyOnce
    }

    /// One short wait for librdkafka, longer the longer it has lasted; an error when there is
    /// nothing to wait for.
    fn wait(&self, start: Instant, topic: &str) -> Result<(), Fault> {
        let waited = start.elapsed();
        if self.reports.is_broken() || self.producer.client().fatal_error().is_some() {
            self.collect_reports();
            return Err(self.trouble(topic).unwrap_or(Fault::Lost("the transaction broke".to_owned())));
        }
        if waited > self.shared.options.transaction_timeout {
            return Err(fault::unreachable(&self.reports, &self.shared.options));
        }
        if waited > SILENCE {
            self.stopped()?;
            let cause = fault::no_answer(&self.reports, &self.shared.options);
            if self.shared.status.waiting(cause.clone()) {
                tracing::warn!(lane = self.shared.lane, "Kafka does not take data: {cause}");
            }
            self.look_for_topic()?;
        }
        let pause_ms = if waited < Duration::from_millis(200) { 1 } else { 20 };
        std::thread::sleep(Duration::from_millis(pause_ms));
        Ok(())
    }

    /// librdkafka tries to add partitions of a topic that was deleted to the transaction until that
    /// times out.
    fn look_for_topic(&self) -> Result<(), Fault> {
        if self.seen_topic.get().elapsed() < SILENCE {
            return Ok(());
        }
        let topic = &self.topic;
        let Ok(metadata) = self.producer.client().fetch_metadata(Some(topic), SLICE) else { return Ok(()) };
        self.seen_topic.set(Instant::now());
        let code = metadata.topics().first().and_then(|found| found.error()).map(Code::from);
        match code {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                Err(Fault::Lost(format!("topic {topic} is no longer there")))
            }
            _ => Ok(()),
        }
    }

    /// Waits a little for more reports: each that is known now saves an attempt.
    fn collect_reports(&self) {
        let start = Instant::now();
        while self.producer.in_flight_count() > 0 && start.elapsed() < MORE_REPORTS {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Why the transaction has no future, if it has none.
    fn trouble(&self, topic: &str) -> Option<Fault> {
        let (options, lane) = (&self.shared.options, self.shared.lane.as_str());
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            let refused = matches!(code, Code::UnsupportedFeature | Code::ClusterAuthorizationFailed);
            if refused && !self.is_transactional() && !self.not_idempotent.swap(true, Ordering::Relaxed) {
                return Some(Fault::Lost(
                    "Kafka does not let this box send idempotently: it sends without that from now on"
                        .to_owned(),
                ));
            }
            self.reports.detail("Kafka no longer takes anything of this connection", &reason);
            let lost = || Fault::Lost(plain::code(code));
            return Some(fault::by_code(code, options, lane, topic).unwrap_or_else(lost));
        }
        fault::of_reports(&self.reports, options, lane, topic)
    }

    fn sort(&self, error: &KafkaError, topic: &str, doing: &str) -> Fault {
        self.reports.detail("Kafka has not done what was asked for", error);
        fault::sort(error, &self.shared.options, &self.shared.lane, topic, doing)
    }

    fn stopped(&self) -> Result<(), Fault> {
        if self.shared.stop.is_set() { Err(Fault::Stopped) } else { Ok(()) }
    }
}

/// `number` in decimal digits.
fn decimal(number: u64, digits: &mut [u8; 20]) -> &str {
    let mut rest = number;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for number in [0, 7, 10, 4_294_967_296, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string());
        }
    }
}
