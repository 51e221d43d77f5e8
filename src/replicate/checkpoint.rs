//! The checkpoint topic: where each lane says, inside the same transaction as its data, how far
//! it has come.
//!
//! Keys, all in one partition of the lane:
//! `<edge>/<lane>/<epoch>` → [`Checkpoint`], and `<edge>/<lane>/nonce` → [`Nonce`].
//! The epoch is part of the key so that compaction never lets one journal's checkpoint replace
//! another's: a disk that comes back finds its own.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::lane::Shared;
use super::options::Options;
use super::plain;
use super::reports::Reports;

/// Records before the end that are read first. The newest checkpoint is nearly always among
/// them, so that a start takes the same time however seldom the topic is compacted.
const TAIL_RECORDS: i64 = 2000;
/// One question to Kafka takes at most this long.
const ASK: Duration = Duration::from_secs(5);
/// The nonce is waited for at least this long.
const PATIENCE_MIN: Duration = Duration::from_secs(15);

/// How far a lane has come: all offsets below `next_offset` are committed, except the backlog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Lane.
    pub lane: String,
    /// Epoch of the journal.
    pub epoch: String,
    /// First offset that is not committed.
    pub next_offset: u64,
    /// Ranges below it that are still to be sent, from the first offset to before the second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backlog: Vec<(u64, u64)>,
    /// How many partitions the topic had when its place there was chosen. With another number the
    /// place is another, and what stands at one may be older than what stands elsewhere.
    #[serde(default)]
    pub partitions: i32,
    /// Which run of which box wrote it; differs after every start.
    pub boot: String,
    /// When, RFC 3339.
    pub time: String,
}

/// Written at the start and read back, to know that everything before it has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce {
    /// Random.
    pub nonce: String,
    /// Epoch of the journal.
    pub epoch: String,
    /// Which run of which box wrote it.
    pub boot: String,
    /// When, RFC 3339.
    pub time: String,
}

/// What was found when the nonce came back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// The one of our epoch that is furthest.
    pub checkpoint: Option<Checkpoint>,
    /// Newest other epoch under our name: an exchanged disk or a second box.
    pub other_epoch: Option<String>,
    /// Where the nonce stands.
    pub nonce_offset: i64,
}

impl Found {
    /// True when no other partition can hold a newer checkpoint of ours: each one that is written goes
    /// to the place that belongs to the number of partitions it names.
    pub fn is_newest(&self, partitions: i32) -> bool {
        partitions == 1
            || self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.partitions == partitions)
    }

    /// Takes in what was found elsewhere: the furthest holds, and of two equally far the one with less
    /// left to send, because a backlog only shrinks.
    pub fn add(&mut self, found: Option<Checkpoint>) {
        let key = |checkpoint: &Checkpoint| {
            let left: u64 = checkpoint.backlog.iter().map(|(from, to)| to.saturating_sub(*from)).sum();
            (checkpoint.next_offset, Reverse(left))
        };
        if found.as_ref().map(key) >= self.checkpoint.as_ref().map(key) {
            self.checkpoint = found;
        }
    }
}

/// A lane's place in the checkpoint topic.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub topic: String,
    pub partition: i32,
    /// `<edge>/<lane>`.
    pub name: String,
}

impl Place {
    /// The lane's partition out of `partitions`: FNV-1a of the name, so that lanes of different
    /// boxes seldom share one and an open transaction of one does not delay another's start.
    pub fn new(options: &Options, lane: &str, partitions: i32) -> Self {
        let name = format!("{}/{}", options.edge, options.stream(lane));
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let count = u32::try_from(partitions.max(1)).unwrap_or(1);
        let partition = i32::try_from(hash % count).unwrap_or(0);
        Self { topic: options.topic("checkpoints"), partition, name }
    }

    pub fn checkpoint_key(&self, epoch: &str) -> String {
        format!("{}/{epoch}", self.name)
    }

