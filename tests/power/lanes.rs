//! 200 power cuts at random moments while both lanes are written: no synced record is lost.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::clock::SystemClock;
use forebay::device::Device;
use forebay::event::{Event, Events, Kind};
use forebay::lane::{Body, Lane, LaneOptions, Opened, Record};
use forebay_connector::Scalar;
use tokio::sync::mpsc::Receiver;

use super::careless;
use super::image::{Cutter, Image};
use super::victim::{Victim, last};
use super::{CUTS, number_from_environment};
use crate::device::device;
use crate::journal::{LIMIT, batch, read_all, serial};

/// Names the directory in which the writing process writes until its disk is gone.
const DIRECTORY: &str = "FOREBAY_TEST_POWER_LANES";
/// Every how many syncs one is left out: a mistake that must be noticed.
const MUTANT: &str = "FOREBAY_TEST_POWER_MUTANT";
/// Rounds in one directory; then a new one, so that beginnings are cut as well.
const ROUNDS_IN_ONE: u64 = 10;
/// Records kept behind what "Kafka" has.
const KEPT: u64 = 400;

/// Small segments, so that many moments fall on the change from one to the next.
fn options(name: &str, directory: &Path) -> LaneOptions {
    LaneOptions {
        sync_interval: Duration::from_millis(1),
        segment_bytes: 24 << 10,
        budget_bytes: 8 << 20,
        ..LaneOptions::new(name, directory.join(name), "Site/box")
    }
}

fn open(name: &str, directory: &Path) -> (Opened, Receiver<Event>) {
    let (events, receiver) = Events::new();
    let opened = Lane::open(options(name, directory), events);
    (opened.expect("a lane opens whatever a power cut left"), receiver)
}

/// The same for the writing process, on a disk that leaves out syncs when this run is to be noticed.
fn open_to_write(name: &str, directory: &Path) -> (Opened, Receiver<Event>) {
    let Ok(every) = std::env::var(MUTANT) else { return open(name, directory) };
    let (events, receiver) = Events::new();
    let disk = careless::Disk::open(&directory.join(name), every.parse().expect("a number"));
    let opened = Lane::open_on(disk, Arc::new(SystemClock), options(name, directory), events);
    (opened.expect("a lane opens"), receiver)
}

fn presses() -> [Arc<Device>; 3] {
    ["press-1", "press-2", "press-3"].map(|name| device(name, &[Scalar::Lint; 12]))
}

fn event(number: u64) -> Event {
    Event {
        kind: Kind::DeviceState,
        edge_time: i64::try_from(number).expect("small"),
        device: "Site/press-1".to_owned(),
        text: format!("event {number}"),
        data: serde_json::Value::Null,
    }
}

/// Writes both lanes as fast as they take it, and says after each sync how far they are, until
/// `records` are through.
fn write(directory: &Path, records: u64) {
    let presses = presses();
    let (telemetry, _own) = open_to_write("telemetry", directory);
    let (events, _own) = open_to_write("events", directory);
    let (mut next, mut next_event) = (telemetry.reader.synced(), events.reader.synced());
    let end = next.saturating_add(records);
    let mut random = fastrand::Rng::with_seed(next);
    while next < end {
        for _ in 0..random.u64(1..30) {
            let press = &presses[usize::try_from(next % 3).expect("small")];
            let batch = batch(press, i64::try_from(next).expect("small"));
            telemetry.writer.try_append(batch).ok().expect("the queue has room");
            next += 1;
        }
        // The parent reads these lines, and what they say is promised.
        println!("telemetry {}", telemetry.writer.flush(LIMIT).expect("a disk, or no process"));
        send("telemetry", &telemetry, next);
        if random.u32(..4) == 0 {
            assert!(events.writer.try_append_event(event(next_event)).is_ok(), "the queue has room");
            next_event += 1;
            println!("events {}", events.writer.flush(LIMIT).expect("a disk, or no process"));
            send("events", &events, next_event);
        }
    }
}

/// "Kafka" takes all but the newest records.
fn send(name: &str, lane: &Opened, next: u64) {
    let sent = next.saturating_sub(KEPT);
    println!("{name}-sent {sent}");
    lane.reader.committed(sent);
}

/// The other process of the tests below. Run by itself, without a directory, it writes a little and ends.
#[test]
fn lanes_process() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => write(Path::new(&directory), u64::MAX),
        None => write(tempfile::tempdir().expect("a folder").path(), 300),
    }
}

/// One lane, as the writing process left it or as it is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Promise {
    /// Behind the last record that was reported as synced before the cut.
    synced: u64,
    /// Behind the last record that "Kafka" has, also of those taken just after the cut.
    sent: u64,
}

/// Opens a lane after the cut and compares it with what was promised; how far it goes, or what is wrong.
fn judge_lane(
    name: &str,
    directory: &Path,
    promise: Promise,
    right: impl Fn(u64, &Body) -> bool,
) -> Result<u64, String> {
    let (mut lane, mut told) = open(name, directory);
    let mut wrong = String::new();
    let mut complain = |text: String| writeln!(wrong, "{name}: {text}").expect("a text takes text");
    if !lane.recovery.damages.is_empty() || !lane.recovery.put_aside.is_empty() {
        complain(format!("a power cut is no damage: {:?}", lane.recovery));
    }
    let synced = lane.reader.synced();
    if synced < promise.synced {
        complain(format!("{synced} are left of {} promised records", promise.synced));
    }
    let records = read_all(&mut lane.reader);
    let first = records.first().map_or(synced, |record| record.offset);
    if first > promise.sent {
        complain(format!("records before {first} were removed, Kafka has {}", promise.sent));
    }
    for (expected, record) in (first..).zip(&records) {
        if record.offset != expected || !right(expected, &record.body) {
            complain(format!("the record at {} is wrong where {expected} is expected", record.offset));
            break;
        }
    }
    if first + records.len() as u64 != synced {
        complain(format!("{} records from {first}, but {synced} are synced", records.len()));
    }
    if let Ok(event) = told.try_recv() {
        complain(format!("a gap is told although nothing is missing: {}", event.text));
    }
    assert_eq!(lane.lane.close(), 0);
    if wrong.is_empty() { Ok(synced) } else { Err(wrong) }
}

