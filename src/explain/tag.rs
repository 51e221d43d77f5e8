//! Where the properties of a tag come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Columns, address};
use crate::clock;
use crate::config::{self, Loaded};
use crate::control::{Client, ClientError};
use crate::device::{Device, Tag, Transform};
use crate::diagnostic::Format;
use crate::document::{Origin, Trace, nearest};

/// Names shown when there is no such tag.
const NAMES_MAX: usize = 20;

/// Explains a tag of a device in these files; the error is for the one who asked.
pub fn explain(device: &str, tag: &str, files: &[PathBuf]) -> Result<String, String> {
    let loaded = config::check_files(files);
    let found = find_device(&loaded, device)?;
    let path = find_tag(found, tag)?;
    // Where keys come from is written down for one tag only, so it is read again.
    let trace = Arc::new(Trace::new(device, path));
    let again = config::check_traced(files, Some(Arc::clone(&trace)));
    let changed = || "the files have changed meanwhile, ask again".to_owned();
    let device = again.devices.iter().find(|it| it.name == device).ok_or_else(changed)?;
    let tag = device.tag_index(path).map(|index| &device.tags[index]).ok_or_else(changed)?;
    let live = again.config.as_ref().map(|config| live(&config.paths.state, &device.name, path, tag));
    Ok(words(device, tag, live.flatten().as_deref(), &trace.found()))
}

/// The last value in the box that keeps its state in this folder; `None` when none runs.
fn live(state: &Path, device: &str, path: &str, tag: &Tag) -> Option<String> {
    let asked = Client::new(state).get(&format!("/v1/value/{device}/{path}"));
    let answer = match asked {
        Ok(answer) => answer,
        Err(ClientError::NotRunning(_)) => return None,
        Err(error) => return Some(error.to_string()),
    };
    let edge_us = answer["edge_us"].as_i64().unwrap_or(0);
    if edge_us == 0 {
        return Some("not read yet".to_owned());
    }
    let age = Duration::from_micros(u64::try_from(clock::now_us() - edge_us).unwrap_or(0));
    let (value, quality) = (answer["value"].as_str().unwrap_or(""), answer["quality"].as_str().unwrap_or(""));
    Some(format!("{value}{}, {quality}, read {:.1} s ago", of_unit(tag), age.as_secs_f64()))
}

fn find_device<'l>(loaded: &'l Loaded, name: &str) -> Result<&'l Device, String> {
    if let Some(found) = loaded.devices.iter().find(|device| device.name == name) {
        return Ok(found);
    }
    if let Some(refused) = loaded.refused.iter().find(|refused| refused.name == name) {
        let said = loaded.render(Format::Text, false);
        return Err(format!("{said}\n{name} ({}) has faults, mend them first", refused.source));
    }
    let names: Vec<&str> = loaded.devices.iter().map(|device| device.name.as_str()).collect();
    if names.is_empty() {
        return Err(format!("{}\nthere are no devices in these files", loaded.render(Format::Text, false))
            .trim()
            .to_owned());
    }
    Err(match nearest(name, names.iter().copied()) {
        Some(near) => format!("there is no device \"{name}\"; did you mean {near}?"),
        None => format!("there is no device \"{name}\"; devices are: {}", some(&names)),
    })
}

/// The whole path of a tag that was named with or without its group.
fn find_tag<'d>(device: &'d Device, name: &str) -> Result<&'d str, String> {
    let paths = || device.tags.iter().map(|tag| tag.path.as_str());
    if let Some(found) = paths().find(|path| *path == name) {
        return Ok(found);
    }
    let ends: Vec<&str> =
        paths().filter(|path| path.strip_suffix(name).is_some_and(|group| group.ends_with('.'))).collect();
    match ends.as_slice() {
        [one] => Ok(one),
        [] => Err(
            match nearest(name, paths().flat_map(|path| [path, path.rsplit('.').next().unwrap_or(path)])) {
                Some(near) => format!("{} has no tag \"{name}\"; did you mean {near}?", device.name),
                None => format!(
                    "{} has no tag \"{name}\"; tags are: {}",
                    device.name,
                    some(&paths().collect::<Vec<_>>())
                ),
            },
        ),
        several => Err(format!("{} has several: {}", device.name, some(several))),
    }
}

