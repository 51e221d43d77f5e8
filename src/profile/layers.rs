//! Layers: a profile that `extends` another, and what a `[[device]]` changes for itself.
//!
//! The tables are laid over each other before anything is read, key by key, so that a layer says
//! only what differs. Every key keeps the place where it stands; [`Layer`] tells the files apart.

use std::borrow::Cow;

use super::calculated;
use super::load::Input;
use super::tag;
use crate::diagnostic::Span;
use crate::document::{Content, Context, Entry, Fields, Layer, Node, Table, nearest};

/// Most profiles on top of each other.
const LAYERS_MAX: usize = 8;

/// Tables of a profile that are its own: they are not taken over by one that extends it.
const OWN: [&str; 2] = ["forebay", "device"];

/// Keys of `[profile]` that are its own.
const OWN_HEADER: [&str; 3] = ["name", "version", "extends"];

/// A profile with everything it extends.
pub struct Stacked<'a> {
    /// The walk over it.
    pub ctx: Context<'a>,
    /// All its tables.
    pub table: Cow<'a, Table>,
    /// False when a file it extends had syntax faults.
    pub syntax: bool,
}

/// Lays `[profile] extends` out for input number `index`. `None` when the profile it extends cannot
/// be found, which is reported.
pub fn stack<'a>(index: usize, inputs: &'a [Input], contexts: &[Option<Context<'a>>]) -> Option<Stacked<'a>> {
    let ctx = contexts.get(index)?.as_ref()?;
    let own = &inputs[index].table;
    let mut stacked =
        Stacked { ctx: ctx.with_layers([]), table: Cow::Borrowed(own), syntax: inputs[index].syntax };
    let mut bases: Option<Table> = None;
    let mut chain = vec![index];
    while let Some((name, span)) = header(&inputs[chain[chain.len() - 1]].table, "extends") {
        let of = contexts.get(chain[chain.len() - 1])?.as_ref()?;
        let base = find(of, name, span, &chain, inputs)?;
        chain.push(base);
        let (input, ctx) = (&inputs[base], contexts.get(base)?.as_ref()?);
        stacked.syntax &= input.syntax;
        let start = stacked.ctx.free();
        let layer = Layer { start, file: ctx.file, source: ctx.source, of_device: false };
        stacked.ctx = stacked.ctx.with_layers([layer]);
        let base = inheritable(input.table.moved(start));
        bases = Some(match bases {
            None => base,
            Some(above) => merge(base, above, Level::Root),
        });
    }
    if let Some(bases) = bases {
        let own = without_strays(&stacked.ctx, own.clone(), &bases);
        stacked.table = Cow::Owned(merge(bases, own, Level::Root));
    }
    Some(stacked)
}

/// The profile `name`, which the last of `chain` extends.
fn find(ctx: &Context<'_>, name: &str, span: Span, chain: &[usize], inputs: &[Input]) -> Option<usize> {
    let named = |index: &usize| header(&inputs[*index].table, "name").is_some_and(|(found, _)| found == name);
    let last = chain[chain.len() - 1];
    let all = || (0..inputs.len()).filter(|index| *index != last).filter(named);
    // A file of the site replaces the built-in one; it may still extend it under the same name.
    let found = all().find(|index| !inputs[*index].builtin).or_else(|| all().next());
    let of_itself = found.is_none() && named(&last);
    let circle = of_itself || found.is_some_and(|found| chain.contains(&found));
    if circle || chain.len() > LAYERS_MAX {
        let message = match circle {
            true if chain.len() == 1 => "the profile extends itself".to_owned(),
            true => format!("the profile extends itself by way of \"{name}\""),
            false => format!("more than {LAYERS_MAX} profiles extend each other"),
        };
        let fault = ctx.error("P0147", span, message);
        ctx.report(fault.help("one of them must stand alone: remove its `extends`"));
        return None;
    }
    if found.is_none() {
        let known: Vec<&str> = inputs.iter().filter_map(|it| Some(header(&it.table, "name")?.0)).collect();
        let own = header(&inputs[last].table, "name").map_or("", |(own, _)| own);
        let mut known: Vec<&str> = known.into_iter().filter(|it| *it != own).collect();
        known.sort_unstable();
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("profiles are: {}", known.join(", ")),
        };
        let fault = ctx.error("P0114", span, format!("[profile]: there is no profile \"{name}\" to extend"));
        ctx.report(fault.help(help));
    }
    found
}

/// A text of `[profile]` as it stands there.
fn header<'t>(table: &'t Table, key: &str) -> Option<(&'t str, Span)> {
    let Content::Table(header) = &table.get("profile")?.node.content else { return None };
    let node = &header.get(key)?.node;
    match &node.content {
        Content::Text(text) => Some((text, node.span)),
        _ => None,
    }
}

/// What another profile takes over from this one.
fn inheritable(mut table: Table) -> Table {
    table.entries.retain(|entry| !OWN.contains(&entry.key.as_str()));
    for entry in table.entries.iter_mut().filter(|entry| entry.key == "profile") {
        if let Content::Table(header) = &mut entry.node.content {
            header.entries.retain(|entry| !OWN_HEADER.contains(&entry.key.as_str()));
        }
    }
    table
}

