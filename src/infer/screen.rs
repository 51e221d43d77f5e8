//! What an ONNX file says, checked before the library sees it.
//!
//! The library trusts a file in much: it reads operators without their domain, takes the last of two
//! values of one name, and follows shapes that the file only claims. All of that is settled here, in
//! words, and what the graph does not need is taken away.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, ValueInfoProto};

use super::graph::{ELEMENTS_MAX, GateError, NODES_MAX, short};
use super::operators::{self, ML, ML_OPSET_MAX, OPSET_MAX, OPSET_MIN};

/// Checks a file and takes away what is not needed of it. A window has `window` rows of `inputs` values;
/// the outputs must have the names `outputs`.
pub(super) fn screen(
    model: &mut ModelProto,
    window: usize,
    inputs: usize,
    outputs: &[&str],
) -> Result<(), GateError> {
    versions(model)?;
    model.metadata_props.clear();
    let graph = model.graph.as_mut().ok_or_else(|| GateError::Load("it holds no graph".into()))?;
    if graph.node.len() > NODES_MAX {
        return Err(GateError::Size(format!("{} nodes, {NODES_MAX} are allowed", graph.node.len())));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(GateError::Load("it holds sparse constants: export with dense ones".into()));
    }
    for node in &graph.node {
        operators::check(node).map_err(|why| GateError::Operator(short(&why)))?;
    }
    let constants =
        graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    graph.initializer.iter().chain(constants).try_for_each(constant)?;
    names(graph)?;
    input(graph, window, inputs)?;
    found_outputs(graph, outputs)?;
    graph.value_info.clear();
    graph.quantization_annotation.clear();
    graph.output.iter_mut().for_each(|output| output.r#type = None);
    Ok(())
}

/// The versions of the operators, and parts of a file that the library leaves aside.
fn versions(model: &ModelProto) -> Result<(), GateError> {
    if !model.functions.is_empty() || !model.training_info.is_empty() {
        let what = "it holds functions or training of its own: export a plain graph for inference";
        return Err(GateError::Load(what.into()));
    }
    for import in &model.opset_import {
        let (least, most) = match import.domain.as_str() {
            "" | "ai.onnx" => (OPSET_MIN, OPSET_MAX),
            ML => (1, ML_OPSET_MAX),
            // Of no account while no node is of it.
            _ => continue,
        };
        if !(least..=most).contains(&import.version) {
            let domain = if import.domain == ML { " of ai.onnx.ml" } else { "" };
            let found = import.version;
            let fix = if import.domain == ML { ML_OPSET_MAX } else { 17 };
            return Err(GateError::Operator(format!(
                "operators{domain} of version {found}, {least} to {most} are supported: export with opset_version={fix}"
            )));
        }
    }
    if !model.opset_import.iter().any(|import| matches!(&*import.domain, "" | "ai.onnx")) {
        return Err(GateError::Load("it does not say which version of the operators it uses".into()));
    }
    Ok(())
}

/// A tensor without data, or of a size that only its header claims, must not be allocated; one with NaN in it
/// makes every score NaN.
fn constant(tensor: &TensorProto) -> Result<(), GateError> {
    let name = short(&tensor.name);
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return Err(GateError::Load(format!(
            "constant {name:?} is in another file: export all into one file"
        )));
    }
    let elements = tensor.dims.iter().try_fold(1_usize, |product, dim| {
        usize::try_from(*dim).ok().and_then(|dim| product.checked_mul(dim)).filter(|n| *n <= ELEMENTS_MAX)
    });
    let Some(elements) = elements else {
        return Err(GateError::Size(format!("constant {name:?} has shape {:?}", tensor.dims)));
    };
    let (bytes, listed) = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => (4, tensor.float_data.len()),
        Ok(DataType::Double) => (8, tensor.double_data.len()),
        Ok(DataType::Int64) => (8, tensor.int64_data.len()),
        Ok(DataType::Int32) => (4, tensor.int32_data.len()),
        Ok(DataType::Bool) => (1, tensor.int32_data.len()),
        _ => {
            let what =
                format!("constant {name:?} is not of 32-bit numbers, int64, int32 or bool: export it so");
            return Err(GateError::Load(what));
        }
    };
    let held = if tensor.raw_data.is_empty() { Some(listed) } else { exact(tensor.raw_data.len(), bytes) };
    if held != Some(elements) {
        return Err(GateError::Load(format!(
            "constant {name:?} does not hold the {elements} numbers it claims"
        )));
    }
    let raw = tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let mut floats = tensor.float_data.iter().copied().chain(raw);
    if tensor.data_type == DataType::Float as i32 && floats.any(f32::is_nan) {
        return Err(GateError::Load(format!(
            "constant {name:?} holds NaN, so no score is a number: train again"
        )));
    }
    Ok(())
}

