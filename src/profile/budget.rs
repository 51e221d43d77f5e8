//! `[budget]` of a profile, `budget` and `backup` of a `[[device]]`: how hard a controller may be
//! worked, and where else it is reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_connector::{DeviceSpec, Protocol};

use crate::device::{Access, Budget, Device};
use crate::document::Fields;

/// Keys of a budget.
const KEYS: [&str; 3] = ["requests_per_second", "share", "connections"];

/// Most requests a second that are worth limiting.
const REQUESTS_MAX: i64 = 10_000;

/// Most connections to one endpoint.
const CONNECTIONS_MAX: i64 = 64;

/// Most addresses in `backup`.
const BACKUPS_MAX: usize = 8;

/// Reads the budget that stands in `fields`: `[budget]` of a profile, `budget = { … }` of a device.
pub fn read(fields: &Fields<'_>) -> Budget {
    let subject = format!("{}: `budget`", fields.subject);
    let Some(budget) = fields.table("budget", subject, &KEYS) else { return Budget::default() };
    let whole = |key, most| budget.int(key, 1..=most).and_then(|number| u32::try_from(number).ok());
    Budget {
        requests_per_second: whole("requests_per_second", REQUESTS_MAX),
        share_percent: share(&budget),
        connections: whole("connections", CONNECTIONS_MAX),
    }
}

/// `share = "50%"`.
fn share(budget: &Fields<'_>) -> Option<u32> {
    let text = budget.text("share")?;
    let percent = text.text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    let share = percent.filter(|percent| (1..=100).contains(percent));
    if share.is_none() {
        let message = format!("`share` cannot be \"{}\"", text.text.escape_debug());
        budget.refuse_value("P0104", "share", &message, "write a share of the time from \"1%\" to \"100%\"");
    }
    share
}

/// The other addresses of a device, each checked by its protocol as the first one is.
pub fn backup(device: &Fields<'_>, protocol: &dyn Protocol, spec: &DeviceSpec) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let written = match device.entry("backup").map(|entry| &entry.node.content) {
        None => return found,
        Some(crate::document::Content::Text(_)) => device.text("backup").into_iter().collect(),
        Some(_) => device.list("backup").unwrap_or_default(),
    };
    if written.len() > BACKUPS_MAX {
        let message = format!("`backup` has {} addresses, at most {BACKUPS_MAX} are possible", written.len());
        device.refuse("P0131", "backup", &message, "keep those that are reached by another way");
        return found;
    }
    for text in written {
        if text.text == spec.endpoint || found.contains(&text.text) {
            let message = format!("{}: {} stands twice in endpoint and backup", device.subject, text.text);
            let fault = device.ctx.warning("P0180", text.span, message);
            device.ctx.report(fault.help("write the address of the second way, or remove `backup`"));
            continue;
        }
        let other = DeviceSpec { endpoint: text.text.clone(), ..spec.clone() };
        let complaints = protocol.check_device(&other);
        for complaint in complaints.into_iter().filter(|complaint| complaint.key == "endpoint") {
            let message = format!("{}: `backup`: {}", device.subject, complaint.message);
            device.ctx.report(device.ctx.error(complaint.code, text.span, message).help(complaint.help));
        }
        found.push(text.text);
    }
    found
}

/// What devices share that are reached by the same line.
pub fn line(protocol: &dyn Protocol, spec: &DeviceSpec) -> String {
    protocol.line(spec).unwrap_or_else(|| protocol.address(spec))
}

/// Gives all devices on one line the strictest of their budgets.
pub fn share_lines(devices: &mut [Arc<Device>]) {
    let mut budgets: BTreeMap<(&'static str, String), Budget> = BTreeMap::new();
    let key = |device: &Device| (device.protocol.name(), device.access.line.clone());
    for device in devices.iter() {
        let budget = budgets.entry(key(device)).or_default();
        *budget = budget.strictest(device.access.budget);
    }
    for device in devices {
        let budget = budgets.get(&key(device)).copied().unwrap_or_default();
        // Nobody else has them yet.
        if let Some(device) = Arc::get_mut(device) {
            device.access = Access { budget, ..std::mem::take(&mut device.access) };
        }
    }
}
