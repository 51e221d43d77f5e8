//! Models: the gate in front of them, what they say of the simulated press, and what they must
//! never do.

#[path = "infer/examples.rs"]
mod examples;
#[path = "infer/prepare.rs"]
mod prepare;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay::demo::machine::Machine;
use forebay::demo::record::{self, Record};
use forebay::device::{Device, Tag, Text, Transform};
use forebay::event::{Event, Events, Kind};
use forebay::infer::detector::Detector;
use forebay::infer::diary::Diaries;
use forebay::infer::evaluate::{self, Evaluate};
use forebay::infer::folder::{Content, Folder};
use forebay::infer::graph::{GateError, Graph};
use forebay::infer::lag_pca::{LagPca, Settings};
use forebay::infer::predictions::Predictions;
use forebay::infer::watcher::Watcher;
use forebay::infer::{Binding, Prediction, State as Model, spawn, watch, watch_with};
use forebay::state::State;
use forebay::twin::{Cause, Link, Twin};
use forebay_connector::{DataType, DeviceSpec, Quality, Scalar, ScanClass, Secrets, Value};
use proptest::prelude::*;
use prost::Message;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto};

use crate::support::{PATIENCE, root, wait_for};

const INPUTS: [&str; 5] =
    ["drive.vib_de", "drive.vib_nde", "drive.current", "hydraulics.pressure", "hydraulics.oil_temp"];

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("{name} is not known"))
    }
}

/// A press with the tags that models see, scanned every 200 ms.
fn press(name: &str) -> Arc<Device> {
    let tag = |(raw, path): (usize, &&str)| Tag {
        path: (*path).to_owned(),
        raw: u32::try_from(raw).expect("few tags"),
        transform: Transform::None,
        data_type: DataType::single(Scalar::Real),
        unit: String::new(),
        deadband: 0.0,
        compress: None,
        max_silence: Duration::from_secs(60),
        scan: 0,
        range: None,
        limits: Default::default(),
        counter: false,
        enumeration: None,
        function_check: false,
        bit: None,
        timezone: None,
        formula: None,
        desc: String::new(),
        source: String::new(),
    };
    let spec = DeviceSpec {
        name: name.to_owned(),
        endpoint: String::new(),
        options: Default::default(),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_millis(200) }],
        tags: [].into(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: Default::default(),
    };
    Arc::new(Device {
        name: name.to_owned(),
        path: format!("Works1/Pressing/Line3/{name}"),
        location: Vec::new(),
        profile: "acme-press-630t".to_owned(),
        profile_version: "1.2.0".to_owned(),
        title: Text::plain("Press"),
        protocol: forebay::connectors::by_name("s7").expect("S7 is a protocol"),
        spec,
        tags: INPUTS.iter().enumerate().map(tag).collect(),
        standby_for: String::new(),
        verify: Vec::new(),
        access: Default::default(),
        source: String::new(),
    })
}

/// A press, its twin and one model on it, in simulated time.
struct Bench {
    twin: Twin,
    machine: Machine,
    watcher: Option<Watcher>,
    predictions: Arc<Predictions>,
    events: Events,
    received: Receiver<Event>,
    now_us: i64,
}

/// One point of the grid of the shipped model.
const GRID_US: i64 = 500_000;

impl Bench {
    fn new(folder: Folder, machine: Machine) -> Self {
        Self::on(folder, machine, press("press-3"))
    }

    fn on(folder: Folder, machine: Machine, device: Arc<Device>) -> Self {
        let twin = Twin::new(&[device]);
        let (events, received) = Events::new();
        let binding = Binding { folder: Arc::new(folder), device: "press-3".into() };
        let (watcher, predictions) = watch(binding, "Works1/box", &twin, &events);
        Self { twin, machine, watcher, predictions, events, received, now_us: 1_000_000_000 }
    }

