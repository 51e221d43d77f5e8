//! Profiles and device files.

use forebay_connector::{ByteOrder, DataType, OptionKey, OptionKind};
use serde_json::{Value as Json, json};

use super::{duration, list_of, named, one_of, root, table, text_of, told, truth};
use crate::connectors;
use crate::profile::{keys, units};

/// The schema of profiles and device files.
pub fn profile() -> Json {
    let protocols = connectors::all();
    let mut content = table(keys::ROOT, |key| match key {
        "forebay" => told(json!({ "const": 1 }), "Version of the file format, not of your profile."),
        "profile" => {
            told(table(keys::HEADER, header), "What the profile is called and where its numbers come from.")
        }
        "params" => told(
            named(&table(keys::PARAM, param)),
            "What differs between machines of this type; {name} in a string is replaced.",
        ),
        "scan" => told(named(&filled(duration())), "Scan classes: name = how often."),
        "defaults" => told(table(keys::DEFAULTS, tag), "Keys for all tags that do not say otherwise."),
        "tags" => told(named(&group()), "Groups of tags; one line per tag."),
        "enum" => told(named(&named(&texts(&["ne107"]))), "Texts of numbers."),
        "bits" => told(
            named(&named(&texts(&["name", "priority"]))),
            "Names and texts of the bits of a word; bit 0 is the lowest.",
        ),
        "verify" => told(
            list_of(&table(keys::VERIFY, verify)),
            "Read after every connect; nothing is good until it holds.",
        ),
        "budget" => told(budget(), "How hard controllers of this type may be worked."),
        "device" => told(list_of(&table(device_keys(), device)), "Machines of this type."),
        _ => json!({}),
    });
    for protocol in &protocols {
        content["properties"][protocol.name()] = options(protocol.options());
    }
    content["required"] = json!(["forebay"]);
    root("profile-1", "Forebay profile or device file", content)
}

/// A value, or a text with `{param}` in it.
fn filled(shape: Json) -> Json {
    json!({ "anyOf": [shape, { "type": "string", "pattern": r"\{[A-Za-z_][A-Za-z0-9_]*\}" }] })
}

fn number() -> Json {
    filled(json!({ "type": "number" }))
}

fn two_numbers() -> Json {
    json!({ "type": "array", "items": number(), "minItems": 2, "maxItems": 2 })
}

/// A number, or a share of the range.
fn share() -> Json {
    json!({ "anyOf": [number(), { "type": "string", "pattern": r"^[0-9.]+\s*%$" }] })
}

/// Texts by language beside these keys.
fn texts(beside: &[&str]) -> Json {
    let mut texts = table(beside.iter().copied(), |key| match key {
        "ne107" => one_of(&["C"]),
        "priority" => one_of(&["high", "medium", "low"]),
        _ => text_of(),
    });
    texts["patternProperties"] = json!({ "^[a-z]{2}$": text_of() });
    texts
}

/// One text, or one for each language.
fn languages() -> Json {
    json!({ "anyOf": [text_of(), texts(&[])] })
}

fn header(key: &str) -> Json {
    match key {
        "name" => told(text_of(), "Devices refer to the profile by it."),
        "extends" => told(text_of(), "Another profile; only what differs stands here."),
        "title" => told(languages(), "Words for people."),
        "version" => told(text_of(), "Yours to count, for example 1.0.0."),
        "protocol" => {
            let protocols = connectors::all();
            one_of(&protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>())
        }
        "source" => told(text_of(), "Manual and page, or export and date."),
        _ => text_of(),
    }
}

fn param(key: &str) -> Json {
    match key {
        "type" => one_of(&["int", "number", "text"]),
        "default" => json!({ "type": ["number", "string"] }),
        "min" | "max" => json!({ "type": "number" }),
        _ => text_of(),
    }
}

fn group() -> Json {
    let mut group = table(["defaults", "repeat"], |key| match key {
        "defaults" => told(table(keys::DEFAULTS, tag), "Keys for all tags of this group."),
        _ => told(
            table(
                keys::REPEAT,
                |key| if key == "as" { text_of() } else { filled(json!({ "type": "integer" })) },
            ),
            "The group several times: name.1, name.2 …",
        ),
    });
    group["additionalProperties"] = table(keys::TAG, tag);
    group
}

