//! Inputs that are bad, old or missing, and how good they were.

use forebay::demo::machine::Machine;
use forebay::event::{Event, Kind};
use forebay::infer::State as Model;
use forebay_connector::{Quality, Value};

use super::bench::{Bench, GRID_US, Spoil, shipped};

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
