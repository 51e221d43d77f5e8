//! The machines to simulate: those of the files, or one made for a profile that has none.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{Loaded, check_files};
use crate::document::FILE_BYTES_MAX;
use crate::profile::BUILTIN;

/// An endpoint that every protocol can read; nobody connects there.
const ENDPOINTS: [(&str, &str); 3] =
    [("s7", "127.0.0.1"), ("modbus", "tcp://127.0.0.1"), ("opcua", "opc.tcp://127.0.0.1:4840")];

/// Where machines stand that were made here.
const SIMULATED: &str = "Simulated";

/// Loads the files. A profile without `[[device]]`, and the name of one that comes with the program,
/// get a machine `sim`.
///
/// # Errors
/// When a file for it cannot be made.
pub fn load(files: &[PathBuf]) -> anyhow::Result<Loaded> {
    let names = files.iter().filter(|file| !file.exists()).filter_map(|file| builtin(file));
    let text = names.map(device_of).collect::<String>();
    let existing: Vec<PathBuf> =
        files.iter().filter(|file| file.exists() || builtin(file).is_none()).cloned().collect();
    if !text.is_empty() {
        return with_file(&existing, &format!("forebay = 1\n{text}"));
    }
    let loaded = check_files(&existing);
    if !loaded.devices.is_empty() || loaded.errors() > 0 {
        return Ok(loaded);
    }
    let text: String = existing.iter().filter_map(|file| own_device(file)).collect();
    if text.is_empty() { Ok(loaded) } else { with_file(&existing, &format!("forebay = 1\n{text}")) }
}

/// A machine for each profile of this protocol: those that come with the program, and those of `files`.
///
/// # Errors
/// When a file for them cannot be made.
pub fn one_of_each(protocol: &str, files: &[PathBuf]) -> anyhow::Result<Loaded> {
    let own = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let texts: Vec<String> = BUILTIN.iter().map(|(_, text)| (*text).to_owned()).chain(own).collect();
    let mut profiles: Vec<_> = texts.iter().filter_map(|text| name_and_protocol(text)).collect();
    profiles.sort();
    profiles.dedup();
    let wanted = profiles.into_iter().filter(|(_, of)| of == protocol);
    let mut loaded =
        with_file(files, &format!("forebay = 1\n{}", wanted.map(device_of).collect::<String>()))?;
    // Machines that stand in the files themselves are somebody's.
    loaded.devices.retain(|device| device.location == [SIMULATED]);
    Ok(loaded)
}

/// Name and protocol of a built-in profile that is meant by `file`.
fn builtin(file: &Path) -> Option<(String, String)> {
    let wanted = file.to_str()?;
    BUILTIN.iter().find_map(|(_, text)| name_and_protocol(text).filter(|(name, _)| name == wanted))
}

/// A device for the profile in this file.
fn own_device(file: &Path) -> Option<String> {
    let small = std::fs::metadata(file).ok()?.len() <= FILE_BYTES_MAX as u64;
    let text = small.then(|| std::fs::read_to_string(file).ok())??;
    name_and_protocol(&text).map(device_of)
}

fn name_and_protocol(text: &str) -> Option<(String, String)> {
    let table: toml::Table = toml::from_str(text).ok()?;
    let profile = table.get("profile")?;
    let text = |key: &str| Some(profile.get(key)?.as_str()?.to_owned());
    Some((text("name")?, text("protocol")?))
}

fn device_of((profile, protocol): (String, String)) -> String {
    let endpoint = ENDPOINTS.iter().find(|(name, _)| *name == protocol).map_or("127.0.0.1", |(_, it)| it);
    let insecure = if protocol == "opcua" { "allow_insecure = true\n" } else { "" };
    format!(
        "[[device]]\nname = \"{}\"\nprofile = \"{profile}\"\nendpoint = \"{endpoint}\"\n\
         location = \"{SIMULATED}\"\n{insecure}",
        name_of(&profile)
    )
}

/// A name for the machine: that of its profile, so that two of them are told apart.
fn name_of(profile: &str) -> String {
    format!("sim-{profile}").chars().take(64).collect()
}

/// Loads the files with one more that has this text.
fn with_file(files: &[PathBuf], text: &str) -> anyhow::Result<Loaded> {
    let path = std::env::temp_dir().join(format!("forebay-sim-{:016x}.toml", fastrand::u64(..)));
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let all: Vec<PathBuf> = files.iter().cloned().chain([path.clone()]).collect();
    let loaded = check_files(&all);
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(loaded)
}
