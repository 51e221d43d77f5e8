//! Rig files: which devices, real or simulated, a hardware test may use.
//!
//! Tests name features and roles, never addresses. A feature that a rig lacks is the recorded
//! reason why a test did not run there; it is never counted as passed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A rig: what `hil/rigs/<name>.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rig {
    /// Name, also the file's name.
    pub name: String,
    /// Dotted features: `s7` is met by a simulator, `s7.real` only by a controller.
    pub features: Vec<String>,
    /// Devices by their role in tests (`press`, `meter`).
    pub devices: BTreeMap<String, Device>,
}

/// One device of a rig.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Profile file, relative to the repository.
    pub profile: PathBuf,
    /// Real or simulated.
    pub kind: Kind,
    /// Where a real device is; a simulated one chooses its port itself.
    pub endpoint: Option<String>,
    /// Order number and firmware, written into every report.
    pub identity: Option<String>,
    /// Faults this device is known for; a test that passes in spite of one is a finding too.
    #[serde(default)]
    pub known_faults: Vec<String>,
}

/// What stands behind a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Hardware.
    Real,
    /// A program.
    Sim,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: String,
    features: Vec<String>,
}

/// A rig file cannot be used.
#[derive(Debug)]
pub struct RigFault(String);

impl std::fmt::Display for RigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RigFault {}

impl Rig {
    /// Reads a rig file; unknown keys are faults.
    ///
    /// # Errors
    /// [`RigFault`] names the file and the table.
    pub fn read(file: &Path) -> Result<Self, RigFault> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| RigFault(format!("{}: {error}", file.display())))?;
        Self::parse(&text).map_err(|fault| RigFault(format!("{}: {fault}", file.display())))
    }

    /// Reads the text of a rig file.
    ///
    /// # Errors
    /// [`RigFault`] names the table.
    pub fn parse(text: &str) -> Result<Self, RigFault> {
        let mut tables: BTreeMap<String, toml::Value> =
            toml::from_str(text).map_err(|error| RigFault(error.to_string()))?;
        let head = tables.remove("rig").ok_or_else(|| RigFault("[rig] is missing".into()))?;
        let head: Head = head.try_into().map_err(|error| RigFault(format!("[rig]: {error}")))?;
        let mut devices = BTreeMap::new();
        for (role, table) in tables {
            let device: Device = table.try_into().map_err(|error| RigFault(format!("[{role}]: {error}")))?;
            if device.kind == Kind::Real && device.endpoint.is_none() {
                return Err(RigFault(format!("[{role}]: a real device needs endpoint = \"…\"")));
            }
            devices.insert(role, device);
        }
        Ok(Self { name: head.name, features: head.features, devices })
    }

    /// True when `wanted` is there: `s7` is met by `s7` and by `s7.real`.
    pub fn has(&self, wanted: &str) -> bool {
        self.features.iter().any(|feature| {
            feature == wanted || feature.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rig_in_the_repository_is_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut rigs = 0;
        for entry in std::fs::read_dir(root.join("rigs")).unwrap() {
            let rig = Rig::read(&entry.unwrap().path()).unwrap();
            for device in rig.devices.values() {
                let profile = root.join("..").join(&device.profile);
                assert!(profile.exists(), "{}: no {}", rig.name, profile.display());
            }
            rigs += 1;
        }
        assert!(rigs > 0);
    }

    #[test]
    fn an_unknown_key_is_a_fault_with_its_table() {
        let text =
            "[rig]\nname = \"x\"\nfeatures = []\n[press]\nprofile = \"p\"\nkind = \"sim\"\nendpont = \"y\"\n";
        let fault = Rig::parse(text).unwrap_err().to_string();
        assert!(fault.contains("[press]") && fault.contains("endpont"), "{fault}");
    }

    #[test]
    fn a_real_device_meets_the_plain_feature_but_not_the_other_way_round() {
        let rig = Rig::parse("[rig]\nname = \"x\"\nfeatures = [\"s7.real\", \"modbus\"]\n").unwrap();
        assert!(rig.has("s7") && rig.has("s7.real") && !rig.has("modbus.rtu") && !rig.has("s"));
    }
}
