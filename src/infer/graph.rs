//! `model.onnx` in tract: loaded behind a gate, then scored window by window.
//!
//! A graph is hostile input. It may be broken, it may make the library panic, it may ask for more
//! memory than the box has, and it may load and be wrong. So every step runs under
//! `catch_unwind`, sizes are checked before anything is computed, and a model scores only after
//! it has given the outputs of its golden cases.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

use super::bounds;
use super::folder::Content;
use super::operators;
use super::screen::screen;
use super::wire;
use crate::panic;

/// Most nodes of a graph.
pub const NODES_MAX: usize = 1024;
/// Most elements of one value inside a graph: 16 MiB of 32-bit numbers.
pub const ELEMENTS_MAX: usize = 4 * 1024 * 1024;

/// Why a model does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The file is no graph that we can run.
    #[error("model.onnx: M0301: does not load: {0}")]
    Load(String),
    /// An operator that the library does not run, or runs wrong.
    #[error("model.onnx: M0306: {0}; see docs/models.md")]
    Operator(String),
    /// The library panicked; nothing else is harmed.
    #[error("model.onnx: M0302: made the ONNX library panic: {0}")]
    Panic(String),
    /// Larger than a model may be.
    #[error("model.onnx: M0303: is too large: {0}")]
    Size(String),
    /// Other inputs or outputs than `model.toml` says.
    #[error("model.onnx: M0304: does not fit model.toml: {0}")]
    Shape(String),
    /// It runs, and gives other numbers than in training.
    #[error("model.onnx: M0305: gives other results than golden.json: {0}; train again or restore the file")]
    Golden(String),
    /// It gave no finite number.
    #[error("model.onnx: M0307: gave no finite number for {0}")]
    NotFinite(String),
}

/// A loaded model that has passed its gate. Scores one window at a time.
pub struct Graph {
    /// Recurrent: what it remembers of a window must not reach the next one.
    keeps_state: bool,
    state: TypedSimpleState,
    input: Arc<Tensor>,
    contrib: Vec<f32>,
    score: f32,
    /// How long the machine will last, of a graph that says so.
    remaining: Option<[f32; 3]>,
    hash: String,
}

impl Graph {
    /// Loads a model and compares it with its golden cases.
    ///
    /// # Errors
    /// [`GateError`]; the model must not score.
    pub fn load(content: &Content) -> Result<Self, GateError> {
        let (window, inputs) = (content.spec.window, content.spec.columns());
        let remaining = content.spec.prepare.remaining_life.is_some();
        let mut graph = guarded(|| Self::open(&content.onnx, window, inputs, remaining))?;
        for case in &content.golden.cases {
            graph.run(|window| {
                for (row, values) in window.chunks_exact_mut(inputs).zip(&case.window) {
                    row.copy_from_slice(values);
                }
            })?;
            let found = graph
                .contrib
                .iter()
                .copied()
                .chain([graph.score])
                .chain(graph.remaining.into_iter().flatten());
            let expected =
                case.contrib.iter().copied().chain([case.score]).chain(case.remaining.into_iter().flatten());
            for (index, (found, expected)) in found.zip(expected).enumerate() {
                if !content.golden.close(found, expected) {
                    let place = match index.checked_sub(inputs) {
                        None => format!("contribution {index}"),
                        Some(0) => "score".into(),
                        Some(_) => "remaining".into(),
                    };
                    let message = format!("case {:?}, {place}: {found} instead of {expected}", case.name);
                    return Err(GateError::Golden(message));
                }
            }
        }
        Ok(graph)
    }

    fn open(onnx: &[u8], window: usize, inputs: usize, remaining: bool) -> Result<Self, GateError> {
        let load = |error: TractError| GateError::Load(short(&format!("{error:#}")));
        wire::count(onnx).map_err(|why| GateError::Load(why.into()))?;
        let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let mut proto = framework.proto_model_for_read(&mut &*onnx).map_err(load)?;
        let outputs = &["contrib", "score", "remaining"][..if remaining { 3 } else { 2 }];
        screen(&mut proto, window, inputs, outputs)?;
        let model = framework.model_for_proto_model(&proto).map_err(load)?;
        let fact = f32::fact([1, window, inputs]);
        let mut model = model.with_input_fact(0, fact.into()).map_err(load)?;
        let graph = proto.graph.unwrap_or_default();
        bounds::check(&mut model, &graph)?;
        let typed = model.into_typed().map_err(load)?;
        check_sizes(&typed)?;
        let plan = typed.into_optimized().and_then(|m| m.into_runnable()).map_err(load)?;
        let mut graph = Self {
            keeps_state: graph.node.iter().any(|node| operators::keeps_state(&node.op_type)),
            state: plan.spawn().map_err(load)?,
            input: Tensor::zero::<f32>(&[1, window, inputs]).map_err(load)?.into_arc_tensor(),
            contrib: vec![0.0; inputs],
            score: 0.0,
            remaining: remaining.then_some([0.0; 3]),
            hash: hash(onnx),
        };
        graph.evaluate()?;
        Ok(graph)
    }

