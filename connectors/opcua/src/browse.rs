//! What a server has: its address space, walked within bounds, for `forebay browse`.
//!
//! Level by level, so that what is near comes first when the bounds are reached. A server may have
//! circles, millions of nodes and answers of any size: each node is looked at once, and number,
//! depth, time and length of texts are limited. Only reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use forebay_connector::{DataType, DeviceSpec, PollError, Scalar};
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, BrowseResult, ContinuationPoint, DataValue,
    EUInformation, EnumValueType, Identifier, NodeClass, NodeClassMask, NodeId, ObjectId, Range, ReadValueId,
    ReferenceDescription, ReferenceTypeId, StatusCode, Variant,
};
use tokio::time::{Instant, timeout_at};

use crate::session::{Link, client};
use crate::settings::Settings;
use crate::structure;

/// Nodes asked for in one Browse.
const BROWSE_CHUNK: usize = 50;
/// References of one node at most; a folder with more is cut, and that is said.
const REFERENCES_MAX: usize = 2_000;
/// References in one answer for one node.
const REFERENCES_EACH: u32 = 500;
/// Letters of a name or text at most.
const CHARS_MAX: usize = 200;
/// Fields of one structure at most, those of structures within it included.
const FIELDS_MAX: usize = 200;
/// Texts of an enumeration at most.
const TEXTS_MAX: usize = 500;
/// Name, type and whole value of all fields: the mask of Part 4, 7.5.
const ALL_FIELDS: u32 = 63;

/// How far is walked.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Levels below the beginning.
    pub depth: usize,
    /// Nodes.
    pub nodes: usize,
    /// For everything.
    pub time: Duration,
}

/// One node that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Levels below the beginning, from 0.
    pub depth: usize,
    /// Its browse name, without its namespace.
    pub name: String,
    /// URI of the namespace of its id; empty for the standard's own.
    pub namespace: String,
    /// Its id without the namespace: `s=…`, `i=…`, `g=…`, `b=…`.
    pub id: String,
    /// What can be read from it; `None` for an object.
    pub variable: Option<Variable>,
}

/// What is known of a variable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Variable {
    /// Its type, when it is one that can be read.
    pub data_type: Option<DataType>,
    /// The type in the server's words, for one that cannot.
    pub type_name: String,
    /// The server lets this user read it.
    pub readable: bool,
    /// `unitId` of its EngineeringUnits (Part 8, 5.6.3).
    pub unit_id: Option<u32>,
    /// The unit as the server writes it; may be empty.
    pub unit: String,
    /// Its EURange.
    pub range: Option<(f64, f64)>,
    /// Texts of its numbers.
    pub texts: BTreeMap<i64, String>,
    /// Its description; may be empty.
    pub description: String,
    /// Of a structure: paths to its fields, and their types.
    pub fields: Vec<(String, DataType)>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// Product and version of the server.
    pub identity: String,
    /// All nodes, each before those below it.
    pub found: Vec<Found>,
    /// Why it is not all, in words.
    pub cut: Vec<String>,
}

/// Walks the address space of a server from its Objects folder, or from `under`: a path of browse
/// names (`PLC/DB_Filler`) or a node id with the server's own index (`ns=3;s=…`). Without it the
/// server's own state is left out.
///
/// # Errors
/// [`PollError`] as when connecting; `Refused` when there is nothing at `under`.
pub async fn browse(device: &DeviceSpec, under: Option<&str>, bounds: Bounds) -> Result<Walk, PollError> {
    let (settings, complaints) = Settings::read(device);
    if let Some(first) = complaints.first() {
        return Err(PollError::Refused { what: format!("{}; {}", first.message, first.help) });
    }
    let client = client(device, &settings).await?;
    let opened = Link::open(device, &settings, &client, &Arc::new(AtomicU64::new(0))).await;
    let link = opened.map_err(|not_open| not_open.error)?;
    let walked = walk(&link, under, bounds).await;
    link.close().await;
    walked
}

