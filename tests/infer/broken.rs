//! Models that cannot run, and say so.

use forebay::demo::machine::Machine;
use forebay::event::Kind;
use forebay::infer::State as Model;

use super::bench::{Bench, shipped};

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
