//! Two boxes for one plant: the standby reads machines only while the active box is silent.
//!
//! The standby asks the active box over UDP whether it lives ([`ask`]); that one answers ([`answer`]).
//! Both know a secret, so that nobody else can make the standby keep still or step in (`wire`). Two
//! boxes cannot know whether the other is dead or only out of reach. So both may read for a while, and
//! everything that a standby writes says so: `standby_for` in its records
//! ([`Device::standby_for`](crate::device::Device::standby_for)).

mod answer;
mod ask;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::event::Events;

pub use answer::answer;
pub use ask::ask;

/// Shortest secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// `[standby]` of `forebay.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standby {
    /// This box reads the machines; the other one asks here whether it lives.
    Active {
        /// Where it answers.
        answer_on: SocketAddr,
        /// Name of the credential.
        secret: String,
    },
    /// This box steps in when the other is silent.
    Standby(StandbyFor),
}

/// For whom a box stands by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyFor {
    /// Id of the active box.
    pub of: String,
    /// `host:port` where it answers.
    pub ask: String,
    /// Name of the credential.
    pub secret: String,
    /// Silence after which this box reads.
    pub after: Duration,
    /// Devices that are read only then; empty = all.
    pub devices: Vec<String>,
}

impl StandbyFor {
    /// True when this device is read only while the active box is silent.
    pub fn covers(&self, device: &str) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|name| name == device)
    }
}

/// Whether this box is to read the devices of the active box now.
pub type Gate = watch::Receiver<bool>;

/// What both sides need to do their part.
pub struct Surroundings {
    /// Id of this box.
    pub edge: String,
    /// Path of this box, for events.
    pub box_path: String,
    /// Gives the secret, or says why it cannot be had; asked again until it can.
    pub secret: Arc<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// Where events go.
    pub events: Events,
    /// Ends the work.
    pub stop: CancellationToken,
}

/// Pause before a secret or a socket is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Surroundings {
    /// The secret, as soon as there is one that is long enough; `None` at a stop.
    async fn secret(&self) -> Option<Vec<u8>> {
        let mut told = false;
        loop {
            let why = match (self.secret)() {
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
