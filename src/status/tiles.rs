//! The three fields below the machines: to IT, offline reserve, predictions.

use super::facts::{Errand, ErrandKind, Flash, Identity, PredictionState, Reserve, ToIt, ToItState};
use super::judge::Letter;
use super::speech::{Speech, plain, sentence};
use super::view::{Line, PredictionRow, Tile, prediction_headline};
use super::words::fill;
use crate::twin::Cause;

/// Up to this delay the way to IT counts as up to date, seconds.
const UP_TO_DATE_S: f64 = 10.0;

/// Things sent besides that are shown at most.
const ERRANDS_SHOWN_MAX: usize = 3;

/// From this share of the budget on somebody must act (M).
const RESERVE_LOW: f64 = 0.7;

fn line(text: String) -> Line {
    Line { letter: None, text }
}

/// `reserve` says whether what waits is really kept.
pub(super) fn to_it(numbers: ToIt, reserve: &Reserve, identity: &Identity, speech: &Speech) -> Tile<ToIt> {
    let words = speech.words;
    let backlog = speech.count(numbers.backlog_records);
    let (letter, headline, mut lines) = match &numbers.state {
        ToItState::Connecting => {
            let left = match numbers.perhaps_sent_records {
                0 => words.records_left,
                _ => words.waiting_here_perhaps,
            };
            let left = (numbers.backlog_records > 0).then(|| line(fill(left, &[&backlog])));
            (None, words.it_connecting.to_owned(), left.into_iter().collect())
        }
        ToItState::Waiting { since_us, cause } => {
            let headline = fill(words.it_waiting, &[&speech.moment(*since_us)]);
            let lines = [line(it_cause(cause, speech)), line(kept(&numbers, reserve, speech))];
            (Some(Letter::M), headline, lines.into_iter().chain(second(&numbers, speech)).collect())
        }
        ToItState::Fenced { importer: Some(path), .. } => {
            let goes_on = fill(words.fenced_import_fix, &[&plain(path)]);
            (Some(Letter::M), words.fenced_import.to_owned(), vec![line(goes_on)])
        }
        ToItState::Fenced { .. } => {
            let fix = fill(words.fenced_fix, &[&plain(&identity.edge_id)]);
            (Some(Letter::F), words.fenced.to_owned(), vec![line(fix)])
        }
        ToItState::Paused { since_us, by } => {
            let by = fill(words.it_paused_by, &[&plain(by), &speech.moment(*since_us)]);
            let lines = vec![line(by), line(kept(&numbers, reserve, speech))];
            (Some(Letter::M), words.it_paused.to_owned(), lines)
        }
        ToItState::Up => {
            let (headline, lines) = sending(&numbers, &backlog, speech);
            (None, headline, lines)
        }
    };
    lines.extend(numbers.errands.iter().take(ERRANDS_SHOWN_MAX).map(|it| errand(it, speech)));
    if let Some(us) = numbers.shut_out_us {
        let text = fill(words.shut_out, &[&speech.moment(us)]);
        lines.push(Line { letter: Some(Letter::M), text });
    }
    Tile { letter, headline, lines, numbers }
}

/// How much waits here, and whether that is all there ever was. As long as Kafka was not heard, it may
/// have some of it.
fn kept(numbers: &ToIt, reserve: &Reserve, speech: &Speech) -> String {
    let words = speech.words;
    let kept = match (reserve.is_losing(), numbers.perhaps_sent_records > 0) {
        (false, false) => words.kept_here,
        (false, true) => words.kept_here_perhaps,
        (true, false) => words.waiting_here,
        (true, true) => words.waiting_here_perhaps,
    };
    fill(kept, &[&speech.count(numbers.backlog_records)])
}

/// What is sent besides.
fn errand(errand: &Errand, speech: &Speech) -> Line {
    let words = speech.words;
    let percent = speech.count(errand.done.saturating_mul(100) / errand.total.max(1));
    match errand.kind {
        ErrandKind::Import if errand.held => {
            Line { letter: Some(Letter::M), text: fill(words.errand_held, &[&plain(&errand.name)]) }
        }
        ErrandKind::Import => line(fill(words.errand_import, &[&plain(&errand.name), &percent])),
        ErrandKind::Replay => line(fill(words.errand_replay, &[&plain(&errand.name), &percent])),
    }
}

