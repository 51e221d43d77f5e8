//! Which tags of a device are learned, on which grid, in which states.

use std::time::Duration;

use super::column::Grid;
use super::rows::{Rows, scan_us};
use super::{Order, WINDOW};
use crate::device::{Device, Tag};
use crate::document::nearest;
use crate::infer::features::{StateFilter, StateTag};
use crate::infer::spec::INPUTS_MAX;
use crate::past::is_tag;

/// Finest grid without a wish: drift is followed in points of the grid, and slow is what matters.
const INTERVAL_US: i64 = 1_000_000;
/// Bounds of a grid in model.toml.
const INTERVALS_US: std::ops::RangeInclusive<i64> = 50_000..=3_600_000_000;
/// Names that are listed at most.
const LISTED_MAX: usize = 20;

/// The order names something that is not there, or cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChoiceError(String);

impl ChoiceError {
    pub(super) fn no_device(name: &str, known: &[&str]) -> Self {
        Self(unknown("device", name, known))
    }
}

/// What is learned.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Indices of the tags.
    pub tags: Vec<usize>,
    /// Tags that were named and are not learned, with the reason.
    pub left_out: Vec<(String, String)>,
    /// Only in these states.
    pub states: Option<StateTag>,
    /// Grid, microseconds.
    pub interval_us: i64,
    /// Names that were given without a `*`.
    named: Vec<String>,
}

impl Choice {
    /// What an order means on a device.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn of(device: &Device, order: &Order) -> Result<Self, ChoiceError> {
        let known: Vec<&str> = device.tags.iter().map(|tag| tag.path.as_str()).collect();
        for wanted in &order.tags {
            if !known.iter().any(|path| is_tag(wanted, path)) {
                return Err(ChoiceError(unknown("tag", wanted, &known)));
            }
        }
        let states = order.state.as_ref().map(|state| find_state(device, state, &known)).transpose()?;
        let named: Vec<String> = order.tags.iter().filter(|tag| !tag.ends_with('*')).cloned().collect();
        let (mut tags, mut left_out) = (Vec::new(), Vec::new());
        for (index, tag) in device.tags.iter().enumerate() {
            let is_wanted =
                order.tags.is_empty() || order.tags.iter().any(|wanted| is_tag(wanted, &tag.path));
            match not_measured(tag) {
                _ if !is_wanted => {}
                None => tags.push(index),
                Some(why) if named.contains(&tag.path) => {
                    return Err(ChoiceError(format!("{} cannot be learned: it is {why}", tag.path)));
                }
                // Without a wish nobody expects it.
                Some(_) if order.tags.is_empty() => {}
                Some(why) => left_out.push((tag.path.clone(), why.to_owned())),
            }
        }
        if tags.is_empty() {
            return Err(ChoiceError("none of these tags is a measured value".to_owned()));
        }
        if tags.len() > INPUTS_MAX {
            let words =
                format!("{} tags, a model takes at most {INPUTS_MAX}: name fewer with --tags", tags.len());
            return Err(ChoiceError(words));
        }
        let slowest_us = tags.iter().map(|index| scan_us(device, &device.tags[*index])).max().unwrap_or(0);
        let wish_us = order.interval_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000));
        let interval_us = wish_us.unwrap_or_else(|| slowest_us.max(INTERVAL_US));
        if !INTERVALS_US.contains(&interval_us) {
            return Err(ChoiceError("the interval must be from 50 ms to 1 h".to_owned()));
        }
        Ok(Self { tags, left_out, states, interval_us, named })
    }

    /// The grid between two times.
    ///
    /// # Errors
    /// They are the wrong way round.
    pub fn grid(&self, from_us: i64, to_us: i64) -> Result<Grid, ChoiceError> {
        let points = usize::try_from(to_us.saturating_sub(from_us) / self.interval_us).unwrap_or(0);
        if points == 0 {
            return Err(ChoiceError("the time must begin before it ends, and before now".to_owned()));
        }
        Ok(Grid { from_us, interval_us: self.interval_us, points })
    }

    /// A tag that never moved is a set value: it says nothing of the machine, and any other setting
    /// would be an alarm. One that was named stays.
    pub(super) fn leave_out_constant(&mut self, device: &Device, rows: &mut Rows) {
        if rows.values.is_empty() {
            // Nothing is known of any of them.
            return;
        }
        let count = self.tags.len();
        let moves = |place: usize| {
            let mut values = rows.values.iter().skip(place).step_by(count);
            let first = values.next();
            values.any(|value| first.is_none_or(|first| first.to_bits() != value.to_bits()))
        };
        let path = |index: usize| device.tags[index].path.clone();
        let keeps: Vec<bool> = self
            .tags
            .iter()
            .enumerate()
            .map(|(at, it)| self.named.contains(&path(*it)) || moves(at))
            .collect();
        if keeps.iter().all(|keep| *keep) {
            return;
        }
        for (index, _) in self.tags.iter().zip(&keeps).filter(|(_, keep)| !**keep) {
            self.left_out.push((path(*index), "a value that did not move in that time".to_owned()));
        }
        let mut keep = keeps.iter().cycle();
        rows.values.retain(|_| keep.next().is_none_or(|keep| *keep));
        let mut keep = keeps.iter();
        self.tags.retain(|_| keep.next().is_none_or(|keep| *keep));
    }

    /// The journal does not hold what a deadband kept back, but live the model sees it: where a value
    /// moved less often than once in a window, it gets as much movement as may have been there, from row
    /// to row and slowly. The same rows always get the same.
    pub(super) fn add_what_deadbands_hide(&self, device: &Device, rows: &mut Rows) {
        let count = self.tags.len();
        for (place, index) in self.tags.iter().enumerate() {
            let tag = &device.tags[*index];
            let hidden = tag.compress.unwrap_or(tag.deadband);
            let column: Vec<f32> = rows.values.iter().skip(place).step_by(count).copied().collect();
            let changes = column.windows(2).filter(|pair| pair[0].to_bits() != pair[1].to_bits()).count();
            if hidden <= 0.0 || (tag.compress.is_none() && changes * WINDOW >= column.len()) {
                continue;
            }
            let mut random = fastrand::Rng::with_seed(place as u64);
            let mut within = |size: f64| (random.f64() * 2.0 - 1.0) * size;
            let mut slow = 0.0;
            for (row, value) in rows.values.iter_mut().skip(place).step_by(count).enumerate() {
                if row.is_multiple_of(4 * WINDOW) {
                    slow = within(hidden);
                }
                #[allow(clippy::cast_possible_truncation)] // models compute in 32 bits
                let moved = (slow + within(hidden / 2.0)) as f32;
                *value += moved;
            }
        }
    }
}

