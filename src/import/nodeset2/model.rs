//! A NodeSet2 file as nodes and references, read as a stream within bounds.
//!
//! OPC UA Part 6, Annex F. Entities of a document type are neither known nor fetched: a file with a
//! document type is refused.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Most nodes of a file.
const NODES_MAX: usize = 300_000;

/// Most references of a file.
const REFERENCES_MAX: usize = 3_000_000;

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 64;

/// Most fields of a structure.
const MEMBERS_MAX: usize = 2000;

/// Longest browse name, in bytes.
const NAME_MAX: usize = 512;

/// Longest text of an element and longest attribute, in bytes.
const TEXT_MAX: usize = 16 * 1024;

/// One node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Element: `UAVariable`, `UAObject` and so on.
    pub class: String,
    /// Line of the file.
    pub line: usize,
    /// Browse name without its namespace.
    pub name: String,
    /// `DataType`, aliases resolved.
    pub data_type: String,
    /// `ValueRank`; -1 is a single value.
    pub rank: i32,
    /// `ArrayDimensions`.
    pub dimensions: String,
    /// First `Description`.
    pub description: String,
    /// Target, type, and whether it leads away from this node; aliases resolved.
    pub references: Vec<(String, String, bool)>,
    /// Of the value: texts by the name of their element, in order.
    pub value: Vec<(String, String)>,
    /// Of an enumeration: number and name.
    pub fields: Vec<(i64, String)>,
    /// Of a structure: its own fields, each with name, type, rank and dimensions.
    pub members: Vec<Node>,
}

/// A file.
#[derive(Debug, Default)]
pub struct Model {
    /// `NamespaceUris`; index 1 is the first.
    pub uris: Vec<String>,
    /// Nodes by their id as the file writes it.
    pub nodes: BTreeMap<String, Node>,
    /// Ids in the order of the file.
    pub order: Vec<String>,
}

/// What is being read.
#[derive(Default)]
struct Reading {
    model: Model,
    aliases: BTreeMap<String, String>,
    /// Names of the open elements.
    open: Vec<String>,
    /// The outermost element was there.
    begun: bool,
    node: Option<(String, Node)>,
    /// Attributes of the open reference or alias.
    reference: (String, bool),
    alias: String,
    text: String,
    references: usize,
    /// Name and number of the open field of an enumeration.
    field: Option<(i64, String)>,
}

