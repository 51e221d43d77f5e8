//! From OPC UA's data types to those of profiles.

use std::collections::BTreeMap;

use forebay_connector::Scalar;

use super::model::{Model, Node};
use crate::import::draft::words;
use crate::import::report::Refusal;

/// Longest chain of subtypes that is followed.
const SUBTYPES_MAX: usize = 16;

/// Structures within structures.
const STRUCTURES_MAX: usize = 8;
/// Fields of one variable at most.
const FIELDS_MAX: usize = 2000;

/// Types of the standard by their id (`Opc.Ua.NodeSet2.xml`, namespace 0).
const BUILT_IN: &[(u32, Scalar)] = &[
    (1, Scalar::Bool),
    (2, Scalar::Sint),
    (3, Scalar::Usint),
    (4, Scalar::Int),
    (5, Scalar::Uint),
    (6, Scalar::Dint),
    (7, Scalar::Udint),
    (8, Scalar::Lint),
    (9, Scalar::Ulint),
    (10, Scalar::Real),
    (11, Scalar::Lreal),
    (12, Scalar::String(None)),
    (13, Scalar::DateTime),
    (21, Scalar::String(None)),
    (29, Scalar::Dint),
    (288, Scalar::Udint),
    (289, Scalar::Udint),
    (290, Scalar::Lreal),
    (291, Scalar::String(None)),
    (294, Scalar::DateTime),
    (295, Scalar::String(None)),
];

/// Names that some tools write instead of an id or an alias.
const NAMES: &[(&str, u32)] = &[
    ("Boolean", 1),
    ("SByte", 2),
    ("Byte", 3),
    ("Int16", 4),
    ("UInt16", 5),
    ("Int32", 6),
    ("UInt32", 7),
    ("Int64", 8),
    ("UInt64", 9),
    ("Float", 10),
    ("Double", 11),
    ("String", 12),
    ("DateTime", 13),
    ("LocalizedText", 21),
    ("Duration", 290),
    ("UtcTime", 294),
    ("LocaleId", 295),
];

/// Abstract types of the standard: what a value is, only the server knows.
const ABSTRACT: [(&str, &str); 4] =
    [("i=24", "BaseDataType"), ("i=26", "Number"), ("i=27", "Integer"), ("i=28", "UInteger")];

/// What a variable holds.
pub struct Kind {
    /// Type of one element.
    pub scalar: Scalar,
    /// Texts of an enumeration.
    pub texts: BTreeMap<i64, String>,
    /// What differs.
    pub told: Option<String>,
}

/// Finds the type of a variable, through the subtypes the file declares.
///
/// # Errors
/// It is a structure, abstract, or not in the file.
pub fn resolve(model: &Model, node: &Node) -> Result<Kind, Refusal> {
    let mut id = node.data_type.as_str();
    let mut texts = BTreeMap::new();
    for _ in 0..SUBTYPES_MAX {
        if let Some(scalar) = built_in(id) {
            let told = (scalar == Scalar::String(None) && (id == "i=21" || id == "LocalizedText"))
                .then(|| "of a text in several languages the one is read that the server sends".to_owned());
            return Ok(Kind { scalar, texts, told });
        }
        if let Some((_, name)) = ABSTRACT.iter().find(|(known, _)| *known == id) {
            let what = format!("its data type is {name}: what it is, only the server knows");
            return Err(Refusal::new(
                "I0102",
                what,
                "write the tag by hand with the type that the server shows",
            ));
        }
        let Some(declared) = model.nodes.get(id).filter(|node| node.class == "UADataType") else { break };
        if !declared.fields.is_empty() {
            texts = declared.fields.iter().map(|(number, name)| (*number, words(name))).collect();
        }
        match above(declared) {
            Some((target, ..)) => id = target,
            None => break,
        }
    }
    let what = format!("its data type {} is a structure, or not in this file", node.data_type);
    Err(Refusal::new("I0102", what, "read its members where the server has variables for them"))
}

/// The fields of a variable that is a structure, those of structures within it included: paths and
/// what they hold. Empty when it is none, or when the file does not declare its type.
pub fn fields<'a>(model: &'a Model, node: &'a Node) -> Vec<(String, &'a Node)> {
    let mut found = Vec::new();
    members(model, node, "", 0, &mut found);
    found
}

