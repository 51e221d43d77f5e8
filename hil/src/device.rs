//! From a profile and what the rig says to a device that can be opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay::config::CredentialStore;
use forebay::device::Device;
use forebay::diagnostic::{Faults, Format, Source, Sources, render};
use forebay::document::parse;
use forebay::profile::{Environment, Input, load};
use forebay_connector::{DeviceSpec, OptionValue, Protocol};

use crate::RigFault;
use crate::rig::{Entry, Kind};

/// Tags a device may have here; more than any profile.
const TAGS_MAX: usize = 100_000;

/// One `[[device]]`, as text.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Name of the device.
    pub name: String,
    /// Keys beside name and profile, as lines of TOML.
    pub keys: String,
}

impl Wanted {
    /// The device of a role.
    pub fn of_role(role: &str, entry: &Entry) -> Self {
        let mut keys = toml::Table::new();
        if let Some(endpoint) = &entry.endpoint {
            keys.insert("endpoint".into(), endpoint.clone().into());
        }
        if let Some(trust) = &entry.trust {
            keys.insert("trust".into(), trust.clone().into());
        }
        keys.insert("allow_insecure".into(), (entry.allow_insecure || entry.kind != Kind::Real).into());
        keys.insert("except".into(), entry.except.clone().into());
        if !entry.params.is_empty() {
            keys.insert("params".into(), toml::Table::from_iter(entry.params.clone()).into());
        }
        Self { name: role.to_owned(), keys: keys.to_string() }
    }
}

/// Makes the device from the text of its profile.
///
/// # Errors
/// [`RigFault`] with everything that `forebay check` would say.
pub fn make(
    file: &str,
    text: &str,
    wanted: &Wanted,
    credentials: Option<PathBuf>,
    state: &Path,
) -> Result<Arc<Device>, RigFault> {
    let table: toml::Table = toml::from_str(text).map_err(|error| RigFault(format!("{file}: {error}")))?;
    let of_profile =
        |key: &str| table.get("profile").and_then(|profile| profile.get(key)).and_then(toml::Value::as_str);
    let (Some(profile), Some(protocol)) = (of_profile("name"), of_profile("protocol")) else {
        return Err(RigFault(format!("{file}: [profile] needs name and protocol")));
    };
    let mut keys = wanted.keys.clone();
    if !keys.contains("endpoint") {
        keys = format!("endpoint = \"{}\"\n{keys}", nowhere(protocol));
    }
    let device = format!(
        "forebay = 1\n[[device]]\nprofile = \"{profile}\"\nname = \"{}\"\nlocation = \"Rig\"\n{}",
        wanted.name,
        keys.replace("[params]", "[device.params]")
    );
    let (mut sources, faults) = (Sources::default(), Faults::default());
    let mut inputs = Vec::new();
    for (name, text, builtin) in [(file, text, true), ("the rig", device.as_str(), false)] {
        let file = sources.add(Source::new(name, text.to_owned()));
        // A profile's own devices are examples, as those of a built-in one are.
        let table = parse(&sources.files[file], file, &faults);
        inputs.extend(table.map(|table| Input { file, table, syntax: !faults.any_in(file), builtin }));
    }
    let environment = Environment {
        secrets: Arc::new(CredentialStore::new(credentials)),
        state_directory: state.to_path_buf(),
        devices_max: 1,
        tags_max: TAGS_MAX,
        trace: None,
    };
    let found = load(&sources, &inputs, &faults, &environment);
    let (diagnostics, hidden) = faults.finish();
    found.devices.into_iter().next().ok_or_else(|| {
        RigFault(format!("{file}: {}", render(&sources, &diagnostics, hidden, Format::Text, false)))
    })
}

/// The device with another spec and protocol.
pub fn with(device: &Device, spec: DeviceSpec, protocol: Arc<dyn Protocol>) -> Device {
    Device { spec, protocol, ..device.clone() }
}

/// An endpoint of the right form, for a device whose own is not known yet.
fn nowhere(protocol: &str) -> &'static str {
    match protocol {
        "s7" => "127.0.0.1",
        "opcua" => "opc.tcp://127.0.0.1:4840",
        _ => "tcp://127.0.0.1:502",
    }
}

/// What a simulator of whatever kind asks for: no encryption, and short waits.
pub fn as_simulated(spec: &mut DeviceSpec, protocol: &str) {
    if protocol == "opcua" {
        spec.options.insert("security".into(), OptionValue::Text("None".into()));
        spec.options.remove("mode");
        spec.options.remove("auth");
        spec.options
            .insert("publishing".into(), OptionValue::Duration(std::time::Duration::from_millis(100)));
        spec.trust = None;
    }
    spec.options.remove("request_pause");
    spec.options.insert("timeout".into(), OptionValue::Duration(TIMEOUT));
}

/// Longest wait of a connector for a simulator. A late answer comes after it.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(4);
