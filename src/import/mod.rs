//! `forebay import …`: profiles made of what other programs export.
//!
//! An importer never guesses and never drops anything in silence: every line of the source is in the
//! profile, or in the report with its number, the reason and the fix. What it writes passes
//! `forebay check`, because that check runs before anything is written.

pub mod csv;
pub mod draft;
pub mod finish;
pub mod kepware;
pub mod names;
pub mod nodeset2;
pub mod report;
mod s7_area;
pub mod source;
pub mod tia_db;
pub mod tia_tags;
pub mod units;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use forebay_connector::DataType;

use draft::string;
use report::Refusal;

/// Commands of `forebay import`.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Makes a profile of a tag export of KEPServerEX (CSV).
    Kepware(kepware::Kepware),
    /// Makes a profile of the source of a data block of TIA Portal or STEP 7, or updates one.
    TiaDb(tia_db::TiaDb),
    /// Makes a profile of the tag table of a CPU (.xlsx of TIA Portal, .sdf of STEP 7).
    TiaTags(tia_tags::TiaTags),
    /// Makes a profile of the variables of an OPC UA information model (NodeSet2 XML).
    Nodeset2(nodeset2::Nodeset2),
}

/// Runs one command: the profile goes to `out`, or the report if the profile goes to a file; what
/// else there is to be said goes to `said`.
///
/// # Errors
/// Nothing can be taken, or the profile cannot be written.
pub fn run(command: &ImportCommand, out: &mut impl Write, said: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        ImportCommand::Kepware(options) => kepware::run(options, out, said),
        ImportCommand::TiaDb(options) => tia_db::run(options, out, said),
        ImportCommand::TiaTags(options) => tia_tags::run(options, out, said),
        ImportCommand::Nodeset2(options) => nodeset2::run(options, out, said),
    }
}

/// Keys of a tag in the order in which profiles write them.
#[derive(Debug)]
struct TagKeys(Vec<(&'static str, String)>);

impl TagKeys {
    fn new(address: &str, data_type: DataType) -> Self {
        Self(vec![("address", string(address)), ("type", string(&data_type.to_string()))])
    }

    /// Adds a key with its value as TOML.
    fn add(&mut self, key: &'static str, value: String) {
        self.0.push((key, value));
    }

    fn into_vec(self) -> Vec<(&'static str, String)> {
        self.0
    }
}

/// Key, value and comment of the CPU's family. What STEP 7 exports comes of an S7-300 or S7-400, whose
/// CPU stands in another slot than an S7-1500.
fn cpu(asked: Option<&str>, of_step7: bool, report: &mut report::Report) -> (&'static str, String, String) {
    if asked.is_none() && of_step7 {
        report.note(
            "I0213",
            "the file does not name the CPU; cpu = \"s7-300\" (rack 0, slot 2) is taken",
            "give --cpu: s7-300, s7-400, s7-1200, s7-1500",
        );
    }
    let family = asked.unwrap_or(if of_step7 { "s7-300" } else { "s7-1500" });
    ("cpu", string(family), "sets rack, slot and PDU size".into())
}

/// The name of a zone that exists, for clap.
fn zone(name: &str) -> Result<String, String> {
    jiff::tz::TimeZone::get(name)
        .map(|_| name.to_owned())
        .map_err(|_| format!("there is no time zone {name}; for example Europe/Berlin"))
}

fn zone_missing() -> Refusal {
    Refusal::new(
        "I0105",
        "it is the local time of the controller, whose time zone is not in the file",
        "give --timezone, for example --timezone Europe/Berlin",
    )
}
