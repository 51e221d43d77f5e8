//! A journal of 10 GB: how fast it opens, how fast a day of one tag is read out of it, and how much
//! memory `forebay run` takes with it: `cargo bench --bench large`, optionally `-- <GB>`, and parts by
//! name: `open`, `history`, `memory`.
//!
//! Needs that much room below `target/`, `history` alone 0.3 GB. What opens and reads runs in a process of its own each time.
//! "Cold" needs to be root: the system's caches of files, names and inodes are dropped before.

#[path = "journal_parts/careless.rs"]
mod careless;
#[path = "../tests/device.rs"]
mod device;
#[path = "large_parts/history.rs"]
mod history;
#[path = "large_parts/memory.rs"]
mod memory;
#[path = "large_parts/opening.rs"]
mod opening;
#[path = "large_parts/plant.rs"]
mod plant;
#[allow(dead_code)] // the other bench uses the rest of it
#[path = "journal_parts/shapes.rs"]
mod shapes;
#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/support.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const GB: u64 = 1_000_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, folder] = arguments.as_slice()
        && opening::child(mode, Path::new(folder))
    {
        return;
    }
    // `cargo test --benches` only asks whether it runs.
    let short = arguments.iter().any(|argument| argument == "--test");
    let gigabytes = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let bytes = if short { GB / 100 } else { gigabytes * GB };
    let parts = ["open", "history", "memory"];
    let named = arguments.iter().any(|argument| parts.contains(&argument.as_str()));
    let runs = |part: &str| !named || arguments.iter().any(|argument| argument == part);
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench-large");
    // `--keep` leaves the journal for the next run and takes that of the last one.
    let keep = arguments.iter().any(|argument| argument == "--keep");
    if !keep && directory.exists() {
        fs::remove_dir_all(&directory).expect("last run's files go");
    }
    let lane = directory.join("journal/telemetry");
    if (runs("open") || runs("memory")) && !lane.exists() {
        plant::store(&lane, plant::Kind::Noisy, plant::Until::Bytes(bytes));
    }
    if runs("history") {
        history::all(&directory, short);
        if lane.exists() {
            history::of_large(&lane);
        }
    }
    if runs("open") {
        opening::all(&lane);
    }
    if runs("memory") {
        memory::measure(&directory, short);
    }
    if !keep && directory.exists() {
        fs::remove_dir_all(&directory).expect("this run's files go");
    }
}

/// What the system has of the files in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    Warm,
    Cold,
}

/// Runs this program once more, to do one thing and print its figures.
fn run(mode: &str, folder: &Path, cache: Cache) {
    if cache == Cache::Cold {
        Command::new("sync").status().expect("sync runs");
        if fs::write("/proc/sys/vm/drop_caches", "3").is_err() {
            println!("cold: not measured, dropping caches is refused (run it as root)");
            return;
        }
    } else {
        // Everything that is not measured cold is read once before.
        for entry in fs::read_dir(folder).expect("the journal is there").flatten() {
            let mut file = fs::File::open(entry.path()).expect("it can be read");
            std::io::copy(&mut file, &mut std::io::sink()).expect("it can be read");
        }
    }
    let ends = if mode.starts_with("read") { "\n" } else { "" };
    print!("{:<6}{ends}", if cache == Cache::Cold { "cold" } else { "warm" });
    std::io::stdout().flush().expect("it can be printed");
    let program = std::env::current_exe().expect("this program has a file");
    let status = Command::new(program).arg(mode).arg(folder).status().expect("it runs again");
    assert!(status.success(), "{mode} failed");
}

#[allow(clippy::cast_precision_loss)] // printed with three digits
fn gigabytes_in(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).expect("the journal is there").flatten();
    entries.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).sum::<u64>() as f64 / 1e9
}
