//! The standby reads what active boxes write.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::super::fault::{Fault, unreachable};
use super::super::options::Options;
use super::super::plain;
use super::super::reports::Reports;
use super::super::stop::Stop;
use super::super::topics::{self, LEASES};
use super::PARTITION;

/// Time from one question for the end of the topic to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One question takes at most this long.
const ASK: Duration = Duration::from_secs(3);
/// After a failure it is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Longest single wait inside librdkafka, so that a stop is heard.
const SLICE: Duration = Duration::from_millis(100);
/// Answers in a row while reading has not come as far as the answer before: the reader is begun anew.
const BEHIND_MAX: u32 = 15;

/// What the reader has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look<'a> {
    /// It begins at the end of the topic. What was written before is passed over.
    Begun,
    /// Kafka was asked at this time where the topic ends: everything from offset `end` on was written
    /// after that time.
    Asked {
        /// When.
        at: Instant,
        /// Behind the last record.
        end: i64,
    },
    /// A record of any box.
    Record {
        /// Its place in the topic.
        offset: i64,
        /// Id of the box.
        key: &'a [u8],
        /// What it wrote.
        value: &'a [u8],
    },
    /// Everything before this offset has been read.
    ReadTo(i64),
    /// Kafka does not say anything, and why.
    Blind(&'a str),
}

/// Reads the leases and tells what it sees, until `stop` is set. Nothing ends it before.
pub(crate) fn watch(options: &Options, mut tell: impl FnMut(Look<'_>), stop: &Stop) {
    let reports = Reports::new(LEASES);
    while !stop.is_set() {
        let fault = match Reader::open(options, reports.fresh(), stop) {
            Ok(mut reader) => {
                tell(Look::Begun);
                reader.read(&mut tell, stop)
            }
            Err(fault) => fault,
        };
        match fault {
            Fault::Stopped => return,
            // Not a word: it goes on at once with what is new.
            Fault::Renewed => {}
            fault => {
                tell(Look::Blind(&fault.to_string()));
                stop.sleep(RETRY);
            }
        }
    }
}

/// A consumer that has begun at the end of the topic.
struct Reader<'a> {
    options: &'a Options,
    consumer: BaseConsumer<Reports>,
    reports: Reports,
    topic: String,
    /// Of the certificates and passwords it uses.
    fingerprint: [u8; 32],
    /// Where it began.
    start: i64,
    /// Everything before this offset has been read; `None` = Kafka has given nothing yet.
    next: Option<i64>,
}

impl<'a> Reader<'a> {
    fn open(options: &'a Options, reports: Reports, stop: &Stop) -> Result<Self, Fault> {
        options.check_files().map_err(Fault::Settings)?;
        options.check_secrets().map_err(Fault::Settings)?;
        let fingerprint = options.fingerprint();
        let consumer: BaseConsumer<Reports> =
            options.lease_consumer().create_with_context(reports.clone()).map_err(|error| {
                reports.detail("the settings of [kafka] do not work", &error);
                Fault::Settings(plain::settings(&error))
            })?;
        let topic = options.topic(LEASES);
        let poll = |wait| drop(consumer.poll(wait));
        poll(Duration::ZERO);
        let ask = || topics::partitions(consumer.client(), options, &topic, &reports, &poll);
        topics::ensure_by(&ask, options, stop, &topic, &mut false)?;
        let mut reader = Self { options, consumer, reports, topic, fingerprint, start: 0, next: None };
        reader.start = reader.end()?;
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset(&reader.topic, PARTITION, Offset::Offset(reader.start))
            .and_then(|()| reader.consumer.assign(&partitions))
            .map_err(|error| reader.lost(&error))?;
        Ok(reader)
    }

    /// Where the topic ends.
    fn end(&self) -> Result<i64, Fault> {
        self.consumer.fetch_watermarks(&self.topic, PARTITION, ASK).map(|(_, end)| end).map_err(|error| {
            match self.reports.connection() {
                Some(_) => unreachable(&self.reports, self.options),
                None => self.lost(&error),
            }
        })
    }

    fn lost(&self, error: &KafkaError) -> Fault {
        Fault::Lost(format!("topic {} cannot be read: {}", self.topic, plain::error(error)))
    }

    /// Asks and reads until something is wrong with more than the connection.
    fn read(&mut self, tell: &mut impl FnMut(Look<'_>), stop: &Stop) -> Fault {
        let (mut behind, mut asked_end) = (0, self.start);
        loop {
            let at = Instant::now();
            if self.options.fingerprint() != self.fingerprint {
                return Fault::Renewed;
            }
            match self.end() {
                // The topic was deleted and made anew.
                Ok(end) if end < asked_end => return Fault::Renewed,
                Ok(end) => {
                    tell(Look::Asked { at, end });
                    let is_behind = self.next.is_none_or(|next| next < asked_end);
                    behind = if is_behind { behind + 1 } else { 0 };
                    asked_end = end;
                }
                // librdkafka connects anew by itself, and what is written meanwhile is read then.
                Err(fault @ Fault::Lost(_)) => tell(Look::Blind(&fault.to_string())),
                Err(fault) => return fault,
            }
            if behind > BEHIND_MAX {
                return Fault::Lost(format!("topic {} cannot be read to its end", self.topic));
            }
            if let Err(fault) = self.records(at + LOOK_EVERY, tell, stop) {
                return fault;
            }
        }
    }

    /// Reads until `until`.
    fn records(&mut self, until: Instant, tell: &mut impl FnMut(Look<'_>), stop: &Stop) -> Result<(), Fault> {
        loop {
            if stop.is_set() {
                return Err(Fault::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.consumer.poll(left.min(SLICE)) {
                None => {}
                Some(Ok(message)) => {
                    let offset = message.offset();
                    if let (Some(key), Some(value)) = (message.key(), message.payload()) {
                        tell(Look::Record { offset, key, value });
                    }
                    self.next = Some(offset + 1);
                    tell(Look::ReadTo(offset + 1));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    tell(Look::ReadTo(*self.next.get_or_insert(self.start)));
                }
                Some(Err(error)) => self.refused(&error)?,
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// A missing right ends it, the rest heals by itself.
    fn refused(&self, error: &KafkaError) -> Result<(), Fault> {
        match error.rdkafka_error_code() {
            Some(Code::TopicAuthorizationFailed) => Err(Fault::Refused(format!(
                "{} may not read topic {1}: grant Read on Topic {1}",
                self.options.principal(),
                self.topic
            ))),
            _ => Ok(()),
        }
    }
}