/// Reads a file.
///
/// # Errors
/// It is no NodeSet2, is damaged, or exceeds a bound.
pub fn read(file: &str, bytes: &[u8]) -> anyhow::Result<Model> {
    let lines = Lines::of(bytes);
    let mut reader = Reader::from_reader(bytes);
    let mut reading = Reading::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = reader.read_event_into(&mut buffer);
        let line = || lines.at(at);
        let fault = |what: String| {
            anyhow!("{file}:{}: {what}[I0002]\n    fix: export the model again as NodeSet2 (XML)", line())
        };
        match event.map_err(|error| fault(error.to_string()))? {
            Event::Start(start) => {
                reading.start(&start, line()).map_err(fault)?;
            }
            Event::Empty(start) => {
                reading.start(&start, line()).map_err(fault)?;
                reading.end().map_err(fault)?;
            }
            Event::End(_) => reading.end().map_err(fault)?,
            Event::Text(text) => reading.push(&text.xml10_content()).map_err(fault)?,
            Event::CData(text) => reading.push(&text.xml10_content()).map_err(fault)?,
            Event::GeneralRef(reference) => {
                let known = match reference.resolve_char_ref() {
                    Ok(Some(letter)) => Some(letter),
                    _ => entity(&reference.xml10_content()),
                };
                let letter = known.ok_or_else(|| {
                    fault(format!("the entity &{}; is not known", reference.xml10_content()))
                })?;
                reading.push(letter.encode_utf8(&mut [0; 4])).map_err(fault)?;
            }
            Event::DocType(_) => {
                return Err(fault("a document type may bring entities along and is refused".into()));
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    if !reading.begun {
        bail!(
            "{file} is no NodeSet2[I0002]: <UANodeSet> is missing\n    fix: export the model again as NodeSet2 (XML)"
        );
    }
    if !reading.open.is_empty() {
        bail!(
            "{file}: the file ends within <{}>[I0002]\n    fix: export the model again as NodeSet2 (XML)",
            reading.open.join("><")
        );
    }
    let Reading { mut model, aliases, .. } = reading;
    let resolve = |text: &mut String| {
        if let Some(id) = aliases.get(text.as_str()) {
            text.clone_from(id);
        }
    };
    for node in model.nodes.values_mut() {
        resolve(&mut node.data_type);
        node.members.iter_mut().for_each(|member| resolve(&mut member.data_type));
        for (target, kind, _) in &mut node.references {
            resolve(target);
            resolve(kind);
        }
    }
    Ok(model)
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

impl Reading {
    fn start(&mut self, start: &BytesStart<'_>, line: usize) -> Result<(), String> {
        let name = start.local_name().into_inner().to_owned();
        if self.open.is_empty() && name != "UANodeSet" {
            return Err(format!("the file is no NodeSet2: it begins with <{name}> instead of <UANodeSet>"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("elements are nested more than {DEPTH_MAX} deep"));
        }
        self.begun = true;
        self.text.clear();
        if self.open.len() == 1 && name.starts_with("UA") {
            self.node = Some(node(start, &name, line)?);
        }
        match (self.open.last().map(String::as_str), name.as_str()) {
            (Some("References"), "Reference") => {
                let forward =
                    attribute(start, "IsForward")?.is_none_or(|text| text != "false" && text != "0");
                self.reference = (attribute(start, "ReferenceType")?.unwrap_or_default(), forward);
            }
            (Some("Aliases"), "Alias") => self.alias = attribute(start, "Alias")?.unwrap_or_default(),
            (Some("Definition"), "Field") => {
                let number = attribute(start, "Value")?.and_then(|text| text.parse().ok());
                self.field = number.zip(attribute(start, "Name")?);
                self.member(start, line)?;
            }
            _ => {}
        }
        self.open.push(name);
        Ok(())
    }

    /// A field of a structure says its type, that of an enumeration its number.
    fn member(&mut self, start: &BytesStart<'_>, line: usize) -> Result<(), String> {
        let Some((_, owner)) = &mut self.node else { return Ok(()) };
        let (Some(name), None) = (attribute(start, "Name")?, attribute(start, "Value")?) else {
            return Ok(());
        };
        if name.is_empty() || name.len() > NAME_MAX || owner.members.len() >= MEMBERS_MAX {
            return Ok(());
        }
        let rank = attribute(start, "ValueRank")?.and_then(|rank| rank.parse().ok()).unwrap_or(-1);
        owner.members.push(Node {
            line,
            name,
            data_type: attribute(start, "DataType")?.unwrap_or_else(|| "i=24".into()),
            rank,
            dimensions: attribute(start, "ArrayDimensions")?.unwrap_or_default(),
            ..Node::default()
        });
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > TEXT_MAX {
            // Values of arrays and pictures may be long; only what is of use must not be.
            if self.open.iter().any(|name| name == "Value") {
                return Ok(());
            }
            return Err(format!("a text is longer than {TEXT_MAX} bytes"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let name = self.open.pop().unwrap_or_default();
        let text = std::mem::take(&mut self.text).trim().to_owned();
        let parent = self.open.last().map_or("", String::as_str);
        match (parent, name.as_str()) {
            ("NamespaceUris", "Uri") => self.model.uris.push(text),
            ("Aliases", "Alias") => {
                self.aliases.insert(std::mem::take(&mut self.alias), text);
            }
            ("References", "Reference") => {
                self.references += 1;
                if self.references > REFERENCES_MAX {
                    return Err(format!("the file has more than {REFERENCES_MAX} references"));
                }
                let (kind, forward) = std::mem::take(&mut self.reference);
                if let Some((_, node)) = &mut self.node {
                    node.references.push((text, kind, forward));
                }
            }
            ("Definition", "Field") => {
                if let (Some(field), Some((_, node))) = (self.field.take(), &mut self.node) {
                    node.fields.push(field);
                }
            }
            (_, "Description") if self.open.len() == 2 => {
                if let Some((_, node)) = &mut self.node
                    && node.description.is_empty()
                {
                    node.description = text;
                }
            }
            _ if !text.is_empty() && self.open.iter().any(|name| name == "Value") => {
                if let Some((_, node)) = &mut self.node
                    && node.value.len() < 4096
                {
                    node.value.push((name, text));
                }
            }
            ("UANodeSet", _) => {
                if let Some((id, node)) = self.node.take() {
                    self.keep(id, node)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, id: String, node: Node) -> Result<(), String> {
        if self.model.order.len() >= NODES_MAX {
            return Err(format!("the file has more than {NODES_MAX} nodes"));
        }
        if !self.model.nodes.contains_key(&id) {
            self.model.order.push(id.clone());
        }
        self.model.nodes.insert(id, node);
        Ok(())
    }
}

fn node(start: &BytesStart<'_>, class: &str, line: usize) -> Result<(String, Node), String> {
    let id = attribute(start, "NodeId")?.unwrap_or_default();
    if id.is_empty() {
        return Err(format!("a {class} has no NodeId"));
    }
    let browse_name = attribute(start, "BrowseName")?.unwrap_or_default();
    let name = match browse_name.split_once(':') {
        Some((index, name)) if index.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => browse_name,
    };
    if name.len() > NAME_MAX {
        return Err(format!("a browse name is longer than {NAME_MAX} bytes"));
    }
    let rank = attribute(start, "ValueRank")?.and_then(|rank| rank.parse().ok()).unwrap_or(-1);
    let node = Node {
        class: class.to_owned(),
        line,
        name,
        // Part 6, F.9: without one it is BaseDataType.
        data_type: attribute(start, "DataType")?.unwrap_or_else(|| "i=24".into()),
        rank,
        dimensions: attribute(start, "ArrayDimensions")?.unwrap_or_default(),
        ..Node::default()
    };
    Ok((id, node))
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = start.try_get_attribute(name).map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(None) };
    let text = found.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
    if text.len() > TEXT_MAX {
        return Err(format!("the attribute {name} is longer than {TEXT_MAX} bytes"));
    }
    Ok(Some(text.trim().to_owned()))
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 1.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}
