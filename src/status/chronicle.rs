//! The latest events in words: what `/events` shows.

mod missing;
mod of_box;
mod of_models;
mod of_people;

use maud::html;

use super::facts::{EVENTS_SHOWN_MAX, Facts, Prediction};
use super::judge::hint;
use super::speech::{Speech, plain, sentence};
use super::words::fill;
use crate::event::{Event, Kind};
use crate::twin::Cause;

/// Bytes of HTML that whole texts may take; further ones are cut, so that the page stays small.
const WHOLE_BYTES_MAX: usize = 16 * 1024;

/// One event.
pub(super) struct EventRow {
    pub(super) time: String,
    pub(super) kind: &'static str,
    /// Name of the machine, empty for the box.
    pub(super) device: String,
    pub(super) text: String,
    /// The text is English whatever the page's language is.
    pub(super) english: bool,
    /// What the engineer needs beside the text, English; may be empty.
    pub(super) detail: String,
}

/// The latest events, newest first.
pub(super) fn events(facts: &dyn Facts, speech: &Speech) -> Vec<EventRow> {
    let predictions = facts.predictions();
    let events = facts.events();
    let mut room = WHOLE_BYTES_MAX;
    let rows = events.iter().take(EVENTS_SHOWN_MAX).map(|event| {
        let mut row = event_row(event, &predictions, speech);
        let bytes = html! { (row.text) (row.detail) }.into_string().len();
        room = room.saturating_sub(bytes);
        if room == 0 {
            row.text = plain(&row.text);
            row.detail.clear();
        }
        row
    });
    rows.collect()
}

fn event_row(event: &Event, predictions: &[Prediction], speech: &Speech) -> EventRow {
    let words = speech.event_words();
    let kind = match event.kind {
        Kind::Gap => words.gap,
        Kind::Thinned => words.thinned,
        Kind::DeviceState => words.device,
        Kind::Alarm => words.alarm,
        Kind::Prediction => words.prediction,
        Kind::ModelState | Kind::ModelChanged | Kind::Drift | Kind::Score => words.model,
        Kind::Feedback => words.feedback,
        Kind::Person => words.person,
        Kind::Box => words.the_box,
    };
    let own = own_words(event, predictions, speech);
    let detail = if own.is_some() { detail(event, speech) } else { "" };
    EventRow {
        time: speech.moment_exact(event.edge_time),
        kind,
        device: match event.kind {
            Kind::Box | Kind::Person => String::new(),
            // The path ends in the device's name.
            _ => plain(event.device.rsplit('/').next().unwrap_or_default()),
        },
        english: own.is_none(),
        text: own.unwrap_or_else(|| speech.local_times(&sentence(&event.text))),
        detail: speech.local_times(&sentence(detail)),
    }
}

/// Words in the reader's language, made from the event's data (docs/kafka.md). `None` when these are
/// not what they should be: then its own text is shown.
fn own_words(event: &Event, predictions: &[Prediction], speech: &Speech) -> Option<String> {
    match event.kind {
        Kind::DeviceState => of_device(event, speech),
        Kind::Gap => missing::of_gap(event, speech),
        Kind::Thinned => missing::of_thinned(event, speech),
        Kind::Alarm => of_alarm(event, speech),
        Kind::Prediction => of_models::of_prediction(event, predictions, speech),
        Kind::ModelState => of_models::of_model(event, speech),
        Kind::ModelChanged => of_models::of_version(event, speech),
        Kind::Drift => of_models::of_drift(event, predictions, speech),
        Kind::Score => of_models::of_score(event, speech),
        Kind::Feedback => of_people::of_feedback(event, predictions, speech),
        Kind::Person => of_people::of_person(event, speech),
        Kind::Box => of_box::of_box(event, speech),
    }
}

/// What the engineer needs beside the words: where and why, as those say it who found it.
fn detail<'a>(event: &'a Event, speech: &Speech) -> &'a str {
    match event.kind {
        // A reason of our own has both languages, one of the model's runtime has not.
        Kind::ModelState if own_text(event, "why", speech).is_none() => {
            event.data.pointer("/why/en").and_then(|why| why.as_str()).unwrap_or_default()
        }
        Kind::Gap => data(event, "detail").unwrap_or_default(),
        Kind::Box => of_box::detail(event),
        Kind::Thinned
        | Kind::DeviceState
        | Kind::Alarm
        | Kind::Prediction
        | Kind::ModelState
        | Kind::ModelChanged
        | Kind::Drift
        | Kind::Score
        | Kind::Feedback
        | Kind::Person => "",
    }
}

fn data<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.data.get(name)?.as_str()
}

fn number(event: &Event, name: &str) -> Option<u64> {
    event.data.get(name)?.as_u64()
}

fn moment(event: &Event, name: &str, speech: &Speech) -> Option<String> {
    let at: jiff::Timestamp = data(event, name)?.parse().ok()?;
    Some(speech.moment_exact(at.as_microsecond()))
}

fn of_device(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    match data(event, "state")? {
        "up" => Some(words.up.to_owned()),
        "down" => {
            let hint = known_hint(data(event, "cause")?, speech).unwrap_or(speech.words.hint_other);
            Some(fill(words.down, &[hint]))
        }
        "address" => {
            Some(fill(words.address, &[&plain(data(event, "address")?), &plain(data(event, "before")?)]))
        }
        state @ ("slowed" | "hastened") => {
            let ms = |name| Some(speech.count(number(event, name)?));
            let template = match (state, number(event, "every_ms")? == number(event, "asked_ms")?) {
                ("slowed", _) => words.slowed,
                (_, false) => words.hastened,
                (_, true) => words.as_asked,
            };
            let scan = plain(data(event, "scan")?);
            Some(fill(template, &[&scan, &ms("asked_ms")?, &ms("every_ms")?, &ms("took_ms")?]))
        }
        _ => None,
    }
}

/// The words are the device's own, in its own language; only whether it is on is said in ours.
fn of_alarm(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    if let Some(left_out) = number(event, "left_out") {
        return Some(fill(words.messages_left_out, &[&speech.count(left_out)]));
    }
    let template = match event.data.get("active").and_then(serde_json::Value::as_bool) {
        Some(true) => words.alarm_on,
        Some(false) => words.alarm_off,
        None => "{0}",
    };
    Some(fill(template, &[&sentence(&event.text)]))
}

/// A text in several languages, in that of the reader; in English when it has no other.
fn text<'a>(event: &'a Event, name: &str, speech: &Speech) -> Option<&'a str> {
    own_text(event, name, speech).or_else(|| event.data.get(name)?.get("en")?.as_str())
}

/// The same only in the language of the reader.
fn own_text<'a>(event: &'a Event, name: &str, speech: &Speech) -> Option<&'a str> {
    event.data.get(name)?.get(speech.language.code())?.as_str()
}

/// The hint for this code of [`Cause`], `None` when it has none of its own.
fn known_hint(code: &str, speech: &Speech) -> Option<&'static str> {
    let hint = hint(&Cause { code: code.to_owned(), message: String::new() }, speech.words);
    (hint != speech.words.hint_other).then_some(hint)
}
