//! What the parser does not guard against or explains badly, found on the tokens before it runs.

use std::borrow::Cow;

use toml_parser::Source as TomlSource;
use toml_parser::lexer::{Token, TokenKind};

use crate::diagnostic::Span;

/// Most parts of a dotted key. The parser bounds brackets, but every dot of `a.b.c…` is one more
/// table in a table, and half a million of them overflow the stack when they are dropped.
const KEY_PARTS_MAX: usize = 8;

/// Most brackets within each other that are looked at; the parser takes no more either.
const DEPTH_MAX: usize = 64;

/// A bracket that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Byte in front of which it belongs.
    pub at: usize,
    /// `}` or `]`.
    pub bracket: char,
    /// It closes the header of a table.
    pub header: bool,
}

/// Findings on the tokens of one file.
#[derive(Debug, Default)]
pub struct Layout {
    /// Byte of a dotted key with too many parts.
    pub too_deep: Option<usize>,
    /// Missing brackets, ascending.
    pub missing: Vec<Missing>,
    /// Texts of which a quote is missing.
    pub unquoted: Vec<Span>,
    /// Numbers with a decimal comma.
    pub decimal_commas: Vec<Span>,
    /// Where the brackets stand in the mended text, ascending.
    inserted: Vec<usize>,
}

impl Layout {
    /// Looks at the tokens of `text`.
    pub fn of(text: &str) -> Self {
        let tokens = TomlSource::new(text).lex().into_vec();
        let missing = missing(&tokens);
        Self {
            too_deep: too_deep(&tokens),
            unquoted: unquoted(text, &tokens),
            decimal_commas: decimal_commas(text, &tokens),
            // The nth insertion stands n bytes further on.
            inserted: missing.iter().enumerate().map(|(n, it)| it.at + n).collect(),
            missing,
        }
    }

    /// The text with the missing brackets put in and decimal commas made points, so that one slip
    /// is one complaint and the rest of the file is still checked.
    pub fn mended<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.missing.is_empty() && self.decimal_commas.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len() + self.missing.len());
        let mut done = 0;
        for missing in &self.missing {
            out.push_str(&text[done..missing.at]);
            out.push(missing.bracket);
            done = missing.at;
        }
        out.push_str(&text[done..]);
        for number in &self.decimal_commas {
            let start = number.start + self.missing.partition_point(|it| it.at <= number.start);
            let end = start + number.end - number.start;
            let point = out[start..end].replace(',', ".");
            out.replace_range(start..end, &point);
        }
        Cow::Owned(out)
    }

    /// Where a span of the mended text stands in the original.
    pub fn original(&self, span: Span) -> Span {
        let back = |at: usize| at - self.inserted.partition_point(|put| *put < at);
        Span::from(back(span.start)..back(span.end))
    }
}

fn too_deep(tokens: &[Token]) -> Option<usize> {
    let mut dots = 0;
    for token in tokens {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Whitespace | TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString => {}
            _ => dots = 0,
        }
        if dots >= KEY_PARTS_MAX {
            return Some(token.span().start());
        }
    }
    None
}

/// Strings of which a quote is missing: directly followed by a bare word, so that their end is
/// really the beginning of the next string; or running to the end of their line.
fn unquoted(text: &str, tokens: &[Token]) -> Vec<Span> {
    let span = |token: &Token| Span::from(token.span().start()..token.span().end());
    let is_text = |token: &Token| matches!(token.kind(), TokenKind::BasicString | TokenKind::LiteralString);
    let lines = tokens.split(|token| token.kind() == TokenKind::Newline);
    lines
        .filter_map(|line| {
            let early = line.windows(2).find(|two| is_text(&two[0]) && two[1].kind() == TokenKind::Atom);
            let open = || {
                line.iter().find(|token| {
                    let written = &text.as_bytes()[token.span().start()..token.span().end()];
                    is_text(token) && (written.len() < 2 || written.first() != written.last())
                })
            };
            early.map(|two| &two[0]).or_else(open).map(span)
        })
        .collect()
}

