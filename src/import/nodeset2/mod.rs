//! `forebay import nodeset2`: variables of an OPC UA information model (NodeSet2 XML).
//!
//! Node ids keep their namespace by URI: the file's own table of URIs becomes `[opcua.namespaces]`.

mod model;
mod tree;
mod types;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use forebay_connector::{DataType, Protocol};

use super::draft::{Draft, DraftTag, number, string, words};
use super::finish::{Target, finish};
use super::names::{self, Paths};
use super::report::{Refusal, Report};
use super::{TagKeys, source, units};
use crate::document::is_name;
use crate::profile::units::UNITS;
use model::{Model, Node};
use tree::{Found, Tree};

/// Options of the import.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is what UaModeler, SiOME, TIA Portal (OPC UA, Export) or a server exports. Objects are named as on
the server, from the folder Objects on:

  forebay import nodeset2 Filler.NodeSet2.xml --select Machines/Filler --out filler.toml
  forebay import nodeset2 PLC.xml --select ServerInterface --endpoint opc.tcp://192.168.30.10:4840 --out plc.toml

Without --select, what there is to choose from is listed. Ends with 1 when a variable was left out.")]
pub struct Nodeset2 {
    /// The exported model (XML).
    pub file: PathBuf,
    /// Browse path of an object whose variables are taken, with all objects below it.
    #[arg(long, value_name = "PATH")]
    pub select: Option<String>,
    /// Where the profile goes.
    #[command(flatten)]
    pub target: Target,
}

/// Runs the import.
///
/// # Errors
/// The file is no model, has nothing under the path, or the profile cannot be written.
pub fn run(options: &Nodeset2, out: &mut impl Write, said: &mut impl Write) -> anyhow::Result<ExitCode> {
    let bytes = source::bytes(&options.file)?;
    let (draft, report) = import(options, &options.file, &bytes)?;
    finish(draft, report, &options.target, out, said)
}

/// Makes the profile of the bytes of a file.
///
/// # Errors
/// The file is no model, or has nothing under the path.
pub fn import(options: &Nodeset2, file: &Path, bytes: &[u8]) -> anyhow::Result<(Draft, Report)> {
    let name = options.target.profile_name(file)?;
    let shown = file.display().to_string();
    let model = model::read(&shown, bytes)?;
    let tree = Tree::of(&model);
    let Some(select) = &options.select else {
        bail!("choose with --select what is to be read; {shown} has: {}", tree.choices().join(", "));
    };
    let Some(start) = tree.find(select) else {
        bail!(
            "{shown} has no object \"{select}\"[I0002]; it has: {}\n    \
             fix: write the path with / from the folder Objects on; types cannot be read, only objects made of them",
            tree.choices().join(", ")
        );
    };
    let mut report = Report::new(shown);
    let found = tree.variables(start, &mut report);
    let stem = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut draft = Draft {
        name,
        protocol: forebay_opcua::OpcUa.name(),
        source: format!("{select} in {stem}"),
        options: vec![
            ("security", string("Basic256Sha256"), "as the server offers it".into()),
            ("mode", string("SignAndEncrypt"), String::new()),
        ],
        scans: vec![("normal".into(), Duration::from_secs(1))],
        defaults: vec![("scan", string("normal"))],
        ..Draft::default()
    };
    let main = names::fit(select.rsplit(['/', ':']).find(|name| !name.is_empty()).unwrap_or("main"));
    let mut making = Making {
        model: &model,
        aliases: Aliases::of(&model),
        paths: Paths::default(),
        enums: Paths::default(),
        draft: &mut draft,
        main,
    };
    for found in found {
        let place = found.path.join(".");
        if let Err(refusal) = making.variable(&found, &place, &mut report) {
            report.not_taken(found.node.line, &place, refusal);
        }
    }
    let used = making.aliases.used();
    draft.namespaces = used;
    Ok((draft, report))
}

/// Short names of the namespaces of a file.
struct Aliases {
    /// Alias and URI by index; index 0 is OPC UA's own and has none.
    by_index: Vec<(String, String)>,
    used: std::collections::BTreeSet<usize>,
}

