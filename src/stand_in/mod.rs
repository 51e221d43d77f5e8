//! `forebay sim`: a simulated machine from the same file that describes the real one.
//!
//! It answers on 127.0.0.1 with the addresses, types and byte orders of the profile, and its values
//! move as the profile lets one expect. What it cannot show is a wrong register map: it has the same
//! one.

mod door;
mod files;
mod motion;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use forebay_connector::{Simulator, Value};
use tokio::time::Instant;

use crate::device::{Device, Transform};
use crate::document::nearest;
use crate::live::parse;
pub use files::one_of_each;
use motion::Motion;

/// Between two steps of the values.
const STEP: Duration = Duration::from_millis(100);

/// Serves a simulated machine, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay sim press-line.s7.toml --device press-3
  forebay sim eastron-sdm630 --port 1502 --set grid.frequency=49.7

FILE is a profile, with or without [[device]], or the name of a profile that comes with the program. Each
machine gets a port of its own; point `endpoint` of its [[device]] there, and `forebay check FILE --live` or
`forebay run` read it like the real one. Values move within range and limits, states take their turns,
counters grow; --set holds a tag, in the unit of the profile.")]
pub struct Sim {
    /// Profile or device files, or the name of a profile that comes with the program.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this machine.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Port on 127.0.0.1; by default the system chooses one.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Holds a tag at a value: drive.current=120, status.state=Execute, status.fault_word.overload=TRUE.
    #[arg(long, value_name = "TAG=VALUE")]
    set: Vec<String>,
}

/// One simulated machine.
struct StandIn {
    device: Arc<Device>,
    simulator: Box<dyn Simulator>,
    motion: Motion,
}

/// Serves the machines of the files until Ctrl-C or SIGTERM.
///
/// # Errors
/// Files with errors, an unknown machine or tag, no port.
pub async fn run(sim: &Sim, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let loaded = files::load(&sim.files)?;
    if loaded.errors() > 0 {
        bail!("the files have errors:\n{}", loaded.render(crate::diagnostic::Format::Text, false));
    }
    let devices = chosen(sim, &loaded.devices)?;
    let mut stand_ins = Vec::new();
    for device in devices {
        stand_ins.push(start(&device).await?);
    }
    for wish in &sim.set {
        hold(&mut stand_ins, wish)?;
    }
    let started = Instant::now();
    for stand_in in &mut stand_ins {
        stand_in.step(started);
    }
    let mut doors = Vec::new();
    for stand_in in &stand_ins {
        let endpoint = match sim.port {
            Some(port) => {
                let door = door::open(port, &stand_in.simulator.endpoint()).await?;
                let endpoint = door.endpoint.clone();
                doors.push(door);
                endpoint
            }
            None => stand_in.simulator.endpoint(),
        };
        tell(&stand_in.device, &endpoint, out)?;
    }
    writeln!(out, "Ctrl-C ends it.")?;
    out.flush()?;
    let mut step = tokio::time::interval(STEP);
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let end = crate::run::stop_signal();
    tokio::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = &mut end => return Ok(ExitCode::SUCCESS),
            _ = step.tick() => stand_ins.iter_mut().for_each(|it| it.step(started)),
        }
    }
}

/// The machines that are meant.
fn chosen(sim: &Sim, devices: &[Arc<Device>]) -> anyhow::Result<Vec<Arc<Device>>> {
    let names = || devices.iter().map(|device| device.name.as_str());
    let meant: Vec<Arc<Device>> = match &sim.device {
        None => devices.to_vec(),
        Some(name) => devices.iter().filter(|device| device.name == *name).cloned().collect(),
    };
    match (meant.len(), &sim.device) {
        (0, Some(name)) => {
            let help = nearest(name, names()).map(|it| format!(" Did you mean {it}?")).unwrap_or_default();
            bail!(
                "no machine is named {name:?}.{help} The files have: {}",
                names().collect::<Vec<_>>().join(", ")
            )
        }
        (0, None) => bail!("the files have no machine"),
        (2.., _) if sim.port.is_some() => {
            let names: Vec<&str> = names().collect();
            bail!("one port is for one machine: choose one with --device ({})", names.join(", "))
        }
        _ => Ok(meant),
    }
}

async fn start(device: &Arc<Device>) -> anyhow::Result<StandIn> {
    let simulating = device.protocol.simulate(&device.spec).await;
    let simulator = simulating.with_context(|| format!("{} cannot be simulated", device.name))?;
    let motion = Motion::of(device);
    Ok(StandIn { device: Arc::clone(device), simulator, motion })
}

impl StandIn {
    fn step(&mut self, started: Instant) {
        let simulator = &self.simulator;
        self.motion.step(started.elapsed().as_secs_f64(), |raw, value| simulator.set(raw, value));
    }
}

/// `TAG=VALUE`, for every machine that has the tag.
fn hold(stand_ins: &mut [StandIn], wish: &str) -> anyhow::Result<()> {
    let (path, text) = wish.split_once('=').with_context(|| format!("--set {wish:?}: write TAG=VALUE"))?;
    let (path, text) = (path.trim(), text.trim());
    let mut held = false;
    for stand_in in stand_ins.iter_mut() {
        let device = Arc::clone(&stand_in.device);
        if let Some(index) = device.tag_index(path) {
            let tag = &device.tags[index];
            let value =
                value_of(&device, index, text).map_err(|why| anyhow::anyhow!("--set {path}: {why}"))?;
            match tag.transform {
                Transform::Bit(bit) => stand_in.motion.hold_bit(tag.raw, bit, value == Value::Bool(true)),
                Transform::None | Transform::Linear { .. } => stand_in.motion.hold(tag.raw, value),
            }
            held = true;
        }
    }
    if held {
        return Ok(());
    }
    let paths = || stand_ins.iter().flat_map(|it| it.device.tags.iter().map(|tag| tag.path.as_str()));
    let help = nearest(path, paths()).map(|it| format!("; did you mean {it}?")).unwrap_or_default();
    bail!("--set: there is no tag {path:?}{help}")
}

/// The raw value behind what a person writes for a tag.
fn value_of(device: &Device, index: usize, text: &str) -> Result<Value, String> {
    let tag = &device.tags[index];
    let of_state = tag
        .enumeration
        .iter()
        .flat_map(|texts| texts.iter())
        .find(|(_, value)| value.text.0.values().any(|name| name.eq_ignore_ascii_case(text)));
    let raw = device.spec.tags.get(tag.raw as usize).ok_or("it is not read from the machine")?;
    match (tag.transform, of_state) {
        (_, Some((number, _))) => parse(&number.to_string(), raw.data_type),
        (Transform::None | Transform::Bit(_), None) => parse(text, tag.data_type),
        (Transform::Linear { scale, offset, .. }, None) => {
            let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
            Ok(motion::number((number - offset) / scale, raw.data_type.scalar))
        }
    }
}

/// Where it is, and how to point the file there.
fn tell(device: &Device, endpoint: &str, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} ({}, {} tags) answers at {endpoint}",
        device.name,
        device.profile,
        device.spec.tags.len()
    )?;
    let insecure = if device.protocol.name() == "opcua" {
        ", allow_insecure = true; and in [opcua]: security = \"None\", mode = \"None\", no auth"
    } else {
        ""
    };
    writeln!(out, "  in its [[device]]: endpoint = \"{endpoint}\"{insecure}")
}
