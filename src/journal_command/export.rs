//! `forebay journal export`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};

use super::samples::Written;
use super::target::Target;
use super::{Common, Progress, Site, When};
use super::{events, samples};
use crate::amount::{bytes, counted};
use crate::backlog::{Identity, pack};
use crate::clock::now_us;
use crate::lane::OfflineLane;
use crate::past::{self, Filter, Names};
use crate::run;

/// Room for manifests, folders and the file system's own needs.
const SPARE_BYTES: u64 = 1 << 20;
/// Longest time for noting an export without a running box.
const NOTE_MAX: Duration = Duration::from_secs(60);

/// What is exported, and where to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay journal export --to /media/stick --device press-3 --from \"2 days ago\" --until \"1 day ago\"
  forebay journal export --to /media/stick --device press-3 --tag \"hydraulics.*\"
  forebay journal export --to /media/stick --format backlog

A running box is not disturbed; only what it has synced is exported. When the stick is full, nothing
half is left on it. docs/operations.md has the columns.")]
pub struct Export {
    #[command(flatten)]
    common: Common,
    /// An existing folder, for example where a USB stick is mounted.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value = "parquet")]
    format: Format,
    /// Only telemetry (measured values) or only events (gaps, machines that come and go); by default
    /// both.
    #[arg(long)]
    lane: Option<String>,
    /// Parquet: only these machines, by name or path; may be given several times.
    #[arg(long)]
    device: Vec<String>,
    /// Parquet: only these tags; a `*` at the end stands for anything.
    #[arg(long)]
    tag: Vec<String>,
    /// Parquet: only from this time on, for example 2026-11-20 or "2h ago".
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Parquet: only before this time; by default all there is.
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

/// What an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for analysis, one row a sample and one an event.
    Parquet,
    /// What Kafka does not have, for `forebay journal import` on another box.
    Backlog,
}