fn some(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(&format!(" … ({} in all)", names.len()));
    }
    text
}

fn words(device: &Device, tag: &Tag, live: Option<&str>, origins: &[Origin]) -> String {
    let mut out = Columns::default();
    out.line("tag", &format!("{}/{}", device.name, tag.path));
    let profile = format!("{} {}, {}", device.profile, device.profile_version, device.protocol.name());
    out.line("profile", &format!("{profile}; the device is at {}", device.source));
    if !tag.desc.is_empty() {
        out.line("", &tag.desc);
    }
    if let Some(raw) = device.spec.tags.get(tag.raw as usize) {
        out.line("address", &format!("{} at {}", raw.address, device.spec.endpoint));
        address::wire(&mut out, device.protocol.as_ref(), &raw.address, raw.data_type);
        let order = raw.order.map_or(String::new(), |order| format!(", byte order {order:?}").to_uppercase());
        out.line("read as", &format!("{}{}", raw.data_type, order.replace("BYTE ORDER", "byte order")));
    }
    out.line("becomes", &becomes(device, tag));
    out.line("published", &published(device, tag));
    if let Some((low, high)) = tag.range {
        out.line("range", &format!("{low} to {high}{}; outside of it the value is marked", of_unit(tag)));
    }
    if !tag.limits.is_empty() {
        let limits: Vec<String> = tag.limits.iter().map(|(name, limit)| format!("{name} {limit}")).collect();
        out.line("limits", &format!("{}{}", limits.join(", "), of_unit(tag)));
    }
    if let Some(live) = live {
        out.line("now", live);
    }
    out.text.push('\n');
    for origin in origins {
        out.line(&origin.key, &format!("{:<28} {}, {}", origin.written, origin.place, origin.layer));
        for (name, value, place) in &origin.params {
            out.line("", &format!("{:<28} {place}", format!("{{{name}}} = {value}")));
        }
    }
    out.text
}

fn of_unit(tag: &Tag) -> String {
    if tag.unit.is_empty() || tag.unit == "1" { String::new() } else { format!(" {}", tag.unit) }
}

/// How the value comes about, in words.
fn becomes(device: &Device, tag: &Tag) -> String {
    let data_type = tag.data_type;
    if let Some(formula) = &tag.formula {
        let inputs = formula.inputs.iter().filter_map(|input| device.tags.get(*input as usize));
        let inputs: Vec<&str> = inputs.map(|tag| tag.path.as_str()).collect();
        return format!("{data_type}{}, calculated from {}", of_unit(tag), inputs.join(", "));
    }
    let value = match tag.transform {
        Transform::None => format!("{data_type}{}, as it is read", of_unit(tag)),
        Transform::Bit(bit) => format!("BOOL, bit {bit} of it (bit 0 is the lowest)"),
        Transform::Linear { scale, offset, clamp } => {
            let offset = match offset {
                0.0 => String::new(),
                offset if offset < 0.0 => format!(" − {}", -offset),
                offset => format!(" + {offset}"),
            };
            let clamp = clamp.map_or(String::new(), |(low, high)| format!(", kept within {low} to {high}"));
            format!("{data_type}{} = what is read × {scale}{offset}{clamp}", of_unit(tag))
        }
    };
    let texts =
        tag.enumeration.as_ref().map_or(String::new(), |texts| format!(", with {} texts", texts.len()));
    let zone = tag.timezone.as_ref().and_then(|zone| zone.iana_name());
    let zone = zone.map_or(String::new(), |zone| format!(", from the time of {zone} to UTC"));
    format!("{value}{texts}{zone}")
}

fn published(device: &Device, tag: &Tag) -> String {
    let scan = device.spec.scans.get(tag.scan);
    let scan =
        scan.map_or(String::new(), |scan| format!("read every {:?} (scan {}), ", scan.interval, scan.name));
    let change = match (tag.compress, tag.deadband) {
        (Some(compress), _) => {
            format!("sent where straight lines would miss it by more than {compress}{}", of_unit(tag))
        }
        (None, deadband) if deadband > 0.0 => {
            format!("sent when it changes by more than {deadband}{}", of_unit(tag))
        }
        (None, _) => "sent when it changes".to_owned(),
    };
    format!("{scan}{change}, and after {:?} in any case", tag.max_silence)
}