/// Telemetry, then events: how far they go.
fn judge(directory: &Path, promises: [Promise; 2]) -> Result<[u64; 2], String> {
    let presses = presses();
    let telemetry = judge_lane("telemetry", directory, promises[0], |offset, body| {
        let press = &presses[usize::try_from(offset % 3).expect("small")];
        let record = Record { offset, body: body.clone() };
        i64::try_from(offset) == Ok(serial(&record, press))
    })?;
    let events = judge_lane(
        "events",
        directory,
        promises[1],
        |offset, body| matches!(body, Body::Event(json) if *json == serde_json::to_vec(&event(offset)).expect("JSON")),
    )?;
    Ok([telemetry, events])
}

/// Starts the writing process, cuts the power of its disk some time later and ends it.
fn write_and_cut(
    image: &Image,
    cutter: &mut Cutter,
    directory: &Path,
    random: &mut fastrand::Rng,
    mutant: Option<&str>,
) -> [Promise; 2] {
    let directory = directory.to_str().expect("UTF-8");
    let environment: Vec<_> =
        [(DIRECTORY, directory)].into_iter().chain(mutant.map(|it| (MUTANT, it))).collect();
    let mut victim = Victim::start("power::lanes::lanes_process", &environment);
    // One in five is cut while it begins, when the journal is just being opened.
    if random.u32(..5) > 0 {
        victim.wait_for_lines(random.usize(1..60));
    }
    std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
    let synced = ["telemetry", "events"].map(|lane| victim.last(lane));
    cutter.cut(image);
    let lines = victim.end();
    let sent = ["telemetry-sent", "events-sent"].map(|lane| last(&lines, lane));
    [0, 1].map(|lane| Promise { synced: synced[lane], sent: sent[lane] })
}

/// What a run of cuts has seen.
#[derive(Debug, Default)]
struct Seen {
    cuts: u64,
    /// Cuts after something was promised.
    promises: u64,
    /// Telemetry, then events.
    records: [u64; 2],
}

/// Cuts the power `cuts` times; what is wrong after the first cut that something is wrong after.
fn cut_often(cuts: u64, seed: u64, mutant: Option<&str>) -> Result<Seen, (u64, String)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut image = Image::new(48 << 20, 64 << 20);
    let mut cutter = Cutter::start();
    let (mut before, mut seen) = ([Promise::default(); 2], Seen { cuts, ..Seen::default() });
    for cut in 0..cuts {
        let directory = image.path().join(format!("journal-{}", cut / ROUNDS_IN_ONE));
        if cut % ROUNDS_IN_ONE == 0 {
            before = [Promise::default(); 2];
            // Only the newest is needed; the image is small.
            if let Some(old) = (cut / ROUNDS_IN_ONE).checked_sub(1) {
                std::fs::remove_dir_all(image.path().join(format!("journal-{old}"))).expect("it is ours");
            }
        }
        let said = write_and_cut(&image, &mut cutter, &directory, &mut random, mutant);
        image.unmount();
        image.mount();
        // What was found after the last cut is as good as promised: offsets are never used again.
        let promised = [0, 1].map(|lane| Promise {
            synced: said[lane].synced.max(before[lane].synced),
            sent: said[lane].sent.max(before[lane].sent),
        });
        let found = judge(&directory, promised).map_err(|wrong| (cut, wrong))?;
        seen.promises += u64::from(said[0].synced > 0);
        for lane in [0, 1] {
            seen.records[lane] += found[lane] - before[lane].synced;
            before[lane] = Promise { synced: found[lane], sent: promised[lane].sent };
        }
    }
    Ok(seen)
}

#[test]
fn power_cuts_lose_nothing_that_was_synced() {
    let cuts = number_from_environment("FOREBAY_POWER_CUTS", CUTS);
    let seed = number_from_environment("FOREBAY_POWER_SEED", 20_261_121);
    println!("{cuts} power cuts, FOREBAY_POWER_SEED={seed}");
    let started = Instant::now();
    let seen = cut_often(cuts, seed, None)
        .unwrap_or_else(|(cut, wrong)| panic!("cut {cut} of FOREBAY_POWER_SEED={seed}:\n{wrong}"));
    let Seen { cuts, promises, records: [telemetry, events] } = seen;
    println!(
        "{cuts} cuts in {:.1} s, {promises} of them after a promise: {telemetry} batches and {events} events \
         written, 0 synced records lost",
        started.elapsed().as_secs_f64()
    );
    assert!(promises * 2 > cuts, "too few rounds came to write anything");
}

/// The rig is worth something only when it notices a journal that does not sync, be it seldom.
#[test]
fn power_cuts_notice_a_sync_that_is_left_out() {
    for (mutant, words) in [("1", "no sync at all"), ("8", "one sync in eight left out")] {
        let Err((cut, wrong)) = cut_often(CUTS, 1, Some(mutant)) else {
            panic!("{CUTS} power cuts notice nothing of: {words}")
        };
        println!("{words}: noticed at cut {}: {}", cut + 1, wrong.lines().next().unwrap_or_default());
    }
}
