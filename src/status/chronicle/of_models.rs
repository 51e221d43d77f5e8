//! What models say, in words.

use super::{data, own_text, text};
use crate::event::Event;
use crate::status::facts::Prediction;
use crate::status::speech::{Speech, plain, sentence};
use crate::status::words::fill;

/// What a model watches, in the reader's language; its name when it is not known.
pub(super) fn title(model: &str, predictions: &[Prediction], speech: &Speech) -> String {
    let known = predictions.iter().find(|it| it.model == model);
    let title = known.map(|it| it.title.get(speech.language.code()));
    plain(title.filter(|title| !title.is_empty()).unwrap_or(model))
}

/// What became of an episode.
pub(super) fn of_prediction(event: &Event, predictions: &[Prediction], speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let model = data(event, "model")?;
    let title = title(model, predictions, speech);
    let number = |name: &str| Some(speech.number(event.data.get(name)?.as_f64()?, 2));
    match data(event, "state")? {
        "raised" => {
            let look_at = sentence(text(event, "look_at", speech)?);
            let (score, limit) = (number("score")?, number("threshold")?);
            Some(fill(words.raised, &[&title, &score, &limit, &look_at, &largest(event, speech)?]))
        }
        "worse" => {
            let look_at = sentence(text(event, "look_at", speech)?);
            let (worst, limit) = (number("worst")?, number("threshold")?);
            Some(fill(words.worse, &[&title, &worst, &limit, &look_at, &largest(event, speech)?]))
        }
        "cleared" => Some(fill(words.cleared, &[&title, &number("score")?])),
        _ => None,
    }
}

/// The three tags with the largest share, as in the event's own text.
fn largest(event: &Event, speech: &Speech) -> Option<String> {
    let shares = event.data.get("contributions")?.as_array()?.iter().take(3);
    let said = shares.map(|it| {
        let share = speech.number(it.get("share")?.as_f64()? * 100.0, 0);
        Some(format!("{} {share} %", plain(it.get("tag")?.as_str()?)))
    });
    Some(said.collect::<Option<Vec<_>>>()?.join(", "))
}

/// Why a model does not score, or that it does again.
pub(super) fn of_model(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let template = match data(event, "state")? {
        "suppressed" => words.suppressed,
        "scoring" => words.scoring,
        "broken" => words.broken,
        _ => return None,
    };
    let why = own_text(event, "why", speech).map(sentence).unwrap_or_default();
    let said = fill(template, &[&plain(data(event, "model")?), &why]);
    Some(said.trim_end_matches([':', ' ']).to_owned())
}

/// A tag that cannot be followed much farther.
pub(super) fn of_drift(event: &Event, predictions: &[Prediction], speech: &Speech) -> Option<String> {
    let title = title(data(event, "model")?, predictions, speech);
    let used = speech.number(event.data.get("used")?.as_f64()? * 100.0, 0);
    Some(fill(speech.event_words().drift, &[&title, &plain(data(event, "tag")?), &used]))
}

/// What a model scored in a minute.
pub(super) fn of_score(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let number = |name: &str| Some(speech.number(event.data.get(name)?.as_f64()?, 2));
    let model = plain(data(event, "model")?);
    Some(match (number("mean"), number("highest")) {
        (Some(mean), Some(highest)) => fill(words.scored, &[&model, &mean, &highest]),
        _ => fill(words.not_scored, &[&model]),
    })
}

/// Another version of a model.
pub(super) fn of_version(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let template = match data(event, "change")? {
        "installed" => words.model_installed,
        "activated" => words.model_activated,
        "rolled-back" => words.model_rolled_back,
        "shadow" => words.model_shadow,
        "shadow-ended" => words.model_shadow_ended,
        "accepted" => words.model_accepted,
        "removed" => words.model_removed,
        "refused" => words.model_refused,
        "not-promoted" => words.model_not_promoted,
        _ => return None,
    };
    let why = text(event, "why", speech).map(sentence).unwrap_or_default();
    let mut more = if why.is_empty() { String::new() } else { format!(": {why}") };
    if let Some(by) = data(event, "by").filter(|by| !by.is_empty() && *by != "forebay") {
        more += &fill(words.by_whom, &[&plain(by)]);
    }
    let [model, from, to] = ["model", "from", "to"].map(|name| plain(data(event, name).unwrap_or_default()));
    // Before the first version there was none.
    let from = if from.is_empty() { "–" } else { from.as_str() };
    Some(fill(template, &[&model, from, &to, &more]))
}
