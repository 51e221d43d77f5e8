//! The text as a tree of values with their places, in the order of the file.

use toml::de::{DeTable, DeValue};

use super::layout::Layout;
use crate::diagnostic::{Diagnostic, Faults, Place, Source, Span};

/// Syntax faults reported of one file; a binary file would give thousands.
const SYNTAX_FAULTS_MAX: usize = 50;

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
        report(
            Diagnostic::error("P0001", place(*span), "a quote is missing in this line")
                .label("this text does not end where it should")
                .help("every text stands between two quotes"),
        );
    }
    for at in layout.unclosed.iter().take(SYNTAX_FAULTS_MAX) {
        report(
            Diagnostic::error(
                "P0001",
                place(Span::from(*at..*at)),
                "this table is not closed at the end of its line",
            )
            .label("`}` is missing here")
            .help("close it with `}`; to go on in the next line, end this one with a comma"),
        );
    }
    let text = layout.mended(&source.text);
    let (root, errors) = DeTable::parse_recoverable(&text);
    for error in errors.iter().take(SYNTAX_FAULTS_MAX) {
        let span = error.span().map_or(text.len()..text.len(), |span| span);
        let span = layout.original(span.into());
        report(syntax(source.slice(span), place(span), error.message()));
    }
    Some(table(root.into_inner(), &layout))
}

/// A complaint of the parser, in words for people who do not know TOML where they are common.
fn syntax(written: &str, place: Place, message: &str) -> Diagnostic {
    let fault = |message: String| Diagnostic::error("P0001", place, message);
    let invalid = |what: &str| message.starts_with(what);
    if message == "duplicate key" {
        fault(format!("`{}` stands twice here", short(written)))
            .label("second time")
            .help("remove one of the two, or give it another name")
    } else if invalid("invalid unquoted key") {
        fault("a name may not have this letter".to_owned())
            .help("use letters (a to z, A to Z), digits, _ and -; words for people go into title or desc")
    } else if invalid("string values must be quoted") {
        fault("the value is missing, or is a text without quotes".to_owned())
            .help("write name = \"text\", name = 12.5 or name = true")
    } else {
        fault(format!("not valid TOML: {message}"))
    }
}

/// At most 40 characters of what was written, on one line.
fn short(written: &str) -> String {
    written.chars().filter(|c| !c.is_control()).take(40).collect()
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
