//! What a server says of its structures.

use std::collections::{HashMap, HashSet};

use forebay_connector::PollError;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, DataValue, NodeClassMask, NodeId, ReadValueId,
    ReferenceTypeId, StatusCode, StructureDefinition, StructureType, Variant, VariantScalarTypeId,
};

use super::{Field, Form, Kind, Structure, Structures};
use crate::session::Link;

/// Types that are looked at.
const TYPES_MAX: usize = 1000;
/// Rounds of questions: structures within structures, and types above types.
const ROUNDS_MAX: usize = 32;
/// Fields of one structure.
const FIELDS_MAX: usize = 2000;
/// Dimensions of a field.
const DIMENSIONS_MAX: i32 = 8;
/// Longest name of a field, in bytes.
const NAME_MAX: usize = 512;
/// Nodes in one Browse.
const BROWSE_CHUNK: usize = 50;
/// Only the id is of interest (Part 4, 7.5).
const NO_FIELDS: u32 = 0;

/// Subtypes of built-in types in the standard's own namespace (Part 5, annex A), for servers that do
/// not say what is above them.
const STANDARD: [(u32, VariantScalarTypeId); 14] = [
    (26, VariantScalarTypeId::Variant),
    (27, VariantScalarTypeId::Variant),
    (28, VariantScalarTypeId::Variant),
    (29, VariantScalarTypeId::Int32),
    (30, VariantScalarTypeId::ByteString),
    (288, VariantScalarTypeId::UInt32),
    (289, VariantScalarTypeId::UInt32),
    (290, VariantScalarTypeId::Double),
    (291, VariantScalarTypeId::String),
    (294, VariantScalarTypeId::DateTime),
    (295, VariantScalarTypeId::String),
    (12877, VariantScalarTypeId::String),
    (12878, VariantScalarTypeId::String),
    (20998, VariantScalarTypeId::UInt32),
];

/// What is known of a type.
enum Described {
    Structure(Box<StructureDefinition>),
    /// The type above it.
    Below(NodeId),
    Nothing,
}

/// Asks the server for the structures that these nodes have as values. Returns for each its position
/// in [`Structures`], or why it has none.
///
/// # Errors
/// The connection is of no use any more.
pub(crate) async fn load(
    link: &Link,
    nodes: &[NodeId],
    read_chunk: usize,
) -> Result<(Structures, Vec<Result<usize, String>>), PollError> {
    let types = read(link, nodes, AttributeId::DataType, read_chunk).await?;
    let types: Vec<Result<NodeId, String>> = types.into_iter().map(type_of).collect();
    let described = describe(link, types.iter().flatten().cloned().collect(), read_chunk).await?;
    let mut making = Making { described, structures: Vec::new(), places: HashMap::new() };
    let places = types.into_iter().map(|id| making.root(&id?)).collect();
    Ok((Structures(making.structures), places))
}

/// The type of a node.
fn type_of(answer: DataValue) -> Result<NodeId, String> {
    match (answer.value, answer.status.unwrap_or(StatusCode::Good)) {
        (Some(Variant::NodeId(id)), _) => Ok(*id),
        (_, status) => Err(format!("the server does not tell its type ({status})")),
    }
}

async fn read(
    link: &Link,
    nodes: &[NodeId],
    attribute: AttributeId,
    read_chunk: usize,
) -> Result<Vec<DataValue>, PollError> {
    let mut answers = Vec::with_capacity(nodes.len());
    for chunk in nodes.chunks(read_chunk.max(1)) {
        let asked: Vec<_> = chunk.iter().map(|node| ReadValueId::new(node.clone(), attribute)).collect();
        answers.extend(link.read(&asked).await?);
    }
    Ok(answers)
}

/// Describes these types, those of their fields, and those above them as far as they are needed.
async fn describe(
    link: &Link,
    mut asked: Vec<NodeId>,
    read_chunk: usize,
) -> Result<HashMap<NodeId, Described>, PollError> {
    let mut described = HashMap::new();
    for _ in 0..ROUNDS_MAX {
        let mut seen = HashSet::new();
        asked.retain(|id| simple(id).is_none() && !described.contains_key(id) && seen.insert(id.clone()));
        asked.truncate(TYPES_MAX - described.len());
        if asked.is_empty() {
            break;
        }
        let (mut next, mut others) = (Vec::new(), Vec::new());
        let answers = read(link, &asked, AttributeId::DataTypeDefinition, read_chunk).await?;
        for (id, answer) in asked.into_iter().zip(answers) {
            let definition = match answer.value {
                Some(Variant::ExtensionObject(object)) => object.into_inner_as::<StructureDefinition>(),
                _ => None,
            };
            match definition {
                Some(definition) => {
                    let fields = definition.fields.iter().flatten().take(FIELDS_MAX);
                    next.extend(fields.map(|field| field.data_type.clone()));
                    described.insert(id, Described::Structure(definition));
                }
                None => others.push(id),
            }
        }
        for chunk in others.chunks(BROWSE_CHUNK) {
            for (id, above) in chunk.iter().zip(above(link, chunk).await?) {
                next.extend(above.clone());
                described.insert(id.clone(), above.map_or(Described::Nothing, Described::Below));
            }
        }
        asked = next;
    }
    Ok(described)
}

