//! The answer in one sentence. What follows from one cause is one statement.

use std::collections::BTreeMap;

use serde::Serialize;

use super::facts::{Identity, Reserve, ToIt, ToItState};
use super::judge::{Letter, hint};
use super::speech::{Speech, plain};
use super::view::{Row, State};
use super::words::fill;
use crate::device::Text;

/// The sentence at the top.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// Worst letter of what the sentence is about.
    pub(super) letter: Option<Letter>,
    /// One sentence; changes only when the state does.
    pub(super) text: String,
    /// Age of the oldest last value, in words; empty unless all is well.
    pub(super) oldest: String,
    /// A second sentence about the way to IT; empty when it is open.
    pub(super) note: String,
}

/// What the sentence is made from.
pub(super) struct Given<'a> {
    pub(super) machines: &'a [Row],
    pub(super) to_it: &'a ToIt,
    pub(super) reserve: &'a Reserve,
    pub(super) stopped: &'a [Text],
    pub(super) identity: &'a Identity,
}

/// Machines named in one sentence at most.
const NAMED_MAX: usize = 3;

pub(super) fn verdict(given: &Given, speech: &Speech) -> Verdict {
    let (letter, text) = trouble_of_the_box(given, speech)
        .or_else(|| silent_machines(given, speech))
        .or_else(|| doubtful_machines(given.machines, speech))
        .unwrap_or_else(|| (None, all_well(given.machines, speech)));
    let all_up = !given.machines.is_empty() && given.machines.iter().all(|row| row.state == State::Up);
    let oldest = given.machines.iter().filter_map(|row| row.age_s).max_by(f64::total_cmp);
    let oldest = oldest.filter(|_| letter.is_none() && all_up);
    Verdict {
        letter,
        text,
        oldest: oldest.map(|age| fill(speech.words.oldest, &[&speech.duration(age)])).unwrap_or_default(),
        note: note(given, speech),
    }
}

fn note(given: &Given, speech: &Speech) -> String {
    match &given.to_it.state {
        ToItState::Waiting { since_us, cause } => {
            let words = speech.words;
            let waits = match cause.code.as_str() {
                "configuration" => words.note_settings,
                "disk" => words.note_disk,
                _ => words.note_it_waits,
            };
            // What may be lost is not called kept.
            let kept = if given.reserve.is_losing() { "." } else { words.note_kept };
            fill(waits, &[&speech.moment(*since_us)]) + kept
        }
        ToItState::Fenced { importer: Some(path), .. } => {
            fill(speech.words.note_fenced_import, &[&plain(path)])
        }
        ToItState::Fenced { .. } => fill(speech.words.note_fenced, &[&plain(&given.identity.edge_id)]),
        ToItState::Paused { since_us, by } => {
            fill(speech.words.note_paused, &[&plain(by), &speech.moment(*since_us)])
        }
        ToItState::Up | ToItState::Connecting => String::new(),
    }
}

/// A broken disk or a stopped part of the box is worse than any machine.
fn trouble_of_the_box(given: &Given, speech: &Speech) -> Option<(Option<Letter>, String)> {
    let words = speech.words;
    if let Some(error) = &given.reserve.disk_error {
        let text = fill(words.disk_trouble, &[&speech.moment(error.since_us)]);
        return Some((Some(Letter::F), text));
    }
    if let Some(stopped) = given.stopped.first() {
        return Some((Some(Letter::F), plain(stopped.get(speech.language.code()))));
    }
    given.reserve.full.then(|| (Some(Letter::F), words.disk_full.to_owned()))
}