    /// Lets the machine run to the next point of the grid, and the poller read it.
    fn poll(&mut self) {
        self.machine.step(0.5);
        self.now_us += GRID_US;
        let press = Arc::clone(&self.twin.devices()[0]);
        let mut state = press.state();
        state.link = Link::Up { since_us: 1 };
        for (path, value) in self.machine.values() {
            if let Some(index) = INPUTS.iter().position(|input| *input == path) {
                state.values[index].value = value;
                state.values[index].quality = Quality::Good;
                state.values[index].edge_us = self.now_us - 100_000;
            }
        }
    }

    fn tick(&mut self) {
        self.watcher.as_mut().expect("the model runs").tick(self.now_us, &self.events);
    }

    fn run(&mut self, seconds: u32) {
        for _ in 0..seconds * 2 {
            self.poll();
            self.tick();
        }
    }

    fn prediction(&self) -> Prediction {
        self.predictions.list().remove(0)
    }

    /// What happened since the last time, without the summaries of minutes.
    fn events(&mut self) -> Vec<Event> {
        let events = std::iter::from_fn(|| self.received.try_recv().ok());
        events.filter(|event| event.kind != Kind::Score).collect()
    }

    fn summaries(&mut self) -> Vec<Event> {
        let events = std::iter::from_fn(|| self.received.try_recv().ok());
        events.filter(|event| event.kind == Kind::Score).collect()
    }
}

fn shipped() -> Folder {
    Folder::built_in().into_iter().find(|folder| folder.name == "press-wear").expect("it is built in")
}

fn content() -> Content {
    shipped().content.expect("the shipped folder is right")
}

/// The shipped model with its graph changed.
fn changed(change: impl FnOnce(&mut ModelProto)) -> Content {
    let mut content = content();
    let mut proto = ModelProto::decode(content.onnx.as_slice()).expect("it is ONNX");
    change(&mut proto);
    content.onnx = proto.encode_to_vec();
    content
}

fn gate(content: &Content) -> String {
    Graph::load(content).err().map_or_else(|| "passed".into(), |error| error.to_string())
}

#[test]
fn the_shipped_model_passes_its_gate() {
    for folder in Folder::built_in() {
        let content = folder.content.expect("the folder is right");
        let graph = Graph::load(&content).expect("it runs");
        assert_eq!(graph.hash().len(), 64);
    }
    let folder = Folder::read(&root().join("models/press-wear"));
    assert_eq!(folder.content.expect("the folder is right").onnx, content().onnx);
}

/// The recording, the fit and the shipped model belong together: our own code learns from the
/// recording that `train.py` was given, and must find the same scores.
#[test]
fn learning_on_the_box_gives_the_shipped_model() {
    let mut table = Vec::new();
    record::run(&Record { seconds: 14_400, seed: 1, wear: 0.0 }, &mut table).expect("memory takes it");
    let table = String::from_utf8(table).expect("text");
    let header: Vec<&str> = table.lines().next().expect("a header").split(',').collect();
    let columns = INPUTS.map(|input| header.iter().position(|name| *name == input).expect("it is recorded"));
    let mut rows: Vec<f32> = Vec::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        rows.extend(columns.map(|column| cells[column].parse::<f32>().expect("a number")));
    }
    let content = content();
    let model =
        LagPca::fit(&rows, INPUTS.len(), content.spec.window, Settings::default()).expect("it learns");
    for case in &content.golden.cases {
        let contrib = model.contrib(&case.window.concat());
        for (found, expected) in contrib.iter().zip(&case.contrib) {
            let difference = (found - f64::from(*expected)).abs();
            assert!(difference < 1e-3, "{}: {found} instead of {expected}", case.name);
        }
    }
    // And its own ONNX passes the gate, with golden cases computed without ONNX.
    let windows: Vec<&[f32]> = rows.chunks_exact(50).take(3).collect();
    Graph::load(&model.content(content.spec.clone(), &windows)).expect("what was written can be run");
}

#[test]
fn the_gate_catches_a_changed_weight() {
    let content = changed(|proto| {
        let graph = proto.graph.as_mut().expect("a graph");
        let components = graph.initializer.iter_mut().find(|tensor| tensor.name == "components");
        let bytes = &mut components.expect("it has components").raw_data;
        let weight = f32::from_le_bytes(bytes[40..44].try_into().expect("four bytes"));
        bytes[40..44].copy_from_slice(&(weight + 0.05).to_le_bytes());
    });
    let said = gate(&content);
    assert!(said.contains("golden.json") && said.contains("instead of"), "{said}");
}

