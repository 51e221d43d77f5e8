//! Schemas as dictionaries of the journal: JSON, with what a chain needs to know of the tags.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chain::{Linear, Meaning};
use super::codec::RecordFault;
use crate::alike::Alike;
use crate::batch::{Schema, SchemaTag};
use crate::device::{Device, Transform};
use crate::journal::Numbered;

/// A schema as it is written.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    schema: &'a Schema,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scales: &'a Vec<Scale>,
}

/// What is read beside the schema; older ones have none.
#[derive(Deserialize)]
struct Scales {
    #[serde(default)]
    scales: Vec<Scale>,
}

/// Tag, scale and offset; the last two as their bits, because a decimal number may come back as
/// its neighbour.
type Scale = (u32, u64, u64);

/// What the numbers in records mean.
#[derive(Debug)]
pub(super) struct Known {
    pub schema: Arc<Schema>,
    pub meaning: Meaning,
}

/// Scalings of devices, those of equal ones once.
pub(super) type Scalings = Alike<Option<Linear>>;

fn meaning(tags: usize, scales: &[Scale], scalings: &mut Scalings) -> Meaning {
    let mut linear = Vec::new();
    for (tag, scale, offset) in scales {
        let Some(tag) = usize::try_from(*tag).ok().filter(|tag| *tag < tags) else { continue };
        if linear.len() <= tag {
            linear.resize(tag + 1, None);
        }
        linear[tag] = Some(Linear { scale: f64::from_bits(*scale), offset: f64::from_bits(*offset) });
    }
    Meaning { tags, linear: scalings.one(linear) }
}

/// The dictionary of a device as configured now, and what it says.
///
/// # Errors
/// Those of the serializer.
pub(super) fn dictionary(
    device: &Device,
    scalings: &mut Scalings,
) -> Result<(Vec<u8>, Meaning), serde_json::Error> {
    let scale = |(tag, transform): (u32, Transform)| match transform {
        Transform::Linear { scale, offset, .. } => Some((tag, scale.to_bits(), offset.to_bits())),
        Transform::None | Transform::Bit(_) => None,
    };
    let transforms = device.tags.iter().map(|tag| tag.transform);
    let scales: Vec<Scale> = (0..).zip(transforms).filter_map(scale).collect();
    let schema = Schema::of(device);
    let json = serde_json::to_vec(&Written { schema: &schema, scales: &scales })?;
    Ok((json, meaning(schema.tags.len(), &scales, scalings)))
}

/// The dictionary of a schema that was read, whose device may not be there any more.
pub(super) fn plain_dictionary(schema: &Schema) -> Vec<u8> {
    // What was JSON before is so again.
    serde_json::to_vec(schema).unwrap_or_default()
}

/// A dictionary and what was read from it; `None` when it is no schema.
type Entry = (Arc<[u8]>, Option<Arc<Known>>);

/// Dictionaries by number. What those of equal devices say stands once.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    entries: Numbered<Entry>,
    equal: Equal,
}

#[derive(Debug, Default)]
struct Equal {
    tags: Alike<SchemaTag>,
    scalings: Scalings,
}

impl Schemas {
    /// What the dictionary of this number says.
    ///
    /// # Errors
    /// [`RecordFault::NoSchema`] when it was lost, or is none.
    pub(super) fn known(
        &mut self,
        number: u32,
        dictionary: Option<&Arc<[u8]>>,
    ) -> Result<&Arc<Known>, RecordFault> {
        let missing = RecordFault::NoSchema(number);
        let json = dictionary.ok_or(missing)?;
        let Self { entries, equal } = self;
        let (before, known) = entries.get_or_insert_with(number, || (Arc::clone(json), read(json, equal)));
        if !Arc::ptr_eq(before, json) {
            // A new segment repeats its dictionaries; equal bytes keep their parsed form.
            if **before != **json {
                *known = read(json, equal);
            }
            *before = Arc::clone(json);
        }
        known.as_ref().ok_or(missing)
    }
}

fn read(json: &[u8], equal: &mut Equal) -> Option<Arc<Known>> {
    let mut schema: Schema = serde_json::from_slice(json).ok()?;
    schema.tags = equal.tags.one(schema.tags);
    // What is no scaling is none: the values say themselves what they are.
    let scales = serde_json::from_slice(json).map_or_else(|_| Vec::new(), |Scales { scales }| scales);
    let meaning = meaning(schema.tags.len(), &scales, &mut equal.scalings);
    Some(Arc::new(Known { schema: Arc::new(schema), meaning }))
}