async fn walk(link: &Link, under: Option<&str>, bounds: Bounds) -> Result<Walk, PollError> {
    let end = Instant::now() + bounds.time;
    let facts = link.facts().await?;
    let objects = NodeId::from(ObjectId::ObjectsFolder);
    let begin = match under {
        None => objects,
        Some(path) => find(link, objects, path).await?,
    };
    let mut walker = Walker {
        link,
        namespaces: facts.namespaces,
        read_chunk: facts.read_chunk.max(1),
        nodes: Vec::new(),
        seen: HashSet::from([begin.clone(), NodeId::from(ObjectId::Server)]),
        cut: Vec::new(),
        bounds,
    };
    let walking = async {
        walker.levels(begin).await?;
        walker.describe().await
    };
    match timeout_at(end, walking).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => walker.cut.push(format!("{} s were over", bounds.time.as_secs())),
    }
    Ok(Walk { identity: facts.identity, cut: walker.cut.clone(), found: walker.in_order() })
}

/// The node at a path of browse names, or with this id.
async fn find(link: &Link, objects: NodeId, path: &str) -> Result<NodeId, PollError> {
    if path.contains('=') {
        let unknown = || PollError::Refused { what: format!("{path:?} is no node id such as ns=3;s=\"DB\"") };
        return path.parse().map_err(|_| unknown());
    }
    let mut node = objects;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let (children, _) = children(link, std::slice::from_ref(&node)).await?.pop().unwrap_or_default();
        let names: Vec<String> = children.iter().map(|it| text(it.browse_name.name.as_ref())).collect();
        let Some(place) = names.iter().position(|it| it == name) else {
            let there: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
            let what = format!("there is no {name:?} in --under {path:?}; there are: {}", there.join(", "));
            return Err(PollError::Refused { what });
        };
        node = children[place].node_id.node_id.clone();
    }
    Ok(node)
}

/// References of each node, in order, and whether they are all.
async fn children(
    link: &Link,
    nodes: &[NodeId],
) -> Result<Vec<(Vec<ReferenceDescription>, bool)>, PollError> {
    let describe = |node: &NodeId| BrowseDescription {
        node_id: node.clone(),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
        include_subtypes: true,
        node_class_mask: (NodeClassMask::OBJECT | NodeClassMask::VARIABLE).bits(),
        result_mask: ALL_FIELDS,
    };
    let asked: Vec<BrowseDescription> = nodes.iter().map(describe).collect();
    let answers = link.request(link.session.browse(&asked, REFERENCES_EACH, None)).await?;
    if answers.len() != nodes.len() {
        let what = format!("{} nodes browsed, {} answers came", nodes.len(), answers.len());
        return Err(PollError::Mismatch { what });
    }
    let mut all = Vec::new();
    for BrowseResult { continuation_point, references, .. } in answers {
        let (mut references, mut point) = (references.unwrap_or_default(), continuation_point);
        while !point.is_null() && references.len() < REFERENCES_MAX {
            let points = [std::mem::replace(&mut point, ContinuationPoint::null())];
            let more = link.request(link.session.browse_next(false, &points)).await?;
            let Some(more) = more.into_iter().next() else { break };
            let further = more.references.unwrap_or_default();
            // An empty answer with a promise of more would go on for ever.
            if !further.is_empty() {
                point = more.continuation_point;
            }
            references.extend(further);
        }
        let whole = point.is_null();
        if !whole {
            // The server may keep it as long as the session otherwise.
            let _released = link.request(link.session.browse_next(true, &[point])).await?;
        }
        references.truncate(REFERENCES_MAX);
        all.push((references, whole));
    }
    Ok(all)
}

struct Walker<'a> {
    link: &'a Link,
    namespaces: Vec<String>,
    read_chunk: usize,
    /// In the order in which they were found.
    nodes: Vec<Node>,
    seen: HashSet<NodeId>,
    cut: Vec<String>,
    bounds: Bounds,
}

struct Node {
    id: NodeId,
    parent: Option<usize>,
    found: Found,
    /// Its EURange, EngineeringUnits and the like, by name.
    properties: Vec<(String, NodeId)>,
}

