//! A look at somebody's checkpoint without taking part.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::Options;
use super::checkpoint::{Checkpoint, Place};
use super::progress::Progress;
use super::reports::Reports;

/// One question to Kafka takes at most this long.
const ASK: Duration = Duration::from_secs(5);
/// Records before the end that are read; see [`super::checkpoint`].
const TAIL_RECORDS: i64 = 2000;

/// How far the box of `options` has come with this lane and epoch, as far as can be seen within
/// `patience`, without shutting out whoever writes under its name. What is found is true; finding
/// nothing proves nothing.
pub fn look_up(options: &Options, lane: &str, epoch: &str, patience: Duration) -> Option<u64> {
    let end = Instant::now() + patience;
    let reports = Reports::new(lane);
    let consumer: BaseConsumer<Reports> = options.consumer(lane, true).create_with_context(reports).ok()?;
    let topic = options.topic("checkpoints");
    let metadata = consumer.fetch_metadata(Some(&topic), ASK.min(patience)).ok()?;
    let partitions = metadata.topics().iter().find(|found| found.name() == topic)?.partitions().len();
    let place = Place::new(options, lane, i32::try_from(partitions).ok()?);
    let (low, high) = consumer.fetch_watermarks(&topic, place.partition, ASK.min(patience)).ok()?;
    let mut from = TopicPartitionList::new();
    let first = low.max(high - TAIL_RECORDS);
    from.add_partition_offset(&topic, place.partition, Offset::Offset(first)).ok()?;
    consumer.assign(&from).ok()?;
    let key = place.checkpoint_key(epoch);
    let mut found = None;
    let mut next = first;
    while Instant::now() < end && next < high {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
            // The last records may be marks of transactions, which never come.
            if found.is_some() {
                break;
            }
            continue;
        };
        next = message.offset() + 1;
        if message.key() == Some(key.as_bytes())
            && let Some(read) =
                message.payload().and_then(|json| serde_json::from_slice::<Checkpoint>(json).ok())
        {
            found = found.max(Some(Progress::of(&read).complete_below()));
        }
    }
    found
}
