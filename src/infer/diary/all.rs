//! The diaries of all models on all devices.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stored::Pieces;
use super::{Diary, Entry, Post};
use crate::clock::now_us;
use crate::event::{Event, Events};
use crate::infer::feedback::{Feedback, NoEpisode};
use crate::infer::tell;
use crate::state::{State, Table};

/// Diaries that are kept; of more, those are given up that are not used any more for longest.
const DIARIES_MAX: usize = 500;
/// So long after it was sent an event is in the journal: that syncs twice a second.
const IN_JOURNAL: Duration = Duration::from_secs(10);
/// At an orderly stop this is enough: the journal is synced then.
const IN_JOURNAL_AT_STOP: Duration = Duration::from_secs(2);

/// The diaries of all models on all devices.
#[derive(Debug, Default)]
pub struct Diaries {
    post: Arc<Post>,
    all: Mutex<BTreeMap<(String, String), Arc<Diary>>>,
    /// What is stored was taken in.
    taken: AtomicBool,
}

impl Diaries {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Arc<Diary>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The diary of a model on the device with this path.
    pub fn of(&self, path: &str, model: &str) -> Arc<Diary> {
        let new = || Arc::new(Diary::new(path, model, Arc::clone(&self.post)));
        Arc::clone(self.lock().entry((path.to_owned(), model.to_owned())).or_insert_with(new))
    }

    /// Takes what is stored. What is there already stays.
    pub fn take(&self, state: &State) {
        self.taken.store(true, Ordering::Release);
        let mut latest: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (key, value) in state.list(Table::Diary) {
            let mut parts = key.splitn(3, '\n');
            let (Some(path), Some(model), Some(piece)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let diary = self.of(path, model);
            diary.take(piece, &value);
            let used_us = diary.hours().last().map_or(0, |hour| hour.hour);
            latest.insert((path.to_owned(), model.to_owned()), used_us);
        }
        let mut oldest: Vec<_> = latest.into_iter().collect();
        oldest.sort_by_key(|(_, hour)| *hour);
        oldest.truncate(oldest.len().saturating_sub(DIARIES_MAX));
        for ((path, model), _) in oldest {
            let beginning = format!("{path}\n{model}\n");
            let keys: Vec<_> =
                state.list(Table::Diary).into_iter().filter(|(key, _)| key.starts_with(&beginning)).collect();
            let none = keys.iter().map(|(key, _)| (key.as_str(), Vec::new()));
            if let Err(error) = state.save(Table::Diary, none) {
                tracing::warn!("what models found on devices that are gone is kept on: {error}");
            }
            self.lock().remove(&(path, model));
        }
    }

    /// True once [`Diaries::take`] was called.
    pub(super) fn was_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// From now on events wait until what they tell is written down.
    pub(super) fn begin_keeping(&self) {
        self.post.kept.store(true, Ordering::Release);
    }

    /// From now on nobody writes.
    pub(super) fn end_keeping(&self) {
        self.post.kept.store(false, Ordering::Release);
    }

    /// Returns when something is to be written.
    pub(super) async fn woken(&self) {
        self.post.wake.notified().await;
    }

    /// Writes down what has changed, with the scores if `scores`, and sends the events of it. At
    /// the stop nothing is sent any more: nobody would store it, so it is told after the next start.
    pub(super) fn write(&self, state: Option<&State>, scores: bool, stopping: bool, events: &Events) {
        let (mut pieces, mut waiting) = (Pieces::new(), Vec::<Event>::new());
        let (now, now_us) = (Instant::now(), now_us());
        let in_journal = if stopping { IN_JOURNAL_AT_STOP } else { IN_JOURNAL };
        let all: Vec<Arc<Diary>> = self.lock().values().cloned().collect();
        for diary in all {
            let mut pages = diary.pages();
            pages.episodes.iter_mut().for_each(|entry| settle(entry, now, in_journal));
            if scores {
                pages.running().into_iter().for_each(|entry| entry.dirty = true);
                pieces.extend(diary.scores(&pages, now_us));
            }
            // Until the state is there nothing is written, and nobody knows which places are free.
            if state.is_some() {
                pieces.extend(diary.changed(&mut pages));
                pieces.extend(diary.baseline_pieces(&mut pages, scores, in_journal));
            }
            if !stopping {
                waiting.append(&mut pages.waiting);
                pages.sent(now);
            }
        }
        if let Some(state) = state
            && let Err(error) =
                state.save(Table::Diary, pieces.iter().map(|(key, value)| (key.as_str(), value.clone())))
        {
            // The next save brings it; who watches the machine must hear of it now.
            tracing::warn!("what the models found is not saved: {error}");
        }
        waiting.into_iter().for_each(|event| events.emit(event));
    }

    /// Writes down all there is, now.
    #[cfg(test)]
    pub(in crate::infer) fn write_all(&self, state: &State, events: &Events) {
        self.write(Some(state), true, false, events);
    }

    /// Keeps what somebody said of an episode, and tells it.
    ///
    /// # Errors
    /// When no episode has this name.
    pub fn hear(&self, id: &str, feedback: &Feedback, events: &Events) -> Result<(), NoEpisode> {
        let all: Vec<Arc<Diary>> = self.lock().values().cloned().collect();
        let make = |diary: &Diary, episode: &_| tell::feedback(diary, episode, feedback);
        match all.iter().any(|diary| diary.hear(id, feedback.clone(), make, events)) {
            true => Ok(()),
            false => Err(NoEpisode(id.chars().take(64).collect())),
        }
    }
}

/// What was sent long enough ago is told for good.
fn settle(entry: &mut Entry, now: Instant, after: Duration) {
    if entry.sent > entry.told && entry.sent_at.is_some_and(|at| now.duration_since(at) >= after) {
        (entry.told, entry.sent_at, entry.dirty) = (entry.sent, None, true);
    }
}
