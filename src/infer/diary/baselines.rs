//! What the versions of a model have learned since their training: a baseline for each, by the hash of
//! its graph, so that a version that is put back goes on where it was.
//!
//! Each is stored in a place of its own with what was told of it; of more than [`BASELINES_MAX`] the one
//! goes that was not in use for longest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::stored::Pieces;
use crate::infer::adapt::{State, TELL_AGAIN_BELOW, TELL_FROM};

/// Versions whose baseline is kept: those that a roll-back finds again, the active one and the shadow
/// are fewer.
pub(super) const BASELINES_MAX: usize = 12;

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// When it was in use last, microseconds since 1970 UTC.
    used_us: i64,
    /// Tags of which was told that their reach is nearly used up.
    #[serde(default)]
    told: Vec<String>,
    state: State,
}

/// The baseline of one version.
#[derive(Debug)]
struct Kept {
    state: State,
    used_us: i64,
    /// Tags of which was told that their reach is nearly used up; since when where it may not be in the
    /// journal yet.
    told: BTreeMap<String, Option<Instant>>,
    /// Where it is stored.
    place: Option<usize>,
    /// What scores goes on from it; else it was read and waits for its version.
    in_use: bool,
    /// A person has accepted what it stands for since the start.
    accepted: bool,
    /// It differs from what is stored.
    dirty: bool,
    /// It is to be written soon.
    due: bool,
}

impl Kept {
    fn new(state: State, used_us: i64) -> Self {
        let (told, place, in_use, accepted, dirty, due) = Default::default();
        Self { state, used_us, told, place, in_use, accepted, dirty, due }
    }
}

/// The baselines of all versions of one model on one device.
#[derive(Debug, Default)]
pub(super) struct Baselines {
    kept: Vec<Kept>,
    /// A single baseline of an earlier Forebay is stored, which is not needed there any more.
    single: bool,
}

impl Baselines {
    fn find(&mut self, hash: &str) -> Option<&mut Kept> {
        self.kept.iter_mut().find(|kept| kept.state.hash == hash)
    }

    /// That of the version with this hash, which goes on from it.
    pub(super) fn begin(&mut self, hash: &str) -> Option<State> {
        let kept = self.find(hash)?;
        kept.in_use = true;
        Some(kept.state.clone())
    }

    /// Keeps what a version has learned; `soon` = a person has accepted it. Gives what the version has
    /// to go on from instead: what was stored of it, where that was read only after it had begun.
    pub(super) fn keep(&mut self, state: State, soon: bool, now_us: i64) -> Option<State> {
        let Some(kept) = self.find(&state.hash) else {
            self.push(Kept {
                in_use: true,
                accepted: soon,
                dirty: true,
                due: soon,
                ..Kept::new(state, now_us)
            });
            return None;
        };
        kept.used_us = now_us;
        let late = !std::mem::replace(&mut kept.in_use, true) && !soon;
        if late {
            return Some(kept.state.clone());
        }
        kept.accepted |= soon;
        kept.due |= soon;
        kept.dirty |= kept.state != state;
        kept.state = state;
        None
    }

    /// Which of these tags are to be told: each has used up most of its reach, as `used` says (0 to 1),
    /// and has not been told since it was clearly below. They count as told.
    pub(super) fn nearly_used_up(&mut self, hash: &str, used: &[(&str, f64)], now: Instant) -> Vec<usize> {
        let Some(kept) = self.find(hash) else { return Vec::new() };
        let mut told = Vec::new();
        for (number, (tag, used)) in used.iter().enumerate() {
            if *used >= TELL_FROM && !kept.told.contains_key(*tag) {
                kept.told.insert((*tag).to_owned(), Some(now));
                kept.dirty = true;
                told.push(number);
            } else if *used < TELL_AGAIN_BELOW && kept.told.remove(*tag).is_some() {
                (kept.dirty, kept.due) = (true, true);
            }
        }
        told
    }

    fn push(&mut self, kept: Kept) {
        self.kept.push(kept);
        if self.kept.len() > BASELINES_MAX {
            let oldest = self.kept.iter().enumerate().min_by_key(|(_, kept)| kept.used_us);
            oldest.map(|(at, _)| at).map(|at| self.kept.swap_remove(at));
        }
    }

    /// What differs from what is stored and is to be written now: what changes all the time with the
    /// scores only. What was told is noted when it is `in_journal`, so that a crash loses nothing.
    pub(super) fn changed(&mut self, scores: bool, now: Instant, in_journal: Duration) -> Pieces {
        let mut pieces = Pieces::new();
        for at in 0..self.kept.len() {
            let kept = &mut self.kept[at];
            for since in kept.told.values_mut() {
                if since.is_some_and(|since| now.duration_since(since) >= in_journal) {
                    (*since, kept.due) = (None, true);
                }
            }
            let is_due = std::mem::take(&mut kept.due) || (scores && kept.dirty);
            if !is_due {
                continue;
            }
            let place = self.kept[at].place.or_else(|| self.free_place());
            let kept = &mut self.kept[at];
            (kept.place, kept.dirty) = (place, kept.told.values().any(Option::is_some));
            let told = kept.told.iter().filter(|(_, since)| since.is_none()).map(|(tag, _)| tag.clone());
            let stored = Stored { used_us: kept.used_us, told: told.collect(), state: kept.state.clone() };
            // Plain numbers and texts: writing them cannot fail.
            if let (Some(place), Ok(json)) = (place, serde_json::to_vec(&stored)) {
                pieces.push((format!("drift {place}"), json));
            }
        }
        // What was in it is in one of these places, or of no use.
        if std::mem::take(&mut self.single) {
            pieces.push(("drift".to_owned(), Vec::new()));
        }
        pieces
    }

    fn free_place(&self) -> Option<usize> {
        (0..BASELINES_MAX).find(|place| self.kept.iter().all(|kept| kept.place != Some(*place)))
    }

    /// Takes what is stored in a place; without a place, the single one of an earlier Forebay.
    ///
    /// # Errors
    /// Why it cannot be read; its version begins as trained.
    pub(super) fn take(&mut self, place: &str, value: &[u8]) -> Result<(), String> {
        if place.is_empty() {
            self.single = true;
            let state: State = serde_json::from_slice(value).map_err(|error| error.to_string())?;
            self.take_in(Kept { dirty: true, due: true, ..Kept::new(state, 0) });
            return Ok(());
        }
        let place: Option<usize> = place.parse().ok().filter(|place| *place < BASELINES_MAX);
        let stored: Stored = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let told = stored.told.into_iter().map(|tag| (tag, None)).collect();
        self.take_in(Kept { place, told, ..Kept::new(stored.state, stored.used_us) });
        Ok(())
    }

    fn take_in(&mut self, read: Kept) {
        let Some(known) = self.find(&read.state.hash) else { return self.push(read) };
        let is_newer = read.used_us >= known.used_us;
        known.place = known.place.or(read.place);
        // What this run has followed for some minutes is little beside what was stored, and what a person
        // has accepted in it is more.
        let gives_way = if known.in_use { !known.accepted } else { is_newer };
        if gives_way {
            *known = Kept { place: known.place, dirty: true, ..read };
        } else {
            known.dirty = true;
        }
    }
}

#[cfg(test)]
mod tests;
