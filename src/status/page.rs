//! HTML of the pages. What can change stands in [`Cell`]s: the page and the live stream make them
//! by the same functions.

use maud::{Markup, html};

use super::certificates;
use super::chronicle::EventRow;
use super::draw::{badge, bar, curve};
use super::frame::{Cell, Place, block, cell, encode, parts, spot, stripe};
use super::machine::{Machine, Part, TagRow};
use super::speech::Speech;
use super::view::{PredictionRow, Row, State, Tile, View};
use super::words::fill;

/// Machines on one page at most: keeps the page under 60 KB.
pub(super) const MACHINES_SHOWN_MAX: usize = 40;

/// All that can change on `/`.
pub(super) fn overview_cells(view: &View, part: Part, speech: &Speech) -> Vec<Cell> {
    let mut cells: Vec<_> = verdict_cells(view, speech).into();
    cells.extend(tile_cells(view, speech));
    for (at, row) in view.machines[part.from..part.to].iter().enumerate() {
        cells.extend(row_cells(at, row, speech));
    }
    cells
}

pub(super) fn overview(view: &View, part: Part, place: &Place, speech: &Speech) -> Markup {
    html! {
        section.verdict {
            @let [mark, text, oldest, note, clock, standby] = verdict_cells(view, speech);
            (spot(&mark))
            div.says {
                h1 class=(text.class) id=(text.id) role="status" aria-live="polite" { (text.html) }
                " " (spot(&oldest))
                (spot(&note))
                (spot(&clock))
                (spot(&standby))
            }
        }
        @if !view.machines.is_empty() {
            ul.machines.wide[part.to - part.from > 3] {
                @for (at, row) in view.machines[part.from..part.to].iter().enumerate() {
                    @let [mark, cause, age, good, rate] = row_cells(at, row, speech);
                    li {
                        a.row.unread[row.state == State::NotRead] href=(place.to(&format!("/m/{}", encode(&row.key)))) {
                            (spot(&mark))
                            b.name { (row.name) }
                            (spot(&age)) (spot(&good)) (spot(&cause)) (spot(&rate))
                        }
                    }
                }
            }
        }
        (parts(part, speech.words.machines_from_to, place, speech))
        section.tiles {
            @let [it, reserve, predictions] = tile_cells(view, speech);
            (block(&it)) (block(&reserve))
            a.whole href=(place.to("/health")) { (block(&predictions)) }
        }
    }
}

fn verdict_cells(view: &View, speech: &Speech) -> [Cell; 6] {
    let verdict = &view.verdict;
    [
        cell("v-mark", "mark", html! { (stripe(verdict.letter)) (badge(verdict.letter, speech.words)) }),
        cell("v-text", "text", html! { (verdict.text) }),
        cell("v-oldest", "oldest", html! { (verdict.oldest) }),
        cell("v-note", "note", html! { (verdict.note) }),
        cell("v-clock", "note", html! { (view.clock_note) }),
        cell(
            "v-standby",
            "note",
            html! {
                @if let Some(standby) = &view.standby { (badge(standby.letter, speech.words)) " " (standby.text) }
            },
        ),
    ]
}

fn row_cells(at: usize, row: &Row, speech: &Speech) -> [Cell; 5] {
    let words = speech.words;
    let rates: Vec<_> =
        row.rates.iter().map(|rate| rate.and_then(|rate| u32::try_from(rate).ok()).map(f64::from)).collect();
    let now = row.rates.iter().rev().flatten().next().copied().unwrap_or_default();
    let title = fill(words.rate_title, &[&speech.count(now)]);
    [
        cell(format!("m{at}"), "mark", html! { (stripe(row.letter)) (badge(row.letter, words)) }),
        cell(
            format!("c{at}"),
            "cause",
            html! {
                @if row.cause.is_empty() { span.title { (row.title) } } @else { (row.cause) }
            },
        ),
        cell(format!("a{at}"), "age", html! { span title=(words.age_title) { (row.age) } }),
        cell(
            format!("g{at}"),
            "good",
            html! { @if row.total > 0 { span title=(words.good_title) { (row.good) "/" (row.total) } } },
        ),
        cell(
            format!("r{at}"),
            "rate",
            html! {
                // One point is no curve.
                @if rates.iter().flatten().count() > 1 { (curve(&rates, None, &title)) }
            },
        ),
    ]
}

fn tile_cells(view: &View, speech: &Speech) -> [Cell; 3] {
    let words = speech.words;
    [
        cell("t-it", "tile", tile(words.to_it, &view.to_it, speech)),
        cell("t-reserve", "tile", tile(words.offline_reserve, &view.reserve, speech)),
        cell("t-predictions", "tile", tile(words.predictions, &view.predictions, speech)),
    ]
}

fn tile<T>(name: &str, tile: &Tile<T>, speech: &Speech) -> Markup {
    html! {
        (stripe(tile.letter))
        h2 { (name) }
        p.headline { (badge(tile.letter, speech.words)) span { (tile.headline) } }
        @for line in &tile.lines {
            p { (badge(line.letter, speech.words)) span { (line.text) } }
        }
    }
}

/// All that can change on `/m/<device>`.
pub(super) fn machine_cells(machine: &Machine, speech: &Speech) -> Vec<Cell> {
    let mut cells: Vec<_> = machine_head(machine, speech).into();
    cells.push(certificate_cell(machine, speech));
    for tag in machine.groups.iter().flat_map(|group| &group.tags) {
        cells.extend(tag_cells(tag, speech));
    }
    cells
}

