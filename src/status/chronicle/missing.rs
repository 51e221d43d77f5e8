//! What is missing, or summed up, in words.

use super::{data, known_hint, moment, number};
use crate::event::Event;
use crate::status::speech::{Speech, plain};
use crate::status::words::fill;

/// Words of a gap event. Causes are those of docs/kafka.md; one that is not among them is named.
pub(super) fn of_gap(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let cause = data(event, "cause")?;
    let records = || Some(speech.count(number(event, "batches")?));
    let samples = || Some(speech.count(number(event, "samples")?));
    let times = || Some((moment(event, "from", speech)?, moment(event, "to", speech)?));
    Some(match cause {
        "disk-budget" | "disk-full" | "operator" => {
            let (from, to) = times()?;
            let why = match cause {
                "operator" => words.by_order,
                "disk-full" => words.disk_full,
                _ => words.room_used,
            };
            let perhaps = event.data.get("perhaps_sent").is_some_and(|it| it == true);
            let sent = if perhaps { words.perhaps_sent } else { words.unsent };
            fill(words.removed, &[&from, &to, &records()?, sent, why])
        }
        "damage" => fill(words.damaged, &[&records()?]),
        "unreadable" => fill(words.passed_over, &[&records()?]),
        "unused" => words.unused.to_owned(),
        "removed" => fill(words.gone, &[&records()?]),
        "offsets-taken" => {
            let perhaps = event.data.get("perhaps_sent").is_some_and(|it| it == true);
            let template = if perhaps { words.numbers_perhaps_taken } else { words.numbers_taken };
            fill(template, &[&records()?])
        }
        "not-storable" => fill(words.not_storable, &[&samples()?]),
        "record-too-large" | "topic-refuses-size" => {
            fill(words.too_large, &[&speech.bytes(number(event, "bytes")?)])
        }
        "dead-letter" => fill(words.dead_letter, &[&plain(data(event, "topic")?)]),
        "rejected" => words.rejected.to_owned(),
        "journal-full" => {
            let (from, to) = times()?;
            fill(words.too_slow, &[&from, &to, &samples()?])
        }
        _ => no_values(event, cause, times(), speech),
    })
}

/// Of a machine that could not be read.
fn no_values(event: &Event, cause: &str, times: Option<(String, String)>, speech: &Speech) -> String {
    let words = speech.event_words();
    let code = plain(cause);
    let why = match cause {
        "box-off" => words.box_off,
        "reload" => words.reloaded,
        _ => known_hint(cause, speech).unwrap_or(&code),
    };
    let Some((from, to)) = times else { return fill(words.missing, &[why]) };
    let mut text = fill(words.no_values, &[&from, &to, why]);
    if let Some(values) = number(event, "from_history") {
        text.push_str(&fill(words.from_history, &[&speech.count(values)]));
    }
    if event.data.get("clock").is_some() {
        text.push_str(words.length_unknown);
    }
    text
}

/// Words of a thinned event.
pub(super) fn of_thinned(event: &Event, speech: &Speech) -> Option<String> {
    let (from, to) = (moment(event, "from", speech)?, moment(event, "to", speech)?);
    let interval = speech.duration(event.data.get("interval_s")?.as_f64()?);
    let records = speech.count(number(event, "batches")?);
    let words = speech.event_words();
    let why = if data(event, "cause") == Some("disk-full") { words.disk_full } else { words.room_used };
    Some(fill(words.summed_up, &[&from, &to, &interval, &records, why]))
}
