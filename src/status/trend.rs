//! `/m/<device>/trend/<tag>/<span>`: how one value was, from the history on the disk of this box.

use std::fmt::Write;
use std::sync::Arc;

use forebay_connector::{Scalar, Value};
use maud::{Markup, html};

use super::axis::{Marks, Scale, TimeMark, time_marks};
use super::facts::{Trend, TrendStep, TrendWanted};
use super::frame::{Place, encode};
use super::http::Site;
use super::machine::{say_value, unit};
use super::speech::{Speech, plain};
use super::words::{Words, fill};
use crate::device::{Device, Tag};

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

    fn marks(self) -> Marks {
        match self {
            Self::Hour => Marks::Quarters,
            Self::Day => Marks::SixHours,
            Self::Week => Marks::Days,
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
    device: Arc<Device>,
    /// Index into [`Device::tags`].
    tag: usize,
    from_us: i64,
    to_us: i64,
    trend: Trend,
}

/// Reads the past from the disk, one reader at a time; `None` when there is no such machine or value.
pub(super) async fn read(site: &Arc<Site>, asked: &Asked, now_us: i64) -> Option<Past> {
    let device = Arc::clone(&site.twin.device(&asked.device)?.device);
    let index = device.tags.iter().position(|tag| tag.path == asked.tag)?;
    let tag = &device.tags[index];
    let from_us = now_us.saturating_sub(asked.span.hours() * 3_600_000_000);
    let silence_us = i64::try_from(tag.max_silence.as_micros()).unwrap_or(i64::MAX);
    let (facts, path, of) = (Arc::clone(&site.facts), asked.tag.clone(), Arc::clone(&device));
    // Never closed, so this cannot fail.
    let _turn = site.reading.acquire().await.ok()?;
    let read = tokio::task::spawn_blocking(move || {
        facts.trend(&TrendWanted {
            device: &of.path,
            tag: &path,
            from_us,
            to_us: now_us,
            // Twice: what is late by a little is not missing.
            hold_us: silence_us.saturating_mul(2),
            steps: STEPS,
        })
    });
    Some(Past { device, tag: index, from_us, to_us: now_us, trend: read.await.ok()? })
}

pub(super) fn page(asked: &Asked, past: &Past, place: &Place, speech: &Speech) -> Markup {
    let words = speech.words;
    let tag = &past.device.tags[past.tag];
    let known = || past.trend.steps.iter().flatten();
    let low = known().map(|step| step.low).fold(f64::INFINITY, f64::min);
    let high = known().map(|step| step.high).fold(f64::NEG_INFINITY, f64::max);
    let is_empty = known().next().is_none();
    let summary = match is_empty {
        true => words.trend_nothing.to_owned(),
        false => fill(words.trend_low_high, &[&say(tag, low, None, speech), &say(tag, high, None, speech)]),
    };
    let times = [&speech.moment(past.from_us), &speech.moment(past.to_us), &speech.zone_name()];
    let title = past.device.title.get(speech.language.code());
    html! {
        section.verdict { div.says {
            h1.text { (plain(&asked.device)) ": " (plain(&asked.tag)) " " small { (plain(title)) } }
            @if !tag.desc.is_empty() { div.note { (plain(&tag.desc)) } }
            div.note.summary { (summary) }
            @if past.trend.is_cut { div.note { (words.trend_cut) } }
            div.note.when { (fill(words.trend_from_to, &times.map(String::as_str))) }
        } }
        nav.parts {
            a href=(place.to(&format!("/m/{}", encode(&asked.device)))) { "‹ " (plain(&asked.device)) }
            span.spans {
                @for span in Span::ALL {
                    a href=(place.to(&path(&asked.device, &asked.tag, span)))
                        aria-current=[(span == asked.span).then_some("page")] { (span.title(words)) }
                }
            }
        }
        @if !is_empty {
            @let scale = scale(tag, low, high);
            @let marks = time_marks(past.from_us, past.to_us, asked.span.marks(), &speech.zone);
            section.group.past {
                div.values {
                    @for mark in scale.marks().into_iter().rev() {
                        span { (say(tag, mark, Some(scale.decimals()), speech)) }
                    }
                }
                (curve(&past.trend.steps, &scale, &marks, &summary))
                (times_below(&marks, asked.span, speech))
            }
        }
    }
}

/// The axis of values of this tag.
fn scale(tag: &Tag, low: f64, high: f64) -> Scale {
    match tag.data_type.scalar {
        Scalar::Bool => Scale::NO_YES,
        scalar => Scale::around(low, high, !matches!(scalar, Scalar::Real | Scalar::Lreal)),
    }
}

/// A value in words, with its unit; `decimals` as its own, or so many.
fn say(tag: &Tag, number: f64, decimals: Option<usize>, speech: &Speech) -> String {
    #[allow(clippy::cast_possible_truncation)] // an enumeration has small numbers
    let whole = number.round() as i64;
    let is_named = tag.enumeration.as_ref().is_some_and(|names| names.contains_key(&whole));
    let said = match decimals {
        _ if tag.data_type.scalar == Scalar::Bool => say_value(tag, &Value::Bool(number > 0.5), speech),
        _ if is_named => return say_value(tag, &Value::Int(whole), speech),
        Some(decimals) => speech.number(number, decimals),
        None => say_value(tag, &Value::Lreal(number), speech),
    };
    match unit(tag) {
        unit if unit.is_empty() => said,
        unit => format!("{said} {unit}"),
    }
}

/// Times below the curve. They stand at shares of its width, which only a picture can have without
/// styles of its own.
fn times_below(marks: &[TimeMark], span: Span, speech: &Speech) -> Markup {
    let said = |mark: &TimeMark| {
        let is_day = mark.time == jiff::civil::Time::midnight() && span != Span::Hour;
        if is_day { speech.weekday(mark.date) } else { mark.time.strftime("%H:%M").to_string() }
    };
    html! {
        svg.times aria-hidden="true" {
            @for mark in marks {
                text x={ (format!("{:.2}", mark.share * 100.0)) "%" } y="15" text-anchor="middle" { (said(mark)) }
            }
        }
    }
}

/// The mean as a line, lowest to highest as an area behind it; a hole where nothing is known.
fn curve(steps: &[Option<TrendStep>], scale: &Scale, times: &[TimeMark], title: &str) -> Markup {
    let y = |value: f64| HEIGHT - scale.share(value) * HEIGHT;
    #[allow(clippy::cast_precision_loss)] // some hundred steps
    let x = |at: usize| (at as f64 + 0.5) * WIDTH / steps.len() as f64;
    let (mut area, mut line, mut grid) = (String::new(), String::new(), String::new());
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
    for mark in scale.marks() {
        let _written = write!(grid, "M0 {:.1}H{WIDTH}", y(mark));
    }
    for mark in times {
        let _written = write!(grid, "M{:.1} 0V{HEIGHT}", mark.share * WIDTH);
    }
    html! {
        svg class="trend" viewBox="0 0 600 160" preserveAspectRatio="none" role="img" aria-label=(title) {
            path class="area" d=(area) {}
            path class="grid" d=(grid) {}
            path class="line" d=(line) {}
        }
    }
}
