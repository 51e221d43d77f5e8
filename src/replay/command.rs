//! `forebay replay`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::{Value as Json, json};

use crate::clock::now_us;
use crate::control::{Client, ClientError};
use crate::journal_command::{Common, Progress, When, load};

/// The box is asked so often how far it is.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// Sends history once more, from this box's disk, marked with the headers `delivery: replay` and
/// `replay: <id>`.
///
/// Each record is sent exactly once for an id: after a power cut or a new start it goes on by
/// itself, and the same command with the same id sends nothing twice. Ctrl-C ends only the watching.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay replay --from \"2h ago\" --to \"1h ago\"
  forebay replay --from 2026-11-20T06:00:00Z --device press-3 --id after-the-fire
  forebay replay --list
  forebay replay --cancel after-the-fire

How far back it goes depends on `keep` in [journal] and on the budget; when the time asked for is no
longer there, it says from when on it is.")]
pub struct Replay {
    #[command(flatten)]
    common: Common,
    /// From this time on, for example "2h ago" or 2026-11-20T06:00:00Z.
    #[arg(long, required_unless_present_any = ["list", "cancel"])]
    from: Option<When>,
    /// Before this time; by default now.
    #[arg(long)]
    to: Option<When>,
    /// Only this machine, by name or path; may be given several times.
    #[arg(long)]
    device: Vec<String>,
    /// telemetry or events.
    #[arg(long, default_value = "telemetry")]
    lane: String,
    /// Name of this replay; by default a random one.
    #[arg(long)]
    id: Option<String>,
    /// Return at once; the box goes on.
    #[arg(long)]
    detach: bool,
    /// Shows all replays instead.
    #[arg(long, conflicts_with_all = ["from", "cancel"])]
    list: bool,
    /// Stops the replay with this id; what was sent stays in Kafka.
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    cancel: Option<String>,
}

/// Asks the running box.
///
/// # Errors
/// When the box does not run, or says no.
pub fn run(replay: &Replay, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = load(&replay.common.config)?;
    let client = Client::new(&config.paths.state);
    if replay.list {
        return list(&client, replay.common.json, out);
    }
    if let Some(id) = &replay.cancel {
        let job = client.delete(&format!("/v1/replay/{id}"))?;
        return show(&job, replay.common.json, out);
    }
    let Some(When(from_us)) = replay.from else { bail!("give --from") };
    let to_us = replay.to.map_or_else(now_us, |when| when.0);
    let id = replay.id.clone().unwrap_or_else(|| format!("{:08x}", fastrand::u32(..)));
    let order = json!({ "id": id, "lane": replay.lane, "from_us": from_us, "to_us": to_us, "devices": replay.device });
    let job = client.post("/v1/replay", &order)?;
    if replay.detach {
        return show(&job, replay.common.json, out);
    }
    let job = watch(&client, &id, &job, replay.common.json)?;
    show(&job, replay.common.json, out)
}

/// Shows a bar until the job is over.
fn watch(client: &Client, id: &str, job: &Json, json: bool) -> Result<Json, ClientError> {
    let (from, to) = (number(job, "from_offset"), number(job, "to_offset"));
    let mut progress = Progress::new(&format!("replay {id}"), to.saturating_sub(from), json);
    loop {
        let job = client.get(&format!("/v1/replay/{id}"))?;
        progress.set(number(&job, "next_offset").saturating_sub(from));
        if matches!(job["state"].as_str(), Some("done" | "cancelled")) {
            return Ok(job);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn list(client: &Client, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = client.get("/v1/replay")?;
    if json {
        writeln!(out, "{answer}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = answer["replays"].as_array().map_or(&[][..], Vec::as_slice);
    if jobs.is_empty() {
        writeln!(out, "there are no replays")?;
    }
    for job in jobs {
        writeln!(out, "{}", words(job))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(job: &Json, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if json {
        writeln!(out, "{job}")?;
    } else {
        writeln!(out, "{}", words(job))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn number(job: &Json, key: &str) -> u64 {
    job[key].as_u64().unwrap_or(0)
}

fn words(job: &Json) -> String {
    let text = |key: &str| job[key].as_str().unwrap_or_default();
    let order = |key: &str| job["order"][key].as_str().unwrap_or_default();
    let time = |key: &str| crate::clock::rfc3339(job["order"][key].as_i64().unwrap_or(0));
    let (from, to) = (number(job, "from_offset"), number(job, "to_offset"));
    let part = (number(job, "next_offset").saturating_sub(from) * 100).checked_div(to.saturating_sub(from));
    let state = match text("state") {
        "done" => format!("done, {} records sent", number(job, "records")),
        "cancelled" => "cancelled; what was sent stays in Kafka".to_owned(),
        "sending" => format!(
            "{} % read, {} records sent; {}",
            part.unwrap_or(100),
            number(job, "records"),
            text("text")
        ),
        _ => format!("waits for its turn {}", text("text")).trim_end().to_owned(),
    };
    let missing = match number(job, "missing") {
        0 => String::new(),
        missing => format!("; {missing} records were no longer there or could not be read"),
    };
    format!(
        "{}: {} from {} to {}: {state}{missing}",
        order("id"),
        order("lane"),
        time("from_us"),
        time("to_us")
    )
}
