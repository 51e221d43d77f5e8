//! Values that were missing in the past, filled in by the rules of a model as live.

use super::column::{Cause, Column};
use crate::infer::features::{Fill, Missing};

/// A column with a rule: why its values are missing is kept apart, for the rule may fill them in.
pub(super) struct Filled {
    place: usize,
    fill: Fill,
    causes: Vec<Option<Cause>>,
}

impl Filled {
    /// The column at `place`, of so many points.
    pub(super) fn new(place: usize, rule: Missing, points: usize) -> Self {
        Self { place, fill: Fill::new(rule), causes: vec![None; points] }
    }
}

/// Where the causes of a column go.
pub(super) fn causes_of<'a>(
    filled: &'a mut [Filled],
    shared: &'a mut [Option<Cause>],
    place: usize,
) -> &'a mut [Option<Cause>] {
    match filled.iter_mut().find(|filled| filled.place == place) {
        Some(filled) => &mut filled.causes,
        None => shared,
    }
}

/// Goes through all points in the order of time. `shared` says which are left out whatever the rules say;
/// `tags` is how many columns are inputs.
pub(super) fn fill(filled: &mut [Filled], columns: &mut [Column], shared: &mut [Option<Cause>], tags: usize) {
    if filled.is_empty() {
        return;
    }
    let all = filled.len() == tags;
    for (point, cause) in shared.iter_mut().enumerate() {
        // While the device does not answer at all nothing is filled in.
        let is_away = |filled: &Filled| matches!(filled.causes[point], Some(Cause::Gap | Cause::Thinned));
        if cause.is_none() && all && filled.iter().all(is_away) {
            *cause = filled[0].causes[point];
        }
        if cause.is_none() {
            for Filled { place, fill, causes } in filled.iter_mut() {
                let value = &mut columns[*place].values[point];
                match causes[point] {
                    None => fill.good(*value),
                    Some(missing) => match fill.fill().filter(|_| missing != Cause::Thinned) {
                        Some(filled) => *value = filled,
                        None => *cause = Some(missing),
                    },
                }
            }
        }
        if cause.is_some() {
            filled.iter_mut().for_each(|filled| filled.fill.reset());
        }
    }
}
