//! `[[learn]]`: what is learned on the box, and when.

use std::time::Duration;

use super::read::{ModelNames, id, too_many};
use super::{Learn, keys};
use crate::document::Fields;
use crate::learn::StateOrder;

const HOUR: Duration = Duration::from_secs(3600);
/// Enough normal running by default.
const AFTER: Duration = Duration::from_secs(8 * 3600);
/// A machine settles so long by default.
const SETTLE: Duration = Duration::from_secs(60);

pub(super) fn learn(root: &Fields<'_>, names: &mut ModelNames) -> Vec<Learn> {
    let mut all: Vec<Learn> = Vec::new();
    for (table, span) in root.tables("learn") {
        let fields = Fields::open(root.ctx, "[[learn]]", table, span, &keys::LEARN);
        let device = id(&fields, "device", "the name of the device it is about");
        let tags = fields.list("tags").unwrap_or_default();
        too_many(&fields, "tags", tags.len());
        let model = if fields.has("model") { id(&fields, "model", "a name") } else { None };
        let state = state(&fields);
        let settle = fields.duration("settle", Duration::ZERO..=HOUR);
        let settle = settle.unwrap_or(if state.is_some() { SETTLE } else { Duration::ZERO });
        let interval = fields.duration("interval", Duration::from_millis(50)..=HOUR);
        let auto = fields.choice("when", &["hand", "auto"]) == Some("auto");
        let after = fields.duration("after", Duration::from_secs(600)..=30 * 24 * HOUR).unwrap_or(AFTER);
        let Some(device) = device else { continue };
        if all.iter().any(|other| (&other.device, &other.model) == (&device, &model)) {
            let help = "one [[learn]] for each device, or another `model` in each";
            fields.refuse("C0205", "device", &format!("device `{device}` is learned twice"), help);
        }
        let tags = tags.into_iter().map(|tag| tag.text).collect();
        let learn = Learn { device, tags, model, state, settle, interval, auto, after };
        names.learned.extend(fields.text("device").map(|text| (learn.clone(), text.span)));
        all.push(learn);
    }
    all
}

fn state(fields: &Fields<'_>) -> Option<StateOrder> {
    let table = fields.table("state", "state in [[learn]]", &keys::LEARN_STATE)?;
    table.require("tag", "the tag that tells the state");
    table.require("is", "the states of normal running, for example is = [\"Execute\"]");
    let is = table.list("is")?;
    Some(StateOrder { tag: table.text("tag")?.text, is: is.into_iter().map(|it| it.text).collect() })
}