#[test]
fn the_gate_catches_swapped_outputs() {
    let swap = |rename: bool| {
        changed(|proto| {
            let outputs = &mut proto.graph.as_mut().expect("a graph").output;
            outputs.swap(0, 1);
            if rename {
                // The names are right, the values behind them are not.
                let graph = proto.graph.as_mut().expect("a graph");
                for node in &mut graph.node {
                    for name in node.input.iter_mut().chain(&mut node.output) {
                        *name = match name.as_str() {
                            "contrib" => "score".into(),
                            "score" => "contrib".into(),
                            _ => continue,
                        };
                    }
                }
                graph.output.swap(0, 1);
            }
        })
    };
    let said = gate(&swap(false));
    assert!(said.contains("output \"score\" stands where \"contrib\" is needed"), "{said}");
    let said = gate(&swap(true));
    assert!(said.contains("has shape") || said.contains("does not load"), "{said}");
}

#[test]
fn the_gate_catches_swapped_inputs() {
    // The order of the tags in model.toml changed: every number is finite, every shape fits.
    let mut content = content();
    for case in &mut content.golden.cases {
        case.window.iter_mut().for_each(|row| row.swap(2, 3));
        case.contrib.swap(2, 3);
    }
    assert!(gate(&content).contains("golden.json"));
}

#[test]
fn the_gate_catches_nan_and_refuses_it_later_too() {
    let content = changed(|proto| {
        let graph = proto.graph.as_mut().expect("a graph");
        let limit = graph.initializer.iter_mut().find(|tensor| tensor.name == "limit").expect("a limit");
        limit.raw_data = f32::NAN.to_le_bytes().to_vec();
    });
    assert!(gate(&content).contains("constant \"limit\" holds NaN"), "{}", gate(&content));
    let mut graph = Graph::load(&self::content()).expect("it runs");
    let error = graph.run(|window| window.fill(f32::INFINITY)).expect_err("no number comes out");
    assert!(matches!(error, GateError::NotFinite(_)), "{error}");
}

#[test]
fn the_gate_catches_truncated_and_oversized_files() {
    let whole = content();
    for length in [0, 1, 17, whole.onnx.len() / 2, whole.onnx.len() - 1] {
        let mut content = whole.clone();
        content.onnx.truncate(length);
        assert!(gate(&content).starts_with("model.onnx"), "{length} bytes: {}", gate(&content));
    }
    let claims_much = changed(|proto| {
        let graph = proto.graph.as_mut().expect("a graph");
        graph.initializer[0].dims = vec![1 << 40, 1 << 20];
    });
    assert!(gate(&claims_much).contains("too large"), "{}", gate(&claims_much));
    let grows = changed(|proto| {
        // Two legal constants whose product has nine million million elements.
        let graph = proto.graph.as_mut().expect("a graph");
        for (name, dims) in [("column", vec![3_000_000, 1]), ("row", vec![1, 3_000_000])] {
            let raw_data = vec![0; 12_000_000];
            let name = name.to_owned();
            graph.initializer.push(TensorProto { name, dims, data_type: 1, raw_data, ..Default::default() });
        }
        let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
            op_type: operator.into(),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.into()],
            ..Default::default()
        };
        graph.node.insert(0, node("MatMul", &["column", "row"], "product"));
        graph.node.insert(1, node("ReduceMean", &["product"], "mean_of_product"));
        let last = graph.node.iter_mut().find(|node| node.output[0] == "contrib").expect("it is there");
        last.input[1] = "mean_of_product".into();
    });
    assert!(gate(&grows).contains("too large"), "{}", gate(&grows));
}

