//! What librdkafka tells us from its own threads: failed deliveries, log lines, errors.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Headers, Message};
use rdkafka::producer::ProducerContext;

/// The same kind of line is logged again after this long.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Kinds of lines remembered at most; beyond it all are forgotten, so some repeat early.
const LOG_KINDS_MAX: usize = 64;
/// Failed deliveries remembered at most; the first ones name the cause.
const FAILED_MAX: usize = 1000;

/// One record that did not arrive.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FailedDelivery {
    pub topic: String,
    pub code: RDKafkaErrorCode,
    /// From the `offset` header; checkpoints and nonces have none.
    pub offset: Option<u64>,
    /// Size of the value.
    pub bytes: usize,
    /// Time of the Kafka record, milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
}

/// Context of all clients of one lane. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reports {
    lane: Arc<str>,
    inner: Arc<Mutex<Inner>>,
    log: Arc<Mutex<LogLimit>>,
}

#[derive(Default)]
struct Inner {
    failed: Vec<FailedDelivery>,
    /// Why the open transaction cannot be committed.
    transaction: Option<String>,
    /// The last thing that went wrong with a connection.
    connection: Option<(RDKafkaErrorCode, String)>,
    /// Bytes given to the network since the client was made.
    wire_bytes: u64,
}

/// What is read of librdkafka's statistics (STATISTICS.md of librdkafka).
#[derive(serde::Deserialize)]
struct Statistics {
    tx_bytes: u64,
}

impl Reports {
    pub fn new(lane: &str) -> Self {
        Self { lane: lane.into(), inner: Arc::default(), log: Arc::default() }
    }

    /// The same log limit, nothing reported yet: for a new producer.
    pub fn fresh(&self) -> Self {
        Self { inner: Arc::default(), ..self.clone() }
    }

    /// Deliveries that failed, oldest first.
    pub fn failed(&self) -> Vec<FailedDelivery> {
        self.inner().failed.clone()
    }

    /// True once the open transaction has no future.
    pub fn is_broken(&self) -> bool {
        let inner = self.inner();
        inner.transaction.is_some() || !inner.failed.is_empty()
    }

    /// Why the open transaction has no future, in librdkafka's words.
    pub fn transaction(&self) -> Option<String> {
        self.inner().transaction.clone()
    }

    /// Last trouble with a connection.
    pub fn connection(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner().connection.clone()
    }

    /// Bytes given to the network since the client was made, as last counted.
    pub fn wire_bytes(&self) -> u64 {
        self.inner().wire_bytes
    }

    /// Keeps what librdkafka says of `what` in the log, for whoever knows it; seldom.
    pub fn detail(&self, what: &str, detail: &dyn Display) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(repeated) = log.admit(what, Instant::now()) else { return };
        drop(log);
        tracing::info!(lane = &*self.lane, repeated, %detail, "{what}");
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        // librdkafka announces only in its log that a transaction must be aborted; without it the
        // wait for the flush would last until the transaction times out.
        if kind == "TXNERR" {
            self.inner().transaction.get_or_insert_with(|| text.to_owned());
            self.detail("Kafka has given up what was being sent", &text);
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(repeated) = log.admit(kind, Instant::now()) else { return };
        drop(log);
        // What matters of it comes as a state, in words for people.
        tracing::debug!(lane = &*self.lane, kind, repeated, "librdkafka ({level:?}): {text}");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        // Only producers are asked for statistics, and each session has one.
        if let Ok(Statistics { tx_bytes }) = serde_json::from_slice(statistics) {
            self.inner().wire_bytes = tx_bytes;
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That a reader has come to the end is no trouble.
        let code = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::PartitionEOF);
        if let Some(code) = code {
            if code != RDKafkaErrorCode::AllBrokersDown {
                self.detail("a connection to Kafka does not work", &reason);
            }
            // "All brokers are down" follows the error that says why and must not hide it.
            let mut inner = self.inner();
            if code != RDKafkaErrorCode::AllBrokersDown || inner.connection.is_none() {
                inner.connection = Some((code, reason.to_owned()));
            }
        }
    }
}

impl ConsumerContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // Purged because something else failed, or because we are ending.
        if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            return;
        }
        let mut inner = self.inner();
        if inner.failed.len() < FAILED_MAX {
            let offset = message.headers().and_then(|headers| {
                let header = headers.iter().find(|header| header.key == "offset")?;
                std::str::from_utf8(header.value?).ok()?.parse().ok()
            });
            let bytes = message.payload_len();
            let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
            let topic = message.topic().to_owned();
            inner.failed.push(FailedDelivery { topic, code, offset, bytes, timestamp_ms });
        }
    }
}

/// Lets one line of each kind through, then counts until it is time for another.
#[derive(Default)]
struct LogLimit {
    kinds: HashMap<String, (Instant, u64)>,
}

impl LogLimit {
    /// `Some(n)` = log it, n of the same kind were held back since the last one.
    fn admit(&mut self, kind: &str, now: Instant) -> Option<u64> {
        if let Some((last, held_back)) = self.kinds.get_mut(kind) {
            if now.duration_since(*last) < LOG_AGAIN_AFTER {
                *held_back += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(held_back));
        }
        if self.kinds.len() >= LOG_KINDS_MAX {
            self.kinds.clear();
        }
        self.kinds.insert(kind.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fault_is_logged_once_a_minute() {
        let mut log = LogLimit::default();
        let start = Instant::now();
        assert_eq!(log.admit("FAIL", start), Some(0));
        assert_eq!(log.admit("FAIL", start + Duration::from_secs(1)), None);
        assert_eq!(log.admit("TXNERR", start + Duration::from_secs(1)), Some(0));
        assert_eq!(log.admit("FAIL", start + Duration::from_secs(2)), None);
        assert_eq!(log.admit("FAIL", start + Duration::from_secs(61)), Some(2));
    }
}
