//! `forebay journal …`: what is on disk, whether it is sound, taking it away and removing it.
//!
//! Everything here may run beside the box: nothing that only reads takes a lock, and only what the
//! box calls synced is read.

mod events;
mod export;
mod import;
mod progress;
mod sample_table;
mod samples;
mod site;
mod status;
mod table;
mod target;
mod trim;
mod verify;
mod when;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use progress::Progress;
pub use site::{Site, load};
pub use when::When;

/// Where the box is described, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml", display_order = 90)]
    pub config: PathBuf,
    /// Answer as JSON.
    #[arg(long, display_order = 91)]
    pub json: bool,
}

/// Commands of `forebay journal`.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Shows what is on disk, and how much of it Kafka does not have.
    Status(Common),
    /// Reads every byte and names what is damaged or missing; ends with 1 when something is.
    Verify(verify::Verify),
    /// Writes data to a folder, for example a USB stick: as Parquet, or as a backlog for another box.
    ///
    /// Makes a new folder below --to, which gets its name when it is complete. By default all samples
    /// and events go to Parquet files, for analysis; with --format backlog everything that Kafka does
    /// not have yet, as it is, so that another box can send it.
    Export(export::Export),
    /// Takes in the backlog of another box; this box sends it under the other one's name.
    Import(import::Import),
    /// Removes data from the disk: what Kafka has, or what is older than a time.
    Trim(trim::Trim),
}

/// Runs one command.
///
/// # Errors
/// What keeps it from being done, in words for an operator.
pub fn run(command: JournalCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        JournalCommand::Status(common) => status::run(&common, out),
        JournalCommand::Verify(verify) => verify::run(&verify, out),
        JournalCommand::Export(export) => export::run(&export, out),
        JournalCommand::Import(import) => import::run(&import, out),
        JournalCommand::Trim(trim) => trim::run(&trim, out),
    }
}
