//! Learning on the box: what is normal for a machine, from the journal's own history of it.
//!
//! [`Learner::learn`] reads [`rows`] on a grid, leaves out what is not normal running and says how much
//! of it and why, fits the default model ([`crate::infer::fit`]) and puts it into the store as a new
//! version, signed by the box's own key. From there it is a model like every other: gate, trial, shadow.

mod auto;
pub mod backtest;
#[cfg(test)]
mod box_tests;
pub mod choice;
mod column;
pub mod command;
pub mod evaluate;
mod fill;
mod look_back;
mod package;
pub mod rows;
mod states;
mod stuck;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::amount::time;
use crate::clock;
use crate::config::Learn;
use crate::device::Device;
use crate::infer::fit::{self, Learning};
use crate::infer::folder::Folder;
use crate::infer::lag_pca::FitError;
use crate::infer::models::{Done, Models, OrderError, Then};
use crate::infer::registry::Trial;
use crate::infer::signature::{SecretKey, SignatureError};
use crate::journal::FilesError;
use crate::lane::History;
use crate::twin::Twin;

pub use auto::{by_itself, look_back};
use choice::{Choice, ChoiceError};
pub use column::{Cause, Grid};
use rows::{Rows, Wanted};
pub use states::StateOrder;

/// How far back is learned from when nobody says.
pub const PAST: Duration = Duration::from_secs(7 * 86_400);
/// Points of the grid that a learned model sees at once.
pub const WINDOW: usize = 10;
/// With fewer rows a model would take chance for the rule.
pub const ROWS_MIN: usize = 600;
/// With fewer rows many false alarms are to be expected; see docs/predictive-maintenance.md.
pub const ROWS_GOOD: usize = 1800;
/// Values that are held in memory at most; of a longer time the end is taken.
const CELLS_MAX: usize = 4_000_000;
/// A hold of so many points.
const HOLD_POINTS: u32 = 5;

/// What is to be learned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Name of the device.
    pub device: String,
    /// Tags; a `*` at the end stands for anything. Empty = all that are measured.
    #[serde(default)]
    pub tags: Vec<String>,
    /// From this time on, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Before this time; `None` = now.
    #[serde(default)]
    pub to_us: Option<i64>,
    /// Name of the model; `learned-<device>` by default.
    #[serde(default)]
    pub model: Option<String>,
    /// Only in these states.
    #[serde(default)]
    pub state: Option<StateOrder>,
    /// Left out after each beginning, milliseconds.
    #[serde(default)]
    pub settle_ms: u64,
    /// Grid, milliseconds; a second, or the slowest of the tags, by default.
    #[serde(default)]
    pub interval_ms: Option<u64>,
    /// It takes over at once, whatever runs.
    #[serde(default)]
    pub activate: bool,
}

impl Order {
    /// What `[[learn]]` says, from this time on.
    pub fn configured(learn: &Learn, from_us: i64) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            device: learn.device.clone(),
            tags: learn.tags.clone(),
            from_us,
            to_us: None,
            model: learn.model.clone(),
            state: learn.state.clone(),
            settle_ms: ms(learn.settle),
            interval_ms: learn.interval.map(ms),
            activate: false,
        }
    }
}

/// Why nothing was learned. What runs goes on.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The order names something that is not there.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] FilesError),
    /// Too little of it is normal running.
    #[error("{0}")]
    TooLittle(String),
    /// The fit.
    #[error("nothing can be learned from this: {0}")]
    Fit(#[from] FitError),
    /// The model that came out is none. A fault of ours.
    #[error("the learned model cannot be written: {0}")]
    Model(String),
    /// A model cannot be replayed on this device.
    #[error("{0}")]
    Replay(String),
    /// The box's key.
    #[error(transparent)]
    Key(#[from] SignatureError),
    /// The store or the gate says no.
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl LearnError {
    /// The same order may be carried out later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Journal(_)) || matches!(self, Self::Order(error) if error.is_passing())
    }
}

/// What was used, and what was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Paths of the tags, in the order of the graph.
    pub tags: Vec<String>,
    /// Tags that were asked for and are not among them, with the reason.
    pub tags_left_out: Vec<(String, String)>,
    /// First point of the grid, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Last one.
    pub to_us: i64,
    /// Grid, milliseconds.
    pub interval_ms: u64,
    /// Only in these states, in words; `None` = always.
    #[serde(default)]
    pub state: Option<String>,
    /// Rows that were learned from.
    pub rows: u64,
    /// Points of the grid that were left out, by cause.
    pub left_out: BTreeMap<String, u64>,
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Name of the model.
    pub model: String,
    /// Its new version.
    pub version: String,
    /// The device it was learned from, and watches.
    pub device: String,
    /// From what.
    pub used: Used,
    /// What its trial measured.
    pub trial: Option<Trial>,
    /// It runs in shadow; otherwise it is active.
    pub in_shadow: bool,
    /// How long the exchange took, microseconds.
    pub swap_us: Option<u64>,
    /// From the order to the model in the store and running, microseconds.
    pub took_us: u64,
}

