//! From the files of a site to its configuration and devices.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{self, Listing};
use super::models;
use super::read::{self, Read};
use super::{Config, CredentialStore, Paths};
use crate::clock;
use crate::device::Device;
use crate::diagnostic::{Diagnostic, Faults, Format, Place, Severity, Source, Sources, Span, render};
use crate::document::{Context, FILE_BYTES_MAX, Table, Trace, nearest, parse};
use crate::profile::{self, BUILTIN, Environment, Input, Instances, Refused};
use crate::standby::{Standby, StandbyFor};

/// Most devices and tags when files are checked without a `forebay.toml`.
const CHECK_DEVICES_MAX: usize = 500;
const CHECK_TAGS_MAX: usize = 100_000;

/// Everything the files gave, and everything that is wrong with them.
#[derive(Default)]
pub struct Loaded {
    /// The configuration; `None` when `forebay.toml` has errors, or when only profile and device
    /// files were checked.
    pub config: Option<Config>,
    /// When reading a site began, microseconds since 1970 UTC.
    pub read_us: i64,
    /// Folders that `forebay.toml` names, also when the rest of it has errors; `None` without one.
    pub paths: Option<Paths>,
    /// Devices without faults.
    pub devices: Vec<Arc<Device>>,
    /// Devices that cannot run as written; the others run.
    pub refused: Vec<Refused>,
    /// All faults, sorted by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// Faults beyond the most that are kept.
    pub hidden: usize,
    /// The files, in the order in which they are reported.
    pub sources: Sources,
}

impl Loaded {
    /// The diagnostics as text; empty when there are none (`[]` as JSON).
    pub fn render(&self, format: Format, color: bool) -> String {
        render(&self.sources, &self.diagnostics, self.hidden, format, color)
    }

    /// What was found in files without faults, in one line.
    pub fn summary(&self) -> String {
        let tags: usize = self.devices.iter().map(|device| device.tags.len()).sum();
        match self.devices.len() {
            0 => "no devices, no faults".to_owned(),
            1 => format!("1 device, {tags} tags, no faults"),
            devices => format!("{devices} devices, {tags} tags, no faults"),
        }
    }

    /// Errors found, warnings not counted.
    pub fn errors(&self) -> usize {
        let errors = self.diagnostics.iter().filter(|it| it.severity == Severity::Error).count();
        errors + self.hidden
    }
}

/// Loads a site: `forebay.toml` and all profiles and devices it names.
pub fn load(path: &Path) -> Loaded {
    let (mut files, read_us) = (Files::default(), clock::now_us());
    let loaded = match files.read(path) {
        Some((file, table)) => files.site(path, file, &table),
        None => files.finish(None, Instances::default()),
    };
    Loaded { read_us, ..loaded }
}

/// Where the box that runs by this `forebay.toml` has its state, as far as the file can be read.
pub fn state_folder(path: &Path) -> Option<PathBuf> {
    load(path).paths.map(|paths| paths.state)
}

/// Checks files for `forebay check FILE…`: each may be a `forebay.toml` (told by `[edge]` or
/// `[kafka]`), a profile, a device file, or a folder of such. A `forebay.toml` brings the files
/// it names; without one, profiles are those given and those that come with the program.
pub fn check_files(paths: &[PathBuf]) -> Loaded {
    check_traced(paths, None)
}

/// As [`check_files`]; `trace` writes down where the keys of one tag come from.
pub fn check_traced(paths: &[PathBuf], trace: Option<Arc<Trace>>) -> Loaded {
    let mut files = Files { trace, ..Files::default() };
    let mut site = None;
    let listed: Vec<PathBuf> = paths.iter().flat_map(|path| files.expand(path)).collect();
    for path in listed {
        let Some((file, table)) = files.read(&path) else { continue };
        if table.get("edge").is_none() && table.get("kafka").is_none() {
            files.take(file, table);
        } else if site.is_some() {
            let place = Place { file, span: Span::default() };
            let fault = Diagnostic::error("P0003", place, "a second forebay.toml was given");
            files.faults.add(fault.help("check one site at a time"));
        } else {
            site = Some((path, file, table));
        }
    }
    match site {
        Some((path, file, table)) => files.site(&path, file, &table),
        None => {
            let environment = Environment {
                secrets: Arc::new(CredentialStore::new(None)),
                state_directory: PathBuf::new(),
                devices_max: CHECK_DEVICES_MAX,
                tags_max: CHECK_TAGS_MAX,
                trace: files.trace.clone(),
            };
            let found = files.profiles(&environment);
            files.finish(None, found)
        }
    }
}

