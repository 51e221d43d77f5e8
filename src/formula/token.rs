//! Words and signs of a formula, each with its place.

use std::ops::Range;
use std::time::Duration;

use super::FormulaFault;
use crate::document::duration;

/// One word or sign.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'a> {
    /// A number.
    Number(f64),
    /// A time such as `10s`, also in quotes.
    Time(Duration),
    /// A tag, a function or a word of the language.
    Name(&'a str),
    /// A sign.
    Sign(&'static str),
}

/// A token and its bytes.
pub type Placed<'a> = (Token<'a>, Range<usize>);

/// Signs, the longer first.
const SIGNS: [&str; 16] =
    ["==", "!=", "<>", "<=", ">=", "&&", "||", "<", ">", "=", "+", "-", "*", "/", "(", ")"];

/// Splits a formula.
///
/// # Errors
/// [`FormulaFault`] at the first character that means nothing.
pub fn tokens(text: &str) -> Result<Vec<Placed<'_>>, FormulaFault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = if first.is_ascii_digit() {
            number(rest, at)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = name(rest);
            (Token::Name(&rest[..length]), length)
        } else if first == '"' || first == '\'' {
            quoted(rest, at, first)?
        } else if first == ',' {
            (Token::Sign(","), 1)
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| stray(first, at))?;
            (Token::Sign(sign), sign.len())
        };
        found.push((token, at..at + length));
        at += length;
    }
    Ok(found)
}

/// Bytes of a name: parts of letters, digits, `_` and `-`, joined with dots. A `-` or `.` at the
/// end is none of it.
fn name(rest: &str) -> usize {
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches(['-', '.']).len()
}

/// A number, or a time when a unit follows it.
fn number(rest: &str, at: usize) -> Result<(Token<'static>, usize), FormulaFault> {
    let digits = |from: usize| {
        rest[from..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| from + length)
    };
    let mut end = digits(0);
    if rest[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    let unit = rest[end..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len() - end);
    let written = &rest[..end + unit];
    if unit > 0 {
        let time = duration(written).ok_or_else(|| no_time(written, at..at + written.len()))?;
        return Ok((Token::Time(time), written.len()));
    }
    // Digits with a point and an exponent are always a number, be it infinite.
    let number = written.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| FormulaFault {
        code: "P0160",
        message: format!("{written} is no number that can be calculated with"),
        span: at..at + end,
        label: String::new(),
        help: "write it with a decimal point, for example 0.5".to_owned(),
    })?;
    Ok((Token::Number(number), end))
}

fn quoted(rest: &str, at: usize, quote: char) -> Result<(Token<'static>, usize), FormulaFault> {
    let inner = rest[1..].split(quote).next().unwrap_or("");
    let length = (inner.len() + 2).min(rest.len());
    let time = duration(inner).ok_or_else(|| no_time(inner, at..at + length))?;
    Ok((Token::Time(time), length))
}

fn no_time(written: &str, span: Range<usize>) -> FormulaFault {
    FormulaFault {
        code: "P0160",
        message: format!("\"{}\" is neither a number nor a time", written.escape_debug()),
        span,
        label: String::new(),
        help: "a time is a number and its unit: 10s, 5m, 1h; a tag's name begins with a letter".to_owned(),
    }
}

fn stray(found: char, at: usize) -> FormulaFault {
    let help = match found {
        '^' => "powers are written as products: a * a",
        '%' => "write the share as a number: * 0.01",
        '!' => "write `not`",
        '&' | '|' => "write `and` or `or`",
        ';' => "a formula is one expression; arguments are separated by commas",
        '[' | ']' => "brackets are round: ( )",
        '{' | '}' => "a parameter in braces is a name from [params]: {oil_max}",
        '×' | '·' => "write *",
        '÷' | ':' => "write /",
        '≤' => "write <=",
        '≥' => "write >=",
        '≠' => "write !=",
        '−' | '–' => "this is a dash: write the minus of the keyboard, -",
        _ => "it may have tags, numbers, + - * / ( ), comparisons, and, or, not, and functions",
    };
    FormulaFault {
        code: "P0160",
        message: format!("`{}` means nothing in a formula", found.escape_debug()),
        span: at..at + found.len_utf8(),
        label: String::new(),
        help: help.to_owned(),
    }
}
