//! The connection to one device, and its opposite, a simulated device.

use std::time::Duration;

use async_trait::async_trait;

use crate::{RawSample, Value};

/// Why a read failed, by what the poller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// Nobody there: port closed, host unreachable, name unknown. Back off, reconnect.
    #[error("cannot connect to {endpoint}: {cause}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// What the system or the peer said.
        cause: String,
    },
    /// Silence. The connection is poisoned; reconnect.
    #[error("no answer within {} ms", waited.as_millis())]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The answer cannot belong to the request. The connection is poisoned; reconnect.
    #[error("answer does not fit the request: {what}")]
    Mismatch {
        /// What did not fit.
        what: String,
    },
    /// The peer closed or reset the connection; reconnect.
    #[error("connection lost: {cause}")]
    Lost {
        /// What the system said.
        cause: String,
    },
    /// The device says no to everything (PUT/GET not permitted, no free connection). Back off.
    #[error("device refuses: {what}")]
    Refused {
        /// In words a plant engineer understands, with the fix.
        what: String,
    },
    /// Wrong user, certificate or fingerprint. Retried at the longest pause only, so that no
    /// account is locked.
    #[error("not trusted: {what}")]
    Security {
        /// In words, with the fix.
        what: String,
    },
}

/// A connection to one device. The poller owns time: implementations never sleep for pacing
/// (other than a configured `request_pause`), retry or log.
#[async_trait]
pub trait Connector: Send {
    /// Connects. Called before the first [`Connector::poll`] and after every error.
    ///
    /// Anything left of an earlier connection is dropped first, so that a late answer can never
    /// become another tag's value. Returns what the device says of itself (order number,
    /// firmware, server name), empty when it says nothing.
    async fn connect(&mut self) -> Result<String, PollError>;

    /// Reads all tags of the scan classes in `due` (indices into `DeviceSpec::scans`) and pushes
    /// one sample per tag, in profile order. A subscribing connector pushes what has arrived
    /// since the last call instead, several samples of a tag in order of their time.
    ///
    /// A refused tag is a sample with quality `Refused`, not an error. On an error nothing in
    /// `samples` may be used.
    ///
    /// Cancel-safe: after a dropped call the connection is poisoned and `connect` comes next.
    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError>;

    /// Reads these tags (indices into `DeviceSpec::tags`) now, for `[[verify]]`.
    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError>;

    /// Requests sent since the start, for the page and the metrics.
    fn requests(&self) -> u64;

    /// Why the device refuses this tag (index into `DeviceSpec::tags`), in the words of the engineer
    /// who can mend it; `None` when it does not, or when nothing more than the quality is known.
    fn refusal(&self, tag: u32) -> Option<String> {
        let _ = tag;
        None
    }

    /// Says goodbye as the protocol asks for. Bounded by the caller.
    async fn close(&mut self);
}

/// A simulated device that listens on loopback. Dropping it frees the port.
#[async_trait]
pub trait Simulator: Send + Sync {
    /// Endpoint for `[[device]]`.
    fn endpoint(&self) -> String;

    /// Sets the raw value that tag number `tag` of the simulated `DeviceSpec` has from now on.
    fn set(&self, tag: u32, value: &Value);

    /// Stops answering and closes all connections (`true`), or comes back on the same port.
    async fn unplug(&self, unplugged: bool);
}