/// The files of one run.
#[derive(Default)]
struct Files {
    sources: Sources,
    faults: Faults,
    inputs: Vec<Input>,
    /// Real paths of what was read, so that no file is read twice.
    seen: BTreeSet<PathBuf>,
    trace: Option<Arc<Trace>>,
}

impl Files {
    /// Reads a file and adds it to the sources. `None` when nothing can be read from it, which
    /// is reported.
    fn read(&mut self, path: &Path) -> Option<(usize, Table)> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert(real) {
            return None;
        }
        let name = path.display().to_string();
        let bytes = match read_bytes(path) {
            Ok(bytes) => bytes,
            Err(message) => {
                let file = self.sources.add(Source::new(name, String::new()));
                let place = Place { file, span: Span::default() };
                let help = folder::dangling(path).map_or("", |_| folder::LINK_HELP);
                self.faults.add(Diagnostic::error("P0002", place, message).help(help));
                return None;
            }
        };
        let valid = std::str::from_utf8(&bytes).map_err(|error| error.valid_up_to());
        let file = self.sources.add(Source::new(name, String::from_utf8_lossy(&bytes).into_owned()));
        if let Err(at) = valid {
            let place = Place { file, span: Span::from(at..at + 1) };
            let fault =
                Diagnostic::error("P0002", place, "the file is not UTF-8 text").label("first wrong byte");
            self.faults.add(fault.help("save it as UTF-8 in the editor"));
            return None;
        }
        let table = parse(self.sources.files.get(file)?, file, &self.faults)?;
        Some((file, table))
    }

    /// Takes a profile or device file on.
    fn take(&mut self, file: usize, table: Table) {
        let known = ["profile", "device"].iter().any(|key| table.get(key).is_some());
        let syntax = !self.faults.any_in(file);
        if known {
            self.inputs.push(Input { file, table, syntax, builtin: false });
        } else if syntax {
            let place = Place { file, span: Span::default() };
            let fault = Diagnostic::error("P0003", place, "this is no file of Forebay");
            self.faults.add(fault.help(
                "a profile has [profile], a device file has [[device]], a forebay.toml has [edge] and [kafka]",
            ));
        }
    }

    /// A folder given on the command line replaced by its `*.toml`.
    fn expand(&mut self, path: &Path) -> Vec<PathBuf> {
        if path.is_dir() { self.list(path) } else { vec![path.to_owned()] }
    }

    /// The `*.toml` of a folder; what is wrong with it or probably forgotten is reported.
    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        let Listing { files, faults } = folder::list(folder);
        for fault in faults {
            let file = self.sources.add(Source::new(fault.path.display().to_string(), String::new()));
            let place = Place { file, span: Span::default() };
            let found = Diagnostic::error("P0002", place, fault.message).help(fault.help);
            self.faults.add(Diagnostic { severity: fault.severity, ..found });
        }
        files
    }

    fn folder(&mut self, folder: &Path) {
        for path in self.list(folder) {
            if let Some((file, table)) = self.read(&path) {
                self.take(file, table);
            }
        }
    }

    fn site(mut self, path: &Path, file: usize, table: &Table) -> Loaded {
        let base = path.parent().unwrap_or(Path::new(""));
        let syntax = !self.faults.any_in(file);
        let Some(source) = self.sources.files.get(file) else {
            return self.finish(None, Instances::default());
        };
        let ctx = Context::new(file, source, &self.faults);
        let Read { config, paths, written_folders, model_names, standby_devices, limits } =
            read::read(&ctx, table, base);
        let mut missing = Vec::new();
        for (folder, span) in written_folders {
            // What is there but cannot be looked into is reported when it is listed.
            if folder.metadata().map_or_else(|error| folder::is_not_there(&error), |it| !it.is_dir()) {
                let what = folder::dangling(&folder)
                    .unwrap_or_else(|| format!("there is no folder {}", folder.display()));
                let fault = ctx.error("C0204", span, format!("[paths]: {what}"));
                ctx.report(fault.help("make the folder, or correct the path; it is relative to this file"));
                missing.push(folder);
            }
        }
        let sound = syntax && !ctx.failed();
        for folder in paths.profiles.iter().chain(&paths.devices).filter(|it| !missing.contains(it)) {
            self.folder(folder);
        }
        let environment = Environment {
            secrets: Arc::new(CredentialStore::new(paths.credentials.clone())),
            state_directory: paths.state.clone(),
            devices_max: limits.devices,
            tags_max: limits.tags,
            trace: self.trace.clone(),
        };
        let mut found = self.profiles(&environment);
        if let Some(source) = self.sources.files.get(file) {
            let ctx = Context::new(file, source, &self.faults);
            models::check(&ctx, &model_names, &found, &paths);
            check_standby(&ctx, &standby_devices, &found);
        }
        if let Some(Standby::Standby(standby)) = config.as_ref().and_then(|config| config.standby.as_ref()) {
            mark(standby, &mut found.devices);
        }
        let config = config.filter(|_| sound);
        Loaded { paths: Some(paths), ..self.finish(config, found) }
    }

    /// Walks all files taken on, with the built-in profiles behind them.
    fn profiles(&mut self, environment: &Environment) -> Instances {
        let mut inputs = Vec::new();
        for (name, text) in BUILTIN {
            let file = self.sources.add(Source::new(format!("built-in {name}"), (*text).to_owned()));
            let table = self.sources.files.get(file).and_then(|source| parse(source, file, &self.faults));
            inputs.extend(table.map(|table| Input { file, table, syntax: true, builtin: true }));
        }
        inputs.append(&mut self.inputs);
        profile::load(&self.sources, &inputs, &self.faults, environment)
    }

    fn finish(self, config: Option<Config>, found: Instances) -> Loaded {
        let (diagnostics, hidden) = self.faults.finish();
        Loaded {
            config,
            read_us: 0,
            paths: None,
            devices: found.devices,
            refused: found.refused,
            diagnostics,
            hidden,
            sources: self.sources,
        }
    }
}

