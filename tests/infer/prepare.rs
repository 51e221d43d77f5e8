//! What stands between the twin and the graph: features, states, rules for missing values.

use std::sync::Arc;

use forebay::demo::machine::Machine;
use forebay::device::{Device, EnumValue, Tag, Text};
use forebay::infer::State as Model;
use forebay::infer::features::Features;
use forebay::infer::folder::Content;
use forebay::infer::lag_pca::{LagPca, Settings};
use forebay::infer::spec::Spec;
use forebay_connector::{DataType, Quality, Scalar, Value};

use super::bench::{Bench, INPUTS, Spoil, press, shipped};
use crate::support::root;

/// The shipped `model.toml` with changes, one row a window.
fn spec(change: impl FnOnce(String) -> String) -> Spec {
    let text = std::fs::read_to_string(root().join("models/press-wear/model.toml")).expect("it is shipped");
    Spec::parse("model.toml", &change(text)).expect("it is right")
}

const FEATURES: &str = "
[[feature]]
tag = \"drive.vib_de\"
kind = \"rms\"
over = \"10s\"
[[feature]]
tag = \"drive.vib_de\"
kind = \"band\"
over = \"10s\"
from_hz = 0.2
to_hz = 0.8
[[feature]]
tag = \"drive.vib_nde\"
kind = \"mean\"
over = \"10s\"
[[feature]]
tag = \"drive.current\"
kind = \"mean\"
over = \"10s\"
[[feature]]
tag = \"hydraulics.pressure\"
kind = \"mean\"
over = \"10s\"
";

/// Fitted on features of two hours of a press in good order.
fn fitted(spec: Spec) -> Content {
    let mut features = Features::new(&spec.prepare, INPUTS.len()).expect("there are some");
    let mut machine = Machine::new(1);
    let mut rows: Vec<f32> = Vec::new();
    for _ in 0..14_400 {
        machine.step(0.5);
        let row = INPUTS.map(|input| {
            let values = machine.values();
            let value = values.iter().find(|(path, _)| *path == input).and_then(|(_, value)| value.as_f64());
            #[allow(clippy::cast_possible_truncation)]
            let value = value.expect("a number") as f32;
            value
        });
        rows.extend(features.push(&row).into_iter().flatten());
    }
    let columns = spec.columns();
    let settings = Settings { explained: 0.6, ..Settings::default() };
    let model = LagPca::fit(&rows, columns, 1, settings).expect("it learns");
    let windows: Vec<&[f32]> = rows.chunks_exact(columns).step_by(5000).collect();
    model.content(spec, &windows)
}

#[test]
fn a_model_of_declared_features_finds_the_wear_and_names_the_tag() {
    let spec = spec(|text| text.replace("window          = 10", "window          = 1") + FEATURES);
    assert_eq!((spec.columns(), spec.points()), (5, 20));
    let mut folder = shipped();
    folder.content = Ok(fitted(spec));
    let mut bench = Bench::new(folder.clone(), Machine::new(5));
    // 10 s are needed before the first score.
    for point in 1..=19 {
        bench.poll();
        bench.tick();
        assert_eq!(bench.prediction().state, Model::Filling, "after {point} points");
    }
    bench.poll();
    bench.tick();
    assert_eq!(bench.prediction().state, Model::Normal);
    bench.run(900);
    assert_eq!(bench.events().len(), 0, "a healthy press");

    let mut bench = Bench::new(folder, Machine::wearing(5));
    bench.run(150);
    let events = bench.events();
    // Once raised it only becomes worse.
    let raised = events.iter().filter(|event| event.data["state"] == "raised").count();
    assert_eq!((raised, &events[0].data["state"]), (1, &"raised".into()), "{events:?}");
    let prediction = bench.prediction();
    // Five inputs, although one of them has two features and another none.
    assert_eq!(prediction.contributions.len(), 5);
    assert_eq!(prediction.contributions[0].0, "drive.vib_de", "{:?}", prediction.contributions);
    let unused = prediction.contributions.iter().find(|(tag, _)| tag == "hydraulics.oil_temp");
    assert!(unused.is_some_and(|(_, share)| *share < 1e-6));
    assert!(prediction.words.get("en").contains("drive end"), "{:?}", prediction.words);
}

