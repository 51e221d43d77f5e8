//! Events: what happened, for the `events` lane, the page's time line and the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// One event; serialised as it is into the `events` lane and Kafka.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// What kind.
    pub kind: Kind,
    /// When it was noticed, microseconds since 1970 UTC.
    #[serde(serialize_with = "crate::clock::serialize_us")]
    pub edge_time: i64,
    /// Path of the device it is about, or of the box itself.
    pub device: String,
    /// In words, English.
    pub text: String,
    /// What the kind documents (docs/kafka.md).
    pub data: Json,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something is missing: tags, from, to, cause, count.
    Gap,
    /// Samples were summed up to save room: tags, from, to, cause, counts.
    Thinned,
    /// A device came or went: state, cause.
    DeviceState,
    /// The device itself sent an alarm or a message: time, source, severity, whether it is on.
    Alarm,
    /// A model's score crossed its threshold, or came back.
    Prediction,
    /// A model cannot score: why.
    ModelState,
    /// Another version of a model: model, what was changed, from, to, why, by whom.
    ModelChanged,
    /// A tag has moved so far that a model cannot follow it much farther.
    Drift,
    /// What a model scored in one minute.
    Score,
    /// What a person says of an episode of a model.
    Feedback,
    /// A person signed in to the page or was refused, or was added or removed.
    Person,
    /// The box: started, clock jumped, fenced, disk full.
    Box,
}

/// What an event of the box itself is about: `what` of its data, documented in docs/kafka.md.
/// Emitters use it and the page matches on it, so that no event is without words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Forebay has started.
    Started,
    /// The clock was set.
    ClockJump,
    /// Nothing goes to Kafka.
    KafkaAway,
    /// Kafka takes data again.
    KafkaBack,
    /// The second Kafka takes data.
    SecondKafkaBegins,
    /// It gets no more.
    SecondKafkaEnds,
    /// Another box has the same name.
    Fenced,
    /// Somebody else has sent under the name of this box.
    ShutOut,
    /// A topic had been deleted and is new.
    TopicNew,
    /// The disk takes data, or does not.
    Disk,
    /// The file system has less room than is to be left to others.
    DiskShort,
    /// The budget is larger than the disk.
    DiskSmall,
    /// The disk gives what is read, or does not.
    DiskRead,
    /// Records were stored again under new offsets.
    NewOffsets,
    /// The small state was damaged.
    StatePutAside,
    /// There is no small state.
    NoState,
    /// A model is not there.
    NoModel,
    /// The backlog of another box is being sent.
    ImportStarted,
    /// It cannot be sent as it is.
    ImportHeld,
    /// It is in Kafka.
    ImportDone,
    /// A replay is in Kafka.
    ReplayDone,
    /// A replay was cancelled.
    ReplayCancelled,
    /// The active box is silent: this one reads its machines.
    StandbyReads,
    /// It answers again: this one stands by.
    StandbyWaits,
    /// Another configuration was taken over.
    Configuration,
    /// Files have errors and were not taken over.
    ConfigurationFaults,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Started,
        Self::ClockJump,
        Self::KafkaAway,
        Self::KafkaBack,
        Self::SecondKafkaBegins,
        Self::SecondKafkaEnds,
        Self::Fenced,
        Self::ShutOut,
        Self::TopicNew,
        Self::Disk,
        Self::DiskShort,
        Self::DiskSmall,
        Self::DiskRead,
        Self::NewOffsets,
        Self::StatePutAside,
        Self::NoState,
        Self::NoModel,
        Self::ImportStarted,
        Self::ImportHeld,
        Self::ImportDone,
        Self::ReplayDone,
        Self::ReplayCancelled,
        Self::StandbyReads,
        Self::StandbyWaits,
        Self::Configuration,
        Self::ConfigurationFaults,
    ];
}

impl Event {
    /// What an event of the box itself is about.
    pub fn what(&self) -> Option<What> {
        What::deserialize(self.data.get("what")?).ok()
    }
}

/// Events waiting for their lane at most; beyond that they are counted and logged, never waited for.
pub const EVENTS_WAITING_MAX: usize = 4096;

/// Where events go in. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// A sink, and the end that the `events` lane reads.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        (Self { sender, lost: Arc::default() }, receiver)
    }

    /// Hands an event on. Never waits.
    pub fn emit(&self, event: Event) {
        let (event, why) = match self.sender.try_send(event) {
            Ok(()) => return,
            Err(TrySendError::Full(event)) => (event, "too many wait already"),
            Err(TrySendError::Closed(event)) => (event, "Forebay is stopping"),
        };
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        // The first, and then ever fewer: a flood of events must not become a flood of lines.
        if lost.is_power_of_two() {
            tracing::error!(device = %event.device, lost, "event lost, {why}: {}", event.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_limit_are_counted_and_nobody_waits() {
        let (events, mut received) = Events::new();
        let event = Event {
            kind: Kind::Box,
            edge_time: 0,
            device: "Werk1/box".into(),
            text: String::new(),
            data: Json::Null,
        };
        (0..EVENTS_WAITING_MAX + 3).for_each(|_| events.emit(event.clone()));
        assert_eq!(events.lost.load(Ordering::Relaxed), 3);
        assert_eq!(std::iter::from_fn(|| received.try_recv().ok()).count(), EVENTS_WAITING_MAX);
    }
}
