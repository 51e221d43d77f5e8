//! The words and records about a device that is read less often than asked, and about its address.

use serde_json::json;

use super::event_of;
use super::outage::Outage;
use crate::device::Device;
use crate::event::{Events, Kind};
use crate::twin::Slowed;

/// Records that a scan class is read less often, or more often again.
pub fn tell(device: &Device, events: &Events, now_us: i64, slowed: &Slowed, slower: bool) {
    let Slowed { scan, stretch, interval_ms, took_ms } = slowed;
    let now_ms = interval_ms * u64::from(*stretch);
    let text = match (slower, stretch) {
        (true, _) => format!(
            "{}: a round of {scan} takes {took_ms} ms, {interval_ms} ms were asked: it is read every {now_ms} ms \
             from now on",
            device.name
        ),
        (false, 1) => format!("{}: {scan} is read every {interval_ms} ms again, as asked", device.name),
        (false, _) => format!("{}: quicker again, {scan} is read every {now_ms} ms", device.name),
    };
    if slower {
        tracing::warn!(device = %device.name, "{text}");
    } else {
        tracing::info!(device = %device.name, "{text}");
    }
    let data = json!({
        "state": if slower { "slowed" } else { "hastened" },
        "scan": scan, "asked_ms": interval_ms, "every_ms": now_ms, "took_ms": took_ms,
    });
    events.emit(event_of(device, Kind::DeviceState, now_us, text, data));
}

impl Outage {
    /// Records that values come from another address than before.
    pub fn tell_address(&self, now_us: i64, before: &str, address: &str) {
        let text = format!("{} is read at {address} now; {before} was not reached", self.device.name);
        tracing::warn!(device = %self.device.name, "{text}");
        let data = json!({ "state": "address", "address": address, "before": before });
        self.events.emit(event_of(&self.device, Kind::DeviceState, now_us, text, data));
    }
}