#[test]
fn a_loop_inside_a_graph_is_refused() {
    let content = changed(|proto| {
        let graph = proto.graph.as_mut().expect("a graph");
        let body = graph.clone();
        let attribute = AttributeProto { name: "body".into(), g: Some(body), ..Default::default() };
        graph.node[0].attribute.push(attribute);
    });
    let said = gate(&content);
    assert!(said.contains("operator `Sub` with attribute `body` is not supported"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Garbage, and good files with bytes changed, never panic the process, and never pass with
    /// another result.
    #[test]
    fn a_damaged_file_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..400),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut content = content();
        let whole = std::mem::replace(&mut content.onnx, garbage);
        prop_assert!(Graph::load(&content).is_err());
        content.onnx = whole;
        for (place, byte) in places {
            let place = place.index(content.onnx.len());
            content.onnx[place] = byte;
        }
        // It may pass: names and comments do not matter, and the last bits of a weight do not.
        let _verdict = Graph::load(&content).is_ok();
    }
}

#[test]
fn every_fault_of_a_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    let faults = |path: &Path| {
        let faults = Folder::read(path).content.expect_err("it is wrong");
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let shipped =
        |name: &str| std::fs::read(root().join("models/press-wear").join(name)).expect("it is shipped");
    let said = faults(folder.path());
    assert_eq!(said.matches("M0001").count(), 3, "{said}");

    let toml = String::from_utf8(shipped("model.toml")).expect("text");
    write("model.toml", toml.replace("window ", "windows ").as_bytes());
    let said = faults(folder.path());
    assert!(said.contains("unknown key `windows`") && said.contains("golden.json: M0001"), "{said}");

    write("model.toml", toml.as_bytes());
    write("model.onnx", &shipped("model.onnx"));
    for (golden, what) in [
        ("{}", "missing field"),
        ("{\"tolerance\": 0.5, \"cases\": []}", "tolerance is 0.5"),
        ("{\"tolerance\": 0.001, \"cases\": []}", "0 cases"),
        ("{\"tolerance\": 0.001, \"cases\": [], \"more\": 1}", "unknown field"),
    ] {
        write("golden.json", golden.as_bytes());
        let said = faults(folder.path());
        assert!(said.contains("golden.json") && said.contains(what), "{said}");
    }
    let golden = String::from_utf8(shipped("golden.json")).expect("text");
    write("golden.json", golden.replacen("[[", "[[1.0, ", 1).as_bytes());
    assert!(faults(folder.path()).contains("does not have 10 rows of 5 inputs"));

    write("golden.json", &shipped("golden.json"));
    write("model.toml", b"\xff\xfe");
    assert!(faults(folder.path()).contains("is not UTF-8"));
    write("model.toml", &vec![b'#'; 70_000]);
    assert!(faults(folder.path()).contains("larger than 65536 bytes"));
}

#[test]
fn a_healthy_press_never_alarms_in_an_hour() {
    for seed in [11, 12] {
        let mut bench = Bench::new(shipped(), Machine::new(seed));
        bench.run(3600);
        assert_eq!(bench.events().len(), 0, "seed {seed}");
        assert_eq!(bench.prediction().state, Model::Normal, "seed {seed}");
    }
}

#[test]
fn a_wearing_press_alarms_within_two_minutes() {
    for seed in 0..5 {
        let mut bench = Bench::new(shipped(), Machine::wearing(seed));
        let start_us = bench.now_us;
        bench.run(25);
        assert_eq!(bench.prediction().state, Model::Normal, "seed {seed}: it begins in good order");
        bench.run(95);
        let mut events = bench.events();
        let worse = events.split_off(1);
        assert!(worse.iter().all(|event| event.data["state"] == "worse"), "seed {seed}: raised once");
        let event = &events[0];
        assert_eq!((event.kind, event.device.as_str()), (Kind::Prediction, "Works1/Pressing/Line3/press-3"));
        let after_s = (event.edge_time - start_us) / 1_000_000;
        assert!((50..=110).contains(&after_s), "seed {seed}: after {after_s} s");
        assert_eq!(event.data["state"], "raised");
        assert_eq!(event.data["model"], "press-wear");
        assert_eq!(event.data["hash"].as_str().map(str::len), Some(64));
        assert!(event.data["score"].as_f64().is_some_and(|score| score > 1.0));
        assert_eq!(event.data["contributions"].as_array().map(Vec::len), Some(3));
        for text in ["episode", "begin", "since", "severity"] {
            assert!(event.data[text].is_string(), "{text}: {}", event.data);
        }
        let since: jiff::Timestamp = event.data["since"].as_str().expect("a time").parse().expect("a time");
        let early_s = (event.edge_time - since.as_microsecond()) / 1_000_000;
        assert!((1..=80).contains(&early_s), "seed {seed}: the wear was felt {early_s} s before");
        assert_eq!(event.data["input_quality"], 1.0);
        let window = &event.data["window"];
        assert!(window["from"].is_string() && window["to"].is_string(), "{window}");
        assert!(event.data["look_at"]["de"].is_string());
        let prediction = bench.prediction();
        assert!(matches!(prediction.state, Model::Raised { worst, .. } if worst > 1.0));
        assert!(prediction.contributions[0].0.starts_with("drive.vib"), "{:?}", prediction.contributions);
        assert!(prediction.words.get("en").contains("bearing"), "{:?}", prediction.words);
        assert_eq!(prediction.history.len(), 231);
    }
}

