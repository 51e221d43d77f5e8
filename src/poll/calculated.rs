//! Calculated tags at run time: formulas over the last values of the device's other tags.

use std::sync::Arc;

use forebay_connector::{Quality, Value};

use crate::device::Device;
use crate::formula::{Formula, Kind, Outcome, Running};
use crate::twin::DeviceState;

/// One calculated tag.
pub struct Calculation {
    /// Index of the published tag.
    pub index: usize,
    formula: Arc<Formula>,
    running: Running,
}

/// All calculated tags of a device, in an order in which each comes behind those it uses.
pub fn of(device: &Device) -> Vec<Calculation> {
    let formulas = device.tags.iter().enumerate().filter_map(|(index, tag)| {
        let formula = Arc::clone(tag.formula.as_ref()?);
        Some(Calculation { index, running: Running::new(&formula), formula })
    });
    formulas.collect()
}

impl Calculation {
    /// A connection was lost: rates and windows must not span the time without values.
    pub fn forget(&mut self) {
        self.running.forget();
    }

    /// The value and the worst quality of what it is made from. `None` when nothing it uses was
    /// read at `edge_us`, or too little is known yet; `seen` tells whether a tag was read on this
    /// connection.
    pub fn evaluate(
        &mut self,
        state: &DeviceState,
        seen: impl Fn(usize) -> bool,
        edge_us: i64,
    ) -> Option<(Value, Quality)> {
        let inputs = || self.formula.inputs.iter().map(|tag| *tag as usize);
        // A formula without tags would never be calculated, so it is refused when it is read.
        let news = inputs().any(|tag| state.values[tag].edge_us == edge_us);
        if !news || !inputs().all(&seen) {
            return None;
        }
        let worst = inputs().map(|tag| state.values[tag].quality).max().unwrap_or_default();
        if worst.ne107() == Some('F') {
            return Some((Value::Null, worst));
        }
        let (formula, values) = (&self.formula, &state.values);
        let number = |input: usize| values[formula.inputs[input] as usize].value.as_f64().unwrap_or(f64::NAN);
        match self.running.evaluate(formula, edge_us, number) {
            Outcome::Missing => None,
            Outcome::Invalid => Some((Value::Null, Quality::Invalid)),
            Outcome::Value(value) => Some((
                match formula.kind {
                    Kind::Number => Value::Lreal(value),
                    Kind::Bool => Value::Bool(value != 0.0),
                },
                worst,
            )),
        }
    }
}