/// What a `[[device]]` changes, laid over its profile: the tables and the walk over them. `None`
/// when it changes nothing.
pub fn of_device<'a>(
    device: &Fields<'_>,
    profile: &Table,
    protocol: &str,
    ctx: &Context<'a>,
    source: &'a crate::diagnostic::Source,
) -> Option<(Table, Context<'a>)> {
    let mut over = Table::default();
    for entry in device.entries() {
        let key = entry.key.as_str();
        if key == "tags" || key == "scan" || key == protocol {
            device.as_table(entry)?;
            over.entries.push(entry.clone());
        } else if crate::connectors::by_name(key).is_some() {
            let message = format!("the profile is read by {protocol}, not by {key}");
            let fault = device.ctx.error("P0102", entry.key_span, format!("{}: {message}", device.subject));
            device.ctx.report(fault.help(format!("write [device.{protocol}], or remove it")));
        }
    }
    if over.entries.is_empty() {
        return None;
    }
    let start = ctx.free();
    let ctx = ctx.with_layers([Layer { start, file: device.ctx.file, source, of_device: true }]);
    let over = without_strays(&ctx, over.moved(start), profile);
    Some((merge(profile.clone(), over, Level::Root), ctx))
}

/// Leaves out lines that change a tag which is not there; that is reported.
fn without_strays(ctx: &Context<'_>, mut over: Table, base: &Table) -> Table {
    let Some(Entry { node: Node { content: Content::Table(groups), .. }, .. }) =
        over.entries.iter_mut().find(|entry| entry.key == "tags")
    else {
        return over;
    };
    for group in &mut groups.entries {
        let Content::Table(lines) = &mut group.node.content else { continue };
        // "station.3" changes the third of a group with `repeat`.
        let name = group.key.split_once('.').map_or(group.key.as_str(), |(name, _)| name);
        let groups = table_of(base, "tags");
        let known = groups.and_then(|tags| table_of(tags, name));
        if known.is_none() && name != group.key {
            // The group is reported where it is used.
            continue;
        }
        let near =
            groups.and_then(|groups| nearest(name, groups.entries.iter().map(|entry| entry.key.as_str())));
        let names = || known.iter().flat_map(|known| known.entries.iter()).map(|entry| entry.key.as_str());
        let path = group.key.clone();
        lines.entries.retain(|line| {
            let Content::Table(keys) = &line.node.content else { return true };
            let new = keys.get("address").is_some() || keys.get("value").is_some();
            let reserved = matches!(line.key.as_str(), "defaults" | "repeat");
            if new || reserved || names().any(|name| name == line.key) {
                return true;
            }
            let message = format!("there is no tag `{path}.{}` that could be changed", line.key);
            let help = match (nearest(&line.key, names()), near) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(near)) if known.is_none() => format!("did you mean the group `{near}`?"),
                _ => "name a tag of the profile, or give the new one its `address`".to_owned(),
            };
            if !ctx.may_be_lost(&line.key) {
                ctx.report(ctx.error("P0146", line.key_span, message).help(help));
            }
            false
        });
    }
    over
}

fn table_of<'t>(table: &'t Table, key: &str) -> Option<&'t Table> {
    match &table.get(key)?.node.content {
        Content::Table(table) => Some(table),
        _ => None,
    }
}

/// What a table is, so that it is known what its keys are.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Tags,
    Group,
    Line,
    Values,
}

impl Level {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Root, "tags") => Self::Tags,
            (Self::Tags, _) => Self::Group,
            (Self::Root, "defaults") => Self::Line,
            (Self::Group, key) if key != "repeat" => Self::Line,
            _ => Self::Values,
        }
    }
}

/// One line of a tag laid over another.
pub fn line(base: &Table, over: &Table) -> Table {
    merge(base.clone(), over.clone(), Level::Line)
}

/// `over` laid over `base`, key by key.
fn merge(mut base: Table, over: Table, level: Level) -> Table {
    if level == Level::Line {
        base.entries.retain(|entry| !is_displaced(&entry.key, &over));
    }
    for entry in over.entries {
        let below = level.below(&entry.key);
        let Some(found) = base.entries.iter_mut().find(|found| found.key == entry.key) else {
            base.entries.push(entry);
            continue;
        };
        match (&mut found.node.content, entry.node.content) {
            (Content::Table(under), Content::Table(over)) => {
                *under = merge(std::mem::take(under), over, below);
                // What is missing in it is missing in the upper one.
                if level == Level::Root {
                    (found.key_span, found.node.span) = (entry.key_span, entry.node.span);
                }
            }
            // Further checks do not replace those of the profile.
            (Content::Array(under), Content::Array(over))
                if level == Level::Root && entry.key == "verify" =>
            {
                under.extend(over);
            }
            (_, content) => *found = Entry { node: Node { content, ..entry.node }, ..entry },
        }
    }
    base
}

/// True for a key that says the same in another way than one of `over`.
fn is_displaced(key: &str, over: &Table) -> bool {
    let has = |key: &str| over.get(key).is_some();
    match key {
        "scale" | "offset" => has("raw") || has("eng"),
        "raw" | "eng" | "clamp" => has("scale") || has("offset"),
        "deadband" => has("compress"),
        "compress" => has("deadband"),
        "value" => has("address"),
        key => has("value") && tag::KEYS.contains(&key) && !calculated::KEYS.contains(&key),
    }
}
