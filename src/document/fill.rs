//! `{param}` in strings.

use std::collections::BTreeMap;
use std::ops::Range;

/// Value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// `type = "int"`.
    Int(i64),
    /// `type = "number"`.
    Number(f64),
    /// `type = "text"`.
    Text(String),
    /// Declared without a default, and no device gives it: what depends on it cannot be checked.
    Unknown,
}

impl Param {
    /// The value as it stands in strings; `None` when it is unknown.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Int(number) => Some(number.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.clone()),
            Self::Unknown => None,
        }
    }
}

/// Parameters by name.
pub type Params = BTreeMap<String, Param>;

/// A string with its parameters filled in, which remembers where each part came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled {
    /// The result.
    pub text: String,
    /// Filled parts: bytes of the result, bytes of the template.
    parts: Vec<(Range<usize>, Range<usize>)>,
}

impl Filled {
    /// A text without parameters.
    pub fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), parts: Vec::new() }
    }

    /// Bytes of the template from which these bytes of the result come; a parameter is marked
    /// as a whole.
    pub fn template(&self, range: Range<usize>) -> Range<usize> {
        self.map(range.start).start..self.map(range.end.max(range.start + 1) - 1).end
    }

    /// The byte of the template, or the whole parameter, behind one byte of the result.
    fn map(&self, at: usize) -> Range<usize> {
        let mut shift = (0, 0);
        for (out, template) in &self.parts {
            if at < out.start {
                break;
            }
            if at < out.end {
                return template.clone();
            }
            shift = (out.end, template.end);
        }
        let at = at - shift.0 + shift.1;
        at..at + 1
    }

    /// `text` with the filled beginning of this string put back to its template, so that a help
    /// text proposes `DB{db}.DBD32` instead of `DB10.DBD32`.
    pub fn restore(&self, text: &str, template: &str) -> String {
        let Some((out, from)) = self.parts.last() else { return text.to_owned() };
        match (self.text.get(..out.end), template.get(..from.end)) {
            (Some(filled), Some(written)) if filled.len() > 1 => text.replace(filled, written),
            _ => text.to_owned(),
        }
    }
}

/// Why a string cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillFault {
    /// No such parameter: its name and its bytes in the template, braces included.
    Undeclared(String, Range<usize>),
    /// A parameter without a value here.
    Unknown,
}

/// The parameter that is the whole of `template`, if it is one.
pub fn only_param(template: &str) -> Option<&str> {
    let name = template.strip_prefix('{')?.strip_suffix('}')?;
    is_name(name).then_some(name)
}

/// Fills `{name}`; braces around anything else are text.
///
/// # Errors
/// `FillFault` at the first parameter that has no value.
pub fn fill(template: &str, params: &Params) -> Result<Filled, FillFault> {
    let mut filled = Filled::default();
    let mut at = 0;
    while let Some(open) = template[at..].find('{').map(|found| at + found) {
        filled.text.push_str(&template[at..open]);
        let name = template[open + 1..].split('}').next().unwrap_or("");
        let end = open + 1 + name.len() + 1;
        if !is_name(name) || end > template.len() {
            filled.text.push('{');
            at = open + 1;
            continue;
        }
        let value = match params.get(name) {
            None => return Err(FillFault::Undeclared(name.to_owned(), open..end)),
            Some(param) => param.text().ok_or(FillFault::Unknown)?,
        };
        let start = filled.text.len();
        filled.text.push_str(&value);
        filled.parts.push((start..filled.text.len(), open..end));
        at = end;
    }
    filled.text.push_str(&template[at..]);
    Ok(filled)
}

/// Letters, digits and `_`, not beginning with a digit.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back_to_the_template() {
        let params = Params::from([("db".to_owned(), Param::Int(110))]);
        let filled = fill("DB{db}.DBW32", &params).unwrap();
        assert_eq!(filled.text, "DB110.DBW32");
        assert_eq!(filled.template(6..9), 7..10);
        assert_eq!(filled.template(2..5), 2..6);
        assert_eq!(filled.template(3..7), 2..8);
        assert_eq!(filled.restore("write DB110.DBD32", "DB{db}.DBW32"), "write DB{db}.DBD32");
    }

    #[test]
    fn braces_around_anything_else_are_text() {
        let filled = fill("{1} {} {a b} {", &Params::new()).unwrap();
        assert_eq!(filled.text, "{1} {} {a b} {");
        assert_eq!(fill("x{nö}{no}", &Params::new()), Err(FillFault::Undeclared("no".to_owned(), 6..10)));
    }
}
