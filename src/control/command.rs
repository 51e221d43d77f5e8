//! `forebay pause` and `forebay resume`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Client;
use crate::journal_command::Site;

/// Which lane of which box.
#[derive(Debug, Args)]
pub struct Switch {
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// Only this lane (telemetry or events); by default both.
    #[arg(long)]
    lane: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Stops (`pause`) or takes up again what goes to Kafka; polling and storing go on in any case.
///
/// # Errors
/// When the box does not run, or says no.
pub fn run(switch: &Switch, pause: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = crate::journal_command::load(&switch.config)?;
    let lanes = Site::lanes(switch.lane.as_deref())?;
    let client = Client::new(&config.paths.state);
    let path = if pause { "/v1/replication/pause" } else { "/v1/replication/resume" };
    let answer = client.post(path, &json!({ "lane": switch.lane, "by": user() }))?;
    if switch.json {
        writeln!(out, "{answer}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let lanes = lanes.join(" and ");
    if pause {
        writeln!(
            out,
            "{lanes}: paused. Machines are read and everything is stored; nothing goes to Kafka until `forebay resume`."
        )?;
    } else {
        writeln!(out, "{lanes}: data goes to Kafka again.")?;
    }
    if let Some(warning) = answer["warning"].as_str() {
        writeln!(out, "Only until the next start: {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who says so, for whoever wonders later why nothing is sent; empty when nobody knows.
fn user() -> String {
    ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}
