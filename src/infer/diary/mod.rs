//! What a model has found on a device: its episodes and its past scores. It outlives a restart and
//! the exchange of a model.
//!
//! [`keep`] writes it down on a thread of its own, because a disk takes its time. What an episode's
//! event tells is durable before the event is sent, and that it was sent is noted some seconds later,
//! when the event is in the journal: so a restart at any moment neither forgets a running episode nor
//! begins it anew. An event of the last seconds may be sent twice, with the same `episode` and `state`.

mod all;
mod baselines;
mod keep;
mod stored;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::baselines::Baselines;
use super::adapt::State as Baseline;
use super::detector::Crossing;
use super::episode::{Episode, Raise, Severity, Told};
use super::feedback::Feedback;
use super::trend::{Hour, Minute, Trend};
use crate::event::{Event, Events};

pub use all::Diaries;
pub use keep::keep;

/// Episodes that are kept of one model on one device.
pub const EPISODES_MAX: usize = 40;
/// Events that wait to be written down at most; what comes beyond that does not wait.
const WAITING_MAX: usize = 64;

/// What became of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It has begun.
    Raised,
    /// It lasts and is worse.
    Worse,
    /// It is over.
    Cleared,
}

/// How much of an episode has been told in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    /// Nothing.
    #[default]
    Nothing,
    /// That it has begun.
    Begin,
    /// That it is over.
    End,
}

/// An episode, and what of it is told and written.
#[derive(Debug)]
struct Entry {
    episode: Episode,
    /// Where it is stored.
    place: Option<usize>,
    /// Is surely in the journal.
    told: Stage,
    /// Was given out as an event.
    sent: Stage,
    /// When the event left for the journal.
    sent_at: Option<Instant>,
    /// It differs from what is stored.
    dirty: bool,
}

impl Entry {
    fn stage(&self) -> Stage {
        if self.episode.end_us.is_some() { Stage::End } else { Stage::Begin }
    }
}

/// Everything that is remembered.
#[derive(Debug, Default)]
struct Pages {
    /// Oldest first; only the last may be running.
    episodes: VecDeque<Entry>,
    trend: Trend,
    /// What was told last of the running one.
    told: Option<Told>,
    /// Version that scores, and since when, microseconds since 1970 UTC.
    version: Option<(String, i64)>,
    version_dirty: bool,
    /// What each version has learned since its training.
    baselines: Baselines,
    /// Events that wait until what they tell is written down.
    waiting: Vec<Event>,
}

impl Pages {
    fn running(&mut self) -> Option<&mut Entry> {
        self.episodes.back_mut().filter(|entry| entry.episode.end_us.is_none())
    }

    /// Events leave now.
    fn sent(&mut self, now: Instant) {
        for entry in self.episodes.iter_mut().filter(|entry| entry.sent > entry.told) {
            entry.sent_at.get_or_insert(now);
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.episodes.len() >= EPISODES_MAX {
            self.episodes.pop_front();
        }
        self.episodes.push_back(entry);
    }
}

/// How events come from diaries to where they are written down.
#[derive(Debug, Default)]
struct Post {
    /// Somebody writes down.
    kept: AtomicBool,
    wake: Notify,
}

/// What one model has found on one device. The default one is remembered by nobody.
#[derive(Debug, Default)]
pub struct Diary {
    path: String,
    model: String,
    post: Arc<Post>,
    pages: Mutex<Pages>,
}

/// A score with all that belongs to it.
pub(super) struct Scored<'a> {
    /// What is needed to begin an episode.
    pub raise: Raise<'a>,
    /// What the alarm says to it.
    pub crossing: Option<Crossing>,
    /// When, microseconds since 1970 UTC.
    pub now_us: i64,
}

