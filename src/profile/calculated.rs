//! Calculated tags: `value = "rate(production.parts) * 60"` instead of an address.
//!
//! They are read line by line with the others, but compiled when all tags are known, in an order
//! in which each comes behind those it uses.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use forebay_connector::{DataType, Scalar};

use super::precision::{self, Precision};
use super::tag::{self, Names};
use super::walk::{Except, Walked};
use crate::device::{Tag, Transform};
use crate::diagnostic::Span;
use crate::document::{Fields, Table, TextValue, nearest};
use crate::formula::{self, Counter, FormulaFault, Input, Kind, NoInput};

/// Keys that go with `value`.
pub const KEYS: [&str; 8] =
    ["value", "unit", "deadband", "compress", "max_silence", "range", "limits", "desc"];

/// Keys of these that a BOOL does not have.
const NUMBER_KEYS: [&str; 5] = ["unit", "deadband", "compress", "range", "limits"];

/// Bytes of memory for all formulas of a device.
const MEMORY_BYTES_MAX: usize = 8 << 20;

/// Names of a circle that are shown.
const CIRCLE_MAX: usize = 8;

/// A line that has been read; its formula is not yet compiled.
pub struct Pending {
    tag: Tag,
    text: TextValue,
    /// The group, as it stands in paths.
    group: String,
    /// Where the name of the tag stands, and how messages call it.
    span: Span,
    subject: String,
    /// The first key that only numbers have.
    number_key: Option<(&'static str, Span)>,
}

/// Reads the line of a calculated tag. `None` when it cannot be used, which has been reported, or
/// when it depends on a parameter without a value.
pub fn read(
    names: &Names<'_>,
    fields: &Fields<'_>,
    path: &str,
    group: &str,
    inherited: [&Table; 2],
) -> Option<Pending> {
    for entry in fields.entries().iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        // What is no key at all has been reported.
        if !tag::KEYS.contains(&entry.key.as_str()) {
            continue;
        }
        let help = match entry.key.as_str() {
            "address" => "a tag is read (address) or calculated (value): remove one of the two".to_owned(),
            "scan" => "remove it: it is calculated whenever a tag it uses has been read".to_owned(),
            "type" => "remove it: a formula gives a number (LREAL) or true and false (BOOL)".to_owned(),
            _ => format!("a calculated tag may have: {}", KEYS.join(", ")),
        };
        fields.refuse("P0121", &entry.key, &format!("`{}` does not go with `value`", entry.key), help);
    }
    let number = DataType::single(Scalar::Lreal);
    let unit = tag::unit(names.protocol, fields, number);
    let range = fields.has("range").then(|| fields.pair("range")).flatten();
    let Precision { deadband, compress } = precision::read(fields, number, range);
    let limits = tag::limits(fields, number);
    let desc = fields.text("desc").map(|text| text.text).unwrap_or_default();
    let silence =
        Fields::any(fields.ctx, &fields.subject, fields.own_table(), fields.span).inheriting(inherited);
    let max_silence = silence.duration("max_silence", tag::MAX_SILENCE).unwrap_or(tag::MAX_SILENCE_DEFAULT);
    let number_key = NUMBER_KEYS.iter().find_map(|key| Some((*key, fields.entry(key)?.key_span)));
    let text = fields.text("value")?;
    let tag = Tag {
        path: path.to_owned(),
        raw: Tag::NO_RAW,
        transform: Transform::None,
        data_type: number,
        unit,
        deadband,
        compress,
        max_silence,
        scan: 0,
        range,
        limits,
        counter: false,
        enumeration: None,
        function_check: false,
        bit: None,
        timezone: None,
        formula: None,
        desc,
        source: fields.ctx.at_line(fields.span),
    };
    let (group, subject) = (group.to_owned(), fields.subject.clone());
    Some(Pending { tag, text, group, span: fields.span, subject, number_key })
}

