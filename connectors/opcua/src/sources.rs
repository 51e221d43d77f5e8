//! Which tags come from which value.
//!
//! The fields of one structure are read as one value, asked for once. Of the tags of one node and one
//! scan class the first leads: it alone is asked for, and its answer is the answer for all of them.

use std::collections::{BTreeMap, HashMap};

use forebay_connector::{DataType, DeviceSpec, PollError, RawSample};
use opcua::types::{DataValue, NodeId};

use crate::address::NodeAddress;
use crate::decode;
use crate::session::Link;
use crate::structure::{Step, Structures, leaf, load};

/// The tags of a device by what is asked for, on one connection.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    types: Vec<DataType>,
    /// For each tag the one that is asked for instead.
    leaders: Vec<u32>,
    /// For each leader of fields: all that come from its value.
    fields: Vec<Option<Fields>>,
    structures: Structures,
    refusals: BTreeMap<u32, String>,
}

/// What comes from one value.
#[derive(Debug)]
struct Fields {
    /// Position in the structures.
    root: usize,
    tags: Vec<(u32, Vec<Step>)>,
}

impl Sources {
    /// Of tags of these types, none of which is a field.
    pub(crate) fn plain(types: Vec<DataType>) -> Self {
        let leaders = (0u32..).take(types.len()).collect();
        let fields = types.iter().map(|_| None).collect();
        Self { types, leaders, fields, ..Self::default() }
    }

    /// Looks the fields of `device` up on the server. A tag whose field it has not loses its node.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) async fn of(
        device: &DeviceSpec,
        addresses: &[NodeAddress],
        nodes: &mut [Option<NodeId>],
        link: &Link,
        read_chunk: usize,
    ) -> Result<Self, PollError> {
        let mut sources = Self::plain(device.tags.iter().map(|tag| tag.data_type).collect());
        let mut places: HashMap<NodeId, usize> = HashMap::new();
        for (address, node) in addresses.iter().zip(&*nodes) {
            if let (Some(_), Some(node)) = (&address.field, node) {
                let next = places.len();
                places.entry(node.clone()).or_insert(next);
            }
        }
        if places.is_empty() {
            return Ok(sources);
        }
        let mut asked: Vec<NodeId> = vec![NodeId::null(); places.len()];
        for (node, place) in &places {
            asked[*place] = node.clone();
        }
        let (structures, roots) = load(link, &asked, read_chunk).await?;
        sources.structures = structures;
        let mut leading: HashMap<(usize, usize), u32> = HashMap::new();
        for (tag, (address, node)) in (0u32..).zip(addresses.iter().zip(nodes)) {
            let Some(place) = node.as_ref().and_then(|node| places.get(node)) else { continue };
            let Some(path) = &address.field else { continue };
            let found = roots[*place].clone();
            match found.and_then(|root| Ok((root, sources.structures.find(root, path)?))) {
                Ok((root, steps)) => {
                    let leader = *leading.entry((*place, device.tags[tag as usize].scan)).or_insert(tag);
                    sources.add(leader, root, tag, steps);
                }
                Err(why) => {
                    sources.refusals.insert(tag, why);
                    *node = None;
                }
            }
        }
        Ok(sources)
    }

    fn add(&mut self, leader: u32, root: usize, tag: u32, steps: Vec<Step>) {
        self.leaders[tag as usize] = leader;
        let fields = self.fields[leader as usize].get_or_insert_with(|| Fields { root, tags: Vec::new() });
        fields.tags.push((tag, steps));
    }

    /// The tag that is asked for when this one is wanted.
    pub(crate) fn leader(&self, tag: u32) -> u32 {
        self.leaders.get(tag as usize).copied().unwrap_or(tag)
    }

    /// True when no tag is a field.
    pub(crate) fn is_plain(&self) -> bool {
        self.structures.0.is_empty()
    }

    /// True when this tag is a field of a structure.
    pub(crate) fn is_field(&self, tag: u32) -> bool {
        self.fields.get(self.leader(tag) as usize).is_some_and(Option::is_some)
    }

    /// Why a tag cannot be read, in words.
    pub(crate) fn refusal(&self, tag: u32) -> Option<&String> {
        self.refusals.get(&tag)
    }

    /// The tags that get their values by this one.
    pub(crate) fn followers(&self, leader: u32) -> impl Iterator<Item = u32> {
        let fields = self.fields.get(leader as usize).and_then(Option::as_ref);
        let own = fields.is_none().then_some(leader);
        own.into_iter().chain(fields.into_iter().flat_map(|fields| fields.tags.iter().map(|(tag, _)| *tag)))
    }

    /// The samples that an answer for `leader` is; false when there is no such tag.
    pub(crate) fn samples(&self, leader: u32, answer: DataValue, mut give: impl FnMut(RawSample)) -> bool {
        let place = leader as usize;
        let (Some(data_type), Some(fields)) = (self.types.get(place), self.fields.get(place)) else {
            return false;
        };
        let Some(fields) = fields else {
            give(decode::sample(leader, *data_type, answer));
            return true;
        };
        let (quality, source_us) = decode::judge(&answer);
        let value = answer.value.filter(|_| decode::has_value(quality));
        let decoded =
            value.and_then(|value| crate::structure::decode(&self.structures, fields.root, &value).ok());
        for (tag, steps) in &fields.tags {
            let value = decoded.as_ref().and_then(|decoded| leaf(decoded, steps));
            give(decode::judged(*tag, self.types[*tag as usize], value, quality, source_us));
        }
        true
    }
}
