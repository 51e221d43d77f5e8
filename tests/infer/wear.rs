//! What the shipped model says of a press that wears, and of one that does not.

use std::sync::Arc;

use forebay::demo::machine::Machine;
use forebay::event::{Events, Kind};
use forebay::infer::diary::Diaries;
use forebay::infer::{Binding, State as Model, watch_with};
use forebay::state::State;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, shipped};

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
