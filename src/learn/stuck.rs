//! A sensor that stands still although it moves otherwise.

use super::column::Cause;

/// A value may stand still for so many points whatever the tag.
const STILL_MIN: usize = 60;
/// … and for so many times as long as half of its stretches …
const STILL_TYPICAL: usize = 20;
/// … and as 19 of 20 of them.
const STILL_LONG: usize = 5;
/// With fewer stretches nobody knows what is usual: a set value stands still for hours.
const STRETCHES_MIN: usize = 20;

/// Leaves out the points at which a tag has stood still for longer than it usually does.
pub(super) fn mark(values: &[f32], causes: &mut [Option<Cause>]) {
    let stretches = stretches(values, causes);
    if stretches.len() < STRETCHES_MIN {
        return;
    }
    let mut lengths: Vec<usize> = stretches.iter().map(|(from, to)| to - from).collect();
    lengths.sort_unstable();
    let (typical, long) = (lengths[lengths.len() / 2], lengths[lengths.len() * 19 / 20]);
    let limit = STILL_MIN.max(STILL_TYPICAL * typical).max(STILL_LONG * long);
    for (from, to) in stretches.into_iter().filter(|(from, to)| to - from > limit) {
        causes[from..to].iter_mut().for_each(|cause| _ = cause.get_or_insert(Cause::Stuck));
    }
}

/// From where to where each value stays the same, where nothing is left out.
fn stretches(values: &[f32], causes: &[Option<Cause>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut begin: Option<usize> = None;
    let known = values.iter().zip(causes).map(|(value, cause)| cause.is_none().then_some(value));
    for (point, value) in known.chain([None]).enumerate() {
        let goes_on =
            begin.zip(value).is_some_and(|(begin, value)| values[begin].to_bits() == value.to_bits());
        if goes_on {
            continue;
        }
        found.extend(begin.map(|begin| (begin, point)));
        begin = value.map(|_| point);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_that_stops_is_left_out_and_a_set_value_is_not() {
        let mut values: Vec<f32> = (0_u16..1000).map(|at| f32::from(at % 7)).collect();
        values[500..700].fill(3.0);
        let mut causes = vec![None; values.len()];
        mark(&values, &mut causes);
        let stuck = causes.iter().filter(|cause| **cause == Some(Cause::Stuck)).count();
        assert!((200..=202).contains(&stuck), "{stuck}");
        let mut set = vec![5.0; 1000];
        set[400..].fill(6.0);
        let mut causes = vec![None; set.len()];
        mark(&set, &mut causes);
        assert!(causes.iter().all(Option::is_none));
    }
}