impl Diary {
    fn new(path: &str, model: &str, post: Arc<Post>) -> Self {
        Self { path: path.to_owned(), model: model.to_owned(), post, pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when an episode runs, microseconds since 1970 UTC.
    pub(super) fn running_us(&self) -> Option<i64> {
        self.pages().running().map(|entry| entry.episode.begin_us)
    }

    /// A model of this version scores from now on. What was not told before the last end of the
    /// program is told now, in the words of `make`.
    pub(super) fn resume(
        &self,
        version: &str,
        now_us: i64,
        make: impl Fn(Change, &Episode) -> Event,
        events: &Events,
    ) {
        let mut pages = self.pages();
        if pages.version.as_ref().is_none_or(|(known, _)| known != version) {
            pages.version = Some((version.to_owned(), now_us));
            pages.version_dirty = true;
        }
        let mut left = Vec::new();
        for entry in &mut pages.episodes {
            if entry.sent < Stage::Begin {
                left.push(make(Change::Raised, &entry.episode));
            }
            if entry.sent < Stage::End && entry.stage() == Stage::End {
                left.push(make(Change::Cleared, &entry.episode));
            }
            entry.sent = entry.stage();
        }
        let told = pages.running().map(|entry| Told::of(&entry.episode, now_us));
        pages.told = told;
        left.into_iter().for_each(|event| self.tell(&mut pages, event, events));
    }

    /// What the version with this hash has learned since its training, if anything; it goes on from
    /// that.
    pub(super) fn baseline(&self, hash: &str) -> Option<Baseline> {
        self.pages().baselines.begin(hash)
    }

    /// Keeps what a version has learned; it is written down with the scores, or soon when a person has
    /// accepted it. `Some` = what was stored of it is known only now: it has to go on from that.
    pub(super) fn keep_baseline(&self, state: Baseline, accepted: bool, now_us: i64) -> Option<Baseline> {
        let before = self.pages().baselines.keep(state, accepted, now_us);
        if accepted {
            self.post.wake.notify_one();
        }
        before
    }

    /// Which of these tags are to be told of: they have used up most of their reach.
    pub(super) fn nearly_used_up(&self, hash: &str, used: &[(&str, f64)]) -> Vec<usize> {
        self.pages().baselines.nearly_used_up(hash, used, Instant::now())
    }

    /// A point of the grid: see [`Trend::point`].
    pub(super) fn point(&self, now_us: i64, good: usize, asked: usize, valid_us: i64) -> Option<Minute> {
        self.pages().trend.point(now_us, good, asked, valid_us)
    }

    /// Points of the grid were lost.
    pub(super) fn dropped(&self, points: u32) {
        self.pages().trend.dropped(points);
    }

    /// Takes a score; what becomes of an episode by it is told in the words of `make`.
    pub(super) fn scored(
        &self,
        scored: Scored<'_>,
        make: impl Fn(Change, &Episode) -> Event,
        events: &Events,
    ) {
        let Scored { raise, crossing, now_us } = scored;
        let mut pages = self.pages();
        pages.trend.score(raise.score, now_us);
        let change = match (crossing, pages.running().is_some()) {
            (Some(Crossing::Raised), false) => {
                let since = pages.trend.since(raise.spec.clear_below, now_us);
                let episode = Episode::begin(raise, since, now_us);
                let (place, told, sent, sent_at) = Default::default();
                pages.push(Entry { episode, place, told, sent, sent_at, dirty: true });
                Some(Change::Raised)
            }
            (Some(Crossing::Cleared), true) => {
                let end = |entry: &mut Entry| entry.episode.end_us = Some(now_us);
                pages.running().into_iter().for_each(end);
                Some(Change::Cleared)
            }
            (_, false) => None,
            (_, true) => {
                let told = pages.told;
                let Some(entry) = pages.running() else { return };
                entry.episode.add(raise.spec, raise.score, raise.contrib, now_us);
                told.is_none_or(|told| told.is_worse(&entry.episode, now_us)).then_some(Change::Worse)
            }
        };
        let Some(change) = change else { return };
        // The one that has begun, goes on or has just ended is the last.
        let Some(entry) = pages.episodes.back_mut() else { return };
        entry.sent = entry.stage();
        entry.sent_at = None;
        entry.dirty = true;
        let (event, told) = (make(change, &entry.episode), Told::of(&entry.episode, now_us));
        pages.told = Some(told);
        self.tell(&mut pages, event, events);
    }

    /// Sends an event when what it tells is written down, at once where nobody writes.
    fn tell(&self, pages: &mut Pages, event: Event, events: &Events) {
        if self.post.kept.load(Ordering::Acquire) && pages.waiting.len() < WAITING_MAX {
            pages.waiting.push(event);
            self.post.wake.notify_one();
        } else {
            events.emit(event);
            pages.sent(Instant::now());
        }
    }

    /// Keeps what somebody said of the episode `id` and sends the event of it; false when there is no
    /// such episode here.
    fn hear(
        &self,
        id: &str,
        feedback: Feedback,
        make: impl Fn(&Self, &Episode) -> Event,
        events: &Events,
    ) -> bool {
        let mut pages = self.pages();
        let Some(entry) = pages.episodes.iter_mut().find(|entry| entry.episode.id == id) else {
            return false;
        };
        entry.episode.hear(feedback);
        entry.dirty = true;
        let event = make(self, &entry.episode);
        self.tell(&mut pages, event, events);
        true
    }

    /// Path of the device.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Name of the model.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// All episodes that are remembered, newest first.
    pub fn episodes(&self) -> Vec<Episode> {
        self.pages().episodes.iter().rev().map(|entry| entry.episode.clone()).collect()
    }

    /// Name of the episode that runs, and how urgent it is at `now_us`.
    pub fn running(&self, now_us: i64) -> Option<(String, Severity)> {
        let mut pages = self.pages();
        let episode = &pages.running()?.episode;
        Some((episode.id.clone(), episode.severity(now_us)))
    }

    /// The last 30 days by hour, oldest first.
    pub fn hours(&self) -> Vec<Hour> {
        self.pages().trend.hours()
    }

    /// Since when the version that scores now does so here, microseconds since 1970 UTC.
    pub fn version_since_us(&self) -> Option<i64> {
        self.pages().version.as_ref().map(|(_, since_us)| *since_us)
    }
}

#[cfg(test)]
mod tests;
