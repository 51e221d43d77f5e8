//! Events that say what a lane lost, or that its disk does not work.

use std::collections::BTreeMap;

use serde_json::json;

use crate::clock::rfc3339;
use crate::event::{Event, Kind};
use crate::journal::{Damage, Evicted};

/// Devices named in one event at most; the rest is counted.
const DEVICES_MAX: usize = 200;

/// Makes the events of one lane.
#[derive(Debug, Clone)]
pub(super) struct Gaps {
    /// Name of the lane.
    pub lane: String,
    /// Path of the box.
    pub box_path: String,
}

impl Gaps {
    /// The oldest records were removed to keep the budget; `devices` has the batches of each.
    pub(super) fn evicted(&self, evicted: &Evicted, devices: &BTreeMap<String, u64>, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let named: Vec<_> = devices
            .iter()
            .take(DEVICES_MAX)
            .map(|(device, batches)| json!({ "device": device, "batches": batches }))
            .collect();
        let records = evicted.records;
        let (from, to) = (rfc3339(evicted.first_us), rfc3339(evicted.last_us));
        let text = format!(
            "{lane}: {records} batches from {from} to {to} removed unsent, the disk budget is reached"
        );
        let data = json!({
            "lane": lane, "cause": "disk-budget", "batches": records, "from": from, "to": to,
            "from_offset": evicted.from_offset, "to_offset": evicted.to_offset,
            "devices": named, "devices_unnamed": devices.len().saturating_sub(DEVICES_MAX),
        });
        self.event(Kind::Gap, text, data, now_us)
    }

    /// Records that cannot be read any more.
    pub(super) fn damaged(&self, damage: &Damage, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let Damage { from_offset, to_offset, cause } = damage;
        let batches = to_offset - from_offset;
        let text = format!("{lane}: {batches} batches from offset {from_offset} cannot be read: {cause}");
        let data = json!({
            "lane": lane, "cause": "damage", "detail": cause, "batches": batches,
            "from_offset": from_offset, "to_offset": to_offset,
        });
        self.event(Kind::Gap, text, data, now_us)
    }

    /// Something of `device` that could not be stored at all.
    pub(super) fn refused(&self, device: &str, samples: usize, cause: &str, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let text = format!("{lane}: {samples} samples of {device} cannot be stored: {cause}");
        let data = json!({ "lane": lane, "cause": "not-storable", "detail": cause, "samples": samples });
        Event { device: device.to_owned(), ..self.event(Kind::Gap, text, data, now_us) }
    }

    /// The disk has stopped or begun to work.
    pub(super) fn disk(&self, text: String, working: bool, now_us: i64) -> Event {
        let data = json!({ "what": "disk", "lane": self.lane, "working": working });
        self.event(Kind::Box, text, data, now_us)
    }

    fn event(&self, kind: Kind, text: String, data: serde_json::Value, now_us: i64) -> Event {
        Event { kind, edge_time: now_us, device: self.box_path.clone(), text, data }
    }
}
