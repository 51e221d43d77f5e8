//! How a server is read, in words, for `forebay plan`.

use std::collections::HashSet;

use forebay_connector::planning::{Cost, PlannedRequest, ReadPlan, ScanReads};
use forebay_connector::{DeviceSpec, TagSpec};

use crate::address::NodeAddress;
use crate::settings::Settings;

/// Values in one read, unless the server takes fewer.
const READ_VALUES: usize = crate::session::NODES_PER_REQUEST;
/// Heads of a message: secure channel, sequence and service (Part 6, 6.7.2; Part 4, 7.33), signature
/// and filling left out.
const HEAD_BYTES: usize = 90;
/// A node to read: its id of middle length, attribute, range, encoding.
const NODE_BYTES: usize = 40;
/// A value with its status and two times.
const VALUE_BYTES: usize = 26;

/// How `device` would be read. What a server limits is known only when it is asked.
pub(crate) fn report(device: &DeviceSpec) -> ReadPlan {
    let (settings, _) = Settings::read(device);
    let scan = |scan| {
        let values = values(device.tags.iter().filter(|tag| tag.scan == scan));
        if settings.polled { polled(values) } else { subscribed(values, settings.publishing.as_millis()) }
    };
    ReadPlan {
        scans: (0..device.scans.len()).map(scan).collect(),
        assumes: if settings.polled {
            format!("the server takes {READ_VALUES} values in one read; bytes are estimated")
        } else {
            String::new()
        },
        ..ReadPlan::default()
    }
}

/// How many values these tags are: the fields of one structure are one.
fn values<'a>(tags: impl Iterator<Item = &'a TagSpec>) -> usize {
    let (mut plain, mut structures) = (0, HashSet::new());
    for tag in tags {
        match NodeAddress::parse(&tag.address) {
            Ok(address) if address.field.is_some() => {
                structures.insert(address.node());
            }
            _ => plain += 1,
        }
    }
    plain + structures.len()
}

fn polled(tags: usize) -> ScanReads {
    let parts = (0..tags).step_by(READ_VALUES).map(|first| READ_VALUES.min(tags - first));
    let requests: Vec<PlannedRequest> = parts
        .map(|tags| PlannedRequest {
            what: format!("Read of {tags} values"),
            tags,
            request_bytes: HEAD_BYTES + tags * NODE_BYTES,
            answer_bytes: HEAD_BYTES + tags * VALUE_BYTES,
        })
        .collect();
    let cost = Cost::default();
    let bytes: usize = requests.iter().map(|request| request.request_bytes + request.answer_bytes).sum();
    let cost_ns = requests.len() as u64 * cost.request_ns + bytes as u64 * cost.byte_ns;
    // Each value is asked for by itself, and each read is as full as it may be: nothing is cheaper.
    ScanReads { requests_min: requests.len(), requests, pushed: None, cost_ns, bound_ns: cost_ns }
}

fn subscribed(tags: usize, publishing_ms: u128) -> ScanReads {
    let items = if tags == 1 { "item" } else { "items" };
    let words = format!("subscription of {tags} {items}: the server sends changes every {publishing_ms} ms");
    ScanReads { pushed: Some(words), ..ScanReads::default() }
}
