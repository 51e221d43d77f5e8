//! `forebay evaluate MODEL DATA`: over tables, or over the journal of a box with labelled periods.
//!
//! The journal is read and scored by [`super::backtest`]; here are only the labels and the figures.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::backtest::{self, Backtest};
use super::column::Grid;
use super::command::{backtest_words, find_device, find_model};
use crate::clock;
use crate::config;
use crate::infer::evaluate::figures::{Replay, Totals};
use crate::infer::evaluate::{self, Evaluate, KINDS};
use crate::infer::folder::{Content, Folder};
use crate::journal_command::When;
use crate::lane::History;

/// Periods in a file of labels.
const PERIODS_MAX: usize = 10_000;
/// Largest file of labels, bytes.
const LABELS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// `forebay evaluate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
  forebay evaluate lag-pca pump/                          fitted on the first 400 rows of each table
  forebay evaluate lag-pca bearing/ --interval-s 600
  forebay evaluate models/press-wear press.csv            nothing is fitted
  forebay evaluate press-wear journal --device press-3 --from '7 days ago' --labels faults.csv
  forebay evaluate models/press-wear /mnt/box/journal --config /mnt/box/forebay.toml --device press-3 --from 2026-11-01

A table is CSV with a header; its column `anomaly` (0 or 1) holds the labels. Labels of a journal are periods,
a line each, under the header from,to:
  from,to
  2026-11-20 08:00,2026-11-20 09:30")]
pub struct Command {
    #[command(flatten)]
    tables: Evaluate,
    /// Name of the device, for a journal.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// From this time on, for a journal: 2026-11-20T08:00:00Z, "2026-11-20 08:00" or "8h ago".
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Before this time, for a journal; now by default.
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Periods in which the machine was not as it should be, for a journal: CSV with the header from,to.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Version of a model of the box, for a journal; by default the active one.
    #[arg(long)]
    version: Option<String>,
    /// The box's configuration, for a journal: it says what its devices are.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
}