/// Learns, one order at a time.
pub struct Learner {
    models: Arc<Models>,
    twin: Arc<Twin>,
    /// The journal's folder of measured values.
    journal: PathBuf,
    model_folders: Vec<PathBuf>,
    ordering: Mutex<()>,
    /// `[[learn]]`; who learns by itself hears of another one.
    configured: watch::Sender<Vec<Learn>>,
}

impl Learner {
    /// Of a box whose journal is in `directory`.
    pub fn new(models: Arc<Models>, twin: Arc<Twin>, directory: &Path, model_folders: &[PathBuf]) -> Self {
        let (journal, model_folders) = (directory.join("telemetry"), model_folders.to_vec());
        let (ordering, configured) = Default::default();
        Self { models, twin, journal, model_folders, ordering, configured }
    }

    /// From now on `[[learn]]` says this.
    pub fn configure(&self, learn: &[Learn]) {
        self.configured.send_if_modified(|now| {
            let is_other = *now != learn;
            *now = learn.to_vec();
            is_other
        });
    }

    /// What `[[learn]]` says.
    pub fn configured(&self) -> Vec<Learn> {
        self.configured.borrow().clone()
    }

    /// What is to be learned of a device when a person presses the button: as `[[learn]]` says, else all
    /// that is measured, from the last [`PAST`].
    pub fn order_for(&self, device: &str) -> Order {
        let from_us = past_us();
        let configured = self.configured();
        match configured.iter().find(|learn| learn.device == device) {
            Some(learn) => Order::configured(learn, from_us),
            None => Order { device: device.to_owned(), from_us, ..Order::default() },
        }
    }

    /// The models it puts what it has learned into.
    pub fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// Learns, and lets the new version run: in shadow beside the one that runs, else at once.
    ///
    /// # Errors
    /// [`LearnError`]; what runs goes on.
    pub fn learn(&self, order: &Order, by: &str) -> Result<Learned, LearnError> {
        let _one = lock(&self.ordering);
        let began = std::time::Instant::now();
        let device = self.device(&order.device)?;
        let history = History::open(&self.journal)?;
        let name = order.model.clone().unwrap_or_else(|| model_name(&device.name));
        let settled = self.in_states(order, &name);
        let mut fitted = fit(&history, &device, &settled.order, clock::now_us())?;
        fitted.used.state = settled.words();
        let looks = self.looks(&device.profile, &name);
        let version = self.free_version(&name);
        let mut package = fitted.package(&name, &version, &device, &looks)?;
        SecretKey::of_box(self.models.store())?.sign(&mut package)?;
        let in_shadow = !order.activate && self.runs(&name);
        let then = if in_shadow { Then::Shadow } else { Then::Activate };
        let done = self.models.install(&package, then, std::slice::from_ref(&device.name), by)?;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Done { trial, swap_us, .. } = done;
        let device = device.name.clone();
        Ok(Learned { model: name, version, device, used: fitted.used, trial, in_shadow, swap_us, took_us })
    }

    /// How many points of the grid could be learned from.
    ///
    /// # Errors
    /// [`LearnError`].
    pub fn rows_there(&self, order: &Order) -> Result<(u64, Duration), LearnError> {
        let device = self.device(&order.device)?;
        let history = History::open(&self.journal)?;
        let name = order.model.clone().unwrap_or_else(|| model_name(&device.name));
        let order = self.in_states(order, &name).order;
        let (_, used) = collect(&history, &device, &order, clock::now_us())?;
        let interval = Duration::from_millis(used.interval_ms);
        Ok((used.rows, interval.saturating_mul(u32::try_from(used.rows).unwrap_or(u32::MAX))))
    }

    /// The device of this name.
    ///
    /// # Errors
    /// It is not there.
    pub fn device(&self, name: &str) -> Result<Arc<Device>, LearnError> {
        if let Some(twin) = self.twin.device(name) {
            return Ok(Arc::clone(&twin.device));
        }
        let devices = self.twin.devices();
        let names: Vec<&str> = devices.iter().map(|twin| twin.device.name.as_str()).collect();
        Err(ChoiceError::no_device(name, &names).into())
    }

    /// What is to be looked at, by tag, of models that people have written for this profile.
    fn looks(&self, profile: &str, but: &str) -> BTreeMap<String, crate::device::Text> {
        let folders = Folder::all(&self.model_folders);
        let specs = folders.into_iter().filter_map(|folder| Some(folder.content.ok()?.spec));
        let specs = specs.filter(|spec| spec.profile == profile && spec.name != but);
        specs.flat_map(|spec| spec.inputs).map(|input| (input.tag, input.look_at)).collect()
    }

