//! `forebay backtest`: what a model would have said, replayed over the journal through the code that
//! scores live.

use std::collections::BTreeMap;

use serde::Serialize;

use super::column::Grid;
use super::rows::{self, Rows, Wanted};
use super::{CELLS_MAX, LearnError};
use crate::device::Device;
use crate::infer::detector::Crossing;
use crate::infer::features::StateTag;
use crate::infer::folder::Content;
use crate::infer::rerun::{Rerun, Told};
use crate::infer::watcher;
use crate::lane::History;

/// Episodes that are listed at most.
pub const EPISODES_MAX: usize = 100;

/// An alarm that the model would have raised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Episode {
    /// When it would have been raised, microseconds since 1970 UTC.
    pub begin_us: i64,
    /// When it would have ended; `None` = it was raised at the end.
    pub end_us: Option<i64>,
    /// Highest score.
    pub worst: f32,
    /// The tag that contributed most when it was raised.
    pub tag: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backtest {
    /// First point of the grid, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Last one.
    pub to_us: i64,
    /// Points of the grid.
    pub points: u64,
    /// Of these with all inputs, in a state that is watched.
    pub rows: u64,
    /// The others by cause, and those at which the window was filling.
    pub left_out: BTreeMap<String, u64>,
    /// Scores.
    pub scored: u64,
    /// Points at which the window was full: the machine was watched.
    pub watched: u64,
    /// The same as a time, seconds.
    pub watched_s: f64,
    /// Watched points with a score over the limit.
    pub over: u64,
    /// Highest score.
    pub worst: f32,
    /// Raised alarms; the first [`EPISODES_MAX`] are in `episodes`.
    pub raised: u64,
    /// Watched time with a raised alarm, seconds.
    pub raised_s: f64,
    /// Oldest first.
    pub episodes: Vec<Episode>,
    /// More was asked for than is replayed at once: it ends at `to_us`.
    pub cut: bool,
}

impl Backtest {
    /// Raised alarms in an hour of watching.
    #[allow(clippy::cast_precision_loss)] // for people
    pub fn per_hour(&self) -> f64 {
        if self.watched_s > 0.0 { self.raised as f64 * 3600.0 / self.watched_s } else { 0.0 }
    }

    /// Share of the points at which the machine was watched, 0 to 1.
    #[allow(clippy::cast_precision_loss)] // for people
    pub fn share(&self) -> f64 {
        self.watched as f64 / self.points.max(1) as f64
    }

    /// Share of the watched points with a score over the limit, 0 to 1.
    #[allow(clippy::cast_precision_loss)] // for people
    pub fn over_share(&self) -> f64 {
        self.over as f64 / self.watched.max(1) as f64
    }
}

/// Rows of the journal as a model would have been given them, and where they stand.
pub struct Given {
    /// Rows that the model would have taken.
    pub(super) rows: Rows,
    /// All points, those without a row as well.
    pub(super) grid: Grid,
    /// More was asked for than fits the memory.
    pub(super) cut: bool,
}

/// Reads the rows that a model would have been given live: its inputs on its grid, in the states that it
/// watches, with its rules for missing values.
///
/// # Errors
/// [`LearnError`]: the model does not fit the device, or the journal cannot be read.
pub fn given(
    history: &History,
    device: &Device,
    content: &Content,
    times: (i64, i64),
) -> Result<Given, LearnError> {
    given_at_most(history, device, content, times, CELLS_MAX)
}

/// The same with at most so many values of tags at once.
fn given_at_most(
    history: &History,
    device: &Device,
    content: &Content,
    (from_us, to_us): (i64, i64),
    cells_max: usize,
) -> Result<Given, LearnError> {
    let spec = &content.spec;
    let misfit = |why: crate::device::Text| LearnError::Replay(why.get("en").to_owned());
    if let Some(why) = watcher::misfit(content, device) {
        return Err(misfit(why));
    }
    let tags: Vec<usize> = spec.inputs.iter().filter_map(|input| device.tag_index(&input.tag)).collect();
    let state = spec.prepare.state.as_ref();
    let states = state.map(|state| StateTag::find(state, &spec.name, device)).transpose().map_err(misfit)?;
    let interval_us = i64::try_from(spec.sample_interval.as_micros()).unwrap_or(i64::MAX);
    let asked = usize::try_from(to_us.saturating_sub(from_us) / interval_us.max(1)).unwrap_or(0);
    let points = asked.min(cells_max / tags.len().max(1));
    let grid = Grid { from_us, interval_us, points };
    let wanted = Wanted {
        device,
        tags: &tags,
        states: states.as_ref(),
        settle: state.map(|state| state.settle).unwrap_or_default(),
        fills: &spec.prepare.missing,
        grid,
        run_min: 1,
        leave_out_stuck: false,
    };
    Ok(Given { rows: rows::read(history, &wanted)?, grid, cut: points < asked })
}

