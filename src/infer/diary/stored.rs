//! A diary as it is stored: an entry for each episode, each day of hours, each hour of minutes, each
//! version's baseline.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Diary, EPISODES_MAX, Entry, Pages, Stage};
use crate::infer::episode::Episode;

/// Places for days; more than are kept, so that a place is free before it is needed again.
const DAY_PLACES: i64 = 32;
/// Places for hours of minutes.
const HOUR_PLACES: i64 = 26;

const HOUR_US: i64 = 3_600_000_000;

#[derive(Serialize, Deserialize)]
struct StoredEpisode {
    told: Stage,
    episode: Episode,
}

/// Name and value.
pub(super) type Pieces = Vec<(String, Vec<u8>)>;

impl Diary {
    fn key(&self, piece: &str) -> String {
        format!("{}\n{}\n{piece}", self.path, self.model)
    }

    /// Episodes that differ from what is stored.
    pub(super) fn changed(&self, pages: &mut Pages) -> Pieces {
        let mut pieces = Vec::new();
        for at in 0..pages.episodes.len() {
            if !pages.episodes[at].dirty {
                continue;
            }
            let place = pages.episodes[at].place.or_else(|| free_place(pages));
            let entry = &mut pages.episodes[at];
            (entry.place, entry.dirty) = (place, false);
            let stored = StoredEpisode { told: entry.told, episode: entry.episode.clone() };
            // All of it can be written as JSON.
            if let (Some(place), Ok(json)) = (place, serde_json::to_vec(&stored)) {
                pieces.push((self.key(&format!("episode {place}")), json));
            }
        }
        if std::mem::take(&mut pages.version_dirty)
            && let Some((version, since_us)) = &pages.version
        {
            pieces.push((self.key("version"), format!("{since_us} {version}").into_bytes()));
        }
        pieces
    }

    /// What the versions have learned since their training, where they have: see
    /// [`super::baselines::Baselines::changed`].
    pub(super) fn baseline_pieces(&self, pages: &mut Pages, scores: bool, in_journal: Duration) -> Pieces {
        let changed = pages.baselines.changed(scores, Instant::now(), in_journal);
        changed.into_iter().map(|(piece, value)| (self.key(&piece), value)).collect()
    }

    /// The scores of this and the last hour, and of this and the last day.
    pub(super) fn scores(&self, pages: &Pages, now_us: i64) -> Pieces {
        let (hour, day) = (now_us.div_euclid(HOUR_US), now_us.div_euclid(24 * HOUR_US));
        let mut pieces = Vec::new();
        for day in [day - 1, day] {
            let place = day.rem_euclid(DAY_PLACES);
            pieces.push((self.key(&format!("day {place}")), pages.trend.day(day)));
        }
        for hour in [hour - 1, hour] {
            let place = hour.rem_euclid(HOUR_PLACES);
            pieces.push((self.key(&format!("hour {place}")), pages.trend.minutes(hour)));
        }
        pieces
    }

    /// Takes a stored piece; what does not make sense is left out.
    pub(super) fn take(&self, piece: &str, value: &[u8]) {
        let mut pages = self.pages();
        let (kind, place) = piece.split_once(' ').unwrap_or((piece, ""));
        match kind {
            "day" => pages.trend.take_day(value),
            "drift" => {
                if let Err(why) = pages.baselines.take(place, value) {
                    let Self { path, model, .. } = self;
                    tracing::warn!(
                        "a baseline of model {model} on {path} is lost, it begins as trained: {why}"
                    );
                }
            }
            "hour" => pages.trend.take_minutes(value),
            "version" => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let read = text
                    .split_once(' ')
                    .and_then(|(us, version)| Some((version.to_owned(), us.parse().ok()?)));
                pages.version = pages.version.take().or(read);
            }
            "episode" => {
                let place = place.parse().ok().filter(|place| *place < EPISODES_MAX);
                if let (Some(place), Ok(stored)) = (place, serde_json::from_slice(value)) {
                    take_episode(&mut pages, place, stored);
                }
            }
            _ => {}
        }
    }
}

/// A place that no episode has; the oldest leave theirs as they go.
fn free_place(pages: &Pages) -> Option<usize> {
    (0..EPISODES_MAX).find(|place| pages.episodes.iter().all(|entry| entry.place != Some(*place)))
}

fn take_episode(pages: &mut Pages, place: usize, stored: StoredEpisode) {
    let StoredEpisode { told, mut episode } = stored;
    let is_known = |entry: &Entry| entry.episode.id == episode.id || entry.place == Some(place);
    if pages.episodes.iter().any(is_known) {
        return;
    }
    let mut entry =
        Entry { place: Some(place), told, sent: told, sent_at: None, dirty: false, episode: episode.clone() };
    let at = pages.episodes.partition_point(|known| known.episode.begin_us <= episode.begin_us);
    if at < pages.episodes.len() && episode.end_us.is_none() {
        // A later one has begun meanwhile, so this one is over.
        episode.end_us = pages.episodes.get(at).map(|later| later.episode.begin_us);
        (entry.dirty, entry.episode) = (true, episode);
    }
    if let Some(before) = at.checked_sub(1).and_then(|at| pages.episodes.get_mut(at))
        && before.episode.end_us.is_none()
    {
        before.episode.end_us = Some(entry.episode.begin_us);
        before.dirty = true;
    }
    pages.episodes.insert(at, entry);
}
