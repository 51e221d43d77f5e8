//! Operators that the library runs, and runs right.
//!
//! The library reads operators by their name, leaves attributes aside that it does not know, and
//! computes on: a model can load and be silently wrong. So what is accepted is a list. Each operator
//! of it, with each of its attributes, is in a model of the zoo that is compared with ONNX Runtime
//! (`tests/models/good.py`); a test sees to it that nothing else gets in.

use tract_onnx::pb::{AttributeProto, NodeProto};

use super::trees;

/// Oldest accepted version of the operators of ONNX.
pub const OPSET_MIN: i64 = 13;
/// Newest accepted version of the operators of ONNX.
pub const OPSET_MAX: i64 = 18;
/// Newest accepted version of the operators of `ai.onnx.ml`.
pub const ML_OPSET_MAX: i64 = 3;
/// Domain of trees and linear models.
pub const ML: &str = "ai.onnx.ml";

/// Largest number in an attribute: as many as a value may have elements.
const NUMBER_MAX: u64 = super::graph::ELEMENTS_MAX as u64;

const AXES: &[&str] = &["axes", "keepdims"];
const AXIS: &[&str] = &["axis"];
const CONV: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
const RECURRENT: &[&str] = &["activations", "direction", "hidden_size"];

/// Domain, operator, attributes.
pub const OPERATORS: [(&str, &str, &[&str]); 104] = [
    ("", "Abs", &[]),
    ("", "Add", &[]),
    ("", "And", &[]),
    ("", "ArgMax", &["axis", "keepdims", "select_last_index"]),
    ("", "ArgMin", &["axis", "keepdims", "select_last_index"]),
    ("", "Atan", &[]),
    ("", "AveragePool", &["count_include_pad", "kernel_shape", "pads", "strides"]),
    ("", "BatchNormalization", &["epsilon", "momentum"]),
    ("", "Cast", &["to"]),
    ("", "Ceil", &[]),
    ("", "Celu", &[]),
    ("", "Clip", &[]),
    ("", "Concat", AXIS),
    ("", "Constant", &["value", "value_float", "value_floats", "value_int", "value_ints"]),
    ("", "ConstantOfShape", &["value"]),
    ("", "Conv", CONV),
    ("", "ConvTranspose", &["dilations", "group", "kernel_shape", "output_padding", "pads", "strides"]),
    ("", "Cos", &[]),
    ("", "CumSum", &["exclusive", "reverse"]),
    ("", "Div", &[]),
    ("", "Dropout", &[]),
    ("", "Einsum", &["equation"]),
    ("", "Elu", &["alpha"]),
    ("", "Equal", &[]),
    ("", "Erf", &[]),
    ("", "Exp", &[]),
    ("", "Expand", &[]),
    ("", "Flatten", AXIS),
    ("", "Floor", &[]),
    ("", "GRU", &["activations", "direction", "hidden_size", "linear_before_reset"]),
    ("", "Gather", AXIS),
    ("", "GatherElements", AXIS),
    ("", "Gemm", &["alpha", "beta", "transA", "transB"]),
    ("", "GlobalAveragePool", &[]),
    ("", "GlobalMaxPool", &[]),
    ("", "Greater", &[]),
    ("", "GreaterOrEqual", &[]),
    ("", "HardSigmoid", &["alpha", "beta"]),
    ("", "HardSwish", &[]),
    ("", "Identity", &[]),
    ("", "InstanceNormalization", &["epsilon"]),
    ("", "LSTM", RECURRENT),
    ("", "LayerNormalization", &["axis", "epsilon"]),
    ("", "LeakyRelu", &["alpha"]),
    ("", "Less", &[]),
    ("", "LessOrEqual", &[]),
    ("", "Log", &[]),
    ("", "LogSoftmax", AXIS),
    ("", "LpNormalization", &["axis", "p"]),
    ("", "MatMul", &[]),
    ("", "Max", &[]),
    ("", "MaxPool", &["dilations", "kernel_shape", "pads", "strides"]),
    ("", "Mean", &[]),
    ("", "Min", &[]),
    ("", "Mish", &[]),
    ("", "Mul", &[]),
    ("", "Neg", &[]),
    ("", "Not", &[]),
    ("", "Or", &[]),
    ("", "PRelu", &[]),
    ("", "Pad", &["mode"]),
    ("", "Pow", &[]),
    ("", "RNN", RECURRENT),
    ("", "Range", &[]),
    ("", "Reciprocal", &[]),
    ("", "ReduceL1", AXES),
    ("", "ReduceL2", AXES),
    ("", "ReduceLogSum", AXES),
    ("", "ReduceLogSumExp", AXES),
    ("", "ReduceMax", AXES),
    ("", "ReduceMean", AXES),
    ("", "ReduceMin", AXES),
    ("", "ReduceProd", AXES),
    ("", "ReduceSum", &["keepdims", "noop_with_empty_axes"]),
    ("", "ReduceSumSquare", AXES),
    ("", "Relu", &[]),
    ("", "Reshape", &["allowzero"]),
    ("", "Round", &[]),
    ("", "Selu", &["alpha", "gamma"]),
    ("", "Shape", &["end", "start"]),
    ("", "Sigmoid", &[]),
    ("", "Sign", &[]),
    ("", "Sin", &[]),
    ("", "Slice", &[]),
    ("", "Softmax", AXIS),
    ("", "Softplus", &[]),
    ("", "Softsign", &[]),
    ("", "Split", &["axis", "num_outputs"]),
    ("", "Sqrt", &[]),
    ("", "Squeeze", &[]),
    ("", "Sub", &[]),
    ("", "Sum", &[]),
    ("", "Tanh", &[]),
    ("", "ThresholdedRelu", &["alpha"]),
    ("", "Tile", &[]),
    ("", "TopK", &["axis", "largest", "sorted"]),
    ("", "Transpose", &["perm"]),
    ("", "Trilu", &["upper"]),
    ("", "Unsqueeze", &[]),
    ("", "Where", &[]),
    ("", "Xor", &[]),
    (ML, "LinearRegressor", &["coefficients", "intercepts", "targets"]),
    (ML, "Normalizer", &["norm"]),
    (ML, "TreeEnsembleClassifier", TREES),
];

