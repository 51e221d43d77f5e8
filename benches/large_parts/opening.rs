//! Opening a large journal.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::clock::SystemClock;
use forebay::event::Events;
use forebay::journal::{Disk, RealDisk};
use forebay::lane::{Lane, Opened};

use crate::careless::careless;
use crate::history;
use crate::plant;
use crate::{Cache, gigabytes_in, run};

/// Opening the lane, in every state in which it may be found.
pub fn all(lane: &Path) {
    println!("\nopening {:.2} GB in {} files, ms", gigabytes_in(lane), files(lane));
    for (mode, words) in [
        ("open-backlog", "all of it unsent, closed in order"),
        ("open-crashed", "all of it unsent, after kill -9"),
        ("open-history", "all of it history, closed in order"),
    ] {
        println!("{words}:");
        for cache in [Cache::Warm, Cache::Cold, Cache::Warm, Cache::Cold] {
            if mode == "open-crashed" {
                run("crash", lane, Cache::Warm);
            }
            run(mode, lane, cache);
        }
    }
}

fn files(lane: &Path) -> usize {
    fs::read_dir(lane).expect("the journal is there").count()
}

/// What this program does when it runs itself; `false` when the mode is none.
pub fn child(mode: &str, folder: &Path) -> bool {
    match mode {
        "open-backlog" | "open-crashed" => {
            warm_program(folder);
            let started = Instant::now();
            let opened = open(folder);
            println!("{}", figures(started.elapsed()));
            opened.lane.close();
        }
        "open-history" => open_history(folder),
        "crash" => crash(folder),
        "read-day" => history::read_day(folder),
        "read-uncharted" => history::read_uncharted(folder),
        _ => return false,
    }
    true
}

pub fn open(folder: &Path) -> Opened {
    open_on(Arc::new(RealDisk::open(folder).expect("the folder is there")), folder)
}

fn open_on(disk: Arc<dyn Disk>, folder: &Path) -> Opened {
    let (events, receiver) = Events::new();
    // Nobody reads them here.
    std::mem::forget(receiver);
    let opened =
        Lane::open_on(disk, Arc::new(SystemClock), plant::options(folder), events).expect("the lane opens");
    assert_eq!(opened.recovery.damages, vec![]);
    opened
}

/// The program's own pages come from the disk too; that is not what is measured.
pub fn warm_program(folder: &Path) {
    let empty = folder.with_extension("empty");
    open(&empty).lane.close();
    open(&empty).lane.close();
    fs::remove_dir_all(&empty).expect("it was just made");
}

/// Opened, and then told that Kafka has everything.
fn open_history(folder: &Path) {
    warm_program(folder);
    let started = Instant::now();
    let opened = open(folder);
    let took = started.elapsed();
    let status = opened.writer.status();
    opened.reader.committed(opened.reader.synced());
    while status.borrow().committed.is_none() || status.borrow().unsent_bytes > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{}, and {:.1} until all of it counts as sent", figures(took), millis(started.elapsed() - took));
    opened.lane.close();
}

/// Writes a segment as full as it gets without its end, and dies.
fn crash(folder: &Path) {
    let opened = open_on(careless(folder), folder);
    plant::append(&opened, 14 << 20);
    println!("one more segment, {:.1} MB, then killed", last_segment_mb(folder));
    std::io::stdout().flush().expect("it can be printed");
    // No destructor runs: nothing is closed.
    std::process::exit(0);
}

#[allow(clippy::cast_precision_loss)] // printed with one digit
fn last_segment_mb(folder: &Path) -> f64 {
    let names = fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
    let newest = names.filter(|path| path.extension().is_some_and(|end| end == "segment")).max();
    newest.and_then(|path| path.metadata().ok()).map_or(0.0, |metadata| metadata.len() as f64 / 1e6)
}

fn figures(took: Duration) -> String {
    format!("{:>7.1} ms, {:.1} MB resident", millis(took), crate::memory::of("self", "VmRSS"))
}

pub fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
