//! `forebay.toml`.

use serde_json::{Value as Json, json};

use super::{duration, list_of, one_of, root, size, table, text_of, told, truth};
use crate::config::keys;

/// The schema of `forebay.toml`.
pub fn site() -> Json {
    let mut content = table(keys::ROOT, |key| match key {
        "forebay" => told(json!({ "const": 1 }), "Version of the file format."),
        "edge" => required(told(table(keys::EDGE, edge), "Who this box is."), &["id", "site"]),
        "kafka" => required(told(table(keys::KAFKA, kafka), "Where data goes."), &["brokers"]),
        "journal" => told(table(keys::JOURNAL, journal), "What is stored on the disk, and how."),
        "lanes" => table(keys::LANES, |lane| match lane {
            "telemetry" => table(keys::TELEMETRY, lane_key),
            _ => table(keys::EVENTS, lane_key),
        }),
        "limits" => {
            table(keys::LIMITS, |key| if key == "reconnect_pause_max" { duration() } else { count() })
        }
        "status" => table(keys::STATUS, |key| match key {
            "host_names" => list_of(&text_of()),
            "language" => one_of(&["en", "de"]),
            "sign_in" => one_of(&["loopback", "network"]),
            _ => told(text_of(), "address:port of the page."),
        }),
        "log" => table(keys::LOG, |key| match key {
            "format" => one_of(&["text", "json"]),
            _ => one_of(&["error", "warn", "info", "debug", "trace"]),
        }),
        "paths" => table(keys::PATHS, |_| json!({ "anyOf": [text_of(), list_of(&text_of())] })),
        "model" => list_of(&table(keys::MODEL, |key| match key {
            "devices" => list_of(&text_of()),
            _ => text_of(),
        })),
        "models" => told(table(keys::MODELS, models), "How models run, and whose are trusted."),
        "learn" => list_of(&table(keys::LEARN, |key| match key {
            "tags" => list_of(&text_of()),
            "settle" | "interval" | "after" => duration(),
            "when" => one_of(&["hand", "auto"]),
            "state" => {
                table(keys::LEARN_STATE, |key| if key == "is" { list_of(&text_of()) } else { text_of() })
            }
            _ => text_of(),
        })),
        "standby" => table(keys::STANDBY, |key| match key {
            "after" | "lease" => duration(),
            "devices" => list_of(&text_of()),
            _ => text_of(),
        }),
        _ => json!({}),
    });
    content["required"] = json!(["forebay", "edge", "kafka"]);
    root("site-1", "Forebay site configuration", content)
}

fn required(mut shape: Json, keys: &[&str]) -> Json {
    shape["required"] = json!(keys);
    shape
}

fn count() -> Json {
    json!({ "type": "integer", "minimum": 1 })
}

fn models(key: &str) -> Json {
    match key {
        "keys" => told(text_of(), "Folder with public keys (*.pub)."),
        "unsigned" => one_of(&["refuse", "allow"]),
        "threads" | "flood" => count(),
        "cpu_share" => told(text_of(), "Part of one processor: \"25%\""),
        "promote" => one_of(&["hand", "auto"]),
        "shadow" => duration(),
        "kafka" => told(truth(), "Models are taken from the topic <prefix>.models."),
        _ => json!({}),
    }
}

fn edge(key: &str) -> Json {
    match key {
        "id" => told(text_of(), "Unique among all boxes that write to the same Kafka."),
        "language" => one_of(&["en", "de"]),
        _ => text_of(),
    }
}

fn kafka(key: &str) -> Json {
    match key {
        "brokers" => told(list_of(&text_of()), "host:port"),
        "transaction_timeout" | "commit_interval" | "live_after" | "after" => duration(),
        "transaction_records_max" => count(),
        "create_topics" => truth(),
        "mode" => one_of(&["exactly-once", "at-least-once"]),
        "backfill" => one_of(&["in-order", "live-first"]),
        "tls" => table(keys::TLS, |_| text_of()),
        "sasl" => table(keys::SASL, |key| match key {
            "mechanism" => one_of(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
            _ => text_of(),
        }),
        "fallback" => table(keys::FALLBACK, kafka),
        "topic_prefix" | "backfill_share" | "backfill_window" | "bandwidth" => text_of(),
        _ => json!({}),
    }
}

fn journal(key: &str) -> Json {
    match key {
        "directory" => text_of(),
        "sync_interval" | "keep" | "skip_unreadable_after" => duration(),
        "sync_size" | "segment_size" | "reserve" | "flash_endurance" => size(),
        _ => json!({}),
    }
}

fn lane_key(key: &str) -> Json {
    match key {
        "budget" => size(),
        "when_full" => list_of(&one_of(&["thin", "evict"])),
        "thin_interval" | "full_for" => duration(),
        _ => json!({}),
    }
}
