//! What reading the devices of a site will cost them and the lines to them, told before anything is
//! connected: `forebay plan`, and the warnings of `forebay check` that hold whatever the network does.

pub mod command;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::planning::{ReadPlan, ScanReads};

use crate::device::Device;

/// Time from a request to its answer that is assumed when nothing else is said.
pub const ROUND_TRIP: Duration = Duration::from_millis(5);

/// How one device would be read.
pub struct DevicePlan {
    /// The device.
    pub device: Arc<Device>,
    /// Its requests, or why it can never be read.
    pub reads: Result<ReadPlan, String>,
}

impl DevicePlan {
    /// Plans the reading of a device.
    pub fn of(device: &Arc<Device>) -> Self {
        let reads = device.protocol.plan(&device.spec).map_err(|fault| fault.message);
        Self { device: Arc::clone(device), reads }
    }

    /// What each scan class costs.
    pub fn loads(&self, round_trip: Duration) -> Vec<Load> {
        let Ok(reads) = &self.reads else { return Vec::new() };
        let scans = self.device.spec.scans.iter().zip(&reads.scans);
        scans.map(|(scan, of_scan)| Load::of(scan.interval, of_scan, reads, round_trip)).collect()
    }
}

/// What one scan class costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// From one read to the next.
    pub interval: Duration,
    /// Requests of one read.
    pub requests: usize,
    /// Bytes of one read, both ways, TCP's own not counted.
    pub bytes: usize,
    /// How long one read takes.
    pub round: Duration,
}

impl Load {
    fn of(interval: Duration, scan: &ScanReads, reads: &ReadPlan, round_trip: Duration) -> Self {
        let requests = scan.requests.len();
        let bytes = scan.requests.iter().map(|request| request.request_bytes + request.answer_bytes).sum();
        let count = u32::try_from(requests).unwrap_or(u32::MAX);
        let on_the_way = Duration::from_nanos(reads.byte_ns.saturating_mul(bytes as u64));
        let round = (round_trip + reads.pause).saturating_mul(count).saturating_add(on_the_way);
        Self { interval, requests, bytes, round }
    }

    /// Requests a second.
    #[allow(clippy::cast_precision_loss)] // a rate for people
    pub fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.interval.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Bytes a second.
    #[allow(clippy::cast_precision_loss)] // a rate for people
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.interval.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The share of the time that its rounds take up; 1 is all of it.
    pub fn busy(&self) -> f64 {
        self.round.as_secs_f64() / self.interval.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Devices that take turns on one connection, or one device that has its own.
pub struct Line<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its devices.
    pub plans: Vec<&'a DevicePlan>,
}

/// All lines, by name.
pub fn lines(plans: &[DevicePlan]) -> Vec<Line<'_>> {
    let mut lines: BTreeMap<(&str, &str, &str), Vec<&DevicePlan>> = BTreeMap::new();
    for plan in plans {
        let device = &plan.device;
        // Without a shared line two devices at one address are two connections.
        let own = if device.protocol.line(&device.spec).is_some() { "" } else { device.name.as_str() };
        lines.entry((device.protocol.name(), device.access.line.as_str(), own)).or_default().push(plan);
    }
    lines.into_iter().map(|((_, name, _), plans)| Line { name, plans }).collect()
}

/// What cannot be kept up, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Name of the device it is about; of several on a line the first.
    pub device: String,
    /// What is too much.
    pub message: String,
    /// What can be done.
    pub help: String,
}

impl Line<'_> {
    /// All loads of all devices.
    pub fn loads(&self, round_trip: Duration) -> Vec<Load> {
        self.plans.iter().flat_map(|plan| plan.loads(round_trip)).collect()
    }

    /// What is too much for the devices of the line, if a request takes at least so long.
    pub fn warnings(&self, round_trip: Duration) -> Vec<Warning> {
        let mut found = Vec::new();
        for plan in &self.plans {
            for (scan, load) in plan.device.spec.scans.iter().zip(plan.loads(round_trip)) {
                if load.round > load.interval {
                    found.push(words::too_slow(&plan.device.name, &scan.name, &load));
                }
            }
        }
        let (Some(first), loads) = (self.plans.first(), self.loads(round_trip)) else { return found };
        let busy: f64 = loads.iter().map(Load::busy).sum();
        let requests_per_s: f64 = loads.iter().map(Load::requests_per_s).sum();
        let budget = first.device.access.budget;
        let share = f64::from(budget.share_percent.unwrap_or(100)) / 100.0;
        if busy > share && found.is_empty() {
            found.push(words::too_busy(self, busy, share));
        }
        if let Some(permitted) = budget.requests_per_second.filter(|it| requests_per_s > f64::from(*it)) {
            found.push(words::over_budget(self, requests_per_s, permitted));
        }
        found
    }
}

/// What is too much for devices however quick they and the network are: pauses, slow lines and
/// budgets alone forbid it.
pub fn certain(devices: &[Arc<Device>]) -> Vec<Warning> {
    // The others cannot be too slow at a round trip of nothing.
    let limited =
        |device: &&Arc<Device>| device.access.budget.paces() || device.protocol.line(&device.spec).is_some();
    let plans: Vec<DevicePlan> = devices.iter().filter(limited).map(DevicePlan::of).collect();
    lines(&plans).iter().flat_map(|line| line.warnings(Duration::ZERO)).collect()
}

/// Devices that would open more connections to one address than its budget permits.
pub fn too_many_connections(devices: &[Arc<Device>]) -> Vec<Warning> {
    let mut addresses: BTreeMap<(&str, &str), Vec<&Device>> = BTreeMap::new();
    for device in devices.iter().filter(|device| device.protocol.line(&device.spec).is_none()) {
        addresses.entry((device.protocol.name(), &device.access.line)).or_default().push(device);
    }
    let over = addresses.into_values().filter_map(|devices| {
        let permitted = devices.first()?.access.budget.connections.unwrap_or(1) as usize;
        (devices.len() > permitted).then(|| words::connections(&devices, permitted))
    });
    over.collect()
}

#[cfg(test)]
mod tests;