/// Exports.
pub fn run(export: &Export, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&export.common.config)?;
    let stamp = jiff::Timestamp::from_microsecond(now_us()).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let kind = if export.format == Format::Backlog { "backlog" } else { "data" };
    let name = format!("forebay-{}-{kind}-{stamp}", site.config.edge.id);
    let target = Target::create(&export.to, &name)?;
    let written = match export.format {
        Format::Backlog => backlog(export, &site, &target),
        Format::Parquet => tables(export, &site, &target),
    };
    let mut written = written.map_err(|error| target.explain(error))?;
    if written["lanes"].as_array().is_none_or(Vec::is_empty) {
        bail!("there is nothing to export: {}", why_nothing(export, &site));
    }
    let folder = target.finish()?;
    written["folder"] = json!(folder);
    if export.common.json {
        writeln!(out, "{written}")?;
    } else {
        out.write_all(words(&written, &folder).as_bytes())?;
    }
    let lanes = written["lanes"].as_array().into_iter().flatten();
    let count = |lane: &Json, key: &str| lane[key].as_u64().unwrap_or(0);
    let left_out: u64 =
        lanes.map(|lane| count(lane, "damaged_records") + count(lane, "unreadable_records")).sum();
    if left_out > 0 {
        bail!("{} could not be read and are not in it", counted(left_out, "record", "records"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Why an export would be empty.
fn why_nothing(export: &Export, site: &Site) -> String {
    let (lane, what) = match (export.format, export.lane.as_deref()) {
        (Format::Backlog, _) => return "Kafka has everything that is stored".to_owned(),
        (Format::Parquet, Some("events")) => ("events", "no event fits these machines and times"),
        (Format::Parquet, _) => ("telemetry", "no sample fits these machines, tags and times"),
    };
    match site.open_lane(lane) {
        Ok(mut opened) => format!("{what}. The journal of lane {lane}: {}", past::extent(&mut opened)),
        Err(error) => format!("{what}, and {error}"),
    }
}

/// Whether the journal knows all machines and tags that are asked for.
fn check_names(site: &Site, wanted: &[&str], filter: &Filter) -> anyhow::Result<()> {
    if filter.devices.is_empty() && filter.tags.is_empty() {
        return Ok(());
    }
    let mut names = match site.open_lane("telemetry") {
        Ok(mut lane) => Names::of_telemetry(&mut lane),
        Err(_) => Names::default(),
    };
    // Of some machines there are events only, of the box itself always.
    if wanted.contains(&"events")
        && filter.devices.iter().any(|device| !names.has_device(device))
        && let Ok(mut lane) = site.open_lane("events")
    {
        let mut all = names.clone();
        all.add_events(&mut lane);
        if wanted == ["events"] || filter.devices.iter().all(|device| all.has_device(device)) {
            names = all;
        }
    }
    Ok(names.check(filter)?)
}

fn backlog(export: &Export, site: &Site, target: &Target) -> anyhow::Result<Json> {
    let filtered = !export.device.is_empty() || !export.tag.is_empty();
    if filtered || export.from.is_some() || export.until.is_some() {
        bail!(
            "a backlog holds everything that Kafka does not have: --device, --tag, --from and --until are for Parquet"
        );
    }
    let mut found: Vec<(&str, OfflineLane, u64)> = Vec::new();
    let mut total = 0;
    for lane in Site::lanes(export.lane.as_deref())? {
        let Some(opened) = site.find_lane(lane)? else { continue };
        let from = site.committed(lane).unwrap_or(0).max(opened.files().first_offset());
        let segments = opened.files().segments();
        total += segments.iter().filter(|it| it.end > from).map(|it| it.bytes).sum::<u64>();
        found.push((lane, opened, from));
    }
    if found.is_empty() {
        bail!(site.no_journal());
    }
    target.check_room(total + SPARE_BYTES)?;
    let mut progress = Progress::new("export", total, export.common.json);
    let mut lanes = Vec::new();
    for (lane, opened, from) in &found {
        let folder = target.path().join(lane);
        std::fs::create_dir(&folder)?;
        let identity = Identity {
            site: site.config.edge.site.clone(),
            edge: site.config.edge.id.clone(),
            lane: (*lane).to_owned(),
            topic_prefix: site.config.kafka.topic_prefix.clone(),
        };
        match pack(opened.files(), &identity, *from, &folder, |bytes| progress.add(bytes))? {
            Some(manifest) => {
                // Before anybody can import it: what has left the box in full is not thinned.
                note(site, lane, manifest.to);
                lanes.push(json!({
                    "lane": lane, "from": manifest.from, "to": manifest.to, "files": manifest.files.len(),
                    "bytes": manifest.bytes(),
                }));
            }
            None => std::fs::remove_dir(&folder)?,
        }
    }
    Ok(json!({ "format": "backlog", "lanes": lanes }))
}

/// Has the box note that records have left it. A journal that cannot be written, on a disk that
/// fails, is not thinned either.
fn note(site: &Site, lane: &str, before: u64) {
    let noted = if site.running.is_some() {
        let request = json!({ "lane": lane, "before_offset": before });
        site.client.post("/v1/journal/handed", &request).map(drop).map_err(anyhow::Error::from)
    } else {
        run::hand_over_without_box(&site.config, lane, before, NOTE_MAX)
    };
    if let Err(error) = noted {
        eprintln!("forebay: it is not noted that {lane} was exported, so it may be thinned here: {error:#}");
    }
}

fn tables(export: &Export, site: &Site, target: &Target) -> anyhow::Result<Json> {
    let wanted = Site::lanes(export.lane.as_deref())?;
    let filter = Filter {
        devices: export.device.clone(),
        tags: export.tag.clone(),
        from_us: export.from.map(|when| when.0),
        until_us: export.until.map(|when| when.0),
    };
    check_names(site, &wanted, &filter)?;
    target.check_room(SPARE_BYTES)?;
    let mut lanes = Vec::new();
    if wanted.contains(&"telemetry") {
        let mut opened = site.open_lane("telemetry")?;
        let ranges = past::ranges(&opened, &filter);
        let total = ranges.iter().map(|range| range.end - range.start).sum();
        let mut progress = Progress::new("export", total, export.common.json);
        let written = samples::write(&mut opened, &filter, &ranges, target.path(), &mut progress)?;
        lanes.extend(entry("telemetry", written));
    }
    // Beside samples the events say what is missing among them; alone they were not asked for.
    let alone = wanted == ["events"];
    if wanted.contains(&"events")
        && (alone || !lanes.is_empty())
        && let Ok(mut opened) = site.open_lane("events")
    {
        lanes
            .extend(entry("events", events::write(&mut opened, &filter, target.path(), export.common.json)?));
    }
    Ok(json!({ "format": "parquet", "lanes": lanes }))
}

fn entry(lane: &str, written: Written) -> Option<Json> {
    (written.rows > 0 || written.unreadable_records > 0).then(|| {
        json!({
            "lane": lane, "rows": written.rows, "files": written.files, "bytes": written.bytes,
            "damaged_records": written.damaged_records, "unreadable_records": written.unreadable_records,
            "absent_devices": written.absent_devices,
        })
    })
}

fn words(written: &Json, folder: &Path) -> String {
    let mut text = String::new();
    for lane in written["lanes"].as_array().into_iter().flatten() {
        let count = |key: &str| lane[key].as_u64().unwrap_or(0);
        let what = match lane["rows"].as_u64() {
            Some(rows) => counted(rows, "row", "rows"),
            None => counted(count("to") - count("from"), "record", "records"),
        };
        text += &format!(
            "{}: {what}, {}, {}\n",
            lane["lane"].as_str().unwrap_or_default(),
            counted(count("files"), "file", "files"),
            bytes(count("bytes")),
        );
        for device in lane["absent_devices"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            text += &format!("of {device} the journal holds nothing of that time\n");
        }
        if count("damaged_records") > 0 {
            let damaged = counted(count("damaged_records"), "record", "records");
            text += &format!("{damaged} could not be read and are not in it, see `forebay journal verify`\n");
        }
        if count("unreadable_records") > 0 {
            let missing = counted(count("unreadable_records"), "record is", "records are");
            text += &format!(
                "{missing} not in it: the disk of this box gives errors in their place; export again when it can be \
                 read, see `forebay journal verify`\n"
            );
        }
    }
    text += &format!("Written to {}; the stick may be unmounted and removed.\n", folder.display());
    if written["format"] == "backlog" {
        text += "On the other box: forebay journal import <this folder>\n";
    }
    text
}
