//! The protocol's own table, checked against [`Protocol::options`].

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_connector::{ByteOrder, OptionKey, OptionKind, OptionValue, Protocol};

use crate::document::Fields;

/// Texts under these keys are secrets and stand in the file by name only.
const SECRET_KEYS: [&str; 3] = ["password", "secret", "token"];

/// How a secret is named.
const CREDENTIAL: &str = "credential:";

/// Reads `[s7]`, `[modbus]`, `[opcua]` … of a profile.
pub fn read(root: &Fields<'_>, protocol: &dyn Protocol) -> BTreeMap<String, OptionValue> {
    let options = protocol.options();
    let keys: Vec<&str> = options.iter().map(|option| option.name).collect();
    let Some(fields) = root.table(protocol.name(), format!("[{}]", protocol.name()), &keys) else {
        return BTreeMap::new();
    };
    let present = options.iter().filter(|option| fields.has(option.name));
    present.filter_map(|option| Some((option.name.to_owned(), value(&fields, option)?))).collect()
}

fn value(fields: &Fields<'_>, option: &OptionKey) -> Option<OptionValue> {
    let name = option.name;
    Some(match option.kind {
        OptionKind::Int(min, max) => OptionValue::Int(fields.int(name, min..=max)?),
        OptionKind::Text => OptionValue::Text(fields.text(name)?.text),
        OptionKind::Choice(choices) => OptionValue::Text(fields.choice(name, choices)?.to_owned()),
        OptionKind::Bool => OptionValue::Bool(fields.bool(name)?),
        OptionKind::DurationMs(min, max) => {
            let bounds = Duration::from_millis(min)..=Duration::from_millis(max);
            OptionValue::Duration(fields.duration(name, bounds)?)
        }
        OptionKind::Texts => {
            let entry = fields.entry(name)?;
            let subject = format!("{}: `{name}`", fields.subject);
            let inner = Fields::any(fields.ctx, subject, fields.as_table(entry)?, entry.node.span);
            let keys: Vec<&str> = inner.entries().iter().map(|entry| entry.key.as_str()).collect();
            OptionValue::Texts(texts(&inner, &keys))
        }
        OptionKind::Table(keys) => {
            let inner = fields.table(name, format!("{}: `{name}`", fields.subject), keys)?;
            for key in keys {
                inner.require(key, &format!("{name} has the keys {}", keys.join(", ")));
            }
            OptionValue::Texts(texts(&inner, keys))
        }
    })
}

fn texts(fields: &Fields<'_>, keys: &[&str]) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for key in keys {
        let Some(text) = fields.text(key) else { continue };
        if SECRET_KEYS.contains(key) && !text.text.starts_with(CREDENTIAL) {
            fields.refuse(
                "P0144",
                key,
                &format!("`{key}` must not stand in a file"),
                format!(
                    "write {key} = \"credential:NAME\" and put the secret into the file NAME of the \
                     credentials directory (docs/profiles.md, \"Secrets\")"
                ),
            );
        }
        texts.insert((*key).to_owned(), text.text);
    }
    texts
}

/// The byte order of one tag; refused where the protocol has none.
pub fn order(fields: &Fields<'_>, protocol: &dyn Protocol) -> Option<ByteOrder> {
    let has_order = protocol.options().iter().any(|option| option.name == "order");
    if fields.has("order") && !has_order {
        if fields.is_own("order") {
            let message = format!("{} has one fixed byte order", protocol.name());
            fields.refuse("P0122", "order", &message, "remove `order`");
        }
        return None;
    }
    fields.choice("order", &ByteOrder::NAMES).and_then(ByteOrder::parse)
}