    pub fn nonce_key(&self) -> String {
        format!("{}/nonce", self.name)
    }

    /// What follows `<edge>/<lane>/` in a key that is ours.
    fn suffix<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.name)?.strip_prefix('/')
    }
}

/// Reads the partition until `nonce` comes back and gives what stands before it.
///
/// The end of the partition proves nothing: without the right to read one gets it at once. Only
/// the nonce does; as long as it does not come, nothing may be sent.
pub(super) fn find(
    consumer: &BaseConsumer<Reports>,
    place: &Place,
    epoch: &str,
    nonce: &str,
    shared: &Shared,
) -> Result<Found, Fault> {
    let (low, high) = consumer
        .fetch_watermarks(&place.topic, place.partition, ASK)
        .map_err(|error| Fault::Lost(format!("the checkpoints cannot be read: {}", plain::error(&error))))?;
    let tail = low.max(high - TAIL_RECORDS);
    let found = read(consumer, place, tail, epoch, nonce, shared)?;
    if found.checkpoint.is_some() || tail == low {
        return Ok(found);
    }
    read(consumer, place, low, epoch, nonce, shared)
}

fn read(
    consumer: &BaseConsumer<Reports>,
    place: &Place,
    from: i64,
    epoch: &str,
    nonce: &str,
    shared: &Shared,
) -> Result<Found, Fault> {
    assign(consumer, place, from)?;
    let options = &shared.options;
    // Another box's open transaction may stand before the nonce; it ends by its own timeout.
    let patience = options.transaction_timeout.max(PATIENCE_MIN);
    let end = Instant::now() + patience;
    let mut found = Found::default();
    while Instant::now() < end {
        if shared.stop.is_set() {
            return Err(Fault::Stopped);
        }
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                reading_refused(&error, place, options)?;
                continue;
            }
        };
        if take(&message, place, epoch, Some(nonce), &mut found) {
            found.nonce_offset = message.offset();
            return Ok(found);
        }
    }
    Err(Fault::Refused(format!(
        "the box cannot read back what it wrote to topic {0} within {1} s, so it does not know where to go on: \
         grant {2} Read and Describe on Topic {0}. If that is granted, another box's transaction may be open, or \
         a broker is slow",
        place.topic,
        patience.as_secs(),
        options.principal()
    )))
}

/// Takes in one record; true when it is our nonce.
pub(super) fn take(
    message: &BorrowedMessage<'_>,
    place: &Place,
    epoch: &str,
    nonce: Option<&str>,
    found: &mut Found,
) -> bool {
    let (Some(suffix), Some(payload)) = (message.key().and_then(|key| place.suffix(key)), message.payload())
    else {
        return false;
    };
    if suffix == "nonce" {
        return serde_json::from_slice::<Nonce>(payload).is_ok_and(|read| Some(read.nonce.as_str()) == nonce);
    }
    match serde_json::from_slice::<Checkpoint>(payload) {
        Ok(read) if read.epoch == epoch => found.add(Some(read)),
        Ok(read) => found.other_epoch = Some(read.epoch),
        Err(error) => {
            let offset = message.offset();
            tracing::warn!(topic = place.topic, offset, "checkpoint is not understood, passed over: {error}");
        }
    }
    false
}

/// Boot id of whoever wrote this record, if it is about our lane and the journal `epoch`.
pub(super) fn writer(message: &BorrowedMessage<'_>, place: &Place, epoch: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Writer {
        epoch: String,
        boot: String,
    }
    message.key().and_then(|key| place.suffix(key))?;
    let read: Writer = serde_json::from_slice(message.payload()?).ok()?;
    (read.epoch == epoch).then_some(read.boot)
}

/// Sorts an error of the reader: a missing right ends it, the rest heals by itself.
pub(super) fn reading_refused(error: &KafkaError, place: &Place, options: &Options) -> Result<(), Fault> {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => Err(Fault::Refused(format!(
            "{} may not read topic {1}: grant Read on Topic {1}",
            options.principal(),
            place.topic
        ))),
        // A group is never used, so rights to it are not missed; the connection comes back by itself.
        _ => Ok(()),
    }
}

