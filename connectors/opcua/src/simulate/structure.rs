//! Structures of a simulated server: made of the fields that the tags of a profile name, and no
//! others.

use std::collections::HashMap;

use forebay_connector::DataType;
use opcua::types::{
    Array, BinaryEncodable, ByteString, ByteStringBody, ContextOwned, DataTypeDefinition, ExtensionObject,
    NodeId, StructureDefinition, StructureField, StructureType, Variant, VariantScalarTypeId,
};
use opcua_server::address_space::{AddressSpace, DataTypeBuilder};

use super::{data_type_id, initial};

/// A value with fields.
pub(super) struct Structure {
    /// Id of the node, for those of its types.
    name: String,
    shape: Shape,
    /// Tags by the path of their field.
    tags: HashMap<String, usize>,
}

/// What a field is.
#[derive(Debug, PartialEq)]
struct Shape {
    /// Elements, where a path has their numbers.
    elements: Option<usize>,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Value(DataType),
    Fields(Vec<(String, Shape)>),
}

impl Shape {
    fn empty() -> Self {
        Self { elements: None, kind: Kind::Fields(Vec::new()) }
    }

    /// Adds the field at `path`. Where another path says something else of it, that stays.
    fn add(&mut self, path: &str, data_type: DataType) {
        let (number, rest) = match path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((number, rest)) => (number.parse::<usize>().ok(), rest),
            None => (None, path),
        };
        if let Some(number) = number {
            self.elements = self.elements.max(Some(number + 1));
        }
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.is_empty() {
            if self.kind == Kind::Fields(Vec::new()) {
                self.kind = Kind::Value(data_type);
            }
            return;
        }
        let Kind::Fields(fields) = &mut self.kind else { return };
        let (name, below) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        let place = fields.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            fields.push((name.to_owned(), Self::empty()));
            fields.len() - 1
        });
        fields[place].1.add(below, data_type);
    }
}

impl Structure {
    /// Of the fields of one node: for each the tag, the path and the type.
    pub(super) fn of<'a>(name: String, fields: impl Iterator<Item = (usize, &'a str, DataType)>) -> Self {
        let (mut shape, mut tags) = (Shape::empty(), HashMap::new());
        for (tag, path, data_type) in fields {
            shape.add(path, data_type);
            tags.insert(path.to_owned(), tag);
        }
        Self { name, shape, tags }
    }

    /// Adds its types to the server; returns the outermost.
    pub(super) fn define(&self, space: &mut AddressSpace, index: u16) -> NodeId {
        self.define_fields(&self.shape, "", space, index)
    }

    fn define_fields(&self, shape: &Shape, path: &str, space: &mut AddressSpace, index: u16) -> NodeId {
        let Kind::Fields(fields) = &shape.kind else { return NodeId::null() };
        let mut described = Vec::with_capacity(fields.len());
        for (name, field) in fields {
            let (data_type, is_array) = match &field.kind {
                Kind::Value(it) => (data_type_id(it.scalar).into(), it.array_len.is_some()),
                Kind::Fields(_) => {
                    (self.define_fields(field, &format!("{path}.{name}"), space, index), false)
                }
            };
            let is_array = is_array || field.elements.is_some();
            let value_rank = if is_array { 1 } else { -1 };
            described.push(StructureField {
                name: name.as_str().into(),
                data_type,
                value_rank,
                ..StructureField::default()
            });
        }
        let id = self.id("type", path, index);
        let definition = StructureDefinition {
            default_encoding_id: self.id("encoding", path, index),
            structure_type: StructureType::Structure,
            fields: Some(described),
            ..StructureDefinition::default()
        };
        let name = format!("{}{path}", self.name);
        DataTypeBuilder::new(&id, name.as_str(), name.as_str())
            .data_type_definition(DataTypeDefinition::Structure(definition))
            .insert(space);
        id
    }

    fn id(&self, what: &str, path: &str, index: u16) -> NodeId {
        NodeId::new(index, format!("{}{path}:{what}", self.name))
    }

    /// The whole value; `leaf` gives that of a tag.
    pub(super) fn value(&self, index: u16, leaf: &dyn Fn(usize) -> Option<Variant>) -> Variant {
        let one = |path: &str| {
            let mut bytes = Vec::new();
            self.encode(&self.shape.kind, path, leaf, &mut bytes);
            let body = ByteStringBody::new(ByteString::from(bytes), self.id("encoding", "", index));
            Variant::ExtensionObject(ExtensionObject::new(body))
        };
        let Some(elements) = self.shape.elements else { return one("") };
        let all: Vec<Variant> = (0..elements).map(|number| one(&format!("[{number}]"))).collect();
        Array::new(VariantScalarTypeId::ExtensionObject, all).map(Variant::from).unwrap_or_default()
    }

    fn encode(&self, kind: &Kind, path: &str, leaf: &dyn Fn(usize) -> Option<Variant>, bytes: &mut Vec<u8>) {
        match kind {
            Kind::Value(data_type) => {
                let value = self.tags.get(path).and_then(|tag| leaf(*tag));
                let value = value.filter(|value| *value != Variant::Empty);
                let value = value.unwrap_or_else(|| initial(*data_type));
                // In a structure a value stands without the byte that says its type (Part 6, 5.2.6).
                let whole = value.encode_to_vec(&ContextOwned::default().context());
                bytes.extend(whole.iter().skip(1));
            }
            Kind::Fields(fields) => {
                for (name, field) in fields {
                    let point = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{point}{name}");
                    let Some(elements) = field.elements else {
                        self.encode(&field.kind, &path, leaf, bytes);
                        continue;
                    };
                    bytes.extend(i32::try_from(elements).unwrap_or(i32::MAX).to_le_bytes());
                    for number in 0..elements {
                        self.encode(&field.kind, &format!("{path}[{number}]"), leaf, bytes);
                    }
                }
            }
        }
    }
}