fn sending(numbers: &ToIt, backlog: &str, speech: &Speech) -> (String, Vec<Line>) {
    let words = speech.words;
    let few = numbers.records_per_s < 0.05 && numbers.committed_records > 0;
    // Between two transactions a rate of 0.0 would read as if nothing arrived.
    let rate = line(match few {
        true => fill(words.sent_so_far, &[&speech.count(numbers.committed_records)]),
        false => fill(words.sending_rate, &[&speech.rate(numbers.records_per_s)]),
    });
    match numbers.delay_s {
        Some(delay) if delay > UP_TO_DATE_S => {
            let mut lines = vec![line(fill(words.records_left, &[backlog]))];
            if let Some(done) = done_in_s(numbers) {
                lines.push(line(fill(words.done_in, &[&speech.duration(done)])));
            }
            (words.catching_up.to_owned(), lines)
        }
        Some(delay) => {
            let headline = fill(words.up_to_date_delay, &[&speech.duration(delay)]);
            (headline, [rate].into_iter().chain(backfill(numbers, speech)).collect())
        }
        None => (words.up_to_date.to_owned(), vec![rate]),
    }
}

/// What a second Kafka does meanwhile.
fn second(numbers: &ToIt, speech: &Speech) -> Option<Line> {
    let sent = numbers.second_records.filter(|_| numbers.second_up)?;
    Some(line(fill(speech.words.it_second, &[&speech.count(sent)])))
}

/// What still follows while fresh data goes first.
fn backfill(numbers: &ToIt, speech: &Speech) -> Option<Line> {
    let words = speech.words;
    let backfill = numbers.backfill.as_ref()?;
    let older = fill(words.older_follow, &[&speech.count(backfill.records)]);
    let when = match backfill.left_s {
        _ if backfill.waits_for_window => words.older_wait.to_owned(),
        Some(left_s) => fill(words.done_in, &[&speech.duration(left_s)]),
        None => return Some(line(older)),
    };
    Some(line(format!("{older}, {when}")))
}

/// Backlog / (send rate − intake); `None` when it does not get less.
#[allow(clippy::cast_precision_loss)] // a guess in minutes
fn done_in_s(numbers: &ToIt) -> Option<f64> {
    let gain = numbers.records_per_s - numbers.intake_per_s;
    (gain > 0.1).then(|| numbers.backlog_records as f64 / gain)
}

fn it_cause(cause: &Cause, speech: &Speech) -> String {
    let words = speech.words;
    match cause.code.as_str() {
        "unreachable" | "lost" => words.it_unreachable.to_owned(),
        "timeout" => words.it_timeout.to_owned(),
        "configuration" => fill(words.it_settings, &[&speech.local_times(&sentence(&cause.message))]),
        "disk" => fill(words.it_disk, &[&speech.local_times(&sentence(&cause.message))]),
        "refused" => words.it_refused.to_owned(),
        "not-trusted" => words.it_not_trusted.to_owned(),
        _ if cause.message.trim().is_empty() => words.it_other.to_owned(),
        _ => format!("{}: {}", words.it_other, speech.local_times(&plain(&cause.message))),
    }
}

