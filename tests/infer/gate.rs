//! The gate in front of models: what is damaged or swapped never scores.

use forebay::infer::folder::{Content, Folder};
use forebay::infer::graph::{GateError, Graph};
use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto};

use super::bench::content;
use crate::support::root;

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
fn a_panic_while_scoring_is_an_error_of_the_model() {
    let mut graph = Graph::load(&content()).expect("it runs");
    let error = graph.run(|_| panic!("the library is wrong")).expect_err("it panicked");
    assert_eq!(error, GateError::Panic("the library is wrong".into()));
}
