//! "Is anything about to fail?" as plain data with all its words: what `/health` shows.

use super::facts::{Facts, PredictionState, Remaining, Watching};
use super::judge::Letter;
use super::machine::Part;
use super::speech::{Speech, plain, sentence};
use super::view::{PredictionRow, prediction};
use super::words::{HealthWords, fill};
use crate::infer::adapt::TELL_FROM;
use crate::infer::episode::{Episode, Severity};
use crate::infer::feedback::{Answer, Feedback};
use crate::infer::trend::Hour;
use crate::twin::Twin;

/// Models on one page at most: keeps it under 60 KB.
const ITEMS_SHOWN_MAX: usize = 6;
/// Machines without a model that are offered to be learned at most.
const NOT_WATCHED_SHOWN_MAX: usize = 12;
/// Episodes that are over and shown at most.
const OVER_SHOWN_MAX: usize = 8;
/// Episodes that are over are shown for so long, seconds.
const OVER_SHOWN_S: f64 = 30.0 * 86_400.0;

const HOUR_US: i64 = 3_600_000_000;

/// Everything `/health` says.
pub(super) struct Health {
    pub(super) letter: Option<Letter>,
    /// The answer in one sentence.
    pub(super) answer: String,
    /// A second sentence; may be empty.
    pub(super) note: String,
    /// By urgency.
    pub(super) items: Vec<Item>,
    /// Which of them are on this page.
    pub(super) part: Part,
    /// Names of machines that no model watches, the first of them.
    pub(super) not_watched: Vec<String>,
    /// Newest first.
    pub(super) over: Vec<EpisodeRow>,
    /// Changes when an episode, its answers or the order do: then forms stand in other places.
    pub(super) shape: u32,
}

/// One model on one machine.
pub(super) struct Item {
    pub(super) letter: Option<Letter>,
    /// `machine: what is watched`.
    pub(super) name: String,
    /// Names of the device and of the model.
    pub(super) ids: (String, String),
    /// What the model sees, or why it does not.
    pub(super) says: String,
    /// Score and age of the last check.
    pub(super) score: String,
    /// Label and text.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) hours: Vec<Hour>,
    pub(super) threshold: f64,
    /// The episode that runs.
    pub(super) episode: Option<EpisodeRow>,
    urgency: Urgency,
}

/// An episode to be answered.
pub(super) struct EpisodeRow {
    pub(super) id: String,
    /// `machine: what is watched`.
    pub(super) name: String,
    /// From when to when, and how far; empty while it runs.
    pub(super) text: String,
    /// What people have said.
    pub(super) answers: Vec<String>,
}

/// What comes first: running episodes by severity, then what does not watch, then the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Raised(std::cmp::Reverse<Severity>),
    Broken,
    Suppressed,
    Filling,
    Normal,
}

/// All models, the part that was asked for in full.
pub(super) fn health(facts: &dyn Facts, twin: &Twin, part: usize, speech: &Speech) -> Health {
    let watching = facts.watching();
    let mut items: Vec<_> = watching.iter().map(|it| item(it, twin, speech)).collect();
    items.sort_by(|a, b| (a.urgency, &a.name).cmp(&(b.urgency, &b.name)));
    let mut over: Vec<_> = watching.iter().flat_map(|it| episodes_over(it, speech)).collect();
    over.sort_by_key(|(end_us, _)| std::cmp::Reverse(*end_us));
    over.truncate(OVER_SHOWN_MAX);
    let over: Vec<_> = over.into_iter().map(|(_, row)| row).collect();
    let watched = |name: &str| watching.iter().any(|it| it.prediction.device == name);
    let devices = twin.devices();
    let names = devices.iter().map(|twin| twin.device.name.clone()).filter(|name| !watched(name));
    let not_watched: Vec<String> = names.take(NOT_WATCHED_SHOWN_MAX).collect();
    let (letter, answer, note) = answer(&watching, &items, speech);
    let part = Part::of(items.len(), ITEMS_SHOWN_MAX, part);
    let shape = shape(&items[part.from..part.to], &over);
    Health { letter, answer, note, items, part, not_watched, over, shape }
}

