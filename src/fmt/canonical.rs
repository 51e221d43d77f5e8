//! The one spelling of addresses and types.

use std::sync::Arc;

use forebay_connector::{DataType, Protocol};

use crate::connectors;
use crate::diagnostic::{Source, Span};
use crate::document::{Content, Entry, Param, Params, Table, fill};

/// The text with canonical types and addresses.
pub fn spell(source: &Source, root: &Table) -> String {
    let mut speller = Speller {
        source,
        protocol: text(root, &["profile", "protocol"]).and_then(connectors::by_name),
        params: defaults(root),
        edits: Vec::new(),
    };
    let shared = table(root, "defaults");
    if let Some(shared) = shared {
        speller.line(shared, &[]);
    }
    speller.groups(root, shared);
    for over in arrays(root, "device") {
        speller.groups(over, shared);
    }
    for verify in arrays(root, "verify") {
        if let Some(line) = table(verify, "tag") {
            speller.line(line, &[shared]);
        }
    }
    speller.edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::new();
    let mut at = 0;
    for (span, new) in speller.edits {
        out.push_str(&source.text[at..span.start]);
        out.push_str(&new);
        at = span.end;
    }
    out.push_str(&source.text[at..]);
    out
}

struct Speller<'a> {
    source: &'a Source,
    protocol: Option<Arc<dyn Protocol>>,
    params: Params,
    edits: Vec<(Span, String)>,
}

impl Speller<'_> {
    fn groups(&mut self, root: &Table, shared: Option<&Table>) {
        let Some(groups) = table(root, "tags") else { return };
        for group in groups.entries.iter().filter_map(as_table) {
            let counter = text(group, &["repeat", "as"]).map(str::to_owned);
            let before = counter.clone().and_then(|name| self.params.insert(name, Param::Int(1)));
            let own = table(group, "defaults");
            for line in group.entries.iter().filter(|entry| entry.key != "repeat").filter_map(as_table) {
                self.line(line, &[own, shared]);
            }
            if let Some(name) = counter {
                match before {
                    Some(before) => self.params.insert(name, before),
                    None => self.params.remove(&name),
                };
            }
        }
    }

    /// One line of a tag, or defaults; `behind` gives the type it leaves out.
    fn line(&mut self, line: &Table, behind: &[Option<&Table>]) {
        if let Some((span, written)) = text_of(line, "type")
            && let Some(data_type) = DataType::parse(written)
            && data_type.to_string() != written
        {
            self.replace(span, written, &data_type.to_string());
        }
        let tables = std::iter::once(Some(line)).chain(behind.iter().copied()).flatten();
        let mut types = tables.filter_map(|table| text_of(table, "type"));
        let data_type = types.next().and_then(|(_, written)| DataType::parse(written));
        if let (Some((span, written)), Some(data_type)) = (text_of(line, "address"), data_type)
            && let Some(canonical) = self.canonical(written, data_type)
            && canonical != written
        {
            self.replace(span, written, &canonical);
        }
    }

    /// The address in its one spelling, parameters left as they are. `None` when it is faulty, or
    /// when it cannot be said with its parameters.
    fn canonical(&self, written: &str, data_type: DataType) -> Option<String> {
        let protocol = self.protocol.as_ref()?;
        let spelt = |text: &str, params: &Params| {
            let filled = fill(text, params).ok()?.text;
            Some(protocol.check_address(&filled, data_type).ok()?.canonical)
        };
        let mut restored = spelt(written, &self.params)?;
        for (name, value) in &self.params {
            let (written_as, value) = (format!("{{{name}}}"), value.text().unwrap_or_default());
            if written.contains(&written_as) && !value.is_empty() {
                restored = restored.replacen(&value, &written_as, 1);
            }
        }
        // With other values it must mean the same, too: a number may have been that of a parameter
        // by chance.
        let others: Params = self.params.iter().map(|(name, value)| (name.clone(), other(value))).collect();
        let same = [&self.params, &others].into_iter().all(|params| {
            let meant = spelt(written, params);
            meant.is_some() && meant == fill(&restored, params).ok().map(|filled| filled.text)
        });
        same.then_some(restored)
    }

    /// Replaces a string in the quotes that it has; one that is escaped is left alone.
    fn replace(&mut self, span: Span, written: &str, new: &str) {
        let whole = self.source.slice(span);
        let quote = whole.chars().next().filter(|quote| matches!(quote, '"' | '\''));
        let Some(quote) = quote.filter(|quote| whole == format!("{quote}{written}{quote}")) else { return };
        if !new.contains([quote, '\\', '\n']) {
            self.edits.push((span, format!("{quote}{new}{quote}")));
        }
    }
}

/// Another value of the same kind.
fn other(param: &Param) -> Param {
    match param {
        Param::Int(number) => Param::Int(number.saturating_add(1)),
        Param::Number(number) => Param::Number(number + 1.0),
        Param::Text(text) => Param::Text(format!("{text}1")),
        Param::Unknown => Param::Unknown,
    }
}

/// Parameters with their defaults.
fn defaults(root: &Table) -> Params {
    let mut params = Params::new();
    for entry in table(root, "params").iter().flat_map(|params| &params.entries) {
        let default = as_table(entry).and_then(|param| param.get("default"));
        let value = match default.map(|default| &default.node.content) {
            Some(Content::Int(number)) => Param::Int(*number),
            Some(Content::Number(number)) => Param::Number(*number),
            Some(Content::Text(text)) => Param::Text(text.clone()),
            _ => Param::Unknown,
        };
        params.insert(entry.key.clone(), value);
    }
    params
}

fn as_table(entry: &Entry) -> Option<&Table> {
    if let Content::Table(table) = &entry.node.content { Some(table) } else { None }
}

fn table<'t>(table: &'t Table, key: &str) -> Option<&'t Table> {
    as_table(table.get(key)?)
}

fn text_of<'t>(table: &'t Table, key: &str) -> Option<(Span, &'t str)> {
    let node = &table.get(key)?.node;
    if let Content::Text(text) = &node.content { Some((node.span, text)) } else { None }
}

fn text<'t>(root: &'t Table, [outer, inner]: &[&str; 2]) -> Option<&'t str> {
    text_of(table(root, outer)?, inner).map(|(_, text)| text)
}

fn arrays<'t>(root: &'t Table, key: &str) -> Vec<&'t Table> {
    let Some(Content::Array(list)) = root.get(key).map(|entry| &entry.node.content) else {
        return Vec::new();
    };
    let tables = list
        .iter()
        .filter_map(|node| if let Content::Table(table) = &node.content { Some(table) } else { None });
    tables.collect()
}
