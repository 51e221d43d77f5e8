//! How much memory and work a graph asks for, found before any of it is computed.
//!
//! The library computes what is constant while it loads: a graph of four nodes could fill the memory
//! of the box before anybody scores. So its nodes are looked at one by one in the order of the file:
//! first what comes out of a node, in elements, and only when that is small enough may the library
//! go on to it.

use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::graph::{ELEMENTS_MAX, GateError, short};
use super::planes;

/// Most elements of all values of a graph together, its constants among them.
pub const ELEMENTS_TOTAL_MAX: usize = 4 * ELEMENTS_MAX;
/// Most work for one window, in multiplications: about 0.1 s on a small processor.
pub const WORK_MAX: u64 = 64_000_000;

/// Most axes of a value.
const AXES_MAX: usize = 8;
/// Most sizes, places or axes that an operator is given at once.
const SIZES_MAX: usize = 64;

/// Refuses a graph of which one value is too large or not of a fixed size, or that takes too long.
pub(super) fn check(model: &mut InferenceModel, graph: &GraphProto) -> Result<(), GateError> {
    // After constants and inputs come the nodes, in the order of the file.
    let before = model.nodes.len().saturating_sub(graph.node.len());
    let (mut elements, mut work) = (0_usize, 0_u64);
    for id in 0..model.nodes.len() {
        let node = id.checked_sub(before).and_then(|index| graph.node.get(index));
        let given = given(model, id);
        if let Some(node) = node {
            numbers(model, id, node)?;
            planes::check(node, given.as_deref())?;
        }
        let sizes = sizes(model, id)?;
        elements = sizes.iter().fold(elements, |sum, size| sum.saturating_add(size.iter().product()));
        if elements > ELEMENTS_TOTAL_MAX {
            let what = format!("its values have more than {ELEMENTS_TOTAL_MAX} elements together");
            return Err(GateError::Size(what));
        }
        if let Some(node) = node {
            work = work.saturating_add(work_of(node, given.as_deref().unwrap_or_default(), &sizes));
            if work > WORK_MAX {
                let what =
                    format!("more than {} million multiplications for one window", WORK_MAX / 1_000_000);
                return Err(GateError::Size(what));
            }
        }
        let made = facts(model, id).and_then(|facts| facts.infer(model, id)).map_err(load)?;
        for (slot, fact) in made.into_iter().enumerate() {
            model.set_outlet_fact(OutletId::new(id, slot), fact).map_err(load)?;
        }
    }
    Ok(())
}

/// Operators that make sizes of the numbers they are given.
const MAKE_SIZES: [&str; 8] =
    ["ConstantOfShape", "Expand", "Pad", "Range", "Reshape", "Split", "Tile", "TopK"];

/// Whether an operator takes sizes, places or axes from the value that it is given at this place.
fn are_sizes(operator: &str, place: usize) -> bool {
    match operator {
        "ConstantOfShape" => place == 0,
        "Pad" => place == 1,
        "Range" => true,
        "CumSum" | "Expand" | "Reshape" | "Slice" | "Split" | "Squeeze" | "Tile" | "TopK" | "Unsqueeze" => {
            place > 0
        }
        reduce => reduce.starts_with("Reduce") && place > 0,
    }
}

/// Refuses more sizes than any value has axes, with which the library would reckon for hours, and such
/// as are too large: it cuts them to 32 bits where it reasons, and not where it allocates.
fn numbers(model: &InferenceModel, id: usize, node: &NodeProto) -> Result<(), GateError> {
    let operator = node.op_type.as_str();
    // What is split has a size for each part, and the parts stand in the file.
    let most = SIZES_MAX.max(if operator == "Split" { node.output.len() } else { 0 });
    let (inputs, _) = model.node_facts(id).map_err(load)?;
    let refuse = |what: String| Err(GateError::Size(format!("{:?} {what}", short(&model.nodes[id].name))));
    for (_, fact) in inputs.iter().enumerate().filter(|(place, _)| are_sizes(operator, *place)) {
        let count = known(fact).map_or(0, |sizes| sizes.iter().product());
        if count > most {
            return refuse(format!("is given {count} sizes, {most} are allowed"));
        }
        let Some(value) = fact.value.concretize().filter(|_| MAKE_SIZES.contains(&operator)) else {
            continue;
        };
        let value = value.cast_to::<i64>().map_err(load)?;
        let plain = value.try_as_plain_ram().map_err(load)?;
        let numbers = plain.as_slice::<i64>().map_err(load)?;
        if let Some(large) = numbers.iter().find(|n| n.unsigned_abs() > ELEMENTS_MAX as u64) {
            return refuse(format!("is given a size of {large}"));
        }
    }
    Ok(())
}

type Sizes = Vec<usize>;