/// What stands where, with what was answered.
fn shape(items: &[Item], over: &[EpisodeRow]) -> u32 {
    let row = |row: &EpisodeRow| format!("{}\n{}\n", row.id, row.answers.len());
    let item = |item: &Item| format!("{}\n{}", item.name, item.episode.as_ref().map(row).unwrap_or_default());
    let text: String =
        items.iter().map(item).chain(["over\n".to_owned()]).chain(over.iter().map(row)).collect();
    crc32c::crc32c(text.as_bytes())
}

fn running(watching: &Watching) -> Option<&Episode> {
    watching.episodes.iter().find(|episode| episode.end_us.is_none())
}

/// The answer and a second sentence. Nothing is ever called good of which nothing is known.
fn answer(watching: &[Watching], items: &[Item], speech: &Speech) -> (Option<Letter>, String, String) {
    let words = speech.health_words();
    let number = |count: usize| speech.count(count as u64);
    let all = watching.len();
    let is_watching =
        |it: &&Watching| matches!(it.prediction.state, PredictionState::Normal | PredictionState::Raised);
    let watch = watching.iter().filter(is_watching).count();
    let silent = match all - watch {
        0 => String::new(),
        silent => fill(words.others_silent, &[&number(silent), &number(all)]),
    };
    let raised: Vec<_> = items.iter().filter_map(|item| Some((item, severity_of(item.urgency)?))).collect();
    if let Some((first, severity)) = raised.first() {
        let look = severity_words(*severity, words);
        let answer = match raised.len() {
            1 => fill(words.one_unusual, &[&first.name, look]),
            many => fill(words.many_unusual, &[&number(many), &first.name, look]),
        };
        return (Some(Letter::M), answer, silent);
    }
    let last = watching.iter().filter_map(|it| it.prediction.last_us).max();
    let ago = last.map_or_else(|| "–".to_owned(), |at| speech.duration(speech.age_s(at)));
    let worst = items.iter().filter_map(|item| item.letter).max();
    match watch {
        0 if all == 0 => (None, words.no_models.to_owned(), String::new()),
        0 => (worst, words.nobody_watches.to_owned(), String::new()),
        _ if watch == all => {
            let run = speech.plural(all, speech.words.models_run_one, speech.words.models_run_many, &[]);
            (None, fill(words.nothing, &[&run, &ago]), String::new())
        }
        _ => (worst, fill(words.nothing_where, &[&number(watch), &number(all), &ago]), String::new()),
    }
}

fn severity_of(urgency: Urgency) -> Option<Severity> {
    match urgency {
        Urgency::Raised(severity) => Some(severity.0),
        _ => None,
    }
}

pub(super) fn severity_words(severity: Severity, words: &HealthWords) -> &'static str {
    match severity {
        Severity::Low => words.low,
        Severity::Medium => words.medium,
        Severity::High => words.high,
    }
}