/// `= 0,1`: a number, a comma and digits behind an equals sign, which no key follows.
fn decimal_commas(text: &str, tokens: &[Token]) -> Vec<Span> {
    let digits = |token: &Token| {
        let written = &text[token.span().start()..token.span().end()];
        let written = written.strip_prefix(['-', '+']).unwrap_or(written);
        token.kind() == TokenKind::Atom
            && !written.is_empty()
            && written.bytes().all(|byte| byte.is_ascii_digit())
    };
    let solid: Vec<&Token> = tokens.iter().filter(|token| token.kind() != TokenKind::Whitespace).collect();
    let mut found = Vec::new();
    for (index, four) in solid.windows(4).enumerate() {
        let [equals, whole, comma, decimals] = four else { continue };
        let next = solid.get(index + 4).map(|token| token.kind());
        if equals.kind() == TokenKind::Equals
            && comma.kind() == TokenKind::Comma
            && digits(whole)
            && digits(decimals)
            && whole.span().end() + 1 == decimals.span().start()
            && !matches!(next, Some(TokenKind::Equals | TokenKind::Dot))
        {
            found.push(Span::from(whole.span().start()..decimals.span().end()));
        }
    }
    found
}

/// Brackets that are missing: of headers, of tables and lists in front of another bracket, and of
/// those that a line leaves open although the next begins with `key =` or `[`. TOML 1.1 allows
/// such a break in a table, but what was meant is the end.
fn missing(tokens: &[Token]) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut open: Vec<TokenKind> = Vec::new();
    let mut last: Option<&Token> = None;
    let mut line_begins = true;
    for (index, token) in tokens.iter().enumerate() {
        if open.len() > DEPTH_MAX {
            break;
        }
        let closes = match token.kind() {
            TokenKind::Whitespace | TokenKind::Comment => continue,
            TokenKind::Newline | TokenKind::Eof => {
                // Of several line breaks the first decides; looking at each would take for ever.
                let line_ends = !std::mem::replace(&mut line_begins, true);
                if let Some(before) = last.filter(|_| line_ends && !open.is_empty())
                    && !matches!(
                        before.kind(),
                        TokenKind::Comma | TokenKind::LeftCurlyBracket | TokenKind::LeftSquareBracket
                    )
                    && starts_anew(&tokens[index..])
                {
                    found.extend(open.drain(..).rev().map(|opened| closing(opened, before.span().end())));
                }
                continue;
            }
            kind @ TokenKind::LeftCurlyBracket => {
                open.push(kind);
                None
            }
            TokenKind::LeftSquareBracket if line_begins && open.is_empty() => {
                found.extend(header(&tokens[index..]));
                None
            }
            // The second bracket of `[[` belongs to the header, too.
            kind @ TokenKind::LeftSquareBracket
                if !open.is_empty() || last.is_some_and(|it| it.kind() == TokenKind::Equals) =>
            {
                open.push(kind);
                None
            }
            TokenKind::RightCurlyBracket => Some(TokenKind::LeftCurlyBracket),
            TokenKind::RightSquareBracket => Some(TokenKind::LeftSquareBracket),
            _ => None,
        };
        if let (Some(opening), Some(before)) = (closes, last)
            && let Some(depth) = open.iter().rposition(|kind| *kind == opening)
        {
            let inner = open.drain(depth..).skip(1).rev();
            found.extend(inner.map(|opened| closing(opened, before.span().end())));
        }
        last = Some(token);
        line_begins = false;
    }
    found
}

fn closing(opened: TokenKind, at: usize) -> Missing {
    let bracket = if opened == TokenKind::LeftCurlyBracket { '}' } else { ']' };
    Missing { at, bracket, header: false }
}

/// The brackets that a line beginning with `[` lacks, where it is a header and nothing else.
fn header(rest: &[Token]) -> Vec<Missing> {
    let line: Vec<&Token> = rest
        .iter()
        .take_while(|it| !matches!(it.kind(), TokenKind::Newline | TokenKind::Eof | TokenKind::Comment))
        .filter(|it| it.kind() != TokenKind::Whitespace)
        .collect();
    let opened = line.iter().take_while(|it| it.kind() == TokenKind::LeftSquareBracket).count();
    let closed = line.iter().rev().take_while(|it| it.kind() == TokenKind::RightSquareBracket).count();
    let name = line.get(opened..line.len() - closed).unwrap_or_default();
    let is_name = !name.is_empty()
        && name.iter().all(|it| {
            matches!(
                it.kind(),
                TokenKind::Atom | TokenKind::Dot | TokenKind::BasicString | TokenKind::LiteralString
            )
        });
    let Some(end) = line.last().map(|it| it.span().end()).filter(|_| is_name && opened <= 2) else {
        return Vec::new();
    };
    (closed..opened).map(|_| Missing { at: end, bracket: ']', header: true }).collect()
}