/// The shapes of what a node is given, if all of them are known.
fn given(model: &InferenceModel, id: usize) -> Option<Vec<Sizes>> {
    let inputs = model.nodes[id].inputs.iter();
    inputs.map(|outlet| known(&model.nodes[outlet.node].outputs[outlet.slot].fact)).collect()
}

fn load(error: TractError) -> GateError {
    GateError::Load(short(&format!("{error:#}")))
}

/// What is known around a node.
struct Facts {
    inputs: TVec<InferenceFact>,
    outputs: TVec<InferenceFact>,
    observed: TVec<InferenceFact>,
}

fn facts(model: &InferenceModel, id: usize) -> TractResult<Facts> {
    let (inputs, outputs) = model.node_facts(id)?;
    let node = &model.nodes[id];
    let observed = node.op.observe_outlets(model, node)?;
    Ok(Facts {
        inputs: inputs.into_iter().cloned().collect(),
        outputs: outputs.into_iter().cloned().collect(),
        observed: observed
            .iter()
            .map(|outlet| model.outlet_fact(*outlet).cloned())
            .collect::<TractResult<_>>()?,
    })
}

impl Facts {
    /// What follows for the outputs from shapes alone; nothing is computed.
    fn shapes(&self, model: &mut InferenceModel, id: usize) -> TractResult<TVec<InferenceFact>> {
        let [inputs, outputs, observed] = self.lists();
        Ok(model.nodes[id].op.infer_facts(inputs, outputs, observed)?.1)
    }

    /// The same with values: what is constant is computed.
    fn infer(&self, model: &mut InferenceModel, id: usize) -> TractResult<TVec<InferenceFact>> {
        let [inputs, outputs, observed] = self.lists();
        Ok(model.nodes[id].op.infer(inputs, outputs, observed)?.1)
    }

    fn lists(&self) -> [TVec<&InferenceFact>; 3] {
        [&self.inputs, &self.outputs, &self.observed].map(|facts| facts.iter().collect())
    }
}

/// Sizes of what comes out of a node; nothing is computed for it.
fn sizes(model: &mut InferenceModel, id: usize) -> Result<TVec<Sizes>, GateError> {
    let name = short(&model.nodes[id].name);
    let found = facts(model, id).and_then(|facts| facts.shapes(model, id)).map_err(load)?;
    found
        .iter()
        .map(|fact| {
            let sizes = known(fact).ok_or_else(|| {
                GateError::Size(format!("the size of {name:?} depends on values: it must be fixed"))
            })?;
            if sizes.len() > AXES_MAX {
                let axes = sizes.len();
                return Err(GateError::Size(format!(
                    "{name:?} makes a value of {axes} axes, {AXES_MAX} are allowed"
                )));
            }
            let elements = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
            if elements.is_none_or(|elements| elements > ELEMENTS_MAX) {
                let what =
                    format!("{name:?} makes a value of shape {sizes:?}, {ELEMENTS_MAX} elements are allowed");
                return Err(GateError::Size(short(&what)));
            }
            Ok(sizes)
        })
        .collect()
}

/// The shape of a value, if all of it is known.
fn known(fact: &InferenceFact) -> Option<Sizes> {
    fact.shape.concretize()?.iter().map(|size| size.to_usize().ok()).collect()
}

/// Multiplications of a node, never fewer than there are.
fn work_of(node: &NodeProto, inputs: &[Sizes], outputs: &[Sizes]) -> u64 {
    let count =
        |sizes: &Sizes| sizes.iter().fold(1_u64, |product, size| product.saturating_mul(*size as u64));
    let input = |index: usize| inputs.get(index).map_or(1, count);
    let size = |index: usize, axis: usize| {
        inputs.get(index).and_then(|sizes| sizes.get(axis)).map_or(1, |n| *n as u64)
    };
    let made = outputs.iter().map(count).max().unwrap_or(1);
    match node.op_type.as_str() {
        "MatMul" => {
            made.saturating_mul(inputs.first().and_then(|sizes| sizes.last()).map_or(1, |n| *n as u64))
        }
        "Gemm" => made.saturating_mul(size(0, 0).max(size(0, 1))),
        "Einsum" => input(0).saturating_mul(input(1)),
        "Conv" => made.saturating_mul(input(1) / size(1, 0).max(1)),
        "ConvTranspose" => input(0).saturating_mul(input(1) / size(1, 0).max(1)),
        "LSTM" | "GRU" | "RNN" => size(0, 0).saturating_mul(input(1).saturating_add(input(2))),
        "MaxPool" | "AveragePool" => {
            let kernel = node.attribute.iter().filter(|attribute| attribute.name == "kernel_shape");
            let kernel = kernel.flat_map(|attribute| &attribute.ints);
            kernel.fold(made, |product, size| product.saturating_mul(u64::try_from(*size).unwrap_or(1)))
        }
        _ => inputs.iter().map(count).max().unwrap_or(1).max(made),
    }
}