fn item(watching: &Watching, twin: &Twin, speech: &Speech) -> Item {
    let words = speech.health_words();
    let row = prediction(&watching.prediction, speech);
    let name = fill(speech.words.model_of, &[&row.device, &row.title]);
    let episode = running(watching);
    let urgency = match (episode, row.state) {
        (Some(episode), _) => Urgency::Raised(std::cmp::Reverse(episode.severity(speech.now_us))),
        // Raised, but what of it is not remembered.
        (None, PredictionState::Raised) => Urgency::Raised(std::cmp::Reverse(Severity::Low)),
        (None, PredictionState::Broken) => Urgency::Broken,
        (None, PredictionState::Suppressed) => Urgency::Suppressed,
        (None, PredictionState::Filling) => Urgency::Filling,
        (None, PredictionState::Normal) => Urgency::Normal,
    };
    let not_now = !matches!(row.state, PredictionState::Normal | PredictionState::Raised);
    let says = match severity_of(urgency) {
        Some(severity) if not_now => {
            let now = fill(words.still_not_watching, &[row.text.trim_end_matches('.')]);
            format!("{}. {now}.", capital(severity_words(severity, words)))
        }
        Some(severity) => capital(severity_words(severity, words)),
        None => capital(&row.text),
    };
    let letter = if episode.is_some() { Some(Letter::M) } else { row.letter };
    let mut facts = Vec::new();
    if let Some(episode) = episode {
        facts.extend(facts_of(episode, watching, twin, speech));
    }
    if let Some(remaining) = watching.remaining {
        facts.push((words.life, remaining_words(remaining, speech)));
    }
    facts.extend(followed(watching, twin, speech));
    facts.extend(watched(watching, speech));
    facts.push((words.model, model_words(&row, watching, speech)));
    Item {
        letter,
        ids: (watching.prediction.device.clone(), watching.prediction.model.clone()),
        says,
        score: score_words(&row, speech),
        facts,
        hours: watching.hours.clone(),
        threshold: row.threshold,
        episode: episode.map(|episode| episode_row(episode, &name, String::new(), speech)),
        name,
        urgency,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn score_words(row: &PredictionRow, speech: &Speech) -> String {
    let words = speech.health_words();
    let score = row
        .score
        .map(|score| fill(words.score, &[&speech.number(score, 2), &speech.number(row.threshold, 2)]));
    let age = row.age_s.map(|age| fill(words.checked, &[&speech.duration(age)]));
    score.into_iter().chain(age).collect::<Vec<_>>().join(", ")
}

fn facts_of(
    episode: &Episode,
    watching: &Watching,
    twin: &Twin,
    speech: &Speech,
) -> Vec<(&'static str, String)> {
    let words = speech.health_words();
    let reported = speech.moment(episode.begin_us);
    let since = match episode.since {
        Some(since) if since.or_earlier => {
            fill(words.since_earlier, &[&speech.moment(since.at_us), &reported])
        }
        Some(since) => fill(words.since_about, &[&speech.moment(since.at_us), &reported]),
        None => fill(words.since_unknown, &[&reported]),
    };
    vec![
        (words.look_at, sentence(episode.look_at.get(speech.language.code()))),
        (words.mostly, mostly(episode, &watching.prediction.device, twin, speech)),
        (words.since, since),
        (words.how_sure, how_sure(episode, speech)),
    ]
}

/// The tags that contribute most, by what the profile calls them.
fn mostly(episode: &Episode, device: &str, twin: &Twin, speech: &Speech) -> String {
    let named = episode.contributions();
    let said = named
        .iter()
        .map(|(tag, share)| format!("{} {} %", called(tag, device, twin), speech.number(share * 100.0, 0)));
    said.collect::<Vec<_>>().join(", ")
}

/// A tag by what the profile calls it.
fn called(tag: &str, device: &str, twin: &Twin) -> String {
    let described = || {
        let device = &twin.device(device)?.device;
        let desc = &device.tags.get(device.tag_index(tag)?)?.desc;
        (!desc.is_empty()).then(|| format!("{} ({})", plain(desc), plain(tag)))
    };
    described().unwrap_or_else(|| plain(tag))
}

/// The slow change that will soon not be followed any more.
fn followed(watching: &Watching, twin: &Twin, speech: &Speech) -> Option<(&'static str, String)> {
    let words = speech.health_words();
    let (tag, used) = watching.reach_used.as_ref().filter(|(_, used)| *used >= TELL_FROM)?;
    let tag = called(tag, &watching.prediction.device, twin);
    let share = speech.number((used * 100.0).floor(), 0);
    Some((words.followed, fill(words.followed_share, &[&tag, &share])))
}

/// By how far, how long, and how good the inputs were.
#[allow(clippy::cast_precision_loss)] // microseconds of an episode
fn how_sure(episode: &Episode, speech: &Speech) -> String {
    let words = speech.health_words();
    let lasted_s = episode.lasted_us(speech.now_us) as f64 / 1e6;
    let far = match episode.far() {
        far if far >= 3.0 => 2,
        far if far >= 1.5 => 1,
        _ => 0,
    };
    let long = match lasted_s {
        7200.0.. => 2,
        600.0.. => 1,
        _ => 0,
    };
    let bad_inputs = match episode.input_quality {
        0.95.. => 0,
        0.8.. => 1,
        _ => 2,
    };
    let template = match far + long - bad_inputs {
        3.. => words.sure,
        1..=2 => words.likely,
        _ => words.unsure,
    };
    let times = fill(words.far, &[&speech.number(f64::from(episode.far()), 1)]);
    let quality = speech.number(f64::from(episode.input_quality) * 100.0, 0);
    fill(template, &[&times, &speech.duration(lasted_s), &quality])
}

/// Share of the time of which hours are remembered, in which the model had all its inputs.
#[allow(clippy::cast_precision_loss)] // hours since 1970
fn watched(watching: &Watching, speech: &Speech) -> Option<(&'static str, String)> {
    let (words, hours) = (speech.health_words(), &watching.hours);
    let hour_us = hours.first()?.hour.checked_mul(HOUR_US)?;
    // In its first hour the model was not there from the beginning.
    let begun = watching.version_since_us.filter(|at_us| (hour_us..hour_us + HOUR_US).contains(at_us));
    let first_us = begun.unwrap_or(hour_us);
    let watched_s: f64 = hours.iter().map(|hour| f64::from(hour.valid_s)).sum();
    // The running hour is not over; nothing is watched for longer than there was time.
    let share = (watched_s / speech.age_s(first_us).max(1.0)).min(1.0) * 100.0;
    Some((words.watched, fill(words.watched_share, &[&speech.number(share, 0), &speech.moment(first_us)])))
}

fn remaining_words(remaining: Remaining, speech: &Speech) -> String {
    let Remaining { likely_s, least_s, most_s } = remaining;
    let said = [likely_s, least_s, most_s].map(|seconds| speech.duration(seconds));
    fill(speech.health_words().life_band, &[&said[0], &said[1], &said[2]])
}

fn model_words(row: &PredictionRow, watching: &Watching, speech: &Speech) -> String {
    let words = speech.health_words();
    let hash = plain(&watching.hash8);
    if hash.is_empty() {
        // Its folder cannot be read.
        return row.model.clone();
    }
    match watching.version_since_us {
        Some(since_us) => {
            let since = speech.moment(since_us);
            fill(words.model_since, &[&row.model, &row.version, &hash, &since])
        }
        None => fill(words.model_version, &[&row.model, &row.version, &hash]),
    }
}

/// Episodes that are over, with their end.
fn episodes_over(watching: &Watching, speech: &Speech) -> Vec<(i64, EpisodeRow)> {
    let words = speech.health_words();
    let row = prediction(&watching.prediction, speech);
    let name = fill(speech.words.model_of, &[&row.device, &row.title]);
    let over = watching.episodes.iter().filter_map(|episode| Some((episode, episode.end_us?)));
    let shown = over.filter(|(_, end_us)| speech.age_s(*end_us) < OVER_SHOWN_S);
    let said = shown.map(|(episode, end_us)| {
        let (begin, end) = (speech.moment(episode.begin_us), speech.moment(end_us));
        let far = fill(words.far, &[&speech.number(f64::from(episode.far()), 1)]);
        let text = format!("{}, {far}", fill(words.over_from_to, &[&begin, &end]));
        (end_us, episode_row(episode, &name, text, speech))
    });
    said.collect()
}

fn episode_row(episode: &Episode, name: &str, text: String, speech: &Speech) -> EpisodeRow {
    let words = speech.health_words();
    let said = |feedback: &Feedback| {
        let answer = answer_words(feedback.answer, words);
        let who = format!("{}: {answer}, {}", plain(&feedback.person), speech.moment(feedback.at_us));
        match feedback.note.as_str() {
            "" => who,
            note => format!("{who} – {}", plain(note)),
        }
    };
    let answers = episode.feedback.iter().map(said).collect();
    EpisodeRow { id: episode.id.clone(), name: name.to_owned(), text, answers }
}

/// What stands on the button of an answer.
pub(super) fn answer_words(answer: Answer, words: &HealthWords) -> &'static str {
    match answer {
        Answer::Seen => words.seen,
        Answer::Real => words.real,
        Answer::FalseAlarm => words.false_alarm,
    }
}
