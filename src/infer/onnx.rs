//! A fitted model as an ONNX file, with the same graph as `train.py` writes.

use prost::Message;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto, tensor_proto, type_proto,
};

use super::lag_pca::{LagPca, Score};
use super::reference::Reference;

/// Version of the operators the graph is written in.
const OPSET: i64 = 17;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 8;

/// Writes a model: input `window [N, window, tags]`, outputs `contrib [N, tags]`, `score [N]`.
pub(super) fn write(model: &LagPca, reference: Option<&Reference>) -> Vec<u8> {
    let tags = model.mean.len();
    let width = tags * model.window;
    let components = at_least_two(&model.components, width);
    let kept = components.len() / width;
    let [tags, width, kept, window] = [tags, width, kept, model.window].map(dimension);
    let initializer = vec![
        floats("mean", &[tags], &model.mean),
        floats("deviation", &[tags], &model.deviation),
        floats("components", &[width, kept], &transposed(&components, model.mean.len() * model.window)),
        floats("components_t", &[kept, width], &components),
        floats("limit", &[tags], &model.limits),
        integers("flat_shape", &[-1, width]),
        integers("window_shape", &[-1, window, tags]),
        integers("tag_axis", &[1]),
    ];
    let node = vec![
        node("Sub", &["window", "mean"], "centred"),
        node("Div", &["centred", "deviation"], "scaled"),
        node("Reshape", &["scaled", "flat_shape"], "flat"),
        node("MatMul", &["flat", "components"], "inner"),
        node("MatMul", &["inner", "components_t"], "explained"),
        node("Sub", &["flat", "explained"], "left_over"),
        node("Abs", &["left_over"], "size"),
        node("Reshape", &["size", "window_shape"], "size_by_tag"),
        NodeProto {
            attribute: vec![axes(&[1]), keep_dimensions(false)],
            ..node("ReduceMean", &["size_by_tag"], "mean_size")
        },
        node("Div", &["mean_size", "limit"], "contrib"),
        match model.score {
            Score::Sum => NodeProto {
                attribute: vec![keep_dimensions(false)],
                ..node("ReduceSum", &["contrib", "tag_axis"], "score")
            },
            // Up to operator set 17 the axes of this one are an attribute.
            Score::Largest => NodeProto {
                attribute: vec![axes(&[1]), keep_dimensions(false)],
                ..node("ReduceMax", &["contrib"], "score")
            },
        },
    ];
    let graph = GraphProto {
        name: "lag-pca".into(),
        node,
        initializer,
        input: vec![value("window", &[window, tags])],
        output: vec![value("contrib", &[tags]), value("score", &[])],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "forebay".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        metadata_props: reference.map(Reference::property).into_iter().collect(),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// A window is at most 4096 × 64.
fn dimension(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A single component gets one of zeros beside it, which explains nothing: a product whose inner size is 1
/// is something that tract does not load.
fn at_least_two(components: &[f64], width: usize) -> Vec<f64> {
    let mut components = components.to_vec();
    components.resize(components.len().max(2 * width), 0.0);
    components
}

fn transposed(rows: &[f64], width: usize) -> Vec<f64> {
    (0..width).flat_map(|column| rows.chunks_exact(width).map(move |row| row[column])).collect()
}

#[allow(clippy::cast_possible_truncation)] // the graph computes in 32 bits
fn floats(name: &str, dims: &[i64], values: &[f64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: tensor_proto::DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![dimension(values.len())],
        data_type: tensor_proto::DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: output.into(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn axes(axes: &[i64]) -> AttributeProto {
    AttributeProto {
        name: "axes".into(),
        r#type: attribute_proto::AttributeType::Ints as i32,
        ints: axes.to_vec(),
        ..AttributeProto::default()
    }
}

fn keep_dimensions(keep: bool) -> AttributeProto {
    AttributeProto {
        name: "keepdims".into(),
        r#type: attribute_proto::AttributeType::Int as i32,
        i: i64::from(keep),
        ..AttributeProto::default()
    }
}

/// A value of 32-bit numbers; its first dimension is the number of windows.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let many = dimension::Value::DimParam("N".into());
    let sizes = dims.iter().map(|size| dimension::Value::DimValue(*size));
    let dim = std::iter::once(many)
        .chain(sizes)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let tensor = type_proto::Tensor {
        elem_type: tensor_proto::DataType::Float as i32,
        shape: Some(TensorShapeProto { dim }),
    };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..ValueInfoProto::default() }
}

#[cfg(test)]
mod tests {
    use super::super::detector::Detector;
    use super::super::features::Prepare;
    use super::super::fit::{self, Learning};
    use super::super::spec::{Input, Spec};
    use crate::device::Text;

    /// Where all tags do nothing but follow one load, a single component is enough.
    #[test]
    fn a_model_of_a_single_component_loads_and_passes_its_gate() {
        let (tags, window) = (3, 10);
        let mut random = fastrand::Rng::with_seed(2);
        let mut load = 0.0_f32;
        let mut rows = Vec::new();
        for row in 0_u16..900 {
            load += (if row / 90 % 2 == 0 { 1.0 } else { -1.0 } - load) * 0.02;
            rows.extend((0..tags).map(|_| load + 0.01 * random.f32()));
        }
        let (model, reference) = fit::learn(&rows, tags, window, Learning::default()).unwrap();
        assert_eq!(model.components.len(), window * tags, "one component");
        let input = |tag| Input { tag: format!("a.{tag}"), look_at: Text::plain("look") };
        let second = std::time::Duration::from_secs(1);
        let spec = Spec {
            name: "one".into(),
            version: "1".into(),
            title: Text::plain("one"),
            profile: String::new(),
            sample_interval: second,
            window,
            stride: 1,
            smoothing: 1,
            threshold: 1.0,
            clear_below: 0.85,
            hold: second,
            inputs: (0..tags).map(input).collect(),
            prepare: Prepare::default(),
        };
        let width = window * tags;
        let content = model.content_with(spec, &[&rows[..width], &rows[width..2 * width]], Some(&reference));
        Detector::load(&content).expect("it loads, and gives what was computed without ONNX");
    }
}
