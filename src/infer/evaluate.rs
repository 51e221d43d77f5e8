//! `forebay evaluate`: how good a kind of model, or a model, is on tables of measured values.
//!
//! A kind is fitted on the first rows of each table and scored row by row through the path of the
//! live system: the fit is written as ONNX, loaded through the gate, and fed to a [`Rerun`]. No
//! score sees a row that comes after it. Beside the result stand two rows that use no sensor at all:
//! on data where the label follows the position in the file, a good figure alone means little.

pub(crate) mod figures;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::features::{Filter, Prepare, Verdict};
use super::fit::{self, Learning};
use super::folder::{Content, Folder};
use super::graph::GateError;
use super::lag_pca::{FitError, LagPca, Settings};
use super::rerun::Rerun;
use super::spec::{Input, Spec};
use super::table::{self, Table};
use crate::device::Text;
use figures::{Replay, Totals};

/// Kinds of models that are fitted on the first rows of each table; `lag-pca-still` is lag-PCA that
/// follows no drift.
pub const KINDS: [&str; 2] = ["lag-pca", "lag-pca-still"];

/// What is evaluated, and over which tables.
#[derive(Debug, Clone, clap::Args)]
pub struct Evaluate {
    /// Folder of a model, or a kind that is fitted anew on each table: lag-pca, or lag-pca-still, which
    /// follows no drift. For a journal also the name of a model of the box.
    pub model: String,
    /// A table; a folder with tables (`*.csv`, also one folder deeper); or the folder of a journal. The word
    /// journal alone is that of the box.
    pub data: PathBuf,
    /// Rows at the start of each table that are normal running, for a kind.
    #[arg(long, default_value_t = 400)]
    pub train_rows: usize,
    /// Rows the model sees at once, for a kind.
    #[arg(long, default_value_t = 10)]
    pub window: usize,
    /// Seconds from one row of a table to the next.
    #[arg(long, default_value_t = 1.0)]
    pub interval_s: f64,
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
    /// The folder holds no model that can be used.
    #[error("{0}")]
    Model(String),
    /// The interval is no time.
    #[error("--interval-s {0} is not between 0.05 and 86400")]
    Interval(f64),
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

/// Rows of normal running that the second figure for long tables without labels is fitted on.
const LONG_TRAINING: usize = 1800;

/// Evaluates all tables of a folder.
///
/// # Errors
/// [`EvaluateError`].
pub fn run(options: &Evaluate, writer: &mut impl Write) -> Result<(), EvaluateError> {
    if !(0.05..=86_400.0).contains(&options.interval_s) {
        return Err(EvaluateError::Interval(options.interval_s));
    }
    let is_kind = KINDS.contains(&options.model.as_str());
    let content = (!is_kind).then(|| folder(Path::new(&options.model))).transpose()?;
    let name = content.as_ref().map_or(options.model.as_str(), |content| &content.spec.name).to_owned();
    let how = match &content {
        Some(content) => format!("version {}, nothing fitted", content.spec.version),
        None => format!(
            "window {}, fitted on the first {} rows of each table",
            options.window, options.train_rows
        ),
    };
    writeln!(writer, "{name}, causal, {how}\n")?;
    let state = content.as_ref().and_then(|content| content.spec.prepare.state.as_ref());
    let mut totals = Totals::default();
    for path in table::find(&options.data).map_err(EvaluateError::Table)? {
        let table = Table::read(&path, state).map_err(EvaluateError::Table)?;
        match &table.labels {
            Some(labels) => {
                let replay = replay(options, content.as_ref(), &table, options.train_rows)?;
                let line = totals.add(&replay, labels);
                let other = other_states(&replay);
                writeln!(writer, "{:<24}{:>6} rows   {line}{other}", table.name, table.rows())?;
            }
            None => {
                // A figure for longer training, where most of the table is left to judge it by.
                let long = (content.is_none() && table.rows() > 2 * LONG_TRAINING).then_some(LONG_TRAINING);
                for rows in [Some(options.train_rows), long].into_iter().flatten() {
                    let replay = replay(options, content.as_ref(), &table, rows)?;
                    let line = figures::unlabelled(&replay, options.interval_s);
                    writeln!(writer, "{}: no labels; {line}{}", table.name, other_states(&replay))?;
                }
            }
        }
    }
    totals.write(&name, options.interval_s, writer)?;
    Ok(())
}

/// Rows that were not judged, if there are any.
fn other_states(replay: &Replay) -> String {
    match replay.judged.iter().filter(|judged| !**judged).count() {
        0 => String::new(),
        rows => format!("   ({rows} rows in a state that is not watched, or just after it)"),
    }
}

/// Runs a table through the path of the live system.
fn replay(
    options: &Evaluate,
    content: Option<&Content>,
    table: &Table,
    train_rows: usize,
) -> Result<Replay, EvaluateError> {
    let gate = |error| EvaluateError::Gate { table: table.name.clone(), error };
    let (content, table, from) = match content {
        Some(content) => {
            let tags: Vec<&str> = content.spec.inputs.iter().map(|input| input.tag.as_str()).collect();
            (content.clone(), &table.select(&tags).map_err(EvaluateError::Table)?, 0)
        }
        None => (learn(options, table, train_rows)?, table, train_rows.min(table.rows())),
    };
    let spec = &content.spec;
    let mut rerun = Rerun::load(&content).map_err(gate)?;
    let interval_us = micros(spec.sample_interval);
    // A baseline stands where the training left it: it must not see those rows again.
    let first = if rerun.detector().baseline().is_some() { from.saturating_sub(spec.window - 1) } else { 0 };
    let none = || vec![false; table.rows()];
    let mut replay = Replay { from, over: none(), raised: none(), judged: vec![true; table.rows()] };
    let mut filter = Filter::new(spec.prepare.state.as_ref().map(|state| state.settle).unwrap_or_default());
    let mut now_us = 0_i64;
    for (row, values) in table.values.chunks_exact(table.columns.len()).enumerate().skip(first) {
        if row < from {
            rerun.prime(values).map_err(gate)?;
            continue;
        }
        now_us = now_us.saturating_add(interval_us);
        let inside = table.inside.as_ref().is_none_or(|inside| inside[row]);
        if filter.push(inside, now_us) != Verdict::Open && table.inside.is_some() {
            // A raised prediction stays, as live.
            rerun.interrupt();
            replay.judged[row] = false;
            replay.raised[row] = row > 0 && replay.raised[row - 1];
            continue;
        }
        let told = rerun.push(values, now_us).map_err(gate)?;
        (replay.over[row], replay.raised[row]) = (told.over, told.raised);
        // Where states come and go the window fills anew each time, as live.
        replay.judged[row] = table.inside.is_none() || told.watched;
    }
    Ok(replay)
}

/// The model in a folder.
fn folder(path: &Path) -> Result<Content, EvaluateError> {
    if !path.is_dir() {
        let kinds = KINDS.join(" and ");
        let words =
            format!("{} is neither the folder of a model nor a kind: kinds are {kinds}", path.display());
        return Err(EvaluateError::Model(words));
    }
    Folder::read(path).content.map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        EvaluateError::Model(faults.join("\n"))
    })
}

