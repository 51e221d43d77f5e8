//! A compacted topic that somebody else writes: the newest record of each key, then what comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::options::Options;
use super::reports::Reports;
use super::{plain, topics};

/// Pause before a topic that is not there, or cannot be read, is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest wait for one record, and how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(200);
/// Bytes of the newest records that are held while the topic is read to its end.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its key.
    pub key: String,
    /// Its value; empty where the key was deleted.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

/// Hands on the newest record of each key of `<prefix>.<name>`, and then each that comes, until `stop`.
/// Blocks; a Kafka that is away, and a topic that is not there, are tried for ever. `record_bytes_max`
/// is how large a record may be.
pub fn follow(
    options: &Options,
    name: &'static str,
    record_bytes_max: usize,
    stop: &CancellationToken,
    mut take: impl FnMut(Followed),
) {
    let mut told = String::new();
    while !stop.is_cancelled() {
        let Err(cause) = read(options, name, record_bytes_max, stop, &mut take) else { return };
        if cause != told {
            tracing::warn!("topic {}: {cause}; trying again", options.topic(name));
            told = cause;
        }
        let end = Instant::now() + RETRY;
        while Instant::now() < end && !stop.is_cancelled() {
            std::thread::sleep(POLL);
        }
    }
}

/// Reads until `stop`, or until it has to be begun anew.
fn read(
    options: &Options,
    name: &'static str,
    record_bytes_max: usize,
    stop: &CancellationToken,
    take: &mut impl FnMut(Followed),
) -> Result<(), String> {
    options.check_files().and_then(|()| options.check_secrets())?;
    let reports = Reports::new(name);
    let mut config = options.consumer(name, true);
    config
        .set("enable.partition.eof", "true")
        .set("fetch.message.max.bytes", record_bytes_max.to_string())
        .set("receive.message.max.bytes", (record_bytes_max + (1 << 20)).to_string());
    let consumer: BaseConsumer<Reports> = config
        .create_with_context(reports.clone())
        .map_err(|error| format!("[kafka] does not work: {error}"))?;
    let topic = options.topic(name);
    let poll = |wait| drop(consumer.poll(wait));
    poll(Duration::ZERO);
    let asked = topics::partitions(consumer.client(), options, &topic, &reports, &poll);
    let partitions = asked.map_err(|fault: Fault| fault.to_string())?.ok_or("it is not there")?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(&topic, partition, Offset::Beginning)
            .map_err(|error| plain::error(&error))?;
    }
    consumer.assign(&list).map_err(|error| plain::error(&error))?;
    let mut newest = Some(Newest { records: BTreeMap::new(), to_end: (0..partitions).collect() });
    while !stop.is_cancelled() {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let Some(record) = record(&message) else { continue };
                match &mut newest {
                    Some(newest) => newest.hold(record),
                    None => take(record),
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition)))
                if newest.as_mut().is_some_and(|newest| newest.ended(partition)) =>
            {
                let records = newest.take().map(|newest| newest.records).unwrap_or_default();
                records.into_values().for_each(&mut *take);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(plain::error(&error)),
        }
    }
    Ok(())
}

/// The newest record of each key, while the topic is read to its end.
struct Newest {
    records: BTreeMap<String, Followed>,
    to_end: std::collections::BTreeSet<i32>,
}

impl Newest {
    fn hold(&mut self, record: Followed) {
        // Also where the new one has no room: what it replaces is not the newest any more.
        self.records.remove(&record.key);
        let held: usize = self.records.values().map(|record| record.value.len()).sum();
        if held + record.value.len() > HELD_BYTES_MAX {
            tracing::error!("{}: passed over, the topic holds too much", record.key);
            return;
        }
        self.records.insert(record.key.clone(), record);
    }

    /// True when all partitions were read.
    fn ended(&mut self, partition: i32) -> bool {
        self.to_end.remove(&partition);
        self.to_end.is_empty()
    }
}

/// `None` for a record without a key that is text.
fn record(message: &BorrowedMessage<'_>) -> Option<Followed> {
    let key = std::str::from_utf8(message.key()?).ok()?.to_owned();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.filter_map(|header| {
        let value = std::str::from_utf8(header.value?).ok()?;
        Some((header.key.to_owned(), value.to_owned()))
    });
    Some(Followed { headers: headers.collect(), value: message.payload().unwrap_or_default().to_vec(), key })
}
