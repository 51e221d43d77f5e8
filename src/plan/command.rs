//! `forebay plan`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::{DevicePlan, Line, ROUND_TRIP, lines, words};
use crate::config;
use crate::diagnostic::Format;
use crate::document;

/// Longest round trip that makes sense.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);

/// Shows by which requests the devices would be read, and how much work that is for them.
///
/// Nothing is connected: it is worked out from the files. For each device and scan class it says how
/// many requests a read takes, how many that are in a second, how many bytes, and how long a round
/// takes when every request is answered within the assumed round trip. The plan is the one that is
/// used when the box runs, unless a controller refuses something.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay plan /etc/forebay/forebay.toml
  forebay plan press-line.toml --round-trip 20ms
  forebay plan /etc/forebay/forebay.toml --device press-3 --short

`forebay check` warns of what cannot be kept up whatever the network does; this also of what cannot be
kept up at the assumed round trip. docs/profiles.md, \"How hard the controller is worked\", says what
helps.")]
pub struct PlanCommand {
    /// Files: forebay.toml, profiles, device files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Assumed time from a request to its answer.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = round_trip)]
    round_trip: Duration,
    /// Only this machine; may be given several times.
    #[arg(long, value_name = "NAME")]
    device: Vec<String>,
    /// Without the requests themselves.
    #[arg(long)]
    short: bool,
}

impl PlanCommand {
    /// The command for these files with everything else as it is by default.
    pub fn of(files: Vec<PathBuf>) -> Self {
        Self { files, round_trip: ROUND_TRIP, device: Vec::new(), short: false }
    }
}

fn round_trip(text: &str) -> Result<Duration, String> {
    let found = document::duration(text).filter(|found| *found <= ROUND_TRIP_MAX);
    found.ok_or_else(|| "write a number and its unit, at most 60s, for example 5ms".to_owned())
}

/// Writes the plan to `out`. Fails when a file has errors; what is sound is planned all the same.
///
/// # Errors
/// A device that is not there, or `out` that cannot be written.
pub fn run(command: &PlanCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let loaded = config::check_files(&command.files);
    out.write_all(loaded.render(Format::Text, false).as_bytes())?;
    let wanted = |name: &String| command.device.is_empty() || command.device.contains(name);
    if let Some(unknown) =
        command.device.iter().find(|name| !loaded.devices.iter().any(|it| it.name == **name))
    {
        let names: Vec<&str> = loaded.devices.iter().map(|device| device.name.as_str()).collect();
        bail!("there is no device {unknown}; there are: {}", names.join(", "));
    }
    if loaded.devices.is_empty() {
        writeln!(out, "no device to plan: the files have no [[device]] without faults")?;
    } else {
        writeln!(out, "assumed: {} from a request to its answer\n", words::duration(command.round_trip))?;
    }
    let plans: Vec<DevicePlan> = loaded.devices.iter().map(DevicePlan::of).collect();
    for plan in plans.iter().filter(|plan| wanted(&plan.device.name)) {
        writeln!(out, "{}", words::of_device(plan, command.round_trip, !command.short))?;
    }
    for line in lines(&plans) {
        if line.plans.iter().any(|plan| wanted(&plan.device.name)) {
            of_line(&line, command.round_trip, out)?;
        }
    }
    Ok(if loaded.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the devices of a line come to, and what is too much.
fn of_line(line: &Line<'_>, round_trip: Duration, out: &mut dyn Write) -> std::io::Result<()> {
    if line.plans.len() > 1 {
        let together = words::together(&line.loads(round_trip));
        writeln!(out, "{}, {} devices in turn: {together}", line.name, line.plans.len())?;
    }
    for warning in line.warnings(round_trip) {
        writeln!(out, "warning: {}\n  help: {}", warning.message, warning.help)?;
    }
    Ok(())
}
