//! Reading a day of one tag.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay::lane::{Body, History, Opened, Past, Wanted};

use crate::opening::{millis, open, warm_program};
use crate::plant::{self, Kind, Until};
use crate::{Cache, gigabytes_in, run};

/// A little more than is read.
const DAYS: f64 = 1.05;
/// Readings of each tag.
const READINGS: usize = 7;
/// Of ten.
const DEVICE: usize = 3;
/// One tick of the times in proc(5), stat, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Writes a day of each kind of plant, and reads it.
pub fn all(directory: &Path, short: bool) {
    let kinds =
        [("50 slow tags", Kind::Small), ("100 slow tags", Kind::Calm), ("100 tags, half noisy", Kind::Noisy)];
    for (name, kind) in kinds {
        let lane = directory.join("day").join(name.replace([' ', ','], "-"));
        println!("\none tag's last 24 h, 10 devices of {name}");
        plant::store(&lane, kind, Until::Days(if short { 0.01 } else { DAYS }));
        for cache in [Cache::Warm, Cache::Cold] {
            run("read-day", &lane, cache);
        }
        cut_tables(&lane);
        println!("the same without tables of contents, as after a crash in each segment");
        run("read-uncharted", &lane, Cache::Warm);
        fs::remove_dir_all(&lane).expect("it was just made");
    }
}

/// A day out of a journal that holds far more.
pub fn of_large(lane: &Path) {
    println!("\none tag's last 24 h out of {:.2} GB, half of the tags noisy", gigabytes_in(lane));
    for cache in [Cache::Warm, Cache::Cold] {
        run("read-day", lane, cache);
    }
}

/// The first and the last tag of a device, out of the running lane and beside it.
pub fn read_day(folder: &Path) {
    warm_program(folder);
    let opened = open(folder);
    let devices = plant::devices();
    let to_us = last_edge_us(&opened, &devices[DEVICE].path);
    let beside = History::open(folder).expect("it is there");
    for (words, history) in [("running lane", &opened.history), ("beside it", &beside)] {
        let tags = stored_tags(history, &devices[DEVICE].path, to_us);
        for tag in [tags.first(), tags.last()].into_iter().flatten() {
            println!("  {words}, tag {tag}: {}", read(history, (&devices[DEVICE].path, tag), to_us));
        }
    }
    opened.lane.close();
}

/// The first reading, which finds no tables of contents.
pub fn read_uncharted(folder: &Path) {
    warm_program(folder);
    let opened = open(folder);
    let device = plant::devices()[DEVICE].path.clone();
    let to_us = last_edge_us(&opened, &device);
    let gigabytes = gigabytes_in(folder);
    for words in ["first reading", "second"] {
        let wanted = Wanted { device: Some(&device), tags: Some(&["none"]), from_us: to_us, to_us };
        let started = Instant::now();
        opened.history.read(&wanted, &mut |_| ControlFlow::Continue(())).expect("it can be read");
        let took = millis(started.elapsed());
        println!("  {words}, of the last moment only: {took:.1} ms, {:.0} ms a GB", took / gigabytes);
    }
    opened.lane.close();
}

/// How long it takes, several times.
fn read(history: &History, (device, tag): (&str, &str), to_us: i64) -> String {
    let tags = [tag];
    let wanted =
        Wanted { device: Some(device), tags: Some(&tags), from_us: to_us - plant::DAY_US + 1, to_us };
    let (before, mut times, mut values) = (on_processor(), Vec::new(), 0);
    for _ in 0..READINGS {
        let (started, mut found) = (Instant::now(), 0);
        let each = &mut |past: Past<'_>| {
            if let Past::Record(record) = past
                && let Body::Batch(batch) = &record.body
            {
                found += batch.samples.len();
            }
            ControlFlow::Continue(())
        };
        history.read(&wanted, each).expect("it can be read");
        times.push(format!("{:.1}", millis(started.elapsed())));
        values = found;
    }
    let processor = (on_processor() - before) / u32::try_from(READINGS).expect("few");
    format!("{} ms ({:.0} of processors), {values} values", times.join(", "), millis(processor))
}

/// Paths of the tags that the device has in this journal.
fn stored_tags(history: &History, device: &str, to_us: i64) -> Vec<String> {
    let wanted = Wanted { device: Some(device), tags: None, from_us: to_us - 60_000_000, to_us };
    let mut tags = std::collections::BTreeMap::new();
    let each = &mut |past: Past<'_>| {
        if let Past::Record(record) = past
            && let Body::Batch(batch) = &record.body
        {
            for sample in &batch.samples {
                let index = usize::try_from(sample.tag).expect("few");
                tags.insert(index, batch.schema.tags[index].path.clone());
            }
        }
        ControlFlow::Continue(())
    };
    history.read(&wanted, each).expect("it can be read");
    tags.into_values().collect()
}

/// What all threads of this process have had of the processors: others may be busy beside them.
fn on_processor() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields = text.rsplit(')').next().expect("the name ends").split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).map(|field| field.parse::<u32>().expect("a number")).sum();
    TICK * ticks
}

/// The newest segment is read for this, so it is warm in every case.
fn last_edge_us(opened: &Opened, device: &str) -> i64 {
    let mut reader = opened.reader.another().expect("there is memory for a reader");
    reader.seek(reader.synced().saturating_sub(100));
    let records = reader.next(usize::MAX, usize::MAX).into_iter();
    let edge = records.filter_map(|record| match record.body {
        Body::Batch(batch) if batch.schema.device == device => Some(batch.edge_us),
        _ => None,
    });
    edge.max().expect("the device is among the last")
}

/// Takes the table of contents off each segment that has one: its length is in the last four bytes
/// (docs/journal-format.md).
fn cut_tables(folder: &Path) {
    for path in segments(folder) {
        let bytes = fs::read(&path).expect("it can be read");
        let length = bytes.last_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        let table = bytes.len().checked_sub(length).filter(|at| bytes.get(*at) == Some(&3));
        if let Some(at) = table {
            let mut file = fs::File::create(&path).expect("it can be written");
            file.write_all(&bytes[..at]).expect("it can be written");
        }
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the journal is there").flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect()
}
