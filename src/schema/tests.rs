//! That the schemas have what the readers read.

use super::*;
use crate::connectors;
use crate::profile::keys;

fn properties<'s>(schema: &'s Json, path: &[&str]) -> Vec<&'s str> {
    let table = path.iter().fold(schema, |at, key| &at[*key]);
    let properties = table["properties"].as_object().unwrap_or_else(|| panic!("no table at {path:?}"));
    assert!(table["additionalProperties"].is_object() || table["additionalProperties"] == false);
    properties.keys().map(String::as_str).collect()
}

fn sorted<'k>(keys: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let mut keys: Vec<&str> = keys.into_iter().collect();
    keys.sort_unstable();
    keys
}

#[test]
fn every_key_of_the_readers_is_in_the_schemas() {
    let schema = profile();
    let names: Vec<&str> = connectors::all().iter().map(|it| it.name()).collect();
    assert_eq!(sorted(properties(&schema, &[])), sorted(keys::ROOT.into_iter().chain(names.iter().copied())));
    let tag = ["properties", "tags", "additionalProperties", "additionalProperties"];
    assert_eq!(sorted(properties(&schema, &tag)), sorted(keys::TAG));
    assert_eq!(sorted(properties(&schema, &["properties", "profile"])), sorted(keys::HEADER));
    let device = keys::DEVICE.into_iter().chain(["profile"]).chain(names.iter().copied());
    assert_eq!(sorted(properties(&schema, &["properties", "device", "items"])), sorted(device));
    for protocol in connectors::all() {
        let options = protocol.options().iter().map(|option| option.name);
        assert_eq!(sorted(properties(&schema, &["properties", protocol.name()])), sorted(options));
    }
    let schema = site();
    use crate::config::keys as site_keys;
    assert_eq!(sorted(properties(&schema, &[])), sorted(site_keys::ROOT));
    assert_eq!(sorted(properties(&schema, &["properties", "kafka"])), sorted(site_keys::KAFKA));
    let telemetry = ["properties", "lanes", "properties", "telemetry"];
    assert_eq!(sorted(properties(&schema, &telemetry)), sorted(site_keys::TELEMETRY));
}

/// Every key has a shape of its own: one that was forgotten would take anything.
#[test]
fn no_key_takes_anything() {
    fn empty(at: &str, schema: &Json, found: &mut Vec<String>) {
        match schema {
            Json::Object(map) if map.is_empty() => found.push(at.to_owned()),
            Json::Object(map) => {
                map.iter().for_each(|(key, inner)| empty(&format!("{at}/{key}"), inner, found))
            }
            Json::Array(list) => list.iter().for_each(|inner| empty(at, inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for schema in [profile(), site()] {
        empty("", &schema, &mut found);
    }
    // An empty `properties` says that a table has no keys of its own.
    found.retain(|at| !at.ends_with("/properties"));
    assert_eq!(found, [""; 0]);
}
