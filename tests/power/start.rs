//! The forebay process on disks that do not work: it runs, shows what it reads and what is wrong, and
//! stores by itself as soon as it can.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use forebay::clock::now_us;
use forebay::event::Events;
use forebay::lane::{Body, Lane, LaneOptions};
use forebay_connector::Value;
use serde_json::Value as Json;

use super::image::{Image, Ram};
use crate::end_to_end::gateway::Gateway;
use crate::end_to_end::plant::{Kind, Server, Values};
use crate::journal::read_all;
use crate::support::{PATIENCE, wait_for};

/// A machine, and a box that reads it and keeps its journal and its state where it is told.
struct Box {
    gateway: Gateway,
    servers: [Server; 1],
    journal: PathBuf,
    step: u16,
}

impl Box {
    /// Kafka is away: what is stored can be looked at afterwards.
    fn new(journal: &Path, state: &Path) -> Self {
        let servers = [Server::start("meter", Kind::Modbus, Values::step(0))];
        let gateway = Gateway::new("127.0.0.1:1", "bad-disk", "60s", &servers);
        gateway.set("\"journal\"", &format!("\"{}\"", journal.display()));
        gateway.set("\"state\"", &format!("\"{}\"", state.display()));
        Self { gateway, servers, journal: journal.to_owned(), step: 0 }
    }

    /// The machine has new values, and they are on its page.
    fn read_something(&mut self) {
        self.step += 1;
        self.servers[0].set(Values::step(self.step));
        let (gateway, server) = (&self.gateway, &self.servers[0]);
        wait_for("values on the page", PATIENCE, || gateway.shows(server)?.then_some(()));
    }

