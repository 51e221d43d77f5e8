//! `[enum.x]` and `[bits.x]`: what numbers and bits mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::device::{BitText, EnumValue};
use crate::diagnostic::Span;
use crate::document::{Content, Entry, Fields};

/// Texts of one enumeration by number.
pub type Enumeration = Arc<BTreeMap<i64, EnumValue>>;

/// One named bit.
#[derive(Debug, Clone)]
pub struct NamedBit {
    /// Number, 0 = lowest.
    pub number: u8,
    /// Last part of the path of its tag.
    pub name: String,
    /// What it means.
    pub text: BitText,
    /// Where it stands.
    pub span: Span,
}

/// Reads `[enum.*]`.
pub fn enumerations(root: &Fields<'_>) -> BTreeMap<String, Enumeration> {
    named_tables(root, "enum")
        .into_iter()
        .map(|(name, fields)| {
            let values = fields.entries().iter().filter_map(|entry| {
                let number = number(&fields, entry, i64::MIN, i64::MAX)?;
                let inner = inner(&fields, entry, "en = \"…\"")?;
                let text = inner.language_keys(&["ne107"])?;
                Some((number, EnumValue { text, function_check: function_check(&inner) }))
            });
            (name, Arc::new(values.collect()))
        })
        .collect()
}

/// Reads `[bits.*]`.
pub fn bit_fields(root: &Fields<'_>) -> BTreeMap<String, Vec<NamedBit>> {
    named_tables(root, "bits")
        .into_iter()
        .map(|(name, fields)| {
            let mut bits: Vec<NamedBit> = Vec::new();
            for bit in fields.entries().iter().filter_map(|entry| named_bit(&fields, entry)) {
                if bits.iter().any(|other| other.name == bit.name) {
                    let message = format!("{}: two bits are named `{}`", fields.subject, bit.name);
                    fields
                        .ctx
                        .report(fields.ctx.error("P0127", bit.span, message).help("give each its own name"));
                }
                bits.push(bit);
            }
            bits.sort_by_key(|bit| bit.number);
            (name, bits)
        })
        .collect()
}

fn named_bit(fields: &Fields<'_>, entry: &Entry) -> Option<NamedBit> {
    let number = u8::try_from(number(fields, entry, 0, 63)?).ok()?;
    let inner = inner(fields, entry, "name = \"…\", en = \"…\"")?;
    inner.require("name", "the bit becomes a tag with this name");
    let priority = inner.choice("priority", &["high", "medium", "low"]).unwrap_or("").to_owned();
    let text = inner.language_keys(&["name", "priority"])?;
    let name = inner.text("name")?;
    super::check_name(&inner, "a bit's name", &name.text, name.span);
    Some(NamedBit { number, name: name.text, text: BitText { text, priority }, span: entry.key_span })
}

/// True when `ne107 = "C"` stands in the table; any other letter is refused.
pub fn function_check(fields: &Fields<'_>) -> bool {
    fields.choice("ne107", &["C"]).is_some()
}

fn named_tables<'a>(root: &Fields<'a>, key: &str) -> Vec<(String, Fields<'a>)> {
    let Some(table) = root.entry(key).and_then(|entry| root.as_table(entry)) else { return Vec::new() };
    let named = table.entries.iter().filter_map(|entry| {
        let subject = format!("[{key}.{}]", entry.key);
        Some((entry.key.clone(), Fields::any(root.ctx, subject, root.as_table(entry)?, entry.key_span)))
    });
    named.collect()
}

fn inner<'a>(fields: &Fields<'a>, entry: &'a Entry, keys: &str) -> Option<Fields<'a>> {
    let subject = format!("{} {}", fields.subject, entry.key);
    if let Content::Text(text) = &entry.node.content {
        let fault = fields.ctx.error("P0103", entry.node.span, format!("{subject} must be a table"));
        let help = format!("write {} = {{ {} }}", entry.key, keys.replace('…', text));
        fields.ctx.report(fault.label("this is a text").help(help));
        return None;
    }
    Some(Fields::any(fields.ctx, subject, fields.as_table(entry)?, entry.key_span))
}

fn number(fields: &Fields<'_>, entry: &Entry, min: i64, max: i64) -> Option<i64> {
    let number = entry.key.parse::<i64>().ok().filter(|number| (min..=max).contains(number));
    if number.is_none() {
        let message = format!("{}: `{}` is not a number it can have", fields.subject, entry.key);
        let help = if max == 63 {
            "bits are numbered from 0 (lowest) to 63"
        } else {
            "the key is the value itself, for example 2 = { en = \"Stopped\" }"
        };
        fields.ctx.report(fields.ctx.error("P0129", entry.key_span, message).help(help));
    }
    number
}
