//! Texts: changed by a seeded fuzzer, for coverage they need too much of Forebay to be instrumented.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::backlog::Manifest;
use forebay::config;
use forebay::replicate::Checkpoint;

use super::{crashes, seconds, seed};
use crate::support::root;

/// Longest input.
const BYTES_MAX: usize = 64 << 10;
/// One input may take this long at most, not optimised and on a busy machine.
const INPUT_MAX: Duration = Duration::from_secs(20);
/// Growth of resident memory over all inputs, in MB.
const GROWTH_MB_MAX: u64 = 64;

/// Set in the process that does the work of a test.
const ALONE: &str = "FOREBAY_TEST_ALONE";

/// Pieces of text that mean something to a parser.
const WORDS: [&str; 28] = [
    "\0",
    "\u{feff}",
    "\r\n",
    "\"",
    "'''",
    "[[",
    "]]",
    "{",
    "}",
    "[",
    "=",
    ",",
    ".",
    "#",
    "-1",
    "1e999",
    "0x",
    "99999999999999999999",
    "nan",
    "true",
    "null",
    "1979-05-27T07:32:00Z",
    "\\u0000",
    "\\",
    "forebay = 1\n",
    "[tags.a]\n",
    "${",
    "💥",
];

/// One of the inputs, changed in a few places.
fn changed(inputs: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = random.choice(inputs).expect("some").clone();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=text.len());
        match random.u8(..6) {
            0 if at < text.len() => text[at] ^= 1 << random.u32(..8),
            1 => drop(text.drain(at..text.len().min(at + random.usize(..40)))),
            2 => drop(text.splice(at..at, random.choice(WORDS).expect("some").bytes())),
            3 => {
                let piece = text[at..text.len().min(at + random.usize(..200))].to_vec();
                let to = random.usize(..=text.len());
                text.splice(to..to, piece.repeat(random.usize(1..20)));
            }
            4 => {
                let other = random.choice(inputs).expect("some");
                let from = random.usize(..=other.len());
                text.truncate(at);
                text.extend_from_slice(&other[from..]);
            }
            _ => text.truncate(at),
        }
    }
    text.truncate(BYTES_MAX);
    text
}

/// Resident memory of this process, in MB.
fn resident_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// Gives inputs to `read` for the time of one target.
fn fuzz(target: &str, inputs: &[Vec<u8>], read: impl Fn(&[u8])) {
    let one = |input: &[u8]| {
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| read(input)));
        if ended.is_err() || started.elapsed() > INPUT_MAX {
            let folder = crashes(target);
            fs::create_dir_all(&folder).expect("a folder");
            let path = folder.join(format!("{:08x}", crc32c::crc32c(input)));
            fs::write(&path, input).expect("a file");
            panic!("{target}: {} fails or takes {:?}", path.display(), started.elapsed());
        }
    };
    super::inputs(&crashes(target)).iter().for_each(|path| one(&fs::read(path).expect("it can be read")));
    inputs.iter().for_each(|input| one(input));
    let (before, mut random) = (resident_mb(), fastrand::Rng::with_seed(seed()));
    let end = Instant::now() + Duration::from_secs(seconds() / 2);
    let mut tried = 0;
    while Instant::now() < end {
        one(&changed(inputs, &mut random));
        tried += 1;
    }
    let after = resident_mb();
    println!(
        "{target}: {tried} inputs tried, FOREBAY_FUZZ_SEED={}, {before} MB before, {after} MB after",
        seed()
    );
    assert!(tried > 10, "only {tried} inputs were tried");
    assert!(after <= before + GROWTH_MB_MAX, "{target}: {before} MB before, {after} MB after");
}

/// Does `work` of the test with this name in a process of its own, whose memory no other test uses.
fn alone(test: &str, work: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return work();
    }
    let output = Command::new(std::env::current_exe().expect("it runs"))
        .args([test, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("this test starts itself");
    let said = super::said_by(&output);
    print!("{said}");
    assert!(output.status.success() && said.contains(" inputs tried"), "{test} failed");
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_text_of_another_box_or_of_kafka_makes_us_panic() {
    alone("fuzz::texts::no_text_of_another_box_or_of_kafka_makes_us_panic", texts_of_others);
}

#[test]
fn no_configuration_makes_the_check_panic() {
    alone("fuzz::texts::no_configuration_makes_the_check_panic", configurations);
}

fn texts_of_others() {
    let mut manifest = Manifest::new("Werk1", "box", "telemetry", "000102030405060708090a0b0c0d0e0f", (0, 7));
    let empty = serde_json::to_vec(&manifest).expect("JSON");
    let name = "0000000000000001-0000000000000000.segment".to_owned();
    manifest.files.push(forebay::backlog::FileEntry { name, bytes: 7, sha256: "0".repeat(64) });
    let folder = tempfile::tempdir().expect("a folder");
    fuzz("manifest", &[empty, serde_json::to_vec(&manifest).expect("JSON")], |input| {
        fs::write(folder.path().join("manifest.json"), input).expect("there is room");
        if let Ok(manifest) = Manifest::read(folder.path()) {
            assert!(manifest.files.iter().all(|file| !file.name.contains('/')), "a path out of the folder");
        }
    });
    let checkpoint = Checkpoint { backlog: vec![(1, 5), (7, 9)], next_offset: 12, ..Checkpoint::default() };
    fuzz("checkpoint", &[serde_json::to_vec(&checkpoint).expect("JSON")], |input| {
        // What is no checkpoint is left aside; what is one comes out as it went in.
        if let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(input) {
            let again = serde_json::to_vec(&checkpoint).expect("JSON");
            assert_eq!(serde_json::from_slice::<Checkpoint>(&again).expect("JSON"), checkpoint);
        }
    });
}

fn configurations() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = fs::read_dir(root().join("tests/cases"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read"));
    let files =
        cases.filter(|case| case.file_name().to_string_lossy().starts_with("right-")).flat_map(|case| {
            super::inputs(&case.path())
                .into_iter()
                .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        });
    let mut inputs: Vec<Vec<u8>> = files.map(|path| bytes(&path)).collect();
    inputs.extend(super::inputs(&root().join("profiles")).iter().map(|path| bytes(path)));
    assert!(inputs.len() > 5);
    fuzz("configuration", &inputs, |input| {
        let path = folder.path().join("forebay.toml");
        fs::write(&path, input).expect("there is room");
        let checked = config::check_files(&[path]);
        // Rendering walks all places of all complaints.
        let said = checked.render(forebay::diagnostic::Format::Text, false);
        assert!(said.len() < 64 << 20);
    });
}