/// After a line break: the end of the file, a header, or `key =`.
fn starts_anew(rest: &[Token]) -> bool {
    let mut kinds = rest
        .iter()
        .map(Token::kind)
        .filter(|kind| !matches!(kind, TokenKind::Whitespace | TokenKind::Comment | TokenKind::Newline));
    match kinds.next() {
        None | Some(TokenKind::Eof | TokenKind::LeftSquareBracket) => true,
        Some(TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString) => {
            kinds.next() == Some(TokenKind::Equals)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_bracket_is_found_and_mended() {
        let text = "[tags.a]\nx = { address = \"1\" # why\ny = { address = \"2\" }\n";
        let layout = Layout::of(text);
        let at = text.find(" # why").unwrap();
        assert_eq!(layout.missing, [Missing { at, bracket: '}', header: false }]);
        let mended = layout.mended(text);
        assert_eq!(mended, "[tags.a]\nx = { address = \"1\"} # why\ny = { address = \"2\" }\n");
        let y = mended.find("y =").unwrap();
        assert_eq!(layout.original(Span::from(y..y + 1)).start, text.find("y =").unwrap());
        assert_eq!(layout.original(Span::from(0..3)), Span::from(0..3));
    }

    #[test]
    fn line_breaks_of_toml_1_1_are_left_alone() {
        let text = "x = { a = 1,\n  b = [\n 1, 2 ],\n}\n[t]\ny = [1, 2]\n[[u]]\nz = {\n a = 1 }\n";
        assert_eq!(Layout::of(text).missing, []);
    }

    #[test]
    fn nested_tables_are_all_closed() {
        let text = "x = { a = { b = 1\ny = 2\n";
        let layout = Layout::of(text);
        assert_eq!(layout.mended(text), "x = { a = { b = 1}}\ny = 2\n");
    }

    #[test]
    fn each_bracket_is_missed_where_it_belongs() {
        for (text, mended) in [
            ("x = { r = [0, 60 }\ny = 1\n", "x = { r = [0, 60] }\ny = 1\n"),
            ("x = [{ a = 1, b = 2]\n", "x = [{ a = 1, b = 2}]\n"),
            ("x = [1, 2\ny = 1\n", "x = [1, 2]\ny = 1\n"),
            ("[tags.a # why\nx = 1\n", "[tags.a] # why\nx = 1\n"),
            ("[[device]\nx = 1\n[[device\n", "[[device]]\nx = 1\n[[device]]\n"),
            ("x = [\n  [1, 2],\n  [3, 4]\n]\n[[d]]\n", "x = [\n  [1, 2],\n  [3, 4]\n]\n[[d]]\n"),
        ] {
            assert_eq!(Layout::of(text).mended(text), mended);
        }
    }

    #[test]
    fn hostile_brackets_take_no_time() {
        for text in [
            "x = {".to_owned() + &"[".repeat(300_000) + &"}".repeat(300_000),
            format!("x = {{ a = 1{}", "\n".repeat(600_000)),
        ] {
            let began = std::time::Instant::now();
            Layout::of(&text);
            assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn decimal_commas_become_points() {
        for (text, mended) in [
            ("a = 0,1\n", "a = 0.1\n"),
            ("a = { b = -0,25, c = 1 }\n", "a = { b = -0.25, c = 1 }\n"),
            ("x = { y = 1\na = 0,1\n", "x = { y = 1}\na = 0.1\n"),
            ("a = [0,1]\n", "a = [0,1]\n"),
            ("a = { 0 = 5,1 = 6 }\n", "a = { 0 = 5,1 = 6 }\n"),
        ] {
            assert_eq!(Layout::of(text).mended(text), mended);
        }
    }

    #[test]
    fn a_missing_quote_is_found_where_it_is_missing() {
        let text = "a = \"1, b = \"2\"\nc = 'x\nd = \"it's\"\n";
        let spans: Vec<&str> = Layout::of(text).unquoted.iter().map(|it| &text[it.start..it.end]).collect();
        assert_eq!(spans, ["\"1, b = \"", "'x"]);
    }

    #[test]
    fn long_dotted_keys_are_refused() {
        assert_eq!(Layout::of("a.b.c = 1\nd = \"1.2.3.4.5.6.7.8.9.10\"\n").too_deep, None);
        assert!(Layout::of(&format!("{}a = 1", "a . \"b\".".repeat(500_000))).too_deep.is_some());
    }
}