    /// What the page says of the disk; empty when it works.
    fn disk_trouble(&self) -> Option<String> {
        let error = &self.gateway.status()?["reserve"]["numbers"]["disk_error"];
        Some(error["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the page complains in these words, and shows that machines are read all the same.
    fn complains(&mut self, words: &str) -> String {
        let mut said = None;
        let trouble = wait_for("trouble on the page", PATIENCE, || {
            said = self.disk_trouble();
            said.clone().filter(|trouble| trouble.contains(words))
        });
        self.read_something();
        assert!(self.gateway.runs(), "{}", self.gateway.log());
        let page = self.gateway.page();
        let health = crate::support::get(page.trim_start_matches("http://"), "/healthz");
        assert_eq!(health, None, "a box that stores nothing is not in order");
        trouble
    }

    /// Waits until values of now are stored.
    fn stores(&mut self) {
        wait_for("disk in order", PATIENCE, || self.disk_trouble()?.is_empty().then_some(()));
        self.read_something();
        wait_for("stored values", PATIENCE, || {
            let status = self.gateway.status()?;
            let lanes = status["reserve"]["numbers"]["lanes"].as_array()?;
            (lanes.len() == 2 && lanes[0]["appended_records"].as_u64()? > 0).then_some(())
        });
    }

    /// The values of the counter and all events that are stored.
    fn stored(&self) -> (Vec<u64>, Vec<Json>) {
        let open = |name: &str| {
            let (events, _told) = Events::new();
            let options = LaneOptions::new(name, self.journal.join(name), "Werk1/box-e2e");
            let mut opened = Lane::open(options, events).expect("the journal opens");
            read_all(&mut opened.reader)
        };
        let mut counts = Vec::new();
        for record in open("telemetry") {
            let Body::Batch(batch) = record.body else { panic!("{record:?}") };
            let count = batch
                .samples
                .iter()
                .filter(|sample| batch.schema.tags[sample.tag as usize].path == "e2e.count");
            counts.extend(count.map(|sample| match sample.value {
                Value::Uint(count) => count,
                _ => panic!("{sample:?} is no UDINT"),
            }));
        }
        let events = open("events").into_iter().map(|record| match record.body {
            Body::Event(json) => serde_json::from_slice(&json).expect("JSON"),
            other => panic!("{other:?}"),
        });
        (counts, events.collect())
    }
}

/// The gap records of the machine with this cause: from and to, microseconds.
fn gaps(events: &[Json], cause: &str) -> Vec<(i64, i64)> {
    let time = |text: &Json| -> i64 {
        let time: jiff::Timestamp = text.as_str().expect("a text").parse().expect("RFC 3339");
        time.as_microsecond()
    };
    let of_cause = events.iter().filter(|event| event["kind"] == "gap" && event["data"]["cause"] == cause);
    of_cause.map(|event| (time(&event["data"]["from"]), time(&event["data"]["to"]))).collect()
}

/// What the box said of the disk of both lanes together: working or not, in order.
fn said_of_disk(events: &[Json]) -> Vec<bool> {
    let of_disk =
        events.iter().filter(|event| event["data"]["what"] == "disk" && event["data"]["lane"].is_null());
    of_disk.map(|event| event["data"]["working"].as_bool().expect("a boolean")).collect()
}

/// Writes a foreign file until nothing more fits.
pub fn fill(directory: &Path) -> PathBuf {
    let path = directory.join("foreign");
    let mut file = fs::File::create(&path).expect("a file");
    for bytes in [1 << 20, 1 << 12, 1] {
        let block = vec![7; bytes];
        while file.write_all(&block).is_ok() {}
    }
    // What was not yet given its place on the disk shows here.
    let _full = file.sync_all();
    path
}

/// Runs a box on `disk` while it does not work and after `mend`; checks that everything between is told.
fn bad_at_the_start(image: &Image, words: &str, mend: impl FnOnce()) {
    let journal = image.path().join("journal");
    let mut gateway = Box::new(&journal, &image.path().join("state"));
    let started_us = now_us();
    gateway.gateway.start();
    let trouble = gateway.complains(words);
    assert!(trouble.starts_with("Nothing is stored: "), "{trouble}");
    let unstored: Vec<u64> = (0..=gateway.step).map(|step| Values::step(step).count.into()).collect();
    // The values of now are published again when storing begins: only those before are missing.
    gateway.read_something();
    mend();
    gateway.stores();
    let mended_us = now_us();
    gateway.gateway.stop();
    let (counts, events) = gateway.stored();
    let last = u64::from(Values::step(gateway.step).count);
    assert_eq!(counts.last(), Some(&last), "what is read now is stored");
    assert!(unstored.iter().all(|count| !counts.contains(count)), "{counts:?}");
    assert_eq!(said_of_disk(&events), [false, true], "{events:#?}");
    let [(from_us, to_us)] = gaps(&events, "journal-full")[..] else { panic!("{events:#?}") };
    assert!(started_us <= from_us && from_us < to_us && to_us <= mended_us, "{started_us} {from_us} {to_us}");
}

#[test]
fn a_disk_that_is_full_at_the_first_start_is_told_and_stores_by_itself_when_there_is_room() {
    let image = Image::new(16 << 20, 32 << 20);
    let foreign = fill(&image.path());
    bad_at_the_start(&image, "No space left on device", || fs::remove_file(foreign).expect("it is ours"));
}

#[test]
fn a_disk_that_is_read_only_at_the_first_start_is_told_and_stores_by_itself_when_it_can_be_written() {
    let image = Image::new(16 << 20, 32 << 20);
    image.remount("ro");
    bad_at_the_start(&image, "Read-only file system", || image.remount("rw"));
}

#[test]
fn a_folder_that_is_no_folder_is_told_and_stores_by_itself_when_it_is_mended() {
    let image = Image::new(16 << 20, 32 << 20);
    fs::write(image.path().join("journal"), "a file where the folder should be").expect("there is room");
    bad_at_the_start(&image, "the journal's folder", || {
        fs::remove_file(image.path().join("journal")).expect("it is ours");
    });
}

#[test]
fn without_a_state_directory_the_box_runs_and_opens_it_when_it_can() {
    let folder = Ram::mount(16 << 20);
    let state = folder.path().join("state");
    fs::write(&state, "a file where the folder should be").expect("there is room");
    let mut gateway = Box::new(&folder.path().join("journal"), &state);
    gateway.gateway.start();
    gateway.stores();
    assert!(gateway.gateway.log().contains("Going on without the small state"), "{}", gateway.gateway.log());
    fs::remove_file(&state).expect("it is ours");
    wait_for("opened state", PATIENCE, || {
        gateway.gateway.log().contains("the small state works again").then_some(())
    });
    gateway.read_something();
    gateway.gateway.stop();
    let opened = forebay::state::State::open(&state.join("state")).expect("it opens");
    assert!(opened.state.last_good_us("Werk1/Halle/Linie/Zelle/meter") > 0, "what was read is remembered");
    let (_, events) = gateway.stored();
    assert!(events.iter().any(|event| event["data"]["what"] == "no-state"), "{events:?}");
}

/// An error makes ext4 read-only (errors=remount-ro), and then the box restarts. Such a disk answers no
/// sync, so nobody knows what of its end is stored, and the journal stays closed; after the repair
/// everything that was stored is there.
#[test]
fn a_disk_that_becomes_read_only_under_the_running_box_loses_nothing_that_was_stored() {
    let mut image = Image::new(16 << 20, 32 << 20);
    let journal = image.path().join("journal");
    let mut gateway = Box::new(&journal, &image.path().join("state"));
    gateway.gateway.start();
    gateway.stores();
    let before = gateway.step;
    image.remount("errors=remount-ro");
    image.break_down();
    gateway.complains("Read-only file system");
    gateway.gateway.kill();
    gateway.gateway.start();
    gateway.complains("Read-only file system");
    gateway.gateway.kill();
    image.unmount();
    image.repair();
    image.mount();
    gateway.gateway.start();
    gateway.stores();
    gateway.gateway.stop();
    let (counts, events) = gateway.stored();
    for step in (1..=before).chain([gateway.step]) {
        assert!(counts.contains(&Values::step(step).count.into()), "step {step} in {counts:?}");
    }
    assert!(!gaps(&events, "box-off").is_empty(), "{events:#?}");
}
