//! Files with faults and what is said about them: a folder of `tests/cases` is a test.
//!
//! A folder with a `forebay.toml` is loaded as a site, any other is checked as `forebay check`
//! would check its files. `expected.txt` holds the whole message; without it the files must be
//! clean. `FOREBAY_BLESS=1` writes what was said, to be read and committed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use forebay::config::{Loaded, check_files, load};
use forebay::diagnostic::Format;

use crate::support::root;

/// Fewest folders: a wrong path must not make the test pass with nothing in it.
const CASES_MIN: usize = 70;

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/cases")).expect("tests/cases is there");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    folders.sort();
    folders
}

fn check(folder: &Path) -> Loaded {
    let site = folder.join("forebay.toml");
    if site.exists() { load(&site) } else { check_files(&[folder.to_owned()]) }
}

#[test]
fn every_case_says_what_is_expected() {
    let bless = std::env::var_os("FOREBAY_BLESS").is_some();
    let folders = folders();
    assert!(folders.len() >= CASES_MIN, "only {} folders in tests/cases", folders.len());
    let mut wrong = Vec::new();
    for folder in &folders {
        // Messages name files as they were given; the folder differs from machine to machine.
        let said = check(folder).render(Format::Text, false).replace(&format!("{}/", folder.display()), "");
        let file = folder.join("expected.txt");
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if said == expected {
            continue;
        }
        if bless {
            std::fs::write(&file, &said).expect("expected.txt can be written");
        }
        wrong.push(format!("{}:\n{}", folder.display(), difference(&expected, &said)));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ (FOREBAY_BLESS=1 rewrites them):\n{}",
        wrong.len(),
        folders.len(),
        wrong.join("\n")
    );
}

/// Lines only expected (-) and lines only said (+), in place, between the equal head and tail.
fn difference(expected: &str, said: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), said.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let minus = old[..old.len() - tail].iter().map(|line| format!("  - {line}\n"));
    let plus = new[..new.len() - tail].iter().map(|line| format!("  + {line}\n"));
    format!("  from line {}:\n{}", head + 1, minus.chain(plus).collect::<String>())
}

/// Links are made here: not everything that copies a repository takes links to nothing along.
#[test]
fn links_to_nothing_are_named() {
    let site = tempfile::tempdir().expect("a folder");
    let path = |name: &str| site.path().join(name);
    std::fs::copy(root().join("tests/cases/site-folder-slips/forebay.toml"), path("forebay.toml"))
        .expect("it is copied");
    std::fs::create_dir(path("devices")).expect("a folder");
    symlink("elsewhere.toml", path("devices/line9.toml")).expect("a link");
    symlink("nowhere", path("profiles")).expect("a link");
    let said = check(site.path()).render(Format::Text, false);
    for (file, target) in [("devices/line9.toml", "elsewhere.toml"), ("profiles", "nowhere")] {
        let expected = format!("error[P0002]: {} is a link to nothing: {target}", path(file).display());
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn every_code_is_what_a_case_shows() {
    let said: String = folders()
        .iter()
        .map(|folder| std::fs::read_to_string(folder.join("expected.txt")).unwrap_or_default())
        .collect();
    let missing: Vec<String> = crate::tidy::diagnostic_codes(&["src/profile", "src/config", "src/document"])
        .into_iter()
        .filter(|code| !said.contains(&format!("[{code}]")))
        .collect();
    assert!(missing.is_empty(), "no folder of tests/cases shows {}", missing.join(", "));
}

#[test]
fn a_bad_device_harms_only_itself() {
    let loaded = check(&root().join("tests/cases/site-one-bad-device"));
    let names: Vec<&str> = loaded.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["press-1", "meter-1"]);
    assert_eq!(loaded.refused.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["press-2", "press-3"]);
    assert!(loaded.config.is_some());
}

#[test]
fn the_example_site_is_clean() {
    let loaded = load(&root().join("docs/example/forebay.toml"));
    assert_eq!(loaded.render(Format::Text, false), "");
    assert!(loaded.config.is_some() && loaded.devices.len() >= 3);
}
