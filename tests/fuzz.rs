//! Fuzzing of everything that is read from a disk (tests/fuzz/README.md): the binary formats guided by
//! coverage, the texts by seeded changes. Bounded in time here; `FOREBAY_FUZZ_SECONDS` sets more.

#[path = "fuzz/texts.rs"]
mod texts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::root;

/// Seconds of fuzzing for each target.
const SECONDS: u64 = 15;
/// Resident memory of a target at most, in MB. An input is 64 KB at most; a frame may unpack to 8 MiB.
const MEMORY_MB: u64 = 512;
/// One input may take this many seconds at most, instrumented and on a busy machine.
const INPUT_SECONDS: u64 = 20;

/// What rustc needs for libFuzzer; all of it is stable.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Seconds for each kind of input.
pub fn seconds() -> u64 {
    std::env::var("FOREBAY_FUZZ_SECONDS").map_or(SECONDS, |text| text.parse().expect("a number of seconds"))
}

/// A number that makes another run; printed, so that a run can be repeated.
pub fn seed() -> u64 {
    std::env::var("FOREBAY_FUZZ_SEED").map_or(20_261_121, |text| text.parse().expect("a number"))
}

/// Inputs that once crashed `target`; they stay for ever.
pub fn crashes(target: &str) -> PathBuf {
    root().join("tests/fuzz/crashes").join(target)
}

/// Builds the targets; the folder of their binaries.
fn build() -> PathBuf {
    let said = Command::new("rustc").arg("-vV").output().expect("rustc starts").stdout;
    let said = String::from_utf8(said).expect("UTF-8");
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let target = root().join("target/fuzz");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With a target named, build scripts and macros are left as they are.
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--bins", "--target", host])
        .current_dir(root().join("tests/fuzz"))
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", INSTRUMENTATION)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "the fuzz targets do not build:\n{}", said_by(&output));
    target.join(host).join("debug")
}

fn said_by(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut inputs: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    inputs.sort();
    inputs
}

/// Replays what is kept of `target`, then fuzzes it.
fn fuzz(binaries: &Path, target: &str) {
    let (crashes, corpus) = (crashes(target), root().join("tests/fuzz/corpus").join(target));
    let grown = root().join("target/fuzz/corpus").join(target);
    fs::create_dir_all(&grown).expect("a folder");
    fs::create_dir_all(&crashes).expect("a folder");
    let binary = binaries.join(target);
    let bounds = [format!("-rss_limit_mb={MEMORY_MB}"), format!("-timeout={INPUT_SECONDS}")];
    let kept: Vec<PathBuf> = inputs(&crashes).into_iter().chain(inputs(&corpus)).collect();
    assert!(!kept.is_empty(), "{} has nothing to begin with", corpus.display());
    let replayed = Command::new(&binary).args(&bounds).args(&kept).output().expect("it starts");
    assert!(replayed.status.success(), "{target}: an input that is kept fails:\n{}", said_by(&replayed));
    let output = Command::new(&binary)
        .args(&bounds)
        .arg(format!("-max_total_time={}", seconds()))
        .arg(format!("-seed={}", seed() % (1 << 31)))
        .args(["-max_len=65536", "-print_final_stats=1", "-len_control=20"])
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args([&grown, &corpus])
        .output()
        .expect("it starts");
    let said = said_by(&output);
    let tail: Vec<&str> = said.lines().rev().take(60).collect();
    assert!(
        output.status.success(),
        "{target}: what fails is now in {}:\n{}",
        crashes.display(),
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    );
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.and_then(|line| line.trim_start_matches(':').trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let coverage =
        said.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next()).unwrap_or("?");
    let (runs, memory) = (number("number_of_executed_units"), number("peak_rss_mb"));
    println!(
        "{target}: {} inputs replayed, {runs} tried, coverage {coverage}, at most {memory} MB",
        kept.len()
    );
    assert!(runs > 100, "{target}: only {runs} inputs were tried");
    assert!(memory > 0 && memory <= MEMORY_MB);
}

#[test]
fn no_directory_makes_a_journal_or_a_lane_panic() {
    let binaries = build();
    std::thread::scope(|scope| {
        for target in ["journal", "lane", "state"] {
            let binaries = &binaries;
            scope.spawn(move || fuzz(binaries, target));
        }
    });
}