/// What a tag is that is no measured value.
fn not_measured(tag: &Tag) -> Option<&'static str> {
    if tag.counter {
        return Some("a counter: it only grows");
    }
    if tag.enumeration.is_some() || tag.bit.is_some() {
        return Some("a state, not a measured value");
    }
    if tag.data_type.array_len.is_some() {
        return Some("an array");
    }
    let is_measured = tag.data_type.scalar.is_number() && !tag.data_type.scalar.is_bit_string();
    (!is_measured).then_some("no measured value")
}

fn find_state(device: &Device, state: &super::StateOrder, known: &[&str]) -> Result<StateTag, ChoiceError> {
    let tag = device.tag_index(&state.tag);
    let tag = tag.ok_or_else(|| ChoiceError(unknown("tag", &state.tag, known)))?;
    if state.is.is_empty() {
        return Err(ChoiceError(format!("say which states of {} are normal running", state.tag)));
    }
    let names = device.tags[tag].enumeration.as_ref();
    for wanted in &state.is {
        let Some(names) = names.filter(|_| wanted.trim().parse::<i64>().is_err()) else { continue };
        let is_known = |text: &str| text.eq_ignore_ascii_case(wanted.trim());
        if !names.values().any(|value| value.text.0.values().any(|text| is_known(text))) {
            let texts: Vec<&str> = names.values().map(|value| value.text.get("en")).collect();
            return Err(ChoiceError(unknown("state", wanted, &texts)));
        }
    }
    let filter = StateFilter { tag: state.tag.clone(), is: state.is.clone(), settle: Duration::ZERO };
    StateTag::find(&filter, "", device).map_err(|_| {
        let (is, kind) = (state.is.join(", "), &device.tags[tag].data_type);
        ChoiceError(format!("{} is {kind}: \"{}\" is no value of it", state.tag, is.escape_debug()))
    })
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let mut said = format!("there is no {what} \"{}\"", name.escape_debug());
    if let Some(near) = nearest(name, known.iter().copied()) {
        said += &format!(": did you mean \"{near}\"?");
    }
    let listed: Vec<&str> = known.iter().take(LISTED_MAX).copied().collect();
    said + &format!(" Known: {}{}", listed.join(", "), if known.len() > LISTED_MAX { ", …" } else { "" })
}
