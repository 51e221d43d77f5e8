//! Tables of comma or semicolon separated values (RFC 4180, as Excel and Kepware write them).

/// Most fields of one row.
const FIELDS_MAX: usize = 256;

/// One row, with the line it begins in (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Line of the file.
    pub line: usize,
    /// Its fields, quotes taken off, blanks around them left out.
    pub fields: Vec<String>,
    /// What is wrong with it, where it cannot be told what its fields are.
    pub fault: Option<&'static str>,
}

/// Splits a text into rows. A quoted field may hold the separator, doubled quotes and line ends.
pub fn rows(text: &str, separator: char) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let (row, end) = row(text, at, line, separator);
        line += text[at..end].matches('\n').count();
        at = end;
        if row.fault.is_some() || row.fields.iter().any(|field| !field.is_empty()) {
            rows.push(row);
        }
    }
    rows
}

/// The row that begins at byte `at`, and where the next one does.
fn row(text: &str, at: usize, line: usize, separator: char) -> (Row, usize) {
    let mut row = Row { line, fields: Vec::new(), fault: None };
    let mut field = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut letters = text[at..].char_indices().peekable();
    let mut end = text.len();
    while let Some((offset, letter)) = letters.next() {
        match letter {
            '"' if quoted && letters.peek().is_some_and(|(_, next)| *next == '"') => {
                letters.next();
                field.push('"');
            }
            // Behind a closing quote comes the separator or the end of the line. Otherwise a quote is
            // missing before it, and the lines between must not be swallowed.
            '"' if quoted => match letters.peek() {
                Some((_, next)) if *next != separator && !matches!(next, '\r' | '\n' | ' ') => break,
                _ => quoted = false,
            },
            // Within a plain field a quote is a letter like any other: 3/4" valve.
            '"' if field.trim().is_empty() && !was_quoted => {
                (quoted, was_quoted) = (true, true);
                field.clear();
            }
            '\n' if !quoted => {
                end = at + offset + 1;
                break;
            }
            letter if letter == separator && !quoted => {
                push(&mut row, &mut field);
                was_quoted = false;
            }
            letter => field.push(letter),
        }
    }
    if quoted {
        // Only this line is given up, not the rest of the file.
        row.fault = Some("a quote is opened and not closed");
        end = text[at..].find('\n').map_or(text.len(), |offset| at + offset + 1);
        let plain = text[at..end].split(separator).map(|field| field.trim_matches(['"', ' ', '\r', '\n']));
        row.fields = plain.take(FIELDS_MAX).map(str::to_owned).collect();
        return (row, end);
    }
    push(&mut row, &mut field);
    (row, end)
}

fn push(row: &mut Row, field: &mut String) {
    if row.fields.len() < FIELDS_MAX {
        row.fields.push(field.trim().to_owned());
    } else {
        row.fault = Some("it has more than 256 fields");
    }
    field.clear();
}

/// The separator of a table, told by its first line that has letters: the one that stands there
/// most often, outside of quotes.
pub fn separator(text: &str) -> char {
    let head = text.lines().find(|line| line.contains(|c: char| c.is_alphabetic())).unwrap_or("");
    let count = |separator: char| {
        let outside = head.split('"').step_by(2);
        outside.map(|part| part.matches(separator).count()).sum::<usize>()
    };
    [',', ';', '\t'].into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(',')
}

/// Rows in which the heads of the columns are looked for.
pub const HEAD_ROWS: usize = 20;

/// The rows of a table and its separator: the one with which the heads of its columns are found.
/// Lines before them may hold anything, so the first line alone does not tell.
pub fn table(text: &str, is_head: impl Fn(&[String]) -> bool) -> (Vec<Row>, char) {
    let guessed = separator(text);
    let others = [',', ';', '\t'].into_iter().filter(|other| *other != guessed);
    for separator in std::iter::once(guessed).chain(others) {
        let rows = rows(text, separator);
        if rows.iter().take(HEAD_ROWS).any(|row| is_head(&row.fields)) {
            return (rows, separator);
        }
    }
    (rows(text, guessed), guessed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Vec<(usize, Vec<String>)> {
        rows(text, separator(text)).into_iter().map(|row| (row.line, row.fields)).collect()
    }

    #[test]
    fn rows_are_split_as_excel_does() {
        let text = "Name,Text\r\n\"a\"\"b\",\"c,\r\nd\"\r\n\r\n3/4\" valve, x \r\n";
        let expected =
            [(1, vec!["Name", "Text"]), (2, vec!["a\"b", "c,\r\nd"]), (5, vec!["3/4\" valve", "x"])];
        let found = fields(text);
        assert_eq!(found.len(), expected.len());
        for ((line, fields), (expected_line, expected)) in found.iter().zip(expected) {
            assert_eq!(
                (*line, fields.iter().map(String::as_str).collect::<Vec<_>>()),
                (expected_line, expected)
            );
        }
        assert_eq!(separator("\"a,b\";c;d\n1,2,3,4,5"), ';');
        assert_eq!(separator("a\tb"), '\t');
    }

    #[test]
    fn an_open_quote_costs_its_own_line_only() {
        let found = rows("a,b\nc,\"d\ne,f\n", ',');
        assert_eq!(found.len(), 3);
        assert_eq!(
            (found[1].fault.is_some(), found[1].fields.as_slice()),
            (true, &["c".into(), "d".into()][..])
        );
        assert_eq!(found[2].fields, ["e", "f"]);
        let found = rows("a,b\n\"c,d\n\"e\",\"\"\n", ',');
        assert_eq!(
            found.iter().map(|row| (row.line, row.fault.is_some())).collect::<Vec<_>>(),
            [(1, false), (2, true), (3, false)]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_split(text in "[a,;\"\r\n \t]{0,200}") {
            let rows = rows(&text, separator(&text));
            let lines = text.matches('\n').count() + 1;
            prop_assert!(rows.len() <= lines);
            prop_assert!(rows.windows(2).all(|pair| pair[0].line < pair[1].line));
            prop_assert!(rows.iter().all(|row| row.line <= lines));
        }
    }
}
