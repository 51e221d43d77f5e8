//! Versions of models in a running box: delivered, tried, exchanged and taken back under load, with
//! the box killed at any moment of it.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

mod delivered;
mod kill;
mod trial;

use std::path::{Path, PathBuf};
use std::process::Output;

use forebay::event::Events;
use forebay::infer::package::Package;
use forebay::infer::signature::SecretKey;
use forebay::lane::{Body, Lane, LaneOptions};
use forebay_connector::Value;
use serde_json::Value as Json;

use crate::chaos::counter::{Counter, profile};
use crate::support::{PATIENCE, root, wait_for};
use crate::tools::daemon::Daemon;

const MODEL: &str = "counter-watch";

/// A box with a device that counts its reads, a model on it, and a key that it trusts.
struct Plant {
    daemon: Daemon,
    counter: Counter,
    key: SecretKey,
}

impl Plant {
    fn new(brokers: Option<&str>, prefix: &str) -> Self {
        let daemon = Daemon::new("box-1", brokers, prefix);
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        let folders = "devices = [\"devices\"]\nprofiles = [\"profiles\"]";
        let kafka = brokers.is_some();
        let text = text.replace("devices = []\nprofiles = []", folders)
            + &format!(
                "[models]\nkeys = \"keys\"\nkafka = {kafka}\n[[model]]\nname = \"{MODEL}\"\ndevices = [\"a\"]\n"
            );
        for folder in ["devices", "profiles", "keys", "models", "models/counter-watch"] {
            std::fs::create_dir(daemon.folder.path().join(folder)).unwrap();
        }
        let counter = Counter::start("a");
        daemon.write("forebay.toml", &text);
        daemon.write("profiles/counter.toml", &profile());
        daemon.write("devices/a.toml", &format!("forebay = 1\n{}", counter.table()));
        let (key, path) = (SecretKey::new().unwrap(), daemon.folder.path().join("it.key"));
        let public = key.write(&path).unwrap();
        std::fs::rename(public, daemon.folder.path().join("keys/central-it.pub")).unwrap();
        let plant = Self { daemon, counter, key };
        let outside = plant.daemon.folder.path().join("models/counter-watch");
        for (name, bytes) in package("outside").files() {
            std::fs::write(outside.join(name), bytes).unwrap();
        }
        plant
    }

    fn path(&self, name: &str) -> PathBuf {
        self.daemon.folder.path().join(name)
    }

    /// A tar of the model in this version, signed by who is trusted.
    fn tar(&self, version: &str) -> PathBuf {
        let mut package = package(version);
        self.key.sign(&mut package).unwrap();
        self.write_tar(version, &package)
    }

    fn write_tar(&self, name: &str, package: &Package) -> PathBuf {
        let path = self.path(&format!("{name}.tar"));
        std::fs::write(&path, package.to_tar().unwrap()).unwrap();
        path
    }

    fn model(&self, arguments: &[&str]) -> Output {
        self.daemon.command(&[&["model"], arguments].concat())
    }

