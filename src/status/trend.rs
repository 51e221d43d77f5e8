//! `/m/<device>/trend/<tag>/<span>`: how one value was, from the history on the disk of this box.

use std::fmt::Write;
use std::sync::Arc;

use forebay_connector::Value;
use maud::{Markup, html};

use super::facts::{Trend, TrendStep, TrendWanted};
use super::frame::{Place, encode};
use super::http::Site;
use super::machine::say_value;
use super::speech::{Speech, plain};
use super::words::{Words, fill};
use crate::device::Tag;

/// Steps of a curve: one for two pixels of a small panel.
const STEPS: usize = 300;
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Hour,
    Day,
    Week,
}

impl Span {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    fn code(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 168,
        }
    }

    fn title(self, words: &Words) -> &'static str {
        match self {
            Self::Hour => words.trend_hour,
            Self::Day => words.trend_day,
            Self::Week => words.trend_week,
        }
    }
}

/// Which curve a reader wants.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Name of the machine.
    pub(super) device: String,
    /// Path of the tag.
    pub(super) tag: String,
    span: Span,
}

impl Asked {
    /// `None` when there is no such span.
    pub(super) fn read(device: String, tag: String, span: &str) -> Option<Self> {
        let span = Span::ALL.into_iter().find(|it| it.code() == span)?;
        Some(Self { device, tag, span })
    }

    pub(super) fn path(&self) -> String {
        path(&self.device, &self.tag, self.span)
    }
}

/// The curve of the last day of this value.
pub(super) fn path_of_day(device: &str, tag: &str) -> String {
    path(device, tag, Span::Day)
}

fn path(device: &str, tag: &str, span: Span) -> String {
    format!("/m/{}/trend/{}/{}", encode(device), encode(tag), span.code())
}

/// A value with its past.
pub(super) struct Past {
    tag: Tag,
    from_us: i64,
    to_us: i64,
    trend: Trend,
}

/// Reads the past from the disk, one reader at a time; `None` when there is no such machine or value.
pub(super) async fn read(site: &Arc<Site>, asked: &Asked, now_us: i64) -> Option<Past> {
    let device = Arc::clone(&site.twin.device(&asked.device)?.device);
    let tag = device.tags.iter().find(|tag| tag.path == asked.tag)?.clone();
    let from_us = now_us.saturating_sub(asked.span.hours() * 3_600_000_000);
    let silence_us = i64::try_from(tag.max_silence.as_micros()).unwrap_or(i64::MAX);
    let (facts, path) = (Arc::clone(&site.facts), asked.tag.clone());
    // Never closed, so this cannot fail.
    let _turn = site.reading.acquire().await.ok()?;
    let read = tokio::task::spawn_blocking(move || {
        facts.trend(&TrendWanted {
            device: &device.path,
            tag: &path,
            from_us,
            to_us: now_us,
            // Twice: what is late by a little is not missing.
            hold_us: silence_us.saturating_mul(2),
            steps: STEPS,
        })
    });
    Some(Past { tag, from_us, to_us: now_us, trend: read.await.ok()? })
}

pub(super) fn page(asked: &Asked, past: &Past, place: &Place, speech: &Speech) -> Markup {
    let words = speech.words;
    let known = || past.trend.steps.iter().flatten();
    let low = known().map(|step| step.low).fold(f64::INFINITY, f64::min);
    let high = known().map(|step| step.high).fold(f64::NEG_INFINITY, f64::max);
    let value = |number: f64| {
        let said = say_value(&past.tag, &Value::Lreal(number), speech);
        if past.tag.unit.is_empty() { said } else { format!("{said} {}", plain(&past.tag.unit)) }
    };
    let is_empty = known().next().is_none();
    let summary =
        if is_empty { String::new() } else { fill(words.trend_low_high, &[&value(low), &value(high)]) };
    html! {
        section.verdict { div.says {
            h1.text { (plain(&asked.tag)) " " small { (plain(past.tag.desc.as_str())) } }
            div.note { (if is_empty { words.trend_nothing } else { &summary }) }
            @if past.trend.is_cut { div.note { (words.trend_cut) } }
        } }
        nav.parts {
            a href=(place.to(&format!("/m/{}", encode(&asked.device)))) { "‹ " (plain(&asked.device)) }
            @for span in Span::ALL {
                a href=(place.to(&path(&asked.device, &asked.tag, span)))
                    aria-current=[(span == asked.span).then_some("page")] { (span.title(words)) }
            }
        }
        @if !is_empty {
            section.group.past {
                (curve(&past.trend.steps, (low, high), &summary))
                p.axis { span { (speech.moment(past.from_us)) } span { (speech.moment(past.to_us)) } }
            }
        }
    }
}

/// The mean as a line, lowest to highest as an area behind it; a hole where nothing is known.
fn curve(steps: &[Option<TrendStep>], (low, high): (f64, f64), title: &str) -> Markup {
    let span = if high > low { high - low } else { 1.0 };
    let y = |value: f64| {
        let share = if high > low { (value - low) / span } else { 0.5 };
        (HEIGHT - 4.0) - share * (HEIGHT - 8.0)
    };
    #[allow(clippy::cast_precision_loss)] // some hundred steps
    let x = |at: usize| (at as f64 + 0.5) * WIDTH / steps.len() as f64;
    let (mut area, mut line) = (String::new(), String::new());
    let mut begin = 0;
    for run in steps.chunk_by(|a, b| a.is_some() == b.is_some()) {
        let there = |(at, step): (usize, &Option<TrendStep>)| step.map(|step| (x(begin + at), step));
        let points: Vec<(f64, TrendStep)> = run.iter().enumerate().filter_map(there).collect();
        begin += run.len();
        // Writing to a string cannot fail. A single step is a short line.
        for (at, (x, step)) in points.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            let _written = write!(line, "{command}{x:.0} {:.1}", y(step.mean));
            let _written = write!(area, "{command}{x:.0} {:.1}", y(step.high));
        }
        if points.len() == 1 {
            line.push_str("h1");
        }
        for (x, step) in points.iter().rev() {
            let _written = write!(area, "L{x:.0} {:.1}", y(step.low));
        }
        if !points.is_empty() {
            area.push('z');
        }
    }
    html! {
        svg class="trend" viewBox="0 0 600 160" preserveAspectRatio="none" role="img" aria-label=(title) {
            path class="area" d=(area) {}
            path class="line" d=(line) {}
        }
    }
}