/// Fits a kind of model on the first rows of a table.
fn learn(options: &Evaluate, table: &Table, train_rows: usize) -> Result<Content, EvaluateError> {
    let (tags, window) = (table.columns.len(), options.window);
    let fit_error = |error| EvaluateError::Fit { table: table.name.clone(), error };
    let normal = &table.values[..(train_rows * tags).min(table.values.len())];
    let still = options.model == "lag-pca-still";
    let (model, reference) = if still {
        (LagPca::fit(normal, tags, window, Settings::default()).map_err(fit_error)?, None)
    } else {
        let (model, reference) = fit::learn(normal, tags, window, Learning::default()).map_err(fit_error)?;
        (model, Some(reference))
    };
    let interval = Duration::from_secs_f64(options.interval_s);
    let spec = Spec {
        name: options.model.clone(),
        version: "evaluated".to_owned(),
        title: Text::plain(&table.name),
        profile: String::new(),
        sample_interval: interval,
        window,
        stride: 1,
        smoothing: if still { 5 } else { 1 },
        threshold: 1.0,
        clear_below: 0.85,
        hold: interval * 5,
        inputs: table
            .columns
            .iter()
            .map(|column| Input { tag: column.clone(), look_at: Text::plain(column) })
            .collect(),
        prepare: Prepare::default(),
    };
    let last = normal.len() - window * tags;
    let windows = [&normal[..window * tags], &normal[last..]];
    Ok(model.content_with(spec, &windows, reference.as_ref()))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
