//! Batches that wait for the next sync: coded when the journal writes them, and once more when
//! that has failed.

use std::sync::Arc;

use forebay_connector::Value;

use super::chain::{Chain, Content, Meaning};
use crate::batch::{GapBefore, Sample};
use crate::journal::{BlockCoder, Coded};

/// Expected on disk for a sample without texts and arrays: more than most take, less than the
/// worst.
const SAMPLE_BYTES: usize = 4;
/// At most for a record and for a sample, whatever it holds but texts and arrays: each of its
/// numbers takes 83 bits at most.
const RECORD_BYTES_MAX: usize = 64;
const SAMPLE_BYTES_MAX: usize = 34;
/// For a text or an array besides: its length, and the place among known texts.
const BYTES_HEAD_MAX: usize = 2 * 11;
/// For an element of an array besides its text: kind, and a number or a length.
const ELEMENT_BYTES_MAX: usize = 11;
/// For a gap besides its texts.
const GAP_BYTES_MAX: usize = 4 * 11;

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    records: Vec<Record>,
    chain: Chain,
}

struct Record {
    schema: u32,
    meaning: Arc<Meaning>,
    content: Content,
}

impl Waiting {
    /// Adds a batch that the journal has taken.
    pub(super) fn push(&mut self, schema: u32, meaning: Arc<Meaning>, content: Content) {
        self.records.push(Record { schema, meaning, content });
    }

    /// Forgets the batches, which are stored.
    pub(super) fn clear(&mut self) {
        self.records.clear();
    }
}

impl BlockCoder for Waiting {
    fn begin(&mut self, base_us: i64) {
        self.chain.begin(base_us);
    }

    fn put(&mut self, record: usize, front: &mut Vec<u8>, back: &mut Vec<u8>) {
        let Some(Record { schema, meaning, content }) = self.records.get_mut(record) else { return };
        let written = self.chain.put(*schema, meaning, content, front, back);
        debug_assert!(written, "tags are checked before a batch waits");
    }

    fn first_bytes(&self) -> usize {
        self.chain.first_bytes()
    }
}

/// What a batch takes on disk, expected and at most.
pub(super) fn measure(schema: u32, content: &Content) -> Coded {
    let Content { edge_us, samples, gap } = content;
    let texts: usize = samples.iter().map(|sample| value_bytes(&sample.value)).sum();
    let gap = gap.as_deref().map_or(0, gap_bytes);
    Coded {
        dictionary: schema,
        time_us: *edge_us,
        bytes: samples.len() * SAMPLE_BYTES + texts,
        bytes_max: RECORD_BYTES_MAX + samples.len() * SAMPLE_BYTES_MAX + texts + gap,
    }
}

/// True when all tags are of the schema.
pub(super) fn fits(meaning: &Meaning, samples: &[Sample]) -> bool {
    samples.iter().all(|sample| usize::try_from(sample.tag).is_ok_and(|tag| tag < meaning.tags))
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => BYTES_HEAD_MAX + text.len(),
        Value::Array(elements) => BYTES_HEAD_MAX + elements_bytes(elements),
        _ => 0,
    }
}

fn elements_bytes(elements: &[Value]) -> usize {
    let element = |element: &Value| match element {
        Value::Text(text) => ELEMENT_BYTES_MAX + text.len(),
        Value::Array(elements) => ELEMENT_BYTES_MAX + elements_bytes(elements),
        _ => ELEMENT_BYTES_MAX,
    };
    ELEMENT_BYTES_MAX + elements.iter().map(element).sum::<usize>()
}

fn gap_bytes(gap: &GapBefore) -> usize {
    GAP_BYTES_MAX + gap.cause.code.len() + gap.cause.message.len()
}
