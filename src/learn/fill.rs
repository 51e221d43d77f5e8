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

#[cfg(test)]
mod tests {
    use super::super::column::Grid;
    use super::*;
    use crate::demo::past;
    use crate::infer::features::Rule;

    /// What came of one input with a rule, beside one without, at each second.
    fn filled(bad: std::ops::Range<usize>, cause: Cause, with_other: bool) -> Vec<Result<f32, Cause>> {
        let device = past::devices().unwrap().remove(0);
        let grid = Grid { from_us: 0, interval_us: 1_000_000, points: 10 };
        let tags = if with_other { 2 } else { 1 };
        let column = |_| Column::new(&device.tags[0], 1_000_000, &grid);
        let mut columns: Vec<Column> = (0..tags).map(column).collect();
        let rule = Missing { rule: Rule::Last, points_max: 2 };
        let (mut filled, mut shared) = (vec![Filled::new(0, rule, grid.points)], vec![None; grid.points]);
        for (place, column) in columns.iter_mut().enumerate() {
            for (second, at_us) in (0_u16..10).zip((0..).step_by(1_000_000)) {
                let is_bad = place == 0 && bad.contains(&usize::from(second));
                let value = if is_bad { Err(cause) } else { Ok(f32::from(second)) };
                column.take(at_us, value, &grid, causes_of(&mut filled, &mut shared, place));
            }
            column.finish(&grid, causes_of(&mut filled, &mut shared, place));
        }
        fill(&mut filled, &mut columns, &mut shared, tags);
        let found = columns[0].values.iter().zip(shared);
        found.map(|(value, cause)| cause.map_or(Ok(*value), Err)).collect()
    }

    #[test]
    fn the_rule_fills_for_as_long_as_it_may_and_not_while_the_device_is_away() {
        let bad = Err(Cause::Quality);
        let whole: Vec<Result<f32, Cause>> = (0_u8..10).map(|second| Ok(f32::from(second))).collect();
        let mut expected = whole.clone();
        expected[3..7].copy_from_slice(&[Ok(2.0), Ok(2.0), bad, bad]);
        assert_eq!(filled(3..7, Cause::Quality, true), expected);
        // Of one input with a rule and nothing else a gap is an outage.
        let mut expected = whole.clone();
        expected[3] = Err(Cause::Gap);
        assert_eq!(filled(3..4, Cause::Gap, false), expected);
        expected[3] = Ok(2.0);
        assert_eq!(filled(3..4, Cause::Gap, true), expected);
        expected[3] = Err(Cause::Thinned);
        assert_eq!(filled(3..4, Cause::Thinned, true), expected);
    }
}
