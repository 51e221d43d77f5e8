//! In which states a machine is learned: as ordered, else as the model says of which this is a new version.

use serde::{Deserialize, Serialize};

use super::{Learner, Order};
use crate::infer::features::StateFilter;
use crate::infer::folder::Folder;
use crate::infer::spec::Spec;

/// In which states a machine is learned and watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateOrder {
    /// Path of the tag that tells the state.
    pub tag: String,
    /// Texts of its enumeration, numbers, `true` or `false`.
    pub is: Vec<String>,
}

impl StateOrder {
    fn of(filter: &StateFilter) -> Self {
        Self { tag: filter.tag.clone(), is: filter.is.clone() }
    }

    /// For people: `status.state is Execute or Held`.
    pub(super) fn words(&self) -> String {
        format!("{} is {}", self.tag, self.is.join(" or "))
    }
}

/// An order whose states are settled.
pub(super) struct Settled {
    pub(super) order: Order,
    remark: Option<String>,
}

impl Settled {
    /// The states in words, with where they are from.
    pub(super) fn words(&self) -> Option<String> {
        let words = self.order.state.as_ref()?.words();
        Some(words + &self.remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default())
    }
}

impl Learner {
    /// A new version of a model that watches in some states only is learned and watches in them as well:
    /// otherwise a stop would be an alarm from now on. What an order says itself comes first.
    pub(super) fn in_states(&self, order: &Order, model: &str) -> Settled {
        let mut order = order.clone();
        let before = self.spec_before(model);
        let filter = before.as_ref().and_then(|spec| Some((spec, spec.prepare.state.as_ref()?)));
        let Some((spec, filter)) = filter else { return Settled { order, remark: None } };
        let (known, version) = (StateOrder::of(filter), &spec.version);
        let remark = match &order.state {
            None => {
                order.state = Some(known);
                if order.settle_ms == 0 {
                    order.settle_ms = u64::try_from(filter.settle.as_millis()).unwrap_or(u64::MAX);
                }
                Some(format!("as {model} {version} watches"))
            }
            Some(ordered) if *ordered == known => None,
            Some(_) => Some(format!("{model} {version} watches while {}", known.words())),
        };
        Settled { order, remark }
    }

    /// What runs under this name: the active version of the store, else the one outside of it.
    fn spec_before(&self, model: &str) -> Option<Spec> {
        let active = self.models.registry().entry(model).active;
        let stored = active.and_then(|version| self.models.store().path(model, &version));
        let outside =
            || Folder::all(&self.model_folders).into_iter().find(|folder| folder.model_name() == model);
        let folder = stored.map(|path| Folder::read(&path)).or_else(outside)?;
        folder.content.ok().map(|content| content.spec)
    }
}
