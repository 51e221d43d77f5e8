//! Rows of normal running, out of the journal: every value as it was known at each point of a grid,
//! and why points were left out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use forebay_connector::Value;

use super::column::{Cause, Column, Grid};
use super::stuck;
use crate::batch::{Sample, Schema};
use crate::device::{Device, Tag};
use crate::journal::FilesError;
use crate::lane::{Body, History, Past, Wanted as Wish};

/// States in which a machine is learned, as the profile or the controller names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// Index of the tag that tells the state.
    pub tag: usize,
    /// Texts of the enumeration in any language, numbers, `true` or `false`.
    pub is: Vec<String>,
}

/// What is wanted.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// The device as it is configured now.
    pub device: &'a Device,
    /// Indices of its tags.
    pub tags: &'a [usize],
    /// Only in these states; `None` = always.
    pub states: Option<&'a States>,
    /// After it has come into the state, or back after a gap, a machine settles so long.
    pub settle_us: i64,
    /// Points in time.
    pub grid: Grid,
    /// Shorter runs of rows are left out.
    pub run_min: usize,
    /// Sensors that stand still are left out; live nobody knows that they will.
    pub leave_out_stuck: bool,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Row after row, each with a value for each tag.
    pub values: Vec<f32>,
    /// Rows before which something was left out.
    pub breaks: Vec<usize>,
    /// Point of the grid of each row.
    pub points: Vec<usize>,
    /// Points that were left out.
    pub left_out: BTreeMap<Cause, u64>,
}

/// Reads the rows.
///
/// # Errors
/// When the journal cannot be read.
pub fn read(history: &History, wanted: &Wanted<'_>) -> Result<Rows, FilesError> {
    let device = wanted.device;
    let indices: Vec<usize> =
        wanted.tags.iter().copied().chain(wanted.states.map(|states| states.tag)).collect();
    let paths: Vec<&str> = indices.iter().map(|index| device.tags[*index].path.as_str()).collect();
    let mut reading = Reading::new(wanted, &indices);
    let lead_us = reading.columns.iter().map(Column::lead_us).max().unwrap_or(0);
    let wish = Wish {
        device: Some(&device.path),
        tags: Some(&paths),
        from_us: wanted.grid.from_us.saturating_sub(lead_us),
        to_us: wanted.grid.time_us(wanted.grid.points),
    };
    history.read(&wish, &mut |past| {
        reading.take(&past, &paths);
        ControlFlow::Continue(())
    })?;
    Ok(reading.finish())
}

/// What has been read so far.
struct Reading<'a> {
    wanted: &'a Wanted<'a>,
    columns: Vec<Column>,
    causes: Vec<Option<Cause>>,
    /// Where each tag of a schema goes.
    schema: Option<(Arc<Schema>, Vec<Option<usize>>)>,
    last_us: i64,
}

impl<'a> Reading<'a> {
    fn new(wanted: &'a Wanted<'a>, indices: &[usize]) -> Self {
        let column = |index: &usize| {
            let tag = &wanted.device.tags[*index];
            Column::new(tag, scan_us(wanted.device, tag), &wanted.grid)
        };
        let columns = indices.iter().map(column).collect();
        Self { wanted, columns, causes: vec![None; wanted.grid.points], schema: None, last_us: i64::MIN }
    }

    fn take(&mut self, past: &Past<'_>, paths: &[&str]) {
        let record = match past {
            Past::Record(record) => record,
            // Nobody knows what was in it.
            Past::Lost(_) => return self.cut(self.last_us),
        };
        match &record.body {
            Body::Batch(batch) => {
                if let Some(gap) = &batch.gap {
                    self.cut(gap.from_us);
                }
                self.last_us = batch.edge_us;
                let places = self.places(&batch.schema, paths);
                for sample in &batch.samples {
                    let place = places.get(sample.tag as usize).copied().flatten();
                    if let Some(place) = place {
                        let value = self.value(place, sample);
                        self.columns[place].take(batch.edge_us, value, &self.wanted.grid, &mut self.causes);
                    }
                }
                self.schema = Some((Arc::clone(&batch.schema), places));
            }
            Body::Thinned(thinned) => {
                self.last_us = thinned.to_us;
                let grid = self.wanted.grid;
                for column in &mut self.columns {
                    column.take(thinned.from_us, Err(Cause::Thinned), &grid, &mut self.causes);
                }
            }
            Body::Event(_) => {}
        }
    }

