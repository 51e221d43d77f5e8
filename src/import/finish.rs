//! The end of every import: the profile is checked as `forebay check` would, and written.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;

use super::draft::{Draft, DraftDevice, words};
use super::names;
use super::report::{Refusal, Report};
use crate::config::CredentialStore;
use crate::device::Device;
use crate::diagnostic::{Faults, Format, Severity, Source, Sources, render};
use crate::document::{FILE_BYTES_MAX, parse};
use crate::profile::{self, Environment, Input, TAGS_MAX};

/// Where the profile goes, and which machine is the first of its type.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// Name of the profile; that of the file unless given.
    #[arg(long, display_order = 80)]
    pub name: Option<String>,
    /// Address of the machine; with it the profile has its first `[[device]]`.
    #[arg(long, display_order = 81)]
    pub endpoint: Option<String>,
    /// Name of that machine; `<name>-1` unless given.
    #[arg(long, requires = "endpoint", display_order = 82)]
    pub device: Option<String>,
    /// Where it stands: Site/Area/Line/Cell.
    #[arg(long, requires = "endpoint", display_order = 83)]
    pub location: Option<String>,
    /// File to write; without it the profile goes to the terminal.
    #[arg(long, value_name = "FILE", display_order = 84)]
    pub out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long, requires = "out", display_order = 85)]
    pub force: bool,
}

impl Target {
    /// Name of the profile: as asked for, or made of the file's.
    ///
    /// # Errors
    /// The name that was asked for cannot be one.
    pub fn profile_name(&self, file: &std::path::Path) -> anyhow::Result<String> {
        match &self.name {
            Some(name) if names::fit(name) != *name => {
                bail!(
                    "--name \"{name}\" is no name: letters (a to z), digits, _ and -, at most 64; {} would do",
                    names::fit(name)
                )
            }
            Some(name) => Ok(name.clone()),
            None => {
                let stem =
                    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                Ok(names::fit(&stem).to_lowercase())
            }
        }
    }

    /// The first device, where an endpoint is given.
    pub fn device(&self, profile: &str, report: &mut Report) -> Option<DraftDevice> {
        let endpoint = self.endpoint.clone()?;
        let name = self.device.clone().unwrap_or_else(|| format!("{}-1", &profile[..profile.len().min(62)]));
        let location = self.location.clone().unwrap_or_else(|| {
            report.note(
                "I0208",
                "location = \"Site\" is a filler",
                "write where the machine stands, as Site/Area/Line/Cell, or give --location",
            );
            "Site".to_owned()
        });
        Some(DraftDevice { name, endpoint, location, insecure: false })
    }
}

/// Checks the profile, writes it where it belongs, and says what was done.
///
/// Ends with 1 when something was left out.
///
/// # Errors
/// Nothing was taken, the profile has faults that come of what was asked for, or it cannot be
/// written.
pub fn finish(
    mut draft: Draft,
    mut report: Report,
    target: &Target,
    out: &mut impl Write,
    said: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    draft.device = draft.device.take().or_else(|| target.device(&draft.name, &mut report));
    draft.source = words(&draft.source);
    draft.title = words(&draft.title);
    report.taken = draft.tags();
    if report.taken == 0 {
        said.write_all(report.render().as_bytes())?;
        bail!("{} has nothing that can be taken, so no profile is written", report.file);
    }
    let text = draft.render();
    let file = target.out.as_ref().map_or("profile".to_owned(), |path| path.display().to_string());
    let (_, doubts) = proof(&file, &text)?;
    match &target.out {
        None => {
            out.write_all(text.as_bytes())?;
            said.write_all(report.render().as_bytes())?;
            said.write_all(doubts.as_bytes())?;
        }
        Some(path) => {
            write(path, &text, target.force)?;
            out.write_all(report.render().as_bytes())?;
            out.write_all(doubts.as_bytes())?;
            writeln!(out, "written: {file}; look at it, then: forebay check {file}")?;
        }
    }
    Ok(if report.is_partial() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes a file that does not exist yet, or is to be replaced: whole, or not at all.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write(path: &std::path::Path, text: &str, replace: bool) -> anyhow::Result<()> {
    let name = path.display();
    if !replace && path.exists() {
        bail!("{name} exists already; nothing is written. --force replaces it");
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(std::path::Path::new("."));
    let mut part = path.file_name().unwrap_or_default().to_os_string();
    part.push(format!(".{}.part", std::process::id()));
    let part = folder.join(part);
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // What went wrong is said below; a part that cannot be removed changes nothing about it.
        let _left_over = std::fs::remove_file(&part);
    }
    written.with_context(|| format!("{name} cannot be written"))
}

/// Checks a profile as `forebay check` does: its devices, and the warnings as text.
///
/// # Errors
/// It has faults, or is larger than a profile may be.
pub fn proof(file: &str, text: &str) -> anyhow::Result<(Vec<Arc<Device>>, String)> {
    if text.len() > FILE_BYTES_MAX {
        let refusal = Refusal::new(
            "I0005",
            format!("the profile would have {} bytes, a file has at most {FILE_BYTES_MAX}", text.len()),
            "export a part of the tags at a time",
        );
        bail!("{}[{}]", refusal, refusal.code);
    }
    let (mut sources, faults) = (Sources::default(), Faults::default());
    let source = sources.add(Source::new(file, text.to_owned()));
    let table = parse(&sources.files[source], source, &faults);
    let inputs: Vec<Input> = table
        .into_iter()
        .map(|table| Input { file: source, table, syntax: !faults.any_in(source), builtin: false })
        .collect();
    let environment = Environment {
        secrets: Arc::new(CredentialStore::new(None)),
        state_directory: PathBuf::new(),
        devices_max: 1,
        tags_max: TAGS_MAX,
        trace: None,
    };
    let found = profile::load(&sources, &inputs, &faults, &environment);
    let (diagnostics, hidden) = faults.finish();
    let said = render(&sources, &diagnostics, hidden, Format::Text, false);
    // What is hidden are warnings like those shown, unless the device was refused.
    let is_refused = !found.refused.is_empty();
    if diagnostics.iter().any(|it| it.severity == Severity::Error) || (hidden > 0 && is_refused) {
        bail!("the profile would not pass `forebay check`, so nothing is written:\n{}", said.trim_end());
    }
    Ok((found.devices, said))
}
