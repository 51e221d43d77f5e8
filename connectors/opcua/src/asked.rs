//! The reads of a round.

use std::collections::HashSet;

use forebay_connector::{PollError, RawSample};
use opcua::types::{NodeId, ReadValueId};

use crate::decode;
use crate::session::Link;
use crate::sources::Sources;

/// The requests for some tags, kept because the next round asks for the same: thousands of ids are
/// not put together each time.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    tags: Vec<u32>,
    /// Those that are asked for, in the order of `values`.
    leaders: Vec<u32>,
    values: Vec<ReadValueId>,
    /// Those that the server has no node for.
    unknown: Vec<u32>,
}

impl Asked {
    /// For these tags; `nodes` holds for each tag of the device its id, where it has one.
    pub(crate) fn new(tags: &[u32], nodes: &[Option<NodeId>], sources: &Sources) -> Self {
        let mut asked = Self { tags: tags.to_vec(), ..Self::default() };
        let mut seen = HashSet::new();
        for tag in tags {
            let leader = sources.leader(*tag);
            match nodes.get(leader as usize).and_then(Option::as_ref) {
                None => asked.unknown.push(*tag),
                Some(node) if seen.insert(leader) => {
                    asked.leaders.push(leader);
                    asked.values.push(ReadValueId::from(node.clone()));
                }
                Some(_) => {}
            }
        }
        asked
    }

    pub(crate) fn is_for(&self, tags: &[u32]) -> bool {
        self.tags == tags
    }

    /// Reads in as few requests as the server allows. The samples are those of all tags that come with
    /// the values, in any order where one is refused or a field.
    pub(crate) async fn read(
        &self,
        link: &Link,
        sources: &Sources,
        chunk: usize,
        samples: &mut Vec<RawSample>,
    ) -> Result<(), PollError> {
        samples.reserve(self.tags.len());
        for (leaders, values) in self.leaders.chunks(chunk).zip(self.values.chunks(chunk)) {
            for (leader, answer) in leaders.iter().zip(link.read(values).await?) {
                sources.samples(*leader, answer, |sample| samples.push(sample));
            }
        }
        samples.extend(self.unknown.iter().map(|tag| decode::refused(*tag)));
        Ok(())
    }

    /// True when the samples come in the order of the tags.
    pub(crate) fn is_in_order(&self) -> bool {
        self.leaders == self.tags
    }
}
