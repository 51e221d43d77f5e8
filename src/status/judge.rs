//! What a value and a machine are worth: the letters of NAMUR NE 107, the worst one wins.

use std::time::Duration;

use forebay_connector::{OptionValue, Quality};
use serde::Serialize;

use super::speech::Speech;
use super::words::Words;
use crate::device::Device;
use crate::twin::{Cause, Current, DeviceState, Link};

/// Letter of NAMUR NE 107, worst last: F > C > S > M. Good has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(super) enum Letter {
    /// Maintenance required.
    M,
    /// Out of specification.
    S,
    /// Function check.
    C,
    /// Failure.
    F,
}

impl Letter {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::M => "M",
            Self::S => "S",
            Self::C => "C",
            Self::F => "F",
        }
    }

    pub(super) fn meaning(self, words: &Words) -> &'static str {
        match self {
            Self::M => words.letter_m,
            Self::S => words.letter_s,
            Self::C => words.letter_c,
            Self::F => words.letter_f,
        }
    }

    fn of(quality: Quality) -> Option<Self> {
        match quality.ne107()? {
            'C' => Some(Self::C),
            'S' => Some(Self::S),
            _ => Some(Self::F),
        }
    }
}

/// A value is old after this many scans.
const SCANS_OLD: u32 = 3;

/// Values younger than this are never called old: the page itself is that coarse, and fast scans
/// would only flicker.
const OLD_AFTER_MIN: Duration = Duration::from_secs(2);

/// Worth of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// The device says so, or our own check of the range.
    Quality(Quality),
    /// Good once, but not read for three scans.
    Old,
    /// Not yet read, and not yet late.
    Waiting,
}

impl Worth {
    pub(super) fn letter(self) -> Option<Letter> {
        match self {
            Self::Quality(quality) => Letter::of(quality),
            Self::Old => Some(Letter::S),
            Self::Waiting => None,
        }
    }

    pub(super) fn is_good(self) -> bool {
        self == Self::Quality(Quality::Good)
    }
}

/// Worth of the value of published tag number `tag`.
pub(super) fn worth(device: &Device, state: &DeviceState, tag: usize, now_us: i64) -> Worth {
    let Some(current) = state.values.get(tag) else { return Worth::Waiting };
    let since_us = match &state.link {
        Link::Starting | Link::StandingBy => return Worth::Waiting,
        Link::Down { .. } => return Worth::Quality(Quality::NoConnection),
        Link::Up { since_us } => *since_us,
    };
    if state.verified == Some(false) {
        return Worth::Quality(Quality::NotVerified);
    }
    let read = current.edge_us != 0;
    if read && !current.quality.is_good() {
        return Worth::Quality(current.quality);
    }
    let late = now_us.saturating_sub(current.edge_us.max(since_us)) > old_after_us(device, tag);
    match (read, late) {
        // A subscribed value is only sent when it changes; the connector watches the line itself.
        (true, true) if !is_subscribed(device) => Worth::Old,
        (true, _) => Worth::Quality(current.quality),
        (false, true) => Worth::Old,
        (false, false) => Worth::Waiting,
    }
}

fn old_after_us(device: &Device, tag: usize) -> i64 {
    let interval = device
        .tags
        .get(tag)
        .and_then(|tag| device.spec.scans.get(tag.scan))
        .map_or(Duration::ZERO, |scan| scan.interval);
    let after = interval.saturating_mul(SCANS_OLD).max(OLD_AFTER_MIN);
    i64::try_from(after.as_micros()).unwrap_or(i64::MAX)
}

fn is_subscribed(device: &Device) -> bool {
    let asked = matches!(device.spec.options.get("read"), Some(OptionValue::Text(read)) if read == "poll");
    device.protocol.name() == "opcua" && !asked
}

/// How many values of a machine are worth what.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) total: usize,
    pub(super) good: usize,
    unreadable: usize,
    served: usize,
    old: usize,
    outside: usize,
    uncertain: usize,
}