/// Compiles what was read, and adds it to the tags of the walk.
pub fn resolve(root: &Fields<'_>, pending: Vec<Pending>, except: &Except, walked: &mut Walked) {
    if pending.is_empty() {
        return;
    }
    let mut paths: HashMap<String, Known> = HashMap::new();
    for (index, tag) in walked.tags.iter().enumerate() {
        paths.insert(tag.path.clone(), Known::Tag(index));
    }
    for (index, line) in pending.iter().enumerate() {
        paths.insert(line.tag.path.clone(), Known::Pending(index));
        // Until it is compiled.
        walked.lose(&line.tag.path);
    }
    let mut memory_bytes = 0;
    // A line of a group with `repeat` is said to be wrong once.
    let mut told: HashSet<Span> = HashSet::new();
    for index in order(root, &pending, &paths) {
        let line = &pending[index];
        let unsure = Cell::new(false);
        let find = |name: &str| {
            let found = known(name, line, &paths);
            if !matches!(found, Some((_, Known::Tag(_)))) && may_be(root, name, line, walked) {
                unsure.set(true);
            }
            find(name, line, &paths, walked, except)
        };
        match formula::compile(&line.text.text, &find) {
            // A tag that is there but faulty has been reported: "there is none" would be wrong.
            Err(fault) if fault.code == "P0161" && unsure.get() => {}
            Err(fault) if told.insert(line.text.span) => complain(root, line, fault),
            Err(_) => {}
            Ok(formula) => {
                memory_bytes += formula.memory_bytes();
                if let Some(tag) = finish(root, line, formula, walked) {
                    if memory_bytes > MEMORY_BYTES_MAX {
                        let message = "the formulas of this device look back in too many places";
                        let fault =
                            root.ctx.error("P0131", line.text.span, message).label("this one is too many");
                        root.ctx.report(
                            fault.help("use fewer of rate, change, and min, max and mean over a time"),
                        );
                        return;
                    }
                    paths.insert(tag.path.clone(), Known::Tag(walked.tags.len()));
                    walked.find_again(&tag.path);
                    if !walked.push(root, line.span, tag) {
                        return;
                    }
                }
            }
        }
    }
}

/// True when what `name` stands for in a line may be there but faulty.
fn may_be(root: &Fields<'_>, name: &str, line: &Pending, walked: &Walked) -> bool {
    let lost = |path: &str| walked.may_have(root.ctx, path);
    lost(&format!("{}.{name}", line.group)) || (name.contains('.') && lost(name))
}

/// What has a path.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// Index into the tags of the walk.
    Tag(usize),
    /// Index into the lines that are not compiled yet.
    Pending(usize),
}

/// What `name` stands for in a line: a tag of its own group, or a whole path.
fn known<'p>(name: &str, line: &Pending, paths: &'p HashMap<String, Known>) -> Option<(&'p str, Known)> {
    let in_group = format!("{}.{name}", line.group);
    let found = match name.contains('.') {
        true => paths.get_key_value(name).or_else(|| paths.get_key_value(&in_group)),
        false => paths.get_key_value(&in_group),
    };
    found.map(|(path, known)| (path.as_str(), *known))
}

fn find(
    name: &str,
    line: &Pending,
    paths: &HashMap<String, Known>,
    walked: &Walked,
    except: &Except,
) -> Result<Input, NoInput> {
    let Some((_, Known::Tag(index))) = known(name, line, paths) else {
        return Err(missing(name, line, paths, except));
    };
    let tag = &walked.tags[index];
    let refused = |what: String, help: &str| NoInput { message: what, help: help.to_owned() };
    if tag.data_type.array_len.is_some() {
        let help = "read the element that is meant as a tag of its own";
        return Err(refused(format!("`{}` is a list, {}", tag.path, tag.data_type), help));
    }
    let kind = match tag.data_type.scalar {
        Scalar::Bool => Kind::Bool,
        scalar if scalar.is_number() => Kind::Number,
        _ => {
            let help = "formulas are of numbers and of true and false";
            return Err(refused(format!("`{}` is a {}, no number", tag.path, tag.data_type), help));
        }
    };
    let raw = walked.raws.get(tag.raw as usize).filter(|_| tag.counter);
    let counter = raw.map(|raw| Counter::new(raw.data_type, tag.transform));
    Ok(Input { tag: u32::try_from(index).unwrap_or(u32::MAX), kind, counter })
}

fn missing(name: &str, line: &Pending, paths: &HashMap<String, Known>, except: &Except) -> NoInput {
    let path = if name.contains('.') { name.to_owned() } else { format!("{}.{name}", line.group) };
    if except.takes(&path) {
        return NoInput {
            message: format!("`except` of the device leaves out tag `{path}`"),
            help: format!("leave out `{}` as well, or take `{path}` out of `except`", line.tag.path),
        };
    }
    let mut known: Vec<&str> = paths.keys().map(String::as_str).collect();
    known.sort_unstable();
    let in_group = |path: &&str| path.rsplit_once('.').is_some_and(|(_, last)| last == name);
    let dashed = name.split('-').map(str::trim).collect::<Vec<_>>();
    let help = if let Some(near) = nearest(&path, known.iter().copied()) {
        format!("did you mean {near}?")
    } else if dashed.len() > 1 && dashed.iter().all(|part| !part.is_empty()) {
        format!("a minus has a space on both sides: {}", dashed.join(" - "))
    } else if let Some(other) = known.iter().find(|path| in_group(path)) {
        format!("a tag of another group is written with its group: {other}")
    } else {
        "write the name of a tag of this group, or group and name: hydraulics.pressure".to_owned()
    };
    NoInput { message: format!("there is no tag `{path}`"), help }
}

