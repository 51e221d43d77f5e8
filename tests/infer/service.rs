//! The service itself: it loads, samples the twin in real time, and ends when it is told to.

use std::sync::Arc;
use std::time::Duration;

use forebay::demo::machine::Machine;
use forebay::event::{Events, Kind};
use forebay::infer::detector::Detector;
use forebay::infer::{Binding, State as Model, spawn};
use forebay::twin::Twin;
use tokio_util::sync::CancellationToken;

use super::bench::{INPUTS, content, press, shipped};
use crate::support::{PATIENCE, wait_for};

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
