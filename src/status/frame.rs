//! What stands around the pages, and the places in them that can change.

use maud::{DOCTYPE, Markup, html};

use super::draw::{SYMBOLS, badge};
use super::facts::Identity;
use super::judge::Letter;
use super::machine::Part;
use super::speech::{Speech, plain};
use super::words::{Language, fill};

/// A place in the page that the live stream can fill anew.
pub(super) struct Cell {
    pub(super) id: String,
    pub(super) class: &'static str,
    pub(super) html: Markup,
}

pub(super) fn cell(id: impl Into<String>, class: &'static str, html: Markup) -> Cell {
    Cell { id: id.into(), class, html }
}

pub(super) fn spot(cell: &Cell) -> Markup {
    html! { span class=(cell.class) id=(cell.id) { (cell.html) } }
}

pub(super) fn block(cell: &Cell) -> Markup {
    html! { div class=(cell.class) id=(cell.id) { (cell.html) } }
}

/// Where a page is, for its links.
pub(super) struct Place<'a> {
    /// Path, percent-encoded.
    pub(super) path: &'a str,
    /// Language, when the reader has chosen one in the address.
    pub(super) chosen: Option<Language>,
    pub(super) part: usize,
    /// Changes when the process or its files do: tells an open page to load itself anew.
    pub(super) build: &'a str,
    /// When and where to a browser without scripts loads the page anew; empty = never.
    pub(super) refresh: &'a str,
}

impl Place<'_> {
    fn link(&self, path: &str, chosen: Option<Language>, part: usize) -> String {
        let mut link = path.to_owned();
        let mut mark = '?';
        if let Some(language) = chosen {
            link.push(mark);
            link.push_str("lang=");
            link.push_str(language.code());
            mark = '&';
        }
        if part > 1 {
            link.push(mark);
            link.push_str(&format!("part={part}"));
        }
        link
    }

    /// A page, in the language the reader has chosen.
    pub(super) fn to(&self, path: &str) -> String {
        self.link(path, self.chosen, 1)
    }

    /// This page, in the language the reader has chosen and with its part.
    pub(super) fn here(&self) -> String {
        self.link(self.path, self.chosen, self.part)
    }

    /// The part of the build that stands for the files: what comes behind changes with the page.
    fn files(&self) -> &str {
        self.build.split('-').next().unwrap_or_default()
    }

    fn live(&self) -> String {
        self.link(&format!("/live{}", self.path.trim_end_matches('/')), self.chosen, self.part)
    }
}

/// Percent-encodes one path segment (RFC 3986, section 2.3).
pub(super) fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What stands on every page.
pub(super) fn frame(
    identity: &Identity,
    clock: &Cell,
    title: &str,
    body: &Markup,
    place: &Place,
    speech: &Speech,
) -> Markup {
    let words = speech.words;
    let (before, after) = words.page_old.split_once("{0}").unwrap_or((words.page_old, ""));
    html! {
        (DOCTYPE)
        html lang=(speech.language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="icon" type="image/svg+xml" href={ "/assets/icon.svg?v=" (place.files()) };
                link rel="stylesheet" href={ "/assets/forebay.css?v=" (place.files()) };
                @if !place.refresh.is_empty() { noscript { meta http-equiv="refresh" content=(place.refresh); } }
                script src={ "/assets/live.js?v=" (place.files()) } defer {}
            }
            body data-live=(place.live()) data-build=(place.build) {
                (SYMBOLS)
                a.skip href="#content" { (words.to_content) }
                header {
                    a.box href=(place.to("/")) {
                        b { (plain(&identity.name)) }
                        span { (plain(&identity.site)) }
                    }
                    nav.pages {
                        (tab("/", words.overview, place))
                        (tab("/health", speech.health_words().tab, place))
                        (tab("/events", words.events, place))
                    }
                    (spot(clock))
                    nav.languages aria-label=(words.language) {
                        @for language in Language::CHOICES {
                            @let here = language.code() == speech.language.code();
                            a href=(place.link(place.path, Some(language), place.part)) hreflang=(language.code())
                                lang=(language.code()) aria-current=[here.then_some("true")] {
                                (language.code().to_uppercase())
                            }
                        }
                    }
                }
                p.old id="old" role="alert" hidden { (before) span id="old-since" { (speech.moment_exact(speech.now_us)) } (after) }
                main id="content" { (body) }
                footer {
                    span { (fill(words.version, &[&plain(&identity.version)])) }
                    span { (fill(words.up_since, &[&speech.moment(identity.started_us)])) }
                }
            }
        }
    }
}

fn tab(path: &str, name: &str, place: &Place) -> Markup {
    html! { a href=(place.to(path)) aria-current=[(place.path == path).then_some("page")] { (name) } }
}

/// The header's clock.
pub(super) fn clock(time: &str, state: &str, wrong: bool, speech: &Speech) -> Cell {
    cell(
        "clock",
        "clock",
        html! {
            @if wrong { (badge(Some(Letter::S), speech.words)) }
            b { (time) } " " span { (state) }
        },
    )
}

/// The coloured edge of what is not good.
pub(super) fn stripe(letter: Option<Letter>) -> Markup {
    html! { @if let Some(letter) = letter { i class={ "stripe ne-" (letter.as_str()) } {} } }
}

/// Links to the parts of a long list; nothing when it is short.
pub(super) fn parts(part: Part, words: &str, place: &Place, speech: &Speech) -> Markup {
    let number = |n: usize| speech.count(n as u64);
    html! {
        @if part.parts > 1 {
            nav.parts {
                @if part.number > 1 {
                    a rel="prev" href=(place.link(place.path, place.chosen, part.number - 1)) { "‹ " (speech.words.previous) }
                }
                span { (fill(words, &[&number(part.from + 1), &number(part.to), &number(part.total)])) }
                @if part.number < part.parts {
                    a rel="next" href=(place.link(place.path, place.chosen, part.number + 1)) { (speech.words.next) " ›" }
                }
            }
        }
    }
}

/// A page that says why there is none.
pub(super) fn refusal(text: &str, language: Language) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width"; title { "Forebay" } }
            body { p { (text) } p { a href="/" { (language.words().overview) } } }
        }
    }
}
