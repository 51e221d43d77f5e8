//! Rig files: which devices, simulated or real, there are, and what may be done to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::RigFault;
use crate::cases::CASES;

/// A rig: what `hil/rigs/<name>.toml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Rig {
    /// Name, also the file's name.
    pub name: String,
    /// Dotted features: `s7` is met by a simulator, `s7.real` only by a controller.
    pub features: Vec<String>,
    /// Folder with the secrets that profiles name; none unless written.
    pub credentials: Option<PathBuf>,
    /// Devices by their role in the cases (`press`, `meter`), in the order of the file.
    pub devices: Vec<Device>,
}

/// One device of a rig. A role may be played by several, each `[[role]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// What it is in the cases.
    pub role: String,
    /// What the file says of it.
    pub entry: Entry,
}

/// `[role]` or `[[role]]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Profile file, relative to the repository.
    pub profile: PathBuf,
    /// What stands behind the role.
    pub kind: Kind,
    /// Where a real device is; the others choose their port themselves.
    pub endpoint: Option<String>,
    /// Order number and firmware of a real device, name and version of a simulator; written into
    /// every report.
    pub identity: String,
    /// Cases that this device is known to fail; one that passes all the same is a finding too.
    #[serde(default)]
    pub known_faults: Vec<String>,
    /// An address that this device does not have.
    pub missing: Option<String>,
    /// Parameters of the profile.
    #[serde(default)]
    pub params: BTreeMap<String, toml::Value>,
    /// Tags that this device does not have.
    #[serde(default)]
    pub except: Vec<String>,
    /// Fingerprint of the certificate of a real server.
    pub trust: Option<String>,
    /// A real server may be read without encryption.
    #[serde(default)]
    pub allow_insecure: bool,
    /// Which program plays a foreign device, where there are several: `snap7-2` is the C library.
    pub peer: Option<String>,
}

/// What stands behind a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Our own simulator: shares the profile with what is tested.
    #[default]
    Sim,
    /// A program that nobody here wrote.
    Foreign,
    /// Hardware.
    Real,
}

impl Kind {
    /// All kinds, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Sim, Self::Foreign, Self::Real];

    /// As in rig files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Foreign => "foreign",
            Self::Real => "real",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: String,
    features: Vec<String>,
    credentials: Option<PathBuf>,
}

impl Rig {
    /// Reads a rig file; unknown keys are faults.
    ///
    /// # Errors
    /// [`RigFault`] names the file and the table.
    pub fn read(file: &Path) -> Result<Self, RigFault> {
        let text =
            std::fs::read_to_string(file).map_err(|error| RigFault(error.to_string()).at(file.display()))?;
        let rig = Self::parse(&text).map_err(|fault| fault.at(file.display()))?;
        if file.file_stem().is_some_and(|stem| *stem != *rig.name) {
            return Err(RigFault(format!(
                "{}: [rig] name = \"{}\" is not the file's",
                file.display(),
                rig.name
            )));
        }
        Ok(rig)
    }

    /// Reads the text of a rig file.
    ///
    /// # Errors
    /// [`RigFault`] names the table.
    pub fn parse(text: &str) -> Result<Self, RigFault> {
        let mut tables: toml::Table = toml::from_str(text).map_err(|error| RigFault(error.to_string()))?;
        let head = tables.remove("rig").ok_or_else(|| RigFault("[rig] is missing".into()))?;
        let head: Head = head.try_into().map_err(|error| RigFault(format!("[rig]: {error}")))?;
        let mut devices = Vec::new();
        for (role, value) in tables {
            let entries = match value {
                toml::Value::Array(entries) => entries,
                one => vec![one],
            };
            for entry in entries {
                let entry: Entry =
                    entry.try_into().map_err(|error| RigFault(format!("[{role}]: {error}")))?;
                check(&entry).map_err(|fault| fault.at(format!("[{role}]")))?;
                devices.push(Device { role: role.clone(), entry });
            }
        }
        Ok(Self { name: head.name, features: head.features, credentials: head.credentials, devices })
    }