#[test]
fn a_prediction_ends_once_when_the_bearing_is_replaced() {
    let mut bench = Bench::new(shipped(), Machine::wearing(1));
    bench.run(180);
    let raised = bench.events().remove(0);
    bench.machine.set_wear_rate(0.0, 0.0);
    bench.machine.set_wear(0.0);
    bench.run(600);
    let mut events = bench.events();
    events.retain(|event| event.data["state"] != "worse");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].data["state"], "cleared");
    assert_eq!(events[0].data["episode"], raised.data["episode"]);
    assert!(events[0].data["end"].is_string() && events[0].data["worst"].as_f64() > Some(1.0));
    assert_eq!(bench.prediction().state, Model::Normal);
}

#[test]
fn a_bad_input_suppresses_the_score_and_says_which() {
    for (spoil, what) in [
        (Spoil::Quality(Quality::OutOfRange), "drive.current is not good: outside its range"),
        (Spoil::Old, "drive.current is older than 1000 ms"),
        (Spoil::Text, "drive.current is not a number"),
        (Spoil::Down, "the device does not answer"),
    ] {
        let mut bench = Bench::new(shipped(), Machine::new(3));
        bench.run(20);
        assert_eq!(bench.prediction().state, Model::Normal);
        for _ in 0..20 {
            bench.poll();
            spoil.apply(&mut bench);
            bench.tick();
            let Model::Suppressed { why } = bench.prediction().state else {
                panic!("{what}: it must not score")
            };
            assert!(why.get("en").contains(what), "{why:?}");
        }
        let events = bench.events();
        assert_eq!(events.len(), 1, "{what}: told once, not every tick");
        assert_eq!((events[0].kind, &events[0].data["state"]), (Kind::ModelState, &"suppressed".into()));
        bench.run(4);
        assert_eq!(bench.prediction().state, Model::Filling, "{what}: the window fills again");
        bench.run(4);
        assert_eq!(bench.prediction().state, Model::Normal);
        let events = bench.events();
        assert_eq!(events.len(), 1, "{what}");
        assert_eq!(events[0].data["state"], "scoring");
    }
}

#[test]
fn a_raised_prediction_outlives_missing_inputs() {
    let mut bench = Bench::new(shipped(), Machine::wearing(2));
    bench.run(150);
    assert_eq!(bench.events()[0].data["state"], "raised");
    for _ in 0..30 {
        bench.poll();
        Spoil::Down.apply(&mut bench);
        bench.tick();
    }
    let prediction = bench.prediction();
    assert!(matches!(prediction.state, Model::Suppressed { .. }) && prediction.raised_us.is_some());
    bench.run(30);
    assert!(matches!(bench.prediction().state, Model::Raised { .. }));
    let crossed = |event: &Event| event.kind == Kind::Prediction && event.data["state"] != "worse";
    assert!(!bench.events().iter().any(crossed), "no second crossing");
}

