//! Which known profile a unit looks like, and why.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use forebay_connector::{Connector, OptionValue, Quality, RawSample};

use super::Modbus;
use crate::clock;
use crate::device::{Device, Verify};
use crate::diagnostic::Format;
use crate::live::spell;
use crate::poll::{Engineer, failed_check};
use crate::stand_in;
use crate::twin::DeviceState;

/// Profiles that are named for one unit at most.
const NAMED_MAX: usize = 3;
/// So many of a profile's tags must be readable, in percent.
const READABLE_MIN: usize = 90;

/// A profile that fits, and how well.
struct Like {
    name: String,
    /// Checks that hold for another value than 0, which memory that nobody uses holds too.
    told: usize,
    /// Tags that can be read, of all.
    readable: usize,
    tags: usize,
    why: String,
}

/// The Modbus profiles that come with the program and those of `files`, each as a machine.
///
/// # Errors
/// When a file has errors.
pub fn known(files: &[PathBuf]) -> anyhow::Result<Vec<Arc<Device>>> {
    let loaded = stand_in::one_of_each("modbus", files)?;
    if loaded.errors() > 0 {
        bail!("a profile has errors:\n{}", loaded.render(Format::Text, false));
    }
    let only_registers = |device: &Arc<Device>| {
        let is_register = |address: &str| ["3", "4", "hr:", "ir:"].iter().any(|it| address.starts_with(it));
        device.spec.tags.iter().all(|tag| is_register(&tag.address))
    };
    Ok(loaded.devices.into_iter().filter(only_registers).collect())
}

/// Compares a unit with all profiles and names the best.
///
/// # Errors
/// When nothing can be printed.
pub async fn compare(
    modbus: &Modbus,
    unit: u16,
    known: &[Arc<Device>],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut alike = Vec::new();
    for device in known {
        alike.extend(like(modbus, unit, device).await);
        modbus.rest().await;
    }
    alike.sort_by_key(|it| std::cmp::Reverse((it.told, it.readable * 100 / it.tags.max(1), it.tags)));
    if alike.is_empty() {
        writeln!(out, "  looks like none of {} known profiles", known.len())?;
    }
    for like in alike.iter().take(NAMED_MAX) {
        writeln!(out, "  looks like {}: {}", like.name, like.why)?;
    }
    Ok(())
}

/// `None` when the unit is no such machine.
async fn like(modbus: &Modbus, unit: u16, device: &Arc<Device>) -> Option<Like> {
    let mut spec = device.spec.clone();
    spec.endpoint.clone_from(&modbus.endpoint);
    spec.options.insert("unit_id".to_owned(), OptionValue::Int(i64::from(unit)));
    let mut connector = device.protocol.open(spec).ok()?;
    connector.connect().await.ok()?;
    let like = ask(modbus, device, connector.as_mut()).await;
    connector.close().await;
    like
}

async fn ask(modbus: &Modbus, device: &Arc<Device>, connector: &mut dyn Connector) -> Option<Like> {
    // First what tells most: a machine of another kind is not asked for the rest.
    let checked: Vec<u32> = device.verify.iter().map(|verify| verify.raw).collect();
    let mut raw: Vec<RawSample> = Vec::new();
    if !checked.is_empty() {
        connector.read(&checked, &mut raw).await.ok()?;
        modbus.rest().await;
        if device.verify.iter().any(|verify| failed_check(device, verify, &raw).is_some()) {
            return None;
        }
    }
    let due: Vec<usize> = (0..device.spec.scans.len()).collect();
    raw.clear();
    connector.poll(&due, &mut raw).await.ok()?;
    let mut state =
        DeviceState { values: vec![Default::default(); device.tags.len()], ..DeviceState::default() };
    Engineer::new(Arc::clone(device)).publish(&raw, &due, clock::now_us(), &mut state, &mut Vec::new());
    let count = |is: &dyn Fn(Quality) -> bool| {
        state.values.iter().filter(|current| current.edge_us != 0 && is(current.quality)).count()
    };
    let readable = count(&|quality| quality.ne107() != Some('F'));
    let outside = count(&|quality| quality == Quality::OutOfRange);
    let (tags, checks) = (device.tags.len(), device.verify.len());
    let ranged = device.tags.iter().filter(|tag| tag.range.is_some()).count();
    if readable * 100 < tags * READABLE_MIN || outside * 2 > ranged.max(1) || checks + ranged == 0 {
        return None;
    }
    let told = device.verify.iter().filter(|verify| tells(verify, &raw)).count();
    if checks > 0 && told == 0 {
        return None;
    }
    let said: Vec<String> = device.verify.iter().filter_map(|verify| said(device, verify, &state)).collect();
    let shown = if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) };
    let within = match (ranged, outside) {
        (0, _) => String::new(),
        (ranged, 0) => format!(", all {ranged} with a range are within it"),
        (ranged, outside) => format!(", {outside} of {ranged} with a range are outside of it"),
    };
    let why = if checks == 0 {
        format!("{readable} of {tags} tags can be read{within}; it has no [[verify]], so this says little")
    } else {
        format!("{checks} of {checks} checks hold{shown}, {readable} of {tags} tags can be read{within}")
    };
    Some(Like { name: device.profile.clone(), told, readable, tags, why })
}

/// True when a check was not made on a plain 0.
fn tells(verify: &Verify, raw: &[RawSample]) -> bool {
    let value = raw.iter().find(|sample| sample.tag == verify.raw).map(|sample| &sample.value);
    value.is_some_and(|value| value.as_f64() != Some(0.0))
}

/// What a check found, for people: `grid.frequency 50.02 Hz`.
fn said(device: &Device, verify: &Verify, state: &DeviceState) -> Option<String> {
    let (place, tag) = device.tags.iter().enumerate().find(|(_, tag)| tag.raw == verify.raw)?;
    let value = spell(&state.values.get(place)?.value);
    Some(format!("{} {value} {}", tag.path, tag.unit).trim().to_owned())
}