    /// The same; it must be done.
    fn order(&self, arguments: &[&str]) -> String {
        let done = self.model(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", text(&done));
        text(&done)
    }

    /// The same; it must be refused. What was said.
    fn refused(&self, arguments: &[&str]) -> String {
        let done = self.model(arguments);
        assert!(!done.status.success(), "{arguments:?}: {}", text(&done));
        text(&done)
    }

    /// What is known of the model, `None` while the box does not answer.
    fn listed(&self) -> Option<Json> {
        let list = self.daemon.client().get("/v1/models").ok()?;
        list["models"].as_array()?.iter().find(|model| model["name"] == MODEL).cloned()
    }

    /// Waits until the model scores; what is known of it then.
    fn wait_scores(&self) -> Json {
        wait_for("score", PATIENCE, || {
            let listed = self.listed()?;
            (listed["devices"][0]["scored"].as_u64()? > 0).then_some(listed)
        })
    }

    /// What lies in the store, names of folders only.
    fn in_store(&self) -> Vec<String> {
        names(&self.daemon.state().join("models"))
    }

    /// The counts of all reads in the journal, in order, and how often there is a gap before one; the
    /// box must not run.
    fn stored(&self) -> (Vec<u64>, usize) {
        let (mut counts, mut gaps) = (Vec::new(), 0);
        self.read("telemetry", |body| {
            let Body::Batch(batch) = body else { panic!("no batch") };
            gaps += usize::from(batch.gap.is_some());
            let count = batch.samples.iter().find(|sample| sample.tag == 0).map(|sample| &sample.value);
            let Some(Value::Uint(count)) = count else { panic!("a read without its count") };
            counts.push(*count);
        });
        (counts, gaps)
    }

    /// Data of all changes of models in the journal; the box must not run.
    fn changes(&self) -> Vec<Json> {
        let mut changes = Vec::new();
        self.read("events", |body| {
            let Body::Event(json) = body else { return };
            let event: Json = serde_json::from_slice(&json).unwrap();
            if event["kind"] == "model-changed" {
                changes.push(event["data"].clone());
            }
        });
        changes
    }

    fn read(&self, lane: &'static str, mut take: impl FnMut(Body)) {
        let options = LaneOptions {
            segment_bytes: 1 << 20,
            ..LaneOptions::new(lane, self.daemon.lane(lane), "Werk1/box-1")
        };
        let mut opened = Lane::open(options, Events::new().0).unwrap();
        loop {
            let records = opened.reader.next(512, 1 << 20);
            if records.is_empty() {
                break;
            }
            records.into_iter().for_each(|record| take(record.body));
        }
        assert_eq!(opened.lane.close(), 0);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The shipped model, made to watch a counter, in this version.
fn package(version: &str) -> Package {
    let folder = root().join("models/press-wear");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let spec = String::from_utf8(read("model.toml")).unwrap();
    let mut tags = 0;
    let lines = spec.lines().map(|line| match line.split('=').next().map(str::trim) {
        Some("name") => format!("name = \"{MODEL}\""),
        Some("version") => format!("version = \"{version}\""),
        Some("profile") => "profile = \"counter\"".to_owned(),
        Some("sample_interval") => "sample_interval = \"100ms\"".to_owned(),
        Some("tag") => {
            tags += 1;
            format!("tag = \"line.v{tags}\"")
        }
        _ => line.to_owned(),
    });
    let spec = lines.collect::<Vec<_>>().join("\n");
    Package::new(spec.into_bytes(), read("model.onnx"), read("golden.json"), None)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A file as it is given to a command.
fn argument(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn versions_are_installed_exchanged_and_taken_back_under_load() {
    let mut plant = Plant::new(None, "away");
    plant.daemon.start();
    assert_eq!(plant.wait_scores()["active"], Json::Null);
    let said = plant.order(&["install", argument(&plant.tar("1")), "--activate"]);
    assert!(
        said.contains("signed by central-it; a score takes") && said.contains("counter-watch 1 runs now"),
        "{said}"
    );
    plant.order(&["install", argument(&plant.tar("2"))]);
    assert_eq!(plant.wait_scores()["active"], "1", "it only lies there");
    let mut took_us = Vec::new();
    for round in 0..20 {
        let version = ["2", "1"][round % 2];
        let before = plant.counter.count();
        let done = plant.order(&["activate", MODEL, version, "--json"]);
        let done: Json = serde_json::from_str(&done).unwrap();
        took_us.push(done["swap_us"].as_u64().unwrap());
        wait_for("reads", PATIENCE, || (plant.counter.count() > before + 2).then_some(()));
    }
    took_us.sort_unstable();
    println!("exchange in a running box: median {} µs, longest {} µs", took_us[10], took_us[19]);
    assert!(took_us[10] < 50_000, "{took_us:?} µs");
    assert_eq!(plant.wait_scores()["active"], "1");
    assert!(plant.order(&["rollback", MODEL]).contains("counter-watch 2 runs now"));
    plant.order(&["shadow", MODEL, "1"]);
    let list = plant.order(&["list"]);
    assert!(
        list.contains("* 2 ") && list.contains("in shadow since") && list.contains("signed by central-it"),
        "{list}"
    );
    assert!(plant.refused(&["remove", MODEL, "1"]).contains("end its shadow first"));
    plant.order(&["shadow", MODEL, "--end"]);
    plant.order(&["remove", MODEL, "1"]);
    assert!(plant.refused(&["activate", MODEL, "1"]).contains("there is no version 1"));
    assert!(plant.order(&["activate", MODEL, "--outside"]).contains("outside of the store"));
    plant.daemon.stop();
    let list = plant.order(&["list"]);
    assert!(list.contains("does not run") && list.contains("* outside"), "{list}");
    let (counts, gaps) = plant.stored();
    let all: Vec<u64> = (1..=u64::from(plant.counter.count())).collect();
    assert_eq!((counts, gaps), (all, 0), "every read once, in order, and no gap");
    let changes = plant.changes();
    let of = |code: &str| changes.iter().filter(|data| data["change"] == code).count();
    assert_eq!(
        (of("installed"), of("activated"), of("rolled-back"), of("removed")),
        (2, 22, 1, 1),
        "{changes:?}"
    );
    assert!(changes.iter().all(|data| data["why"].is_object() && data["by"].is_string()));
}

#[test]
fn who_is_not_trusted_changes_nothing() {
    let mut plant = Plant::new(None, "away");
    plant.daemon.start();
    plant.order(&["install", argument(&plant.tar("1")), "--activate"]);
    plant.wait_scores();
    let unsigned = plant.write_tar("unsigned", &package("2"));
    let mut foreign = package("2");
    SecretKey::new().unwrap().sign(&mut foreign).unwrap();
    let foreign = plant.write_tar("foreign", &foreign);
    let mut signed = package("2");
    plant.key.sign(&mut signed).unwrap();
    let mut changed = package("3");
    changed.set_signature(signed.signature().unwrap().to_vec());
    let changed = plant.write_tar("changed", &changed);
    for (tar, why) in [
        (&unsigned, "it is not signed: sign it with `forebay model sign"),
        (&foreign, "which is not trusted: put the key's .pub file into"),
        (&changed, "one of them was changed after it was signed"),
    ] {
        for how in ["--activate", "--shadow"] {
            let said = plant.refused(&["install", argument(tar), how]);
            assert!(said.contains(why), "{said}");
        }
    }
    let listed = plant.wait_scores();
    assert_eq!((&listed["active"], listed["versions"].as_array().unwrap().len()), (&"1".into(), 1));
    assert_eq!(plant.in_store(), [MODEL]);
    // The commands that sign.
    let key = plant.path("mine");
    let made = plant_free(&["new-key", argument(&key)]);
    assert!(made.contains("keep it to yourself"), "{made}");
    std::fs::rename(plant.path("mine.pub"), plant.path("keys/mine.pub")).unwrap();
    let folder = plant.path("models/counter-watch");
    assert!(plant_free(&["sign", argument(&folder), "--key", argument(&key)]).contains("outside is signed"));
    let said = plant.order(&["install", argument(&folder), "--activate"]);
    assert!(said.contains("signed by mine"), "{said}");
    plant.daemon.stop();
}

/// `forebay model …` without a box.
fn plant_free(arguments: &[&str]) -> String {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .arg("model")
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", text(&done));
    text(&done)
}
