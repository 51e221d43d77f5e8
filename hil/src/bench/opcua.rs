//! asyncua: nodes in a namespace of its own, values as JSON.

use forebay_connector::{DeviceSpec, Scalar, TagSpec, Value};

use super::foreign::Language;

/// The namespace of the script's nodes, whatever the profile calls it.
pub const URI: &str = "urn:forebay:test";

/// How to tell asyncua about `spec`.
pub fn language(spec: &DeviceSpec) -> Language {
    Language {
        python: "python",
        script: "opcua_server.py",
        arguments: Vec::new(),
        scheme: "opc.tcp://",
        prepare: spec.tags.iter().filter_map(add).collect(),
        sets: spec.tags.iter().map(|tag| add(tag).is_some()).collect(),
        set: |spec, values| {
            let set = |(tag, value): (&TagSpec, &Value)| {
                add(tag).is_some().then(|| format!("set {} {}", tag.address, json(value)))
            };
            spec.tags.iter().zip(values).filter_map(set).collect()
        },
    }
}

/// Creates the node of a tag; namespace 0 belongs to the server.
fn add(tag: &TagSpec) -> Option<String> {
    let zero = match tag.data_type.scalar {
        Scalar::Bool => "false",
        Scalar::Char | Scalar::Wchar | Scalar::String(_) | Scalar::Wstring(_) => "\"\"",
        Scalar::Dtl | Scalar::DateAndTime | Scalar::Date => return None,
        _ => "0",
    };
    let value = match tag.data_type.array_len {
        Some(len) => format!("[{}]", vec![zero; usize::from(len)].join(", ")),
        None => zero.to_owned(),
    };
    tag.address.starts_with("ns=").then(|| format!("add {} {} {value}", tag.address, tag.data_type))
}

fn json(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) | Value::DateTime(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Lreal(value) => value.to_string(),
        Value::Text(value) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        Value::Array(values) => format!("[{}]", values.iter().map(json).collect::<Vec<_>>().join(", ")),
    }
}
