//! Machines that are configured and not read, because their files have faults: for the page,
//! which would else count as complete what is not.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, Loaded};
use crate::device::Device;
use crate::diagnostic::{Diagnostic, Format, Severity, render};
use crate::profile::Refused;
use crate::status::facts::NotRead;

/// Faults shown for one machine at most; `forebay check` shows all.
const FAULTS_MAX: usize = 10;
/// Longest text of a machine's faults, in bytes: the page must stay small.
const CHECK_BYTES_MAX: usize = 12 * 1024;

/// The errors, without what is only doubtful.
fn errors(loaded: &Loaded) -> Vec<&Diagnostic> {
    loaded.diagnostics.iter().filter(|fault| fault.severity == Severity::Error).collect()
}

/// Whether a device that runs is to run on as it does, because of what is wrong with its files: its
/// own, its profile, or the folder of one of them.
pub fn runs_on(device: &Device, loaded: &Loaded) -> bool {
    let refused = || loaded.refused.iter().any(|refused| refused.name == device.name);
    // With faults that were not kept nobody knows whose they are.
    loaded.hidden > 0 || refused() || errors(loaded).iter().any(|fault| is_about(fault, device, loaded))
}

/// The fault is in one of the device's files.
fn is_about(fault: &Diagnostic, device: &Device, loaded: &Loaded) -> bool {
    let Some(faulty) = loaded.sources.files.get(fault.place.file) else { return false };
    let profile = device.tags.first().map(|tag| tag.source.as_str());
    let mut files = [Some(device.source.as_str()), profile].into_iter().flatten().filter_map(split);
    // `starts_with` goes by whole parts of the path: the folder of a file, or itself.
    files.any(|(file, _)| Path::new(file).starts_with(&faulty.name))
}

/// One entry for each of these devices that run on although their files have faults.
pub fn running_on(kept: &[Arc<Device>], loaded: &Loaded) -> Vec<NotRead> {
    let errors = errors(loaded);
    let of = |device: &Arc<Device>| {
        let refused = loaded.refused.iter().find(|refused| refused.name == device.name);
        let own = refused.map(|refused| faults_of(refused, &errors, loaded)).unwrap_or_default();
        let about = || errors.iter().filter(|fault| is_about(fault, device, loaded)).copied().collect();
        let faults = if own.is_empty() { about() } else { own };
        NotRead { runs_on: true, ..entry(&device.name, &device.source, &faults, loaded) }
    };
    kept.iter().map(of).collect()
}

/// One entry for each device that is refused, and for each device file that gave none at all; but for
/// those that run on.
pub fn not_read(config: &Config, loaded: &Loaded, kept: &[Arc<Device>]) -> Vec<NotRead> {
    let errors = errors(loaded);
    let runs_on = |name: &str| kept.iter().any(|device| device.name == name);
    let gives_kept = |file: &str| kept.iter().filter_map(|it| split(&it.source)).any(|(own, _)| own == file);
    let refused = loaded.refused.iter().filter(|refused| !runs_on(&refused.name)).map(|refused| {
        let name = if refused.name.is_empty() { file_name(&refused.source) } else { refused.name.clone() };
        entry(&name, &refused.source, &faults_of(refused, &errors, loaded), loaded)
    });
    let silent_files = loaded.sources.files.iter().enumerate().filter_map(|(file, source)| {
        let path = Path::new(&source.name);
        let of_devices =
            path.parent().is_some_and(|folder| config.paths.devices.iter().any(|it| it == folder));
        let silent =
            of_devices && !gives_kept(&source.name) && places(loaded).all(|(name, _)| name != source.name);
        let faults: Vec<&Diagnostic> = errors.iter().filter(|it| it.place.file == file).copied().collect();
        let name = file_name(&source.name);
        (silent && !faults.is_empty()).then(|| entry(&name, &source.name, &faults, loaded))
    });
    let mut found: Vec<NotRead> = refused.chain(silent_files).collect();
    name_once(&mut found, loaded);
    found
}

/// What a machine without a name is called.
fn file_name(path: &str) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A name that is taken gets its place behind it: pages and metrics go by names.
fn name_once(found: &mut [NotRead], loaded: &Loaded) {
    let mut taken: HashSet<String> = loaded.devices.iter().map(|device| device.name.clone()).collect();
    for machine in found {
        if !taken.insert(machine.name.clone()) {
            machine.name = format!("{} ({})", machine.name, machine.place);
            taken.insert(machine.name.clone());
        }
    }
}

/// File and line of every `[[device]]` of the site.
fn places(loaded: &Loaded) -> impl Iterator<Item = (&str, usize)> {
    let refused = loaded.refused.iter().map(|refused| refused.source.as_str());
    let sound = loaded.devices.iter().map(|device| device.source.as_str());
    refused.chain(sound).filter_map(split)
}