/// The type above each of these, where the server tells it.
async fn above(link: &Link, types: &[NodeId]) -> Result<Vec<Option<NodeId>>, PollError> {
    let describe = |id: &NodeId| BrowseDescription {
        node_id: id.clone(),
        browse_direction: BrowseDirection::Inverse,
        reference_type_id: ReferenceTypeId::HasSubtype.into(),
        include_subtypes: false,
        node_class_mask: NodeClassMask::DATA_TYPE.bits(),
        result_mask: NO_FIELDS,
    };
    let asked: Vec<BrowseDescription> = types.iter().map(describe).collect();
    let answers = match link.ask(link.session.browse(&asked, 1, None)).await? {
        Ok(answers) if answers.len() == types.len() => answers,
        // Without an answer the field cannot be read, which its tag says.
        _ => return Ok(vec![None; types.len()]),
    };
    let first = |found: Option<Vec<opcua::types::ReferenceDescription>>| found?.into_iter().next();
    Ok(answers.into_iter().map(|answer| Some(first(answer.references)?.node_id.node_id)).collect())
}

/// The built-in type that values of this type are encoded as, where the standard says it.
fn simple(id: &NodeId) -> Option<VariantScalarTypeId> {
    let number = id.as_u32().filter(|_| id.namespace == 0)?;
    let of_standard = || STANDARD.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind);
    VariantScalarTypeId::try_from(number).ok().or_else(of_standard)
}

struct Making {
    described: HashMap<NodeId, Described>,
    structures: Vec<Structure>,
    /// What became of each structure so far.
    places: HashMap<NodeId, Result<usize, String>>,
}

impl Making {
    /// The structure that values of this type are.
    fn root(&mut self, id: &NodeId) -> Result<usize, String> {
        match self.kind(id, ROUNDS_MAX)? {
            Kind::Structure(place) => Ok(place),
            Kind::Simple(VariantScalarTypeId::ExtensionObject | VariantScalarTypeId::Variant) => {
                Err(format!("its type {id} is abstract: only its values would tell which fields they have"))
            }
            Kind::Simple(kind) => Err(format!("it is no structure but a {kind}: leave `field` out")),
        }
    }

    fn kind(&mut self, id: &NodeId, depth: usize) -> Result<Kind, String> {
        let mut at = id;
        for _ in 0..ROUNDS_MAX {
            match (simple(at), self.described.get(at)) {
                (Some(VariantScalarTypeId::ExtensionObject), _) if at != id => break,
                (Some(kind), _) => return Ok(Kind::Simple(kind)),
                (None, Some(Described::Structure(_))) if at == id => {
                    return self.structure(id, depth).map(Kind::Structure);
                }
                (None, Some(Described::Below(above))) => at = above,
                (None, _) => break,
            }
        }
        Err(format!(
            "the server does not describe its type {id}: it has no DataTypeDefinition, which came with OPC UA \
             1.04. Update the controller's firmware, or read members that are variables of their own"
        ))
    }

    fn structure(&mut self, id: &NodeId, depth: usize) -> Result<usize, String> {
        if let Some(known) = self.places.get(id) {
            return known.clone();
        }
        let depth = depth.checked_sub(1).ok_or("structures are nested too deep")?;
        // A structure may have itself in an array; until it is known its values are refused.
        let place = self.structures.len();
        let unknown =
            Structure { form: Form::Unknown, fields: Vec::new(), encoding: NodeId::null(), id: id.clone() };
        self.structures.push(unknown);
        self.places.insert(id.clone(), Ok(place));
        let made = self.fields(id, depth);
        let made = made.map(|structure| self.structures[place] = structure).map(|()| place);
        self.places.insert(id.clone(), made.clone());
        made
    }

    fn fields(&mut self, id: &NodeId, depth: usize) -> Result<Structure, String> {
        let Some(Described::Structure(definition)) = self.described.get(id) else {
            return Err(format!("type {id} is no structure"));
        };
        let definition = definition.clone();
        let form = match definition.structure_type {
            StructureType::Structure => Form::Plain,
            StructureType::StructureWithOptionalFields => Form::Optional,
            StructureType::Union => Form::Union,
            StructureType::StructureWithSubtypedValues | StructureType::UnionWithSubtypedValues => {
                return Err(format!("its type {id} permits values of derived types, which are not read"));
            }
        };
        let fields = definition.fields.unwrap_or_default();
        if fields.len() > FIELDS_MAX {
            return Err(format!("its type {id} has more than {FIELDS_MAX} fields"));
        }
        let field = |field: opcua::types::StructureField| {
            let name: String = field.name.as_ref().chars().filter(|letter| !letter.is_control()).collect();
            if name.is_empty() || name.len() > NAME_MAX {
                return Err(format!("its type {id} has a field without a usable name"));
            }
            let kind = self.kind(&field.data_type, depth).map_err(|why| format!("field `{name}`: {why}"))?;
            let dimensions = match field.value_rank {
                -1 => 0,
                rank @ 1..=DIMENSIONS_MAX => rank.unsigned_abs(),
                rank => return Err(format!("field `{name}` has the value rank {rank}, which is not read")),
            };
            Ok(Field { name, kind, dimensions, optional: field.is_optional })
        };
        let fields = fields.into_iter().map(field).collect::<Result<_, _>>()?;
        Ok(Structure { form, fields, encoding: definition.default_encoding_id, id: id.clone() })
    }
}