#[test]
fn a_minute_is_summed_up_once_with_how_good_its_inputs_were() {
    let mut bench = Bench::new(shipped(), Machine::new(3));
    bench.run(120);
    let minutes = bench.summaries();
    assert!((1..=2).contains(&minutes.len()), "{minutes:?}");
    let last = &minutes[minutes.len() - 1];
    assert_eq!((&last.data["dropped"], &last.data["input_quality"]), (&0.into(), &1.0.into()));
    let (mean, highest) = (last.data["mean"].as_f64(), last.data["highest"].as_f64());
    assert!(mean > Some(0.0) && highest >= mean && last.data["count"].as_u64() > Some(20), "{last:?}");
    assert_eq!(last.data["hash"].as_str().map(str::len), Some(64));
    for _ in 0..240 {
        bench.poll();
        Spoil::Old.apply(&mut bench);
        bench.tick();
    }
    let minutes = bench.summaries();
    let data = &minutes[minutes.len() - 1].data;
    assert_eq!((&data["count"], &data["mean"], &data["input_quality"]), (&0.into(), &().into(), &0.8.into()));
    // Two points of the grid came too late.
    bench.now_us += 2 * GRID_US;
    bench.watcher.as_mut().expect("it runs").gap(bench.now_us + GRID_US);
    bench.run(60);
    let dropped: u64 =
        bench.summaries().iter().map(|minute| minute.data["dropped"].as_u64().expect("a count")).sum();
    assert_eq!(dropped, 2);
}

/// The program ends and begins again while a prediction is raised.
#[test]
fn a_raised_prediction_outlives_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || State::open(&folder.path().join("state")).expect("a state").state;
    let mut bench = Bench::new(shipped(), Machine::wearing(2));
    bench.run(120);
    let raised = bench.events().remove(0);
    let place = Arc::new(tokio::sync::SetOnce::new());
    place.set(open()).ok().expect("nobody has set it");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = CancellationToken::new();
    stop.cancel();
    let diaries = Arc::clone(&bench.predictions.diaries);
    runtime.block_on(forebay::infer::diary::keep(diaries, Arc::clone(&place), bench.events.clone(), stop));
    drop(place);

    let diaries = Diaries::open(Some(&open()));
    let Bench { twin, machine, now_us, .. } = bench;
    let (events, received) = Events::new();
    let binding = Binding { folder: Arc::new(shipped()), device: "press-3".into() };
    let (watcher, predictions) = watch_with(binding, "Works1/box", &twin, diaries, &events);
    let mut bench = Bench { twin, machine, watcher, predictions, events, received, now_us };
    let prediction = bench.prediction();
    assert_eq!(prediction.raised_us, Some(raised.edge_time), "known before the first score");
    assert_eq!(prediction.state, Model::Filling);
    bench.run(30);
    assert!(
        matches!(bench.prediction().state, Model::Raised { since_us, .. } if since_us == raised.edge_time)
    );
    let mut told = bench.events();
    told.retain(|event| event.data["state"] == "raised" && event.data["episode"] != raised.data["episode"]);
    assert_eq!(told.len(), 0, "{told:?}");
    let (_, diary) = bench.predictions.with_diaries().remove(0);
    assert_eq!(diary.episodes().len(), 1);
    assert_eq!(diary.episodes()[0].id, raised.data["episode"].as_str().expect("a name"));
}

/// What may happen to an input.
enum Spoil {
    Quality(Quality),
    Old,
    Text,
    Down,
}

impl Spoil {
    fn apply(&self, bench: &mut Bench) {
        let now_us = bench.now_us;
        let press = Arc::clone(&bench.twin.devices()[0]);
        let mut state = press.state();
        match self {
            Self::Quality(quality) => state.values[2].quality = *quality,
            Self::Old => state.values[2].edge_us = now_us - 1_500_000,
            Self::Text => state.values[2].value = Value::Text("?".into()),
            Self::Down => state.link = Link::Down { since_us: 1, cause: Cause::default() },
        }
    }
}

