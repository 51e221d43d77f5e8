//! Events of models: docs/kafka.md has their members.

use serde_json::{Value as Json, json};

use super::diary::{Change, Diary};
use super::episode::{Episode, Identity, Severity};
use super::feedback::Feedback;
use super::spec::{Input, Spec};
use super::trend::{MINUTE_US, Minute};
use crate::clock::rfc3339;
use crate::event::{Event, Kind};

/// The model and the window behind a prediction.
pub(super) struct Source<'a> {
    /// Path of the device.
    pub path: &'a str,
    /// The model that scores.
    pub identity: &'a Identity,
    /// Its settings.
    pub spec: &'a Spec,
    /// Last score; the worst of the episode when there is none.
    pub score: Option<f32>,
    /// Share of good inputs in the window.
    pub input_quality: f32,
    /// How long the machine will last, where the model says so: least, likely and most, in the unit of its spec.
    pub remaining: Option<[f32; 3]>,
    /// When, microseconds since 1970 UTC.
    pub now_us: i64,
}

/// Whose event it is: model, version and hash stand in each.
pub(super) fn data_of(identity: &Identity) -> Json {
    json!({ "model": identity.model, "version": identity.version, "hash": identity.hash })
}

/// What became of an episode.
pub(super) fn prediction(change: Change, episode: &Episode, source: &Source<'_>) -> Event {
    let Source { spec, now_us, .. } = *source;
    let state = match change {
        Change::Raised => "raised",
        Change::Worse => "worse",
        Change::Cleared => "cleared",
    };
    let score = source.score.unwrap_or(episode.worst);
    let severity = episode.severity(now_us);
    let mut data = data_of(source.identity);
    data["state"] = json!(state);
    data["episode"] = json!(episode.id);
    data["begin"] = json!(rfc3339(episode.begin_us));
    data["end"] = json!(episode.end_us.map(rfc3339));
    data["since"] = json!(episode.since.map(|since| rfc3339(since.at_us)));
    data["since_or_earlier"] = json!(episode.since.is_some_and(|since| since.or_earlier));
    data["severity"] = json!(severity);
    data["score"] = json!(score);
    data["worst"] = json!(episode.worst);
    data["threshold"] = json!(spec.threshold);
    let named = episode.contributions();
    data["contributions"] = named.iter().map(|(tag, share)| json!({ "tag": tag, "share": share })).collect();
    data["look_at"] = json!(episode.look_at);
    let interval_us = i64::try_from(spec.sample_interval.as_micros()).unwrap_or(i64::MAX);
    let points = i64::try_from(spec.window.saturating_sub(1)).unwrap_or(i64::MAX);
    let from_us = now_us.saturating_sub(interval_us.saturating_mul(points));
    data["window"] = json!({ "from": rfc3339(from_us), "to": rfc3339(now_us) });
    data["input_quality"] = json!(source.input_quality);
    if let (Some([low, mid, high]), Some(life)) = (source.remaining, &spec.prepare.remaining_life) {
        data["remaining_life"] = json!({ "low": low, "mid": mid, "high": high, "unit": life.unit });
    }
    let edge_time = match change {
        Change::Raised => episode.begin_us,
        Change::Worse => now_us,
        Change::Cleared => episode.end_us.unwrap_or(now_us),
    };
    let text = words(change, episode, score, severity, source);
    Event { kind: Kind::Prediction, edge_time, device: source.path.to_owned(), text, data }
}

fn words(change: Change, episode: &Episode, score: f32, severity: Severity, source: &Source<'_>) -> String {
    let spec = source.spec;
    let (title, limit) = (spec.title.get("en"), spec.threshold);
    let named = episode.contributions();
    let largest: Vec<_> = named.iter().map(|(tag, share)| format!("{tag} {:.0} %", share * 100.0)).collect();
    let (look_at, largest) = (episode.look_at.get("en"), largest.join(", "));
    match change {
        Change::Raised => {
            let hold_s = spec.hold.as_secs_f32();
            format!("{title}: score {score:.2}, limit {limit:.2}, for {hold_s} s. {look_at} ({largest})")
        }
        Change::Worse => {
            let (worst, severity) = (episode.worst, severity_word(severity));
            format!(
                "{title} is worse: highest score {worst:.2}, limit {limit:.2}, severity {severity}. {look_at} ({largest})"
            )
        }
        Change::Cleared => {
            let (worst, below) = (episode.worst, spec.clear_below);
            format!("{title} is over: score {score:.2}, below {below:.2}; the highest was {worst:.2}")
        }
    }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}

/// The summary of a minute.
pub(super) fn summary(path: &str, identity: &Identity, minute: &Minute) -> Event {
    let (from_us, to_us) = (minute.minute * MINUTE_US, (minute.minute + 1) * MINUTE_US);
    let mut data = data_of(identity);
    data["count"] = json!(minute.count);
    data["mean"] = json!(minute.mean());
    data["highest"] = json!((minute.count > 0).then_some(minute.highest));
    data["dropped"] = json!(minute.dropped);
    data["window"] = json!({ "from": rfc3339(from_us), "to": rfc3339(to_us) });
    data["input_quality"] = json!(minute.input_quality());
    let said = match minute.mean() {
        Some(mean) => format!("mean {mean:.2}, highest {:.2} of {} scores", minute.highest, minute.count),
        None => "no score".to_owned(),
    };
    let text = format!("model {}: {said}", identity.model);
    Event { kind: Kind::Score, edge_time: to_us, device: path.to_owned(), text, data }
}

/// A tag has used up most of the reach of its baseline, `used` of 1.
pub(super) fn drift(path: &str, identity: &Identity, input: &Input, used: f64, now_us: i64) -> Event {
    let (tag, percent) = (&input.tag, (used * 100.0).round());
    let mut data = data_of(identity);
    data["tag"] = json!(tag);
    data["used"] = json!(percent / 100.0);
    data["look_at"] = json!(input.look_at);
    let text = format!(
        "model {}: {tag} has slowly moved: {percent:.0} % of what its baseline may follow is used up, past it there is an \
         alarm. Look at the machine; if it is right as it is now, an engineer accepts it as the new normal on the \
         page /health",
        identity.model
    );
    Event { kind: Kind::Drift, edge_time: now_us, device: path.to_owned(), text, data }
}

/// What somebody said of an episode.
pub(super) fn feedback(diary: &Diary, episode: &Episode, feedback: &Feedback) -> Event {
    let mut data = data_of(&episode.identity);
    data["episode"] = json!(episode.id);
    data["answer"] = json!(feedback.answer);
    data["person"] = json!(feedback.person);
    data["note"] = json!(feedback.note);
    let text = format!(
        "{} says of episode {} of model {}: {}",
        feedback.person,
        episode.id,
        diary.model(),
        feedback.answer.code()
    );
    let device = diary.path().to_owned();
    Event { kind: Kind::Feedback, edge_time: feedback.at_us, device, text, data }
}
