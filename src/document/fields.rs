//! Walking a tree: typed access to keys, reporting what does not fit.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::context::{Context, Resolved, TextValue};
use super::nearest;
use super::quantity;
use super::tree::{Content, Entry, Node, Table};
use crate::device::Text;
use crate::diagnostic::Span;

/// Unknown keys reported of one table; finding the nearest name takes its time.
const UNKNOWN_KEYS_MAX: usize = 50;

/// A table being read, with tables behind it that supply what it leaves out.
pub struct Fields<'a> {
    /// Where faults go and parameters come from.
    pub ctx: &'a Context<'a>,
    /// How messages call it, for example "tag `pressure`" or `[edge]`.
    pub subject: String,
    /// Where a missing key is reported.
    pub span: Span,
    own: &'a Table,
    inherited: Vec<&'a Table>,
    /// Keys that were probably meant by unknown ones.
    meant: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Opens a table in which only `keys` may stand; others are reported.
    pub fn open(
        ctx: &'a Context<'a>,
        subject: impl Into<String>,
        table: &'a Table,
        span: Span,
        keys: &[&str],
    ) -> Self {
        let mut fields = Self::any(ctx, subject, table, span);
        fields.refuse_unknown(keys);
        fields
    }

    /// Opens a table whose keys are names given by the writer.
    pub fn any(ctx: &'a Context<'a>, subject: impl Into<String>, table: &'a Table, span: Span) -> Self {
        Self { ctx, subject: subject.into(), span, own: table, inherited: Vec::new(), meant: Vec::new() }
    }

    /// Opens the table under `key`; `None` when it is absent or no table.
    pub fn table(&self, key: &str, subject: impl Into<String>, keys: &[&str]) -> Option<Fields<'a>> {
        let entry = self.entry(key)?;
        self.as_table(entry).map(|table| Fields::open(self.ctx, subject, table, entry.node.span, keys))
    }

    /// Adds tables that supply keys this one leaves out, nearest first.
    #[must_use]
    pub fn inheriting(mut self, tables: impl IntoIterator<Item = &'a Table>) -> Self {
        self.inherited.extend(tables);
        self
    }

    fn refuse_unknown(&mut self, keys: &[&str]) {
        let unknown = self.own.entries.iter().filter(|entry| !keys.contains(&entry.key.as_str()));
        for entry in unknown.take(UNKNOWN_KEYS_MAX) {
            let message = format!("{} has an unknown key `{}`", self.subject, entry.key);
            let help = match nearest(&entry.key, keys.iter().copied()) {
                Some(name) => {
                    self.meant.push(name.to_owned());
                    format!("did you mean `{name}`?")
                }
                None if keys.is_empty() => "it has no keys".to_owned(),
                None => format!("it may have: {}", keys.join(", ")),
            };
            self.ctx.report(self.ctx.error("P0102", entry.key_span, message).help(help));
        }
    }

    /// The entries as written, in the order of the file.
    pub fn entries(&self) -> &'a [Entry] {
        &self.own.entries
    }

    /// The table itself, without those behind it.
    pub fn own_table(&self) -> &'a Table {
        self.own
    }

    /// The entry of a key, from this table or from those behind it.
    pub fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.own.get(key).or_else(|| self.inherited.iter().find_map(|table| table.get(key)))
    }

    /// The table itself, and those behind it, nearest first.
    pub fn tables_behind(&self) -> &[&'a Table] {
        &self.inherited
    }

    /// True when the key stands in this table itself.
    pub fn is_own(&self, key: &str) -> bool {
        self.own.get(key).is_some()
    }

    /// True when the key stands here or behind.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Who gives the value of `key`: this table, or the defaults behind it, of which a fault is
    /// said once and not for each table that takes it from there.
    fn giver(&self, key: &str) -> &str {
        if self.is_own(key) || !self.has(key) { &self.subject } else { "defaults" }
    }

    /// Reports a key that must be there and is not; `what` says what it is for. Nothing is said
    /// where it is misspelt, or stands in a line that cannot be read.
    pub fn require(&self, key: &str, what: &str) -> bool {
        let found = self.has(key);
        if !found && !self.meant.iter().any(|meant| meant == key) && !self.ctx.is_broken_key(key) {
            let message = format!("{} needs `{key}`", self.subject);
            self.ctx.report(self.ctx.error("P0101", self.span, message).help(what));
        }
        found
    }

    /// Reports that the value of `key` is wrong: `{subject}: {message}`.
    pub fn refuse(&self, code: &'static str, key: &str, message: &str, help: impl Into<String>) {
        let span = self.entry(key).map_or(self.span, |entry| entry.node.span);
        let message = format!("{}: {message}", self.subject);
        self.ctx.report(self.ctx.error(code, span, message).help(help));
    }

    /// As [`Fields::refuse`], for a value that is wrong whatever else stands in the table.
    pub fn refuse_value(&self, code: &'static str, key: &str, message: &str, help: impl Into<String>) {
        let span = self.entry(key).map_or(self.span, |entry| entry.node.span);
        let message = format!("{}: {message}", self.giver(key));
        self.ctx.report(self.ctx.error(code, span, message).help(help));
    }

    fn wrong_kind(&self, entry: &Entry, wanted: &str, found: &str, help: &str) {
        let message = format!("{}: `{}` must be {wanted}", self.giver(&entry.key), entry.key);
        let fault = self.ctx.error("P0103", entry.node.span, message).label(format!("this is {found}"));
        self.ctx.report(fault.help(help));
    }

    /// The table of an entry, or a report.
    pub fn as_table(&self, entry: &'a Entry) -> Option<&'a Table> {
        match &entry.node.content {
            Content::Table(table) => Some(table),
            other => {
                let help = format!("write {} = {{ … }}, a table in braces", entry.key);
                self.wrong_kind(entry, "a table", other.kind(), &help);
                None
            }
        }
    }

    /// The tables of `[[key]]`, or a report.
    pub fn tables(&self, key: &str) -> Vec<(&'a Table, Span)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Content::Array(list) = &entry.node.content else {
            self.wrong_kind(entry, "a list", entry.node.content.kind(), &format!("write [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for node in list {
            match &node.content {
                Content::Table(table) => tables.push((table, node.span)),
                other => self.item_kind(key, node, "a table", other.kind()),
            }
        }
        tables
    }

    fn item_kind(&self, key: &str, node: &Node, wanted: &str, found: &str) {
        let message = format!("{}: each entry of `{key}` must be {wanted}", self.subject);
        self.ctx.report(self.ctx.error("P0103", node.span, message).label(format!("this is {found}")));
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<TextValue> {
        let entry = self.entry(key)?;
        match &entry.node.content {
            Content::Text(template) => self.ctx.text(self.giver(key), &entry.node, template),
            other => {
                self.wrong_kind(entry, "a text", other.kind(), "put it in quotes");
                None
            }
        }
    }

    /// One of these texts.
    pub fn choice(&self, key: &str, choices: &[&'static str]) -> Option<&'static str> {
        let text = self.text(key)?;
        let found = choices.iter().find(|choice| **choice == text.text);
        if found.is_none() {
            let hint = nearest(&text.text, choices.iter().copied());
            let help = match hint {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("it may be: {}", choices.join(", ")),
            };
            self.refuse_value("P0104", key, &format!("`{key}` cannot be \"{}\"", text.text), help);
        }
        found.copied()
    }

    /// Yes or no.
    pub fn bool(&self, key: &str) -> Option<bool> {
        let entry = self.entry(key)?;
        match self.ctx.resolve(self.giver(key), &entry.node)? {
            Resolved::Bool(yes) => Some(yes),
            other => {
                self.wrong_kind(entry, "true or false", other.kind(), "write it without quotes");
                None
            }
        }
    }

    /// A whole number within these bounds.
    pub fn int(&self, key: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let entry = self.entry(key)?;
        let number = match self.ctx.resolve(self.giver(key), &entry.node)? {
            Resolved::Int(number) => number,
            other => {
                self.wrong_kind(
                    entry,
                    "a whole number",
                    other.kind(),
                    "write it without quotes and decimals",
                );
                return None;
            }
        };
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            let message = format!("`{key}` = {number} is not within {least} to {most}");
            self.refuse_value("P0104", key, &message, format!("write a whole number from {least} to {most}"));
            return None;
        }
        Some(number)
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Option<f64> {
        let entry = self.entry(key)?;
        self.as_number(key, &entry.node)
    }

    /// The finite number of a node that stands under `key`, or a report.
    fn as_number(&self, key: &str, node: &Node) -> Option<f64> {
        let found = self.ctx.resolve(self.giver(key), node)?;
        if let Some(number) = found.as_f64().filter(|number| number.is_finite()) {
            return Some(number);
        }
        let message = format!("{}: `{key}` must be a number", self.giver(key));
        let fault = self.ctx.error("P0103", node.span, message).label(format!("this is {}", found.kind()));
        self.ctx.report(fault.help("write it without quotes, with a decimal point"));
        None
    }

    /// Two numbers, the first the smaller: `[low, high]`.
    pub fn pair(&self, key: &str) -> Option<(f64, f64)> {
        let (low, high) = self.two_different(key)?;
        if low > high {
            let message = format!("`{key}` runs from {low} to {high}");
            self.refuse_value("P0124", key, &message, "write the smaller number first");
            return None;
        }
        Some((low, high))
    }

    /// Two different numbers in any order.
    pub fn two_different(&self, key: &str) -> Option<(f64, f64)> {
        let (first, last) = self.two_numbers(key)?;
        #[allow(clippy::float_cmp)] // exactly the same number was written twice
        if first == last {
            let message = format!("`{key}` has {first} as its low and its high end");
            self.refuse_value("P0124", key, &message, "write two different numbers: [low, high]");
            return None;
        }
        Some((first, last))
    }

    /// Two numbers in any order.
    pub fn two_numbers(&self, key: &str) -> Option<(f64, f64)> {
        let entry = self.entry(key)?;
        let Content::Array(list) = &entry.node.content else {
            self.wrong_kind(entry, "two numbers", entry.node.content.kind(), "write [low, high]");
            return None;
        };
        let [low, high] = list.as_slice() else {
            let help = "write [low, high], with decimal points: [1.5, 50]";
            self.wrong_kind(entry, "two numbers", &format!("a list of {}", list.len()), help);
            return None;
        };
        let (low, high) = (self.as_number(key, low), self.as_number(key, high));
        Some((low?, high?))
    }

    /// A duration such as `"200ms"` within these bounds.
    pub fn duration(&self, key: &str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.quantity(key, "a duration", "200ms, 1s, 5m or 1h")?;
        let Some(value) = quantity::duration(&text.text) else {
            self.refuse_value(
                "P0105",
                key,
                &format!("\"{}\" is not a duration", text.text),
                "write a number and its unit, for example \"200ms\", \"1s\", \"5m\" or \"1h\"",
            );
            return None;
        };
        if !bounds.contains(&value) {
            let (least, most) = (*bounds.start(), *bounds.end());
            let bounds = [quantity::duration_text(least), quantity::duration_text(most)];
            self.out_of_bounds(key, &text, value < least, &bounds);
            return None;
        }
        Some(value)
    }

    /// A size such as `"256KiB"` within these bounds, in bytes.
    pub fn size_bytes(&self, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let text = self.quantity(key, "a size", "256KiB, 16MiB or 2GiB")?;
        let Some(value) = quantity::size_bytes(&text.text) else {
            self.refuse_value(
                "P0105",
                key,
                &format!("\"{}\" is not a size", text.text),
                "write a number and its unit, for example \"256KiB\", \"16MiB\" or \"2GiB\"",
            );
            return None;
        };
        if !bounds.contains(&value) {
            let (least, most) = (*bounds.start(), *bounds.end());
            let bounds = [quantity::size_text(least), quantity::size_text(most)];
            self.out_of_bounds(key, &text, value < least, &bounds);
            return None;
        }
        Some(value)
    }

    fn out_of_bounds(&self, key: &str, written: &TextValue, below: bool, [least, most]: &[String; 2]) {
        let (word, bound) = if below { ("below", least) } else { ("above", most) };
        let message = format!("`{key}` = \"{}\" is {word} \"{bound}\"", written.text);
        self.refuse_value("P0104", key, &message, format!("write \"{least}\" to \"{most}\""));
    }

    fn quantity(&self, key: &str, wanted: &str, examples: &str) -> Option<TextValue> {
        let entry = self.entry(key)?;
        match self.ctx.resolve(self.giver(key), &entry.node)? {
            Resolved::Text(text) => Some(text),
            other => {
                let help = format!("write a text with its unit, for example {examples}, in quotes");
                self.wrong_kind(entry, &format!("{wanted} with its unit"), other.kind(), &help);
                None
            }
        }
    }

    /// A list of texts.
    pub fn list(&self, key: &str) -> Option<Vec<TextValue>> {
        let entry = self.entry(key)?;
        let Content::Array(list) = &entry.node.content else {
            let help = format!("write {key} = [\"…\"]");
            self.wrong_kind(entry, "a list of texts", entry.node.content.kind(), &help);
            return None;
        };
        let mut texts = Vec::new();
        for node in list {
            match self.ctx.resolve(&self.subject, node) {
                Some(Resolved::Text(text)) => texts.push(text),
                Some(other) => self.item_kind(key, node, "a text", other.kind()),
                None => {}
            }
        }
        Some(texts)
    }

    /// A text, or a table of texts by language.
    pub fn languages(&self, key: &str) -> Option<Text> {
        let entry = self.entry(key)?;
        match &entry.node.content {
            Content::Table(table) => {
                let subject = format!("{}: `{key}`", self.subject);
                let inner = Fields::any(self.ctx, subject, table, entry.node.span);
                inner.language_keys(&[])
            }
            _ => self.text(key).map(|text| Text::plain(text.text)),
        }
    }

    /// The keys that are languages (`en`, `de`): all but `others`. At least one must be there.
    pub fn language_keys(&self, others: &[&str]) -> Option<Text> {
        let mut text = Text::default();
        for entry in self.entries().iter().filter(|entry| !others.contains(&entry.key.as_str())) {
            if entry.key.len() != 2 || !entry.key.bytes().all(|byte| byte.is_ascii_lowercase()) {
                let message = format!("{} has an unknown key `{}`", self.subject, entry.key);
                let help = match nearest(&entry.key, others.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => {
                        "texts stand under the two letters of their language, for example en or de".to_owned()
                    }
                };
                self.ctx.report(self.ctx.error("P0102", entry.key_span, message).help(help));
            } else if let Some(words) = self.text(&entry.key) {
                text.0.insert(entry.key.clone(), words.text);
            }
        }
        let written = self.entries().iter().any(|entry| !others.contains(&entry.key.as_str()));
        if !written {
            let message = format!("{} needs a text", self.subject);
            let fault = self.ctx.error("P0101", self.span, message);
            self.ctx.report(fault.help("write at least en = \"…\""));
        }
        (!text.0.is_empty()).then_some(text)
    }

    /// Where these bytes of a text stand in the file.
    pub fn within(&self, text: &TextValue, range: Range<usize>) -> Span {
        text.span_of(self.ctx, range)
    }
}
