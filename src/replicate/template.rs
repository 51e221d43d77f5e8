//! What all records of a schema have in common, as JSON that is ready: in a backlog the same names
//! and units go out a million times.

use std::collections::HashMap;
use std::sync::Arc;

use super::encode::{self, Times};
use crate::batch::{GapBefore, Sample, Schema};

/// Ready texts of one schema.
#[derive(Debug)]
pub(super) struct Template {
    /// `{"device":"…","edge_time":`
    begin: Vec<u8>,
    /// `,"profile":"…@…"`
    profile: Vec<u8>,
    tags: Arc<[TagText]>,
}

/// Texts of tags, in their order. They depend on nothing else of the schema.
fn texts(schema: &Schema) -> Arc<[TagText]> {
    let tags = (0..).zip(schema.tags.iter()).map(|(number, tag)| {
        let (mut begin, mut unit) = (Vec::new(), Vec::new());
        encode::tag(&mut begin, schema, number);
        begin.extend_from_slice(b",\"value\":");
        encode::unit(&mut unit, Some(tag));
        unit.extend_from_slice(b",\"quality\":");
        TagText { begin: begin.into(), unit: unit.into(), has_texts: !tag.texts.is_empty() }
    });
    tags.collect()
}

#[derive(Debug)]
struct TagText {
    /// `{"tag":"…","value":`
    begin: Box<[u8]>,
    /// `,"unit":"…","quality":`
    unit: Box<[u8]>,
    /// Numbers have meanings.
    has_texts: bool,
}

impl Template {
    pub fn of(schema: &Schema) -> Self {
        Self::with(schema, texts(schema))
    }

    fn with(schema: &Schema, tags: Arc<[TagText]>) -> Self {
        let (mut begin, mut profile) = (b"{\"device\":".to_vec(), b",\"profile\":".to_vec());
        encode::json(&mut begin, &schema.device);
        begin.extend_from_slice(b",\"edge_time\":");
        encode::profile(&mut profile, schema);
        Self { begin, profile, tags }
    }

    /// Replaces the contents of `out`; `schema` is the one this was made of.
    pub fn batch(
        &self,
        out: &mut Vec<u8>,
        times: &mut Times,
        schema: &Schema,
        edge_us: i64,
        gap: Option<&GapBefore>,
        samples: &[Sample],
    ) {
        out.clear();
        out.extend_from_slice(&self.begin);
        times.put(out, edge_us);
        out.extend_from_slice(&self.profile);
        if let Some(gap) = gap {
            encode::gap(out, gap);
        }
        out.extend_from_slice(b",\"samples\":[");
        for (index, sample) in samples.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.sample(out, times, schema, sample);
        }
        out.extend_from_slice(b"]}");
    }

    fn sample(&self, out: &mut Vec<u8>, times: &mut Times, schema: &Schema, sample: &Sample) {
        let text = usize::try_from(sample.tag).ok().and_then(|index| self.tags.get(index));
        match text {
            Some(text) => {
                out.extend_from_slice(&text.begin);
                encode::value(out, &sample.value);
                if text.has_texts {
                    encode::meaning(out, encode::tag_of(schema, sample.tag), &sample.value);
                }
                out.extend_from_slice(&text.unit);
            }
            None => {
                encode::tag(out, schema, sample.tag);
                out.extend_from_slice(b",\"value\":");
                encode::value(out, &sample.value);
                out.extend_from_slice(b",\"quality\":");
            }
        }
        // One of a few plain words.
        out.push(b'"');
        out.extend_from_slice(sample.quality.as_str().as_bytes());
        out.push(b'"');
        if let Some(source_us) = sample.source_us {
            out.extend_from_slice(b",\"time\":");
            times.put(out, source_us);
        }
        out.push(b'}');
    }

    fn bytes(&self) -> usize {
        self.begin.len() + self.profile.len()
    }
}

fn bytes(texts: &[TagText]) -> usize {
    texts.iter().map(|tag| size_of::<TagText>() + tag.begin.len() + tag.unit.len()).sum()
}

/// The templates of the schemas that a reader comes across.
#[derive(Debug, Default)]
pub(super) struct Templates {
    /// By the schema's address, which is its own as long as it is kept here.
    known: HashMap<usize, (Arc<Schema>, Template)>,
    /// By the address of the schema's tags, which those of equal devices have in common.
    tags: HashMap<usize, Arc<[TagText]>>,
    bytes: usize,
}

impl Templates {
    /// 20,000 tags of different devices and more; beyond it all are made anew.
    const BYTES_MAX: usize = 4 << 20;

    pub fn of(&mut self, schema: &Arc<Schema>) -> &Template {
        let address = Arc::as_ptr(schema).addr();
        if self.bytes > Self::BYTES_MAX && !self.known.contains_key(&address) {
            *self = Self::default();
        }
        let (_, template) = self.known.entry(address).or_insert_with(|| {
            let texts = self.tags.entry(Arc::as_ptr(&schema.tags).addr()).or_insert_with(|| {
                let texts = texts(schema);
                self.bytes += bytes(&texts);
                texts
            });
            let template = Template::with(schema, Arc::clone(texts));
            self.bytes += template.bytes();
            (Arc::clone(schema), template)
        });
        template
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forebay_connector::{Quality, Value};

    use super::*;
    use crate::batch::SchemaTag;

    fn schema(device: usize, tags: usize) -> Arc<Schema> {
        let tag = |number| SchemaTag {
            path: format!("pump_{number}.pressure \"{device}\""),
            data_type: "REAL".to_owned(),
            unit: "bar".to_owned(),
            texts: BTreeMap::new(),
        };
        Arc::new(Schema {
            device: format!("Werk1/press-{device}"),
            name: "press".to_owned(),
            profile: "press".to_owned(),
            profile_version: "3".to_owned(),
            standby_for: String::new(),
            tags: (0..tags).map(tag).collect(),
        })
    }

    #[test]
    fn each_schema_keeps_its_own_texts_and_memory_has_a_bound() {
        let mut templates = Templates::default();
        let mut times = Times::default();
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        let mut most = 0;
        for round in 0..300 {
            // Each is dropped at once, so that without being kept its address would come again.
            let schema = schema(round, 1 + round % 3 * 500);
            let sample = Sample { tag: 0, value: Value::Real(41.2), quality: Quality::Good, source_us: None };
            for edge_us in [1_770_000_000_500_000, 1_770_000_000_500_001, -1] {
                templates.of(&schema).batch(
                    &mut out,
                    &mut times,
                    &schema,
                    edge_us,
                    None,
                    std::slice::from_ref(&sample),
                );
                encode::batch(&mut expected, &schema, edge_us, None, std::slice::from_ref(&sample));
                assert_eq!(out, expected);
            }
            most = most.max(templates.bytes);
        }
        assert!(most > Templates::BYTES_MAX / 2, "{most}: there was something to forget");
        assert!(most < Templates::BYTES_MAX + 200_000, "{most}");
    }
}
