//! `forebay journal trim`: through the running box, or without one under its lock.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::{Common, Site, When};
use crate::amount::{bytes, counted};
use crate::lane::{Before, TrimOrder};
use crate::run;

/// Longest time for removing files without a running box.
const TRIM_MAX: Duration = Duration::from_secs(600);

/// Removes whole files, the oldest first. The newest file of a lane always stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay journal trim                        what Kafka has
  forebay journal trim --before \"7d ago\"     what Kafka has and is older
  forebay journal trim --before \"7d ago\" --unsent

Without --unsent nothing is lost: it refuses when Kafka is not known to have all that is to go.")]
pub struct Trim {
    #[command(flatten)]
    common: Common,
    /// The lane; by default telemetry.
    #[arg(long, default_value = "telemetry")]
    lane: String,
    /// Only what is older than this, for example 2026-11-01 or "7d ago"; by default all that Kafka is known to have.
    #[arg(long)]
    before: Option<When>,
    /// Only what lies before this offset.
    #[arg(long, conflicts_with = "before")]
    before_offset: Option<u64>,
    /// Also what Kafka is not known to have: what it lacks is lost, and recorded as a gap.
    #[arg(long)]
    unsent: bool,
}

/// Removes.
pub fn run(trim: &Trim, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&trim.common.config)?;
    let lane = Site::lanes(Some(&trim.lane))?[0];
    let trimmed: Json = if site.running.is_some() {
        let request = json!({
            "lane": lane,
            "before_us": trim.before.map(|when| when.0),
            "before_offset": trim.before_offset,
            "unsent": trim.unsent,
        });
        site.client.post("/v1/journal/trim", &request)?
    } else {
        let before = match (trim.before, trim.before_offset) {
            (Some(When(us)), _) => Before::TimeUs(us),
            (None, Some(offset)) => Before::Offset(offset),
            (None, None) => Before::Sent,
        };
        let order = TrimOrder { before, unsent: trim.unsent };
        json!(run::trim_without_box(&site.config, lane, order, TRIM_MAX)?)
    };
    if trim.common.json {
        writeln!(out, "{trimmed}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_limited = trim.before.is_some() || trim.before_offset.is_some();
    out.write_all(words(lane, &trimmed, site.running.is_some(), is_limited).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn words(lane: &str, trimmed: &Json, is_running: bool, is_limited: bool) -> String {
    let count = |key: &str| trimmed[key].as_u64().unwrap_or(0);
    let is_known = trimmed["heard"] == true;
    let mut text = match count("segments") {
        0 if is_limited => {
            format!("{lane}: nothing is so old; only whole files go, and the newest one always stays\n")
        }
        0 => format!("{lane}: nothing to remove: {}\n", why_nothing(trimmed, is_running)),
        files => {
            let freed = bytes(count("bytes"));
            format!("{lane}: {} removed, {freed} freed\n", counted(files, "file", "files"))
        }
    };
    if count("segments") > 0 && !is_limited && !is_known && count("left_records") > 0 {
        text += &format!(
            "{} left that Kafka is not known to have, because {}\n",
            counted(count("left_records"), "record is", "records are"),
            unheard(is_running)
        );
    }
    if count("unsent_records") > 0 {
        let lost = counted(count("unsent_records"), "record was", "records were");
        text += &format!("{lost} not in Kafka, lost now; that is recorded as a gap\n");
    }
    if count("perhaps_sent_records") > 0 {
        let perhaps = counted(count("perhaps_sent_records"), "record", "records");
        text += &format!(
            "{perhaps} may be lost: it is not known whether Kafka has them; that is recorded as a gap\n"
        );
    }
    text
}

fn why_nothing(trimmed: &Json, is_running: bool) -> String {
    const WHOLE: &str = "only whole files go, and the newest one always stays";
    let left = trimmed["left_records"].as_u64().unwrap_or(0);
    match (trimmed["heard"] == true, trimmed["confirmed"].as_u64()) {
        _ if left == 0 => format!("Kafka has all of it, but {WHOLE}"),
        (true, _) => format!("Kafka has no whole file yet; {WHOLE}"),
        (false, Some(offset)) => format!(
            "Kafka is only known to have what is before offset {offset}, because {}, and that is no whole file; {WHOLE}",
            unheard(is_running)
        ),
        (false, None) => format!("it is not known what Kafka has, because {}", unheard(is_running)),
    }
}

/// Why it is not known what Kafka has.
fn unheard(is_running: bool) -> &'static str {
    if is_running {
        "the box has not reached Kafka since it was started"
    } else {
        "the box does not run: start it, and let it reach Kafka"
    }
}
