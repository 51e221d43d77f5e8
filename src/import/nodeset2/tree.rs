//! Objects and variables as a server shows them below the folder Objects.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::model::{Model, Node};
use crate::import::report::{Refusal, Report};

/// Deepest path below the selected object.
const DEPTH_MAX: usize = 16;

/// Most variables that are looked at: as many as a device may have.
const VARIABLES_MAX: usize = crate::profile::TAGS_MAX;

/// References that lead to what is part of a node: HasComponent, Organizes, HasProperty,
/// HasOrderedComponent, HasAddIn.
const PARTS: [(&str, &str); 5] = [
    ("i=47", "HasComponent"),
    ("i=35", "Organizes"),
    ("i=46", "HasProperty"),
    ("i=49", "HasOrderedComponent"),
    ("i=17604", "HasAddIn"),
];

/// Properties that say something about their variable and are no values of the machine.
const ABOUT: [&str; 14] = [
    "EngineeringUnits",
    "EURange",
    "InstrumentRange",
    "EnumStrings",
    "EnumValues",
    "ValueAsText",
    "ValuePrecision",
    "Definition",
    "TrueState",
    "FalseState",
    "InputArguments",
    "OutputArguments",
    "NodeVersion",
    "Icon",
];

/// Choices named in a message.
const CHOICES_MAX: usize = 30;

/// A variable below the selected object.
pub struct Found<'a> {
    /// Id as the file writes it.
    pub id: &'a str,
    /// The node.
    pub node: &'a Node,
    /// Names from below the selected object to the variable.
    pub path: Vec<String>,
    properties: Vec<&'a Node>,
}

impl<'a> Found<'a> {
    /// A property of it.
    pub fn property(&self, name: &str) -> Option<&'a Node> {
        self.properties.iter().find(|node| node.name == name).copied()
    }
}

/// The way to a node from below the selected object; shared by all that lies below it.
struct Way<'a> {
    above: Option<Rc<Way<'a>>>,
    name: &'a str,
    depth: usize,
}

impl Way<'_> {
    fn names(&self) -> Vec<String> {
        let mut names = self.above.as_ref().map_or(Vec::new(), |above| above.names());
        names.push(self.name.to_owned());
        names
    }
}

/// The nodes and what they consist of.
pub struct Tree<'a> {
    model: &'a Model,
    /// Parts of a node in the order of the file.
    parts: BTreeMap<&'a str, Vec<&'a str>>,
    /// Objects that are part of none in the file.
    tops: Vec<&'a str>,
}

impl<'a> Tree<'a> {
    /// Builds the tree of both directions of references.
    pub fn of(model: &'a Model) -> Self {
        let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut has_whole = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for id in &model.order {
            let Some(node) = model.nodes.get(id) else { continue };
            for (target, kind, forward) in &node.references {
                if !PARTS.iter().any(|(id, name)| kind == id || kind == name) {
                    continue;
                }
                let (whole, part) =
                    if *forward { (id.as_str(), target.as_str()) } else { (target.as_str(), id.as_str()) };
                if model.nodes.contains_key(part) && seen.insert((whole, part)) {
                    parts.entry(whole).or_default().push(part);
                    if model.nodes.contains_key(whole) {
                        has_whole.insert(part);
                    }
                }
            }
        }
        let is_top = |id: &&str| {
            let class = model.nodes.get(*id).map_or("", |node| &node.class);
            matches!(class, "UAObject" | "UAVariable") && !has_whole.contains(*id)
        };
        let tops = model.order.iter().map(String::as_str).filter(is_top).collect();
        Self { model, parts, tops }
    }

