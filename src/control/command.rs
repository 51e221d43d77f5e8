//! `forebay pause` and `forebay resume`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value as Json, json};

use super::Client;
use crate::amount::time;
use crate::journal_command::Site;

/// After `resume` Kafka is waited for so long, to say whether data goes there.
const SETTLED_MAX: Duration = Duration::from_secs(8);
const ASK_EVERY: Duration = Duration::from_millis(100);

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
    let text = if pause { paused(&lanes, &answer) } else { resumed(&lanes, &answer, &client) };
    out.write_all(text.as_bytes())?;
    if let Some(warning) = answer["warning"].as_str() {
        writeln!(out, "Only until the next start: {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn paused(lanes: &[&str], answer: &Json) -> String {
    let mut text = String::new();
    for lane in lanes {
        if let Some(before) = paused_before(answer, lane) {
            let by = before["by"].as_str().unwrap_or_default();
            let since = before["since_us"].as_i64().map(time).unwrap_or_default();
            text += &format!("{lane}: was paused already, by {by} since {since}\n");
        }
    }
    let lanes = lanes.join(" and ");
    text + &format!(
        "{lanes}: paused. Machines are read and everything is stored; nothing goes to Kafka until `forebay resume`.\n"
    )
}

/// What was so before, and what is so now: Kafka may be away.
fn resumed(lanes: &[&str], answer: &Json, client: &Client) -> String {
    let now = settled(lanes, client);
    let line = |lane: &&str| {
        let before = paused_before(answer, lane).map_or("was not paused", |_| "no longer paused");
        let state = now
            .as_ref()
            .and_then(|now| Some(of_lane(now, lane)?["replication"]["text"].as_str()?.to_owned()));
        let state =
            state.unwrap_or_else(|| "what goes to Kafka is known when its journal is open".to_owned());
        format!("{lane}: {before}; {state}.\n")
    };
    lanes.iter().map(line).collect()
}

fn paused_before<'a>(answer: &'a Json, lane: &str) -> Option<&'a Json> {
    answer["paused_before"].as_array()?.iter().find(|before| before["lane"] == lane)
}

fn of_lane<'a>(status: &'a Json, lane: &str) -> Option<&'a Json> {
    status["lanes"].as_array()?.iter().find(|known| known["name"] == lane)
}

/// The state of the box when its lanes have noticed that they are not paused and have asked Kafka, or
/// when that takes too long; `None` when it does not answer any more.
fn settled(lanes: &[&str], client: &Client) -> Option<Json> {
    let end = Instant::now() + SETTLED_MAX;
    loop {
        let status = client.get("/v1/status").ok()?;
        let open = |lane: &&str| {
            let state = of_lane(&status, lane).and_then(|lane| lane["replication"]["state"].as_str());
            matches!(state, Some("paused" | "connecting"))
        };
        if !lanes.iter().any(open) || Instant::now() >= end {
            return Some(status);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Who says so, for whoever wonders later why nothing is sent; empty when nobody knows.
pub(crate) fn user() -> String {
    ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}
