//! Why replication stopped, sorted by what to do next.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::options::Options;
use super::plain;
use super::reports::{FailedDelivery, Reports};
use super::transport::Reason;
use crate::clock::{now_us, rfc3339};

/// A record that is younger than this when Kafka refuses its time has the time of our clock.
const FRESH_MS: i64 = 60_000;

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
    /// Password or certificate are not accepted.
    #[error("{0}")]
    NotLetIn(String),
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
    /// A rule of the topic forbids records: leave these out.
    #[error("Kafka refused records")]
    Rejected {
        /// Which.
        records: Vec<Rejected>,
        /// False when they may only have been in one batch with the culprit.
        is_exact: bool,
    },
    /// The dead-letter topic cannot be used, or does not take this record.
    #[error("{cause}")]
    NoDeadLetters {
        /// Which record; `None` = any.
        offset: Option<u64>,
        /// In words.
        cause: String,
    },
    /// No fault: larger batches are to be tried, which needs a new producer.
    #[error("larger batches are to be tried")]
    Grown,
    /// No fault: certificates or passwords have changed, and a new producer uses them.
    #[error("certificates or passwords have changed")]
    Renewed,
    /// Anything else: try again by itself.
    #[error("{0}")]
    Lost(String),
    /// We were asked to end.
    #[error("asked to end")]
    Stopped,
}

impl Fault {
    /// Neither a step on the way nor another producer: something is wrong.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::NotLetIn(_) | Self::Refused(_) | Self::Settings(_))
    }
}

/// A record that a rule of its topic forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub offset: u64,
    pub reason: Reason,
}

/// Sorts an error of librdkafka. `doing` continues "while …"; `topic` is the one concerned.
pub(super) fn sort(error: &KafkaError, options: &Options, lane: &str, topic: &str, doing: &str) -> Fault {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    by_code(code, options, lane, topic)
        .unwrap_or_else(|| Fault::Lost(format!("{}, while {doing}", plain::code(code))))
}

/// Sorts by code alone; `None` = nothing special.
pub(super) fn by_code(code: Code, options: &Options, lane: &str, topic: &str) -> Option<Fault> {
    let who = options.principal();
    Some(match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Fault::Fenced,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Fault::TooLarge { offsets: Vec::new() },
        Code::TransactionalIdAuthorizationFailed => Fault::Refused(format!(
            "{who} may not use transactions: grant Write and Describe on TransactionalId {}, or set mode = \
             \"at-least-once\" under [kafka]",
            options.transactional_id(lane)
        )),
        Code::ClusterAuthorizationFailed => Fault::Refused(format!(
            "{who} may not send idempotently: grant IdempotentWrite on Cluster (brokers before 2.8 need it)"
        )),
        Code::TopicAuthorizationFailed => {
            Fault::Refused(format!("{who} may not write to topic {topic}: grant Write on Topic {topic}"))
        }
        Code::SaslAuthenticationFailed | Code::Authentication => {
            Fault::NotLetIn(format!("{who} is not let in: check user name, password and mechanism"))
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => Fault::Refused(
            "the brokers know no transactions: set mode = \"at-least-once\" under [kafka], or update them"
                .to_owned(),
        ),
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
    let dead_letters = options.topic("dead-letter");
    if let Some(fault) = failed.iter().find_map(|failed| dead_letter_refused(failed, &dead_letters, options))
    {
        return Some(fault);
    }
    let too_large: Vec<_> = failed
        .iter()
        .filter(|failed| matches!(failed.code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge))
        .filter_map(|failed| Some((failed.offset?, failed.bytes)))
        .collect();
    if !too_large.is_empty() {
        return Some(Fault::TooLarge { offsets: too_large });
    }
    if let Some(fault) = rejected(&failed, options, lane) {
        return Some(fault);
    }
    if let Some(first) = failed.iter().find(|failed| failed.code != Code::InvalidDifferentRecord) {
        return Some(by_code(first.code, options, lane, &first.topic).unwrap_or_else(|| {
            Fault::Lost(format!("topic {} has not taken a record: {}", first.topic, plain::code(first.code)))
        }));
    }
    let text = reports.transaction()?;
    if text.contains("TOPIC_AUTHORIZATION_FAILED") {
        return by_code(Code::TopicAuthorizationFailed, options, lane, topic);
    }
    Some(Fault::Lost(plain::transaction(&text)))
}

/// Sorts out a record that the dead-letter topic does not take either.
fn dead_letter_refused(failed: &FailedDelivery, topic: &str, options: &Options) -> Option<Fault> {
    if failed.topic != topic {
        return None;
    }
    let offset = failed.offset;
    match failed.code {
        Code::TopicAuthorizationFailed => {
            let cause = format!("{} may not write to it: grant Write on Topic {topic}", options.principal());
            Some(Fault::NoDeadLetters { offset: None, cause })
        }
        code @ (Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge) => {
            let cause = format!("topic {topic} does not take it: {}", plain::code(code));
            Some(Fault::NoDeadLetters { offset, cause })
        }
        _ => None,
    }
}

/// Sorts out records that a rule of the topic forbids.
fn rejected(failed: &[FailedDelivery], options: &Options, lane: &str) -> Option<Fault> {
    let mut records = Vec::new();
    for failed in failed.iter().filter(|failed| failed.topic == options.topic(lane)) {
        let Some(offset) = failed.offset else { continue };
        let time = rfc3339(failed.timestamp_ms.saturating_mul(1000));
        let topic = &failed.topic;
        let (code, text) = match failed.code {
            // The clock of the box is wrong: that is no fault of this record, and can be mended.
            Code::InvalidTimestamp if failed.timestamp_ms > now_us() / 1000 - FRESH_MS => {
                return by_code(failed.code, options, lane, topic);
            }
            Code::InvalidTimestamp => (
                "invalid-timestamp",
                format!("topic {topic} takes no record of {time} (message.timestamp.before.max.ms)"),
            ),
            Code::InvalidRecord => (
                "invalid-record",
                format!("topic {topic} refuses it by a rule of its own (INVALID_RECORD; its time is {time})"),
            ),
            _ => continue,
        };
        records.push(Rejected { offset, reason: Reason { code, text } });
    }
    // A broker that knows which record is the culprit calls the others of its batch innocent.
    let is_exact = failed.iter().any(|failed| failed.code == Code::InvalidDifferentRecord);
    (!records.is_empty()).then_some(Fault::Rejected { records, is_exact })
}

/// Why there is no answer, sorted by what the network says.
pub(super) fn unreachable(reports: &Reports, options: &Options) -> Fault {
    let cause = no_answer(reports, options);
    match reports.connection() {
        Some((Code::Authentication | Code::SaslAuthenticationFailed, _)) => Fault::NotLetIn(cause),
        Some((_, reason)) if plain::is_our_certificate(&reason) => Fault::NotLetIn(cause),
        _ => Fault::Lost(cause),
    }
}

/// What the network says, in words for people.
pub(super) fn no_answer(reports: &Reports, options: &Options) -> String {
    match reports.connection() {
        Some((code, reason)) => plain::connection(code, &reason, options),
        None => format!("no answer from {}", options.brokers),
    }
}