fn members<'a>(
    model: &'a Model,
    node: &'a Node,
    path: &str,
    depth: usize,
    found: &mut Vec<(String, &'a Node)>,
) {
    let mut own = Vec::new();
    let mut id = node.data_type.as_str();
    for _ in 0..SUBTYPES_MAX {
        if built_in(id).is_some() {
            return;
        }
        let Some(declared) = model.nodes.get(id).filter(|node| node.class == "UADataType") else { break };
        own.push(declared);
        let Some((above, ..)) = above(declared) else { break };
        id = above;
    }
    // Those of the type above come first (Part 6, 5.2.6).
    for member in own.iter().rev().flat_map(|declared| &declared.members) {
        if found.len() >= FIELDS_MAX {
            return;
        }
        let path = if path.is_empty() { member.name.clone() } else { format!("{path}.{}", member.name) };
        let (before, is_single) = (found.len(), member.rank == -1);
        if depth < STRUCTURES_MAX && is_single {
            members(model, member, &path, depth + 1, found);
        }
        if found.len() == before {
            found.push((path, member));
        }
    }
}

/// The type above this one, by an inverse HasSubtype (i=45; Part 3).
fn above(declared: &Node) -> Option<&(String, String, bool)> {
    let is_above = |kind: &str, forward: bool| !forward && (kind == "i=45" || kind == "HasSubtype");
    declared.references.iter().find(|(_, kind, forward)| is_above(kind, *forward))
}

fn built_in(id: &str) -> Option<Scalar> {
    let by_name = NAMES.iter().find(|(name, _)| *name == id).map(|(_, number)| *number);
    let number = by_name.or_else(|| id.strip_prefix("i=").and_then(|number| number.parse().ok()))?;
    BUILT_IN.iter().find(|(known, _)| *known == number).map(|(_, scalar)| *scalar)
}

/// Texts of `EnumStrings`, numbered from 0, or of `EnumValues` with their numbers.
pub fn texts_of(property: &Node) -> BTreeMap<i64, String> {
    let mut texts = BTreeMap::new();
    let mut number = None;
    for (element, text) in &property.value {
        match element.as_str() {
            "Value" => number = text.parse().ok(),
            "Text" if property.name == "EnumStrings" => {
                let next = i64::try_from(texts.len()).unwrap_or(i64::MAX);
                texts.insert(next, words(text));
            }
            // DisplayName comes before Description: the first text of a value counts.
            "Text" => {
                if let Some(number) = number.take() {
                    texts.insert(number, words(text));
                }
            }
            _ => {}
        }
    }
    texts.retain(|_, text| !text.is_empty());
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of structures, each with members of these types.
    fn model(types: &[(&str, &[&str])]) -> Model {
        let member = |(number, data_type): (usize, &&str)| Node {
            name: format!("m{number}"),
            data_type: (*data_type).to_owned(),
            rank: -1,
            ..Node::default()
        };
        let node = |members: &[&str]| Node {
            class: "UADataType".into(),
            members: members.iter().enumerate().map(member).collect(),
            ..Node::default()
        };
        let nodes = types.iter().map(|(id, members)| ((*id).to_owned(), node(members))).collect();
        Model { nodes, ..Model::default() }
    }

    fn fields_of(model: &Model, data_type: &str) -> Vec<(String, usize)> {
        let variable = Node { data_type: data_type.into(), ..Node::default() };
        let found = fields(model, &variable);
        found.into_iter().map(|(path, _)| (path.clone(), path.matches('.').count())).collect()
    }

    #[test]
    fn structures_that_hold_themselves_end() {
        let lone = fields_of(&model(&[("ns=1;i=1", &["ns=1;i=1"])]), "ns=1;i=1");
        assert_eq!((lone.len(), lone[0].1), (1, STRUCTURES_MAX));
        let round =
            fields_of(&model(&[("ns=1;i=1", &["ns=1;i=2"]), ("ns=1;i=2", &["ns=1;i=1"])]), "ns=1;i=1");
        assert_eq!((round.len(), round[0].1), (1, STRUCTURES_MAX));
        // Ten of itself, at each depth: ten thousand million without a bound.
        let many = fields_of(&model(&[("ns=1;i=1", &["ns=1;i=1"; 10])]), "ns=1;i=1");
        assert_eq!(many.len(), FIELDS_MAX);
    }
}