impl Walker<'_> {
    /// All levels, from the one below `begin`.
    async fn levels(&mut self, begin: NodeId) -> Result<(), PollError> {
        let mut level: Vec<(NodeId, Option<usize>)> = vec![(begin, None)];
        for depth in 0.. {
            if level.is_empty() {
                return Ok(());
            }
            // Below the last level variables are still asked for their units and texts.
            let last = depth >= self.bounds.depth;
            if last {
                let is_variable = |place: &Option<usize>| {
                    place.is_some_and(|place| self.nodes[place].found.variable.is_some())
                };
                let below = level.iter().filter(|(_, place)| !is_variable(place)).count();
                if below > 0 {
                    self.cut.push(format!(
                        "{below} nodes lie at depth {} with more below them (--depth)",
                        self.bounds.depth
                    ));
                }
                level.retain(|(_, place)| is_variable(place));
            }
            let mut next = Vec::new();
            for nodes in level.chunks(BROWSE_CHUNK) {
                let ids: Vec<NodeId> = nodes.iter().map(|(id, _)| id.clone()).collect();
                for ((references, whole), (_, parent)) in
                    children(self.link, &ids).await?.into_iter().zip(nodes)
                {
                    if !whole {
                        let name = parent.map_or("the beginning", |place| &self.nodes[place].found.name);
                        self.cut.push(format!("{name} has more than {REFERENCES_MAX} nodes below it"));
                    }
                    for reference in references {
                        if !self.take(reference, *parent, depth, last, &mut next) {
                            return Ok(());
                        }
                    }
                }
            }
            level = next;
        }
        Ok(())
    }

    /// Takes a node on; false when there are enough.
    fn take(
        &mut self,
        reference: ReferenceDescription,
        parent: Option<usize>,
        depth: usize,
        only_properties: bool,
        next: &mut Vec<(NodeId, Option<usize>)>,
    ) -> bool {
        let id = reference.node_id.node_id;
        // Nodes of other servers are not ours to read.
        if reference.node_id.server_index != 0 || !self.seen.insert(id.clone()) {
            return true;
        }
        let name = text(reference.browse_name.name.as_ref());
        let is_property = reference.reference_type_id == ReferenceTypeId::HasProperty;
        if let Some(parent) = parent.filter(|_| is_property) {
            self.nodes[parent].properties.push((name, id));
            return true;
        }
        if only_properties {
            return true;
        }
        if self.nodes.len() >= self.bounds.nodes {
            self.cut.push(format!("there are more than {} nodes (--nodes)", self.bounds.nodes));
            return false;
        }
        let namespace = self.namespaces.get(usize::from(id.namespace)).filter(|_| id.namespace != 0);
        let found = Found {
            depth,
            name,
            namespace: namespace.cloned().unwrap_or_default(),
            id: identifier(&id.identifier),
            variable: (reference.node_class == NodeClass::Variable).then(Variable::default),
        };
        next.push((id.clone(), Some(self.nodes.len())));
        self.nodes.push(Node { id, parent, found, properties: Vec::new() });
        true
    }

    /// Types, access, units, ranges and texts of the variables.
    async fn describe(&mut self) -> Result<(), PollError> {
        const EACH: [AttributeId; 4] = [
            AttributeId::Value,
            AttributeId::DataType,
            AttributeId::UserAccessLevel,
            AttributeId::Description,
        ];
        let variables: Vec<usize> =
            (0..self.nodes.len()).filter(|place| self.nodes[*place].found.variable.is_some()).collect();
        let mut texts_of_type: HashMap<NodeId, BTreeMap<i64, String>> = HashMap::new();
        let mut structures: Vec<(usize, Variant)> = Vec::new();
        for places in variables.chunks((self.read_chunk / EACH.len()).max(1)) {
            let asked: Vec<ReadValueId> = places
                .iter()
                .flat_map(|place| EACH.map(|it| ReadValueId::new(self.nodes[*place].id.clone(), it)))
                .collect();
            let answers = self.link.read(&asked).await?;
            for (place, answers) in places.iter().zip(answers.chunks(EACH.len())) {
                let [value, data_type, access, description] = answers else { continue };
                let id_of_type = node_id(data_type);
                let mut variable = variable(value, id_of_type.as_ref(), access, description);
                self.properties(*place, &mut variable).await?;
                if let Some(id) = id_of_type.filter(|id| id.namespace != 0 && variable.texts.is_empty()) {
                    if !texts_of_type.contains_key(&id) {
                        let texts = self.texts_of(&id).await?;
                        texts_of_type.insert(id.clone(), texts);
                    }
                    variable.texts = texts_of_type.get(&id).cloned().unwrap_or_default();
                }
                self.nodes[*place].found.variable = Some(variable);
                structures.extend(value.value.clone().filter(is_structure).map(|value| (*place, value)));
            }
        }
        self.fields(structures).await
    }

    /// The fields of structures, as their values have them now.
    async fn fields(&mut self, structures: Vec<(usize, Variant)>) -> Result<(), PollError> {
        if structures.is_empty() {
            return Ok(());
        }
        let nodes: Vec<NodeId> = structures.iter().map(|(place, _)| self.nodes[*place].id.clone()).collect();
        let (known, roots) = structure::load(self.link, &nodes, self.read_chunk).await?;
        for ((place, value), root) in structures.into_iter().zip(roots) {
            let Some(variable) = &mut self.nodes[place].found.variable else { continue };
            let decoded =
                root.ok().and_then(|root| Some((root, structure::decode(&known, root, &value).ok()?)));
            let Some((root, decoded)) = decoded else { continue };
            let leaves = known.leaves(root, &decoded, FIELDS_MAX);
            let typed = leaves.into_iter().filter_map(|(path, value)| Some((path, data_type(value)?)));
            variable.fields = typed.collect();
        }
        Ok(())
    }

    async fn properties(&self, place: usize, variable: &mut Variable) -> Result<(), PollError> {
        let known = |name: &str| {
            matches!(
                name,
                "EURange" | "EngineeringUnits" | "EnumStrings" | "EnumValues" | "TrueState" | "FalseState"
            )
        };
        let properties: Vec<_> =
            self.nodes[place].properties.iter().filter(|(name, _)| known(name)).collect();
        if properties.is_empty() {
            return Ok(());
        }
        let asked: Vec<ReadValueId> = properties.iter().map(|(_, id)| ReadValueId::from(id)).collect();
        for ((name, _), answer) in properties.iter().zip(self.link.read(&asked).await?) {
            apply(name, answer.value, variable);
        }
        Ok(())
    }

    /// Texts of an enumeration that the server has defined itself.
    async fn texts_of(&self, data_type: &NodeId) -> Result<BTreeMap<i64, String>, PollError> {
        let found = children(self.link, std::slice::from_ref(data_type)).await?.pop();
        let mut variable = Variable::default();
        for reference in found.map(|(references, _)| references).unwrap_or_default() {
            let name = text(reference.browse_name.name.as_ref());
            if matches!(name.as_str(), "EnumStrings" | "EnumValues") {
                let answers = self.link.read(&[ReadValueId::from(&reference.node_id.node_id)]).await?;
                answers.into_iter().for_each(|answer| apply(&name, answer.value, &mut variable));
            }
        }
        Ok(variable.texts)
    }

    /// Each node before those below it.
    fn in_order(self) -> Vec<Found> {
        let mut below: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (place, node) in self.nodes.iter().enumerate() {
            below.entry(node.parent).or_default().push(place);
        }
        let mut waiting: Vec<usize> = below.remove(&None).unwrap_or_default();
        waiting.reverse();
        let mut found = Vec::with_capacity(self.nodes.len());
        while let Some(place) = waiting.pop() {
            found.push(self.nodes[place].found.clone());
            waiting.extend(below.remove(&Some(place)).unwrap_or_default().into_iter().rev());
        }
        found
    }
}

