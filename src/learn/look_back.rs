//! Before a version in shadow takes over by itself it is run over the last days in the journal: what it would
//! have raised there counts as what it raises in shadow. In a thread of low priority, at most a day
//! at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::backtest::InPieces;
use super::{LearnError, Learner};
use crate::clock;
use crate::device::Text;
use crate::infer::folder::{Content, Folder};
use crate::infer::models::Candidate;
use crate::infer::words;
use crate::lane::History;

/// So many days are looked back, at most.
const DAYS: i64 = 7;
const DAY_US: i64 = 86_400_000_000;
/// Lowest priority of the system.
const NICE: i32 = 19;

/// What the days brought, of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Brought {
    raised: u64,
    watched: Duration,
}

impl Brought {
    /// More than one alarm a day; a begun day counts as a whole one.
    fn is_too_much(self) -> bool {
        let days = (self.watched.as_secs_f64() / 86_400.0).ceil().max(1.0);
        #[allow(clippy::cast_precision_loss)] // a few alarms
        let raised = self.raised as f64;
        raised > days
    }
}

impl Learner {
    /// Looks back for every version that waits for it, and tells the models. Ends early with `stop`.
    pub fn look_back(&self, stop: &CancellationToken) {
        // Only a wish.
        let _refused = rustix::process::nice(NICE);
        for (candidate, devices) in self.models.wants_look_back() {
            // A panic must not come again every minute: it is an answer like any other fault of a model.
            let run = catch_unwind(AssertUnwindSafe(|| self.look_back_for(&candidate, &devices, stop)));
            if stop.is_cancelled() {
                return;
            }
            let objection = match run {
                Ok(Ok(objection)) => objection,
                Ok(Err(error)) if error.is_passing() => {
                    tracing::warn!(
                        "{} {} is run over the past later: {error}",
                        candidate.model,
                        candidate.version
                    );
                    self.models.look_back_later(&candidate, devices);
                    continue;
                }
                Ok(Err(error)) => Some(words::cannot_look_back(&error.to_string())),
                Err(_panic) => Some(words::cannot_look_back("panic")),
            };
            self.models.looked_back(&candidate, devices, objection);
        }
    }

    fn look_back_for(
        &self,
        candidate: &Candidate,
        devices: &[String],
        stop: &CancellationToken,
    ) -> Result<Option<Text>, LearnError> {
        let gone = || LearnError::Replay(format!("{} {} has gone", candidate.model, candidate.version));
        let place = self.models.store().path(&candidate.model, &candidate.version).ok_or_else(gone)?;
        let content = Folder::read(&place).content.map_err(|_| gone())?;
        let history = History::open(&self.journal)?;
        for device in devices {
            let brought = self.days(&history, device, &content, stop)?;
            if brought.is_too_much() {
                return Ok(Some(words::past_alarms(brought.raised, device, brought.watched)));
            }
        }
        Ok(None)
    }

    /// Piece by piece, so that little memory is needed; it begins with the model as it was learned.
    fn days(
        &self,
        history: &History,
        device: &str,
        content: &Content,
        stop: &CancellationToken,
    ) -> Result<Brought, LearnError> {
        let (device, now_us) = (self.device(device)?, clock::now_us());
        let pieces = InPieces::new(history, &device, content, now_us - DAYS * DAY_US)?;
        all_of(pieces, now_us, stop)
    }
}

/// What the pieces up to `end_us` bring together; fewer of them with `stop`.
fn all_of(mut pieces: InPieces<'_>, end_us: i64, stop: &CancellationToken) -> Result<Brought, LearnError> {
    let mut brought = Brought::default();
    while !stop.is_cancelled()
        && let Some(test) = pieces.next(DAY_US, end_us)?
    {
        brought.raised += test.raised;
        brought.watched += Duration::from_secs_f64(test.watched_s);
    }
    Ok(brought)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alarm_a_day_is_allowed() {
        let too_much = |raised: u64, hours: u64| {
            Brought { raised, watched: Duration::from_secs(hours * 3600) }.is_too_much()
        };
        assert!(!too_much(0, 0) && !too_much(1, 2) && too_much(2, 2));
        assert!(!too_much(2, 25) && too_much(3, 48) && !too_much(7, 168) && too_much(8, 168));
    }
}
