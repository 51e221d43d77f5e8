//! The table "proved on": which case has held on what, over all rigs whose results are kept.
//!
//! Results are files of `hil/results`, one for each rig, without dates: what changes in them is
//! what has changed. A skip is never a pass.

use std::collections::BTreeMap;
use std::path::Path;

use forebay::connectors;
use serde::{Deserialize, Serialize};

use crate::RigFault;
use crate::cases::CASES;
use crate::rig::Kind;
use crate::runner::{Outcome, Report};

/// What is kept of one run of a rig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Name of the rig.
    pub rig: String,
    /// Its devices.
    pub device: Vec<DeviceResults>,
}

/// What is kept of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceResults {
    /// Role in the cases.
    pub role: String,
    /// Protocol of its profile.
    pub protocol: String,
    /// What stands behind the role.
    pub kind: Kind,
    /// Profile file.
    pub profile: String,
    /// Order number and firmware, or name and version.
    pub identity: String,
    /// How each case ended: `passed`, `failed`, `not run: …`, `known fault`.
    pub cases: BTreeMap<String, String>,
}

impl Results {
    /// What is to be kept of these reports.
    pub fn of(rig: &str, reports: &[Report]) -> Self {
        let device = reports.iter().map(|report| DeviceResults {
            role: report.role.clone(),
            protocol: report.protocol.clone(),
            kind: report.kind,
            profile: report.profile.clone(),
            identity: report.identity.clone(),
            cases: report.runs.iter().map(|run| (run.case.to_owned(), in_words(&run.outcome))).collect(),
        });
        Self { rig: rig.to_owned(), device: device.collect() }
    }

    /// Reads the results of a rig.
    ///
    /// # Errors
    /// [`RigFault`] names the file.
    pub fn read(file: &Path) -> Result<Self, RigFault> {
        let text =
            std::fs::read_to_string(file).map_err(|error| RigFault(error.to_string()).at(file.display()))?;
        toml::from_str(&text).map_err(|error| RigFault(error.to_string()).at(file.display()))
    }

    /// The text of a results file.
    ///
    /// # Errors
    /// [`RigFault`] when it cannot be written as TOML.
    pub fn text(&self) -> Result<String, RigFault> {
        let text = toml::to_string(self).map_err(|error| RigFault(error.to_string()))?;
        Ok(format!("# Made by forebay-hil --record; not to be changed by hand.\n{text}"))
    }
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".into(),
        Outcome::Failed => "failed".into(),
        Outcome::Rig => "not run: the rig broke".into(),
        Outcome::Skipped(reason) => format!("not run: {reason}"),
        Outcome::KnownFault => "known fault".into(),
        Outcome::Finding => "passed in spite of a known fault".into(),
    }
}

/// Reads all results of a folder, in the order of their names.
///
/// # Errors
/// [`RigFault`] names the file that cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Results>, RigFault> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| RigFault(error.to_string()).at(folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.iter().map(|file| Results::read(file)).collect()
}

/// Rows of the table: every case for every protocol.
pub fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let protocols: Vec<&str> = connectors::all().iter().map(|protocol| protocol.name()).collect();
    CASES.iter().flat_map(move |case| protocols.clone().into_iter().map(move |protocol| (case.id, protocol)))
}

/// `docs/proved-on.md`.
pub fn document(results: &[Results]) -> String {
    let devices: Vec<&DeviceResults> = results.iter().flat_map(|results| &results.device).collect();
    let passed = |(case, protocol): &(&str, &str)| cell(&devices, case, protocol, Kind::Real) == "passed";
    let on_hardware = rows().filter(passed).count();
    let mut text = format!(
        "# Proved on\n\n\
         Which case has held on what. This page is made by `cargo run -p forebay-hil -- --table \
         docs/proved-on.md` from the files in `hil/results`; how to bring a bench is in \
         [hil/README.md](../hil/README.md).\n\n\
         `sim` is our own simulator, which shares the profile with what is tested; `foreign` is a program that \
         nobody here wrote; `real` is hardware. **What was not run is not proved.** Of {} rows {} {} proved on \
         hardware.\n\n\
         | case | protocol | sim | foreign | real |\n|---|---|---|---|---|\n",
        rows().count(),
        on_hardware,
        if on_hardware == 1 { "is" } else { "are" },
    );
    for (case, protocol) in rows() {
        let [sim, foreign, real] = Kind::ALL.map(|kind| cell(&devices, case, protocol, kind));
        text.push_str(&format!("| {case} | {protocol} | {sim} | {foreign} | {real} |\n"));
    }
    text.push_str("\n## Cases\n\n| case | shows that |\n|---|---|\n");
    for case in CASES {
        text.push_str(&format!("| {} | {} |\n", case.id, case.shows));
    }
    text.push_str(
        "\n## Devices\n\n| rig | role | protocol | kind | identity | profile |\n|---|---|---|---|---|---|\n",
    );
    for results in results {
        for DeviceResults { role, protocol, kind, identity, profile, .. } in &results.device {
            let (rig, kind) = (&results.rig, kind.as_str());
            text.push_str(&format!("| {rig} | {role} | {protocol} | {kind} | {identity} | `{profile}` |\n"));
        }
    }
    text
}

/// How a case ended on all devices of a kind: the worst is what counts.
fn cell(devices: &[&DeviceResults], case: &str, protocol: &str, kind: Kind) -> String {
    let of = devices.iter().filter(|device| device.protocol == protocol && device.kind == kind);
    let mut ended: Vec<&str> = of.filter_map(|device| device.cases.get(case).map(String::as_str)).collect();
    ended.sort_by_key(|words| match *words {
        "passed" => 2,
        words if words.starts_with("not run") => 1,
        _ => 0,
    });
    match (ended.first(), ended.last()) {
        (None, _) => "not run: no device".into(),
        // One that could not run takes nothing from one that passed.
        (Some(first), Some(last)) if first.starts_with("not run") => (*last).to_owned(),
        (Some(first), _) => (*first).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kind: Kind, ended: &str) -> DeviceResults {
        DeviceResults {
            role: "meter".into(),
            protocol: "modbus".into(),
            kind,
            profile: "p".into(),
            identity: "i".into(),
            cases: [("values".to_owned(), ended.to_owned())].into(),
        }
    }

    #[test]
    fn a_skip_is_never_a_pass_and_the_worst_counts() {
        for (ended, cell_says) in [
            (vec!["not run: no feature"], "not run: no feature"),
            (vec!["passed", "failed"], "failed"),
            (vec!["not run: x", "passed"], "passed"),
            (vec!["not run: x", "known fault", "passed"], "known fault"),
            (vec![], "not run: no device"),
        ] {
            let devices: Vec<DeviceResults> = ended.iter().map(|ended| device(Kind::Real, ended)).collect();
            let devices: Vec<&DeviceResults> = devices.iter().collect();
            assert_eq!(cell(&devices, "values", "modbus", Kind::Real), cell_says, "{ended:?}");
            assert_eq!(cell(&devices, "values", "modbus", Kind::Sim), "not run: no device");
        }
    }

    #[test]
    fn results_are_read_as_written() {
        let results = Results { rig: "x".into(), device: vec![device(Kind::Foreign, "passed")] };
        let text = results.text().unwrap();
        assert_eq!(toml::from_str::<Results>(&text).unwrap(), results);
    }
}