fn silent_machines(given: &Given, speech: &Speech) -> Option<(Option<Letter>, String)> {
    let (words, machines) = (speech.words, given.machines);
    let silent = |row: &&Row| matches!(row.state, State::Down | State::NotRead);
    let down: Vec<&Row> = machines.iter().filter(silent).collect();
    let since = since(&down, given.identity.started_us, speech);
    let hint_of = |row: &Row| row.down.as_ref().map_or(words.hint_other, |cause| hint(cause, words));
    let first = hint_of(down.first()?);
    let same = down.iter().all(|row| hint_of(row) == first);
    // Several machines gone for the same reason hang on one thing: the network, not each PLC.
    let common = if same && first == words.hint_unreachable { words.common_cause } else { first };
    let (count, total) = (down.len().to_string(), machines.len().to_string());
    let names = || list(down.iter().map(|row| row.name.clone()).collect(), speech);
    let text = match (down.as_slice(), same) {
        ([row], _) if machines.len() == 1 && row.state == State::NotRead => {
            fill(words.not_read_only, &[&row.name, first])
        }
        (_, true) if first == words.hint_file => {
            let template = if down.len() == 1 { words.not_read_one } else { words.not_read_many };
            fill(template, &[&count, &total, &names(), first])
        }
        ([row], _) => fill(words.sent_nothing, &[&row.name, &since, first]),
        (_, true) if down.len() == machines.len() => fill(words.none_sends, &[&since, common]),
        (_, true) => fill(words.several_same, &[&count, &total, &since, common, &names()]),
        (_, false) => {
            let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for row in &down {
                groups.entry(hint_of(row)).or_default().push(row.name.clone());
            }
            let each = groups
                .into_iter()
                .map(|(hint, names)| fill(words.name_and_hint, &[&list(names, speech), hint]))
                .collect::<Vec<_>>();
            fill(words.several_mixed, &[&count, &total, &each.join("; ")])
        }
    };
    Some((Some(Letter::F), text))
}

/// Since when these machines send nothing: the earliest moment, or the start when the machine of
/// that moment has not sent anything at all so far.
fn since(down: &[&Row], started_us: i64, speech: &Speech) -> String {
    match down.iter().filter_map(|row| Some((row.since_us?, row.age_s))).min_by_key(|(since, _)| *since) {
        Some((_, None)) => fill(speech.words.the_start, &[&speech.moment(started_us)]),
        Some((since, Some(_))) => speech.moment(since),
        None => String::new(),
    }
}

fn doubtful_machines(machines: &[Row], speech: &Speech) -> Option<(Option<Letter>, String)> {
    let words = speech.words;
    let worst = machines.iter().filter_map(|row| row.worst).max()?;
    let rows: Vec<&Row> = machines.iter().filter(|row| row.worst == Some(worst)).collect();
    let text = match (rows.as_slice(), worst) {
        ([row], _) => fill(words.machine_says, &[&row.name, &row.cause]),
        (_, letter) => {
            let template = match letter {
                Letter::F => words.machines_partly,
                Letter::C => words.machines_served,
                Letter::S | Letter::M => words.machines_doubtful,
            };
            let names = rows.iter().map(|row| row.name.clone()).collect();
            fill(template, &[&rows.len().to_string(), &list(names, speech)])
        }
    };
    Some((Some(worst), text))
}

fn all_well(machines: &[Row], speech: &Speech) -> String {
    let words = speech.words;
    let read = machines.iter().filter(|row| row.state != State::StandingBy).count();
    if let ([first, ..], 0) = (machines, read) {
        return fill(words.stands_by, &[&first.cause]);
    }
    let up = machines.iter().filter(|row| row.state == State::Up).count();
    let total = read.to_string();
    match machines {
        [] => words.none_set_up.to_owned(),
        [only] if up == 0 => fill(words.starting_one, &[&only.name]),
        [only] => fill(words.one_delivers, &[&only.name]),
        _ if up == 0 => fill(words.starting_many, &[&total]),
        _ if up < read => fill(words.some_deliver, &[&up.to_string(), &total]),
        _ => fill(words.all_deliver, &[&total]),
    }
}

fn list(mut names: Vec<String>, speech: &Speech) -> String {
    if names.len() > NAMED_MAX + 1 {
        let more = names.len() - NAMED_MAX;
        names.truncate(NAMED_MAX);
        names.push(fill(speech.words.and_more, &[&more.to_string()]));
    }
    names.join(", ")
}