fn variable(value: &DataValue, type_id: Option<&NodeId>, access: &DataValue, words: &DataValue) -> Variable {
    // CurrentRead is bit 0 (Part 3, 8.57); who does not say leaves it to the value itself.
    let allowed = match access.value {
        Some(Variant::Byte(level)) => level & 1 == 1,
        _ => true,
    };
    let status = value.status.unwrap_or(StatusCode::Good);
    let denied = [StatusCode::BadNotReadable, StatusCode::BadUserAccessDenied, StatusCode::BadNodeIdUnknown]
        .contains(&status);
    let of_value = value.value.as_ref().and_then(data_type);
    let by_id = || type_id.and_then(standard_type).map(DataType::single);
    let name =
        value.value.as_ref().map_or_else(|| type_id.map(ToString::to_string), |value| Some(type_name(value)));
    let description = match &words.value {
        Some(Variant::LocalizedText(words)) => text(words.text.as_ref()),
        _ => String::new(),
    };
    Variable {
        data_type: of_value.or_else(by_id),
        type_name: name.unwrap_or_default(),
        readable: allowed && !denied,
        description,
        ..Variable::default()
    }
}

/// What one property says of its variable.
fn apply(name: &str, value: Option<Variant>, variable: &mut Variable) {
    match (name, value) {
        ("EURange", Some(Variant::ExtensionObject(object))) => {
            variable.range = object
                .inner_as::<Range>()
                .map(|range| (range.low, range.high))
                .filter(|(low, high)| low.is_finite() && high.is_finite() && low < high);
        }
        ("EngineeringUnits", Some(Variant::ExtensionObject(object))) => {
            if let Some(unit) = object.inner_as::<EUInformation>() {
                variable.unit_id = u32::try_from(unit.unit_id).ok();
                variable.unit = text(unit.display_name.text.as_ref());
            }
        }
        ("EnumStrings", Some(Variant::Array(texts))) => {
            variable.texts = (0..).zip(texts.values.iter().take(TEXTS_MAX)).filter_map(numbered).collect();
        }
        ("EnumValues", Some(Variant::Array(values))) => {
            let each = values.values.iter().take(TEXTS_MAX).filter_map(|value| match value {
                Variant::ExtensionObject(object) => object.inner_as::<EnumValueType>(),
                _ => None,
            });
            variable.texts = each.map(|it| (it.value, text(it.display_name.text.as_ref()))).collect();
        }
        ("FalseState" | "TrueState", Some(Variant::LocalizedText(words))) => {
            variable.texts.insert(i64::from(name == "TrueState"), text(words.text.as_ref()));
        }
        _ => {}
    }
}