    fn name(&self, id: &str) -> &'a str {
        self.model.nodes.get(id).map_or("", |node| &node.name)
    }

    fn parts_of(&self, id: &str) -> &[&'a str] {
        self.parts.get(id).map_or(&[], Vec::as_slice)
    }

    /// The object at a path of browse names, from the folder Objects or from a top of the file on.
    pub fn find(&self, path: &str) -> Option<&'a str> {
        let mut names = path.split('/').map(str::trim).filter(|name| !name.is_empty()).peekable();
        while names.next_if(|name| matches!(*name, "Root" | "Objects")).is_some() {}
        // A namespace index before a name is not needed: `1:Filler`.
        let plain = |name: &str| match name.split_once(':') {
            Some((index, rest)) if index.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
            _ => name.to_owned(),
        };
        let first = plain(names.next()?);
        let mut at = self.tops.iter().copied().find(|id| self.name(id) == first)?;
        for name in names {
            let name = plain(name);
            at = self.parts_of(at).iter().copied().find(|id| self.name(id) == name)?;
        }
        Some(at)
    }

    /// What can be selected: the tops of the file and what they consist of.
    pub fn choices(&self) -> Vec<String> {
        let mut choices = Vec::new();
        for top in &self.tops {
            choices.push(self.name(top).to_owned());
            let objects = self
                .parts_of(top)
                .iter()
                .filter(|id| self.model.nodes.get(**id).is_some_and(|node| node.class == "UAObject"));
            choices.extend(objects.map(|id| format!("{}/{}", self.name(top), self.name(id))));
        }
        if choices.is_empty() {
            choices.push("types only, and no object made of them".to_owned());
        }
        if choices.len() > CHOICES_MAX {
            choices.truncate(CHOICES_MAX);
            choices.push("…".to_owned());
        }
        choices
    }

    /// All variables below a node; methods and what is too deep is reported.
    pub fn variables(&self, start: &'a str, report: &mut Report) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([start]);
        if self.model.nodes.get(start).is_some_and(|node| node.class == "UAVariable") {
            self.add(start, vec![self.name(start).to_owned()], &mut found);
        }
        // Depth first, in the order of the file.
        let mut open: Vec<(&'a str, Option<Rc<Way<'a>>>)> = vec![(start, None)];
        while let Some((id, above)) = open.pop() {
            let mut below = Vec::new();
            for part in self.parts_of(id) {
                let Some(node) = self.model.nodes.get(*part) else { continue };
                let about = ABOUT.contains(&node.name.as_str()) && node.class == "UAVariable";
                if about || !seen.insert(part) {
                    continue;
                }
                let depth = above.as_ref().map_or(1, |above| above.depth + 1);
                let way = Rc::new(Way { above: above.clone(), name: &node.name, depth });
                if depth > DEPTH_MAX {
                    let what = format!("it lies more than {DEPTH_MAX} levels deep");
                    let refusal = Refusal::new("I0005", what, "select an object nearer to it");
                    report.not_taken(node.line, &node.name, refusal);
                    continue;
                }
                if found.len() >= VARIABLES_MAX {
                    let what = format!("it and all that follows lies behind {VARIABLES_MAX} other variables");
                    let refusal = Refusal::new("I0005", what, "select a part of the model");
                    report.not_taken(node.line, &node.name, refusal);
                    return found;
                }
                match node.class.as_str() {
                    "UAVariable" => self.add(part, way.names(), &mut found),
                    "UAMethod" => {
                        let what = "it is a method, which is called and not read";
                        let refusal = Refusal::new("I0105", what, "nothing is to be done");
                        report.not_taken(node.line, &way.names().join("."), refusal);
                        continue;
                    }
                    _ => {}
                }
                below.push((*part, Some(way)));
            }
            open.extend(below.into_iter().rev());
        }
        found
    }

    fn add(&self, id: &str, path: Vec<String>, found: &mut Vec<Found<'a>>) {
        let Some((id, node)) = self.model.nodes.get_key_value(id) else { return };
        let properties = self.parts_of(id).iter().filter_map(|part| self.model.nodes.get(*part)).collect();
        found.push(Found { id, node, path, properties });
    }
}
