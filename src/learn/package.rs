//! What was learned, as the files of a model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use super::{Fitted, HOLD_POINTS, LearnError, ROWS_GOOD, WINDOW, span};
use crate::amount::{number, time};
use crate::device::{Device, Tag, Text};
use crate::infer::folder::Content;
use crate::infer::package::Package;
use crate::infer::spec::Spec;

/// Longest hold in model.toml.
const HOLD_MAX: Duration = Duration::from_secs(3600);
/// How far the golden case that is not normal is from normal, in deviations.
const FAR: f64 = 8.0;
/// Longest description in a text of model.toml, in letters.
const DESC_CHARS_MAX: usize = 60;

impl Fitted {
    /// The model as content of a folder.
    pub(crate) fn content(
        &self,
        name: &str,
        version: &str,
        device: &Device,
        looks: &BTreeMap<String, Text>,
    ) -> Result<Content, LearnError> {
        let text = self.model_toml(name, version, device, looks);
        let spec = Spec::parse("model.toml", &text).map_err(|faults| {
            LearnError::Model(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let width = self.choice.tags.len() * WINDOW;
        let values = &self.rows.values;
        let (first, last) = (&values[..width], &values[values.len() - width..]);
        let tags = self.choice.tags.len();
        let mut odd = last.to_vec();
        #[allow(clippy::cast_possible_truncation)] // the graph computes in 32 bits
        let far = (self.model.deviation[0] * FAR) as f32;
        odd.iter_mut().step_by(tags).for_each(|value| *value += far);
        Ok(self.model.content_with(spec, &[first, last, &odd], Some(&self.reference)))
    }

    /// The model as it goes into the store; not yet signed.
    pub(crate) fn package(
        &self,
        name: &str,
        version: &str,
        device: &Device,
        looks: &BTreeMap<String, Text>,
    ) -> Result<Package, LearnError> {
        let content = self.content(name, version, device, looks)?;
        let cases = content.golden.cases.iter().map(|case| {
            json!({
                "name": case.name, "window": case.window, "contrib": case.contrib, "score": case.score,
            })
        });
        let golden = json!({ "tolerance": content.golden.tolerance, "cases": cases.collect::<Vec<_>>() });
        let spec = self.model_toml(name, version, device, looks);
        let readme = self.readme(name, version, device);
        Ok(Package::new(
            spec.into_bytes(),
            content.onnx,
            golden.to_string().into_bytes(),
            Some(readme.into_bytes()),
        ))
    }

    pub(super) fn model_toml(
        &self,
        name: &str,
        version: &str,
        device: &Device,
        looks: &BTreeMap<String, Text>,
    ) -> String {
        let interval_ms = self.used.interval_ms;
        let hold = (Duration::from_millis(interval_ms) * HOLD_POINTS).min(HOLD_MAX).as_millis();
        let (en, de) = (format!("Behaviour of {}", device.name), format!("Verhalten von {}", device.name));
        let mut text = format!(
            "# Learned on the box from its own journal; README.md says from what.\n\
             forebay = 1\nname = {}\nversion = {}\ntitle = {}\nprofile = {}\n\
             sample_interval = \"{interval_ms}ms\"\nwindow = {WINDOW}\nstride = 1\nnormalisation = \"graph\"\n\
             smoothing = 1\nthreshold = 1.0\nclear_below = 0.85\nhold = \"{hold}ms\"\n",
            quoted(name),
            quoted(version),
            texts(&en, &de),
            quoted(&device.profile),
        );
        if let Some(state) = &self.order.state {
            let is: Vec<String> = state.is.iter().map(|state| quoted(state)).collect();
            let settle_ms = self.order.settle_ms.min(3_600_000);
            // Writing to a text cannot fail.
            _ = write!(
                text,
                "\n[state]\ntag = {}\nis = [{}]\nsettle = \"{settle_ms}ms\"\n",
                quoted(&state.tag),
                is.join(", ")
            );
        }
        for index in &self.choice.tags {
            let tag = &device.tags[*index];
            let (en, de) = match looks.get(&tag.path) {
                Some(look) => (look.get("en").to_owned(), look.get("de").to_owned()),
                None => look_at(tag),
            };
            _ = write!(text, "\n[[input]]\ntag = {}\nlook_at = {}\n", quoted(&tag.path), texts(&en, &de));
        }
        text
    }

    fn readme(&self, name: &str, version: &str, device: &Device) -> String {
        let used = &self.used;
        let interval = Duration::from_millis(used.interval_ms);
        let long = |rows: u64| span(interval.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)));
        let mut text = format!(
            "# {name} {version}\n\nLearned by the box from its own journal: what is normal for {} ({}).\n\n\
             - From {} to {}, every {} ms: {} rows, {} of normal running.\n- Tags: {}.\n",
            device.name,
            device.path,
            time(used.from_us),
            time(used.to_us),
            used.interval_ms,
            number(used.rows),
            long(used.rows),
            used.tags.join(", "),
        );
        if let Some(state) = &used.state {
            _ = writeln!(text, "- Only while {state}.");
        }
        for (cause, count) in &used.left_out {
            _ = writeln!(text, "- Left out: {} ({cause}).", long(*count));
        }
        for (tag, why) in &used.tags_left_out {
            _ = writeln!(text, "- Not learned: {tag} ({why}).");
        }
        if used.rows < ROWS_GOOD as u64 {
            text += "- This is little: what did not occur in that time will be taken for unusual.\n";
        }
        text + "\nA fault that was there in that time is normal to this model. \
                docs/predictive-maintenance.md says what the kind can and cannot do.\n"
    }
}

/// What to look at when nobody has written anything better.
fn look_at(tag: &Tag) -> (String, String) {
    let desc: String = tag.desc.chars().take(DESC_CHARS_MAX).collect();
    let what = if desc.is_empty() { tag.path.clone() } else { format!("{desc} ({})", tag.path) };
    (
        format!("{what} is not as in normal running: check what it measures, then the sensor"),
        format!("{what} ist nicht wie im normalen Lauf: prüfen, was dort gemessen wird, dann den Sensor"),
    )
}

fn texts(en: &str, de: &str) -> String {
    if de.is_empty() || de == en {
        return format!("{{ en = {} }}", quoted(en));
    }
    format!("{{ en = {}, de = {} }}", quoted(en), quoted(de))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
