//! Rows of normal running, out of the journal: every value as it was known at each point of a grid,
//! and why points were left out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::column::{Cause, Column, Grid};
use super::fill::{self, Filled, causes_of};
use super::stuck;
use crate::batch::{Sample, Schema};
use crate::device::{Device, Tag};
use crate::infer::features::{Filter, Missing, StateTag, Verdict};
use crate::journal::FilesError;
use crate::lane::{Body, History, Past, Wanted as Wish};

/// What is wanted.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// The device as it is configured now.
    pub device: &'a Device,
    /// Indices of its tags.
    pub tags: &'a [usize],
    /// Only in these states; `None` = always.
    pub states: Option<&'a StateTag>,
    /// After it has come into the state, or back after a gap, a machine settles so long.
    pub settle: Duration,
    /// Rules for missing values of the tags, in their order; those without one have none.
    pub fills: &'a [Option<Missing>],
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
    let indices: Vec<usize> = wanted.tags.iter().copied().chain(wanted.states.map(StateTag::index)).collect();
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
    /// Why a point is left out, of all columns without a rule for missing values.
    causes: Vec<Option<Cause>>,
    /// Columns with such a rule.
    filled: Vec<Filled>,
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
        let rules = wanted.fills.iter().take(wanted.tags.len()).enumerate();
        let filled =
            |(place, rule): (usize, &Option<Missing>)| Some(Filled::new(place, (*rule)?, wanted.grid.points));
        let (filled, causes) = (rules.filter_map(filled).collect(), vec![None; wanted.grid.points]);
        Self { wanted, columns, causes, filled, schema: None, last_us: i64::MIN }
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
                        let causes = causes_of(&mut self.filled, &mut self.causes, place);
                        self.columns[place].take(batch.edge_us, value, &self.wanted.grid, causes);
                    }
                }
                self.schema = Some((Arc::clone(&batch.schema), places));
            }
            Body::Thinned(thinned) => {
                self.last_us = thinned.to_us;
                let grid = self.wanted.grid;
                for (place, column) in self.columns.iter_mut().enumerate() {
                    let causes = causes_of(&mut self.filled, &mut self.causes, place);
                    column.take(thinned.from_us, Err(Cause::Thinned), &grid, causes);
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
            return Ok(if states.is_inside(&sample.value) { 1.0 } else { 0.0 });
        }
        #[allow(clippy::cast_possible_truncation)] // models compute in 32 bits
        let value = sample.value.as_f64().map(|value| value as f32);
        value.filter(|value| value.is_finite()).ok_or(Cause::NotFinite)
    }

    fn finish(mut self) -> Rows {
        let grid = self.wanted.grid;
        for (place, column) in self.columns.iter_mut().enumerate() {
            column.finish(&grid, causes_of(&mut self.filled, &mut self.causes, place));
        }
        let tags = self.wanted.tags.len();
        self.mark_states();
        fill::fill(&mut self.filled, &mut self.columns, &mut self.causes, tags);
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

    /// Leaves out other states, and the time after each beginning, with the filter of the live system. In
    /// another state nothing is asked of the inputs, so that is the cause, whatever they were.
    fn mark_states(&mut self) {
        let state = self.wanted.states.and(self.columns.last()).map(|column| &column.values);
        let mut filter = Filter::new(self.wanted.settle);
        for (point, cause) in self.causes.iter_mut().enumerate() {
            let time_us = self.wanted.grid.time_us(point);
            let state = state.map_or(1.0, |values| values[point]);
            if state < 0.5 {
                filter.push(false, time_us);
                *cause = Some(Cause::State);
            } else if state.is_nan() || matches!(cause, Some(Cause::Gap | Cause::Thinned)) {
                filter.interrupt();
            } else if filter.push(true, time_us) == Verdict::Settling {
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