    /// SHA-256 of `model.onnx`, 64 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Scores one window. `fill` is given its values, oldest row first, one value of each
    /// feature or input a row.
    ///
    /// The window keeps its place in memory from score to score.
    ///
    /// # Errors
    /// [`GateError::Panic`], [`GateError::NotFinite`] or [`GateError::Load`], after which the model
    /// is to be given up.
    pub fn run(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<(), GateError> {
        guarded(|| self.fill(fill).and_then(|()| self.evaluate()))?;
        if let Some(index) = self.contrib.iter().position(|value| !value.is_finite()) {
            return Err(GateError::NotFinite(format!("contribution {index}")));
        }
        if !self.score.is_finite() {
            return Err(GateError::NotFinite("the score".into()));
        }
        if self.remaining.is_some_and(|remaining| remaining.iter().any(|value| !value.is_finite())) {
            return Err(GateError::NotFinite("the remaining life".into()));
        }
        Ok(())
    }

    fn fill(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<(), GateError> {
        if Arc::get_mut(&mut self.input).is_none() {
            // The library still holds the last window: it was an output, or a score failed half-way.
            self.input = Arc::new(Tensor::clone(&self.input));
        }
        let mut view = Arc::get_mut(&mut self.input).and_then(|tensor| tensor.as_plain_ram_mut());
        let window = view.as_mut().and_then(|view| view.as_slice_mut::<f32>().ok());
        fill(window.ok_or_else(|| GateError::Shape("the input is not in memory".into()))?);
        Ok(())
    }

    /// Contribution of each feature, or each input, to the last score.
    pub fn contrib(&self) -> &[f32] {
        &self.contrib
    }

    /// Last score, not smoothed.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// How long the machine will last, of a model with `[remaining_life]`: at least, probably, at most.
    pub fn remaining(&self) -> Option<[f32; 3]> {
        self.remaining
    }

    fn evaluate(&mut self) -> Result<(), GateError> {
        let load = |error: TractError| GateError::Load(short(&format!("{error:#}")));
        if self.keeps_state {
            // The library would go on from the state after the last window, as if this one followed it.
            self.state = self.state.plan().spawn().map_err(load)?;
        }
        let outputs = self.state.run(tvec!(Arc::clone(&self.input).into_tvalue())).map_err(load)?;
        let inputs = self.contrib.len();
        let [contrib, score, remaining @ ..] = &outputs[..] else {
            return Err(GateError::Shape(format!("{} outputs", outputs.len())));
        };
        if contrib.shape() != [1, inputs] || score.len() != 1 {
            let (found, scored) = (contrib.shape(), score.shape());
            let message =
                format!("contrib has shape {found:?}, score {scored:?}; [1, {inputs}] and [1] are needed");
            return Err(GateError::Shape(message));
        }
        let read = |tensor: &TValue, into: &mut [f32]| -> TractResult<()> {
            into.copy_from_slice(tensor.try_as_plain_ram()?.as_slice::<f32>()?);
            Ok(())
        };
        read(contrib, &mut self.contrib).map_err(load)?;
        read(score, std::slice::from_mut(&mut self.score)).map_err(load)?;
        if let (Some(into), [found]) = (&mut self.remaining, remaining) {
            if found.shape() != [1, 3] {
                let message = format!("remaining has shape {:?}, [1, 3] is needed", found.shape());
                return Err(GateError::Shape(message));
            }
            read(found, into).map_err(load)?;
            into.sort_by(f32::total_cmp);
        }
        Ok(())
    }
}

/// SHA-256 in 64 hexadecimal digits.
pub(super) fn hash(onnx: &[u8]) -> String {
    Sha256::digest(onnx).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses a graph of which one value is too large, or not of a fixed size.
fn check_sizes(model: &TypedModel) -> Result<(), GateError> {
    for node in model.nodes() {
        for output in &node.outputs {
            let elements = output.fact.shape.iter().try_fold(1_usize, |product, dim| {
                dim.to_i64()
                    .ok()
                    .and_then(|dim| usize::try_from(dim).ok())
                    .and_then(|dim| product.checked_mul(dim))
                    .filter(|n| *n <= ELEMENTS_MAX)
            });
            if elements.is_none() {
                let message = format!("{} makes a value of shape {:?}", short(&node.name), output.fact.shape);
                return Err(GateError::Size(short(&message)));
            }
        }
    }
    Ok(())
}

/// Runs `work` so that a panic in it is an error of this model only.
fn guarded<T>(work: impl FnOnce() -> Result<T, GateError>) -> Result<T, GateError> {
    // What a panic may have left half-done belongs to the model, which is given up with it.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(GateError::Panic(panic::words(&*panic))))
}

/// Messages of the library quote the file; a hostile one must not fill the log.
pub(super) fn short(text: &str) -> String {
    const LONG: usize = 300;
    text.chars().filter(|c| !c.is_control()).take(LONG).collect()
}
