//! Complaints about text that is not TOML, in words for people who do not know TOML.

use super::layout::Missing;
use crate::diagnostic::{Diagnostic, Place, Source};

/// What the parser says of a list without commas.
pub const LIST_WITHOUT_COMMA: &str = "missing comma between array elements";

/// Names that stand in double brackets.
const LISTS: [&str; 3] = ["device", "verify", "model"];

fn fault(place: Place, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("P0001", place, message)
}

/// A text of which a quote is missing, or which has quotes inside.
pub fn unquoted(source: &Source, place: Place) -> Diagnostic {
    let written = source.slice(place.span);
    // A node id such as ns=plc;s="DB"."x" ends too early at its own first quote.
    if written.starts_with("\"ns=") || written.starts_with("\"s=") {
        return fault(place, "double quotes stand inside of double quotes")
            .label("this text ends at its second quote")
            .help("put the address in single quotes: address = 'ns=plc;s=\"DB\".\"x\"'");
    }
    fault(place, "a quote is missing in this line")
        .label("this text does not end where it should")
        .help("every text stands between two quotes; one that has quotes inside stands between single quotes")
}

/// A bracket that is missing.
pub fn missing(place: Place, missing: &Missing) -> Diagnostic {
    let bracket = missing.bracket;
    let (message, help) = match (missing.header, bracket) {
        (true, _) => (
            "this header is not closed",
            "a header ends with as many brackets as it begins with: [tags.drive], [[device]]",
        ),
        (false, '}') => (
            "this table is not closed at the end of its line",
            "close it with `}`; to go on in the next line, end this one with a comma",
        ),
        _ => ("this list is not closed", "close it with `]`, for example [0, 60]"),
    };
    fault(place, message).label(format!("`{bracket}` is missing here")).help(help)
}

/// A number with a decimal comma.
pub fn decimal_comma(source: &Source, place: Place) -> Diagnostic {
    let number = source.slice(place.span);
    fault(place, format!("`{number}` has a decimal comma"))
        .help(format!("numbers have a decimal point: write {}", number.replace(',', ".")))
}

/// A complaint of the parser.
pub fn of_parser(source: &Source, place: Place, message: &str) -> Diagnostic {
    let at = source.floor(place.span.start);
    let rest = &source.text[at..source.line_end(at)];
    let is = |what: &str| message.starts_with(what);
    let line = &source.text[source.line_start(at)..];
    if message == "duplicate key" {
        duplicate(source, place)
    } else if line.trim_start().starts_with('[') {
        fault(place, "this is no header").help(
            "names joined with dots, between as many brackets as it begins with: [tags.drive], [[device]]",
        )
    } else if is("string values must be quoted") && numbers(source.slice(place.span)) {
        fault(place, "a comma is missing between these numbers").help("write for example [0, 60]")
    } else if is("invalid unquoted key") {
        fault(place, "a name may not have this letter")
            .help("use letters (a to z, A to Z), digits, _ and -; words for people go into title or desc")
    } else if is("string values must be quoted") {
        fault(place, "the value is missing, or is a text without quotes")
            .help("write name = \"text\", name = 12.5 or name = true")
    } else if is("key with no value") || is("missing assignment") {
        without_equals(source, place, rest)
    } else if is("missing comma between key-value pairs") {
        fault(place, "a comma is missing in front of this")
            .help("commas stand between the keys of a table: { address = \"…\", type = \"…\" }")
    } else if is(LIST_WITHOUT_COMMA) {
        fault(place, "a comma or the `]` is missing in this list").help("write for example [0, 60]")
    } else if is("missing escaped value") {
        fault(place, "a backslash in double quotes begins a special character")
            .help("levels of a location are joined with /; a backslash itself is written \\\\, or the text in 'single quotes'")
    } else if is("unexpected key or value") {
        fault(place, "this does not belong into the line any more")
            .help("a line is name = value; several values stand in braces: { address = \"…\", type = \"…\" }")
    } else if is("missing value") || is("invalid value") {
        fault(place, "the value is missing or is none")
            .help("write name = \"text\", name = 12.5 or name = true")
    } else {
        fault(place, format!("not valid TOML: {message}"))
            .help("each line is name = value or a [header]; texts stand in quotes")
    }
}

/// True when a fault takes more with it than its own line: that of a header, or of a list that
/// goes on.
pub fn spoils_more(source: &Source, place: Place, message: &str) -> bool {
    let line = &source.text[source.line_start(source.floor(place.span.start))..];
    line.trim_start().starts_with('[') || message == LIST_WITHOUT_COMMA || message.starts_with("unclosed")
}

/// True when the rest of the file can be read without the line of this fault.
pub fn is_of_one_line(message: &str) -> bool {
    !(message == "duplicate key" || message == LIST_WITHOUT_COMMA || message.starts_with("unclosed"))
}

/// True for two or more numbers with nothing but space between them.
fn numbers(written: &str) -> bool {
    let parts: Vec<&str> = written.split_whitespace().collect();
    parts.len() > 1 && parts.iter().all(|part| part.parse::<f64>().is_ok())
}

/// A name that is followed by something other than `=`.
fn without_equals(source: &Source, place: Place, rest: &str) -> Diagnostic {
    let behind = rest.trim_start();
    let start = source.line_start(place.span.start);
    let written = source.text.get(start..place.span.start).unwrap_or("").trim();
    let name = written.rsplit(['{', ',']).next().unwrap_or("").trim();
    if behind.starts_with(':') || name.ends_with(':') {
        let name = short(name.trim_end_matches(':').trim_end());
        return fault(place, format!("`{name}` is followed by a colon"))
            .help(format!("write `=` instead: {name} = …"));
    }
    let next: String = behind.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect();
    if !next.is_empty() && behind[next.len()..].trim_start().starts_with('=') {
        return fault(place, "a name may not have a space").help(format!(
            "write {}_{} = …; words for people go into desc",
            short(name),
            short(&next)
        ));
    }
    let name = short(name);
    if behind.starts_with(['"', '\'', '{', '[']) {
        return fault(place, format!("`=` is missing behind `{name}`")).help(format!("write {name} = …"));
    }
    fault(place, format!("`{name}` has no value")).help("write name = value")
}

/// A key or header that stands twice.
fn duplicate(source: &Source, place: Place) -> Diagnostic {
    let written = short(source.slice(place.span));
    let before = &source.text[source.line_start(place.span.start)..place.span.start];
    let is_header = before.trim_start().starts_with('[');
    if is_header && LISTS.contains(&written.as_str()) {
        return fault(place, format!("[{written}] stands behind [[{written}]]"))
            .help(format!("write [[{written}]] with two brackets every time"));
    }
    if is_header {
        let header: String = source.text[source.line_start(place.span.start)..].lines().take(1).collect();
        let header = header.split('#').next().unwrap_or("").trim();
        let first =
            source.text.lines().position(|line| line.split('#').next().unwrap_or("").trim() == header);
        let line = first.map_or(String::new(), |line| format!(" in line {}", line + 1));
        return fault(place, format!("{} stands twice in this file", short(header)))
            .label("second time")
            .help(format!("put its lines under the first one{line}"));
    }
    fault(place, format!("`{written}` stands twice here"))
        .label("second time")
        .help("remove one of the two, or give it another name")
}

/// At most 40 characters of what was written, on one line.
fn short(written: &str) -> String {
    written.chars().filter(|c| !c.is_control()).take(40).collect()
}