fn exact(length: usize, size: usize) -> Option<usize> {
    length.is_multiple_of(size).then_some(length / size)
}

/// Every value is made once, and before it is used: so there is no circle.
fn names(graph: &GraphProto) -> Result<(), GateError> {
    let refused = |what: String| Err(GateError::Load(short(&what)));
    let mut made: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        if tensor.name.is_empty() || !made.insert(&tensor.name) {
            return refused(format!("two constants have the name {:?}", tensor.name));
        }
    }
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if !inputs.insert(&input.name) {
            return refused(format!("two inputs have the name {:?}", input.name));
        }
        made.insert(&input.name);
    }
    let mut nodes = HashSet::new();
    // Of trees the label is wrong; who uses it is refused.
    let mut labels = HashSet::new();
    for node in &graph.node {
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            if !made.contains(input.as_str()) {
                let what =
                    "is used before it is made, or never made: the graph has a circle or is not in order";
                return refused(format!("value {input:?} {what}"));
            }
            if labels.contains(input.as_str()) {
                return Err(GateError::Operator(short(&label(input))));
            }
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !made.insert(output) {
                return refused(format!("two values have the name {output:?}"));
            }
        }
        let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        if !name.is_some_and(|name| nodes.insert(name)) {
            return refused(format!(
                "two nodes have the name {:?}, or one has none and makes nothing",
                node.name
            ));
        }
        if node.op_type == "TreeEnsembleClassifier" {
            labels.extend(node.output.first().map(String::as_str));
        }
    }
    match graph.output.iter().find(|output| !made.contains(output.name.as_str())) {
        Some(output) => refused(format!("output {:?} is made by no node", output.name)),
        None => match graph.output.iter().find(|output| labels.contains(output.name.as_str())) {
            Some(output) => Err(GateError::Operator(short(&label(&output.name)))),
            None => Ok(()),
        },
    }
}

fn label(name: &str) -> String {
    format!(
        "the label {name:?} of TreeEnsembleClassifier: the library computes it wrongly: use the probabilities"
    )
}

/// The one input, of the size that `model.toml` says. Its type is then written anew: what a file says in text
/// about sizes is not read.
fn input(graph: &mut GraphProto, window: usize, inputs: usize) -> Result<(), GateError> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.input.retain(|input| !constants.contains(input.name.as_str()));
    let needed = format!("one input [N, {window}, {inputs}] of 32-bit numbers is needed");
    let [input] = &mut graph.input[..] else {
        return Err(GateError::Shape(format!("{} inputs, {needed}", graph.input.len())));
    };
    let tensor = tensor_of(input);
    let is_float = tensor.is_some_and(|tensor| tensor.elem_type == DataType::Float as i32);
    let sizes = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| &shape.dim);
    let fits = sizes.is_none_or(|sizes| {
        sizes.len() == 3
            && sizes.iter().zip([1, window, inputs]).all(|(size, needed)| match size.value {
                Some(Size::DimValue(found)) => usize::try_from(found) == Ok(needed),
                _ => true,
            })
    });
    if !is_float || !fits {
        return Err(GateError::Shape(format!("input {:?} is another one, {needed}", short(&input.name))));
    }
    let any = Tensor { elem_type: DataType::Float as i32, shape: None };
    if let Some(r#type) = &mut input.r#type {
        r#type.value = Some(Value::TensorType(any));
    }
    Ok(())
}

fn tensor_of(value: &ValueInfoProto) -> Option<&Tensor> {
    match value.r#type.as_ref()?.value.as_ref()? {
        Value::TensorType(tensor) => Some(tensor),
    }
}

fn found_outputs(graph: &GraphProto, needed: &[&str]) -> Result<(), GateError> {
    let found: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    if found.len() != needed.len() {
        let (count, needed) = (found.len(), needed.join(", "));
        return Err(GateError::Shape(format!("{count} outputs, {needed} are needed")));
    }
    match found.iter().zip(needed).find(|(found, needed)| found != needed) {
        Some((found, needed)) => {
            Err(GateError::Shape(format!("output {:?} stands where {needed:?} is needed", short(found))))
        }
        None => Ok(()),
    }
}
