//! Learning, letting a version in shadow take over, accepting a new normal.

use std::sync::Arc;

use super::{Action, Call, Field, Filled};
use crate::device::Text;
use crate::infer::models::Models;
use crate::learn::Learner;
use crate::people::{Person, Role};

const DEVICE: Field = Field { name: "device", chars_max: 64, one_of: &[] };
const MODEL: Field = Field { name: "model", chars_max: 64, one_of: &[] };

/// Learns what is normal for a device, as `[[learn]]` says, from the last days.
pub fn learn(learner: Arc<Learner>) -> Action {
    let call: Call = Box::new(move |person: &Person, filled: &Filled| {
        let device = filled.get("device").map(String::as_str).unwrap_or_default();
        let learned = learner.learn(&learner.order_for(device), &person.name);
        learned.map(|_| ()).map_err(|error| Text::plain(error.to_string()))
    });
    Action { name: "learn", fields: &[DEVICE], who: Role::Engineer, call }
}

/// Lets the version in shadow take over.
pub fn promote(models: Arc<Models>) -> Action {
    let call: Call = Box::new(move |person: &Person, filled: &Filled| {
        let model = filled.get("model").map(String::as_str).unwrap_or_default();
        let done = models.promote_shadow(model, &person.name);
        done.map(|_| ()).map_err(|error| Text::plain(error.to_string()))
    });
    Action { name: "promote", fields: &[MODEL], who: Role::Engineer, call }
}

/// What a model measures now is the new normal.
pub fn accept(models: Arc<Models>) -> Action {
    let call: Call = Box::new(move |person: &Person, filled: &Filled| {
        let field = |name: &str| filled.get(name).map(String::as_str).unwrap_or_default();
        let done = models.accept(field("model"), field("device"), &person.name);
        done.map_err(|error| Text::plain(error.to_string()))
    });
    Action { name: "accept", fields: &[DEVICE, MODEL], who: Role::Engineer, call }
}