    fn cut(&mut self, at_us: i64) {
        self.columns.iter_mut().for_each(|column| column.cut(at_us));
    }

    fn places(&mut self, schema: &Arc<Schema>, paths: &[&str]) -> Vec<Option<usize>> {
        match self.schema.take() {
            Some((known, places)) if Arc::ptr_eq(&known, schema) => places,
            _ => {
                let place = |path: &str| paths.iter().position(|wanted| *wanted == path);
                schema.tags.iter().map(|tag| place(&tag.path)).collect()
            }
        }
    }

    /// A sample as a number; of the tag of the state 1 or 0.
    fn value(&self, place: usize, sample: &Sample) -> Result<f32, Cause> {
        if !sample.quality.is_good() {
            return Err(Cause::Quality);
        }
        if let Some(states) = self.wanted.states.filter(|_| place >= self.wanted.tags.len()) {
            let tag = &self.wanted.device.tags[states.tag];
            return Ok(if is_state(tag, &sample.value, &states.is) { 1.0 } else { 0.0 });
        }
        #[allow(clippy::cast_possible_truncation)] // models compute in 32 bits
        let value = sample.value.as_f64().map(|value| value as f32);
        value.filter(|value| value.is_finite()).ok_or(Cause::NotFinite)
    }

    fn finish(mut self) -> Rows {
        let grid = self.wanted.grid;
        for column in &mut self.columns {
            column.finish(&grid, &mut self.causes);
        }
        let tags = self.wanted.tags.len();
        self.mark_states();
        for column in self.columns[..tags].iter().filter(|_| self.wanted.leave_out_stuck) {
            stuck::mark(&column.values, &mut self.causes);
        }
        self.mark_short();
        let mut rows = Rows::default();
        let mut before = None;
        for (point, cause) in self.causes.iter().enumerate() {
            if let Some(cause) = cause {
                *rows.left_out.entry(*cause).or_default() += 1;
                continue;
            }
            if before.is_some_and(|before| before + 1 != point) {
                rows.breaks.push(rows.points.len());
            }
            before = Some(point);
            rows.points.push(point);
            rows.values.extend(self.columns[..tags].iter().map(|column| column.values[point]));
        }
        rows
    }

    /// Leaves out other states, and the time after each beginning.
    fn mark_states(&mut self) {
        let state = self.wanted.states.and(self.columns.last()).map(|column| &column.values);
        let mut since_us: Option<i64> = None;
        for (point, cause) in self.causes.iter_mut().enumerate() {
            let is_other = state.is_some_and(|values| values[point] < 0.5);
            if is_other || matches!(cause, Some(Cause::Gap | Cause::Thinned)) {
                since_us = None;
                if is_other {
                    cause.get_or_insert(Cause::State);
                }
                continue;
            }
            let time_us = self.wanted.grid.time_us(point);
            if time_us - *since_us.get_or_insert(time_us) < self.wanted.settle_us {
                cause.get_or_insert(Cause::Settling);
            }
        }
    }

    fn mark_short(&mut self) {
        let mut begin = 0;
        for point in 0..=self.causes.len() {
            if self.causes.get(point).is_some_and(Option::is_none) {
                continue;
            }
            if (1..self.wanted.run_min).contains(&(point - begin)) {
                self.causes[begin..point].fill(Some(Cause::Short));
            }
            begin = point + 1;
        }
    }
}

/// How often a tag is read, microseconds.
pub(super) fn scan_us(device: &Device, tag: &Tag) -> i64 {
    let scan = device.spec.scans.get(tag.scan);
    scan.and_then(|scan| i64::try_from(scan.interval.as_micros()).ok()).unwrap_or(1_000_000)
}

/// Whether a value is one of the states.
pub(super) fn is_state(tag: &Tag, value: &Value, is: &[String]) -> bool {
    let same = |text: &str| is.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(text.trim()));
    match value {
        Value::Bool(value) => same(if *value { "true" } else { "false" }),
        Value::Text(text) => same(text),
        Value::Int(_) | Value::Uint(_) => {
            let number = match value {
                Value::Int(number) => Some(*number),
                Value::Uint(number) => i64::try_from(*number).ok(),
                _ => None,
            };
            let Some(number) = number else { return false };
            let known = tag.enumeration.as_ref().and_then(|values| values.get(&number));
            same(&number.to_string()) || known.is_some_and(|known| known.text.0.values().any(|it| same(it)))
        }
        _ => false,
    }
}
