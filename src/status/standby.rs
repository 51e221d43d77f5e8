//! Two boxes for one plant: what this one knows of the other, in words.

use serde::Serialize;

use super::facts::Facts;
use super::judge::Letter;
use super::speech::{Speech, plain, sentence};
use super::words::fill;
use crate::standby::{Report, Says};

/// How two boxes share the plant.
#[derive(Serialize)]
pub(super) struct StandbyRow {
    pub(super) letter: Option<Letter>,
    /// The state in words; empty where all is as it should be on the active box.
    pub(super) text: String,
    /// `active` or `standby`.
    part: &'static str,
    /// Id of the active box; `None` on that box itself.
    of: Option<String>,
    /// The standby reads the machines of the active box.
    reads: bool,
    /// `lives`, `gone`, `not-yet`, `unknown`; `None` where none is configured.
    heartbeat: Option<&'static str>,
    /// The same of the lease; on the active box `taken` or `not-taken`.
    lease: Option<&'static str>,
    /// Why the lease is unknown or not taken, English.
    lease_cause: Option<String>,
}

/// How two boxes share the plant; `None` where there is only this one.
pub(super) fn standby(facts: &dyn Facts, speech: &Speech) -> Option<StandbyRow> {
    let words = speech.words;
    Some(match facts.standby()? {
        Report::Active { lease } => {
            let cause = lease.as_ref().and_then(|lease| lease.as_ref().err()).map(|why| plain(why));
            let text = cause.as_ref().map(|why| fill(words.lease_not_taken, &[&sentence(why)]));
            StandbyRow {
                letter: cause.as_ref().map(|_| Letter::M),
                text: text.unwrap_or_default(),
                part: "active",
                of: None,
                reads: false,
                heartbeat: None,
                lease: lease.map(|lease| if lease.is_ok() { "taken" } else { "not-taken" }),
                lease_cause: cause,
            }
        }
        Report::Standby { of, reads, heartbeat, lease, trouble } => {
            let of = plain(&of);
            let cause = trouble.map(|why| plain(&why));
            let does = if reads { words.standby_reads } else { words.standby_waits };
            let lease_said = lease.map(|says| match &cause {
                Some(why) => format!("{} ({})", lease_words(says, speech), sentence(why)),
                None => lease_words(says, speech).to_owned(),
            });
            let heartbeat_said = heartbeat.map(|says| heartbeat_words(says, speech).to_owned());
            let said: Vec<String> = heartbeat_said.into_iter().chain(lease_said).collect();
            let text = fill(does, &[&of, &said.join(", ")]);
            let is_blind = [heartbeat, lease].contains(&Some(Says::Nothing));
            StandbyRow {
                letter: (reads || is_blind).then_some(Letter::M),
                text,
                part: "standby",
                of: Some(of),
                reads,
                heartbeat: heartbeat.map(Says::word),
                lease: lease.map(Says::word),
                lease_cause: cause,
            }
        }
    })
}

fn heartbeat_words(says: Says, speech: &Speech) -> &'static str {
    let words = speech.words;
    match says {
        Says::Lives | Says::IsBack => words.heartbeat_lives,
        Says::Gone => words.heartbeat_gone,
        Says::NotYet | Says::Nothing => words.heartbeat_unknown,
    }
}

fn lease_words(says: Says, speech: &Speech) -> &'static str {
    let words = speech.words;
    match says {
        Says::Lives | Says::IsBack => words.lease_lives,
        Says::Gone => words.lease_gone,
        Says::NotYet => words.lease_not_yet,
        Says::Nothing => words.lease_unknown,
    }
}
