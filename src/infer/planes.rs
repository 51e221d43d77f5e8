//! Convolutions, pools and normalizations over planes: what they are given, checked before the library reckons with it.
//!
//! The library reads the sizes of such a value without looking whether it has so many (its
//! `data_formats.rs` and `patches.rs`): a graph with a value of too low a rank reads beyond memory
//! instead of failing. ONNX says of each operator of which rank its values and attributes are.

use tract_onnx::pb::NodeProto;

use super::graph::{GateError, short};

/// What `node` is given, by shape: channels behind the batch, then the axes of a plane.
///
/// # Errors
/// When a value or an attribute has another rank than the operator needs.
pub(super) fn check(node: &NodeProto, inputs: Option<&[Vec<usize>]>) -> Result<(), GateError> {
    let least = match node.op_type.as_str() {
        "BatchNormalization" => 2,
        "AveragePool"
        | "Conv"
        | "ConvTranspose"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "InstanceNormalization"
        | "MaxPool" => 3,
        _ => return Ok(()),
    };
    let refuse = |what: String| Err(GateError::Operator(short(&format!("{} {what}", node.op_type))));
    let Some(Some((value, others))) = inputs.map(<[_]>::split_first) else {
        return refuse("is given a value whose shape is not fixed".into());
    };
    if value.len() < least {
        return refuse(format!("is given a value of shape {value:?}, it needs {least} axes at least"));
    }
    let is_convolution = node.op_type.starts_with("Conv");
    if let Some(weights) = others.first().filter(|weights| is_convolution && weights.len() != value.len()) {
        return refuse(format!("has weights of shape {weights:?} for a value of shape {value:?}"));
    }
    if let Some(other) = others.iter().find(|other| !is_convolution && other.len() != 1) {
        return refuse(format!("has a constant of shape {other:?} instead of one axis"));
    }
    let axes = value.len() - 2;
    for attribute in &node.attribute {
        let (count, smallest) = match attribute.name.as_str() {
            "kernel_shape" | "strides" | "dilations" => (axes, 1),
            "output_padding" => (axes, 0),
            "pads" => (2 * axes, 0),
            _ => continue,
        };
        if attribute.ints.len() != count || attribute.ints.iter().any(|number| *number < smallest) {
            let (name, numbers) = (&attribute.name, &attribute.ints);
            return refuse(format!("has {name} {numbers:?} instead of {count} numbers from {smallest}"));
        }
    }
    Ok(())
}
