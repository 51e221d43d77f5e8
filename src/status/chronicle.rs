//! The latest events in words: what `/events` shows.

use maud::html;

use super::facts::{EVENTS_SHOWN_MAX, Facts, Prediction};
use super::judge::hint;
use super::speech::{Speech, plain, sentence};
use super::words::{Language, fill};
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
}

/// The latest events, newest first.
pub(super) fn events(facts: &dyn Facts, speech: &Speech) -> Vec<EventRow> {
    let predictions = facts.predictions();
    let events = facts.events();
    let mut room = WHOLE_BYTES_MAX;
    let rows = events.iter().take(EVENTS_SHOWN_MAX).map(|event| {
        let mut row = event_row(event, &predictions, speech);
        let bytes = html! { (row.text) }.into_string().len();
        room = room.saturating_sub(bytes);
        if room == 0 {
            row.text = plain(&row.text);
        }
        row
    });
    rows.collect()
}

fn event_row(event: &Event, predictions: &[Prediction], speech: &Speech) -> EventRow {
    let words = speech.words;
    let kind = match event.kind {
        Kind::Gap => words.kind_gap,
        Kind::Thinned => words.kind_thinned,
        Kind::DeviceState => words.kind_device,
        Kind::Prediction => words.kind_prediction,
        Kind::ModelState => words.kind_model,
        Kind::Box => words.kind_box,
    };
    let own = own_words(event, predictions, speech);
    EventRow {
        time: speech.moment_exact(event.edge_time),
        kind,
        device: match event.kind {
            Kind::Box => String::new(),
            // The path ends in the device's name.
            _ => plain(event.device.rsplit('/').next().unwrap_or_default()),
        },
        english: own.is_none(),
        text: own.unwrap_or_else(|| sentence(&event.text)),
    }
}

/// Words in the reader's language for the events whose data say all (docs/kafka.md). `None` leaves
/// the event's own text.
fn own_words(event: &Event, predictions: &[Prediction], speech: &Speech) -> Option<String> {
    match event.kind {
        Kind::DeviceState => of_device(event, speech),
        Kind::Gap => of_gap(event, speech),
        Kind::Thinned => of_thinned(event, speech),
        Kind::Prediction => of_prediction(event, predictions, speech),
        Kind::ModelState => of_model(event, speech),
        Kind::Box => of_box(event, speech),
    }
}

fn data<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.data.get(name)?.as_str()
}

fn moment(event: &Event, name: &str, speech: &Speech) -> Option<String> {
    let at: jiff::Timestamp = data(event, name)?.parse().ok()?;
    Some(speech.moment_exact(at.as_microsecond()))
}

fn of_device(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.words;
    match data(event, "state")? {
        "up" => Some(words.event_up.to_owned()),
        "down" => Some(fill(words.event_down, &[known_hint(data(event, "cause")?, speech)?])),
        _ => None,
    }
}

fn of_gap(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.words;
    let (from, to) = (moment(event, "from", speech)?, moment(event, "to", speech)?);
    match (data(event, "cause")?, data(event, "tags")) {
        (cause @ ("disk-budget" | "disk-full" | "operator"), _) => {
            let perhaps = event.data.get("perhaps_sent").is_some_and(|perhaps| perhaps == true);
            let text = match (cause == "operator", perhaps) {
                (false, false) => words.event_evicted,
                (false, true) => words.event_evicted_perhaps,
                (true, false) => words.event_removed,
                (true, true) => words.event_removed_perhaps,
            };
            Some(fill(text, &[&from, &to]))
        }
        (cause, Some("*")) => Some(fill(words.event_gap, &[&from, &to, known_hint(cause, speech)?])),
        _ => None,
    }
}

fn of_thinned(event: &Event, speech: &Speech) -> Option<String> {
    let (from, to) = (moment(event, "from", speech)?, moment(event, "to", speech)?);
    let interval_s = event.data.get("interval_s")?.as_f64()?;
    Some(fill(speech.words.event_thinned, &[&from, &to, &speech.duration(interval_s)]))
}

fn of_prediction(event: &Event, predictions: &[Prediction], speech: &Speech) -> Option<String> {
    let words = speech.words;
    let model = data(event, "model")?;
    let title =
        predictions.iter().find(|it| it.model == model).map(|it| it.title.get(speech.language.code()));
    let title = plain(title.filter(|title| !title.is_empty()).unwrap_or(model));
    let number = |name: &str| Some(speech.number(event.data.get(name)?.as_f64()?, 2));
    match data(event, "state")? {
        "raised" => {
            let look_at = sentence(&text(event, "look_at", speech)?);
            let (score, limit) = (number("score")?, number("threshold")?);
            Some(fill(words.event_raised, &[&title, &score, &limit, &look_at, &largest(event, speech)?]))
        }
        "cleared" => Some(fill(words.event_cleared, &[&title, &number("score")?])),
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

fn of_model(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.words;
    let template = match data(event, "state")? {
        "suppressed" => words.event_suppressed,
        "scoring" => words.event_scoring,
        "broken" => words.event_broken,
        _ => return None,
    };
    Some(fill(template, &[&plain(data(event, "model")?), &sentence(&text(event, "why", speech)?)]))
}

/// A text in several languages.
fn text(event: &Event, name: &str, speech: &Speech) -> Option<String> {
    let texts = event.data.get(name)?;
    let found = texts.get(speech.language.code()).or_else(|| texts.get("en"))?;
    found.as_str().map(str::to_owned)
}

fn of_box(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.words;
    match data(event, "what")? {
        "started" => {
            let version = plain(data(event, "version")?);
            let refused = event.data.get("devices_refused").and_then(|it| it.as_array());
            let refused: Vec<String> =
                refused.into_iter().flatten().filter_map(|it| it.as_str()).map(plain).collect();
            Some(match refused.is_empty() {
                true => fill(words.event_started, &[&version]),
                false => fill(words.event_started_without, &[&version, &sentence(&refused.join(", "))]),
            })
        }
        "disk" => {
            let works = event.data.get("working")?.as_bool()?;
            Some(if works { words.event_disk_good } else { words.event_disk_bad }.to_owned())
        }
        // The path ends in the name of the box.
        "fenced" => Some(fill(words.note_fenced, &[&plain(event.device.rsplit('/').next()?)])),
        // The English text also says why.
        "kafka-away" if speech.language == Language::De => Some(words.event_it_away.to_owned()),
        "kafka-back" => {
            let away = speech.duration(event.data.get("seconds")?.as_f64()?);
            Some(fill(words.event_it_back, &[&away]))
        }
        "second-kafka-begins" => Some(words.event_second_begins.to_owned()),
        "second-kafka-ends" => Some(words.event_second_ends.to_owned()),
        "clock-jump" => {
            let seconds = event.data.get("seconds")?.as_f64()?;
            let sign = if seconds > 0.0 { "+" } else { "" };
            Some(fill(words.event_clock, &[&format!("{sign}{}", speech.number(seconds, 1))]))
        }
        _ => None,
    }
}

/// The hint for this code of [`Cause`], `None` when it has none of its own.
fn known_hint(code: &str, speech: &Speech) -> Option<&'static str> {
    let hint = hint(&Cause { code: code.to_owned(), message: String::new() }, speech.words);
    (hint != speech.words.hint_other).then_some(hint)
}
