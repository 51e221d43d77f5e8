//! What the parser does not guard against or explains badly, found on the tokens before it runs.

use std::borrow::Cow;

use toml_parser::Source as TomlSource;
use toml_parser::lexer::{Token, TokenKind};

use crate::diagnostic::Span;

/// Most parts of a dotted key. The parser bounds brackets, but every dot of `a.b.c…` is one more
/// table in a table, and half a million of them overflow the stack when they are dropped.
const KEY_PARTS_MAX: usize = 8;

/// Findings on the tokens of one file.
#[derive(Debug, Default)]
pub struct Layout {
    /// Byte of a dotted key with too many parts.
    pub too_deep: Option<usize>,
    /// Bytes where the `}` of an inline table is missing at the end of a line, ascending.
    pub unclosed: Vec<usize>,
    /// Texts of which a quote is missing.
    pub unquoted: Vec<Span>,
    /// Where the `}` stand in the mended text, ascending.
    inserted: Vec<usize>,
}

impl Layout {
    /// Looks at the tokens of `text`.
    pub fn of(text: &str) -> Self {
        let tokens = TomlSource::new(text).lex().into_vec();
        let unclosed = unclosed(&tokens);
        // The nth insertion stands n bytes further on.
        let inserted = unclosed.iter().enumerate().map(|(n, at)| at + n).collect();
        Self { too_deep: too_deep(&tokens), unclosed, unquoted: unquoted(text, &tokens), inserted }
    }

    /// The text with the missing `}` put in, so that one forgotten bracket is one complaint and
    /// the rest of the file is still checked.
    pub fn mended<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.unclosed.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len() + self.unclosed.len());
        let mut done = 0;
        for at in &self.unclosed {
            out.push_str(&text[done..*at]);
            out.push('}');
            done = *at;
        }
        out.push_str(&text[done..]);
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

/// A line break inside `{ … }` that follows neither a comma nor the opening bracket, with
/// `key =` or `[` in the next line: TOML 1.1 allows the break, but what was meant is the end.
fn unclosed(tokens: &[Token]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open: Vec<TokenKind> = Vec::new();
    let mut last: Option<Token> = None;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind() {
            TokenKind::Whitespace | TokenKind::Comment => continue,
            TokenKind::Newline | TokenKind::Eof => {
                if let Some(before) = last
                    && open.last() == Some(&TokenKind::LeftCurlyBracket)
                    && !matches!(
                        before.kind(),
                        TokenKind::Comma | TokenKind::LeftCurlyBracket | TokenKind::Newline
                    )
                    && starts_anew(&tokens[index..])
                {
                    found.extend(open.iter().rev().map(|_| before.span().end()));
                    open.clear();
                }
            }
            TokenKind::LeftCurlyBracket => open.push(TokenKind::LeftCurlyBracket),
            // A header is no list: only brackets inside a value are counted.
            TokenKind::LeftSquareBracket
                if !open.is_empty() && last.is_some_and(|it| it.kind() != TokenKind::Newline) =>
            {
                open.push(TokenKind::LeftSquareBracket);
            }
            TokenKind::RightCurlyBracket if open.last() == Some(&TokenKind::LeftCurlyBracket) => {
                open.pop();
            }
            TokenKind::RightSquareBracket if open.last() == Some(&TokenKind::LeftSquareBracket) => {
                open.pop();
            }
            _ => {}
        }
        last = Some(*token);
    }
    found
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
        assert_eq!(layout.unclosed, [text.find(" # why").unwrap()]);
        let mended = layout.mended(text);
        assert_eq!(mended, "[tags.a]\nx = { address = \"1\"} # why\ny = { address = \"2\" }\n");
        let y = mended.find("y =").unwrap();
        assert_eq!(layout.original(Span::from(y..y + 1)).start, text.find("y =").unwrap());
        assert_eq!(layout.original(Span::from(0..3)), Span::from(0..3));
    }

    #[test]
    fn line_breaks_of_toml_1_1_are_left_alone() {
        let text = "x = { a = 1,\n  b = [\n 1, 2 ],\n}\n[t]\ny = [1, 2]\n[[u]]\nz = {\n a = 1 }\n";
        assert_eq!(Layout::of(text).unclosed, [0usize; 0]);
    }

    #[test]
    fn nested_tables_are_all_closed() {
        let text = "x = { a = { b = 1\ny = 2\n";
        let layout = Layout::of(text);
        assert_eq!(layout.mended(text), "x = { a = { b = 1}}\ny = 2\n");
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
