//! HTML of `/health`.

use maud::{Markup, html};

use super::actions;
use super::draw::badge;
use super::frame::{Cell, Place, block, cell, parts, spot, stripe};
use super::health::{EpisodeRow, Health, Item, answer_words};
use super::month;
use super::people::Signed;
use super::speech::Speech;
use crate::infer::feedback::{Answer, NOTE_CHARS_MAX};
use crate::people::Role;

/// All that can change without a form changing its place.
pub(super) fn cells(health: &Health, speech: &Speech) -> Vec<Cell> {
    let mut cells: Vec<_> = head(health, speech).into();
    for (at, item) in health.items[health.part.from..health.part.to].iter().enumerate() {
        cells.extend(item_cells(at, item, speech));
    }
    cells
}

fn head(health: &Health, speech: &Speech) -> [Cell; 3] {
    [
        cell("v-mark", "mark", html! { (stripe(health.letter)) (badge(health.letter, speech.words)) }),
        cell("v-text", "text", html! { (health.answer) }),
        cell("v-note", "note", html! { (health.note) }),
    ]
}

fn item_cells(at: usize, item: &Item, speech: &Speech) -> [Cell; 4] {
    [
        cell(
            format!("h{at}"),
            "says",
            html! {
                (stripe(item.letter))
                h2 { (item.name) }
                p.headline { (badge(item.letter, speech.words)) span { (item.says) } }
            },
        ),
        cell(format!("s{at}"), "score", html! { (item.score) }),
        cell(format!("c{at}"), "month", month::draw(&item.hours, item.threshold, speech)),
        cell(
            format!("f{at}"),
            "facts",
            html! { dl { @for (label, text) in &item.facts { div { dt { (label) } dd { (text) } } } } },
        ),
    ]
}

pub(super) fn page(health: &Health, signed: Option<&Signed>, place: &Place, speech: &Speech) -> Markup {
    let words = speech.health_words();
    let [mark, text, note] = head(health, speech);
    html! {
        section.verdict {
            (spot(&mark))
            div.says {
                h1 class=(text.class) id=(text.id) role="status" aria-live="polite" { (text.html) }
                (spot(&note))
            }
        }
        (who(signed, place, speech))
        @for (at, item) in health.items[health.part.from..health.part.to].iter().enumerate() {
            @let [says, score, month, facts] = item_cells(at, item, speech);
            section.prediction.health {
                (block(&says)) (block(&score)) (block(&month)) (block(&facts))
                @if let Some(episode) = &item.episode { (answers(episode, signed, place, speech)) }
                (orders(item, signed, place, speech))
            }
        }
        (not_watched(health, signed, place, speech))
        (parts(health.part, words.more_from_to, place, speech))
        @if !health.over.is_empty() {
            section.group.over {
                h2 { (words.over) }
                @for episode in &health.over {
                    div.past-one {
                        p { b { (episode.name) } " " (episode.text) }
                        (answers(episode, signed, place, speech))
                    }
                }
            }
        }
    }
}

/// What was answered, and for who is signed in the buttons.
fn answers(episode: &EpisodeRow, signed: Option<&Signed>, place: &Place, speech: &Speech) -> Markup {
    let words = speech.health_words();
    html! {
        @if !episode.answers.is_empty() {
            ul.answers aria-label=(words.answers) { @for said in &episode.answers { li { (said) } } }
        }
        @if let Some(signed) = signed {
            (actions::form("feedback", &signed.token, &place.here(), &html! {
                input type="hidden" name="episode" value=(episode.id);
                @for answer in Answer::ALL {
                    button type="submit" name="answer" value=(answer.code()) { (answer_words(answer, words)) }
                }
                input.note type="text" name="note" maxlength=(NOTE_CHARS_MAX) placeholder=(words.note)
                    aria-label=(words.note) autocomplete="off";
            }))
        }
    }
}

/// For engineers: what may be done with a model on a machine.
fn orders(item: &Item, signed: Option<&Signed>, place: &Place, speech: &Speech) -> Markup {
    let words = speech.health_words();
    let (device, model) = &item.ids;
    let Some(signed) = signed.filter(|signed| signed.person.role >= Role::Engineer && !device.is_empty())
    else {
        return html! {};
    };
    let form = |action: &str, label: &str| {
        let inner = html! {
            @if action != "promote" { input type="hidden" name="device" value=(device); }
            @if action != "learn" { input type="hidden" name="model" value=(model); }
            button type="submit" { (label) }
        };
        actions::form(action, &signed.token, &place.here(), &inner)
    };
    html! {
        details.orders {
            summary { (words.model) }
            p { (words.learn_why) }
            (form("learn", words.learn))
            p { (words.promote_why) }
            (form("promote", words.promote))
            p { (words.accept_why) }
            (form("accept", words.accept))
        }
    }
}

/// For engineers: machines that no model watches yet.
fn not_watched(health: &Health, signed: Option<&Signed>, place: &Place, speech: &Speech) -> Markup {
    let words = speech.health_words();
    let Some(signed) = signed.filter(|signed| signed.person.role >= Role::Engineer) else { return html! {} };
    html! {
        @if !health.not_watched.is_empty() {
            section.group {
                h2 { (words.learn_new) }
                p { (words.learn_why) }
                @for device in &health.not_watched {
                    (actions::form("learn", &signed.token, &place.here(), &html! {
                        input type="hidden" name="device" value=(device);
                        button type="submit" { (super::words::fill(words.learn_device, &[device])) }
                    }))
                }
            }
        }
    }
}

/// Who is signed in, or how to.
fn who(signed: Option<&Signed>, place: &Place, speech: &Speech) -> Markup {
    let (health, people) = (speech.health_words(), speech.people_words());
    html! {
        p.who {
            @match signed {
                Some(signed) => { a href=(place.to("/sign-in")) { (super::words::fill(people.signed_in, &[&signed.person.name])) } }
                None => { a href=(place.to("/sign-in")) { (health.sign_in_to_answer) } }
            }
        }
    }
}
