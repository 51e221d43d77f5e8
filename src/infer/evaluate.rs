//! `forebay evaluate`: how good a kind of model is on labelled tables.
//!
//! Each table is fitted on its first rows and scored row by row through the path of the live
//! system: the fit is written as ONNX, loaded through the gate, and fed to a [`Detector`]. No score
//! sees a row that comes after it. Beside the result stand two rows that use no sensor at all: on
//! data where the label follows the position in the file, a good figure alone means little.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::detector::{Alarm, Crossing, Detector};
use super::graph::GateError;
use super::lag_pca::{FitError, LagPca, Settings};
use super::spec::{Input, Spec};
use super::table::{self, Table};
use crate::device::Text;

/// Options of `forebay evaluate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Evaluate {
    /// Kind of model.
    #[arg(long, default_value = "lag-pca", value_parser = ["lag-pca"])]
    pub kind: String,
    /// Folder with tables (`*.csv`, also one folder deeper). A column `anomaly` holds the labels.
    #[arg(long)]
    pub data: PathBuf,
    /// Rows at the start of each table that are normal running.
    #[arg(long, default_value_t = 400)]
    pub train_rows: usize,
    /// Rows the model sees at once.
    #[arg(long, default_value_t = 10)]
    pub window: usize,
}

/// Why an evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The result cannot be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
    /// A table cannot be read.
    #[error("{0}")]
    Table(String),
    /// A table cannot be learned from.
    #[error("{table}: {error}")]
    Fit {
        /// Name of the table.
        table: String,
        /// Why.
        error: FitError,
    },
    /// The fitted model does not run.
    #[error("{table}: {error}")]
    Gate {
        /// Name of the table.
        table: String,
        /// Why.
        error: GateError,
    },
}

/// Rows of normal running that the second figure for tables without labels is fitted on.
const LONG_TRAINING: usize = 1800;

/// Evaluates all tables of a folder.
///
/// # Errors
/// [`EvaluateError`].
pub fn run(options: &Evaluate, writer: &mut impl Write) -> Result<(), EvaluateError> {
    let paths = table::find(&options.data).map_err(EvaluateError::Table)?;
    writeln!(
        writer,
        "lag-PCA, window {}, median of 5, causal; fitted on the first {} rows of each table\n",
        options.window, options.train_rows
    )?;
    let mut total = Totals::default();
    for path in paths {
        let table = Table::read(&path).map_err(EvaluateError::Table)?;
        match &table.labels {
            Some(labels) => labelled(options, &table, labels, &mut total, writer)?,
            None => {
                for rows in [options.train_rows, LONG_TRAINING] {
                    drift(options, &table, rows, writer)?;
                }
            }
        }
    }
    total.write(writer)?;
    Ok(())
}

/// Hits and misses.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    hits: u32,
    false_alarms: u32,
    missed: u32,
    quiet: u32,
}

impl Counts {
    fn add(&mut self, alarm: bool, anomaly: bool) {
        *match (alarm, anomaly) {
            (true, true) => &mut self.hits,
            (true, false) => &mut self.false_alarms,
            (false, true) => &mut self.missed,
            (false, false) => &mut self.quiet,
        } += 1;
    }

    /// F1, share of normal rows with an alarm, share of anomalous rows without one.
    fn figures(self) -> [f64; 3] {
        let share = |part: u32, rest: u32| f64::from(part) / f64::from((part + rest).max(1));
        let errors = self.false_alarms + self.missed;
        let f1 = share(2 * self.hits, errors);
        [f1, 100.0 * share(self.false_alarms, self.quiet), 100.0 * share(self.missed, self.hits)]
    }
}

/// Sums over all labelled tables.
#[derive(Default)]
struct Totals {
    model: Counts,
    always: Counts,
    by_position: Counts,
    /// Rows from the onset of each anomaly to the first alarm in it.
    delays: Vec<Option<usize>>,
    tables: usize,
}

impl Totals {
    fn write(&mut self, writer: &mut impl Write) -> io::Result<()> {
        if self.tables == 0 {
            return Ok(());
        }
        let tables = format!("{} labelled tables", self.tables);
        writeln!(writer, "\n{tables:<44}{:>5}{:>16}{:>11}", "F1", "false alarm %", "missed %")?;
        for (name, counts) in [
            ("lag-PCA", self.model),
            ("always alarm (no sensors)", self.always),
            ("alarm at 50-85 % of the table (no sensors)", self.by_position),
        ] {
            let [f1, false_alarm, missed] = counts.figures();
            writeln!(writer, "{name:<44}{f1:>5.3}{false_alarm:>16.1}{missed:>11.1}")?;
        }
        self.delays.sort_by_key(|delay| delay.unwrap_or(usize::MAX));
        let found = self.delays.iter().flatten().count();
        let median = self.delays.get(self.delays.len() / 2).copied().flatten();
        let median = median.map_or_else(|| "none".to_owned(), |rows| format!("{rows} rows"));
        writeln!(writer, "anomalies with an alarm: {found} of {}, median delay {median}", self.delays.len())
    }
}

