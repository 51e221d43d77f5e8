//! What is said of a change: an event, and a line in the log.

use serde_json::json;

use super::super::registry::Version;
use super::super::words;
use super::Models;
use crate::clock;
use crate::device::Text;
use crate::event::{Event, Kind, What};

impl Models {
    /// Says what was changed. `change` is the code of docs/kafka.md.
    pub(super) fn tell(&self, change: &str, model: &str, from: &Version, to: &Version, why: &Text, by: &str) {
        let [from, to] = [from, to].map(|version| self.shown(model, version));
        self.say(change, model, &from, &to, why, by);
    }

    /// The same with versions as they are shown.
    pub(super) fn say(&self, change: &str, model: &str, from: &str, to: &str, why: &Text, by: &str) {
        let mut text = words::model_changed(change, model, from, to);
        if !why.get("en").is_empty() {
            text += &format!(": {}", why.get("en"));
        }
        if !by.is_empty() && by != super::ITSELF {
            text += &format!(" (by {by})");
        }
        if matches!(change, "rolled-back" | "refused") {
            tracing::error!("{text}");
        } else {
            tracing::info!("{text}");
        }
        let data = json!({
            "model": model, "change": change, "from": from, "to": to, "why": why.0, "by": by,
        });
        let (device, edge_time) = (self.box_path.clone(), clock::now_us());
        self.events.emit(Event { kind: Kind::ModelChanged, edge_time, device, text, data });
    }

    /// A version as people know it; that of the one outside of the store is in its model.toml.
    fn shown(&self, model: &str, version: &Version) -> String {
        if let Some(version) = version {
            return version.clone();
        }
        let folders = super::super::folder::Folder::all(&self.folders);
        let folder = folders.into_iter().find(|folder| folder.model_name() == model);
        folder.and_then(|folder| folder.content.ok()).map(|it| it.spec.version).unwrap_or_default()
    }

    /// A configured model is nowhere.
    pub(super) fn tell_missing(&self, model: &str) {
        let text =
            format!("Model {model} is in none of the folders of paths.models, nor active in the store");
        tracing::warn!("{text}");
        let data = json!({ "what": What::NoModel, "model": model });
        let (device, edge_time) = (self.box_path.clone(), clock::now_us());
        self.events.emit(Event { kind: Kind::Box, edge_time, device, text, data });
    }
}
