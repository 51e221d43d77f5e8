//! Why replication stopped, sorted by what to do next.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::options::Options;
use super::reports::Reports;

/// Why a session with Kafka ended. All but [`Fault::Stopped`] are followed by a new producer and
/// a new look at the checkpoint, so nothing that is not listed here can do harm.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The broker no longer accepts this producer: a second box, or an outage that was longer
    /// than the transaction timeout. The caller looks which.
    #[error("the broker has given this box's place to a newer producer")]
    Fenced,
    /// Someone must grant or create something: try seldom, say exactly what.
    #[error("{0}")]
    Refused(String),
    /// A file or a secret of this box is missing or of no use: only its own settings can mend that.
    #[error("{0}")]
    Settings(String),
    /// The broker found a batch too large: send smaller ones, at last leave out these records.
    #[error("Kafka found records too large")]
    TooLarge {
        /// Offsets in the batches that were refused, with the size of their values; none when it
        /// was no record but a checkpoint.
        offsets: Vec<(u64, usize)>,
    },
    /// No fault: larger batches are to be tried, which needs a new producer.
    #[error("larger batches are to be tried")]
    Grown,
    /// Anything else: try again by itself.
    #[error("{0}")]
    Lost(String),
    /// We were asked to end.
    #[error("asked to end")]
    Stopped,
}

/// Sorts an error of librdkafka. `doing` continues "while …"; `topic` is the one concerned.
pub(super) fn sort(error: &KafkaError, options: &Options, lane: &str, topic: &str, doing: &str) -> Fault {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    by_code(code, options, lane, topic)
        .unwrap_or_else(|| Fault::Lost(format!("{} while {doing}", detail(error))))
}

/// Sorts by code alone; `None` = nothing special.
pub(super) fn by_code(code: Code, options: &Options, lane: &str, topic: &str) -> Option<Fault> {
    let who = options.principal();
    Some(match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Fault::Fenced,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Fault::TooLarge { offsets: Vec::new() },
        Code::TransactionalIdAuthorizationFailed => Fault::Refused(format!(
            "{who} may not use transactions: grant Write and Describe on TransactionalId {}",
            options.transactional_id(lane)
        )),
        Code::ClusterAuthorizationFailed => Fault::Refused(format!(
            "{who} may not send idempotently: grant IdempotentWrite on Cluster (brokers before 2.8 need it)"
        )),
        Code::TopicAuthorizationFailed => {
            Fault::Refused(format!("{who} may not write to topic {topic}: grant Write on Topic {topic}"))
        }
        Code::SaslAuthenticationFailed | Code::Authentication => {
            Fault::Refused(format!("{who} is not let in: check user name, password and mechanism"))
        }
        Code::InvalidTransactionTimeout => Fault::Refused(format!(
            "the broker does not allow a transaction timeout of {} s: lower it in forebay.toml, or raise \
             transaction.max.timeout.ms at the broker",
            options.transaction_timeout.as_secs()
        )),
        Code::InvalidTimestamp => Fault::Refused(format!(
            "topic {topic} does not accept the time of this box: set its clock, or raise \
             message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic"
        )),
        _ => return None,
    })
}

/// Sorts what the failed deliveries and log lines of an open transaction say.
pub(super) fn of_reports(reports: &Reports, options: &Options, lane: &str, topic: &str) -> Option<Fault> {
    let failed = reports.failed();
    let too_large: Vec<_> = failed
        .iter()
        .filter(|failed| matches!(failed.code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge))
        .filter_map(|failed| Some((failed.offset?, failed.bytes)))
        .collect();
    if !too_large.is_empty() {
        return Some(Fault::TooLarge { offsets: too_large });
    }
    if let Some(first) = failed.first() {
        return Some(by_code(first.code, options, lane, &first.topic).unwrap_or_else(|| {
            Fault::Lost(format!("a record for topic {} failed: {}", first.topic, first.code))
        }));
    }
    let text = reports.transaction()?;
    if text.contains("TOPIC_AUTHORIZATION_FAILED") {
        return by_code(Code::TopicAuthorizationFailed, options, lane, topic);
    }
    Some(Fault::Lost(text))
}

/// What the network says, in words for people; falls back to librdkafka's.
pub(super) fn unreachable(reports: &Reports, options: &Options) -> String {
    let brokers = &options.brokers;
    match reports.connection() {
        Some((Code::Resolve, _)) => format!("the name in {brokers} is not known to the network (DNS)"),
        Some((Code::SSL, reason)) => format!("no secure connection to {brokers}: {reason}"),
        Some((Code::Authentication | Code::SaslAuthenticationFailed, reason)) => {
            format!("{} is not let in by {brokers}: {reason}", options.principal())
        }
        Some((Code::BrokerTransportFailure, reason)) => format!("no connection to {brokers}: {reason}"),
        Some((_, reason)) => format!("no answer from {brokers}: {reason}"),
        None => format!("no answer from {brokers}"),
    }
}

fn detail(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        other => other.to_string(),
    }
}