/// The press with its state, as its profile names it.
fn press_with_state() -> Arc<Device> {
    let mut device = Device::clone(&press("press-3"));
    let texts = [(3, "Stopped"), (6, "Execute")];
    let value = |text: &str| EnumValue { text: Text::plain(text), function_check: false };
    let state = Tag {
        path: "status.state".into(),
        raw: 5,
        data_type: DataType::single(Scalar::Int),
        enumeration: Some(Arc::new(texts.into_iter().map(|(number, text)| (number, value(text))).collect())),
        ..device.tags[0].clone()
    };
    device.tags = device.tags.iter().cloned().chain([state]).collect();
    Arc::new(device)
}

const STATE: &str = "\n[state]\ntag = \"status.state\"\nis = [\"Execute\"]\nsettle = \"4s\"\n";

#[test]
fn windows_are_scored_only_in_the_states_that_are_named() {
    let mut folder = shipped();
    folder.content.as_mut().expect("it is right").spec = spec(|text| text + STATE);
    let mut bench = Bench::on(folder, Machine::new(7), press_with_state());
    let mut run = |state: i64, points: usize| {
        for _ in 0..points {
            bench.poll();
            let press = Arc::clone(&bench.twin.devices()[0]);
            let mut now = press.state();
            now.values[5].value = Value::Int(state);
            now.values[5].quality = Quality::Good;
            now.values[5].edge_us = bench.now_us;
            drop(now);
            bench.tick();
        }
        let why = match bench.prediction().state {
            Model::Suppressed { why } => why.get("en").to_owned(),
            state => format!("{state:?}"),
        };
        (why, bench.events().len())
    };
    let other = "status.state is not in a state that is watched";
    assert_eq!(run(3, 40), (other.into(), 0), "a stop is no event");
    assert_eq!(run(6, 8), ("status.state has only just come into its state".into(), 0));
    // 4 s are over, and a new window of 10 points fills.
    assert_eq!(run(6, 9), ("Filling".into(), 0));
    assert_eq!(run(6, 1), ("Normal".into(), 0));
    assert_eq!(run(3, 1), (other.into(), 0), "at once");
    assert_eq!(run(6, 18), ("Normal".into(), 0), "settled and filled anew");
}

#[test]
fn a_state_that_the_tag_does_not_have_is_told_at_the_start() {
    for (state, said) in [
        (STATE.replace("Execute", "Excute"), "has no state \"Excute\"; it has Stopped, Execute"),
        (STATE.replace("status.state", "status.mode"), "needs tag status.mode"),
    ] {
        let mut folder = shipped();
        folder.content.as_mut().expect("it is right").spec = spec(|text| text + &state);
        let bench = Bench::on(folder, Machine::new(7), press_with_state());
        let Model::Broken { why } = bench.prediction().state else { panic!("it runs with {state}") };
        assert!(why.get("en").contains(said), "{why:?}");
    }
}

#[test]
fn a_missing_value_is_filled_for_as_long_as_its_rule_allows() {
    let rule = "tag     = \"drive.current\"\nmissing = \"last\"\nmax_age = \"2s\"";
    let with = |text: String| text.replace("tag     = \"drive.current\"", rule);
    let mut folder = shipped();
    folder.content.as_mut().expect("it is right").spec = spec(with);
    let mut bench = Bench::new(folder, Machine::new(3));
    bench.run(20);
    let mut spoilt = |points: usize| {
        for _ in 0..points {
            bench.poll();
            Spoil::Quality(Quality::OutOfRange).apply(&mut bench);
            bench.tick();
        }
        let state = bench.prediction().state;
        bench.poll();
        bench.tick();
        (state, bench.prediction().state)
    };
    assert_eq!(spoilt(4), (Model::Normal, Model::Normal), "2 s are 4 points");
    let (during, after) = spoilt(5);
    assert!(
        matches!(&during, Model::Suppressed { why } if why.get("en").contains("drive.current")),
        "{during:?}"
    );
    assert_eq!(after, Model::Filling);
}
