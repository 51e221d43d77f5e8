//! The configuration is edited while the box runs: nothing is lost, nothing is doubled, who has not
//! changed does not notice, and what has errors changes nothing.

use std::process::{Command, Output};

use forebay::batch::{GapBefore, Schema};
use forebay::event::Events;
use forebay::lane::{Body, Lane, LaneOptions};
use forebay_connector::Value;
use serde_json::Value as Json;

use crate::chaos::counter::{Counter, profile, register};
use crate::support::{PATIENCE, get, wait_for};
use crate::tools::daemon::Daemon;

/// A box with profiles `counter` (of `a`) and `other` (of `b`).
struct Plant {
    daemon: Daemon,
    a: Counter,
    b: Counter,
}

/// What the journal has of one read of a device.
struct Stored {
    device: String,
    count: u32,
    schema: Schema,
    gap: Option<GapBefore>,
}

impl Plant {
    fn start() -> Self {
        let daemon = Daemon::new("box-1", None, "away");
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        let folders = "devices = [\"devices\"]\nprofiles = [\"profiles\"]";
        daemon.write("forebay.toml", &text.replace("devices = []\nprofiles = []", folders));
        for folder in ["devices", "profiles"] {
            std::fs::create_dir(daemon.folder.path().join(folder)).unwrap();
        }
        let mut plant = Self { daemon, a: Counter::start("a"), b: Counter::start("b") };
        plant.daemon.write("profiles/counter.toml", &profile());
        plant.daemon.write("profiles/other.toml", &other());
        plant.daemon.write("devices/a.toml", &format!("forebay = 1\n{}", plant.a.table()));
        plant.daemon.write("devices/b.toml", &format!("forebay = 1\n{}", plant.table_of_b()));
        plant.daemon.start();
        plant.wait_reads(5);
        plant
    }

    fn table_of_b(&self) -> String {
        self.b.table().replace("\"counter\"", "\"other\"")
    }

    /// Waits until both devices were read `more` times from now on.
    fn wait_reads(&self, more: u32) {
        let from = [self.a.count(), self.b.count()];
        wait_for("reads", PATIENCE, || {
            (self.a.count() >= from[0] + more && self.b.count() >= from[1] + more).then_some(())
        });
    }

    fn reload(&self) -> Output {
        self.daemon.command(&["reload"])
    }

    fn machine(&self, name: &str) -> Json {
        let status = get(&self.daemon.page(), "/api/v1/status.json").unwrap();
        let status: Json = serde_json::from_str(&status).unwrap();
        let machines = status["machines"].as_array().unwrap();
        machines.iter().find(|machine| machine["name"] == name).cloned().unwrap_or_default()
    }

    /// Everything in the journal; the box must not run.
    fn stored(&self) -> Vec<Stored> {
        let options = LaneOptions {
            segment_bytes: 1 << 20,
            ..LaneOptions::new("telemetry", self.daemon.lane("telemetry"), "Werk1/box-1")
        };
        let mut lane = Lane::open(options, Events::new().0).unwrap();
        let mut stored = Vec::new();
        let mut next = 0;
        loop {
            let records = lane.reader.next(512, 1 << 20);
            if records.is_empty() {
                break;
            }
            for record in records {
                assert_eq!(record.offset, next, "offsets without holes");
                next += 1;
                let Body::Batch(batch) = record.body else { panic!("no batch at {}", record.offset) };
                let count = batch.samples.iter().find(|sample| sample.tag == 0);
                let Some(Value::Uint(count)) = count.map(|sample| &sample.value) else {
                    panic!("a read without its count")
                };
                let count = u32::try_from(*count).unwrap();
                for sample in &batch.samples[1..] {
                    let index = usize::try_from(sample.tag).unwrap();
                    let expected = Value::Uint(u64::from(register(count, index)));
                    assert_eq!(sample.value, expected, "{} of read {count}", sample.tag);
                }
                let (device, schema, gap) = (batch.schema.name.clone(), (*batch.schema).clone(), batch.gap);
                stored.push(Stored { device, count, schema, gap });
            }
        }
        assert_eq!(lane.lane.close(), 0);
        stored
    }

    /// Events in the journal; the box must not run.
    fn events(&self) -> Vec<Json> {
        let options = LaneOptions {
            segment_bytes: 1 << 20,
            ..LaneOptions::new("events", self.daemon.lane("events"), "Werk1/box-1")
        };
        let mut lane = Lane::open(options, Events::new().0).unwrap();
        let mut events = Vec::new();
        loop {
            let records = lane.reader.next(512, 1 << 20);
            if records.is_empty() {
                break;
            }
            for record in records {
                let Body::Event(json) = record.body else { continue };
                events.push(serde_json::from_slice(&json).unwrap());
            }
        }
        assert_eq!(lane.lane.close(), 0);
        events
    }
}