    /// True when `wanted` is there: `s7` is met by `s7` and by `s7.real`.
    pub fn has(&self, wanted: &str) -> bool {
        self.features.iter().any(|feature| {
            feature == wanted || feature.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
        })
    }
}

fn check(entry: &Entry) -> Result<(), RigFault> {
    if entry.kind == Kind::Real && entry.endpoint.is_none() {
        return Err(RigFault("a real device needs endpoint = \"…\"".into()));
    }
    if entry.kind != Kind::Real && (entry.endpoint.is_some() || entry.trust.is_some()) {
        return Err(RigFault(format!("`{}` chooses its endpoint itself", entry.kind.as_str())));
    }
    let unknown = entry.known_faults.iter().find(|fault| CASES.iter().all(|case| case.id != **fault));
    if let Some(fault) = unknown {
        let ids: Vec<&str> = CASES.iter().map(|case| case.id).collect();
        return Err(RigFault(format!("known_faults: there is no case `{fault}`; cases: {}", ids.join(", "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIM: &str = "profile = \"p\"\nkind = \"sim\"\nidentity = \"x\"\n";

    fn fault(text: &str) -> String {
        Rig::parse(&format!("[rig]\nname = \"x\"\nfeatures = []\n{text}")).unwrap_err().to_string()
    }

    #[test]
    fn every_rig_in_the_repository_is_valid() {
        let mut rigs = 0;
        for entry in std::fs::read_dir(crate::root().join("hil/rigs")).unwrap() {
            let rig = Rig::read(&entry.unwrap().path()).unwrap();
            for device in &rig.devices {
                let profile = crate::root().join(&device.entry.profile);
                assert!(profile.exists(), "{}: no {}", rig.name, profile.display());
            }
            rigs += 1;
        }
        assert!(rigs > 0);
    }

    #[test]
    fn what_is_wrong_is_a_fault_with_its_table() {
        let said = fault(&format!("[press]\n{SIM}endpont = \"y\"\n"));
        assert!(said.contains("[press]") && said.contains("endpont"), "{said}");
        let said = fault("[press]\nprofile = \"p\"\nkind = \"real\"\nidentity = \"x\"\n");
        assert!(said.contains("[press]: a real device needs endpoint"), "{said}");
        let said = fault(&format!("[press]\n{SIM}endpoint = \"10.0.0.1\"\n"));
        assert!(said.contains("chooses its endpoint itself"), "{said}");
        let said = fault(&format!("[press]\n{SIM}known_faults = [\"valus\"]\n"));
        assert!(said.contains("no case `valus`") && said.contains("values"), "{said}");
        let said = Rig::parse(&format!("[press]\n{SIM}")).unwrap_err().to_string();
        assert_eq!(said, "[rig] is missing");
    }

    #[test]
    fn a_role_may_be_played_by_several_devices() {
        let text = format!(
            "[rig]\nname = \"x\"\nfeatures = []\n[[press]]\n{SIM}[[press]]\n{}[meter]\n{SIM}",
            SIM.replace("sim", "foreign")
        );
        let rig = Rig::parse(&text).unwrap();
        let roles: Vec<(&str, Kind)> =
            rig.devices.iter().map(|device| (device.role.as_str(), device.entry.kind)).collect();
        assert_eq!(roles, [("meter", Kind::Sim), ("press", Kind::Sim), ("press", Kind::Foreign)]);
    }

    #[test]
    fn a_real_device_meets_the_plain_feature_but_not_the_other_way_round() {
        let rig = Rig::parse("[rig]\nname = \"x\"\nfeatures = [\"s7.real\", \"modbus\"]\n").unwrap();
        assert!(rig.has("s7") && rig.has("s7.real") && !rig.has("modbus.rtu") && !rig.has("s"));
    }
}
