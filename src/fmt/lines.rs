//! What each line of a file is.

use crate::diagnostic::{Source, Span};
use crate::document::{Content, Entry, Node, Table};

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Nothing.
    Blank,
    /// Nothing but a comment.
    Comment(String),
    /// A header with what stands behind it.
    Header(String),
    /// `key = value` on one line.
    Pair(Pair),
    /// Part of something that goes over several lines, or that is written in another way.
    Verbatim(String),
}

/// `key = value`, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The key as written.
    pub key: String,
    /// The value.
    pub value: Words,
    /// The comment behind it, `#` included; may be empty.
    pub comment: String,
    /// Characters in front of the comment.
    pub column: usize,
}

/// A value, without the space between its words.
#[derive(Debug, Clone, PartialEq)]
pub enum Words {
    /// In one piece.
    Plain(String),
    /// An inline table: keys and values.
    Table(Vec<(String, String)>),
}

/// Takes all lines of a file apart.
pub fn of(source: &Source, root: &Table) -> Vec<Line> {
    let mut entries = Vec::new();
    collect(source, root, &mut entries);
    entries.sort_by_key(|entry| entry.key_span.start);
    let mut lines = Vec::new();
    let mut entries = entries.into_iter().peekable();
    let mut texts = Vec::new();
    long_texts(source, root, &mut texts);
    texts.sort_by_key(|text| text.start);
    let mut at = 0;
    // What begins in front of this byte is part of a value that goes over several lines.
    let mut open_until = 0;
    while at < source.text.len() {
        let end = source.text[at..].find('\n').map_or(source.text.len(), |found| at + found);
        let within = |byte: usize| {
            let before = texts.partition_point(|text| text.start < byte);
            texts[..before].last().is_some_and(|text| byte < text.end)
        };
        let text = &source.text[at..end];
        // Blanks at the end of a line of a text are part of it.
        let text = if within(end) { text } else { text.trim_end() };
        let trimmed = text.trim_start();
        let mut own = None;
        while let Some(entry) = entries.next_if(|entry| entry.key_span.start < end.max(at + 1)) {
            if entry.key_span.start >= open_until {
                open_until = open_until.max(entry.node.span.end);
                own = Some(entry);
            }
        }
        let inside = own.is_none() && (at < open_until || within(at));
        lines.push(match own {
            _ if inside => Line::Verbatim(text.to_owned()),
            Some(entry) if entry.node.span.end <= end => {
                pair(source, entry, end).map_or_else(|| Line::Verbatim(text.to_owned()), Line::Pair)
            }
            Some(_) => Line::Verbatim(text.to_owned()),
            None if trimmed.is_empty() => Line::Blank,
            None if trimmed.starts_with('#') => Line::Comment(trimmed.to_owned()),
            None if trimmed.starts_with('[') => Line::Header(trimmed.to_owned()),
            None => Line::Verbatim(text.to_owned()),
        });
        at = end + 1;
    }
    lines
}

/// The texts that go over several lines.
fn long_texts(source: &Source, table: &Table, found: &mut Vec<Span>) {
    table.entries.iter().for_each(|entry| long_texts_of(source, &entry.node, found));
}

fn long_texts_of(source: &Source, node: &Node, found: &mut Vec<Span>) {
    match &node.content {
        Content::Text(_) if source.slice(node.span).contains('\n') => found.push(node.span),
        Content::Table(inner) => long_texts(source, inner, found),
        Content::Array(list) => list.iter().for_each(|item| long_texts_of(source, item, found)),
        _ => {}
    }
}

/// All `key = value` that begin their line.
fn collect<'t>(source: &Source, table: &'t Table, found: &mut Vec<&'t Entry>) {
    for entry in &table.entries {
        let before = &source.text[source.line_start(entry.key_span.start)..entry.key_span.start];
        if before.trim().is_empty() && is_pair(source, entry) {
            found.push(entry);
            continue;
        }
        match &entry.node.content {
            Content::Table(inner) => collect(source, inner, found),
            Content::Array(list) => {
                for node in list {
                    if let Content::Table(inner) = &node.content {
                        collect(source, inner, found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// True when `=` follows the key: it is neither a header nor a key with dots.
fn is_pair(source: &Source, entry: &Entry) -> bool {
    source.text[entry.key_span.end..].trim_start_matches([' ', '\t']).starts_with('=')
}

fn pair(source: &Source, entry: &Entry, end: usize) -> Option<Pair> {
    let behind = &source.text[entry.node.span.end..end];
    let comment = behind.trim();
    let begin = end - behind.trim_start().len();
    let column = source.text[source.line_start(entry.key_span.start)..begin].chars().count();
    if !comment.is_empty() && !comment.starts_with('#') {
        return None;
    }
    let value = match &entry.node.content {
        Content::Table(inner) => Words::Table(fields(source, inner)?),
        _ => Words::Plain(value(source, &entry.node)?),
    };
    Some(Pair { key: source.slice(entry.key_span).to_owned(), value, comment: comment.to_owned(), column })
}

fn fields(source: &Source, table: &Table) -> Option<Vec<(String, String)>> {
    let field = |entry: &Entry| {
        is_pair(source, entry).then_some(())?;
        Some((source.slice(entry.key_span).to_owned(), value(source, &entry.node)?))
    };
    table.entries.iter().map(field).collect()
}

fn value(source: &Source, node: &Node) -> Option<String> {
    Some(match &node.content {
        Content::Array(list) => {
            let items: Option<Vec<String>> = list.iter().map(|item| value(source, item)).collect();
            format!("[{}]", items?.join(", "))
        }
        Content::Table(inner) => {
            let fields = fields(source, inner)?;
            if fields.is_empty() {
                return Some("{}".to_owned());
            }
            let fields: Vec<String> =
                fields.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        _ => source.slice(node.span).to_owned(),
    })
}
