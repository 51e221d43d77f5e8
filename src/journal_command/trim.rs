//! `forebay journal trim`: through the running box, or without one under its lock.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::bytes::{bytes, counted};
use super::{Common, Site, When};
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

Without --unsent nothing is lost: it refuses when what is to go is not in Kafka.")]
pub struct Trim {
    #[command(flatten)]
    common: Common,
    /// The lane; by default telemetry.
    #[arg(long, default_value = "telemetry")]
    lane: String,
    /// Only what is older than this, for example 2026-11-01 or "7d ago"; by default all that Kafka has.
    #[arg(long)]
    before: Option<When>,
    /// Only what lies before this offset.
    #[arg(long, conflicts_with = "before")]
    before_offset: Option<u64>,
    /// Also what Kafka does not have: it is lost, and recorded as a gap.
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
    let count = |key: &str| trimmed[key].as_u64().unwrap_or(0);
    match count("segments") {
        0 => {
            writeln!(out, "{lane}: nothing to remove; only whole files go, and the newest one always stays")?
        }
        files => writeln!(
            out,
            "{lane}: {} removed, {} freed",
            counted(files, "file", "files"),
            bytes(count("bytes"))
        )?,
    }
    if count("unsent_records") > 0 {
        let lost = counted(count("unsent_records"), "record", "records");
        writeln!(out, "{lost} of them were not in Kafka and are lost; the loss is recorded as a gap")?;
    }
    Ok(ExitCode::SUCCESS)
}