/// The lines in an order in which each comes behind those it uses; circles are reported.
fn order(root: &Fields<'_>, pending: &[Pending], paths: &HashMap<String, Known>) -> Vec<usize> {
    let uses = |line: &Pending| -> Vec<usize> {
        let names = formula::names(&line.text.text);
        let known = names.into_iter().filter_map(|(name, _)| known(name, line, paths));
        known.filter_map(|(_, known)| if let Known::Pending(at) = known { Some(at) } else { None }).collect()
    };
    let mut waits: Vec<usize> = vec![0; pending.len()];
    let mut used_by: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, line) in pending.iter().enumerate() {
        let uses = uses(line);
        waits[index] = uses.len();
        uses.into_iter().for_each(|used| used_by.entry(used).or_default().push(index));
    }
    let mut ready: VecDeque<usize> = (0..pending.len()).filter(|index| waits[*index] == 0).collect();
    let mut order = Vec::new();
    while let Some(index) = ready.pop_front() {
        order.push(index);
        for user in used_by.get(&index).into_iter().flatten() {
            waits[*user] -= 1;
            if waits[*user] == 0 {
                ready.push_back(*user);
            }
        }
    }
    // What is left is in a circle or behind one; from anywhere in it a circle is reached.
    if let Some(first) = (0..pending.len()).find(|index| waits[*index] > 0) {
        let mut way = vec![first];
        while let Some(next) = uses(&pending[way[way.len() - 1]]).into_iter().find(|used| waits[*used] > 0) {
            way.push(next);
            if let Some(start) = way.iter().position(|index| *index == next).filter(|at| at + 1 < way.len()) {
                report_circle(root, pending, &way[start..]);
                break;
            }
        }
    }
    order
}

fn report_circle(root: &Fields<'_>, pending: &[Pending], circle: &[usize]) {
    let line = &pending[circle[0]];
    let mut way: Vec<&str> =
        circle.iter().take(CIRCLE_MAX).map(|index| pending[*index].tag.path.as_str()).collect();
    if way.len() < circle.len() {
        way.push("…");
    }
    let message = format!("{} is calculated from itself: {}", line.subject, way.join(" from "));
    let fault = root.ctx.error("P0163", line.text.span, message);
    root.ctx.report(fault.help("one of these must be calculated from tags that are read"));
}

fn complain(root: &Fields<'_>, line: &Pending, fault: FormulaFault) {
    let span = root.within(&line.text, fault.span);
    let found = root.ctx.error(fault.code, span, format!("{}: {}", line.subject, fault.message));
    root.ctx.report(found.label(fault.label).help(line.text.restore(&fault.help)));
}

/// The tag with its formula.
fn finish(root: &Fields<'_>, line: &Pending, formula: formula::Formula, walked: &Walked) -> Option<Tag> {
    let scans = formula.inputs.iter().filter_map(|tag| Some(walked.tags.get(*tag as usize)?.scan));
    let Some(scan) = scans.min_by_key(|scan| walked.scans.get(*scan).map(|class| class.interval)) else {
        let message = format!("{}: the formula uses no tag", line.subject);
        let fault = root.ctx.error("P0160", line.text.span, message);
        root.ctx.report(fault.help("it is calculated when a tag it uses has been read: name one"));
        return None;
    };
    if let (Kind::Bool, Some((key, span))) = (formula.kind, line.number_key) {
        let message = format!("{}: `{key}` makes no sense for BOOL", line.subject);
        let fault =
            root.ctx.error("P0121", span, message).also(root.ctx.place(line.text.span), "true or false");
        root.ctx.report(fault.help(format!("`{key}` is for numbers: remove it, or correct the formula")));
        return None;
    }
    let scalar = if formula.kind == Kind::Bool { Scalar::Bool } else { Scalar::Lreal };
    let data_type = DataType::single(scalar);
    Some(Tag { data_type, scan, formula: Some(Arc::new(formula)), ..line.tag.clone() })
}