const TREES: &[&str] = &[
    "class_ids",
    "class_nodeids",
    "class_treeids",
    "class_weights",
    "classlabels_int64s",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_nodeids",
    "nodes_treeids",
    "nodes_truenodeids",
    "nodes_values",
    "post_transform",
];

/// Attributes that exporters write out although they say what holds without them.
const HARMLESS: [(&str, &str, i64); 9] = [
    ("AveragePool", "ceil_mode", 0),
    ("BatchNormalization", "training_mode", 0),
    ("GRU", "layout", 0),
    ("LSTM", "input_forget", 0),
    ("LSTM", "layout", 0),
    ("LayerNormalization", "stash_type", 1),
    ("MaxPool", "ceil_mode", 0),
    ("MaxPool", "storage_order", 0),
    ("RNN", "layout", 0),
];

/// Operators that may leave out an input in the middle, as it was compared.
const WITH_HOLES: [&str; 4] = ["Clip", "GRU", "LSTM", "RNN"];

/// Operators whose state would pass from one window to the next.
pub(super) fn keeps_state(operator: &str) -> bool {
    matches!(operator, "GRU" | "LSTM" | "RNN")
}

/// Refuses a node that the library does not run, or runs wrong: what it is, and what to do.
pub(super) fn check(node: &NodeProto) -> Result<(), String> {
    let domain = if node.domain == "ai.onnx" { "" } else { &node.domain };
    let known = OPERATORS.iter().find(|(of, name, _)| (*of, *name) == (domain, node.op_type.as_str()));
    let Some((_, operator, attributes)) = known else {
        let of = if domain.is_empty() { String::new() } else { format!(" of {domain}") };
        let advice = advice(&node.op_type);
        return Err(format!("operator `{}`{of} is not supported: {advice}", node.op_type));
    };
    trap(node)?;
    let accepted = |a: &AttributeProto| {
        attributes.contains(&a.name.as_str()) || HARMLESS.contains(&(operator, &a.name, a.i))
    };
    if let Some(unknown) = node.attribute.iter().find(|a| !accepted(a)) {
        return Err(format!(
            "operator `{operator}` with attribute `{}` is not supported, the library may leave it aside and compute \
             wrongly: export without it",
            unknown.name
        ));
    }
    let large = |a: &&AttributeProto| a.ints.iter().chain([&a.i]).any(|n| n.unsigned_abs() > NUMBER_MAX);
    if let Some(large) = node.attribute.iter().filter(|_| *operator != "Constant").find(large) {
        return Err(format!("operator `{operator}`: `{}` is too large", large.name));
    }
    let last = node.input.iter().rposition(|input| !input.is_empty()).map_or(0, |last| last + 1);
    if node.input[..last].iter().any(String::is_empty) && !WITH_HOLES.contains(operator) {
        return Err(format!("operator `{operator}` leaves out an input in the middle: give it"));
    }
    Ok(())
}