fn labelled(
    options: &Evaluate,
    table: &Table,
    labels: &[bool],
    total: &mut Totals,
    writer: &mut impl Write,
) -> Result<(), EvaluateError> {
    let (mut detector, spec) = fit(options, table, options.train_rows)?;
    let mut counts = Counts::default();
    let mut delay: Option<(usize, Option<usize>)> = None;
    for (row, (values, anomaly)) in table.values.chunks_exact(table.columns.len()).zip(labels).enumerate() {
        let score = detector.push(values).map_err(|error| gate(table, error))?;
        let alarm = row >= options.train_rows && score.is_some_and(|score| score > spec.threshold);
        counts.add(alarm, *anomaly);
        total.model.add(alarm, *anomaly);
        total.always.add(true, *anomaly);
        let position = row * 100 / labels.len();
        total.by_position.add((50..85).contains(&position), *anomaly);
        match (&mut delay, anomaly) {
            (None, true) => delay = Some((row, alarm.then_some(0))),
            (Some((onset, first)), true) if alarm => _ = first.get_or_insert(row - *onset),
            (Some((_, first)), false) => {
                total.delays.push(*first);
                delay = None;
            }
            _ => {}
        }
    }
    total.delays.extend(delay.map(|(_, first)| first));
    total.tables += 1;
    let [f1, false_alarm, missed] = counts.figures();
    writeln!(
        writer,
        "{:<24}{:>6} rows   F1 {f1:.3}   false alarm {false_alarm:>5.1} %   missed {missed:>5.1} %",
        table.name,
        table.rows()
    )?;
    Ok(())
}

/// For a table without a fault: how much of it alarms all the same.
fn drift(
    options: &Evaluate,
    table: &Table,
    train_rows: usize,
    writer: &mut impl Write,
) -> Result<(), EvaluateError> {
    let (mut detector, spec) = fit(options, table, train_rows)?;
    let mut alarm = Alarm::new(spec.threshold, spec.clear_below, micros(spec.hold));
    let (mut over, mut rows, mut episodes) = (0_u32, 0_u32, 0_u32);
    for (row, values) in table.values.chunks_exact(table.columns.len()).enumerate() {
        let score = detector.push(values).map_err(|error| gate(table, error))?;
        let Some(score) = score.filter(|_| row >= train_rows) else { continue };
        rows += 1;
        over += u32::from(score > spec.threshold);
        let now_us = i64::from(rows).saturating_mul(micros(spec.sample_interval));
        episodes += u32::from(alarm.push(score, now_us) == Some(Crossing::Raised));
    }
    let share = 100.0 * f64::from(over) / f64::from(rows.max(1));
    let hourly = f64::from(episodes) * 3600.0 / f64::from(rows.max(1));
    writeln!(
        writer,
        "{}: no faults; fitted on {train_rows} rows, the other {rows} alarm {share:.1} % of the time, \
         {hourly:.1} episodes an hour",
        table.name
    )?;
    Ok(())
}

/// Fits the default model on the first rows of a table and loads it through the gate.
fn fit(options: &Evaluate, table: &Table, train_rows: usize) -> Result<(Detector, Spec), EvaluateError> {
    let (tags, window) = (table.columns.len(), options.window);
    let normal = &table.values[..(train_rows * tags).min(table.values.len())];
    let model = LagPca::fit(normal, tags, window, Settings::default())
        .map_err(|error| EvaluateError::Fit { table: table.name.clone(), error })?;
    let spec = Spec {
        name: options.kind.clone(),
        version: "evaluated".to_owned(),
        title: Text::plain(&table.name),
        profile: String::new(),
        sample_interval: Duration::from_secs(1),
        window,
        stride: 1,
        smoothing: 5,
        threshold: 1.0,
        clear_below: 0.85,
        hold: Duration::from_secs(5),
        inputs: table
            .columns
            .iter()
            .map(|column| Input { tag: column.clone(), look_at: Text::plain(column) })
            .collect(),
    };
    let last = normal.len() - window * tags;
    let windows = [&normal[..window * tags], &normal[last..]];
    let content = model.content(spec.clone(), &windows);
    Ok((Detector::load(&content).map_err(|error| gate(table, error))?, spec))
}

fn gate(table: &Table, error: GateError) -> EvaluateError {
    EvaluateError::Gate { table: table.name.clone(), error }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