#[allow(clippy::cast_precision_loss)] // a share of the budget
pub(super) fn reserve(numbers: Reserve, speech: &Speech) -> Tile<Reserve> {
    let words = speech.words;
    let share = numbers.unsent_bytes as f64 / numbers.budget_bytes.max(1) as f64;
    let used = [speech.bytes(numbers.unsent_bytes), speech.bytes(numbers.budget_bytes)];
    let mut lines = vec![line(fill(words.room_used, &[&used[0], &used[1]]))];
    if let Some(oldest) = numbers.oldest_unsent_us.filter(|at| speech.age_s(*at) > UP_TO_DATE_S) {
        lines.push(line(fill(words.oldest_unsent, &[&speech.moment(oldest)])));
    }
    if let Some(full_from) = numbers.full_from_us {
        lines.push(line(fill(words.full_since, &[&speech.moment(full_from)])));
    }
    if let Some(more) = numbers.thinned_left_s.filter(|_| !numbers.full) {
        lines.push(line(fill(words.then_thinned, &[&speech.duration(more)])));
    }
    lines.extend(flash(&numbers.flash, speech));
    if numbers.dropped_records > 0 {
        lines.push(line(fill(words.dropped, &[&speech.count(numbers.dropped_records)])));
    }
    if numbers.perhaps_dropped_records > 0 {
        lines.push(line(fill(words.perhaps_dropped, &[&speech.count(numbers.perhaps_dropped_records)])));
    }
    let (letter, headline) = match (&numbers.disk_error, numbers.left_s) {
        (Some(error), _) => {
            lines.insert(0, line(speech.local_times(&sentence(&error.message))));
            (Some(Letter::F), words.disk_broken.to_owned())
        }
        (None, _) if numbers.full => {
            lines.insert(0, line(words.reserve_full_fix.to_owned()));
            (Some(Letter::F), words.reserve_full.to_owned())
        }
        (None, _) if numbers.thinning => {
            lines.insert(0, line(words.thinning_fix.to_owned()));
            (Some(Letter::M), words.thinning.to_owned())
        }
        (None, left) => {
            let headline = left.map_or_else(|| words.being_measured.to_owned(), |left| speech.duration(left));
            ((share > RESERVE_LOW).then_some(Letter::M), headline)
        }
    };
    Tile { letter, headline, lines, numbers }
}

/// What others write is told from so many times of what Forebay writes on,
const OTHERS_TOLD_FROM: f64 = 2.0;
/// and when it wears the flash out within so many years.
const OTHERS_TOLD_YEARS: f64 = 10.0;

/// Years of flash life, and on what that rests.
fn flash(flash: &Flash, speech: &Speech) -> Vec<Line> {
    let words = speech.words;
    let (Some(years), Some(per_day)) = (flash.years, flash.written_bytes_per_day) else { return Vec::new() };
    let endurance = speech.bytes(flash.endurance_bytes);
    let own = fill(words.flash_own, &[&amount(per_day, speech), &endurance, &speech.lifetime(years)]);
    let mut lines = vec![line(own)];
    if let (Some(years), Some(all)) = (flash.device_years, flash.device_bytes_per_day)
        && all >= per_day * OTHERS_TOLD_FROM
        && years < OTHERS_TOLD_YEARS
    {
        lines.push(line(fill(words.flash_all, &[&amount(all, speech), &speech.lifetime(years)])));
    }
    lines
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a size for people
fn amount(bytes: f64, speech: &Speech) -> String {
    speech.bytes(bytes as u64)
}

/// Predictions shown on the overview at most; the machines' pages show all.
const PREDICTIONS_SHOWN_MAX: usize = 4;

pub(super) fn predictions(numbers: Vec<PredictionRow>, speech: &Speech) -> Tile<Vec<PredictionRow>> {
    let words = speech.words;
    let mut notable: Vec<_> = numbers.iter().filter(|p| p.letter.is_some()).collect();
    // What somebody must look at comes first, then what makes no statement.
    notable.sort_by_key(|p| (p.state != PredictionState::Raised, std::cmp::Reverse(p.letter)));
    let mut lines: Vec<_> = notable
        .iter()
        .take(PREDICTIONS_SHOWN_MAX)
        .map(|p| Line { letter: p.letter, text: prediction_headline(p, speech) })
        .collect();
    if notable.len() > PREDICTIONS_SHOWN_MAX {
        lines.push(line(fill(words.and_more, &[&(notable.len() - PREDICTIONS_SHOWN_MAX).to_string()])));
    }
    let first = (!lines.is_empty()).then(|| lines.remove(0));
    let running = numbers.iter().filter(|p| p.state != PredictionState::Broken).count();
    let collecting = numbers.iter().all(|p| p.state == PredictionState::Filling);
    let last = numbers.iter().filter_map(|p| p.age_s).min_by(f64::total_cmp);
    if running > 0 {
        lines.push(line(speech.plural(running, words.models_run_one, words.models_run_many, &[])));
        if let Some(age) = last.filter(|_| first.is_none()) {
            lines.push(line(fill(words.last_check, &[&speech.duration(age)])));
        }
    }
    let (letter, headline) = match first {
        Some(first) => (first.letter, first.text),
        None if numbers.is_empty() => (None, words.no_models.to_owned()),
        None if collecting => (None, words.model_collecting.to_owned()),
        None => (None, words.nothing_unusual.to_owned()),
    };
    Tile { letter, headline, lines, numbers }
}
