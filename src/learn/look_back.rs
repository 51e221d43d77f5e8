//! Before a version in shadow takes over by itself it is run over the last days in the journal: what it would
//! have raised there counts as what it raises in shadow. In a thread of low priority, a day at a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{LearnError, Learner, backtest};
use crate::clock;
use crate::device::Text;
use crate::infer::folder::{Content, Folder};
use crate::infer::models::Candidate;
use crate::infer::words;
use crate::lane::History;

/// So many days are looked back, at most.
const DAYS: u32 = 7;
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
            let objection = match self.look_back_for(&candidate, &devices, stop) {
                Ok(objection) => objection,
                Err(error) => Some(words::cannot_look_back(&error.to_string())),
            };
            if stop.is_cancelled() {
                return;
            }
            self.models.looked_back(&candidate, objection);
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

    /// Day by day, so that little memory is needed; each begins with the model as it was learned.
    fn days(
        &self,
        history: &History,
        device: &str,
        content: &Content,
        stop: &CancellationToken,
    ) -> Result<Brought, LearnError> {
        let (device, now_us) = (self.device(device)?, clock::now_us());
        let mut brought = Brought::default();
        for day in (1..=i64::from(DAYS)).rev().take_while(|_| !stop.is_cancelled()) {
            let from_us = now_us - day * DAY_US;
            let test = backtest::run(history, &device, content, from_us, from_us + DAY_US)?;
            brought.raised += test.raised;
            brought.watched += Duration::from_secs_f64(test.watched_s);
        }
        Ok(brought)
    }
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
