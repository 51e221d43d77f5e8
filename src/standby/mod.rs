//! Two boxes for one plant: the standby reads machines only while the active box is gone.
//!
//! Two witnesses speak of the active box. Its *heartbeat*: the standby asks it over UDP whether it lives
//! (`ask`), and it answers (`answer`); both know a secret, so that nobody else can make the standby keep
//! still or step in (`wire`). Its *lease*: it writes a record into Kafka again and again, and the standby
//! reads that (`lease`, `replicate::lease`). `judge` puts both together (ADR 16). Two boxes
//! cannot know whether the other is dead or only out of reach. So both may read for a while, and
//! everything that a standby writes says so: `standby_for` in its records
//! ([`Device::standby_for`](crate::device::Device::standby_for)).

mod answer;
mod ask;
mod judge;
mod lease;
#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod tests;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::Events;

pub use answer::answer;
pub(crate) use lease::{Evidence, Leases, WRITTEN_IN_VALID};

/// Shortest secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// `[standby]` of `forebay.toml`. Each side has a heartbeat, a lease, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standby {
    /// This box reads the machines, and lets the other one know that it lives.
    Active {
        /// Where it answers.
        heartbeat: Option<Heartbeat<SocketAddr>>,
        /// How long its lease in Kafka holds.
        lease: Option<Duration>,
    },
    /// This box steps in when the other is gone.
    Standby(StandbyFor),
}

/// Question and answer on the local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat<A> {
    /// Where the active box answers.
    pub at: A,
    /// Name of the credential.
    pub secret: String,
}

/// For whom a box stands by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyFor {
    /// Id of the active box.
    pub of: String,
    /// `host:port` where it answers.
    pub heartbeat: Option<Heartbeat<String>>,
    /// How long its lease in Kafka holds, until it says so itself.
    pub lease: Option<Duration>,
    /// Silence after which this box reads.
    pub after: Duration,
    /// Devices that are read only then; empty = all.
    pub devices: Vec<String>,
}

impl StandbyFor {
    /// True when this device is read only while the active box is gone.
    pub fn covers(&self, device: &str) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|name| name == device)
    }
}

/// Whether this box is to read the devices of the active box now.
pub type Gate = watch::Receiver<bool>;

/// What one witness says of the active box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// It lives.
    Lives,
    /// It has lived for a while: a standby that reads hands back.
    IsBack,
    /// It has been silent for too long.
    Gone,
    /// It cannot be said yet, but soon.
    NotYet,
    /// It cannot be said: there is no way to ask.
    Nothing,
}

impl Says {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lives | Self::IsBack => "lives",
            Self::Gone => "gone",
            Self::NotYet => "not-yet",
            Self::Nothing => "unknown",
        }
    }
}

/// How the standby arrangement is, for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// This is the active box.
    Active {
        /// Whether Kafka takes its lease, or why not in words; `None` = it writes none, or has not yet.
        lease: Option<Result<(), String>>,
    },
    /// This is the standby.
    Standby {
        /// Id of the active box.
        of: String,
        /// This box reads its machines.
        reads: bool,
        /// What the heartbeat says; `None` where none is configured.
        heartbeat: Option<Says>,
        /// What the lease says; `None` where none is configured.
        lease: Option<Says>,
        /// Why the lease says nothing.
        trouble: Option<String>,
    },
}

/// What the heartbeat has heard.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// When the newest question was sent that was answered; at first the start, so that the active box is
    /// given its time. `None` = nothing can be asked.
    heard: Option<Instant>,
    /// Intervals with an answer since the last one without.
    in_a_row: u32,
}

/// Gives the credential with a name, or says why it cannot be had.
pub type Credentials = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// What both sides need to do their part.
pub struct Surroundings {
    /// Id of this box.
    pub edge: String,
    /// Path of this box, for events.
    pub box_path: String,
    /// The secret of the heartbeat; asked again until it can be had.
    pub secret: Credentials,
    /// Where events go.
    pub events: Events,
    /// Ends the work.
    pub stop: CancellationToken,
}

/// Pause before a secret or a socket is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Surroundings {
    /// The secret, as soon as there is one that is long enough; `None` at a stop.
    async fn secret(&self, name: &str) -> Option<Vec<u8>> {
        let mut told = false;
        loop {
            let why = match (self.secret)(name) {
                Ok(secret) if secret.len() >= SECRET_BYTES_MIN => return Some(secret.into_bytes()),
                Ok(_) => format!("the secret of [standby] is shorter than {SECRET_BYTES_MIN} characters"),
                Err(why) => why,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!("[standby] does not work: {why} (trying again)");
            }
            self.pause(RETRY).await?;
        }
    }

    /// Waits; `None` at a stop.
    async fn pause(&self, pause: Duration) -> Option<()> {
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await
    }
}

/// Stands by until stopped: hears the heartbeat, looks at the lease in `evidence`, opens `gate` when the
/// active box is gone and closes it when it is back.
pub(crate) async fn stand_by(
    standby: StandbyFor,
    evidence: Option<Arc<Mutex<Evidence>>>,
    gate: watch::Sender<bool>,
    report: watch::Sender<Report>,
    surroundings: Surroundings,
) {
    let at = standby.heartbeat.as_ref().map(|heartbeat| heartbeat.at.clone()).unwrap_or_default();
    stand_by_at(move || ask::address(at.clone()), standby, evidence, (gate, report), surroundings).await;
}

/// As [`stand_by`], with the heartbeat of the box at the address that `look_up` finds.
async fn stand_by_at<F>(
    look_up: impl Fn() -> F,
    standby: StandbyFor,
    lease: Option<Arc<Mutex<Evidence>>>,
    (gate, report): (watch::Sender<bool>, watch::Sender<Report>),
    surroundings: Surroundings,
) where
    F: Future<Output = std::io::Result<SocketAddr>> + Send + 'static,
{
    let (said, heard) = watch::channel(Heard::default());
    let heartbeat = standby.heartbeat.as_ref();
    let witnesses = judge::Witnesses { heartbeat: heartbeat.map(|_| heard), lease };
    let ask = async {
        if let Some(heartbeat) = heartbeat {
            ask::ask_at(look_up, &standby, &heartbeat.secret, &said, &surroundings).await;
        }
    };
    let judge = judge::judge(&standby, witnesses, &gate, &report, &surroundings);
    tokio::join!(ask, judge);
}
