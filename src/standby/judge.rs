//! Whether the standby reads: what the heartbeat and the lease say, put together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::Evidence;
use super::{Heard, Report, Says, StandbyFor, Surroundings};
use crate::clock;
use crate::event::{Event, Kind, What};

/// Answers in a row after which the active box is believed to be back.
const ANSWERS_BACK: u32 = 3;
/// The longest time from one look at the witnesses to the next.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);

/// What is known of the active box, and from where.
pub(super) struct Witnesses {
    /// What the heartbeat has heard; `None` where none is configured.
    pub heartbeat: Option<watch::Receiver<Heard>>,
    /// What the lease shows; `None` where none is configured.
    pub lease: Option<Arc<Mutex<Evidence>>>,
}

impl Witnesses {
    /// What each says now.
    fn say(&self, after: Duration) -> [Option<Says>; 2] {
        let heartbeat = self.heartbeat.as_ref().map(|heard| heard.borrow().says(after));
        let lease = self.lease.as_ref().map(|evidence| locked(evidence).says(std::time::Instant::now()));
        [heartbeat, lease]
    }

    fn trouble(&self) -> Option<String> {
        locked(self.lease.as_ref()?).trouble().map(str::to_owned)
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard {
    /// What the heartbeat says of the active box.
    fn says(self, after: Duration) -> Says {
        let Some(heard) = self.heard else { return Says::Nothing };
        if heard.elapsed() >= after {
            Says::Gone
        } else if self.in_a_row >= ANSWERS_BACK {
            Says::IsBack
        } else {
            Says::Lives
        }
    }
}

/// Whether the standby is to read, by what the witnesses say; `None` = as before.
///
/// It begins when at least one says that the active box is gone and none that it lives, or that it
/// cannot say yet. It ends when one says that the active box is back.
pub(super) fn decide(says: [Option<Says>; 2]) -> Option<bool> {
    let any = |what: Says| says.contains(&Some(what));
    if any(Says::IsBack) {
        return Some(false);
    }
    let is_open = any(Says::Lives) || any(Says::NotYet);
    (any(Says::Gone) && !is_open).then_some(true)
}

/// Opens and closes the gate until stopped.
pub(super) async fn judge(
    standby: &StandbyFor,
    witnesses: Witnesses,
    gate: &watch::Sender<bool>,
    report: &watch::Sender<Report>,
    surroundings: &Surroundings,
) {
    let pause = (standby.after / 10).clamp(Duration::from_millis(20), LOOK_EVERY_MAX);
    loop {
        let says = witnesses.say(standby.after);
        let reads = *gate.borrow();
        let wanted = decide(says).unwrap_or(reads);
        if wanted != reads {
            tell(surroundings, standby, wanted, says);
            gate.send_replace(wanted);
        }
        let [heartbeat, lease] = says;
        let trouble = lease.filter(|lease| *lease == Says::Nothing).and_then(|_| witnesses.trouble());
        let now = Report::Standby { of: standby.of.clone(), reads: wanted, heartbeat, lease, trouble };
        report.send_if_modified(|before| {
            let is_news = *before != now;
            *before = now;
            is_news
        });
        if surroundings.pause(pause).await.is_none() {
            return;
        }
    }
}

fn tell(
    surroundings: &Surroundings,
    standby: &StandbyFor,
    reads: bool,
    [heartbeat, lease]: [Option<Says>; 2],
) {
    let of = &standby.of;
    let (what, text) = if reads {
        let why = match (heartbeat, lease) {
            (Some(Says::Gone), None) => format!("box {of} does not answer"),
            (Some(Says::Gone), Some(Says::Gone)) => {
                format!("box {of} does not answer and its lease in Kafka has run out")
            }
            (Some(Says::Gone), _) => {
                format!("box {of} does not answer, and Kafka cannot be asked for its lease from here")
            }
            (Some(_), _) => {
                format!(
                    "the lease of box {of} in Kafka has run out, and it cannot be asked on the local network"
                )
            }
            (None, _) => format!("the lease of box {of} in Kafka has run out"),
        };
        let text = format!(
            "{why}: this box reads its machines. If {of} only cannot be reached from here, both read; what this \
             box writes is marked"
        );
        (What::StandbyReads, text)
    } else {
        let by = if heartbeat == Some(Says::IsBack) { "answers again" } else { "writes its lease again" };
        (What::StandbyWaits, format!("box {of} {by}: this box stands by"))
    };
    tracing::warn!("{text}");
    let word = |says: Option<Says>| says.map(Says::word);
    surroundings.events.emit(Event {
        kind: Kind::Box,
        edge_time: clock::now_us(),
        device: surroundings.box_path.clone(),
        text,
        data: json!({ "what": what, "of": of, "heartbeat": word(heartbeat), "lease": word(lease) }),
    });
}

/// Where the active box stands with its heartbeat at the beginning: it is given its time.
pub(super) fn nothing_heard() -> Heard {
    Heard { heard: Some(Instant::now()), in_a_row: 0 }
}
