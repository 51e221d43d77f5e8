//! `forebay check --live`: are the files right about the machine that is really there?
//!
//! Connects as the box would, runs the checks, and looks at every tag: what came over the wire, what
//! was decoded from it, and what would be published. Only reads. A machine that the box reads at the
//! same time sees one connection more, and one request at a time on it.

mod look;
mod spell;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;

use crate::amount::counted;
use crate::device::Device;
use look::Looked;
pub use spell::{parse, spell};

/// Machines that are looked at side by side; those behind one endpoint one after another.
const SIDE_BY_SIDE: usize = 16;

/// Looking at machines, as a part of `forebay check`.
#[derive(Debug, Clone, Args)]
pub struct Live {
    /// Connects to the machines and shows what their tags hold; only reads.
    #[arg(long)]
    pub live: bool,
    /// Only this machine; may be given several times.
    #[arg(long, value_name = "NAME", requires = "live")]
    device: Vec<String>,
    /// Seconds for one machine at most.
    #[arg(long, value_name = "SECONDS", requires = "live", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    at_most: u64,
}

/// Looks at the devices and prints what was found, in the order of the files.
///
/// Success when every device answers, every check holds and every tag can be read.
///
/// # Errors
/// A name that is none of the devices; nothing can be printed.
pub async fn run(live: &Live, devices: &[Arc<Device>], out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let chosen = chosen(live, devices)?;
    if chosen.is_empty() {
        anyhow::bail!(
            "there is no machine to look at: the files have no [[device]] without errors; add one with name, \
             endpoint and location"
        );
    }
    let limit = Duration::from_secs(live.at_most);
    // Devices behind one gateway share its line: two at once would disturb each other.
    let mut lines: BTreeMap<&str, Vec<(usize, Arc<Device>)>> = BTreeMap::new();
    for (place, device) in chosen.iter().enumerate() {
        lines.entry(device.spec.endpoint.as_str()).or_default().push((place, Arc::clone(device)));
    }
    let folder = look::Folder::new();
    let look_at = |line: Vec<(usize, Arc<Device>)>| {
        let folder = &folder;
        async move {
            let mut found = Vec::new();
            for (place, device) in line {
                found.push((place, look::look_at(&device, folder, limit).await));
            }
            found
        }
    };
    let mut looking =
        futures_util::stream::iter(lines.into_values().map(look_at)).buffer_unordered(SIDE_BY_SIDE);
    // Shown in the order of the files, each as soon as all before it are there.
    let (mut found, mut next) = (BTreeMap::new(), 0);
    let mut sound = 0;
    while let Some(line) = looking.next().await {
        found.extend(line);
        while let Some(looked) = found.remove(&next) {
            let looked: Looked = looked;
            sound += usize::from(looked.is_sound());
            table::print(&chosen[next], &looked, out)?;
            out.flush()?;
            next += 1;
        }
    }
    let all = chosen.len();
    if all > 1 {
        let machines = counted(all as u64, "machine", "machines");
        writeln!(out, "{machines} looked at: {sound} as the files say, {} not", all - sound)?;
    }
    Ok(if sound == all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The devices that are meant.
fn chosen(live: &Live, devices: &[Arc<Device>]) -> anyhow::Result<Vec<Arc<Device>>> {
    if let Some(unknown) = live.device.iter().find(|name| devices.iter().all(|it| it.name != **name)) {
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        let nearest = crate::document::nearest(unknown, names.iter().copied());
        let meant = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        anyhow::bail!(
            "no machine without errors is named {unknown:?}{meant} The files have: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        );
    }
    let is_meant = |device: &&Arc<Device>| live.device.is_empty() || live.device.contains(&device.name);
    Ok(devices.iter().filter(is_meant).cloned().collect())
}
