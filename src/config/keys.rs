//! Every table of `forebay.toml` and its keys: what is read, and what the schema offers.

/// At the top of the file.
pub const ROOT: [&str; 13] = [
    "forebay", "edge", "kafka", "journal", "lanes", "limits", "status", "log", "paths", "model", "models",
    "standby", "learn",
];

/// `[edge]`.
pub const EDGE: [&str; 4] = ["id", "name", "site", "language"];

/// `[kafka]`.
pub const KAFKA: [&str; 15] = [
    "brokers",
    "topic_prefix",
    "transaction_timeout",
    "commit_interval",
    "transaction_records_max",
    "create_topics",
    "tls",
    "sasl",
    "mode",
    "backfill",
    "live_after",
    "backfill_share",
    "backfill_window",
    "bandwidth",
    "fallback",
];

/// `[kafka.fallback]`.
pub const FALLBACK: [&str; 4] = ["brokers", "after", "tls", "sasl"];

/// `tls` of a cluster.
pub const TLS: [&str; 3] = ["ca", "certificate", "key"];

/// `sasl` of a cluster.
pub const SASL: [&str; 3] = ["mechanism", "username", "password"];

/// `[journal]`.
pub const JOURNAL: [&str; 8] = [
    "directory",
    "sync_interval",
    "sync_size",
    "segment_size",
    "keep",
    "reserve",
    "skip_unreadable_after",
    "flash_endurance",
];

/// `[lanes]`.
pub const LANES: [&str; 2] = ["telemetry", "events"];

/// `[lanes.telemetry]`.
pub const TELEMETRY: [&str; 4] = ["budget", "when_full", "thin_interval", "full_for"];

/// `[lanes.events]`.
pub const EVENTS: [&str; 1] = ["budget"];

/// `[limits]`.
pub const LIMITS: [&str; 4] = ["reconnect_pause_max", "web_clients", "devices", "tags"];

/// `[status]`.
pub const STATUS: [&str; 4] = ["listen", "language", "host_names", "sign_in"];

/// `[log]`.
pub const LOG: [&str; 2] = ["format", "level"];

/// `[paths]`.
pub const PATHS: [&str; 5] = ["profiles", "devices", "models", "state", "credentials"];

/// `[standby]`.
pub const STANDBY: [&str; 7] = ["answer_on", "of", "ask", "secret", "lease", "after", "devices"];

/// `[models]`.
pub const MODELS: [&str; 8] =
    ["keys", "unsigned", "threads", "cpu_share", "promote", "shadow", "flood", "kafka"];

/// `[[model]]`.
pub const MODEL: [&str; 2] = ["name", "devices"];

/// `[[learn]]`.
pub const LEARN: [&str; 8] = ["device", "tags", "model", "state", "settle", "interval", "when", "after"];

/// `state` in `[[learn]]`.
pub const LEARN_STATE: [&str; 2] = ["tag", "is"];
