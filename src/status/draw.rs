//! Inline pictures: the symbols of NE 107, curves and bars. No `style` attributes, the
//! Content-Security-Policy forbids them; colours come from classes in the style sheet.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::judge::Letter;
use super::machine::Bar;
use super::words::Words;

/// The symbols, once a page; [`badge`] refers to them. Shapes after AUMA AC 01.2, see status-page.md.
pub(super) const SYMBOLS: PreEscaped<&str> = PreEscaped(concat!(
    r##"<svg class="symbols" aria-hidden="true" width="0" height="0">"##,
    r##"<symbol id="ne-F" viewBox="0 0 24 24"><circle class="f" cx="12" cy="12" r="10.5"/>"##,
    r##"<path class="on-dark" d="M7.7 7.7l8.6 8.6m0-8.6l-8.6 8.6"/></symbol>"##,
    r##"<symbol id="ne-C" viewBox="0 0 24 24"><path class="c" d="M12 2L23 21.5H1z"/>"##,
    r##"<path class="ink" d="M8.6 19.3l4-4.2M14.8 10.6a2.7 2.7 0 1 0 2.3 2.3"/></symbol>"##,
    r##"<symbol id="ne-S" viewBox="0 0 24 24"><path class="s" d="M12 2L23 21.5H1z"/>"##,
    r##"<path class="ink" d="M9.4 11.2a2.6 2.6 0 1 1 3.9 2.3c-.9.5-1.3 1-1.3 2m0 2.4v.1"/></symbol>"##,
    r##"<symbol id="ne-M" viewBox="0 0 24 24"><rect class="m" x="1.5" y="1.5" width="21" height="21" rx="1.5"/>"##,
    r##"<path class="on-dark" d="M5 17.5v-5.2h8v5.2zm8-4.2l6-3.8M6.2 12.3c0-3 4.2-3 4.2 0M20 13.2v2.4"/></symbol></svg>"##,
));

/// Symbol and letter; nothing when good.
pub(super) fn badge(letter: Option<Letter>, words: &Words) -> Markup {
    html! {
        @if let Some(letter) = letter {
            span class={ "ne ne-" (letter.as_str()) } title=(letter.meaning(words)) {
                svg aria-hidden="true" { use href={ "#ne-" (letter.as_str()) } {} }
                b { (letter.as_str()) }
            }
        }
    }
}

const WIDTH: usize = 120;
const HEIGHT: f64 = 24.0;

/// A curve of `values` over equal steps; `None` leaves a hole. `limit` is drawn across.
#[allow(clippy::cast_precision_loss)] // at most some hundred steps
pub(super) fn curve(values: &[Option<f64>], limit: Option<f64>, title: &str) -> Markup {
    let known = values.iter().flatten().copied().chain(limit).filter(|value| value.is_finite());
    let top = known.fold(0.0_f64, f64::max) * 1.15;
    let step = WIDTH as f64 / values.len().saturating_sub(1).max(1) as f64;
    let y = |value: f64| match top > 0.0 {
        true => (HEIGHT - 1.0) - (value / top).clamp(0.0, 1.0) * (HEIGHT - 2.0),
        false => HEIGHT - 1.0,
    };
    let mut path = String::new();
    let mut pen_down = false;
    for (at, value) in values.iter().enumerate() {
        match value.filter(|value| value.is_finite()) {
            Some(value) => {
                let command = if pen_down { 'L' } else { 'M' };
                // Writing to a string cannot fail.
                let _written = write!(path, "{command}{:.0} {:.1}", at as f64 * step, y(value));
                pen_down = true;
            }
            None => pen_down = false,
        }
    }
    html! {
        svg class="curve" viewBox="0 0 120 24" preserveAspectRatio="none" role="img" aria-label=(title) {
            path class="base" d="M0 23.5H120" {}
            @if let Some(limit) = limit { path class="limit" d={ "M0 " (format!("{:.1}", y(limit))) "H120" } {} }
            path class="line" d=(path) {}
        }
    }
}

/// A value within its range, with the normal band.
pub(super) fn bar(bar: &Bar, outside: bool) -> Markup {
    let at = |share: f64| format!("{:.1}", 2.0 + share * 116.0);
    let (low, high) = bar.normal;
    html! {
        svg.bar.outside[outside] viewBox="0 0 120 12" preserveAspectRatio="none" role="img" aria-label=(bar.range) {
            rect class="track" x="2" y="4" width="116" height="4" {}
            rect class="band" x=(at(low)) y="4" width=(format!("{:.1}", (high - low).max(0.0) * 116.0)) height="4" {}
            path class="mark" d={ "M" (at(bar.value)) " 0v12" } {}
        }
    }
}