/// Evaluates tables or a journal.
///
/// # Errors
/// When something is not there or cannot be read, or the model does not run.
pub fn run(command: &Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let data = &command.tables.data;
    let own = data.as_os_str() == "journal" && !data.exists();
    let given = journal_in(data);
    if !own && given.is_none() {
        let only_journal = [
            ("--device", command.device.is_some()),
            ("--from", command.from.is_some()),
            ("--to", command.to.is_some()),
            ("--labels", command.labels.is_some()),
            ("--version", command.version.is_some()),
        ];
        if let Some((name, _)) = only_journal.into_iter().find(|(_, given)| *given) {
            bail!(
                "{name} is for a journal, and {} is none: name its folder, or write journal",
                data.display()
            );
        }
        evaluate::run(&command.tables, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    journal(command, given.as_deref(), out)?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of measured values in a folder of a journal, or of a box's state.
fn journal_in(folder: &Path) -> Option<PathBuf> {
    let places = [folder.join("telemetry"), folder.join("journal").join("telemetry")];
    let is_lane = folder.file_name().is_some_and(|name| name == "telemetry") && folder.is_dir();
    places.into_iter().find(|place| place.is_dir()).or_else(|| is_lane.then(|| folder.to_owned()))
}

fn journal(command: &Command, given: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let name = &command.tables.model;
    ensure!(
        !KINDS.contains(&name.as_str()),
        "{name} is a kind, fitted on tables only: name a model; `forebay learn` makes one from the journal"
    );
    let device = command.device.as_deref().context("say which device of the journal: --device NAME")?;
    let from_us = command.from.context("say from when on: --from TIME, for example --from '7 days ago'")?.0;
    let to_us = command.to.map_or_else(clock::now_us, |to| to.0);
    ensure!(from_us < to_us, "--from must be before --to");
    let loaded = config::load(&command.config);
    let config = crate::journal_command::load(&command.config)?;
    let device = find_device(&loaded, device)?;
    let path = Path::new(name);
    let content = match path.join("model.toml").is_file() && command.version.is_none() {
        true => content(path)?,
        false => find_model(&config, name, command.version.as_deref())?,
    };
    let own = config.journal.directory.join("telemetry");
    let history = History::open(given.unwrap_or(&own))?;
    let labels = command.labels.as_deref().map(periods).transpose()?;
    let test = judged(&history, device, &content, (from_us, to_us))?;
    out.write_all(backtest_words(&content, &device.name, &test.backtest).as_bytes())?;
    match labels {
        Some(periods) => write_figures(&test, &content, &device.name, &periods, out),
        None => Ok(writeln!(
            out,
            "No labels: whether these alarms were right, and what was missed, is not known. --labels FILE names the \
             periods in which the machine was not as it should be."
        )?),
    }
}

fn content(folder: &Path) -> anyhow::Result<Content> {
    Folder::read(folder).content.map_err(|faults| {
        anyhow::anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })
}

/// A backtest with what was told at each point.
struct Judged {
    backtest: Backtest,
    grid: Grid,
    replay: Replay,
}

fn judged(
    history: &History,
    device: &crate::device::Device,
    content: &Content,
    times: (i64, i64),
) -> anyhow::Result<Judged> {
    let given = backtest::given(history, device, content, times)?;
    let (rows, grid) = (&given.rows, given.grid);
    let none = || vec![false; grid.points];
    let mut replay = Replay { from: 0, over: none(), raised: none(), judged: none() };
    // Where nothing is watched a raised prediction stays, as live.
    let (mut next, mut raised) = (0, false);
    let backtest = backtest::replay(content, rows, &grid, |at, told| {
        let point = rows.points[at];
        replay.raised[next..point].fill(raised);
        (next, raised) = (point + 1, told.raised);
        (replay.raised[point], replay.judged[point]) = (told.raised, told.watched);
        replay.over[point] = told.watched && told.over;
    })?;
    replay.raised[next..].fill(raised);
    Ok(Judged { backtest: Backtest { cut: given.cut, ..backtest }, grid, replay })
}

fn write_figures(
    test: &Judged,
    content: &Content,
    device: &str,
    periods: &[(i64, i64)],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (grid, replay) = (&test.grid, &test.replay);
    let mut labels = vec![false; grid.points];
    let (mut outside, mut unwatched) = (0, 0);
    for (from_us, to_us) in periods {
        let point = |time_us: i64| {
            let after = time_us.saturating_sub(grid.from_us);
            usize::try_from((after + grid.interval_us - 1) / grid.interval_us).unwrap_or(0).min(grid.points)
        };
        let (from, to) = (point(*from_us), point(*to_us));
        labels[from..to].fill(true);
        outside += usize::from(from == to);
        unwatched += usize::from(from < to && !replay.judged[from..to].iter().any(|judged| *judged));
    }
    let mut totals = Totals::default();
    let line = totals.add(replay, &labels);
    let interval_s = content.spec.sample_interval.as_secs_f64();
    writeln!(out, "\n{device:<24}{:>6} rows of {interval_s} s   {line}", test.backtest.watched)?;
    totals.write(&content.spec.name, interval_s, out)?;
    if outside > 0 {
        writeln!(out, "labelled periods outside of this time: {outside}")?;
    }
    if unwatched > 0 {
        writeln!(
            out,
            "labelled periods in which nothing was watched: {unwatched}; they count as neither found nor missed"
        )?;
    }
    Ok(())
}

/// Labelled periods in a CSV file with the header `from,to`, in microseconds since 1970 UTC.
fn periods(path: &Path) -> anyhow::Result<Vec<(i64, i64)>> {
    let place = path.display();
    let size = fs::metadata(path).with_context(|| format!("{place}"))?.len();
    ensure!(size <= LABELS_BYTES_MAX, "{place}: {size} bytes, {LABELS_BYTES_MAX} are allowed");
    let text = fs::read_to_string(path).with_context(|| format!("{place}"))?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let cells = |line: &str| -> Option<(String, String)> {
        let mut cells = line.split([',', ';']).map(|cell| cell.trim().trim_matches('"').to_owned());
        Some((cells.next()?, cells.next()?))
    };
    let header = lines.next().and_then(|(_, line)| cells(line)).unwrap_or_default();
    ensure!(
        header.0.eq_ignore_ascii_case("from") && header.1.eq_ignore_ascii_case("to"),
        "{place}:1: the header must be from,to: each line is a period in which the machine was not as it should be"
    );
    let mut periods = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let (from, to) = cells(line).with_context(|| format!("{place}:{number}: two times are needed"))?;
        let time = |text: &str| {
            text.parse::<When>().map_err(|why| anyhow::anyhow!("{place}:{number}: {why}")).map(|when| when.0)
        };
        let (from_us, to_us) = (time(&from)?, time(&to)?);
        ensure!(from_us < to_us, "{place}:{number}: the period ends before it begins");
        ensure!(periods.len() < PERIODS_MAX, "{place}: {PERIODS_MAX} periods are allowed");
        periods.push((from_us, to_us));
    }
    Ok(periods)
}
