//! Records that cannot go where they belong, and what goes in their place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Record;
use super::options::Options;
use super::transport::Reason;
use crate::clock::rfc3339;

/// A dead-letter topic that was missing is looked for again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// What Kafka has refused, by offset; at most what a transaction holds.
#[derive(Debug, Default)]
pub(super) struct Refused {
    offsets: BTreeMap<u64, Why>,
    /// Why nothing goes to the dead-letter topic, and since when.
    no_dead_letters: Option<(Instant, String)>,
}

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// Too large, even alone.
    TooLarge,
    /// By a rule of its topic: goes to the dead-letter topic.
    Rejected(Reason),
    /// And the dead-letter topic would not have it either.
    Hopeless(Reason),
}

impl Refused {
    /// Remembers it; true when it was not known.
    pub fn add(&mut self, offset: u64, why: Why) -> bool {
        self.offsets.insert(offset, why.clone()) != Some(why)
    }

    /// It is too large for its topic, even alone.
    pub fn add_too_large(&mut self, offset: u64) {
        self.offsets.entry(offset).or_insert(Why::TooLarge);
    }

    #[cfg(test)]
    pub fn contains(&self, offset: u64) -> bool {
        self.offsets.contains_key(&offset)
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The dead-letter topic does not take this one.
    pub fn give_up(&mut self, offset: u64, text: &str) {
        let reason = match self.offsets.get(&offset) {
            Some(Why::Rejected(reason) | Why::Hopeless(reason)) => reason.clone(),
            _ => Reason { code: "rejected", text: "Kafka refuses it".to_owned() },
        };
        let text = format!("{}; it is not in the dead-letter topic either: {text}", reason.text);
        self.offsets.insert(offset, Why::Hopeless(Reason { text, ..reason }));
    }

    /// There is no use in the dead-letter topic for a while.
    pub fn without_dead_letters(&mut self, now: Instant, cause: String) {
        self.no_dead_letters = Some((now, cause));
    }

    /// Looks for the dead-letter topic again when it is time.
    pub fn look_again(&mut self, now: Instant) {
        let is_over = |(since, _): &(Instant, String)| now.saturating_duration_since(*since) > LOOK_AGAIN;
        self.no_dead_letters.take_if(|missing| is_over(missing));
    }

    /// Everything that is committed is forgotten.
    pub fn forget(&mut self, is_committed: impl Fn(u64) -> bool) {
        self.offsets.retain(|offset, _| !is_committed(*offset));
    }

    /// What becomes of a record that cannot go as it is; `None` = it can.
    pub fn fate(&self, record: &Record<'_>, options: &Options) -> Option<LeftOut> {
        let why = match self.offsets.get(&record.offset) {
            Some(why @ Why::Hopeless(_)) => why.clone(),
            _ if record.value.len() > options.record_bytes_max => Why::TooLarge,
            Some(why) => why.clone(),
            None => Why::Rejected(Reason { code: "not-expressible", text: record.fault?.to_owned() }),
        };
        let why = match (why, &self.no_dead_letters) {
            (Why::Rejected(Reason { code, text }), Some((_, missing))) => {
                let text = format!("{text}; it is not in the dead-letter topic either: {missing}");
                Why::Hopeless(Reason { code, text })
            }
            (why, _) => why,
        };
        Some(LeftOut::new(record, why, options))
    }
}

/// A record that does not go where it belongs, to be told of when its transaction is committed.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub device: String,
    pub text: String,
    pub data: serde_json::Value,
    pub instead: Instead,
}

/// What goes to Kafka for a record that does not.
#[derive(Debug)]
pub(super) enum Instead {
    /// This under its offset.
    Notice(String),
    /// The record itself, to the dead-letter topic.
    DeadLetter(Reason),
    /// Nothing: the event alone tells of it.
    Nothing,
}

impl LeftOut {
    fn new(record: &Record<'_>, why: Why, options: &Options) -> Self {
        let (offset, bytes) = (record.offset, record.value.len());
        let device = record.key.to_owned();
        match why {
            Why::TooLarge => {
                let limit_bytes = options.record_bytes_max;
                let cause = if bytes > limit_bytes { "record-too-large" } else { "topic-refuses-size" };
                let data =
                    json!({"cause": cause, "bytes": bytes, "limit_bytes": limit_bytes, "offset": offset});
                let edge_time = rfc3339(record.edge_us);
                let notice = json!({"device": record.key, "edge_time": edge_time, "dropped": data});
                let text =
                    format!("record {offset} of {bytes} bytes is too large for Kafka and was not sent");
                Self { device, text, data, instead: Instead::Notice(notice.to_string()) }
            }
            Why::Rejected(reason) => {
                let topic = options.topic("dead-letter");
                let text = format!("record {offset} went to topic {topic}: {}", reason.text);
                let data = json!({
                    "cause": "dead-letter", "reason": reason.code, "detail": reason.text, "offset": offset,
                    "topic": topic,
                });
                Self { device, text, data, instead: Instead::DeadLetter(reason) }
            }
            Why::Hopeless(reason) => {
                let text = format!("record {offset} is not in Kafka: {}", reason.text);
                let data = json!({
                    "cause": "rejected", "reason": reason.code, "detail": reason.text, "offset": offset,
                    "bytes": bytes,
                });
                Self { device, text, data, instead: Instead::Nothing }
            }
        }
    }
}