impl Aliases {
    fn of(model: &Model) -> Self {
        let mut by_index: Vec<(String, String)> = Vec::new();
        for uri in &model.uris {
            let last = uri.trim_end_matches('/').rsplit(['/', ':', '#']).next().unwrap_or("");
            let plain: String = names::fit(last).to_lowercase().chars().filter(|c| *c != '-').collect();
            let begin = if is_name(&plain) { plain } else { format!("ns_{plain}") };
            let mut alias = begin.clone();
            for number in 2.. {
                if by_index.iter().all(|(known, _)| *known != alias) {
                    break;
                }
                alias = format!("{begin}_{number}");
            }
            by_index.push((alias, uri.clone()));
        }
        Self { by_index, used: std::collections::BTreeSet::new() }
    }

    /// The id as profiles write it.
    fn address(&mut self, id: &str) -> Result<String, Refusal> {
        let Some((index, rest)) = id.strip_prefix("ns=").and_then(|rest| rest.split_once(';')) else {
            return Ok(id.to_owned());
        };
        let index: usize = index.parse().unwrap_or(usize::MAX);
        if index == 0 {
            return Ok(rest.to_owned());
        }
        let Some((alias, _)) = self.by_index.get(index - 1) else {
            let what = format!("`{id}`: the file names no namespace with this index");
            return Err(Refusal::new(
                "I0101",
                what,
                "add its URI to <NamespaceUris>, in the order of the server",
            ));
        };
        self.used.insert(index - 1);
        Ok(format!("ns={alias};{rest}"))
    }

    fn used(&self) -> Vec<(String, String)> {
        self.used.iter().filter_map(|index| self.by_index.get(*index).cloned()).collect()
    }
}

struct Making<'a> {
    model: &'a Model,
    aliases: Aliases,
    paths: Paths,
    /// Names of enumerations that are given out.
    enums: Paths,
    draft: &'a mut Draft,
    /// Group of the variables of the selected object itself.
    main: String,
}

