//! `forebay journal import`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use super::{Common, Progress, Site};
use crate::amount::{bytes, counted};
use crate::backlog::{IMPORT_FOLDER, MANIFEST_FILE, Manifest, Unpacked, unpack};
use crate::clock::now_us;
use crate::control::ClientError;

/// The running box is given so long to find out what Kafka has.
const KNOWN_MAX: Duration = Duration::from_secs(12);
/// It is asked so often meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes in a backlog that `forebay journal export --format backlog` has made on another box.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  forebay journal import /media/stick/forebay-box-1-backlog-20261121T105421Z

Every file is checked against its checksum. The running box begins to send at once, under the name
and the checkpoint of the box that the backlog comes from: whoever else sends the same, it arrives
once. `forebay journal status` shows how far it is. When it is in Kafka, the copy is removed.")]
pub struct Import {
    #[command(flatten)]
    common: Common,
    /// The exported folder.
    folder: PathBuf,
    /// Send it although records before it are neither in Kafka nor imported: they are lost for good.
    #[arg(long)]
    accept_gap: bool,
    /// Send it to this box's topics although the box it comes from sends to others.
    #[arg(long)]
    other_topics: bool,
}

/// What became of one backlog.
struct Taken {
    manifest: Manifest,
    how: How,
    /// It comes from the box that imports it.
    is_own: bool,
}

enum How {
    /// It waits to be sent.
    New,
    /// It waited already.
    Again,
    /// The box's own journal holds it.
    Needless,
}