fn other() -> String {
    profile().replace("name = \"counter\"", "name = \"other\"")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn counts(stored: &[Stored], device: &str) -> Vec<u32> {
    stored.iter().filter(|it| it.device == device).map(|it| it.count).collect()
}

/// Pain 14 of other gateways: a buffer that a configuration edit orphans.
#[test]
fn a_profile_edited_under_load_loses_and_doubles_nothing() {
    let mut plant = Plant::start();
    // By order: a tag gets another name.
    plant.daemon.write("profiles/other.toml", &other().replace("v7 =", "seventh ="));
    let done = plant.reload();
    assert!(done.status.success(), "{}", text(&done));
    let said = text(&done);
    for part in ["1 machine changed", "changed: b", "new tags: b/line.seventh", "removed tags: b/line.v7"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    plant.wait_reads(5);
    let again = plant.reload();
    assert!(text(&again).contains("no machine has changed"), "{}", text(&again));

    // By saving as editors do: a new file under the old name, and one more device.
    let new = other().replace("version = \"1\"", "version = \"2\"");
    plant.daemon.write("profiles/.other.toml.swp", &new);
    let folder = plant.daemon.folder.path().join("profiles");
    std::fs::rename(folder.join(".other.toml.swp"), folder.join("other.toml")).unwrap();
    let c = Counter::start("c");
    plant.daemon.write("devices/c.toml", &format!("forebay = 1\n{}", c.table()));
    wait_for("reads of the new device", PATIENCE, || (c.count() > 5).then_some(()));
    plant.wait_reads(5);
    assert_eq!(plant.machine("c")["state"], "up");

    // By a signal.
    let newer = other().replace("version = \"1\"", "version = \"3\"");
    plant.daemon.write("profiles/other.toml", &newer);
    let changes = || plant.daemon.log().matches("1 machine changed").count();
    let before = changes();
    plant.daemon.signal("HUP");
    wait_for("the third b", PATIENCE, || (changes() > before).then_some(()));
    plant.wait_reads(5);

    // It goes again.
    std::fs::remove_file(plant.daemon.folder.path().join("devices/c.toml")).unwrap();
    let gone = plant.reload();
    assert!(text(&gone).contains("removed: c"), "{}", text(&gone));
    assert_eq!(plant.machine("c"), Json::Null);
    plant.wait_reads(5);
    let requests = (plant.a.clients(), plant.machine("a")["connects"].clone());
    assert_eq!(requests, (1, 1.into()), "who has not changed keeps its connection and its counters");
    plant.daemon.stop();

    let stored = plant.stored();
    for device in [&plant.a, &plant.b, &c] {
        let counts = counts(&stored, &device.name);
        let all: Vec<u32> = (1..=u32::try_from(counts.len()).unwrap()).collect();
        assert_eq!(counts, all, "every read of {} once, in order", device.name);
        assert_eq!(device.count() as usize, counts.len(), "and none is missing at the end");
    }
    let of_b: Vec<&Stored> = stored.iter().filter(|it| it.device == "b").collect();
    let has = |it: &Stored, path: &str| it.schema.tags.iter().any(|tag| tag.path == path);
    let (first, last) = (of_b.first().unwrap(), of_b.last().unwrap());
    assert!(has(first, "line.v7") && !has(first, "line.seventh"));
    assert!(has(last, "line.v7") && last.schema.profile_version == "3", "{:?}", last.schema.profile_version);
    assert!(of_b.iter().any(|it| has(it, "line.seventh")), "each record knows its own tags");
    let gaps: Vec<&GapBefore> = of_b.iter().filter_map(|it| it.gap.as_ref()).collect();
    assert_eq!(gaps.len(), 3, "the time of the change is told");
    assert!(gaps.iter().all(|gap| gap.cause.code == "reload"), "{gaps:?}");

    let events = plant.events();
    let changes: Vec<&Json> =
        events.iter().map(|event| &event["data"]).filter(|data| data["what"] == "configuration").collect();
    assert!(changes.iter().any(|data| data["cause"] == "signal"), "{changes:?}");
    assert_eq!(changes[0]["cause"], "reload");
    assert_eq!(changes[0]["devices_changed"], serde_json::json!(["b"]));
    assert_eq!(changes[0]["tags_added"], serde_json::json!(["b/line.seventh"]));
    let saved: Vec<&&Json> = changes.iter().filter(|data| data["cause"] == "save").collect();
    assert!(!saved.is_empty() && saved.iter().all(|data| data.get("by").is_none()), "{changes:?}");
    assert!(saved.iter().any(|data| data["devices_added"] == serde_json::json!(["c"])), "{changes:?}");
    let last = changes.last().unwrap();
    assert_eq!((&last["devices_removed"], &last["cause"]), (&serde_json::json!(["c"]), &"reload".into()));
}

#[test]
fn a_bad_file_never_replaces_what_runs() {
    let mut plant = Plant::start();
    let connects = |plant: &Plant| (plant.a.clients(), plant.b.clients());
    for (name, bad, fault) in [
        ("profiles/other.toml", other().replace("hr:0", "hr:x"), "error[M"),
        ("profiles/other.toml", String::new(), "this is no file of Forebay"),
        ("profiles/other.toml", other()[..200].to_owned(), "error["),
        ("devices/b.toml", "forebay = 1\n[[device]]\nname = \"b\"\nprof".to_owned(), "error["),
        ("devices/b.toml", "forebay = 1\n[[device]]\nname = \"x\"\n".to_owned(), "error["),
    ] {
        let good = std::fs::read_to_string(plant.daemon.folder.path().join(name)).unwrap();
        plant.daemon.write(name, &bad);
        let refused = plant.reload();
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(fault) && said.contains("run on as before: b"), "{name}: {said}");
        plant.wait_reads(3);
        let b = plant.machine("b");
        assert_eq!((&b["state"], &b["letter"]), (&"up".into(), &"M".into()), "{name}: {b}");
        assert!(b["cause"].as_str().unwrap().contains("it is read as before"), "{b}");
        let page = get(&plant.daemon.page(), "/m/b").unwrap();
        assert!(page.contains("error["), "the page has the words of check: {page}");
        plant.daemon.write(name, &good);
        let mended = plant.reload();
        assert!(mended.status.success(), "{}", text(&mended));
        assert_eq!(plant.machine("b")["letter"], Json::Null);
    }
    // A forebay.toml with errors, and one with what only a restart takes over.
    let good = std::fs::read_to_string(plant.daemon.config()).unwrap();
    plant.daemon.write("forebay.toml", &good.replace("[journal]", "[jornal]"));
    let refused = plant.reload();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("did you mean `journal`"), "{}", text(&refused));
    plant.daemon.write("forebay.toml", &good.replace("\"100ms\"", "\"200ms\""));
    let waits = plant.reload();
    assert!(
        waits.status.success() && text(&waits).contains("restart forebay`): [kafka]"),
        "{}",
        text(&waits)
    );
    plant.daemon.write("forebay.toml", &good);
    assert!(plant.reload().status.success());

    plant.wait_reads(3);
    assert_eq!(connects(&plant), (1, 1), "nobody was connected anew");
    assert!(plant.daemon.log().contains("error["), "the log has the words of check");
    plant.daemon.stop();
    let stored = plant.stored();
    for device in [&plant.a, &plant.b] {
        let counts = counts(&stored, &device.name);
        assert!(counts.windows(2).all(|two| two[1] == two[0] + 1), "{}: {counts:?}", device.name);
    }
    let events = plant.events();
    let faults = events.iter().filter(|it| it["data"]["what"] == "configuration-faults");
    let kept = faults.filter(|it| it["data"]["devices_kept"] == serde_json::json!(["b"])).count();
    assert!(kept >= 5, "{kept} of 5 are events");
}

/// Half a file is only found by a look that comes while it is written: it must not be taken over.
#[test]
fn kill_9_during_a_reload_costs_no_more_than_at_any_other_time() {
    let mut plant = Plant::start();
    for round in 0..4 {
        let name = if round % 2 == 0 { "seventh" } else { "v7" };
        plant.daemon.write("profiles/other.toml", &other().replace("v7 =", &format!("{name} =")));
        let mut reloading = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["reload", "--config"])
            .arg(plant.daemon.config())
            .spawn()
            .unwrap();
        // The file is read, or the device is just being connected anew.
        let clients = plant.b.clients();
        if round < 2 {
            wait_for("new connection", PATIENCE, || (plant.b.clients() > clients).then_some(()));
        }
        plant.daemon.kill();
        reloading.wait().unwrap();
        plant.daemon.start();
        plant.wait_reads(5);
        assert_eq!(plant.machine("b")["state"], "up");
    }
    plant.daemon.stop();
    let stored = plant.stored();
    for device in [&plant.a, &plant.b] {
        let counts = counts(&stored, &device.name);
        assert!(counts.windows(2).all(|two| two[1] > two[0]), "nothing twice, all in order: {counts:?}");
        assert!(counts.len() > 20, "{counts:?}");
    }
}