/// Boot id of another run that wrote under our name at or after `from`, and where it stands.
///
/// Reads uncommitted: the other's first nonce may not be committed yet. `patience` is how long a
/// newcomer may need from fencing us to writing its nonce.
pub(super) fn find_other(
    consumer: &BaseConsumer<Reports>,
    place: &Place,
    boot: &str,
    from: i64,
    patience: Duration,
) -> Option<(String, i64)> {
    #[derive(Deserialize)]
    struct Boot {
        boot: String,
    }
    assign(consumer, place, from).ok()?;
    let end = Instant::now() + patience;
    let mut other = None;
    while Instant::now() < end {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            // All that was there is read: else each of them would be taken for news, one look after the other.
            if other.is_some() { break } else { continue }
        };
        if message.key().and_then(|key| place.suffix(key)).is_none() {
            continue;
        }
        let read = message.payload().and_then(|payload| serde_json::from_slice::<Boot>(payload).ok());
        if let Some(read) = read.filter(|read| read.boot != boot) {
            other = Some((read.boot, message.offset()));
        }
    }
    other
}

pub(super) fn assign(consumer: &BaseConsumer<Reports>, place: &Place, from: i64) -> Result<(), Fault> {
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(&place.topic, place.partition, Offset::Offset(from))
        .and_then(|()| consumer.assign(&partitions))
        .map_err(|error| {
            Fault::Lost(format!("topic {} cannot be read: {}", place.topic, plain::error(&error)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_checkpoint_holds_and_of_two_the_one_with_less_left() {
        let checkpoint = |next_offset, backlog: &[(u64, u64)]| {
            Some(Checkpoint { next_offset, backlog: backlog.to_vec(), ..Checkpoint::default() })
        };
        let mut found = Found::default();
        let order = [
            (checkpoint(10, &[]), 10),
            (checkpoint(90, &[(10, 80)]), 90),
            (checkpoint(90, &[(20, 80)]), 90),
            (checkpoint(90, &[(15, 80)]), 90),
            (checkpoint(50, &[]), 90),
            (None, 90),
        ];
        for (each, next_offset) in order {
            found.add(each);
            assert_eq!(found.checkpoint.as_ref().map(|checkpoint| checkpoint.next_offset), Some(next_offset));
        }
        assert_eq!(found.checkpoint, checkpoint(90, &[(20, 80)]));
    }

    #[test]
    fn a_checkpoint_of_another_number_of_partitions_may_be_an_old_one() {
        let of = |partitions| Found {
            checkpoint: Some(Checkpoint { partitions, ..Checkpoint::default() }),
            ..Found::default()
        };
        assert!(of(4).is_newest(4) && !of(4).is_newest(6) && !of(0).is_newest(4));
        assert!(of(0).is_newest(1), "there is no other place");
        assert!(!Found::default().is_newest(4) && Found::default().is_newest(1));
    }

    #[test]
    fn keys_belong_to_one_lane_of_one_box() {
        let options = Options::new("kafka:9092", "forebay", "werk1", "box-1");
        let place = Place::new(&options, "telemetry", 50);
        assert_eq!(place.checkpoint_key("0a"), "box-1/telemetry/0a");
        assert_eq!(place.suffix(b"box-1/telemetry/0a"), Some("0a"));
        assert_eq!(place.suffix(b"box-1/telemetry"), None);
        assert_eq!(place.suffix(b"box-1/telemetry2/0a"), None);
        assert_eq!(place.suffix(b"box-10/telemetry/0a"), None);
        assert!((0..50).contains(&place.partition));
        // The place of running boxes: must never change.
        assert_eq!(place.partition, Place::new(&options, "telemetry", 50).partition);
        assert_eq!(Place::new(&options, "telemetry", 1).partition, 0);
    }
}
