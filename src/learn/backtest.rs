//! `forebay backtest`: what a model would have said, replayed over the journal through the code that
//! scores live.

use std::time::Duration;

use serde::Serialize;

use super::column::Grid;
use super::rows::{self, Wanted};
use super::{CELLS_MAX, LearnError};
use crate::device::Device;
use crate::infer::detector::{Alarm, Crossing, Detector};
use crate::infer::folder::Content;
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
    /// Of these with all inputs.
    pub rows: u64,
    /// Scores.
    pub scored: u64,
    /// Time with scores, seconds.
    pub watched_s: f64,
    /// Highest score.
    pub worst: f32,
    /// Raised alarms; the first [`EPISODES_MAX`] are in `episodes`.
    pub raised: u64,
    /// Time with a raised alarm, seconds.
    pub raised_s: f64,
    /// Oldest first.
    pub episodes: Vec<Episode>,
}

impl Backtest {
    /// Raised alarms in an hour of watching.
    #[allow(clippy::cast_precision_loss)] // for people
    pub fn per_hour(&self) -> f64 {
        if self.watched_s > 0.0 { self.raised as f64 * 3600.0 / self.watched_s } else { 0.0 }
    }

    /// Share of the points that were scored, 0 to 1.
    #[allow(clippy::cast_precision_loss)] // for people
    pub fn share(&self) -> f64 {
        self.scored as f64 / self.points.max(1) as f64
    }
}

/// Replays the journal through a model.
///
/// # Errors
/// [`LearnError`]: a tag is missing, the journal cannot be read, or the model does not run.
pub fn run(
    history: &History,
    device: &Device,
    content: &Content,
    from_us: i64,
    to_us: i64,
) -> Result<Backtest, LearnError> {
    let spec = &content.spec;
    let interval_us = micros(spec.sample_interval);
    let missing = |tag: &str| LearnError::Model(format!("{} has no tag {tag}", device.name));
    let tags: Vec<usize> = spec
        .inputs
        .iter()
        .map(|input| device.tag_index(&input.tag).ok_or_else(|| missing(&input.tag)))
        .collect::<Result<_, _>>()?;
    let points = usize::try_from(to_us.saturating_sub(from_us) / interval_us.max(1)).unwrap_or(0);
    let points = points.min(CELLS_MAX / tags.len().max(1));
    let grid = Grid { from_us, interval_us, points };
    let wanted =
        Wanted { device, tags: &tags, states: None, settle_us: 0, grid, run_min: 1, leave_out_stuck: false };
    let rows = rows::read(history, &wanted)?;
    let mut detector = Detector::load(content).map_err(|error| LearnError::Model(error.to_string()))?;
    replay(&mut detector, content, &rows, &grid)
}

/// Scores rows one after another, and says what would have been raised.
pub(crate) fn replay(
    detector: &mut Detector,
    content: &Content,
    rows: &rows::Rows,
    grid: &Grid,
) -> Result<Backtest, LearnError> {
    let spec = &content.spec;
    let mut alarm = Alarm::new(spec.threshold, spec.clear_below, micros(spec.hold));
    let interval_s = spec.sample_interval.as_secs_f64();
    let mut test = Backtest {
        from_us: grid.from_us,
        to_us: grid.time_us(grid.points.saturating_sub(1)),
        points: grid.points as u64,
        rows: rows.points.len() as u64,
        scored: 0,
        watched_s: 0.0,
        worst: 0.0,
        raised: 0,
        raised_s: 0.0,
        episodes: Vec::new(),
    };
    let mut running: Option<Episode> = None;
    let mut breaks = rows.breaks.iter().peekable();
    for (at, row) in rows.values.chunks_exact(spec.inputs.len()).enumerate() {
        if breaks.next_if(|next| **next == at).is_some() {
            detector.reset();
            alarm.interrupt();
        }
        let score = detector.push(row).map_err(|error| LearnError::Model(error.to_string()))?;
        let Some(score) = score else { continue };
        let now_us = grid.time_us(rows.points[at]);
        test.scored += 1;
        test.watched_s += interval_s;
        test.worst = test.worst.max(score);
        match alarm.push(score, now_us) {
            Some(Crossing::Raised) => {
                test.raised += 1;
                let tag = most(detector.contrib()).map(|most| spec.inputs[most].tag.clone());
                let tag = tag.unwrap_or_default();
                running = Some(Episode { begin_us: now_us, end_us: None, worst: score, tag });
            }
            Some(Crossing::Cleared) => {
                let ended = running.take().map(|episode| Episode { end_us: Some(now_us), ..episode });
                keep(&mut test, ended);
            }
            None => {}
        }
        if let Some(episode) = &mut running {
            test.raised_s += interval_s;
            episode.worst = episode.worst.max(score);
        }
    }
    keep(&mut test, running);
    Ok(test)
}

fn keep(test: &mut Backtest, episode: Option<Episode>) {
    test.episodes.extend(episode.filter(|_| test.episodes.len() < EPISODES_MAX));
}

/// The largest contribution.
fn most(contrib: &[f32]) -> Option<usize> {
    contrib.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
