//! The text as a tree of values with their places, in the order of the file.

use toml::de::{DeTable, DeValue};

use super::layout::Layout;
use super::syntax;
use crate::diagnostic::{Diagnostic, Faults, Place, Source, Span};

/// Syntax faults reported of one file; a binary file would give thousands.
const SYNTAX_FAULTS_MAX: usize = 50;

/// Bytes that are parsed again in search of further faults; a large file has fewer rounds.
const REPAIR_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands; for a table under a header, the header.
    pub span: Span,
    /// The value.
    pub content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Whole number.
    Int(i64),
    /// Number with decimals.
    Number(f64),
    /// Yes or no.
    Bool(bool),
    /// A TOML date or time, which no key takes.
    Date,
    /// A number that does not fit 64 bits.
    TooLarge,
    /// List.
    Array(Vec<Node>),
    /// Table.
    Table(Table),
}

impl Content {
    /// The kind in words, for "this is …".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Int(_) => "a whole number",
            Self::Number(_) => "a number with decimals",
            Self::Bool(_) => "true or false",
            Self::Date => "a date",
            Self::TooLarge => "a number that does not fit 64 bits",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Keys and values in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Table {
    /// The entry with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Table {
    /// The same with all places moved on by `by` bytes, to stand beside entries of another file.
    #[must_use]
    pub fn moved(&self, by: usize) -> Self {
        let span = |span: Span| Span { start: span.start + by, end: span.end + by };
        let entries = self.entries.iter().map(|entry| Entry {
            key: entry.key.clone(),
            key_span: span(entry.key_span),
            node: entry.node.moved(by),
        });
        Self { entries: entries.collect() }
    }
}

impl Node {
    fn moved(&self, by: usize) -> Self {
        let content = match &self.content {
            Content::Table(table) => Content::Table(table.moved(by)),
            Content::Array(list) => Content::Array(list.iter().map(|node| node.moved(by)).collect()),
            other => other.clone(),
        };
        Self { span: Span { start: self.span.start + by, end: self.span.end + by }, content }
    }
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, unquoted.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// Reads the text of file number `file` and reports its syntax faults.
///
/// The tree holds what could be read around the faults. `None` when the text is nested so deeply
/// that reading it could exhaust the stack.
pub fn parse(source: &Source, file: usize, faults: &Faults) -> Option<Table> {
    let layout = Layout::of(&source.text);
    if let Some(at) = layout.too_deep {
        let place = Place { file, span: Span::from(at..at + 1) };
        faults.add(
            Diagnostic::error("P0004", place, "this key has too many parts joined by dots")
                .help("no key of a Forebay file has more than 4 parts"),
        );
        return None;
    }
    let report = |fault: Diagnostic| {
        let at = fault.place.span.start;
        faults.add_syntax(fault, Span { start: source.line_start(at), end: source.line_end(at) });
    };
    let place = |span: Span| Place { file, span };
    for span in layout.unquoted.iter().take(SYNTAX_FAULTS_MAX) {
        report(syntax::unquoted(source, place(*span)));
    }
    for missing in layout.missing.iter().take(SYNTAX_FAULTS_MAX) {
        report(syntax::missing(place(Span::from(missing.at..missing.at)), missing));
    }
    for span in layout.decimal_commas.iter().take(SYNTAX_FAULTS_MAX) {
        report(syntax::decimal_comma(source, place(*span)));
    }
    let text = layout.mended(&source.text);
    let reported = |message: &str, span: Span| {
        let place = place(layout.original(span));
        if syntax::spoils_more(source, place, message) {
            faults.lose(file);
        }
        report(syntax::of_parser(source, place, message));
    };
    let text = without_broken_lines(text.into_owned(), &reported);
    let (root, errors) = DeTable::parse_recoverable(&text);
    let mut before = "";
    for error in errors.iter().take(SYNTAX_FAULTS_MAX) {
        // A list that is never closed takes all following lines for its entries.
        if error.message() == before && before == syntax::LIST_WITHOUT_COMMA {
            continue;
        }
        before = error.message();
        reported(before, error.span().map_or(text.len()..text.len(), |span| span).into());
    }
    Some(table(root.into_inner(), &layout))
}

/// Blanks and reports one broken line after another: the parser may lose all that follows one.
/// Lines whose loss would change what the others mean are left to it.
fn without_broken_lines(mut text: String, reported: &impl Fn(&str, Span)) -> String {
    let rounds = (REPAIR_BYTES_MAX / text.len().max(1)).min(SYNTAX_FAULTS_MAX);
    for _ in 0..rounds {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let broken = errors.iter().find_map(|error| {
            let at = error.span()?.start.min(text.len());
            let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
            let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
            let line = text[start..end].trim();
            let alone = !line.is_empty() && !line.starts_with(['[', ']', '}']);
            (alone && syntax::is_of_one_line(error.message())).then(|| (error.clone(), start..end))
        });
        let Some((error, line)) = broken else { break };
        reported(error.message(), error.span().map_or(line.clone(), |span| span).into());
        let blank = " ".repeat(line.len());
        text.replace_range(line, &blank);
    }
    text
}

fn table(read: DeTable<'_>, layout: &Layout) -> Table {
    let mut entries: Vec<Entry> = read
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: layout.original(key.span().into()),
            key: key.into_inner().into_owned(),
            node: node(value, layout),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn node(read: toml::Spanned<DeValue<'_>>, layout: &Layout) -> Node {
    let span = layout.original(read.span().into());
    let content = match read.into_inner() {
        DeValue::String(text) => Content::Text(text.into_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Content::TooLarge, Content::Int)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Content::TooLarge, Content::Number),
        DeValue::Boolean(yes) => Content::Bool(yes),
        DeValue::Datetime(_) => Content::Date,
        DeValue::Array(list) => Content::Array(list.into_iter().map(|item| node(item, layout)).collect()),
        DeValue::Table(read) => Content::Table(table(read, layout)),
    };
    Node { span, content }
}
