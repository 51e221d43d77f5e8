//! The plan in words.

use std::time::Duration;

use forebay_connector::planning::{PlannedRequest, ScanReads};

use super::{DevicePlan, Line, Load, Warning};
use crate::device::{Budget, Device};

/// Names listed at most.
const NAMES_MAX: usize = 5;

/// A duration as people write it: `340 ms`, `1.5 s`, `0.2 ms`.
pub fn duration(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        _ if ms >= 10_000.0 => format!("{:.0} s", ms / 1e3),
        _ if ms >= 1_000.0 => format!("{} s", short(ms / 1e3)),
        _ if ms >= 10.0 => format!("{ms:.0} ms"),
        _ => format!("{} ms", short(ms)),
    }
}

/// A rate in the largest unit of time in which it is a number that says something.
fn rate(per_s: f64) -> String {
    match per_s {
        _ if per_s >= 0.95 || per_s == 0.0 => format!("{} a second", short(per_s)),
        _ if per_s * 60.0 >= 0.95 => format!("{} a minute", short(per_s * 60.0)),
        _ => format!("{} an hour", short(per_s * 3600.0)),
    }
}

/// One decimal unless it is 0.
pub fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn plural(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

fn names<'a>(devices: impl Iterator<Item = &'a Device>) -> String {
    let all: Vec<&str> = devices.map(|device| device.name.as_str()).collect();
    match all.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{} and {more} more", all[..NAMES_MAX].join(", ")),
        _ => all.join(", "),
    }
}

/// A scan class takes longer than its interval.
pub fn too_slow(device: &str, scan: &str, load: &Load) -> Warning {
    let (needs, asked) = (duration(load.round), duration(load.interval));
    Warning {
        device: device.to_owned(),
        message: format!("device `{device}`: {scan} needs {needs} per round, {asked} asked"),
        help: format!("ask for {scan} less often, or read fewer tags in it"),
    }
}

/// A line is used more than it can be, or may be.
pub fn too_busy(line: &Line<'_>, busy: f64, share: f64) -> Warning {
    let who = names(line.plans.iter().map(|plan| plan.device.as_ref()));
    let (busy, share) = (percent(busy), percent(share));
    let device = line.plans.first().map(|plan| plan.device.name.clone()).unwrap_or_default();
    let message = format!("{who}: all rounds on {} take {busy} of the time, {share} is there", line.name);
    Warning { device, message, help: "ask for slower scan classes, or read fewer tags".into() }
}

/// A line is asked more often than its budget permits.
pub fn over_budget(line: &Line<'_>, requests_per_s: f64, permitted: u32) -> Warning {
    let who = names(line.plans.iter().map(|plan| plan.device.as_ref()));
    let device = line.plans.first().map(|plan| plan.device.name.clone()).unwrap_or_default();
    let message = format!(
        "{who}: {} requests a second on {}, the budget permits {permitted}",
        short(requests_per_s),
        line.name
    );
    Warning { device, message, help: "ask for slower scan classes, or raise requests_per_second".into() }
}

/// More devices than connections.
pub fn connections(devices: &[&Device], permitted: usize) -> Warning {
    let device = devices.last().map(|device| device.name.clone()).unwrap_or_default();
    let address = devices.first().map_or("", |device| &device.access.line);
    let count = devices.len();
    // Without a limit in the files all of them are read.
    let limited = devices.iter().any(|device| device.access.budget.connections.is_some());
    let waits = if limited { "the others wait until one is free; " } else { "" };
    Warning {
        device,
        message: format!(
            "{}: {count} connections to {address}, the budget permits {permitted}",
            names(devices.iter().copied())
        ),
        help: format!(
            "{waits}read it as one device, or write budget = {{ connections = {count} }} if the controller has them \
             to spare"
        ),
    }
}

/// Everything about one device.
pub fn of_device(plan: &DevicePlan, round_trip: Duration, with_requests: bool) -> String {
    let device = &plan.device;
    let mut text = format!("{} ({}, {})\n", device.name, device.protocol.name(), device.spec.endpoint);
    let reads = match &plan.reads {
        Ok(reads) => reads,
        Err(why) => return format!("{text}  cannot be read: {why}\n"),
    };
    if !reads.assumes.is_empty() {
        text.push_str(&format!("  assumed: {}\n", reads.assumes));
    }
    if !reads.pause.is_zero() {
        text.push_str(&format!("  {} of silence before each request\n", duration(reads.pause)));
    }
    let loads = plan.loads(round_trip);
    for ((scan, of_scan), load) in device.spec.scans.iter().zip(&reads.scans).zip(&loads) {
        let every = duration(scan.interval);
        if let Some(pushed) = &of_scan.pushed {
            text.push_str(&format!("  {} every {every}: {pushed}\n", scan.name));
            continue;
        }
        text.push_str(&format!("  {} every {every}: {}\n", scan.name, of_scan_words(of_scan, load)));
        if with_requests {
            of_scan.requests.iter().for_each(|request| text.push_str(&of_request(request)));
        }
    }
    if loads.iter().any(|load| load.requests > 0) && loads.len() > 1 {
        text.push_str(&format!("  together: {}\n", together(&loads)));
    }
    text.push_str(&of_budget(device.access.budget));
    text
}

fn of_scan_words(scan: &ScanReads, load: &Load) -> String {
    let least = if scan.requests.len() <= scan.requests_min {
        "the least possible".to_owned()
    } else {
        format!("at least {}", scan.requests_min)
    };
    #[allow(clippy::cast_precision_loss)] // a ratio for people
    let ratio = scan.cost_ns as f64 / scan.bound_ns.max(1) as f64;
    format!(
        "{} ({least}; cost ÷ bound {ratio:.2}), {}, {} bytes, about {} per round",
        plural(scan.requests.len(), "request", "requests"),
        rate(load.requests_per_s()),
        load.bytes,
        duration(load.round),
    )
}

fn of_request(request: &PlannedRequest) -> String {
    format!(
        "    {}, {}, {} bytes out, {} in\n",
        request.what,
        plural(request.tags, "tag", "tags"),
        request.request_bytes,
        request.answer_bytes
    )
}

/// What loads come to.
pub fn together(loads: &[Load]) -> String {
    let sum = |value: fn(&Load) -> f64| loads.iter().map(value).sum::<f64>();
    format!(
        "{} requests and {:.0} bytes a second, busy {}",
        short(sum(Load::requests_per_s)),
        sum(Load::bytes_per_s),
        percent(sum(Load::busy))
    )
}

fn of_budget(budget: Budget) -> String {
    let mut limits = Vec::new();
    limits.extend(budget.requests_per_second.map(|most| format!("{most} requests a second")));
    limits.extend(budget.share_percent.map(|share| format!("busy at most {share} %")));
    limits.extend(budget.connections.map(|most| plural(most as usize, "connection", "connections")));
    if limits.is_empty() { String::new() } else { format!("  budget: {}\n", limits.join(", ")) }
}
