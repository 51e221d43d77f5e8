//! `forebay reload`, and how the order comes to those who carry it out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::Client;
use crate::amount::counted;

/// Orders that may wait; the one that comes next reads the newest files anyway.
const WAITING_MAX: usize = 4;

/// To read the files again.
pub struct Order {
    /// Who asks; may be empty.
    pub by: String,
    /// Takes what came of it.
    pub answer: oneshot::Sender<Reloaded>,
}

/// Way in for orders.
pub type Orders = mpsc::Sender<Order>;

/// A way for orders, and the end where they arrive.
pub fn orders() -> (Orders, mpsc::Receiver<Order>) {
    mpsc::channel(WAITING_MAX)
}

/// What came of reading the files again. Lists name the first 50; the numbers are in `devices` and
/// the events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// In one sentence.
    pub text: String,
    /// Machines that are read now.
    pub devices: usize,
    /// New machines.
    pub added: Vec<String>,
    /// Machines that are not configured any more.
    pub removed: Vec<String>,
    /// Machines that are read in another way.
    pub changed: Vec<String>,
    /// `device/tag` of new tags of these.
    pub tags_added: Vec<String>,
    /// `device/tag` of tags that these have no more.
    pub tags_removed: Vec<String>,
    /// Machines whose files have faults: they run on as they did.
    pub kept: Vec<String>,
    /// Parts of forebay.toml that only a restart takes over.
    pub restart: Vec<String>,
    /// Errors in the files.
    pub errors: usize,
    /// All that is wrong or doubtful, as `forebay check` says it.
    pub faults: String,
}

/// Reads the files of a running box again.
#[derive(Debug, Args)]
#[command(after_help = "\
Only machines whose files have changed are connected anew; all others do not notice. What has errors
is not taken over: its machines run on as they did, and the errors are printed here. The box does the
same by itself when a file is saved; `systemctl reload forebay` is this command.

  forebay reload
  forebay check /etc/forebay/forebay.toml    only looks, changes nothing

Ends with 1 when the files have errors.")]
pub struct Reload {
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// Folder of the box's state (paths.state), when forebay.toml cannot be read.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Has the files read again, and says what came of it.
///
/// # Errors
/// When the box does not run, or says no.
pub fn run(reload: &Reload, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let folder = reload.state.clone().or_else(|| crate::config::state_folder(&reload.config));
    let Some(folder) = folder else {
        anyhow::bail!(
            "{} cannot be read far enough to find the box: say where its state is with --state (paths.state, \
             usually /var/lib/forebay)",
            reload.config.display()
        );
    };
    let answer = Client::new(&folder).post("/v1/reload", &json!({ "by": super::command::user() }))?;
    let reloaded: Reloaded = serde_json::from_value(answer.clone())?;
    if reload.json {
        writeln!(out, "{answer}")?;
    } else {
        out.write_all(reloaded.words().as_bytes())?;
    }
    Ok(if reloaded.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Reloaded {
    /// For the terminal.
    fn words(&self) -> String {
        let mut text = self.faults.clone();
        if !text.is_empty() {
            text.push('\n');
        }
        text += &format!("{}\n", self.text);
        for (what, names) in [
            ("new", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
            ("new tags", &self.tags_added),
            ("removed tags", &self.tags_removed),
            ("run on as before", &self.kept),
        ] {
            if !names.is_empty() {
                text += &format!("  {what}: {}\n", names.join(", "));
            }
        }
        if !self.restart.is_empty() {
            text += &format!(
                "  only after a restart (`systemctl restart forebay`): {}\n",
                self.restart.join(", ")
            );
        }
        text + &format!("{} read.\n", counted(self.devices as u64, "machine is", "machines are"))
    }
}
