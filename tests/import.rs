//! Exports of other programs and what is made of them: a folder of `tests/import` is a test.
//!
//! `command.txt` holds what stands behind `forebay import`, `@` before files of the folder;
//! `expected.toml` is the profile (`expected.diff` what an update shows), `expected.txt` the report with
//! the exit code. Both are the whole output. `FOREBAY_BLESS=1` writes what came out, to be read and
//! committed.

use std::path::{Path, PathBuf};

use clap::Parser;
use forebay::config::check_files;
use forebay::diagnostic::Format;
use forebay::import::{self, ImportCommand};

use crate::support::root;

#[path = "import/hostile.rs"]
mod hostile;
#[path = "import/round_trip.rs"]
mod round_trip;

/// Fewest folders: a wrong path must not make the test pass with nothing in it.
const CASES_MIN: usize = 40;

/// What stands behind `forebay import`.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: ImportCommand,
}

/// What an import gave: the profile, the report, the exit code as text.
pub struct Imported {
    pub profile: String,
    pub report: String,
}

/// Runs `forebay import <arguments>`.
pub fn import(arguments: &[String]) -> Imported {
    let line = Line::try_parse_from(std::iter::once("import".to_owned()).chain(arguments.iter().cloned()));
    let line = line.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let (mut out, mut said) = (Vec::new(), Vec::new());
    let end = match import::run(&line.command, &mut out, &mut said) {
        Ok(code) => format!("exit: {code:?}\n"),
        Err(error) => format!("forebay: {error:#}\nexit: 1\n"),
    };
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    let end = end.replace("ExitCode(unix_exit_status(", "").replace("))", "");
    Imported { profile: text(out), report: text(said) + &end }
}

fn arguments(folder: &Path) -> Vec<String> {
    let line = std::fs::read_to_string(folder.join("command.txt")).expect("command.txt is there");
    let path = |word: &str| match word.strip_prefix('@') {
        Some(name) => folder.join(name).display().to_string(),
        None => word.to_owned(),
    };
    line.split_whitespace().map(path).collect()
}

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/import")).expect("tests/import is there");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_export_gives_what_is_expected() {
    let bless = std::env::var_os("FOREBAY_BLESS").is_some();
    let folders = folders();
    assert!(folders.len() >= CASES_MIN, "only {} folders in tests/import", folders.len());
    let mut wrong = Vec::new();
    for folder in &folders {
        let imported = import(&arguments(folder));
        let [profile, report] = [imported.profile, imported.report]
            .map(|text| text.replace(&format!("{}/", folder.display()), ""));
        let output = if profile.starts_with("forebay = 1") { "expected.toml" } else { "expected.diff" };
        for (file, found) in [(output, &profile), ("expected.txt", &report)] {
            let path = folder.join(file);
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            if *found == expected {
                continue;
            }
            wrong.push(format!("{}:\n--- expected\n{expected}--- found\n{found}", path.display()));
            if bless && found.is_empty() {
                std::fs::remove_file(&path).expect("it can be removed");
            } else if bless {
                std::fs::write(&path, found).expect("it can be written");
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ (FOREBAY_BLESS=1 rewrites them):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What an importer writes is what `forebay check` takes.
#[test]
fn every_imported_profile_passes_the_check() {
    let profiles: Vec<PathBuf> = folders()
        .into_iter()
        .map(|folder| folder.join("expected.toml"))
        .filter(|path| path.exists())
        .collect();
    assert!(profiles.len() > 8, "only {} profiles in tests/import", profiles.len());
    for profile in profiles {
        let checked = check_files(std::slice::from_ref(&profile));
        assert_eq!(checked.errors(), 0, "{}", checked.render(Format::Text, false));
    }
}

/// Timers and counters of a CPU are read where the protocol can; otherwise they are named.
#[test]
fn timers_and_counters_are_taken_or_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tags.csv");
    let kepware = "Tag Name,Address,Data Type\nTimer,T5,Long\nCounter,Z3,Word\nOther,MW10,Word\n";
    let tia = "Name,Path,Data Type,Logical Address,Comment\nTimer,T,Timer,%T5,\nCounter,T,Counter,%C3,\nOther,T,Int,%MW10,\n";
    for (text, arguments) in
        [(kepware, vec!["kepware", "FILE", "--protocol", "s7"]), (tia, vec!["tia-tags", "FILE"])]
    {
        std::fs::write(&file, text).expect("it is written");
        let path = file.display().to_string();
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|word| if word == "FILE" { path.clone() } else { word.to_owned() })
            .collect();
        let imported = import(&arguments);
        for (name, address, data_type) in [("Timer", "T5", "S5TIME"), ("Counter", "C3", "BCD")] {
            let taken = imported.profile.contains(&format!("address = \"{address}\","))
                && imported.profile.contains(&format!("type = \"{data_type}\""));
            let named = imported.report.contains(&format!("{name}: not taken[I0104]"));
            assert!(taken != named, "{name}:\n{}\n{}", imported.profile, imported.report);
        }
    }
}

/// A file is never written over unasked, and an update is written where it is asked for.
#[test]
fn files_are_replaced_only_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("press.toml");
    let update = root().join("tests/import/tia-db-update");
    let import_with = |more: &[&str]| {
        let mut arguments = arguments(&update);
        arguments.truncate(4);
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        import(&arguments)
    };
    let path = out.display().to_string();
    let first = import_with(&["--out", &path]);
    assert!(
        first.profile.contains("written: ") && first.report == "exit: 0\n",
        "{}{}",
        first.profile,
        first.report
    );
    let written = std::fs::read_to_string(&out).expect("it is written");
    let again = import_with(&["--out", &path, "--name", "other"]);
    assert!(again.report.contains("exists already; nothing is written"), "{}", again.report);
    assert_eq!(std::fs::read_to_string(&out).expect("it is there"), written);
    import_with(&["--out", &path, "--name", "other", "--force"]);
    assert!(std::fs::read_to_string(&out).expect("it is there").contains("\"other\""));

    std::fs::copy(update.join("press.toml"), &out).expect("it is copied");
    let updated = import_with(&["--update", &path, "--out", &path, "--force"]);
    assert!(updated.profile.contains("written: "), "{}{}", updated.profile, updated.report);
    let text = std::fs::read_to_string(&out).expect("it is there");
    for kept in [
        "deadband = 0.2 }   # measured in the tank",
        "kind = \"counter\"",
        "# added by hand",
        "name     = \"press-3\"",
    ] {
        assert!(text.contains(kept), "{kept} is lost in\n{text}");
    }
    let nothing = import_with(&["--update", &path]);
    assert!(nothing.profile.ends_with("nothing changes\n"), "{}", nothing.profile);
    assert_eq!(check_files(&[out]).errors(), 0);
}
