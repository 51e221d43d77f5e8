//! The connection to one device, and its opposite, a simulated device.

use std::sync::Arc;
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

/// One tag, looked at closely.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The value as decoded.
    pub sample: RawSample,
    /// The bytes it was decoded from, in the order of the wire; `None` where the protocol has no
    /// such thing (OPC UA).
    pub bytes: Option<Vec<u8>>,
}

/// An alarm or a message that the device itself has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMessage {
    /// When the device says it happened, microseconds since 1970 UTC.
    pub source_us: Option<i64>,
    /// Which part of the device it is about, as the device names it.
    pub source: String,
    /// What kind of message, as the device names it (`OffNormalAlarmType`).
    pub kind: String,
    /// Its words.
    pub text: String,
    /// 1 (least) to 1000, as in OPC UA Part 5, 6.4.2.
    pub severity: u16,
    /// The alarm is on; `None` for a message that neither comes nor goes.
    pub active: Option<bool>,
    /// Somebody has acknowledged it; `None` where that is not asked for.
    pub acknowledged: Option<bool>,
    /// Equal for all messages about the same alarm, so that its end is found; may be empty.
    pub condition: String,
}

/// Paces requests, so that a device or a gateway gets no more of them than its budget allows.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Returns when the next request may be sent, and counts it.
    async fn turn(&self);
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

    /// Reads one tag (index into `DeviceSpec::tags`) now and shows what came over the wire, for
    /// `check --live` and `explain`.
    async fn look(&mut self, tag: u32) -> Result<Look, PollError> {
        let mut samples = Vec::new();
        self.read(&[tag], &mut samples).await?;
        let sample = samples.pop().ok_or_else(|| PollError::Mismatch { what: "no value".into() })?;
        Ok(Look { sample, bytes: None })
    }

    /// Takes over the alarms and messages that the device has sent since the last call, oldest
    /// first. A connector without any leaves `messages` as it is.
    fn take_messages(&mut self, messages: &mut Vec<DeviceMessage>) {
        let _ = messages;
    }

    /// Reads from the device's own memory what its tags were from `from_us` to `to_us`
    /// (microseconds since 1970 UTC, both included), at most `max` samples, in order of time; each
    /// has its `source_us`. `Ok(false)` when the device keeps no history.
    async fn history(
        &mut self,
        from_us: i64,
        to_us: i64,
        max: usize,
        samples: &mut Vec<RawSample>,
    ) -> Result<bool, PollError> {
        let _ = (from_us, to_us, max, samples);
        Ok(false)
    }

    /// How long ago the device last proved that a value which [`Connector::poll`] has not given is
    /// unchanged. Zero where each poll asks for all values; with a subscription the time since anything
    /// was heard of it.
    fn silence(&self) -> Duration {
        Duration::ZERO
    }

    /// From now on `pace` is asked before every request to the device, those of a handshake, of
    /// `[[verify]]` and repeated ones included. Called before the first [`Connector::connect`], and
    /// only for devices that have a budget.
    fn set_pace(&mut self, pace: Arc<dyn Pace>) {
        let _ = pace;
    }

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