impl Making<'_> {
    fn variable(&mut self, found: &Found<'_>, place: &str, report: &mut Report) -> Result<(), Refusal> {
        if self.draft.tags() >= crate::profile::TAGS_MAX {
            return Err(Refusal::new(
                "I0005",
                "a device has at most 20000 tags",
                "select a part of the model",
            ));
        }
        let node = found.node;
        if node.rank == -1 && self.structure(found, place, report)? {
            return Ok(());
        }
        let kind = types::resolve(self.model, node)?;
        let data_type = DataType { array_len: elements(node)?, ..DataType::single(kind.scalar) };
        let address = self.address(found)?;
        let address = forebay_opcua::OpcUa.check_address(&address, data_type)?.canonical;
        let mut keys = TagKeys::new(&address, data_type);
        let numeric = data_type.scalar.is_number();
        if numeric && kind.texts.is_empty() {
            self.unit(found, &mut keys, place, report);
            if let Some(range) = range(found) {
                keys.add("range", range);
            }
        }
        let texts = match found.property("EnumStrings").or(found.property("EnumValues")) {
            Some(property) if kind.texts.is_empty() => types::texts_of(property),
            _ => kind.texts,
        };
        let (group, wanted) = self.group(found);
        let name = self.paths.give(&group, &names::fit(&wanted));
        if !texts.is_empty() && data_type.array_len.is_none() {
            let named = self.enumeration(&group, &name, texts);
            keys.add("enum", string(&named));
        }
        let described = words(&node.description);
        if !described.is_empty() {
            keys.add("desc", string(&described));
        } else if name != wanted {
            keys.add("desc", string(&words(&wanted)));
        }
        if name != wanted {
            report.changed(node.line, place, "I0201", &format!("its path is now `{group}.{name}`"), "");
        }
        if let Some(told) = kind.told {
            report.changed(node.line, place, "I0202", &told, "");
        }
        self.draft.add(&group, DraftTag { name, keys: keys.into_vec() });
        Ok(())
    }

    /// The node as profiles write it.
    fn address(&mut self, found: &Found<'_>) -> Result<String, Refusal> {
        if has_parameter(found.id) {
            let what = format!("its id `{}` has braces, which a profile takes for a parameter", found.id);
            return Err(Refusal::new(
                "I0101",
                what,
                "declare the id as a parameter and write the tag by hand: [params] id = { type = \"text\", default = \"…\" }, address = \"ns=…;s={id}\"",
            ));
        }
        self.aliases.address(found.id)
    }

    /// The group of a variable, and its own name.
    fn group(&self, found: &Found<'_>) -> (String, String) {
        match found.path.split_last() {
            Some((own, [])) => (self.main.clone(), own.clone()),
            Some((own, above)) => (names::fit(&above.join("_")), own.clone()),
            None => ("main".to_owned(), String::new()),
        }
    }

    /// Takes the fields of a structure, each as a tag; false when it is none.
    fn structure(&mut self, found: &Found<'_>, place: &str, report: &mut Report) -> Result<bool, Refusal> {
        let fields = types::fields(self.model, found.node);
        if fields.is_empty() {
            return Ok(false);
        }
        let address = self.address(found)?;
        let (group, own) = self.group(found);
        for (path, member) in fields {
            let address = forebay_opcua::with_field(&address, &path);
            if let Err(refusal) = self.field(member, &address, (&group, &format!("{own}_{path}"))) {
                report.not_taken(member.line, &format!("{place}.{path}"), refusal);
            }
        }
        Ok(true)
    }

    fn field(&mut self, member: &Node, address: &str, (group, wanted): (&str, &str)) -> Result<(), Refusal> {
        if self.draft.tags() >= crate::profile::TAGS_MAX {
            return Err(Refusal::new(
                "I0005",
                "a device has at most 20000 tags",
                "select a part of the model",
            ));
        }
        let kind = types::resolve(self.model, member)?;
        let data_type = DataType { array_len: elements(member)?, ..DataType::single(kind.scalar) };
        let address = forebay_opcua::OpcUa.check_address(address, data_type)?.canonical;
        let mut keys = TagKeys::new(&address, data_type);
        let name = self.paths.give(group, &names::fit(wanted));
        if !kind.texts.is_empty() && data_type.array_len.is_none() {
            let named = self.enumeration(group, &name, kind.texts);
            keys.add("enum", string(&named));
        }
        self.draft.add(group, DraftTag { name, keys: keys.into_vec() });
        Ok(())
    }

    /// The name of the enumeration with these texts; equal ones are shared.
    fn enumeration(&mut self, group: &str, name: &str, texts: BTreeMap<i64, String>) -> String {
        if let Some((known, _)) = self.draft.enums.iter().find(|(_, known)| **known == texts) {
            return known.clone();
        }
        let wanted = names::fit(&format!("{group}_{name}")).to_lowercase();
        let given = self.enums.give("", &wanted);
        self.draft.enums.insert(given.clone(), texts);
        given
    }

    fn unit(&self, found: &Found<'_>, keys: &mut TagKeys, place: &str, report: &mut Report) {
        let Some(property) = found.property("EngineeringUnits") else { return };
        let text = |name: &str| {
            property.value.iter().find(|(element, _)| element == name).map(|(_, text)| text.as_str())
        };
        let id = text("UnitId").and_then(|id| id.parse::<u32>().ok());
        let by_id = UNITS.iter().find(|unit| Some(unit.unit_id()) == id).map(|unit| unit.symbol);
        let written = text("Text").unwrap_or("");
        match by_id.or_else(|| units::find(written)) {
            Some(unit) => keys.add("unit", string(unit)),
            // A model made for many machines says that there is a unit, and the server says which.
            None if written.is_empty() => keys.add("unit", string("server")),
            None => {
                keys.add("unit", string("server"));
                let what = format!(
                    "the unit \"{written}\" is not in the list of units; it is taken from the server"
                );
                report.changed(found.node.line, place, "I0204", &what, "");
            }
        }
    }
}

fn range(found: &Found<'_>) -> Option<String> {
    let property = found.property("EURange")?;
    let bound = |name: &str| {
        let text = property.value.iter().find(|(element, _)| element == name)?;
        text.1.parse::<f64>().ok().filter(|number| number.is_finite() && number.abs() < 1e15)
    };
    let (low, high) = (bound("Low")?, bound("High")?);
    (low < high).then(|| format!("[{}, {}]", number(low), number(high)))
}

/// Elements of an array; `None` for a single value.
fn elements(node: &Node) -> Result<Option<u16>, Refusal> {
    match node.rank {
        -1 => Ok(None),
        1 => {
            let len = node.dimensions.parse::<u16>().ok().filter(|len| *len > 0);
            len.map(Some).ok_or_else(|| {
                let what = "it is an array, and the model does not say how long";
                Refusal::new("I0105", what, "write the tag by hand with its length: type = \"REAL[24]\"")
            })
        }
        rank => {
            let what = format!("its value rank is {rank}: more than one dimension, or anything at all");
            Err(Refusal::new("I0105", what, "read single elements, or a variable of its own"))
        }
    }
}

/// True when `{name}` stands in the id.
fn has_parameter(id: &str) -> bool {
    id.split('{').skip(1).any(|rest| rest.split_once('}').is_some_and(|(name, _)| is_name(name)))
}
