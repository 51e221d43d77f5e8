//! The requests of a device in words, for `forebay plan`.

use forebay_connector::planning::{self, Cost, Place, PlannedRequest, ReadPlan, ScanReads};
use forebay_connector::{DeviceSpec, OpenFault};

use super::{ANSWER_HEAD_BYTES, Block, Item, Plan, REQUEST_BYTES, rules};
use crate::address::Table;
use crate::connector;
use crate::settings::Settings;
use crate::suspects::Suspects;

/// Bits on a serial line for each byte: start, eight data bits, parity or a second stop bit, stop
/// (MODBUS over Serial Line V1.02, 2.5.1).
const SERIAL_BITS: u64 = 11;

/// Speed of a serial line whose endpoint names none.
const SERIAL_BAUD: u64 = 19_200;

/// How `device` would be read.
///
/// # Errors
/// [`OpenFault`] for an address that `check` would have found faulty.
pub fn report(device: &DeviceSpec) -> Result<ReadPlan, OpenFault> {
    let complaint = |complaints: Vec<forebay_connector::DeviceComplaint>| OpenFault {
        message: complaints.first().map(|first| first.message.clone()).unwrap_or_default(),
    };
    let settings = Settings::read(device).map_err(complaint)?;
    let items = connector::items(device, &settings)?;
    let scan = |scan| {
        let tags = (0u32..).zip(&items).filter(|(_, item)| item.scan == scan).map(|(tag, _)| tag);
        let mut plan = Plan::new(&items, tags.collect(), settings.limits);
        Suspects::default().apply(&mut plan, &items, settings.unit, settings.one_tag_per_request);
        scan_reads(&items, &plan, &settings)
    };
    Ok(ReadPlan {
        scans: (0..device.scans.len()).map(scan).collect(),
        pause: settings.request_pause,
        byte_ns: byte_ns(&device.endpoint),
        assumes: String::new(),
    })
}

fn scan_reads(items: &[Item], plan: &Plan, settings: &Settings) -> ScanReads {
    let limits = settings.limits;
    let asked: Vec<&Block> = plan.blocks.iter().filter(|block| !block.refused).collect();
    let cost = Cost::default();
    let cost_ns =
        asked.iter().map(|block| rules(block.table, limits, cost).cost_ns(u32::from(block.count))).sum();
    let cheapest = |table: Table| {
        let of_table = plan.tags.iter().map(|tag| &items[*tag as usize]);
        let places: Vec<Place> =
            of_table.filter(|item| item.place.table == table).map(Item::extent).collect();
        planning::cover(&places, &rules(table, limits, cost))
    };
    let covers: Vec<planning::Cover> = Table::ALL.into_iter().map(cheapest).collect();
    // Where every tag is asked for alone there is nothing to choose.
    let (bound_ns, requests_min) = match settings.one_tag_per_request {
        true => (cost_ns, asked.len()),
        false => (
            covers.iter().map(|cover| cover.cost_ns).sum(),
            covers.iter().map(|cover| cover.spans.len()).sum(),
        ),
    };
    ScanReads {
        requests: asked.iter().map(|block| request(plan, block)).collect(),
        pushed: None,
        cost_ns,
        bound_ns,
        requests_min,
    }
}

fn request(plan: &Plan, block: &Block) -> PlannedRequest {
    let (start, count) = (u32::from(block.start), u32::from(block.count));
    let (function, bits) = match block.table {
        Table::Coils => ("FC01", true),
        Table::DiscreteInputs => ("FC02", true),
        Table::HoldingRegisters => ("FC03", false),
        Table::InputRegisters => ("FC04", false),
    };
    let unit = match (bits, count) {
        (true, 1) => "bit",
        (true, _) => "bits",
        (false, 1) => "register",
        (false, _) => "registers",
    };
    let data = if bits { usize::from(block.count).div_ceil(8) } else { 2 * usize::from(block.count) };
    PlannedRequest {
        what: format!("{function} wire {start}..{}, {count} {unit}", start + count),
        tags: plan.members(block).len(),
        request_bytes: REQUEST_BYTES,
        answer_bytes: ANSWER_HEAD_BYTES + data,
    }
}

/// What a byte takes on a serial line; nothing worth counting on Ethernet.
fn byte_ns(endpoint: &str) -> u64 {
    let Some(serial) = endpoint.strip_prefix("serial:") else { return 0 };
    let baud = serial.split(['?', '&']).find_map(|part| part.strip_prefix("baud=")?.parse().ok());
    SERIAL_BITS * 1_000_000_000 / baud.filter(|baud| *baud > 0).unwrap_or(SERIAL_BAUD)
}