impl Tally {
    pub(super) fn of(device: &Device, state: &DeviceState, now_us: i64) -> Self {
        let mut tally = Self { total: device.tags.len(), ..Self::default() };
        for tag in 0..device.tags.len() {
            match worth(device, state, tag, now_us) {
                Worth::Quality(Quality::Good) => tally.good += 1,
                Worth::Quality(Quality::FunctionCheck) => tally.served += 1,
                Worth::Quality(Quality::OutOfRange) => tally.outside += 1,
                Worth::Quality(Quality::Uncertain) => tally.uncertain += 1,
                Worth::Quality(_) => tally.unreadable += 1,
                Worth::Old => tally.old += 1,
                Worth::Waiting => {}
            }
        }
        tally
    }

    pub(super) fn letter(&self) -> Option<Letter> {
        match self {
            Self { unreadable: 1.., .. } => Some(Letter::F),
            Self { served: 1.., .. } => Some(Letter::C),
            Self { old: 1.., .. } | Self { outside: 1.., .. } | Self { uncertain: 1.., .. } => {
                Some(Letter::S)
            }
            _ => None,
        }
    }

    /// The worst of it in words, empty when nothing is wrong.
    pub(super) fn cause(&self, speech: &Speech) -> String {
        let words = speech.words;
        let total = self.total.to_string();
        let say = |count, one, many| speech.plural(count, one, many, &[&total]);
        match self {
            Self { unreadable: 1.., .. } => say(self.unreadable, words.unreadable_one, words.unreadable_many),
            Self { served: 1.., .. } => words.served.to_owned(),
            Self { old: 1.., .. } => say(self.old, words.old_one, words.old_many),
            Self { outside: 1.., .. } => say(self.outside, words.outside_one, words.outside_many),
            Self { uncertain: 1.., .. } => say(self.uncertain, words.uncertain_one, words.uncertain_many),
            _ => String::new(),
        }
    }
}

/// [`Cause::code`] of a machine that is not read because its file has faults.
pub(super) const FAULTY_FILE: &str = "faulty-file";

/// Why a machine sends nothing, in the few words that stand in brackets.
pub(super) fn hint(cause: &Cause, words: &Words) -> &'static str {
    match cause.code.as_str() {
        "unreachable" => words.hint_unreachable,
        "timeout" => words.hint_timeout,
        "mismatch" => words.hint_mismatch,
        "lost" => words.hint_lost,
        "refused" => words.hint_refused,
        "no-connection-left" => words.hint_no_place,
        "not-trusted" => words.hint_not_trusted,
        "not-verified" => words.hint_not_verified,
        "configuration" => words.hint_configuration,
        FAULTY_FILE => words.hint_file,
        "panic" => words.hint_panic,
        _ => words.hint_other,
    }
}

/// The same as a sentence beside the machine.
pub(super) fn cause_sentence(cause: &Cause, words: &Words) -> String {
    match cause.code.as_str() {
        "unreachable" => words.cause_unreachable,
        "timeout" => words.cause_timeout,
        "mismatch" => words.cause_mismatch,
        "lost" => words.cause_lost,
        "refused" => words.cause_refused,
        "no-connection-left" => words.cause_no_place,
        "not-trusted" => words.cause_not_trusted,
        "not-verified" => words.cause_not_verified,
        "configuration" => words.cause_configuration,
        "panic" => words.cause_panic,
        // What the connector says stands on the machine's page, for the engineer and in English.
        _ => words.cause_other,
    }
    .to_owned()
}

/// Why this value is not good, in words; empty when it is.
pub(super) fn worth_words(worth: Worth, words: &Words) -> &'static str {
    match worth {
        Worth::Old => words.quality_old,
        Worth::Waiting => words.quality_waiting,
        Worth::Quality(quality) => match quality {
            Quality::Good => "",
            Quality::FunctionCheck => words.quality_function_check,
            Quality::OutOfRange => words.quality_out_of_range,
            Quality::Uncertain => words.quality_uncertain,
            Quality::Refused => words.quality_refused,
            Quality::Invalid => words.quality_invalid,
            Quality::Bad => words.quality_bad,
            Quality::NotVerified => words.quality_not_verified,
            Quality::NoConnection => words.quality_no_connection,
        },
    }
}

/// True when the tag was ever read.
pub(super) fn was_read(current: &Current) -> bool {
    current.edge_us != 0
}