/// Takes it in and tells the running box.
pub fn run(import: &Import, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&import.common.config)?;
    let folders = backlogs(&import.folder)?;
    let imports = site.config.paths.state.join(IMPORT_FOLDER);
    let mut total = 0;
    for folder in &folders {
        let manifest = Manifest::read(folder)?;
        check_topics(&manifest, &site, import.other_topics)?;
        total += manifest.bytes();
    }
    let mut progress = Progress::new("import", total, import.common.json);
    let mut taken = Vec::new();
    for folder in &folders {
        taken.push(take(folder, &imports, import, &site, &mut progress)?);
    }
    drop(progress);
    let is_any = taken.iter().any(|taken| !matches!(taken.how, How::Needless));
    let began_us = now_us();
    let running = is_any
        && match site.client.post("/v1/import", &json!({})) {
            Ok(_) => true,
            Err(ClientError::NotRunning(_)) => false,
            Err(error) => return Err(error.into()),
        };
    let seen = if running { wait_known(&site, &taken, began_us) } else { Vec::new() };
    if import.common.json {
        let seen = seen.iter().chain(std::iter::repeat(&Json::Null));
        let list: Vec<Json> = taken.iter().zip(seen).map(|(taken, seen)| described(taken, seen)).collect();
        writeln!(out, "{}", json!({ "running": running, "backlogs": list }))?;
    } else {
        for taken in &taken {
            writeln!(out, "{}", words(taken))?;
        }
        for (taken, seen) in taken.iter().zip(&seen) {
            if let Some(line) = seen_words(taken, seen) {
                writeln!(out, "{line}")?;
            }
        }
        if running && seen.iter().any(is_sent) {
            writeln!(out, "The box sends it now; `forebay journal status` shows how far it is.")?;
        } else if is_any && !running {
            writeln!(out, "forebay does not run: it is sent after the next start.")?;
        }
    }
    Ok(if is_any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Records that are meant for other topics are not sent to ours by mistake.
fn check_topics(manifest: &Manifest, site: &Site, other_topics: bool) -> anyhow::Result<()> {
    let (ours, edge) = (&site.config.kafka.topic_prefix, &manifest.edge);
    match &manifest.topic_prefix {
        Some(theirs) if theirs != ours && !other_topics => bail!(
            "{edge} sends to the topics {theirs}.*, this box to {ours}.*: nothing was taken in. Import it on a box that \
             sends to {theirs}.*; or, if these records are to go to {ours}.*, add --other-topics. While they are sent, \
             this box and {edge} shut each other out in turns: pause sending on {edge} until it is done"
        ),
        _ => Ok(()),
    }
}

fn take(
    folder: &Path,
    imports: &Path,
    import: &Import,
    site: &Site,
    progress: &mut Progress,
) -> anyhow::Result<Taken> {
    let manifest = Manifest::read(folder)?;
    let edge = &site.config.edge;
    let is_own = manifest.site == edge.site && manifest.edge == edge.id;
    if is_own
        && let Ok(lane) = site.open_lane(&manifest.lane)
        && lane.files().epoch().to_string() == manifest.epoch
        && lane.files().first_offset() <= manifest.from
        // One that was put back from a copy may lack the end.
        && manifest.to <= lane.files().next_offset()
    {
        return Ok(Taken { manifest, how: How::Needless, is_own });
    }
    Ok(match unpack(folder, imports, import.accept_gap, |bytes| progress.add(bytes))? {
        Unpacked::Taken(manifest) => Taken { manifest, how: How::New, is_own },
        Unpacked::WaitsAlready(manifest) => Taken { manifest, how: How::Again, is_own },
    })
}

/// What the running box says of each, as soon as it has asked Kafka, at most [`KNOWN_MAX`].
fn wait_known(site: &Site, taken: &[Taken], began_us: i64) -> Vec<Json> {
    let end = Instant::now() + KNOWN_MAX;
    loop {
        let status = site.client.get("/v1/status").unwrap_or_default();
        let seen: Vec<Json> = taken.iter().map(|taken| find(&status, &taken.manifest, began_us)).collect();
        if Instant::now() > end || seen.iter().all(|seen| is_finished(seen) || is_known(seen, began_us)) {
            return seen;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn find(status: &Json, manifest: &Manifest, began_us: i64) -> Json {
    let name = manifest.folder_name();
    let done =
        status["imported"].as_array().into_iter().flatten().rev().find(|done| done["name"] == name.as_str());
    let done = done.filter(|done| done["done_us"].as_i64() >= Some(began_us));
    let waits =
        status["imports"].as_array().into_iter().flatten().find(|import| import["name"] == name.as_str());
    done.or(waits).cloned().unwrap_or(Json::Null)
}

fn is_finished(seen: &Json) -> bool {
    seen["done_us"].is_i64()
}

/// The box has found out whether it can be sent, or that there is something to send.
fn is_known(seen: &Json, began_us: i64) -> bool {
    let total = seen["to"].as_u64().unwrap_or(0).saturating_sub(seen["from"].as_u64().unwrap_or(0));
    seen["looked_us"].as_i64() >= Some(began_us)
        || seen["had"].as_u64().is_some_and(|had| (1..total).contains(&had))
}

fn is_sent(seen: &Json) -> bool {
    !is_finished(seen) && seen["state"] != "held" && !seen.is_null()
}

/// The folder itself, or those in it.
fn backlogs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if folder.join(MANIFEST_FILE).exists() {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join(MANIFEST_FILE).exists())
        .collect();
    found.sort();
    if found.is_empty() {
        bail!(
            "{} holds no backlog: there is no {MANIFEST_FILE} in it. Make one with `forebay journal export \
             --format backlog` on the other box",
            folder.display()
        );
    }
    Ok(found)
}

fn words(taken: &Taken) -> String {
    let how = match taken.how {
        How::New if taken.is_own => {
            "taken in, its checksums are right. It is of this box itself, of records that its journal no longer holds; \
             while they are sent, new ones wait"
        }
        How::New => "taken in, its checksums are right",
        How::Again => "was imported before and still waits",
        How::Needless => {
            "not taken in: it is this box's own, and its journal still holds these records and sends them by itself"
        }
    };
    let Manifest { lane, edge, from, to, .. } = &taken.manifest;
    let (records, size) = (counted(to - from, "record", "records"), bytes(taken.manifest.bytes()));
    format!("{lane} of {edge}: {records}, {size}: {how}")
}

/// What is known of it beyond that it is sent.
fn seen_words(taken: &Taken, seen: &Json) -> Option<String> {
    let Manifest { lane, edge, from, to, .. } = &taken.manifest;
    let had = seen["had"].as_u64().unwrap_or(0);
    let said = match (seen["state"].as_str(), seen["text"].as_str().filter(|text| !text.is_empty())) {
        _ if is_finished(seen) && had == to - from => {
            "Kafka has all of it already, or was told that it is lost: nothing of it is sent again, its copy on this box \
             is removed"
                .to_owned()
        }
        _ if is_finished(seen) => "it is in Kafka, its copy on this box is removed".to_owned(),
        (Some("held"), Some(text)) => format!("HELD: {text}"),
        (Some("waiting"), Some(text)) => format!("waits: {text}"),
        _ if had > 0 => format!("Kafka has {} of it already, the rest is sent", counted(had, "record", "records")),
        _ => return None,
    };
    Some(format!("{lane} of {edge}: {said}"))
}

fn described(taken: &Taken, seen: &Json) -> Json {
    let Manifest { site, edge, lane, epoch, from, to, .. } = &taken.manifest;
    json!({
        "site": site, "edge": edge, "lane": lane, "epoch": epoch, "from": from, "to": to,
        "new": matches!(taken.how, How::New), "taken": !matches!(taken.how, How::Needless), "own": taken.is_own,
        "in_kafka_already": seen["had"], "done": is_finished(seen), "state": seen["state"], "text": seen["text"],
    })
}
