use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use forebay_connector::{Quality, Value};

use super::super::shadow::Comparison;
use super::*;
use crate::event::{Event, Kind};
use crate::poll::testing::{device, tag};
use crate::twin::Link;

const PATIENCE: Duration = Duration::from_secs(60);
const MODEL: &str = "press-wear";

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The shipped model under another version, on a faster grid.
fn package(version: &str) -> Package {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/press-wear"));
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let spec = String::from_utf8(read("model.toml")).unwrap();
    let lines = spec.lines().map(|line| match line.split('=').next().map(str::trim) {
        Some("version") => format!("version = \"{version}\""),
        Some("sample_interval") => "sample_interval = \"50ms\"".to_owned(),
        _ => line.to_owned(),
    });
    let spec = lines.collect::<Vec<_>>().join("\n");
    Package::new(spec.into_bytes(), read("model.onnx"), read("golden.json"), None)
}

/// A box with a device whose values never grow old, and its models.
struct Bench {
    state: tempfile::TempDir,
    device: String,
    twin: Arc<Twin>,
    models: Arc<Models>,
    received: tokio::sync::mpsc::Receiver<Event>,
    told: Vec<Event>,
    stop: CancellationToken,
    poller: Option<JoinHandle<()>>,
    ended: Arc<AtomicBool>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut ModelOptions, &mut Options)) -> Self {
        Self::at(tempfile::tempdir().unwrap(), change)
    }

    fn at(folder: tempfile::TempDir, change: impl FnOnce(&mut ModelOptions, &mut Options)) -> Self {
        let shipped = Folder::built_in().remove(0);
        let inputs = &shipped.content.as_ref().unwrap().spec.inputs;
        let press = device((0..).zip(inputs).map(|(raw, input)| tag(&input.tag, raw)).collect());
        let (name, twin) = (press.name.clone(), Arc::new(Twin::new(&[press])));
        let mut options = ModelOptions {
            keys: folder.path().join("keys"),
            unsigned: true,
            threads: 1,
            cpu_share: 1.0,
            promote: false,
            shadow: Duration::from_secs(60),
            flood: 6,
            kafka: false,
        };
        let mut inference = Options::default();
        change(&mut options, &mut inference);
        let (events, received) = Events::new();
        let state = Arc::new(SetOnce::new());
        assert!(state.set(state::State::open(&folder.path().join("state")).unwrap().state).is_ok());
        let stop = CancellationToken::new();
        let setup = Setup {
            options,
            folders: Vec::new(),
            state_folder: folder.path().to_owned(),
            state,
            box_path: "Works1/box".to_owned(),
            twin: Arc::clone(&twin),
            diaries: Arc::default(),
            events,
            stop: stop.clone(),
        };
        let models = Models::start_with(setup, inference);
        models.configure(&[Model { name: MODEL.to_owned(), devices: vec![name.clone()] }]);
        let (ended, polled) = (Arc::new(AtomicBool::new(false)), Arc::clone(&twin));
        let end = Arc::clone(&ended);
        let poller = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let press = Arc::clone(&polled.devices()[0]);
                let mut state = press.state();
                state.link = Link::Up { since_us: 1 };
                for current in &mut state.values {
                    (current.value, current.quality) = (Value::Real(1.0), Quality::Good);
                    current.edge_us = clock::now_us();
                }
                drop(state);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let (poller, told) = (Some(poller), Vec::new());
        Self { state: folder, device: name, twin, models, received, told, stop, poller, ended }
    }

    fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.models.predictions.slots()[0])
    }

    fn version(&self) -> String {
        self.models.predictions.list()[0].version.clone()
    }

    /// Waits until `version` scores.
    fn scores(&self, version: &str) -> Arc<Slot> {
        wait_for(&format!("score of {version}"), || {
            let slot = self.slot();
            let is = slot.spec().is_some_and(|spec| spec.version == version);
            (is && slot.tally().scored > 0).then_some(slot)
        })
    }

    /// Data of the changes so far.
    fn changes(&mut self) -> Vec<serde_json::Value> {
        self.told.extend(std::iter::from_fn(|| self.received.try_recv().ok()));
        let changes = self.told.iter().filter(|event| event.kind == Kind::ModelChanged);
        changes.map(|event| event.data.clone()).collect()
    }

    fn change(&mut self, code: &str) -> serde_json::Value {
        wait_for(code, || self.changes().into_iter().rev().find(|data| data["change"] == code))
    }

    fn install(&self, version: &str, then: Then) -> Done {
        self.models.install(&package(version), then, &[], "anna").unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.poller.take().map(JoinHandle::join);
    }
}