fn split(place: &str) -> Option<(&str, usize)> {
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// What is wrong with a refused device: what names it or stands in its `[[device]]`; else what
/// is wrong with its file; else with the profiles, one of which is its own.
fn faults_of<'a>(refused: &Refused, errors: &[&'a Diagnostic], loaded: &Loaded) -> Vec<&'a Diagnostic> {
    let Some((file, line)) = split(&refused.source) else { return Vec::new() };
    let next = places(loaded).filter(|(name, at)| *name == file && *at > line).map(|(_, at)| at).min();
    let source_of = |fault: &Diagnostic| loaded.sources.files.get(fault.place.file);
    let in_file = |fault: &Diagnostic| source_of(fault).is_some_and(|source| source.name == file);
    let own = |fault: &Diagnostic| match &fault.device {
        Some(device) => *device == refused.name,
        None => {
            let at = source_of(fault).map_or(0, |source| source.line(fault.place.span.start));
            in_file(fault) && at >= line && next.is_none_or(|next| at < next)
        }
    };
    let among = |fits: &dyn Fn(&Diagnostic) -> bool| -> Vec<&'a Diagnostic> {
        errors.iter().filter(|fault| fits(fault)).copied().collect()
    };
    [among(&own), among(&in_file), among(&|fault| fault.device.is_none())]
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn entry(name: &str, place: &str, faults: &[&Diagnostic], loaded: &Loaded) -> NotRead {
    let first = faults.first();
    let at = first.and_then(|fault| {
        let source = loaded.sources.files.get(fault.place.file)?;
        Some(source.at_line(fault.place.span.start))
    });
    let shown: Vec<Diagnostic> = faults.iter().take(FAULTS_MAX).map(|fault| (*fault).clone()).collect();
    let hidden = faults.len() - shown.len();
    let mut check = render(&loaded.sources, &shown, hidden, Format::Text, false);
    if check.len() > CHECK_BYTES_MAX {
        check.truncate(check.floor_char_boundary(CHECK_BYTES_MAX));
        check.push_str("…\n");
    }
    NotRead {
        name: name.to_owned(),
        fault: first.map(|fault| fault.message.clone()).unwrap_or_default(),
        place: at.unwrap_or_else(|| place.to_owned()),
        check,
        runs_on: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    const SITE: &str = "forebay = 1\n[edge]\nid = \"box\"\nsite = \"Werk1\"\n[kafka]\nbrokers = [\"k:9092\"]\n\
        [paths]\ndevices = [\"devices\"]\nprofiles = [\"profiles\"]\n";
    const PROFILE: &str = "profile = \"eastron-sdm630\"\nendpoint = \"tcp://127.0.0.1:502\"\n\
        location = \"Werk1/Halle/Linie/Zelle\"\n";

    fn site(devices: &[(&str, &str)]) -> Vec<NotRead> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["devices", "profiles"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("forebay.toml"), SITE).unwrap();
        for (name, text) in devices {
            std::fs::write(folder.path().join("devices").join(name), text).unwrap();
        }
        let loaded = load(&folder.path().join("forebay.toml"));
        let config =
            loaded.config.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(Format::Text, false)));
        not_read(config, &loaded, &[])
    }

    #[test]
    fn a_refused_device_comes_with_its_own_faults_in_the_words_of_check() {
        let wrong = PROFILE.replace("eastron-sdm630", "acme-pres-630t");
        let text = format!(
            "forebay = 1\n[[device]]\nname = \"meter\"\n{PROFILE}[[device]]\nname = \"press-4\"\n{wrong}\
             [[device]]\nname = \"meter\"\n{PROFILE}"
        );
        let found = site(&[("line3.toml", &text)]);
        assert_eq!(found.len(), 2, "{found:?}");
        let press = &found[0];
        assert_eq!(press.name, "press-4");
        assert!(press.fault.contains("there is no profile \"acme-pres-630t\""), "{press:?}");
        assert!(press.place.ends_with("devices/line3.toml:9"), "{press:?}");
        assert!(press.check.starts_with("error[P0114]: ") && press.check.contains("= help: "), "{press:?}");
        assert!(!press.check.contains("exists already"), "the faults of others are theirs: {press:?}");
        let second = &found[1];
        assert!(second.fault.contains("exists already"), "{second:?}");
        assert!(second.name.starts_with("meter (") && second.name.ends_with(":13)"), "{second:?}");
    }

    #[test]
    fn a_device_file_that_gives_nothing_is_not_forgotten() {
        let good = format!("forebay = 1\n[[device]]\nname = \"meter\"\n{PROFILE}");
        let found =
            site(&[("empty.toml", ""), ("good.toml", &good), ("broken.toml", "[[device\nname = 1\n")]);
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["broken.toml:1", "empty.toml"], "{found:?}");
        assert!(found.iter().all(|it| it.check.starts_with("error[")), "{found:?}");
    }
}
