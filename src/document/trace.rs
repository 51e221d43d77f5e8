//! Where the keys of a tag come from, written down while its profile is walked.

use std::sync::{Mutex, PoisonError};

use super::context::Context;
use super::fields::Fields;
use super::tree::Table;

/// Which tag is asked for, and what was found of it.
#[derive(Debug, Default)]
pub struct Trace {
    /// Name of the device.
    device: String,
    /// Path of the tag, or of the word whose bit it is.
    tag: String,
    found: Mutex<Vec<Origin>>,
}

/// One key of the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The key.
    pub key: String,
    /// What stands in the file, parameters not filled in.
    pub written: String,
    /// `file:line`.
    pub place: String,
    /// What kind of place it is, for example "defaults of its group".
    pub layer: &'static str,
    /// Parameters in it: name, value, and where the value comes from.
    pub params: Vec<(String, String, String)>,
}

impl Trace {
    /// Asks for the tag with this path of this device.
    pub fn new(device: &str, tag: &str) -> Self {
        Self { device: device.to_owned(), tag: tag.to_owned(), found: Mutex::default() }
    }

    /// What was found; empty when the tag was not met.
    pub fn found(&self) -> Vec<Origin> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down the keys of the tag `path`, if it is the one. `declared` are the parameters of
    /// the profile.
    pub fn note(&self, path: &str, fields: &Fields<'_>, keys: &[&str], declared: Option<&Table>) {
        let instance = fields.ctx.instance();
        let is_bit = || self.tag.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        if instance.is_none_or(|it| it.device != self.device) || (self.tag != path && !is_bit()) {
            return;
        }
        let keys = keys.iter().filter_map(|key| Some((*key, fields.entry(key)?)));
        let found = keys
            .map(|(key, entry)| {
                let written = fields.ctx.slice(entry.node.span).to_owned();
                Origin {
                    key: key.to_owned(),
                    place: fields.ctx.at_line(entry.key_span),
                    layer: layer(fields, key, entry.key_span.start),
                    params: params(fields.ctx, &written, declared),
                    written,
                }
            })
            .collect();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// Which layer gives a key.
fn layer(fields: &Fields<'_>, key: &str, at: usize) -> &'static str {
    let ctx = fields.ctx;
    let layer = ctx.layers().iter().rev().find(|layer| at >= layer.start);
    let device_file = ctx.instance().map(|it| it.file);
    match (layer, fields.tables_behind()) {
        (Some(layer), _) if layer.of_device && Some(layer.file) == device_file => "the device's own",
        (_, [group, ..]) if !fields.is_own(key) && group.get(key).is_some() => "defaults of its group",
        (..) if !fields.is_own(key) => "[defaults]",
        (Some(_), _) => "its line in the profile that is extended",
        (None, _) => "its line",
    }
}

fn params(ctx: &Context<'_>, written: &str, declared: Option<&Table>) -> Vec<(String, String, String)> {
    let Some(values) = ctx.params() else { return Vec::new() };
    let used = values.iter().filter(|(name, _)| written.contains(&format!("{{{name}}}")));
    let origin = |name: &str| {
        let given = ctx.instance().filter(|it| it.given.iter().any(|(given, _)| given == name));
        match (given, declared.and_then(|table| table.get(name))) {
            (Some(instance), _) => format!("params of the device, {}", instance.source),
            (None, Some(entry)) => format!("default, {}", ctx.at_line(entry.key_span)),
            (None, None) => "the counter of repeat".to_owned(),
        }
    };
    used.map(|(name, value)| (name.clone(), value.text().unwrap_or_default(), origin(name))).collect()
}