pub(super) fn machine(machine: &Machine, place: &Place, speech: &Speech) -> Markup {
    let row = &machine.row;
    let [mark, state, good, predictions, connection] = machine_head(machine, speech);
    html! {
        section.verdict {
            (spot(&mark))
            div.says {
                h1.text { (row.name) " " small { (row.title) } }
                div.note id=(state.id) role="status" aria-live="polite" { (state.html) }
                (spot(&good))
            }
        }
        (block(&predictions))
        // What waits for a person comes first, what is settled last.
        @let (certificates, waits) = (certificate_cell(machine, speech), certificates::wait(&machine.certificates));
        @if waits { (block(&certificates)) }
        div.groups {
            @for group in &machine.groups {
                section.group {
                    h2 { (group.title) }
                    @for tag in &group.tags {
                        @let [mark, value, bar, age] = tag_cells(tag, speech);
                        div.tag {
                            (spot(&mark))
                            @match &tag.trend {
                                Some(trend) => { a.name href=(place.to(trend)) { b { (tag.name) } span { (tag.desc) } } }
                                None => { span.name { b { (tag.name) } span { (tag.desc) } } }
                            }
                            (spot(&bar)) (spot(&value)) (spot(&age))
                        }
                    }
                }
            }
        }
        (parts(machine.part, speech.words.values_from_to, place, speech))
        @if machine.row.state != State::NotRead {
            section.group.connection { h2 { (speech.words.connection) } (block(&connection)) }
        }
        @if !waits { (block(&certificates)) }
        @if !machine.check.is_empty() {
            section.group { h2 { (speech.words.file_faults) } pre lang="en" { (machine.check) } }
        }
    }
}

fn certificate_cell(machine: &Machine, speech: &Speech) -> Cell {
    cell("x", "certificates", certificates::block(&machine.certificates, speech))
}

fn machine_head(machine: &Machine, speech: &Speech) -> [Cell; 5] {
    let row = &machine.row;
    let words = speech.words;
    [
        cell("v-mark", "mark", html! { (stripe(row.letter)) (badge(row.letter, words)) }),
        cell(
            "v-text",
            "note",
            html! {
                (machine.state) @if !row.cause.is_empty() && row.state != State::Starting { " · " (row.cause) }
            },
        ),
        cell(
            "v-good",
            "oldest",
            html! {
                @if row.state != State::NotRead {
                    (fill(words.values_good, &[&speech.count(row.good as u64), &speech.count(row.total as u64)]))
                }
                @if row.age_s.is_some() { ", " (fill(words.last_good, &[&row.age])) }
            },
        ),
        cell(
            "p",
            "predictions",
            html! {
                @for prediction in &machine.predictions { (prediction_block(prediction, speech)) }
            },
        ),
        cell(
            "k",
            "facts",
            html! {
                dl { @for (label, value) in &machine.connection { div { dt { (label) } dd lang=[(*label == words.for_engineer).then_some("en")] { (value) } } } }
            },
        ),
    ]
}

fn prediction_block(p: &PredictionRow, speech: &Speech) -> Markup {
    let words = speech.words;
    let history: Vec<_> = p.history.iter().map(|score| Some(f64::from(*score))).collect();
    html! {
        section.prediction {
            (stripe(p.letter))
            h2 { (words.predictions) ": " (p.title) }
            p.headline { (badge(p.letter, words)) span { (p.text) } }
            @if history.len() > 1 { (curve(&history, Some(p.threshold), words.score_title)) }
            p {
                @if let Some(score) = p.score {
                    (fill(words.score_of, &[&speech.number(score, 2), &speech.number(p.threshold, 2)])) ", "
                }
                @if let Some(since) = p.since_us { (fill(words.since, &[&speech.moment(since)])) ", " }
                @if let Some(age) = p.age_s { (fill(words.last_check, &[&speech.duration(age)])) ", " }
                (fill(words.model_version, &[&p.version]))
            }
        }
    }
}

fn tag_cells(tag: &TagRow, speech: &Speech) -> [Cell; 4] {
    let at = tag.index;
    [
        cell(
            format!("m{at}"),
            "mark",
            html! {
                @if !tag.away { (stripe(tag.letter)) }
                (badge(tag.letter, speech.words))
            },
        ),
        cell(
            format!("v{at}"),
            "value",
            html! {
                span.away[tag.away] { b { (tag.value) } @if !tag.unit.is_empty() { " " (tag.unit) } }
                // The head of the page has said it once already.
                @if !tag.away && !tag.worth.is_empty() { em { (tag.worth) } }
            },
        ),
        cell(
            format!("b{at}"),
            "range",
            html! {
                @if let Some(range) = &tag.bar { (bar(range, tag.letter.is_some())) }
            },
        ),
        cell(format!("a{at}"), "age", html! { (tag.age) }),
    ]
}

/// All that can change on `/events`.
pub(super) fn event_cells(events: &[EventRow], speech: &Speech) -> Vec<Cell> {
    vec![cell(
        "e",
        "events",
        html! {
            @if events.is_empty() { p { (speech.words.no_events) } }
            @else {
                ol { @for event in events {
                    li {
                        span.time { (event.time) }
                        span.kind { (event.kind) }
                        b { (event.device) }
                        span.what lang=[event.english.then_some("en")] {
                            (event.text)
                            @if !event.detail.is_empty() { small lang="en" { (event.detail) } }
                        }
                    }
                } }
            }
        },
    )]
}

pub(super) fn events(events: &[EventRow], speech: &Speech) -> Markup {
    html! {
        h1.heading { (speech.words.events) " " small { (fill(speech.words.times_are, &[&speech.zone_name()])) } }
        @for cell in &event_cells(events, speech) { (block(cell)) }
    }
}
