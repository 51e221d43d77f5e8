//! The schemas of `forebay schema`, judged by a validator that nobody here wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use forebay::schema::{self, Kind};

use crate::support::{root, tool};

/// What Python's `jsonschema` says of each file: `ok`, or the fault.
fn validate(kind: Kind, files: &[PathBuf]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let written = folder.path().join("schema.json");
    std::fs::write(&written, schema::text(kind)).expect("it is written");
    let output = Command::new(tool("schema/bin/python"))
        .arg(root().join("tests/peers/validate_schema.py"))
        .arg(&written)
        .args(files)
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), files.len(), "{said}");
    lines
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    found.sort();
    found
}

/// Folders of tests/cases whose files are clean and plain TOML 1.0, which is what Python reads.
fn clean_cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/cases")).expect("it is there");
    let folders = entries.map(|entry| entry.expect("it can be read").path());
    let named_right =
        |it: &PathBuf| it.file_name().is_some_and(|name| name.to_string_lossy().starts_with("right-"));
    let clean = folders.filter(|it| named_right(it) && !it.join("forebay.toml").exists());
    clean.filter(|it| !it.ends_with("right-toml-1-1") && !it.ends_with("right-windows-editor")).collect()
}

#[test]
fn the_shipped_files_are_valid() {
    let mut files = toml_files(&root().join("profiles"));
    files.extend(toml_files(&root().join("docs/example/devices")));
    for case in clean_cases() {
        files.extend(toml_files(&case));
    }
    assert!(files.len() >= 10, "only {} files", files.len());
    for (file, said) in files.iter().zip(validate(Kind::Profile, &files)) {
        assert_eq!(said, "ok", "{}", file.display());
    }
    let sites =
        [root().join("docs/example/forebay.toml"), root().join("tests/cases/right-site/forebay.toml")];
    assert_eq!(validate(Kind::Site, &sites), ["ok", "ok"]);
}

#[test]
fn a_slip_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let press = std::fs::read_to_string(root().join("profiles/acme-press-630t.toml")).expect("it is there");
    let site = std::fs::read_to_string(root().join("docs/example/forebay.toml")).expect("it is there");
    let cases = [
        (Kind::Profile, &press, "deadband = 5,", "deadbnd = 5,", "deadbnd"),
        (Kind::Profile, &press, "[scan]", "[scans]", "scans"),
        (Kind::Profile, &press, "cpu ", "cpus ", "cpus"),
        (Kind::Profile, &press, "\"200ms\"", "200", "200"),
        (Kind::Profile, &press, "unit = \"kN\"", "unit = \"kn\"", "kn"),
        (Kind::Profile, &press, "endpoint", "endpont", "endpont"),
        (Kind::Profile, &press, "priority = \"high\"", "priority = \"urgent\"", "urgent"),
        (Kind::Site, &site, "brokers =", "broker =", "broker"),
        (Kind::Site, &site, "budget = \"4GiB\"", "budget = 4", "4"),
    ];
    for (number, (kind, text, from, to, named)) in cases.into_iter().enumerate() {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(&wrong, text, "{from} is not there");
        let file = folder.path().join(format!("{number}.toml"));
        std::fs::write(&file, wrong).expect("it is written");
        let said = validate(kind, &[file]).remove(0);
        assert!(said != "ok" && said.contains(named), "{from} → {to}: {said}");
    }
}
