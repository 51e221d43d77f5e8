//! `forebay journal import`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use super::bytes::{bytes, counted};
use super::{Common, Progress, Site};
use crate::backlog::{IMPORT_FOLDER, MANIFEST_FILE, Manifest, Unpacked, unpack};
use crate::control::ClientError;

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
}

/// Takes it in and tells the running box.
pub fn run(import: &Import, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&import.common.config)?;
    let folders = backlogs(&import.folder)?;
    let imports = site.config.paths.state.join(IMPORT_FOLDER);
    let mut total = 0;
    for folder in &folders {
        total += Manifest::read(folder)?.bytes();
    }
    let mut progress = Progress::new("import", total, import.common.json);
    let mut taken = Vec::new();
    for folder in &folders {
        taken.push(unpack(folder, &imports, import.accept_gap, |bytes| progress.add(bytes))?);
    }
    drop(progress);
    let running = match site.client.post("/v1/import", &json!({})) {
        Ok(_) => true,
        Err(ClientError::NotRunning(_)) => false,
        Err(error) => return Err(error.into()),
    };
    if import.common.json {
        let list: Vec<Json> = taken.iter().map(described).collect();
        writeln!(out, "{}", json!({ "running": running, "backlogs": list }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for unpacked in &taken {
        writeln!(out, "{}", words(unpacked))?;
    }
    if running {
        writeln!(out, "The box sends it now; `forebay journal status` shows how far it is.")?;
    } else {
        writeln!(out, "forebay does not run: it is sent after the next start.")?;
    }
    Ok(ExitCode::SUCCESS)
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

fn words(unpacked: &Unpacked) -> String {
    let (manifest, how) = match unpacked {
        Unpacked::Taken(manifest) => (manifest, "taken in, its checksums are right"),
        Unpacked::WaitsAlready(manifest) => (manifest, "was imported before and still waits"),
    };
    let Manifest { lane, edge, from, to, .. } = manifest;
    let (records, size) = (counted(to - from, "record", "records"), bytes(manifest.bytes()));
    format!("{lane} of {edge}: {records}, {size}: {how}")
}

fn described(unpacked: &Unpacked) -> Json {
    let (manifest, is_new) = match unpacked {
        Unpacked::Taken(manifest) => (manifest, true),
        Unpacked::WaitsAlready(manifest) => (manifest, false),
    };
    let Manifest { site, edge, lane, epoch, from, to, .. } = manifest;
    json!({
        "site": site, "edge": edge, "lane": lane, "epoch": epoch, "from": from, "to": to, "new": is_new,
    })
}
