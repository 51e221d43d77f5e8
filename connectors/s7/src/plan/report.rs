//! The requests of a CPU in words, for `forebay plan`.

use std::time::Duration;

use forebay_connector::planning::{PlannedRequest, ReadPlan, ScanReads};
use forebay_connector::{DeviceSpec, OpenFault};

use super::{Limits, Plan, TRANSPORT_BYTES, Want};
use crate::address::Place;
use crate::frame::{REPLY_HEAD_BYTES, REPLY_ITEM_BYTES, REQUEST_HEAD_BYTES, REQUEST_ITEM_BYTES};
use crate::settings::Settings;

/// How `device` would be read if its CPU grants the PDU size that it is asked for.
pub(crate) fn report(device: &DeviceSpec) -> Result<ReadPlan, OpenFault> {
    let settings = Settings::read(device)
        .map_err(|complaint| OpenFault { message: format!("{}: {}", device.name, complaint.message) })?;
    let places = crate::places(device)?;
    let pdu_bytes = usize::from(settings.pdu_bytes);
    let limits = Limits { request_bytes: pdu_bytes, reply_bytes: pdu_bytes };
    let scan = |scan| {
        let tags = (0u32..).zip(device.tags.iter().zip(&places)).filter(|(_, (tag, _))| tag.scan == scan);
        let want = |(tag, (_, place)): (u32, (_, &Place))| {
            let Place { area, byte, len_bytes, .. } = *place;
            Want { tag, area, start: byte, len_bytes, alone: area.is_sparse() }
        };
        scan_reads(&Plan::new(tags.map(want).collect(), limits))
    };
    Ok(ReadPlan {
        scans: (0..device.scans.len()).map(scan).collect(),
        pause: Duration::ZERO,
        byte_ns: 0,
        assumes: format!("the CPU grants PDUs of {pdu_bytes} bytes"),
    })
}

fn scan_reads(plan: &Plan) -> ScanReads {
    let mut tags = vec![0; plan.requests.len()];
    let mut request_of = vec![0; plan.ranges.len()];
    for (request, ranges) in plan.requests.iter().enumerate() {
        ranges.iter().for_each(|range| request_of[*range] = request);
    }
    for slot in &plan.slots {
        tags[request_of[slot.ranges.start]] += 1;
    }
    ScanReads {
        requests: plan.requests.iter().zip(tags).map(|(ranges, tags)| request(plan, ranges, tags)).collect(),
        pushed: None,
        cost_ns: plan.cost_ns,
        bound_ns: plan.bound_ns,
        requests_min: plan.requests_min,
    }
}

fn request(plan: &Plan, ranges: &[usize], tags: usize) -> PlannedRequest {
    let mut what = String::new();
    let mut area = None;
    let mut data = 0;
    for range in ranges.iter().map(|range| &plan.ranges[*range]) {
        let (start, end) = (range.start, range.start + u32::from(range.len_bytes));
        if area == Some(range.area) {
            what.push_str(&format!(" {start}..{end}"));
        } else {
            let comma = if area.is_some() { ", " } else { "" };
            what.push_str(&format!("{comma}{} bytes {start}..{end}", range.area));
        }
        area = Some(range.area);
        data += REPLY_ITEM_BYTES + usize::from(range.len_bytes).next_multiple_of(2);
    }
    PlannedRequest {
        what,
        tags,
        request_bytes: TRANSPORT_BYTES + REQUEST_HEAD_BYTES + ranges.len() * REQUEST_ITEM_BYTES,
        answer_bytes: TRANSPORT_BYTES + REPLY_HEAD_BYTES + data,
    }
}
