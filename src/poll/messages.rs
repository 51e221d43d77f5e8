//! Alarms and messages that a device sends by itself, on their way into the `events` lane.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Connector, DeviceMessage};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::event_of;
use crate::clock;
use crate::device::Device;
use crate::event::{Events, Kind};

/// Messages of one device that are stored within [`WINDOW`]. An alarm that flutters must not keep
/// the events of all other machines out of their lane; what is beyond is counted and told.
const MESSAGES_MAX: usize = 600;
const WINDOW: Duration = Duration::from_secs(60);

/// Takes messages from a connector and makes events of them.
pub struct Messages {
    device: Arc<Device>,
    events: Events,
    received: Vec<DeviceMessage>,
    /// When the window in progress began, and how many messages it has had.
    window: Option<(Instant, usize)>,
}

impl Messages {
    /// Nothing received yet.
    pub fn new(device: Arc<Device>, events: Events) -> Self {
        Self { device, events, received: Vec::new(), window: None }
    }

    /// Hands on what has come in since the last call.
    pub fn take(&mut self, connector: &mut dyn Connector) {
        connector.take_messages(&mut self.received);
        self.end_window();
        for message in std::mem::take(&mut self.received) {
            let (_, count) = self.window.get_or_insert((Instant::now(), 0));
            *count += 1;
            if *count <= MESSAGES_MAX {
                self.emit(message.text.clone(), data(&message));
            }
        }
    }

    /// There will be no more.
    pub fn end(&mut self) {
        if let Some((_, count)) = self.window.take() {
            self.tell_left_out(count);
        }
    }

    /// Tells of the messages that were too many, once the window is over.
    fn end_window(&mut self) {
        if let Some((_, count)) = self.window.take_if(|(began, _)| began.elapsed() >= WINDOW) {
            self.tell_left_out(count);
        }
    }

    fn tell_left_out(&self, count: usize) {
        let left_out = count.saturating_sub(MESSAGES_MAX);
        if left_out > 0 {
            let text = format!(
                "{left_out} messages of {} were left out: it sent {count} within {} s, at most {MESSAGES_MAX} are kept",
                self.device.name,
                WINDOW.as_secs()
            );
            tracing::warn!(device = %self.device.name, "{text}");
            self.emit(text, json!({ "left_out": left_out }));
        }
    }

    fn emit(&self, text: String, data: Json) {
        self.events.emit(event_of(&self.device, Kind::Alarm, clock::now_us(), text, data));
    }
}

fn data(message: &DeviceMessage) -> Json {
    json!({
        "time": message.source_us.map(clock::rfc3339),
        "source": message.source,
        "type": message.kind,
        "severity": message.severity,
        "active": message.active,
        "acknowledged": message.acknowledged,
        "condition": message.condition,
    })
}
