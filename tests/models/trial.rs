//! What a model may not do: it is found out by the gate, or in a process of its own.

use std::path::Path;

use forebay::infer::package::Package;
use prost::Message;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto};

use super::{Plant, argument, package};

/// Values of 16 MiB each that all live at once: more than a model may have.
const VALUES: usize = 40;
const SIDE: usize = 2048;

fn tensor(name: &str, dims: [usize; 2], value: f32) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|size| i64::try_from(*size).unwrap()).collect(),
        data_type: tensor_proto::DataType::Float as i32,
        raw_data: std::iter::repeat_n(value.to_le_bytes(), dims[0] * dims[1]).flatten().collect(),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// The shipped graph, with a score that takes hundreds of megabytes.
fn greedy(onnx: &[u8]) -> Vec<u8> {
    let mut model = ModelProto::decode(onnx).unwrap();
    let graph = model.graph.as_mut().unwrap();
    for node in &mut graph.node {
        for output in node.output.iter_mut().filter(|name| *name == "score") {
            "modest_score".clone_into(output);
        }
    }
    graph.initializer.push(tensor("row", [1, SIDE], 1.0));
    for at in 0..VALUES {
        let column = format!("column_{at}");
        graph.initializer.push(tensor(&column, [SIDE, 1], 1.0 + f32::from(u8::try_from(at).unwrap())));
        graph.node.push(node("MatMul", &[&column, "row"], &format!("large_{at}")));
    }
    // All are needed for the first sum, and once more when that is known.
    for (factor, sum) in [("modest_score", "first"), ("most_of_first", "second")] {
        let weighted: Vec<String> = (0..VALUES).map(|at| format!("{sum}_{at}")).collect();
        for (at, weighted) in weighted.iter().enumerate() {
            graph.node.push(node("Mul", &[&format!("large_{at}"), factor], weighted));
        }
        let weighted: Vec<&str> = weighted.iter().map(String::as_str).collect();
        graph.node.push(node("Sum", &weighted, sum));
        graph.node.push(node("ReduceMax", &[sum], &format!("most_of_{sum}")));
    }
    graph.node.push(node("Add", &["modest_score", "most_of_second"], "odd_shape"));
    graph.initializer.push(TensorProto {
        name: "one".to_owned(),
        dims: vec![1],
        data_type: tensor_proto::DataType::Int64 as i32,
        raw_data: 1_i64.to_le_bytes().to_vec(),
        ..TensorProto::default()
    });
    graph.node.push(node("Reshape", &["odd_shape", "one"], "score"));
    model.encode_to_vec()
}

fn with(version: &str, change: impl FnOnce(&mut [Vec<u8>; 3])) -> Package {
    let files: Vec<Vec<u8>> = package(version).files().map(|(_, bytes)| bytes.to_vec()).collect();
    let mut files = <[Vec<u8>; 3]>::try_from(files).unwrap();
    change(&mut files);
    let [spec, onnx, golden] = files;
    Package::new(spec, onnx, golden, None)
}

#[test]
fn what_is_wrong_or_takes_too_much_is_refused_and_the_box_runs_on() {
    let mut plant = Plant::new(None, "away");
    plant.daemon.start();
    plant.order(&["install", argument(&plant.tar("1")), "--activate"]);
    let before = plant.wait_scores();
    let scores = |golden: &mut Vec<u8>| {
        let mut json: serde_json::Value = serde_json::from_slice(golden).unwrap();
        json["cases"][0]["score"] = 77.0.into();
        *golden = json.to_string().into_bytes();
    };
    for (name, package, why) in [
        ("wrong", with("wrong", |files| scores(&mut files[2])), "other results than golden.json"),
        ("cut", with("cut", |files| files[1].truncate(1000)), "model.onnx"),
        // The gate counts what the trial would only meet.
        (
            "greedy",
            with("greedy", |files| files[1] = greedy(&files[1])),
            "its values have more than 16777216",
        ),
    ] {
        let mut package = package;
        plant.key.sign(&mut package).unwrap();
        let said = plant.refused(&["install", argument(&plant.write_tar(name, &package)), "--activate"]);
        assert!(said.contains(why), "{name}: {said}");
    }
    let after = plant.wait_scores();
    assert_eq!((&after["active"], &after["versions"]), (&before["active"], &before["versions"]));
    plant.daemon.stop();
    let (counts, gaps) = plant.stored();
    let all: Vec<u64> = (1..=u64::from(plant.counter.count())).collect();
    assert_eq!((counts, gaps), (all, 0), "polling did not notice");
}

#[test]
fn the_greedy_graph_is_sound_but_for_its_size() {
    // Otherwise the test above would show something else.
    let onnx =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/press-wear/model.onnx")).unwrap();
    let model = ModelProto::decode(greedy(&onnx).as_slice()).unwrap();
    let graph = model.graph.unwrap();
    let names = |values: &[ValueInfoProto]| values.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&graph.output), ["contrib", "score"]);
    let largest = graph.initializer.iter().map(|it| it.dims.iter().product::<i64>()).max().unwrap();
    assert!(largest <= i64::try_from(SIDE).unwrap().max(4096 * 64));
    const { assert!(SIDE * SIDE <= forebay::infer::graph::ELEMENTS_MAX) };
    assert!(SIDE * SIDE * 4 * VALUES > usize::try_from(forebay::infer::trial::MEMORY_MAX).unwrap());
}
