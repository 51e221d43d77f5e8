//! The journal compiled alone, as it is and with mistakes: its tests must notice each of them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::root;

/// One file of `tests/mutants`.
struct Mutant {
    name: String,
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().replace('-', "_");
        let parts = || {
            let (head, rest) = text.split_once("find:\n")?;
            let (find, replace) = rest.split_once("replace:\n")?;
            let file = head.lines().find_map(|line| line.strip_prefix("file: "))?;
            Some((file.to_owned(), find.to_owned(), replace.to_owned()))
        };
        let (file, find, replace) =
            parts().unwrap_or_else(|| panic!("{}: file:, find: and replace: are needed", path.display()));
        Self { name, file, find, replace }
    }

    fn apply(&self, module: &Path) {
        let path = module.join(&self.file);
        let text = fs::read_to_string(&path).unwrap();
        let found = text.matches(&self.find).count();
        assert_eq!(
            found, 1,
            "{}: its text stands {found} times in src/journal/{}: adapt it",
            self.name, self.file
        );
        fs::write(path, text.replace(&self.find, &self.replace)).unwrap();
    }
}

fn mutants() -> Vec<Mutant> {
    let files = fs::read_dir(root().join("tests/mutants")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "mutant")).collect();
    files.sort();
    files.iter().map(|path| Mutant::read(path)).collect()
}

/// A crate with the journal as the module `original` and each mutant as a module of its name.
fn write_crate(mutants: &[Mutant]) -> PathBuf {
    let home = root().join("target/mutants");
    let source = home.join("src");
    if source.exists() {
        fs::remove_dir_all(&source).unwrap();
    }
    let mut modules = String::new();
    for name in ["original"].into_iter().chain(mutants.iter().map(|mutant| mutant.name.as_str())) {
        writeln!(modules, "pub mod {name};").unwrap();
        let module = source.join(name);
        fs::create_dir_all(&module).unwrap();
        for entry in fs::read_dir(root().join("src/journal")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, module.join(path.file_name().unwrap())).unwrap();
        }
    }
    mutants.iter().for_each(|mutant| mutant.apply(&source.join(&mutant.name)));
    fs::write(source.join("lib.rs"), modules).unwrap();
    fs::copy(root().join("tests/mutants/crate.toml"), home.join("Cargo.toml")).unwrap();
    // The same versions as the workspace has, from the same place, without asking anybody.
    fs::copy(root().join("Cargo.lock"), home.join("Cargo.lock")).unwrap();
    home
}

fn cargo(home: &Path, cases: u32, arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .args(["test", "--offline", "--lib", "--target-dir", "target"])
        .args(arguments)
        .current_dir(home)
        .env("PROPTEST_CASES", cases.to_string())
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("cargo starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_tests_of_the_journal_notice_every_mutant() {
    let mutants = mutants();
    assert!(mutants.len() >= 12, "mutants are missing");
    let home = write_crate(&mutants);
    let built = cargo(&home, 1, &["--no-run"]);
    assert!(built.status.success(), "the journal does not compile alone:\n{}", said(&built));
    let original = cargo(&home, 300, &["original::"]);
    assert!(original.status.success(), "the unchanged journal fails:\n{}", said(&original));
    let mut survivors = Vec::new();
    for mutant in &mutants {
        // Many cases, because the first that fails ends it.
        let output = cargo(&home, 2000, &[&format!("{}::", mutant.name)]);
        let noticed = !output.status.success() && said(&output).contains("test result: FAILED");
        if !noticed {
            survivors.push(&mutant.name);
        }
    }
    assert!(survivors.is_empty(), "nothing notices {survivors:?}");
}
