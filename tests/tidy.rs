//! House rules that a compiler does not check. Fast: it reads the sources, nothing is built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 600;

/// Lines of a function, braces included.
const FUNCTION_LINES_MAX: usize = 70;

/// Folders that are not ours to check.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// A file of the repository.
struct File {
    /// Path from the root, with `/`.
    path: String,
    text: String,
}

impl File {
    /// The lines before the tests at the end of the file.
    fn production(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        lines[..tests.unwrap_or(lines.len())].to_vec()
    }
}

/// All text files below `folder`.
fn files(folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path: PathBuf = entry.expect("it can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name.as_str()) {
                open.push(path);
            } else if let Some(file) = read(&path) {
                found.push(file);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: &Path) -> Option<File> {
    let relative = path.strip_prefix(root()).ok()?.to_string_lossy().replace('\\', "/");
    // Pictures, models and journals are not text.
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    Some(File { path: relative, text })
}

/// Rust files of crates, their test folders left out.
fn production_sources() -> Vec<File> {
    let all = ["src", "connectors", "hil"].into_iter().flat_map(files);
    let is_test = |path: &str| path.contains("/tests/") || path.ends_with("tests.rs");
    let found: Vec<File> = all.filter(|file| file.path.ends_with(".rs") && !is_test(&file.path)).collect();
    assert!(found.len() > 30, "only {} sources found", found.len());
    found
}

fn nothing(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn files_are_short() {
    let long = production_sources().into_iter().filter_map(|file| {
        let lines = file.production().len();
        (lines > FILE_LINES_MAX)
            .then(|| format!("{}: {lines} lines without tests, at most {FILE_LINES_MAX}", file.path))
    });
    nothing(&long.collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for file in production_sources() {
        let lines = file.production();
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function = code.starts_with("fn ")
                || (code.starts_with("pub") || code.starts_with("async")) && code.contains(" fn ");
            if !is_function || code.ends_with(';') || code.ends_with('}') {
                continue;
            }
            // rustfmt puts the closing brace under the first letter of the function.
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let length = lines[start..].iter().position(|line| *line == end).map_or(0, |at| at + 1);
            if length > FUNCTION_LINES_MAX {
                long.push(format!(
                    "{}:{}: {length} lines, at most {FUNCTION_LINES_MAX}",
                    file.path,
                    start + 1
                ));
            }
        }
    }
    nothing(&long);
}

#[test]
fn the_journal_stands_alone() {
    let mut found = Vec::new();
    for file in files("src/journal") {
        for (number, line) in file.text.lines().enumerate() {
            let foreign = line.split("crate::").skip(1).any(|rest| !rest.starts_with("journal"));
            if foreign && !line.trim_start().starts_with("//") {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    nothing(&found);
}

#[test]
fn profiles_know_no_protocol() {
    let names: Vec<String> =
        forebay::connectors::all().iter().map(|protocol| format!("\"{}\"", protocol.name())).collect();
    let found =
        files("src/profile").into_iter().filter(|file| !file.path.ends_with("tests.rs")).flat_map(|file| {
            let lines = file.production().into_iter().enumerate();
            lines
                .filter(|(_, line)| names.iter().any(|name| line.contains(name)))
                .map(|(number, line)| format!("{}:{}: {}", file.path, number + 1, line.trim()))
                .collect::<Vec<_>>()
        });
    nothing(&found.collect::<Vec<_>>());
}

#[test]
fn nothing_is_skipped_or_left_open() {
    // Written in two parts, so that this file does not find itself.
    let words = [
        concat!("#[ign", "ore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
    ];
    let mut found = Vec::new();
    for folder in ["src", "connectors", "hil", "tests"] {
        for file in files(folder).into_iter().filter(|file| file.path.ends_with(".rs")) {
            for (number, line) in file.text.lines().enumerate() {
                found.extend(
                    words
                        .iter()
                        .filter(|word| line.contains(**word))
                        .map(|word| format!("{}:{}: {word}", file.path, number + 1)),
                );
            }
        }
    }
    nothing(&found);
}

/// Codes of diagnostics and faults in the sources under these folders: a letter and four digits,
/// or `FB-` and what follows, as a string of its own.
pub fn diagnostic_codes(folders: &[&str]) -> BTreeSet<String> {
    let is_code = |text: &str| {
        let bytes = text.as_bytes();
        let lettered = bytes.len() == 5
            && matches!(bytes[0], b'C' | b'I' | b'M' | b'O' | b'P' | b'S')
            && bytes[1..].iter().all(u8::is_ascii_digit);
        let numbered = text.strip_prefix("FB-").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
        });
        lettered || numbered
    };
    let sources = folders.iter().flat_map(|folder| files(folder)).filter(|file| file.path.ends_with(".rs"));
    sources
        .flat_map(|file| {
            let lines = file.production();
            let quoted = lines.iter().flat_map(|line| line.split('"').skip(1).step_by(2));
            quoted.filter(|text| is_code(text)).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_code_is_explained() {
    let explained: String = files("docs/errors").into_iter().map(|file| file.text).collect();
    let codes = diagnostic_codes(&["src", "connectors"]);
    assert!(codes.len() > 40, "only {} codes found", codes.len());
    let missing: Vec<String> =
        codes.into_iter().filter(|code| !explained.contains(&format!("\n## {code}: "))).collect();
    nothing(
        &missing
            .iter()
            .map(|code| format!("docs/errors has no section \"## {code}: …\""))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_names_this_machine() {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut paths = vec![root().display().to_string()];
    if home.len() > 1 {
        paths.push(format!("{home}/"));
    }
    let mut found = Vec::new();
    for file in files("") {
        for (number, line) in file.text.lines().enumerate() {
            if paths.iter().any(|path| line.contains(path.as_str())) {
                found.push(format!("{}:{}: names a path of this machine", file.path, number + 1));
            }
        }
        if file.path.ends_with("Cargo.lock") {
            let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
            let foreign = file.text.lines().filter(|line| line.starts_with("source = ") && *line != public);
            found.extend(foreign.map(|line| format!("{}: {line}", file.path)));
        }
    }
    nothing(&found);
}

#[test]
fn the_first_command_of_the_readme_runs_forebay() {
    assert!(
        std::fs::read_to_string(root().join("README.md")).unwrap().contains("\ncargo run --release -- demo ")
    );
    // With a second one cargo asks which is meant.
    let mut manifests = vec!["Cargo.toml".to_owned()];
    let members = ["connectors", "hil"].into_iter().flat_map(files).map(|file| file.path);
    manifests.extend(members.filter(|path| path.ends_with("/Cargo.toml")));
    let run: Vec<_> = manifests
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(root().join(path)).unwrap();
            text.lines().any(|line| line.starts_with("default-run"))
        })
        .collect();
    assert_eq!(run, ["Cargo.toml"]);
}

#[test]
fn crates_keep_to_their_side() {
    let mut found = Vec::new();
    for file in files("connectors").into_iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        if !file.text.contains("[lints]\nworkspace = true") {
            found.push(format!("{}: does not take the lints of the workspace", file.path));
        }
        if file.text.lines().any(|line| line.starts_with("forebay ") || line.starts_with("forebay=")) {
            found.push(format!("{}: a connector must not depend on the root package", file.path));
        }
        if file.path == "connectors/api/Cargo.toml" && file.text.contains("tokio") {
            found.push(format!("{}: types only, no runtime", file.path));
        }
    }
    nothing(&found);
}