#[test]
fn a_version_takes_over_with_the_window_and_misses_no_point() {
    let mut bench = Bench::new(|_, _| {});
    let shipped = bench.version();
    bench.install("a", Then::Activate);
    bench.scores("a");
    let mut took_us = Vec::new();
    for round in 0..20 {
        let (from, to) = (bench.slot(), ["b", "a"][round % 2]);
        let before = from.tally().points;
        let done = bench.install(to, Then::Activate);
        let slot = bench.scores(to);
        took_us.push(done.swap_us.unwrap());
        wait_for("further points", || (slot.tally().points >= 5).then_some(()));
        let (after, tally) = (from.tally().clone(), slot.tally().clone());
        assert!(after.points >= before);
        // A machine that is busy with other things may be late; that is counted, and is no fault.
        if after.late + tally.late == 0 {
            assert_eq!((tally.points, tally.over_share), (tally.scored, 0), "round {round}: no window anew");
        }
    }
    took_us.sort_unstable();
    println!("exchange: median {} µs, longest {} µs", took_us[10], took_us[19]);
    assert!(took_us[10] < 50_000, "{took_us:?} µs");
    let first = bench.changes().into_iter().find(|data| data["change"] == "activated").unwrap();
    assert_eq!((&first["from"], &first["to"], &first["by"]), (&shipped.into(), &"a".into(), &"anna".into()));
    // Back along the versions.
    let back = bench.models.roll_back(MODEL, "anna").unwrap();
    assert_eq!(back.identity.version, "b");
    bench.scores("b");
}

#[test]
fn a_model_that_does_not_come_back_is_stopped_and_rolled_back() {
    let quick = |_: &mut ModelOptions, inference: &mut Options| {
        (inference.score_floor, inference.score_wall) = (Duration::from_millis(1), Duration::from_secs(2));
    };
    let mut bench = Bench::new(quick);
    let shipped = bench.version();
    bench.install("a", Then::Activate);
    bench.scores("a");
    {
        // Whoever scores waits for the values, for ever.
        let press = Arc::clone(&bench.twin.devices()[0]);
        let _held = press.state();
        let back = bench.change("rolled-back");
        assert_eq!(
            (&back["from"], &back["to"], &back["by"]),
            (&"a".into(), &shipped.clone().into(), &"forebay".into())
        );
        assert!(back["why"]["en"].as_str().unwrap().contains("did not end within"), "{back}");
    }
    bench.scores(&shipped);
    assert!(
        bench
            .models
            .registry
            .entry(MODEL)
            .failed
            .is_some_and(|failed| failed.version.as_deref() == Some("a"))
    );
}

#[test]
fn a_flood_of_alarms_after_a_change_takes_it_back() {
    let mut bench = Bench::new(|_, _| {});
    bench.install("a", Then::Activate);
    let slot = bench.scores("a");
    let alarm = || super::super::shadow::Outcome { raised_us: Some(clock::now_us()), ..Default::default() };
    (0..6).for_each(|_| slot.tally().note(alarm()));
    let look = || bench.models.predictions.slots()[0].spec().unwrap().version.clone();
    let points = slot.tally().points;
    wait_for("points", || (slot.tally().points > points + 10).then_some(()));
    assert_eq!(look(), "a", "six are no flood");
    slot.tally().note(alarm());
    let back = bench.change("rolled-back");
    let why = back["why"]["de"].as_str().unwrap();
    assert!(why.contains(&format!("sie hat an {} binnen einer Stunde 7 Alarme", bench.device)), "{why}");
}