#[test]
fn a_model_that_fails_its_gate_is_told_and_never_scores() {
    let mut folder = shipped();
    folder.content.as_mut().expect("it is right").onnx.truncate(100);
    let mut bench = Bench::new(folder, Machine::new(1));
    assert!(bench.watcher.is_none());
    let events = bench.events();
    assert_eq!((events.len(), events[0].kind), (1, Kind::ModelState));
    assert!(events[0].text.starts_with("model press-wear cannot run: "), "{}", events[0].text);
    let prediction = bench.prediction();
    assert!(matches!(prediction.state, Model::Broken { .. }) && prediction.score.is_none());
    assert!(prediction.words.get("de").starts_with("Läuft nicht: "));
}

#[test]
fn a_model_that_needs_a_missing_tag_says_so() {
    let mut folder = shipped();
    folder.content.as_mut().expect("it is right").spec.inputs[1].tag = "drive.vib_left".into();
    let mut bench = Bench::new(folder, Machine::new(1));
    assert!(bench.events()[0].text.contains("drive.vib_left"));
}

#[test]
fn a_wild_value_suppresses_the_score_and_the_model_recovers() {
    let mut bench = Bench::new(shipped(), Machine::new(1));
    bench.run(20);
    for _ in 0..30 {
        bench.poll();
        // Finite where it is read, infinite once it is scaled: no score can come of it.
        bench.twin.devices()[0].state().values[0].value = Value::Real(f32::MAX);
        bench.tick();
    }
    assert!(matches!(bench.prediction().state, Model::Suppressed { .. }), "{:?}", bench.prediction().state);
    assert_eq!(bench.events().len(), 1);
    bench.run(20);
    assert_eq!(bench.prediction().state, Model::Normal, "it watches again");
}

#[test]
fn a_panic_while_scoring_is_an_error_of_the_model() {
    let mut graph = Graph::load(&content()).expect("it runs");
    let error = graph.run(|_| panic!("the library is wrong")).expect_err("it panicked");
    assert_eq!(error, GateError::Panic("the library is wrong".into()));
}

/// A step in the data must be found, and the rows that use no sensor must be what they claim.
#[test]
fn an_evaluation_finds_a_step_and_prints_the_trivial_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = fastrand::Rng::with_seed(9);
    let mut table = |labelled: bool| {
        let mut text = format!("datetime;a;b{}\n", if labelled { ";anomaly;changepoint" } else { "" });
        for row in 0..2500 {
            let anomaly = labelled && (1250..2125).contains(&row);
            let load = rng.f64();
            let a = load + 0.05 * rng.f64() + if anomaly { 3.0 } else { 0.0 };
            text += &format!("2026-01-01 00:00:00;{a};{}", load + 0.05 * rng.f64());
            text += if !labelled {
                "\n"
            } else if anomaly {
                ";1.0;0.0\n"
            } else {
                ";0.0;0.0\n"
            };
        }
        text
    };
    std::fs::create_dir(folder.path().join("steps")).expect("a folder");
    std::fs::write(folder.path().join("steps/1.csv"), table(true)).expect("it is written");
    std::fs::write(folder.path().join("free.csv"), table(false)).expect("it is written");
    let options = Evaluate {
        model: "lag-pca".into(),
        data: folder.path().into(),
        train_rows: 400,
        window: 10,
        interval_s: 1.0,
    };
    let mut said = Vec::new();
    evaluate::run(&options, &mut said).expect("it runs");
    let said = String::from_utf8(said).expect("text");
    let figures = |row: &str| -> Vec<f64> {
        let line =
            said.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row} in {said}"));
        line[44..].split_whitespace().map(|figure| figure.parse().expect("a number")).collect()
    };
    let model = figures("lag-pca, rows over the limit");
    assert!(model[0] > 0.97 && model[1] < 3.0 && model[2] < 3.0, "{said}");
    assert_eq!(figures("always alarm")[1..], [100.0, 0.0]);
    assert_eq!(figures("alarm at 50-85 %"), [1.0, 0.0, 0.0]);
    assert!(said.contains("anomalies with an alarm: 1 of 1"), "{said}");
    assert!(said.contains("anomalies with a prediction: 1 of 1"), "{said}");
    assert!(said.contains("free.csv: no labels; fitted on 400 rows"), "{said}");

    std::fs::write(folder.path().join("free.csv"), "a;b\n1;2\n1;x\n").expect("it is written");
    let error = evaluate::run(&options, &mut Vec::new()).expect_err("x is no number");
    assert!(error.to_string().ends_with("free.csv:3: b is no number"), "{error}");
}

