//! Diagnostics as text for people, JSON for programs, and workflow commands for GitHub.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::redact::redacted;
use super::{Diagnostic, Place, Severity, Source, Sources, Span};

/// Lines wider than this are cut around the caret.
const LINE_WIDTH_MAX: usize = 240;

/// Longer lines are not shown at all: laying one out takes time in proportion to its length.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Places further apart than this many bytes are shown as two snippets.
const SNIPPET_BYTES_MAX: usize = 16 * 1024;

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: source line, caret and help.
    #[default]
    Text,
    /// One JSON array.
    Json,
    /// GitHub workflow commands, shown beside the changed lines.
    Github,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

impl Format {
    /// The format with this name on the command line.
    ///
    /// # Errors
    /// Names the formats there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "github" => Ok(Self::Github),
            "sarif" => Ok(Self::Sarif),
            _ => Err("text, json, github or sarif".to_owned()),
        }
    }
}

/// Writes the diagnostics, in the order given. `hidden` more were found and are only counted.
///
/// No diagnostics give an empty text (`[]` as JSON).
pub fn render(
    sources: &Sources,
    diagnostics: &[Diagnostic],
    hidden: usize,
    format: Format,
    color: bool,
) -> String {
    let sources = &redacted(sources);
    match format {
        Format::Text => text(sources, diagnostics, hidden, color),
        Format::Json => json(sources, diagnostics),
        Format::Github => github(sources, diagnostics),
        Format::Sarif => super::sarif::sarif(sources, diagnostics),
    }
}

fn text(sources: &Sources, diagnostics: &[Diagnostic], hidden: usize, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(LINE_WIDTH_MAX);
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&renderer.render(&[report(sources, diagnostic)]));
        out.push_str("\n\n");
    }
    if hidden > 0 {
        out.push_str(&format!("and {hidden} more, not shown\n\n"));
    }
    for (index, source) in sources.files.iter().enumerate() {
        let count =
            |severity| diagnostics.iter().filter(|d| d.place.file == index && d.severity == severity).count();
        let counts = [count(Severity::Error), count(Severity::Warning)];
        if counts != [0, 0] {
            let words: Vec<String> = [("error", counts[0]), ("warning", counts[1])]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(word, count)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
                .collect();
            // Writing to a String cannot fail.
            let _written = writeln!(out, "{}: {}", source.name, words.join(", "));
        }
    }
    out
}

/// One diagnostic for annotate-snippets: title, source lines with carets, notes, help.
fn report<'a>(sources: &'a Sources, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(&diagnostic.message).id(diagnostic.code));
    let (near, far): (Vec<_>, Vec<_>) = diagnostic.also.iter().partition(|(place, _)| {
        place.file == diagnostic.place.file
            && place.span.start.abs_diff(diagnostic.place.span.start) <= SNIPPET_BYTES_MAX
    });
    if let Some(source) = sources.files.get(diagnostic.place.file) {
        let start = diagnostic.place.span.start;
        if source.text.is_empty() {
            group = group.element(Origin::path(source.name.as_str()));
        } else if source.line_end(start) - source.line_start(start) > LINE_BYTES_MAX {
            let (line, column) = source.line_column(start);
            group = group.element(Origin::path(source.name.as_str()).line(line).char_column(column));
        } else {
            let primary = (diagnostic.place.span, diagnostic.label.as_str());
            let context: Vec<_> = near.iter().map(|(place, label)| (place.span, label.as_str())).collect();
            group = group.element(snippet(source, Some(primary), &context));
        }
    }
    for (place, label) in far {
        if let Some(source) = sources.files.get(place.file) {
            group = group.element(snippet(source, None, &[(place.span, label.as_str())]));
        }
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    if !diagnostic.help.is_empty() {
        group = group.element(Level::HELP.message(&diagnostic.help));
    }
    group
}