#[test]
fn a_shadow_says_nothing_is_compared_and_takes_over_when_it_is_no_worse() {
    let mut bench = Bench::new(|options, _| options.promote = true);
    let shipped = bench.version();
    bench.install("a", Then::Shadow);
    let slot = wait_for("shadow", || bench.models.predictions.shadows().first().cloned());
    wait_for("comparison", || (slot.tally().comparison.compared > 3).then_some(()));
    let listed = bench.models.list();
    let shadow =
        listed["models"].as_array().unwrap().iter().find(|it| it["name"] == MODEL).unwrap()["shadow"].clone();
    assert_eq!((shadow["version"].as_str(), shadow["by"].as_str()), (Some("a"), Some("anna")));
    assert_eq!(shadow["objection"], "it has not watched for long enough");
    assert!(shadow["figures"]["scored"].as_u64().unwrap() > 3, "{shadow}");
    bench.models.promote();
    assert_eq!(bench.version(), shipped);
    bench.changes();
    assert!(bench.told.iter().all(|event| event.kind != Kind::Prediction || event.data["version"] != "a"));
    // What it has done outlives a restart.
    let comparison = slot.tally().comparison;
    slot.tally().comparison = Comparison { watched_us: 90_000_000, scored: 1000, ..comparison };
    bench.models.save_figures();
    bench.models.end_shadow(MODEL, "anna").unwrap();
    bench.models.shadow(MODEL, "a", "anna").unwrap();
    let again = wait_for("shadow", || bench.models.predictions.shadows().first().cloned());
    assert!(again.tally().comparison.watched_us >= 90_000_000);
    // It may raise an alarm of its own at any time.
    wait_for("promotion", || {
        again.tally().comparison =
            Comparison { watched_us: 90_000_000, scored: 1000, ..Comparison::default() };
        bench.models.promote();
        (bench.models.registry.entry(MODEL).active.as_deref() == Some("a")).then_some(())
    });
    bench.scores("a");
    let promoted = bench.change("activated");
    assert_eq!(promoted["by"], "forebay");
    assert!(bench.models.predictions.shadows().is_empty());
}

#[test]
fn a_version_that_has_gone_or_is_trusted_no_more_falls_back() {
    let mut bench = Bench::new(|_, _| {});
    let shipped = bench.version();
    for version in ["a", "b"] {
        bench.install(version, Then::Activate);
        bench.scores(version);
    }
    let place = bench.models.store.path(MODEL, "b").unwrap();
    std::fs::remove_dir_all(place).unwrap();
    // A key that nobody knows.
    let other = Store::new(&bench.state.path().join("elsewhere"));
    let mut signed = package("a");
    super::super::signature::SecretKey::of_box(&other).unwrap().sign(&mut signed).unwrap();
    let a = bench.models.store.path(MODEL, "a").unwrap();
    std::fs::write(a.join("signature.toml"), signed.signature().unwrap()).unwrap();
    bench.models.configure(&[Model { name: MODEL.to_owned(), devices: vec![bench.device.clone()] }]);
    bench.scores(&shipped);
    let back: Vec<_> = bench.changes().into_iter().filter(|data| data["change"] == "rolled-back").collect();
    assert_eq!(back.len(), 2, "{back:?}");
    assert!(back[1]["why"]["en"].as_str().unwrap().contains("not trusted"), "{back:?}");
    assert!(matches!(
        bench.models.activate(MODEL, &Some("a".into()), "", &Text::default()),
        Err(OrderError::Signature { .. })
    ));
}

#[test]
fn what_runs_cannot_be_removed_and_what_is_not_there_not_run() {
    let bench = Bench::new(|_, _| {});
    bench.install("a", Then::Activate);
    bench.install("b", Then::Shadow);
    for version in ["a", "b"] {
        assert!(matches!(bench.models.remove(MODEL, version, ""), Err(OrderError::Wrong(_))), "{version}");
    }
    let missing = bench.models.activate(MODEL, &Some("c".into()), "", &Text::default());
    assert!(matches!(missing, Err(OrderError::Store(_))));
    bench.models.activate(MODEL, &None, "", &Text::default()).unwrap();
    bench.models.remove(MODEL, "a", "").unwrap();
    assert!(bench.models.roll_back(MODEL, "").is_err(), "what was before is not there any more");
    // Another tag than the device has.
    let files: Vec<Vec<u8>> = package("d").files().map(|(_, bytes)| bytes.to_vec()).collect();
    let [spec, onnx, golden] = <[Vec<u8>; 3]>::try_from(files).unwrap();
    let spec = String::from_utf8(spec).unwrap().replace("\"drive.current\"", "\"drive.currant\"");
    let misfit = Package::new(spec.into_bytes(), onnx, golden, None);
    let refused = bench.models.install(&misfit, Then::Activate, &[], "");
    assert!(matches!(refused, Err(OrderError::Misfit { .. })));
    assert!(!bench.models.store.has(MODEL, "d"));
}

#[test]
fn what_is_over_its_share_is_dropped_and_counted() {
    let tiny = |options: &mut ModelOptions, _: &mut Options| options.cpu_share = 1e-9;
    let bench = Bench::new(tiny);
    let slot = bench.slot();
    let dropped = wait_for("dropped windows", || Some(slot.tally().over_share).filter(|count| *count > 3));
    assert!(bench.models.predictions.windows()[0].over_share >= dropped);
    let now = slot.now();
    let State::Suppressed { why } = &now.state else { panic!("{:?}", now.state) };
    assert!(why.get("en").contains("cpu_share"), "{why:?}");
    assert_eq!(now.missing, 0, "the window is filled all the same");
}