/// Replays the journal through a model.
///
/// # Errors
/// [`LearnError`]: the model does not fit the device or does not run, or the journal cannot be read.
pub fn run(
    history: &History,
    device: &Device,
    content: &Content,
    from_us: i64,
    to_us: i64,
) -> Result<Backtest, LearnError> {
    let given = given(history, device, content, (from_us, to_us))?;
    let test = replay(content, &given.rows, &given.grid, |_, _| ())?;
    Ok(Backtest { cut: given.cut, ..test })
}

/// A model that is run over a time in pieces, so that little memory is needed. Window, baseline and alarm go on
/// from one to the next, as live.
pub(super) struct InPieces<'a> {
    history: &'a History,
    device: &'a Device,
    content: &'a Content,
    /// Values of tags that are read at once.
    cells_max: usize,
    going: Going,
    /// Begin of the next piece.
    next_us: i64,
}

impl<'a> InPieces<'a> {
    /// From `from_us` on.
    ///
    /// # Errors
    /// [`LearnError::Replay`]: the model does not run.
    pub(super) fn new(
        history: &'a History,
        device: &'a Device,
        content: &'a Content,
        from_us: i64,
    ) -> Result<Self, LearnError> {
        let going = Going::new(content)?;
        Ok(Self { history, device, content, cells_max: CELLS_MAX, going, next_us: from_us })
    }

    /// Smaller pieces.
    #[cfg(test)]
    pub(super) fn with_cells(self, cells_max: usize) -> Self {
        Self { cells_max, ..self }
    }

    /// The next piece, of at most `most_us`; `None` when the time up to `end_us` is through.
    ///
    /// # Errors
    /// [`LearnError`]: the model does not fit the device or does not run, or the journal cannot be read.
    pub(super) fn next(&mut self, most_us: i64, end_us: i64) -> Result<Option<Backtest>, LearnError> {
        let interval_us = i64::try_from(self.content.spec.sample_interval.as_micros()).unwrap_or(i64::MAX);
        let interval_us = interval_us.max(1);
        if self.next_us.saturating_add(interval_us) > end_us {
            return Ok(None);
        }
        let to_us = self.next_us.saturating_add(most_us.max(interval_us)).min(end_us);
        let times = (self.next_us, to_us);
        let given = given_at_most(self.history, self.device, self.content, times, self.cells_max)?;
        let test = replay_on(&mut self.going, self.content, &given.rows, &given.grid, |_, _| ())?;
        // At least one point further, so that it ends.
        self.next_us = test.to_us.saturating_add(interval_us);
        Ok(Some(Backtest { cut: given.cut, ..test }))
    }
}

/// A model between two pieces.
struct Going {
    rerun: Rerun,
    /// When the last row was.
    last_us: Option<i64>,
}

impl Going {
    fn new(content: &Content) -> Result<Self, LearnError> {
        let rerun = Rerun::load(content).map_err(|error| LearnError::Replay(error.to_string()))?;
        Ok(Self { rerun, last_us: None })
    }
}