    /// Something of this name runs, or could.
    pub fn runs(&self, model: &str) -> bool {
        let folders = Folder::all(&self.model_folders);
        self.models.registry().entry(model).active.is_some()
            || folders.iter().any(|folder| folder.model_name() == model)
    }

    /// The present time, or a bit more: two versions never have the same name.
    fn free_version(&self, model: &str) -> String {
        let stamp: String = time(clock::now_us()).chars().filter(char::is_ascii_alphanumeric).collect();
        let numbered = (2..1000).map(|number| format!("{stamp}-{number}"));
        let mut names = std::iter::once(stamp.clone()).chain(numbered);
        names.find(|name| !self.models.store().has(model, name)).unwrap_or(stamp)
    }
}

/// [`PAST`] ago.
fn past_us() -> i64 {
    clock::now_us() - i64::try_from(PAST.as_micros()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Name of the model that is learned for a device.
pub fn model_name(device: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '_' | '-') => letter,
        _ => '-',
    };
    format!("learned-{device}").chars().take(64).map(plain).collect()
}

/// A model that was fitted, with what it was fitted on.
pub(crate) struct Fitted {
    model: crate::infer::lag_pca::LagPca,
    reference: crate::infer::reference::Reference,
    choice: Choice,
    rows: Rows,
    order: Order,
    used: Used,
}

/// Reads what is wanted of the journal.
fn collect(
    history: &History,
    device: &Device,
    order: &Order,
    now_us: i64,
) -> Result<(ChosenRows, Used), LearnError> {
    let mut choice = Choice::of(device, order)?;
    let to_us = order.to_us.unwrap_or(now_us).min(now_us);
    let mut grid = choice.grid(order.from_us, to_us)?;
    let points_max = CELLS_MAX / choice.tags.len().max(1);
    if grid.points > points_max {
        grid.from_us = grid.time_us(grid.points - points_max);
        grid.points = points_max;
    }
    let settle = Duration::from_millis(order.settle_ms);
    let (tags, states) = (choice.tags.clone(), choice.states.clone());
    let wanted = Wanted {
        device,
        tags: &tags,
        states: states.as_ref(),
        settle,
        fills: &[],
        grid,
        run_min: WINDOW,
        leave_out_stuck: true,
    };
    let mut rows = rows::read(history, &wanted)?;
    choice.leave_out_constant(device, &mut rows);
    let used = Used {
        tags: choice.tags.iter().map(|index| device.tags[*index].path.clone()).collect(),
        tags_left_out: choice.left_out.clone(),
        from_us: grid.from_us,
        to_us: grid.time_us(grid.points.saturating_sub(1)),
        interval_ms: u64::try_from(grid.interval_us / 1000).unwrap_or(0),
        state: order.state.as_ref().map(StateOrder::words),
        rows: rows.points.len() as u64,
        left_out: rows.left_out.iter().map(|(cause, count)| (cause.words().to_owned(), *count)).collect(),
    };
    Ok((ChosenRows { choice, rows }, used))
}

struct ChosenRows {
    choice: Choice,
    rows: Rows,
}

/// Reads rows and fits the default model on them.
pub(crate) fn fit(
    history: &History,
    device: &Device,
    order: &Order,
    now_us: i64,
) -> Result<Fitted, LearnError> {
    let (rows, used) = collect(history, device, order, now_us)?;
    fit_rows(device, order, rows, used)
}

/// Fits the default model on rows.
fn fit_rows(
    device: &Device,
    order: &Order,
    ChosenRows { choice, mut rows }: ChosenRows,
    used: Used,
) -> Result<Fitted, LearnError> {
    if choice.tags.is_empty() || rows.points.len() < ROWS_MIN {
        return Err(LearnError::TooLittle(too_little(&used)));
    }
    choice.add_what_deadbands_hide(device, &mut rows);
    let tags = choice.tags.len();
    let (model, reference) = fit::learn_runs(&rows.values, tags, WINDOW, &rows.breaks, Learning::default())?;
    Ok(Fitted { model, reference, choice, rows, order: order.clone(), used })
}

/// How much there is, how much is needed, and what to do.
fn too_little(used: &Used) -> String {
    if used.tags.is_empty() {
        return "none of the tags moved in that time: choose a time in which the machine ran, or other tags"
            .to_owned();
    }
    let interval = Duration::from_millis(used.interval_ms);
    let long = |rows: u64| span(interval.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)));
    let mut said = format!(
        "only {} of normal running between {} and {}, at least {} are needed ({} rows)",
        long(used.rows),
        time(used.from_us),
        time(used.to_us),
        long(ROWS_MIN as u64),
        ROWS_MIN,
    );
    for (cause, count) in &used.left_out {
        said += &format!("; {} left out: {cause}", long(*count));
    }
    said + ". Choose a longer time (--from), or wait until the machine has run for longer"
}

/// A duration for people: `1 h 20 min`, `35 min`, `40 s`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) if minutes < 10 => format!("{minutes} min {seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
