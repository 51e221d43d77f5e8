//! `[models]`: how models run, and whose are trusted.

use std::path::Path;
use std::time::Duration;

use super::kafka::{percent, text};
use super::{ModelOptions, keys};
use crate::document::Fields;

/// Name of the folder with public keys, beside `forebay.toml`.
const KEYS: &str = "model-keys";
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn model_options(root: &Fields<'_>, base: &Path) -> ModelOptions {
    let fields = root.table("models", "[models]", &keys::MODELS);
    let fields = fields.as_ref();
    let count = |key, max, default| {
        let number = fields.and_then(|fields| fields.int(key, 1..=max));
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let choice = |key, choices: &[&'static str]| fields.and_then(|fields| fields.choice(key, choices));
    let share = "a part of one processor from 1% to 100%: \"25%\"";
    let shadow = fields.and_then(|it| it.duration("shadow", Duration::from_secs(60)..=90 * DAY));
    ModelOptions {
        keys: base.join(fields.and_then(|it| it.text("keys")).map_or_else(|| KEYS.to_owned(), |it| it.text)),
        unsigned: choice("unsigned", &["refuse", "allow"]) == Some("allow"),
        threads: count("threads", 8, 1),
        cpu_share: fields.and_then(|it| text(it, "cpu_share", percent, share)).unwrap_or(0.25),
        promote: choice("promote", &["hand", "auto"]) == Some("auto"),
        shadow: shadow.unwrap_or(DAY),
        flood: count("flood", 1000, 6),
        kafka: fields.and_then(|it| it.bool("kafka")).unwrap_or(false),
    }
}
