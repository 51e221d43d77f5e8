//! What people did on the page, in words.

use super::{data, of_models};
use crate::event::Event;
use crate::status::facts::Prediction;
use crate::status::speech::{Speech, plain, sentence};
use crate::status::words::fill;

/// What somebody said of an episode.
pub(super) fn of_feedback(event: &Event, predictions: &[Prediction], speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let answer = match data(event, "answer")? {
        "seen" => words.answer_seen,
        "real" => words.answer_real,
        "false-alarm" => words.answer_false_alarm,
        _ => return None,
    };
    let title = of_models::title(data(event, "model")?, predictions, speech);
    let said = fill(answer, &[&title, &plain(data(event, "person")?)]);
    Some(match data(event, "note").unwrap_or_default() {
        "" => said,
        note => format!("{said}: {}", sentence(note)),
    })
}

/// Somebody came, was refused, or is new.
pub(super) fn of_person(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let template = match data(event, "state")? {
        "signed-in" => words.signed_in,
        "signed-out" => words.signed_out,
        "refused" => words.sign_in_refused,
        "added" => words.person_added,
        "removed" => words.person_removed,
        _ => return None,
    };
    Some(fill(template, &[&plain(data(event, "person")?), &plain(data(event, "from").unwrap_or_default())]))
}
