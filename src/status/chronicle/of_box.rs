//! What happened to the box itself, in words.

use super::{data, number};
use crate::event::{Event, What};
use crate::status::speech::{Speech, plain, sentence};
use crate::status::words::fill;

/// Names in a list at most; the events lane has more.
const NAMES_SHOWN_MAX: usize = 5;

/// Words of an event of the box.
pub(super) fn of_box(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let text = |name: &str| Some(plain(data(event, name)?));
    let count = |name: &str| Some(speech.count(number(event, name)?));
    let is = |name: &str, word: &str| data(event, name) == Some(word);
    let works = || event.data.get("working")?.as_bool();
    let records =
        || Some(speech.count(number(event, "to_offset")?.saturating_sub(number(event, "from_offset")?)));
    Some(match event.what()? {
        What::Started => return started(event, speech),
        What::ClockJump => clock_jump(event.data.get("seconds")?.as_f64()?, speech),
        What::KafkaAway => words.it_away.to_owned(),
        What::KafkaBack => fill(words.it_back, &[&speech.duration(event.data.get("seconds")?.as_f64()?)]),
        What::SecondKafkaBegins => words.second_begins.to_owned(),
        What::SecondKafkaEnds => fill(words.second_ends, &[&count("records")?]),
        What::Fenced if text("importer").is_some() => {
            fill(speech.words.note_fenced_import, &[&text("importer")?])
        }
        What::ShutOut => words.shut_out.to_owned(),
        // The path ends in the name of the box.
        What::Fenced => fill(speech.words.note_fenced, &[&plain(event.device.rsplit('/').next()?)]),
        What::TopicNew => fill(words.topic_new, &[&text("topic")?]),
        What::Disk => if works()? { words.disk_good } else { words.disk_bad }.to_owned(),
        What::DiskShort => {
            let free = speech.bytes(number(event, "free_bytes")?);
            fill(words.disk_short, &[&free, &speech.bytes(number(event, "reserve_bytes")?)])
        }
        What::DiskSmall => {
            let budget = speech.bytes(number(event, "budget_bytes")?);
            fill(words.disk_small, &[&budget, &speech.bytes(number(event, "room_bytes")?)])
        }
        What::DiskRead => if works()? { words.disk_readable } else { words.disk_unreadable }.to_owned(),
        What::NewOffsets => fill(words.new_numbers, &[&count("batches")?]),
        What::StatePutAside => words.state_put_aside.to_owned(),
        What::NoState => words.no_state.to_owned(),
        What::NoModel => fill(words.no_model, &[&text("model")?]),
        What::ImportStarted => fill(words.import_started, &[&text("edge")?, &records()?]),
        What::ImportHeld => fill(words.import_held, &[&text("edge")?]),
        What::ImportDone => fill(words.import_done, &[&text("edge")?, &records()?]),
        What::ReplayDone => match number(event, "missing").unwrap_or_default() {
            0 => fill(words.replay_done, &[&text("replay")?]),
            missing => fill(words.replay_missing, &[&text("replay")?, &speech.count(missing)]),
        },
        What::StandbyReads => {
            // Without a heartbeat it goes by the lease alone.
            let by_lease = !is("heartbeat", "gone") && is("lease", "gone");
            fill(if by_lease { words.standby_reads_by_lease } else { words.standby_reads }, &[&text("of")?])
        }
        What::StandbyWaits => {
            let by_lease = !is("heartbeat", "lives") && is("lease", "lives");
            fill(if by_lease { words.standby_waits_by_lease } else { words.standby_waits }, &[&text("of")?])
        }
        What::Configuration => configuration(event, speech),
        What::ConfigurationFaults => fill(words.configuration_faults, &[&count("errors")?]),
        What::ReplayCancelled => fill(words.replay_cancelled, &[&text("replay")?]),
    })
}

fn started(event: &Event, speech: &Speech) -> Option<String> {
    let words = speech.event_words();
    let version = plain(data(event, "version")?);
    let refused = event.data.get("devices_refused").and_then(|it| it.as_array());
    let refused: Vec<String> =
        refused.into_iter().flatten().filter_map(|it| it.as_str()).map(plain).collect();
    Some(match refused.is_empty() {
        true => fill(words.started, &[&version]),
        false => fill(words.started_without, &[&version, &sentence(&refused.join(", "))]),
    })
}

/// What is another in a configuration that was taken over.
fn configuration(event: &Event, speech: &Speech) -> String {
    let words = speech.event_words();
    let named = |name: &str| -> Vec<String> {
        let names = event.data.get(name).and_then(|it| it.as_array());
        names.into_iter().flatten().filter_map(|it| it.as_str()).map(plain).collect()
    };
    let lists = [
        (words.machines_new, "devices_added"),
        (words.machines_changed, "devices_changed"),
        (words.machines_removed, "devices_removed"),
        (words.tags_new, "tags_added"),
        (words.tags_removed, "tags_removed"),
        (words.tables_new, "tables"),
        (words.after_restart, "restart"),
    ];
    let parts = lists.into_iter().filter_map(|(template, name)| {
        let names = named(name);
        let count = event.data.pointer(&format!("/counts/{name}")).and_then(|it| it.as_u64());
        let more = count.unwrap_or_default().saturating_sub(NAMES_SHOWN_MAX as u64);
        let mut said: Vec<String> = names.iter().take(NAMES_SHOWN_MAX).cloned().collect();
        if more > 0 {
            said.push(fill(speech.words.and_more, &[&speech.count(more)]));
        }
        (!names.is_empty()).then(|| fill(template, &[&sentence(&said.join(", "))]))
    });
    let parts: Vec<String> = parts.collect();
    let who = match data(event, "by") {
        Some(by) => fill(words.by_whom, &[&plain(by)]),
        None if data(event, "cause") == Some("save") => words.by_save.to_owned(),
        None => String::new(),
    };
    fill(words.configuration, &[&who, &parts.join("; ")])
}

/// How far the clock was set, and which way.
fn clock_jump(seconds: f64, speech: &Speech) -> String {
    let words = speech.event_words();
    let template = if seconds < 0.0 { words.clock_back } else { words.clock_forward };
    fill(template, &[&speech.duration(seconds.abs())])
}

/// What the engineer needs beside these words: the event's own text, English.
pub(super) fn detail(event: &Event) -> &str {
    let is_bad = || event.data.get("working").is_some_and(|it| it == false);
    match event.what() {
        Some(What::KafkaAway | What::ShutOut | What::ImportHeld | What::StatePutAside | What::NoState) => {
            &event.text
        }
        Some(What::ConfigurationFaults) => &event.text,
        Some(What::Disk | What::DiskRead) if is_bad() => &event.text,
        _ => "",
    }
}
