//! What normal running was when a model was learned: the frozen reference its baseline may move
//! about, and the limits of that movement.
//!
//! It is data of the model, so it stands in `model.onnx` itself, among the properties of the
//! file: hash and signature cover it, and a model without it is scored as it is.

use prost::Message;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

use super::spec::INPUTS_MAX;

/// Name of the property in the ONNX file.
const PROPERTY: &str = "forebay.reference";
/// Version of what is written.
const FORMAT: u32 = 1;

/// The reference of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Version of this format, 1.
    pub forebay: u32,
    /// Points of the grid in which the baseline goes most of the way to a new level.
    pub follow: f64,
    /// Points of the grid over which the slow chart averages.
    pub slow_follow: f64,
    /// One entry for each input, in the order of the graph.
    pub tags: Vec<TagReference>,
}

/// The reference of one input. Everything but mean and deviation is in deviations of the training,
/// or a share of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagReference {
    /// Mean in training, in units of the tag.
    pub mean: f64,
    /// Standard deviation in training, in units of the tag.
    pub deviation: f64,
    /// How far the mean of a window may be from the baseline.
    pub level_limit: f64,
    /// Values farther from the baseline than this count as this: one outlier says nothing.
    pub clip: f64,
    /// Farthest the baseline moves from one point of the grid to the next.
    pub rate: f64,
    /// Farthest the baseline moves from the mean in training; past it a person must accept.
    pub reach: f64,
    /// The baseline follows only while the contribution of this tag is below.
    pub gate: f64,
    /// What the graph's contribution of this tag is counted in: its limit of what is left over. 0 in
    /// files that do not say it.
    #[serde(default)]
    pub rest_limit: f64,
    /// Limit of the slow chart, in contributions of the graph.
    pub slow_limit: f64,
    /// Baseline at the end of the training, from its mean.
    pub offset: f64,
    /// Slow chart at the end of the training, in contributions of the graph.
    pub slow: f64,
}

impl Reference {
    /// A reference in the present format.
    pub fn new(follow: f64, slow_follow: f64, tags: Vec<TagReference>) -> Self {
        Self { forebay: FORMAT, follow, slow_follow, tags }
    }

    /// As a property for an ONNX file.
    pub(super) fn property(&self) -> StringStringEntryProto {
        // Plain numbers: writing them cannot fail.
        let value = serde_json::to_string(self).unwrap_or_default();
        StringStringEntryProto { key: PROPERTY.into(), value }
    }

    /// The reference in an ONNX file, `None` when it holds none.
    ///
    /// # Errors
    /// What is wrong with it; the model must not score.
    pub fn read(onnx: &[u8], inputs: usize) -> Result<Option<Self>, String> {
        let proto = ModelProto::decode(onnx).map_err(|error| error.to_string())?;
        let Some(property) = proto.metadata_props.iter().find(|property| property.key == PROPERTY) else {
            return Ok(None);
        };
        let reference: Self =
            serde_json::from_str(&property.value).map_err(|error| format!("{PROPERTY}: {error}"))?;
        reference.check(inputs).map_err(|what| format!("{PROPERTY}: {what}"))?;
        Ok(Some(reference))
    }

    fn check(&self, inputs: usize) -> Result<(), String> {
        if self.forebay != FORMAT {
            return Err(format!("format {}, {FORMAT} is needed", self.forebay));
        }
        if self.tags.len() != inputs || inputs > INPUTS_MAX {
            return Err(format!("{} tags, the model has {inputs} inputs", self.tags.len()));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !(self.follow >= 1.0 && self.slow_follow >= 1.0 && positive(self.follow + self.slow_follow)) {
            return Err("follow and slow_follow must be at least 1".into());
        }
        for (number, tag) in self.tags.iter().enumerate() {
            let limits = [tag.deviation, tag.level_limit, tag.clip, tag.gate, tag.slow_limit];
            let bounds = [tag.rate, tag.reach, tag.slow, tag.rest_limit];
            let right = limits.into_iter().all(positive)
                && bounds.into_iter().all(|value| value.is_finite() && value >= 0.0)
                && tag.mean.is_finite()
                // Reading decimal digits may be off in the last of them.
                && tag.offset.abs() <= tag.reach * (1.0 + 1e-9);
            if !right {
                return Err(format!("tag {number} holds a number that is not possible"));
            }
        }
        Ok(())
    }
}