/// Every device that `[standby]` names must be there.
fn check_standby(ctx: &Context<'_>, named: &[(String, Span)], found: &Instances) {
    let devices = found.devices.iter().map(|device| device.name.as_str());
    let known: Vec<&str> = devices.chain(found.refused.iter().map(|device| device.name.as_str())).collect();
    for (name, span) in named.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let help = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write names of [[device]]; without `devices` it holds for all".to_owned(),
        };
        let fault = ctx.error("C0211", *span, format!("[standby]: there is no device \"{name}\""));
        ctx.report(fault.help(help));
    }
}

/// Marks what is read only while another box is silent.
fn mark(standby: &StandbyFor, devices: &mut [Arc<Device>]) {
    for device in devices.iter_mut().filter(|device| standby.covers(&device.name)) {
        // Nobody else has seen them yet.
        if let Some(device) = Arc::get_mut(device) {
            device.standby_for.clone_from(&standby.of);
        }
    }
}

/// The bytes of a file of at most [`FILE_BYTES_MAX`], or why not.
fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Opening a pipe would wait for its writer.
    if !path.metadata().map_err(|error| folder::dangling(path).unwrap_or_else(|| failed(error)))?.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {} KiB", path.display(), FILE_BYTES_MAX / 1024));
    }
    Ok(bytes)
}