fn tag(key: &str) -> Json {
    match key {
        "address" => told(text_of(), "Where it is, in the notation of the protocol."),
        "value" => told(text_of(), "Calculated from other tags, for example rate(parts) * 60."),
        "type" => {
            let pattern = format!("(?i)^({})", DataType::names().collect::<Vec<_>>().join("|"));
            let names: Vec<String> = DataType::names().map(str::to_owned).collect();
            // Lengths ("STRING[16]") and other spellings ("int16") are texts, too.
            told(
                json!({ "anyOf": [{ "enum": names }, { "type": "string" }] }),
                &format!("IEC 61131 type, {pattern}"),
            )
        }
        "unit" => {
            let symbols = units::UNITS.iter().map(|unit| unit.symbol).chain(["server"]);
            filled(json!({ "type": "string", "enum": symbols.collect::<Vec<_>>() }))
        }
        "scan" => told(text_of(), "Name of a class of [scan]."),
        "deadband" => told(
            share(),
            "Changes up to this much are held back: a number, or a share of range such as \"1%\".",
        ),
        "compress" => {
            told(share(), "Swinging door: lines between the sent values miss none by more than this.")
        }
        "max_silence" => told(filled(duration()), "A value is sent at least this often."),
        "range" | "raw" => two_numbers(),
        "eng" => two_numbers(),
        "limits" => table(keys::LIMITS, |_| number()),
        "scale" | "offset" => number(),
        "clamp" => filled(truth()),
        "kind" => one_of(&["counter", "value"]),
        "order" => one_of(&ByteOrder::NAMES),
        "ne107" => one_of(&["C"]),
        "timezone" => told(text_of(), "Zone of the controller's clock, for example Europe/Berlin."),
        "enum" | "bits" | "desc" => text_of(),
        _ => json!({}),
    }
}

fn verify(key: &str) -> Json {
    match key {
        "tag" => json!({ "anyOf": [text_of(), table(keys::VERIFY_TAG, tag)] }),
        "is" => json!({ "type": ["number", "string", "boolean"] }),
        "between" => two_numbers(),
        _ => languages(),
    }
}

/// How hard a controller may be worked.
fn budget() -> Json {
    table(["requests_per_second", "share", "connections"], |key| match key {
        "share" => json!({ "type": "string", "pattern": r"^[0-9]+\s*%$" }),
        _ => filled(json!({ "type": "integer", "minimum": 1 })),
    })
}

fn device_keys() -> Vec<&'static str> {
    let protocols = connectors::all();
    let tables = protocols.iter().map(|protocol| protocol.name());
    keys::DEVICE.into_iter().chain(["profile"]).chain(tables).collect()
}

fn device(key: &str) -> Json {
    match key {
        "name" => told(text_of(), "Unique on the box."),
        "endpoint" => told(text_of(), "Address of the machine."),
        "location" => told(text_of(), "Site/Area/Line/Cell."),
        "profile" => told(text_of(), "The profile of its type; only in device files."),
        "params" => json!({ "type": "object", "additionalProperties": { "type": ["number", "string"] } }),
        "except" => told(list_of(&text_of()), "Tags that this machine does not have: station.4.*"),
        "trust" => json!({ "type": "string", "pattern": "^sha256:[0-9A-Fa-f]{64}$" }),
        "allow_insecure" => truth(),
        "budget" => told(budget(), "How hard this machine may be worked."),
        "backup" => {
            told(json!({ "anyOf": [text_of(), list_of(&text_of())] }), "Other addresses of the same machine.")
        }
        "tags" => told(named(&group()), "What this machine has otherwise than its profile."),
        "scan" => named(&filled(duration())),
        key => connectors::by_name(key).map_or(json!({}), |protocol| options(protocol.options())),
    }
}

/// The table of a protocol.
fn options(options: &[OptionKey]) -> Json {
    let names = options.iter().map(|option| option.name);
    table(names, |name| {
        let option = options.iter().find(|option| option.name == name);
        option.map_or(json!({}), |option| told(of_kind(option.kind), option.help))
    })
}

fn of_kind(kind: OptionKind) -> Json {
    match kind {
        OptionKind::Int(min, max) => filled(json!({ "type": "integer", "minimum": min, "maximum": max })),
        OptionKind::Text => text_of(),
        OptionKind::Choice(choices) => filled(one_of(choices)),
        OptionKind::Bool => filled(truth()),
        OptionKind::DurationMs(..) => filled(duration()),
        OptionKind::Texts => named(&text_of()),
        OptionKind::Table(keys) => {
            let mut table = table(keys.iter().copied(), |_| text_of());
            table["required"] = json!(keys);
            table
        }
    }
}