#[test]
fn two_folders_with_one_model_are_told_apart() {
    let directory = tempfile::tempdir().expect("a folder");
    for name in ["first", "second"] {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        for file in ["model.toml", "model.onnx", "golden.json"] {
            std::fs::copy(root().join("models/press-wear").join(file), folder.join(file))
                .expect("it is copied");
        }
    }
    let folders = Folder::all(&[directory.path().to_owned()]);
    assert_eq!(folders.len(), 2, "they stand for the built-in one");
    assert!(folders[0].content.is_ok());
    let fault = folders[1].content.as_ref().expect_err("it is there already")[0].to_string();
    assert!(fault.contains("M0106: model press-wear is in ") && fault.contains("first"), "{fault}");
}

#[test]
fn a_missed_point_of_the_grid_starts_the_window_anew() {
    let mut bench = Bench::new(shipped(), Machine::new(1));
    bench.run(20);
    bench.watcher.as_mut().expect("it runs").gap(bench.now_us);
    for _ in 0..9 {
        bench.poll();
        bench.tick();
        let prediction = bench.prediction();
        assert_eq!(prediction.state, Model::Filling);
        assert!(prediction.words.get("de").starts_with("Wacht noch nicht: "), "{:?}", prediction.words);
    }
    bench.run(1);
    assert_eq!(bench.prediction().state, Model::Normal);
    assert_eq!(bench.events().len(), 0);
}

/// The service itself: it loads, samples the twin in real time, and ends when it is told to.
#[test]
fn the_service_watches_the_twin_and_stops() {
    let mut good = shipped();
    let spec = &mut good.content.as_mut().expect("it is right").spec;
    spec.sample_interval = Duration::from_millis(200);
    let devices = [press("press-3")];
    let twin = Arc::new(Twin::new(&devices));
    let (events, mut received) = Events::new();
    let stop = CancellationToken::new();
    let mut bad = shipped();
    bad.content.as_mut().expect("it is right").onnx.clear();
    let bind = |folder| Binding { folder: Arc::new(folder), device: "press-3".to_owned() };
    let bindings = vec![bind(good), bind(bad)];
    let predictions = spawn(bindings, "Works1/box", &twin, Arc::default(), events, stop.clone());
    let mut machine = Machine::new(5);
    wait_for("score", PATIENCE, || {
        machine.step(0.5);
        let press = Arc::clone(&twin.devices()[0]);
        let mut state = press.state();
        for (path, value) in machine.values() {
            if let Some(index) = INPUTS.iter().position(|input| *input == path) {
                state.values[index].value = value;
                state.values[index].edge_us = forebay::clock::now_us();
            }
        }
        drop(state);
        (predictions.list()[0].state == Model::Normal).then_some(())
    });
    let list = predictions.list();
    assert!(matches!(list[1].state, Model::Broken { .. }), "the other model is broken: {:?}", list[1].state);
    assert_eq!(received.try_recv().map(|event| event.kind).ok(), Some(Kind::ModelState));
    stop.cancel();
    // Its end of the events is dropped when the thread ends.
    wait_for("end of the service", PATIENCE, || {
        matches!(received.try_recv(), Err(tokio::sync::mpsc::error::TryRecvError::Disconnected)).then_some(())
    });
}

#[test]
fn a_detector_scores_as_often_as_its_stride_says() {
    let mut content = content();
    content.spec.stride = 4;
    let mut detector = Detector::load(&content).expect("it runs");
    let row = content.golden.cases[0].window[0].clone();
    let scored: Vec<bool> = (0..20).map(|_| detector.push(&row).expect("it scores").is_some()).collect();
    let expected: Vec<bool> = (0..20).map(|point| point >= 9 && (point - 9) % 4 == 0).collect();
    assert_eq!(scored, expected);
}