/// The lines around the spans only: a whole file of 1 MiB for each of 500 faults takes minutes.
fn snippet<'a>(
    source: &'a Source,
    primary: Option<(Span, &'a str)>,
    context: &[(Span, &'a str)],
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let spans = || primary.iter().chain(context).map(|(span, _)| span.start);
    let start = source.line_start(spans().min().unwrap_or(0));
    let end = source.line_end(spans().max().unwrap_or(0));
    let text = &source.text[start..end];
    let mark = |kind: AnnotationKind, (span, label): (Span, &'a str)| {
        let range = within_line(source, span);
        let annotation = kind.span(range.start - start..range.end - start);
        if label.is_empty() { annotation } else { annotation.label(label) }
    };
    Snippet::source(text)
        .line_start(source.line(start))
        .path(source.name.as_str())
        .annotations(primary.map(|it| mark(AnnotationKind::Primary, it)))
        .annotations(context.iter().map(|it| mark(AnnotationKind::Context, *it)))
}

/// A span cut to its first line and to whole characters, at least one character long where the
/// line has one left.
fn within_line(source: &Source, span: Span) -> Span {
    let start = source.floor(span.start);
    let line_end = source.line_end(start).max(start);
    let mut end = source.floor(span.end).clamp(start, line_end);
    if end == start && end < line_end {
        end += source.text[start..].chars().next().map_or(0, char::len_utf8);
    }
    Span { start, end }
}

/// One diagnostic as programs read it.
#[derive(Serialize)]
struct Record<'a> {
    code: &'a str,
    severity: &'a str,
    message: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    also: Vec<Also<'a>>,
    notes: &'a [String],
    help: &'a str,
}

/// Another place of a diagnostic.
#[derive(Serialize)]
struct Also<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    label: &'a str,
}

/// Name, line and column of a place; a place without a file is shown at 1:1 of nothing.
fn locate<'a>(sources: &'a Sources, place: &Place, at: usize) -> (&'a str, usize, usize) {
    sources.files.get(place.file).map_or(("", 1, 1), |source| {
        let (line, column) = source.line_column(at);
        (source.name.as_str(), line, column)
    })
}

fn json(sources: &Sources, diagnostics: &[Diagnostic]) -> String {
    let records: Vec<Record<'_>> = diagnostics
        .iter()
        .map(|diagnostic| {
            let (file, line, column) = locate(sources, &diagnostic.place, diagnostic.place.span.start);
            let (_, end_line, end_column) = locate(sources, &diagnostic.place, diagnostic.place.span.end);
            let also = diagnostic.also.iter().map(|(place, label)| {
                let (file, line, column) = locate(sources, place, place.span.start);
                Also { file, line, column, label }
            });
            Record {
                code: diagnostic.code,
                severity: diagnostic.severity.as_str(),
                message: &diagnostic.message,
                file,
                line,
                column,
                end_line,
                end_column,
                label: &diagnostic.label,
                device: diagnostic.device.as_deref(),
                also: also.collect(),
                notes: &diagnostic.notes,
                help: &diagnostic.help,
            }
        })
        .collect();
    // Texts and numbers always have a JSON form.
    serde_json::to_string_pretty(&records).unwrap_or_default() + "\n"
}

fn github(sources: &Sources, diagnostics: &[Diagnostic]) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for diagnostic in diagnostics {
        let (file, line, column) = locate(sources, &diagnostic.place, diagnostic.place.span.start);
        let mut message = diagnostic.message.clone();
        for more in diagnostic.notes.iter().chain(Some(&diagnostic.help)).filter(|text| !text.is_empty()) {
            message.push('\n');
            message.push_str(more);
        }
        out.push_str(&format!(
            "::{} file={},line={line},col={column},title={}::{}\n",
            diagnostic.severity.as_str(),
            property(file),
            property(diagnostic.code),
            data(&message),
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, start: usize, end: usize) -> (Sources, Vec<Diagnostic>) {
        let mut sources = Sources::default();
        let file = sources.add(Source::new("bad.toml", text.to_owned()));
        let place = Place { file, span: Span { start, end } };
        let diagnostic =
            Diagnostic::error("P0102", place, "unknown key `ü`").label("here").help("a: b, 50%\nc");
        (sources, vec![diagnostic])
    }

    #[test]
    fn columns_count_characters() {
        let (sources, diagnostics) = one("[a]\näü = 1\n", 6, 8);
        let text = render(&sources, &diagnostics, 0, Format::Text, false);
        assert!(text.contains("--> bad.toml:2:2"), "{text}");
        assert!(text.ends_with("bad.toml: 1 error\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&render(&sources, &diagnostics, 0, Format::Json, false)).unwrap();
        assert_eq!(json[0]["line"], 2);
        assert_eq!(json[0]["column"], 2);
    }

    #[test]
    fn github_commands_are_escaped() {
        let (sources, diagnostics) = one("x\n", 0, 1);
        assert_eq!(
            render(&sources, &diagnostics, 0, Format::Github, false),
            "::error file=bad.toml,line=1,col=1,title=P0102::unknown key `ü`%0Aa: b, 50%25%0Ac\n"
        );
    }

    #[test]
    fn any_span_is_rendered() {
        let text = "ä = 1\r\nb\n";
        for start in 0..=text.len() + 2 {
            for end in 0..=text.len() + 2 {
                let (sources, diagnostics) = one(text, start, end);
                assert!(render(&sources, &diagnostics, 0, Format::Text, true).contains("P0102"));
            }
        }
    }
}
