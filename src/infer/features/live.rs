//! The state of a machine on one device, and the filter of a model that goes by it.

use forebay_connector::{Scalar, Value};

use super::super::words::{self, Reason};
use super::state::{Filter, StateFilter, Verdict};
use crate::device::{Device, Tag, Text};
use crate::twin::DeviceState;

/// The tag that tells the state of a machine, and which of its values are meant. The same for learning,
/// replaying and watching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTag {
    index: usize,
    numbers: Vec<i64>,
    texts: Vec<String>,
}

impl StateTag {
    /// Finds the tag and what the names mean there. `model` is who asks, for messages.
    ///
    /// # Errors
    /// In words: the tag is missing, or a name is not known of it.
    pub fn find(filter: &StateFilter, model: &str, device: &Device) -> Result<Self, Text> {
        let missing = || words::missing_tag(model, &filter.tag, &device.profile);
        let index = device.tag_index(&filter.tag).ok_or_else(missing)?;
        let tag = device.tags.get(index).ok_or_else(missing)?;
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        for name in filter.is.iter().map(|name| name.trim()) {
            if is_text(tag.data_type.scalar) {
                texts.push(name.to_owned());
                continue;
            }
            let found = meant(tag, name);
            if found.is_empty() {
                return Err(words::no_such_state(&filter.tag, name, &known(tag)));
            }
            numbers.extend(found);
        }
        Ok(Self { index, numbers, texts })
    }

    /// Index of the tag in its device.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether this value of the tag is one of the states.
    pub fn is_inside(&self, value: &Value) -> bool {
        match value {
            Value::Text(text) => self.texts.iter().any(|known| known.eq_ignore_ascii_case(text.trim())),
            Value::Bool(value) => self.numbers.contains(&i64::from(*value)),
            Value::Int(value) => self.numbers.contains(value),
            Value::Uint(value) => i64::try_from(*value).is_ok_and(|value| self.numbers.contains(&value)),
            _ => false,
        }
    }
}

/// The state filter of a model at work.
#[derive(Clone)]
pub(in super::super) struct LiveState {
    tag: StateTag,
    filter: Filter,
}

impl LiveState {
    /// Finds the tag and what the names mean there.
    ///
    /// # Errors
    /// Those of [`StateTag::find`].
    pub(in super::super) fn find(filter: &StateFilter, model: &str, device: &Device) -> Result<Self, Text> {
        Ok(Self { tag: StateTag::find(filter, model, device)?, filter: Filter::new(filter.settle) })
    }

    /// Why the machine is not judged at `now_us` (microseconds since 1970 UTC), or `None`.
    pub(in super::super) fn push(&mut self, state: &DeviceState, now_us: i64) -> Option<Reason> {
        let current = state.values.get(self.tag.index).filter(|current| current.edge_us != 0);
        let Some(current) = current else {
            self.filter.interrupt();
            return Some(Reason::NeverRead);
        };
        if !current.quality.is_good() {
            self.filter.interrupt();
            return Some(Reason::NotGood(current.quality));
        }
        match self.filter.push(self.tag.is_inside(&current.value), now_us) {
            Verdict::Open => None,
            Verdict::Other => Some(Reason::OtherState),
            Verdict::Settling => Some(Reason::Settling),
        }
    }

    /// Nothing is known of the state for a while.
    pub(in super::super) fn interrupt(&mut self) {
        self.filter.interrupt();
    }
}

fn is_text(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Char | Scalar::Wchar | Scalar::String(_) | Scalar::Wstring(_))
}

/// The numbers that a name means: of the enumeration in any language, all that are called so; else a
/// number, `true` or `false`.
fn meant(tag: &Tag, name: &str) -> Vec<i64> {
    let values = tag.enumeration.iter().flat_map(|values| values.iter());
    let is_called = |texts: &Text| texts.0.values().any(|text| text.eq_ignore_ascii_case(name));
    let named: Vec<i64> =
        values.filter(|(_, value)| is_called(&value.text)).map(|(number, _)| *number).collect();
    if !named.is_empty() {
        return named;
    }
    match name {
        name if name.eq_ignore_ascii_case("true") => vec![1],
        name if name.eq_ignore_ascii_case("false") => vec![0],
        name => name.parse().into_iter().collect(),
    }
}

fn known(tag: &Tag) -> String {
    let values = tag.enumeration.iter().flat_map(|values| values.iter());
    let names: Vec<&str> = values.map(|(_, value)| value.text.get("en")).take(16).collect();
    if names.is_empty() { "numbers".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forebay_connector::DataType;

    use super::*;
    use crate::poll::testing::{device, tag};

    /// The states with these names on a tag of this type.
    fn states(scalar: Scalar, names: &[&str]) -> Result<StateTag, Text> {
        let tag = Tag { data_type: DataType::single(scalar), ..tag("line.mode", 0) };
        let is = names.iter().map(|name| (*name).to_owned()).collect();
        let filter = StateFilter { tag: "line.mode".into(), is, settle: Duration::ZERO };
        StateTag::find(&filter, "press-wear", &device(vec![tag]))
    }

    #[test]
    fn a_text_is_compared_as_text_also_when_it_reads_as_a_number() {
        let found = states(Scalar::String(Some(8)), &["1", "true", "Run"]).unwrap();
        for (text, is_inside) in [("1", true), (" TRUE ", true), ("run", true), ("2", false), ("", false)] {
            assert_eq!(found.is_inside(&Value::Text(text.into())), is_inside, "{text:?}");
        }
        let found = states(Scalar::Int, &["1"]).unwrap();
        assert!(found.is_inside(&Value::Int(1)) && !found.is_inside(&Value::Text("1".into())));
        assert!(states(Scalar::Int, &["run"]).is_err());
    }
}
