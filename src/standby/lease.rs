//! The active box's lease in Kafka: what it writes, and what the standby may conclude from it.
//!
//! No clock is compared with another box's. The standby asks Kafka again and again where the topic
//! ends, and notes by its own clock when it asked. What stands behind the end was written after that; a
//! topic that was read to its end shows how long nothing has been written (ADR 16).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Says;
use crate::clock::{now_us, rfc3339};
use crate::replicate::lease::Look;

/// A lease is written so many times while it holds: one that is lost must not look like a dead box.
pub(crate) const WRITTEN_IN_VALID: u32 = 3;
/// Leases in a row of one run of the active box after which it is believed to be back.
const LEASES_BACK: u32 = 2;
/// Without an answer for so long Kafka cannot be asked from here; at least, and at least `after`.
const BLIND_AFTER_MIN: Duration = Duration::from_secs(5);
/// One answered question shows so much silence at most: the standby asks every second. What is longer
/// between two of them was an outage, in which the box may not have been able to write either.
const SEEN_MAX: Duration = Duration::from_millis(1250);
/// Longer values are not read.
const VALUE_BYTES_MAX: usize = 4096;
/// Longest time a lease may hold: that of the configuration.
const VALID_MAX: Duration = Duration::from_secs(3600);

/// One record of the topic of leases; its key is the id of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// Id of the box.
    pub edge: String,
    /// Which run of the box wrote it; differs after every start.
    pub boot: String,
    /// Number in that run, from 0.
    pub number: u64,
    /// How long it holds, milliseconds; 0 = the box stops in order.
    pub valid_ms: u64,
    /// When it was written by the clock of the box, RFC 3339: for people, nobody reckons with it.
    pub time: String,
}

/// The leases of this run of the active box.
pub(crate) struct Leases {
    terms: Terms,
    valid_ms: u64,
}

impl Leases {
    /// Leases of the box `edge` that hold for `valid`.
    pub fn new(edge: &str, valid: Duration) -> Self {
        let boot = format!("{:016x}", fastrand::u64(..));
        let terms = Terms { edge: edge.to_owned(), boot, number: 0, valid_ms: 0, time: String::new() };
        Self { terms, valid_ms: u64::try_from(valid.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The value of the next one; the last of a run holds no longer.
    pub fn next(&mut self, is_last: bool) -> Vec<u8> {
        self.terms.valid_ms = if is_last { 0 } else { self.valid_ms };
        self.terms.time = rfc3339(now_us());
        let value = serde_json::to_vec(&self.terms).unwrap_or_default();
        self.terms.number += 1;
        value
    }
}

/// What the standby has seen of the active box's lease.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// Id of the active box.
    of: String,
    /// Silence that is allowed at least.
    after: Duration,
    /// How long the lease holds: as the last one says, until there is one as configured.
    valid: Duration,
    begun: Instant,
    /// The newest questions, the newest first: when Kafka was asked, and the end it gave.
    asked: [Option<(Instant, i64)>; 2],
    /// Everything before this offset has been read.
    next: Option<i64>,
    /// The active box has lived then or later.
    lived: Option<Instant>,
    /// Since then or before, nothing was written that has been read.
    silent: Option<Instant>,
    /// Everything that was written before this time has been read.
    read_to: Option<Instant>,
    boot: String,
    in_a_row: u32,
    /// Why Kafka says nothing; `None` = it was not asked yet, or answers.
    trouble: Option<String>,
}

impl Evidence {
    /// Nothing is known yet of the box `of`, whose lease is expected to hold for `valid`.
    pub fn new(of: &str, after: Duration, valid: Duration, now: Instant) -> Self {
        Self {
            of: of.to_owned(),
            after,
            valid,
            begun: now,
            asked: [None; 2],
            next: None,
            lived: None,
            silent: None,
            read_to: None,
            boot: String::new(),
            in_a_row: 0,
            trouble: None,
        }
    }

    /// Takes in what was seen at the time `now`.
    pub fn take(&mut self, look: &Look<'_>, now: Instant) {
        match *look {
            // What was written meanwhile is passed over: the box may have lived until now.
            Look::Begun => {
                (self.asked, self.next, self.read_to, self.silent) = ([None; 2], None, None, Some(now));
            }
            Look::Asked { at, end } => {
                self.asked = [Some((at, end)), self.asked[0]];
                self.note_read();
            }
            Look::Record { offset, key, value } => self.record(offset, key, value, now),
            Look::ReadTo(next) => {
                self.next = Some(next);
                self.note_read();
            }
            Look::Blind(why) => self.trouble = Some(why.to_owned()),
        }
    }

    fn note_read(&mut self) {
        let Some(next) = self.next else { return };
        let Some((at, _)) = self.asked.iter().flatten().find(|(_, end)| next >= *end) else { return };
        // An outage of Kafka is no silence of the box, which could not write either: after a long one it
        // counts anew, a short one does not count.
        if self.read_to.is_some_and(|to| at.saturating_duration_since(to) >= self.patience()) {
            self.silent = self.silent.max(Some(*at));
        } else if let (Some(to), Some(silent)) = (self.read_to, self.silent) {
            let passed = at.saturating_duration_since(to.max(silent));
            self.silent = Some(silent + passed.saturating_sub(SEEN_MAX));
        }
        self.read_to = self.read_to.max(Some(*at));
        self.trouble = None;
    }

    fn record(&mut self, offset: i64, key: &[u8], value: &[u8], now: Instant) {
        if key != self.of.as_bytes() || value.len() > VALUE_BYTES_MAX {
            return;
        }
        let Ok(terms) = serde_json::from_slice::<Terms>(value) else { return };
        if terms.edge != self.of {
            return;
        }
        // It was written before now. How long before is not known where it waited to be read.
        self.silent = Some(now);
        let Some((at, _)) = self.asked.iter().flatten().find(|(_, end)| offset >= *end) else { return };
        let goes_on = terms.boot == self.boot && self.holds(now);
        self.in_a_row = match terms.valid_ms {
            0 => 0,
            _ if goes_on => self.in_a_row.saturating_add(1),
            _ => 1,
        };
        self.lived = self.lived.max(Some(*at));
        self.valid = Duration::from_millis(terms.valid_ms).min(VALID_MAX);
        self.boot = terms.boot;
    }

    fn allowed(&self) -> Duration {
        self.valid.max(self.after)
    }

    /// How long Kafka may leave questions open.
    fn patience(&self) -> Duration {
        self.after.max(BLIND_AFTER_MIN)
    }

    fn holds(&self, now: Instant) -> bool {
        self.lived.is_some_and(|lived| now.saturating_duration_since(lived) < self.allowed())
    }

    /// What the lease says of the active box at the time `now`.
    pub fn says(&self, now: Instant) -> Says {
        if self.holds(now) {
            return if self.in_a_row >= LEASES_BACK { Says::IsBack } else { Says::Lives };
        }
        let patience = self.patience();
        let is_watched = |since: Instant| now.saturating_duration_since(since) < patience;
        match (self.read_to, self.silent) {
            (Some(to), Some(silent)) if is_watched(to) => {
                let silence = to.saturating_duration_since(silent);
                if silence >= self.allowed() { Says::Gone } else { Says::NotYet }
            }
            _ if self.trouble.is_none() && is_watched(self.silent.unwrap_or(self.begun)) => Says::NotYet,
            _ if is_watched(self.begun) => Says::NotYet,
            _ => Says::Nothing,
        }
    }

    /// Why Kafka says nothing, in words.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
