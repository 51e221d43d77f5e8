//! The other side of Kafka: a plain consumer that knows only what docs/kafka.md tells everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

/// Longest wait for the embedded broker's answer, which comes at once.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// What has arrived.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    /// Records of the telemetry topic, each once.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
    /// Records that came again, told by their offset. The embedded broker shows what an aborted
    /// transaction had sent; a real Kafka hides it from a `read_committed` consumer.
    pub repeated: u64,
    /// Devices seen.
    pub devices: BTreeSet<String>,
    /// Device, tag, value with unit of the last sample.
    pub last: Option<(String, String, String)>,
    /// Events, oldest first: kind and text.
    pub events: Vec<(String, String)>,
    offsets: BTreeMap<(String, String), Offsets>,
}

/// Which offsets of one lane and epoch are there.
#[derive(Debug, Clone, Default)]
struct Offsets {
    /// All below are there.
    complete_to: u64,
    /// Those above that came early, from another partition.
    beyond: BTreeSet<u64>,
}

impl Offsets {
    /// True when the offset is new.
    fn insert(&mut self, offset: u64) -> bool {
        if offset < self.complete_to || !self.beyond.insert(offset) {
            return false;
        }
        while self.beyond.remove(&self.complete_to) {
            self.complete_to += 1;
        }
        true
    }
}

impl Arrived {
    /// Offsets that are missing although later ones have come, all lanes together.
    pub fn missing(&self) -> u64 {
        let missing = |offsets: &Offsets| match offsets.beyond.last() {
            Some(last) => last + 1 - offsets.complete_to - offsets.beyond.len() as u64,
            None => 0,
        };
        self.offsets.values().map(missing).sum()
    }

    /// Telemetry records that have come without a hole before them.
    pub fn complete_to(&self, lane: &str) -> u64 {
        self.offsets
            .iter()
            .filter(|((name, _), _)| name == lane)
            .map(|(_, offsets)| offsets.complete_to)
            .sum()
    }

    fn take(&mut self, lane: &str, message: &BorrowedMessage<'_>) -> Option<()> {
        let header = |name: &str| {
            let headers = message.headers()?;
            let header = headers.iter().find(|header| header.key == name)?;
            std::str::from_utf8(header.value?).ok().map(str::to_owned)
        };
        let offset = header("offset")?.parse().ok()?;
        if !self.offsets.entry((lane.to_owned(), header("epoch")?)).or_default().insert(offset) {
            self.repeated += 1;
            return None;
        }
        let record: Json = serde_json::from_slice(message.payload()?).ok()?;
        if lane == "telemetry" { self.take_batch(&record) } else { self.take_event(&record) }
    }

    fn take_batch(&mut self, record: &Json) -> Option<()> {
        let device = record["device"].as_str()?;
        let samples = record["samples"].as_array()?;
        self.records += 1;
        self.samples += samples.len() as u64;
        if !self.devices.contains(device) {
            self.devices.insert(device.to_owned());
        }
        let sample = samples.last()?;
        let unit = sample["unit"].as_str().unwrap_or_default();
        // A unit of 1 says that there is none.
        let unit = if unit == "1" { "" } else { unit };
        let value = match sample["value"].as_array() {
            Some(elements) => format!("{} values in {unit}", elements.len()),
            None => format!("{} {unit}", sample["value"]),
        };
        self.last =
            Some((device.to_owned(), sample["tag"].as_str()?.to_owned(), value.trim_end().to_owned()));
        Some(())
    }

    fn take_event(&mut self, record: &Json) -> Option<()> {
        let kind = record["kind"].as_str()?;
        // The story tells what happens; a summary comes every minute.
        if kind != "score" {
            self.events.push((kind.to_owned(), record["text"].as_str()?.to_owned()));
        }
        Some(())
    }
}

/// A running consumer; ends when dropped.
pub struct DemoConsumer {
    arrived: Arc<Mutex<Arrived>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl DemoConsumer {
    /// Reads `<prefix>.telemetry` and `<prefix>.events` from their beginnings.
    ///
    /// # Errors
    /// Those of librdkafka, or no thread.
    pub fn start(bootstrap: &str, prefix: &str) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "demo")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "1000")
            // The demo takes the broker away on purpose; that need not be said twice.
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()?;
        let topics = [format!("{prefix}.telemetry"), format!("{prefix}.events")];
        // All partitions by name: joining a group would take seconds, and longer after an outage.
        let mut all = TopicPartitionList::new();
        for topic in &topics {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
                all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
            }
        }
        consumer.assign(&all)?;
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let stop = CancellationToken::new();
        let (shared, stopped) = (Arc::clone(&arrived), stop.clone());
        let work = move || {
            while !stopped.is_cancelled() {
                // Errors say that the broker is away; the story tells that itself.
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    let lane = if message.topic() == topics[0] { "telemetry" } else { "events" };
                    let mut arrived = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    arrived.take(lane, &message);
                }
            }
        };
        let thread = std::thread::Builder::new().name("demo-consumer".into()).spawn(work)?;
        Ok(Self { arrived, stop, thread: Some(thread) })
    }

    /// What has arrived so far.
    pub fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DemoConsumer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the demo's consumer panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_repetitions_are_told_apart() {
        let mut arrived = Arrived::default();
        let offsets = arrived.offsets.entry(("telemetry".into(), "e".into())).or_default();
        assert!(offsets.insert(0) && offsets.insert(2) && offsets.insert(5));
        assert!(!offsets.insert(2) && !offsets.insert(0));
        assert_eq!(arrived.missing(), 3, "1, 3 and 4");
        let offsets = arrived.offsets.values_mut().next().unwrap();
        assert!(offsets.insert(1) && offsets.insert(3) && offsets.insert(4));
        assert_eq!((arrived.missing(), arrived.complete_to("telemetry")), (0, 6));
    }
}
