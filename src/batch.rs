//! Samples on their way: what a poller hands to the journal, and what comes back out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_connector::{Quality, Value};
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::twin::Cause;

/// Most samples in one batch; a larger scan is split. Keeps a Kafka record well under 1 MB.
pub const BATCH_SAMPLES_MAX: usize = 1000;

/// Value, quality and time of one tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Index into [`Device::tags`], after the journal into [`Schema::tags`].
    pub tag: u32,
    /// Published value.
    pub value: Value,
    /// What it is worth.
    pub quality: Quality,
    /// Time the device gave, microseconds since 1970 UTC.
    pub source_us: Option<i64>,
}

/// Samples of one device from one scan, in profile order: the unit that is journalled.
#[derive(Clone)]
pub struct Batch {
    /// Where from.
    pub device: Arc<Device>,
    /// When the answer was complete, microseconds since 1970 UTC.
    pub edge_us: i64,
    /// At most [`BATCH_SAMPLES_MAX`].
    pub samples: Vec<Sample>,
    /// What is missing between the device's batch before and this one; `None` almost always.
    pub gap: Option<Box<GapBefore>>,
}

/// Time before a batch for which there are no values. It is journalled with the first batch after
/// it, so that no crash can keep the one and lose the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapBefore {
    /// Edge time of the last value before, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Why.
    pub cause: Cause,
}

/// What the numbers in journalled batches of a device mean. Stored in the journal as JSON, so
/// that old data is understood after the profile has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// [`Device::path`].
    pub device: String,
    /// [`Device::name`].
    pub name: String,
    /// Profile name.
    pub profile: String,
    /// Profile version.
    pub profile_version: String,
    /// [`Device::standby_for`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub standby_for: String,
    /// Published tags. Schemas of equal devices share them.
    #[serde(with = "list")]
    pub tags: Arc<[SchemaTag]>,
}

/// One tag of a [`Schema`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaTag {
    /// Path.
    pub path: String,
    /// IEC type name.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Unit symbol, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// English texts of an enumeration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<i64, String>,
}

/// A shared list is written and read like any other.
mod list {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(list: &Arc<[T]>, out: S) -> Result<S::Ok, S::Error> {
        (**list).serialize(out)
    }

    pub fn deserialize<'a, T: Deserialize<'a>, D: Deserializer<'a>>(from: D) -> Result<Arc<[T]>, D::Error> {
        Vec::deserialize(from).map(Arc::from)
    }
}

impl Schema {
    /// The schema of a device as configured now.
    pub fn of(device: &Device) -> Self {
        let tags = device.tags.iter().map(|tag| SchemaTag {
            path: tag.path.clone(),
            data_type: tag.data_type.to_string(),
            unit: tag.unit.clone(),
            texts: tag
                .enumeration
                .iter()
                .flat_map(|values| values.iter())
                .map(|(number, value)| (*number, value.text.get("en").to_owned()))
                .collect(),
        });
        Self {
            device: device.path.clone(),
            name: device.name.clone(),
            profile: device.profile.clone(),
            profile_version: device.profile_version.clone(),
            standby_for: device.standby_for.clone(),
            tags: tags.collect(),
        }
    }
}