/// Scores rows one after another. `each` is told of every one, with its number, and with the tag that
/// contributed most where an alarm was raised.
///
/// # Errors
/// [`LearnError::Replay`]: the model does not run.
fn score(
    Going { rerun, last_us }: &mut Going,
    content: &Content,
    rows: &Rows,
    grid: &Grid,
    mut each: impl FnMut(usize, Told, Option<&str>),
) -> Result<(), LearnError> {
    let failed = |error: crate::infer::graph::GateError| LearnError::Replay(error.to_string());
    let inputs = &content.spec.inputs;
    let mut breaks = rows.breaks.iter().peekable();
    for (at, row) in rows.values.chunks_exact(inputs.len()).enumerate() {
        let time_us = grid.time_us(rows.points[at]);
        // The first row of a piece need not follow the last one of the piece before.
        let apart = at == 0 && last_us.is_some_and(|last| last + grid.interval_us != time_us);
        if breaks.next_if(|next| **next == at).is_some() || apart {
            rerun.interrupt();
        }
        *last_us = Some(time_us);
        let told = rerun.push(row, time_us).map_err(failed)?;
        let raised = told.crossing == Some(Crossing::Raised);
        let tag = raised.then(|| most(rerun.detector().contrib())).flatten();
        each(at, told, tag.map(|most| inputs[most].tag.as_str()));
    }
    Ok(())
}

/// Scores rows one after another, and says what would have been raised. `also` is told of every row, with
/// its number.
///
/// # Errors
/// [`LearnError::Replay`]: the model does not run.
pub(super) fn replay(
    content: &Content,
    rows: &Rows,
    grid: &Grid,
    also: impl FnMut(usize, Told),
) -> Result<Backtest, LearnError> {
    replay_on(&mut Going::new(content)?, content, rows, grid, also)
}

/// The same by a model that has run already. An alarm that was raised then is not counted again.
fn replay_on(
    going: &mut Going,
    content: &Content,
    rows: &Rows,
    grid: &Grid,
    mut also: impl FnMut(usize, Told),
) -> Result<Backtest, LearnError> {
    let interval_s = content.spec.sample_interval.as_secs_f64();
    let words = |(cause, count): (&super::Cause, &u64)| (cause.words().to_owned(), *count);
    let mut test = Backtest {
        from_us: grid.from_us,
        to_us: grid.time_us(grid.points.saturating_sub(1)),
        points: grid.points as u64,
        rows: rows.points.len() as u64,
        left_out: rows.left_out.iter().map(words).collect(),
        scored: 0,
        watched: 0,
        watched_s: 0.0,
        over: 0,
        worst: 0.0,
        raised: 0,
        raised_s: 0.0,
        episodes: Vec::new(),
        cut: false,
    };
    let (mut running, mut no_number, mut filling): (Option<Episode>, u64, u64) = Default::default();
    score(going, content, rows, grid, |at, told, tag| {
        also(at, told);
        let now_us = grid.time_us(rows.points[at]);
        no_number += u64::from(told.no_number);
        filling += u64::from(!told.watched && !told.no_number);
        test.watched += u64::from(told.watched);
        test.over += u64::from(told.watched && told.over);
        test.scored += u64::from(told.score.is_some());
        let score = told.score.unwrap_or(0.0);
        test.worst = test.worst.max(score);
        match told.crossing {
            Some(Crossing::Raised) => {
                test.raised += 1;
                let tag = tag.unwrap_or_default().to_owned();
                running = Some(Episode { begin_us: now_us, end_us: None, worst: score, tag });
            }
            Some(Crossing::Cleared) => {
                let ended = running.take().map(|episode| Episode { end_us: Some(now_us), ..episode });
                keep(&mut test, ended);
            }
            None => {}
        }
        if let Some(episode) = &mut running {
            test.raised_s += if told.watched { interval_s } else { 0.0 };
            episode.worst = episode.worst.max(score);
        }
    })?;
    keep(&mut test, running);
    let more = [("the window was filling", filling), ("the model gave no finite number", no_number)];
    test.left_out
        .extend(more.into_iter().filter(|it| it.1 > 0).map(|(words, count)| (words.to_owned(), count)));
    #[allow(clippy::cast_precision_loss)] // for people
    let watched = test.watched as f64;
    test.watched_s = watched * interval_s;
    Ok(test)
}

fn keep(test: &mut Backtest, episode: Option<Episode>) {
    test.episodes.extend(episode.filter(|_| test.episodes.len() < EPISODES_MAX));
}

/// The largest contribution.
fn most(contrib: &[f32]) -> Option<usize> {
    contrib.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at)
}
