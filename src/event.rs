//! Events: what happened, for the `events` lane, the page's time line and the log.

use serde::Serialize;
use serde_json::Value as Json;

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
    /// A device came or went: state, cause.
    DeviceState,
    /// A model's score crossed its threshold, or came back.
    Prediction,
    /// A model cannot score: why.
    ModelState,
    /// The box: started, clock jumped, fenced, disk full.
    Box,
}

/// Events waiting for their lane at most; beyond that they are counted and logged, never waited for.
pub const EVENTS_WAITING_MAX: usize = 4096;

/// Where events go in. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    sender: tokio::sync::mpsc::Sender<Event>,
}

impl Events {
    /// A sink, and the end that the `events` lane reads.
    pub fn new() -> (Self, tokio::sync::mpsc::Receiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(EVENTS_WAITING_MAX);
        (Self { sender }, receiver)
    }

    /// Hands an event on. Never waits.
    pub fn emit(&self, event: Event) {
        if let Err(error) = self.sender.try_send(event) {
            let (tokio::sync::mpsc::error::TrySendError::Full(event)
            | tokio::sync::mpsc::error::TrySendError::Closed(event)) = error;
            tracing::error!(device = %event.device, "event lost, {EVENTS_WAITING_MAX} are waiting already: {}", event.text);
        }
    }
}