fn numbered((number, value): (i64, &Variant)) -> Option<(i64, String)> {
    match value {
        Variant::LocalizedText(words) => Some((number, text(words.text.as_ref()))),
        _ => None,
    }
}

fn is_structure(value: &Variant) -> bool {
    match value {
        Variant::ExtensionObject(object) => !object.is_null(),
        Variant::Array(array) => array.values.first().is_some_and(is_structure),
        _ => false,
    }
}

/// The type of a value, `None` for those that are not read.
fn data_type(value: &Variant) -> Option<DataType> {
    if let Variant::Array(array) = value {
        let one_row = array.dimensions.as_ref().is_none_or(|dimensions| dimensions.len() < 2);
        let len = u16::try_from(array.values.len()).ok().filter(|len| *len > 0 && one_row)?;
        let element = data_type(array.values.first()?)?;
        // A text with a length in brackets is a text, no array.
        let is_text = matches!(element.scalar, Scalar::String(_));
        return (!is_text).then_some(DataType { array_len: Some(len), ..element });
    }
    Some(DataType::single(match value {
        Variant::Boolean(_) => Scalar::Bool,
        Variant::SByte(_) => Scalar::Sint,
        Variant::Byte(_) => Scalar::Usint,
        Variant::Int16(_) => Scalar::Int,
        Variant::UInt16(_) => Scalar::Uint,
        Variant::Int32(_) => Scalar::Dint,
        Variant::UInt32(_) => Scalar::Udint,
        Variant::Int64(_) => Scalar::Lint,
        Variant::UInt64(_) => Scalar::Ulint,
        Variant::Float(_) => Scalar::Real,
        Variant::Double(_) => Scalar::Lreal,
        Variant::String(_) => Scalar::String(None),
        Variant::DateTime(_) => Scalar::DateTime,
        _ => return None,
    }))
}

/// The built-in type with this id (Part 6, 5.1.2).
fn standard_type(id: &NodeId) -> Option<Scalar> {
    let Identifier::Numeric(number) = id.identifier else { return None };
    Some(match (id.namespace, number) {
        (0, 1) => Scalar::Bool,
        (0, 2) => Scalar::Sint,
        (0, 3) => Scalar::Usint,
        (0, 4) => Scalar::Int,
        (0, 5) => Scalar::Uint,
        (0, 6) => Scalar::Dint,
        (0, 7) => Scalar::Udint,
        (0, 8) => Scalar::Lint,
        (0, 9) => Scalar::Ulint,
        (0, 10) => Scalar::Real,
        (0, 11) => Scalar::Lreal,
        (0, 12) => Scalar::String(None),
        (0, 13 | 294) => Scalar::DateTime,
        _ => return None,
    })
}

fn type_name(value: &Variant) -> String {
    match value {
        Variant::Array(array) => format!("array of {} {:?}", array.values.len(), array.value_type),
        other => format!("{:?}", other.type_id()),
    }
}

fn node_id(answer: &DataValue) -> Option<NodeId> {
    match &answer.value {
        Some(Variant::NodeId(id)) => Some((**id).clone()),
        _ => None,
    }
}

fn identifier(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Numeric(number) => format!("i={number}"),
        Identifier::String(text) => format!("s={text}"),
        Identifier::Guid(guid) => format!("g={guid}"),
        Identifier::ByteString(bytes) => format!("b={}", bytes.as_base64()),
    }
}

/// What a server calls text: letters only, and not too many.
fn text(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(CHARS_MAX).collect()
}