/// What is accepted by its names, and yet wrong.
fn trap(node: &NodeProto) -> Result<(), String> {
    let operator = node.op_type.as_str();
    let named = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let texts = |attribute: &AttributeProto| -> Vec<String> {
        attribute.strings.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    };
    let given = |input: usize| node.input.get(input).is_some_and(|name| !name.is_empty());
    match operator {
        "LSTM" | "GRU" | "RNN" => {
            let default: &[&str] = match operator {
                "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
                "GRU" => &["Sigmoid", "Tanh"],
                _ => &["Tanh"],
            };
            let other = named("activations").map(texts);
            let other = other.filter(|found| !found.chunks(default.len()).all(|found| found == default));
            if let Some(found) = other {
                return Err(format!(
                    "{operator} with activation {}: the library computes it wrongly, with the default ones: train with \
                     the default activations ({})",
                    found.join(", "),
                    default.join(", ")
                ));
            }
            if named("direction").is_some_and(|a| !matches!(&*a.s, b"forward" | b"bidirectional")) {
                return Err(format!(
                    "{operator} with direction reverse: the library computes it wrongly, forwards: turn the window \
                     around before a forward one"
                ));
            }
            if given(4) || given(7) {
                return Err(format!(
                    "{operator} with lengths of sequences or peepholes is not supported: leave them out"
                ));
            }
        }
        "Celu" if named("alpha").is_some_and(|alpha| (alpha.f - 1.0).abs() > f32::EPSILON) => {
            return Err("Celu with an alpha other than 1: the library computes it wrongly: use Elu".into());
        }
        "ConstantOfShape" if named("value").is_none() => {
            return Err(
                "ConstantOfShape without a value: give it the attribute `value`, in 32-bit numbers".into()
            );
        }
        "Transpose" => {
            let axes = named("perm").map(|perm| perm.ints.clone()).unwrap_or_default();
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            if !sorted.iter().zip(0..).all(|(axis, place)| *axis == place) {
                return Err(format!("Transpose with perm {axes:?}, which is no order of axes: export again"));
            }
        }
        "TreeEnsembleClassifier" => return trees::check(node),
        "Dropout" if given(1) || node.output.len() > 1 => {
            return Err("Dropout as in training: export with model.eval()".into());
        }
        "BatchNormalization" | "MaxPool" if node.output.len() > 1 => {
            return Err(format!("{operator} with more than one output: export with model.eval()"));
        }
        _ => {}
    }
    Ok(())
}

/// What to do instead of an operator that is not supported.
fn advice(operator: &str) -> &'static str {
    match operator {
        "Loop" | "If" | "Scan" | "SequenceMap" => {
            "export without it: a model has no loops and no conditions (trace it, do not script it)"
        }
        "ZipMap" => "export with the option zipmap=False",
        "TreeEnsembleRegressor" | "SVMRegressor" | "SVMClassifier" | "Scaler" | "LinearClassifier" => {
            "write it with plain operators (MatMul, Less, Where, Add), as docs/models.md shows"
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "MatMulInteger"
        | "ConvInteger" => "export in 32-bit numbers, not quantised",
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Multinomial"
        | "Bernoulli" => "a score must not be random: export with model.eval()",
        "NonZero" | "Compress" | "Unique" | "NonMaxSuppression" => {
            "sizes must not depend on values: use Where and sums"
        }
        _ => "export with the operators that docs/models.md lists",
    }
}
