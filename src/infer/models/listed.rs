//! What there is of models, for `forebay model list`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::super::folder::Folder;
use super::super::predictions::Slot;
use super::super::registry::{Entry, Registry};
use super::super::signature::Trust;
use super::super::store::Store;
use super::{Models, State};

impl Models {
    /// All models with their versions, and how they run.
    pub fn list(&self) -> Json {
        let mut list = list(&self.store, &self.registry, &self.trust, &self.folders);
        for model in list["models"].as_array_mut().into_iter().flatten() {
            let name = model["name"].as_str().unwrap_or_default().to_owned();
            let slots = self.predictions.slots();
            let mine = slots.iter().filter(|slot| slot.folder.model_name() == name);
            model["devices"] = mine.map(|slot| self.device(slot)).collect();
            if model["shadow"].is_object()
                && let Some((figures, devices)) = self.figures_of(&name)
            {
                let objection = figures.objection(self.options.shadow, devices);
                let version = model["shadow"]["version"].as_str().unwrap_or_default();
                // Who promotes by hand looks back by hand (`forebay backtest`).
                let past = self.past_objection(&name, version).filter(|_| self.options.promote);
                let past = past.map(|why| why.get("en").to_owned());
                let figures_say = objection.map(|objection| objection.words().to_owned());
                model["shadow"]["objection"] = json!(figures_say.or(past));
                model["shadow"]["figures"] = json!(figures);
            }
        }
        list["promote"] = json!(if self.options.promote { "auto" } else { "hand" });
        list
    }

    fn device(&self, slot: &Slot) -> Json {
        let now = slot.now();
        let state = match &now.state {
            State::Filling => "filling",
            State::Normal => "normal",
            State::Raised { .. } => "raised",
            State::Suppressed { .. } => "suppressed",
            State::Broken { .. } => "broken",
        };
        let (score, reach_used) = (now.score, now.reach_used.clone());
        drop(now);
        let inputs = slot.spec().into_iter().flat_map(|spec| &spec.inputs);
        let reach_used: BTreeMap<&str, f64> =
            inputs.map(|input| input.tag.as_str()).zip(reach_used).collect();
        let tally = slot.tally();
        json!({
            "device": slot.device,
            "state": state,
            "version": self.stored_version(slot),
            "score": score,
            "reach_used": reach_used,
            "points": tally.points,
            "scored": tally.scored,
            "late": tally.late,
            "over_share": tally.over_share,
            "swap_us": tally.swap_us,
        })
    }
}

/// Models and versions as they lie on the disk and stand in the registry; also of a box that does not
/// run.
pub fn list(store: &Store, registry: &Registry, trust: &Trust, folders: &[std::path::PathBuf]) -> Json {
    let mut versions: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for stored in store.list() {
        let (model, version) = (stored.identity.model, stored.identity.version);
        let package = store.read(&model, &version);
        let signed_by = package.as_ref().ok().map(|package| trust.check(package));
        let refused = match (&package, &signed_by) {
            (Err(error), _) => Some(error.to_string()),
            (_, Some(Err(error))) => Some(error.to_string()),
            _ => None,
        };
        let digest = package.ok().and_then(|package| Some(package.digest(&package.identity().ok()?)));
        let version = json!({
            "version": version,
            "stored_us": stored.stored_us,
            "signed_by": signed_by.and_then(Result::ok),
            "refused": refused,
            "trial": digest.and_then(|digest| registry.trial(&digest)),
        });
        versions.entry(model).or_default().push(version);
    }
    let outside: BTreeMap<String, Folder> =
        Folder::all(folders).into_iter().map(|folder| (folder.model_name().to_owned(), folder)).collect();
    let entries = registry.entries();
    let names: BTreeSet<&String> = versions.keys().chain(outside.keys()).chain(entries.keys()).collect();
    let models = names.into_iter().map(|name| {
        let Entry { active, before, since_us, by, shadow, failed, .. } = registry.entry(name);
        let outside = outside.get(name).map(|folder| {
            let version = folder.content.as_ref().ok().map(|content| content.spec.version.clone());
            json!({ "origin": folder.origin, "version": version })
        });
        json!({
            "name": name,
            "active": active,
            "since_us": (since_us != 0).then_some(since_us),
            "by": by,
            "before": before,
            "shadow": shadow,
            "failed": failed,
            "outside": outside,
            "versions": versions.get(name).cloned().unwrap_or_default(),
        })
    });
    json!({ "models": models.collect::<Vec<_>>() })
}
