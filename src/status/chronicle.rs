//! The latest events in words: what `/events` shows.

use super::facts::{EVENTS_SHOWN_MAX, Facts};
use super::judge::hint;
use super::speech::{Speech, plain};
use super::words::fill;
use crate::event::{Event, Kind};
use crate::twin::Cause;

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
    facts.events().iter().take(EVENTS_SHOWN_MAX).map(|event| event_row(event, speech)).collect()
}

fn event_row(event: &Event, speech: &Speech) -> EventRow {
    let words = speech.words;
    let kind = match event.kind {
        Kind::Gap => words.kind_gap,
        Kind::DeviceState => words.kind_device,
        Kind::Prediction => words.kind_prediction,
        Kind::ModelState => words.kind_model,
        Kind::Box => words.kind_box,
    };
    let own = own_words(event, speech);
    EventRow {
        time: speech.moment_exact(event.edge_time),
        kind,
        device: match event.kind {
            Kind::Box => String::new(),
            // The path ends in the device's name.
            _ => plain(event.device.rsplit('/').next().unwrap_or_default()),
        },
        english: own.is_none(),
        text: own.unwrap_or_else(|| plain(&event.text)),
    }
}

/// Words in the reader's language for the events whose data say all (docs/kafka.md): a machine
/// that came or went, and the gap it left. `None` leaves the event's own text.
fn own_words(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.words;
    let data = |name: &str| event.data.get(name)?.as_str();
    let moment = |name: &str| {
        let at: jiff::Timestamp = data(name)?.parse().ok()?;
        Some(speech.moment_exact(at.as_microsecond()))
    };
    match event.kind {
        Kind::DeviceState if data("state") == Some("up") => Some(words.event_up.to_owned()),
        Kind::DeviceState if data("state") == Some("down") => {
            Some(fill(words.event_down, &[known_hint(data("cause")?, speech)?]))
        }
        Kind::Gap if data("tags") == Some("*") => {
            let hint = known_hint(data("cause")?, speech)?;
            Some(fill(words.event_gap, &[&moment("from")?, &moment("to")?, hint]))
        }
        _ => None,
    }
}

/// The hint for this code of [`Cause`], `None` when it has none of its own.
fn known_hint(code: &str, speech: &Speech) -> Option<&'static str> {
    let hint = hint(&Cause { code: code.to_owned(), message: String::new() }, speech.words);
    (hint != speech.words.hint_other).then_some(hint)
}
