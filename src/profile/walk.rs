//! One walk over a profile with one set of parameters: scan classes, groups, tags, checks.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use forebay_connector::{OptionValue, Protocol, ScanClass, TagSpec};

use super::calculated::{self, Pending};
use super::layers;
use super::overlap::{self, Placed};
use super::tag::{self, Names, ReadTag};
use super::{check_name, options, texts, verify};
use crate::device::{Tag, Verify};
use crate::diagnostic::Span;
use crate::document::{Content, Context, EMPTY, Entry, Fields, Param, Params, Table, is_name, nearest};

/// Most published tags of one device.
pub const TAGS_MAX: usize = 20_000;

/// Most scan classes of one profile.
const SCANS_MAX: usize = 16;

/// Keys of `repeat`.
pub const REPEAT_KEYS: [&str; 4] = ["as", "from", "to", "stride"];

/// Bounds of a scan interval.
const SCAN: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

/// What a walk found.
#[derive(Default)]
pub struct Walked {
    /// Options of the protocol.
    pub options: BTreeMap<String, OptionValue>,
    /// False when they have faults.
    pub sound_options: bool,
    /// Scan classes.
    pub scans: Vec<ScanClass>,
    /// Raw tags.
    pub raws: Vec<TagSpec>,
    /// Published tags.
    pub tags: Vec<Tag>,
    /// Checks.
    pub verify: Vec<Verify>,
    /// Place of an address → tag that reads it first.
    places: HashMap<String, (String, Span)>,
    /// What each tag reads, where the protocol can tell.
    extents: Vec<Placed>,
    /// A whole group is missing because of a fault: what is not found may be in it.
    pub incomplete: bool,
    /// Something above the tags is wrong: what is not found may have been meant by it.
    unsure: bool,
    /// Paths of tags, and of groups, that are there but faulty.
    lost: HashSet<String>,
    /// Tags looked at, faulty ones included.
    pub read: usize,
    /// Calculated tags, until all others are known.
    calculated: Vec<Pending>,
    full: bool,
}

impl Walked {
    /// Leaves out scan classes in which nothing is read.
    pub fn drop_unused_scans(&mut self) {
        let mut kept = Vec::new();
        let mut moved = vec![0; self.scans.len()];
        for (index, class) in std::mem::take(&mut self.scans).into_iter().enumerate() {
            moved[index] = kept.len();
            if self.raws.iter().any(|raw| raw.scan == index) {
                kept.push(class);
            }
        }
        self.scans = kept;
        self.raws.iter_mut().for_each(|raw| raw.scan = moved[raw.scan]);
        self.tags.iter_mut().for_each(|tag| tag.scan = moved[tag.scan]);
    }

    /// True when `count` more tags are possible; else that is reported at `span`.
    fn has_room(&mut self, fields: &Fields<'_>, span: Span, count: usize) -> bool {
        if self.tags.len() + count <= TAGS_MAX {
            return true;
        }
        let message = format!("the device has more than {TAGS_MAX} tags");
        let fault = fields.ctx.error("P0131", span, message).label("this one is too many");
        fields.ctx.report(fault.help("split it into two profiles, or make `repeat` smaller"));
        self.full = true;
        false
    }

    /// Remembers that `path` is there but faulty.
    pub fn lose(&mut self, path: impl Into<String>) {
        self.lost.insert(path.into());
    }

    /// `path` was faulty so far and no longer is.
    pub fn find_again(&mut self, path: &str) {
        self.lost.remove(path);
    }

    /// True when it would be wrong to say that there is no tag `path`: it is there but faulty, or a
    /// fault elsewhere keeps it from being found.
    pub fn may_have(&self, ctx: &Context<'_>, path: &str) -> bool {
        let lost = || path.match_indices('.').any(|(at, _)| self.lost.contains(&path[..at]));
        // A bit of a word whose [bits.*] may be what is wrong.
        let bit = || {
            ctx.failed()
                && path.rsplit_once('.').is_some_and(|(word, _)| self.tags.iter().any(|it| it.path == word))
        };
        let unsure = self.unsure || self.incomplete || self.full || ctx.is_open() || ctx.may_be_lost(path);
        unsure || self.lost.contains(path) || lost() || bit()
    }

    /// Adds a calculated tag whose name stands at `span`. False when there is no room.
    pub fn push(&mut self, root: &Fields<'_>, span: Span, tag: Tag) -> bool {
        let room = self.has_room(root, span, 1);
        if room {
            self.tags.push(tag);
        }
        room
    }
}

/// Patterns of `except`, and whether each has matched.
#[derive(Default)]
pub struct Except(pub Vec<(String, Span, Cell<bool>)>);

impl Except {
    /// True when a pattern matches the path; `*` stands for anything.
    pub fn takes(&self, path: &str) -> bool {
        let mut taken = false;
        for (pattern, _, used) in &self.0 {
            if matches(pattern, path) {
                used.set(true);
                taken = true;
            }
        }
        taken
    }
}

/// Wildcard match with `*`, in time proportional to the product of the lengths.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    let (mut p, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while s < path.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, s));
                p += 1;
            }
            Some(byte) if *byte == path[s] => {
                p += 1;
                s += 1;
            }
            _ => match star {
                // Let the last star take one byte more.
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    s = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Walks the profile `root`, reporting into its context. `sound` is false when there are faults above
/// its tags, so that not all that was meant may be in it.
pub fn walk(root: &Fields<'_>, protocol: &dyn Protocol, except: &Except, sound: bool) -> Walked {
    let mut walked = Walked { unsure: !sound, ..Walked::default() };
    let options = options::read(root, protocol);
    let sound_options = !root.ctx.failed();
    let defaults =
        root.table("defaults", "[defaults]", &tag::DEFAULT_KEYS).and(plain_table(root, "defaults"));
    let names = Names {
        protocol,
        scans: scans(root),
        faulty: faulty(root),
        options: sound_options.then_some(&options),
        enumerations: texts::enumerations(root),
        bits: texts::bit_fields(root),
        defaults: defaults.unwrap_or(&EMPTY),
        params: plain_table(root, "params"),
    };
    match plain_table(root, "tags") {
        Some(groups) if !groups.entries.is_empty() => {
            for entry in &groups.entries {
                group(root, &names, entry, except, &mut walked);
            }
        }
        // What was in a file that cannot be read whole is not known.
        _ if root.ctx.may_be_lost("tags") => {}
        None if root.has("tags") || is_misspelt(root, "tags") => walked.incomplete = true,
        _ => {
            let fault = root.ctx.error("P0101", root.span, "the profile has no tags");
            root.ctx.report(fault.help("write [tags.<group>] and under it one line per tag"));
        }
    }
    overlap::warn(root.ctx, std::mem::take(&mut walked.extents));
    walked.scans = names.scans.clone();
    let calculated = std::mem::take(&mut walked.calculated);
    calculated::resolve(root, calculated, except, &mut walked);
    verify::read(root, &names, except, &mut walked);
    (walked.options, walked.sound_options) = (options, sound_options);
    walked
}

/// A table that was checked elsewhere, or is none.
fn plain_table<'a>(root: &Fields<'a>, key: &str) -> Option<&'a Table> {
    root.entry(key).and_then(|entry| root.as_table(entry))
}

fn scans(root: &Fields<'_>) -> Vec<ScanClass> {
    let Some(entry) = root.entry("scan") else { return Vec::new() };
    let Some(table) = root.as_table(entry) else { return Vec::new() };
    let fields = Fields::any(root.ctx, "[scan]", table, entry.node.span);
    if table.entries.len() > SCANS_MAX {
        let message = format!("[scan] has {} classes, at most {SCANS_MAX} are possible", table.entries.len());
        root.ctx.report(root.ctx.error("P0131", entry.key_span, message));
    }
    let classes = table.entries.iter().take(SCANS_MAX).filter_map(|entry| {
        check_name(&fields, "the name of a scan class", &entry.key, entry.key_span);
        Some(ScanClass { name: entry.key.clone(), interval: fields.duration(&entry.key, SCAN)? })
    });
    classes.collect()
}

/// What is declared under `[scan]`, `[enum]` and `[bits]` but cannot be used.
fn faulty(root: &Fields<'_>) -> BTreeSet<(&'static str, String)> {
    let mut faulty = BTreeSet::new();
    for kind in ["scan", "enum", "bits"] {
        match root.entry(kind).map(|entry| &entry.node.content) {
            None if !is_misspelt(root, kind) => {}
            Some(Content::Table(table)) => {
                let usable =
                    |entry: &&Entry| kind != "scan" && matches!(entry.node.content, Content::Table(_));
                let unusable = table.entries.iter().filter(|entry| !usable(entry));
                faulty.extend(unusable.map(|entry| (kind, entry.key.clone())));
            }
            _ => {
                faulty.insert((kind, "*".to_owned()));
            }
        }
    }
    faulty
}

/// True when a table has almost this name: it is reported as an unknown key.
fn is_misspelt(root: &Fields<'_>, kind: &str) -> bool {
    root.entries().iter().any(|entry| nearest(&entry.key, [kind]).is_some())
}

/// `repeat = { as, from, to, stride }`.
struct Repeat {
    name: String,
    from: u32,
    to: u32,
    stride: u32,
}

/// One group, or one of those that `repeat` makes of it.
struct Group<'g> {
    /// As it stands in paths: `hydraulics`, `station.3`.
    path: String,
    /// How far its addresses are moved on.
    shift: u32,
    /// The name of its number where `stride` moves the addresses: they must not have it too.
    counter: Option<&'g str>,
    /// `defaults` of the group.
    shared: &'g Table,
    /// What `[tags."station.3"]` changes.
    changes: Option<&'g Table>,
}

fn group(root: &Fields<'_>, names: &Names<'_>, entry: &Entry, except: &Except, walked: &mut Walked) {
    let subject = format!("[tags.{}]", entry.key);
    let Some(table) = root.as_table(entry) else {
        walked.lose(&entry.key);
        return;
    };
    let fields = Fields::any(root.ctx, &subject, table, entry.key_span);
    if let Some((repeated, number)) = entry.key.split_once('.') {
        check_changes(root, entry, repeated, number);
        if root.ctx.failed() {
            walked.lose(&entry.key);
        }
        return;
    }
    check_name(&fields, "a group's name", &entry.key, entry.key_span);
    let own = ["address", "value"].iter().find_map(|key| table.get(key));
    if let Some(address) = own.filter(|it| !matches!(it.node.content, Content::Table(_))) {
        let message = format!("tag `{}` stands in no group", entry.key);
        let fault = root.ctx.error("P0103", address.key_span, message);
        root.ctx.report(fault.help(format!("write it under [tags.<group>] as {} = {{ … }}", entry.key)));
        walked.incomplete = true;
        return;
    }
    let shared = fields.table("defaults", format!("`defaults` of {subject}"), &tag::DEFAULT_KEYS);
    let shared = shared.and(plain_table(&fields, "defaults")).unwrap_or(&EMPTY);
    let plain = Group { path: entry.key.clone(), shift: 0, counter: None, shared, changes: None };
    match (fields.has("repeat"), repeat(&fields)) {
        (false, _) => one_group(&fields, names, &plain, except, walked),
        (true, None) => walked.incomplete = true,
        (true, Some(repeat)) => {
            for number in repeat.from..=repeat.to {
                let mut params = root.ctx.params().cloned().unwrap_or_else(Params::new);
                params.insert(repeat.name.clone(), Param::Int(i64::from(number)));
                let ctx = root.ctx.with_params(&params);
                let path = format!("{}.{number}", entry.key);
                let shift = (number - repeat.from).saturating_mul(repeat.stride);
                let fields = Fields::any(&ctx, &subject, table, entry.key_span);
                let changes =
                    plain_table(root, "tags").and_then(|groups| groups.get(&path)).and_then(|entry| {
                        if let Content::Table(lines) = &entry.node.content { Some(lines) } else { None }
                    });
                let counter = (repeat.stride > 0).then_some(repeat.name.as_str());
                let one = Group { path, shift, counter, changes, shared };
                one_group(&fields, names, &one, except, walked);
                // The others have the same fault, or more of it.
                if root.ctx.absorb(&ctx) || walked.full {
                    walked.lose(&entry.key);
                    break;
                }
            }
        }
    }
}

/// `[tags."station.3"]` changes one of a group with `repeat`, which must be there.
fn check_changes(root: &Fields<'_>, entry: &Entry, repeated: &str, number: &str) {
    let tags = plain_table(root, "tags");
    let group = tags.and_then(|tags| tags.get(repeated)).map(|entry| &entry.node.content);
    let (message, help) = match group {
        Some(Content::Table(group)) => {
            let fields = Fields::any(root.ctx, format!("[tags.{repeated}]"), group, entry.key_span);
            let Some(repeat) = group.get("repeat").and_then(|_| repeat(&fields)) else {
                if group.get("repeat").is_some() {
                    return;
                }
                let message = format!("[tags.{repeated}] has no `repeat`, so there is no `{}`", entry.key);
                let help = format!("write the group alone, `{repeated}`");
                root.ctx.report(root.ctx.error("P0146", entry.key_span, message).help(help));
                return;
            };
            let there = number.parse::<u32>().is_ok_and(|it| (repeat.from..=repeat.to).contains(&it));
            if there {
                return;
            }
            let message = format!(
                "there is no group `{}`: `repeat` runs from {} to {}",
                entry.key, repeat.from, repeat.to
            );
            (message, "name one of these".to_owned())
        }
        _ => {
            let names = tags.iter().flat_map(|tags| &tags.entries).map(|entry| entry.key.as_str());
            let names: Vec<&str> = names.filter(|name| !name.contains('.')).collect();
            let help = match nearest(repeated, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}.{number}\"?"),
                None => "names of groups have no dot; a dot names one of a group with `repeat`".to_owned(),
            };
            (format!("there is no group `{repeated}` with `repeat`"), help)
        }
    };
    root.ctx.report(root.ctx.error("P0146", entry.key_span, message).help(help));
}

fn repeat(group: &Fields<'_>) -> Option<Repeat> {
    let subject = format!("`repeat` of {}", group.subject);
    let fields = group.table("repeat", subject, &REPEAT_KEYS)?;
    for key in ["as", "from", "to"] {
        fields.require(key, "for example repeat = { as = \"n\", from = 1, to = 4, stride = 14 }");
    }
    let name = fields.text("as")?;
    if !is_name(&name.text) || group.ctx.params().is_some_and(|params| params.contains_key(&name.text)) {
        let help = "letters, digits and _ only, and no name of [params]; {name} then stands for the number";
        fields.refuse("P0107", "as", &format!("`as` cannot be \"{}\"", name.text), help);
    }
    let count = |key, max| fields.int(key, 0..=max).and_then(|number| u32::try_from(number).ok());
    let (from, to) = (count("from", 99_999), count("to", 99_999));
    let stride = if fields.has("stride") { count("stride", 1_000_000) } else { Some(0) };
    let (from, to, stride) = (from?, to?, stride?);
    if from > to {
        fields.refuse(
            "P0124",
            "to",
            &format!("`repeat` runs from {from} to {to}"),
            "write the smaller number first",
        );
        return None;
    }
    Some(Repeat { name: name.text, from, to, stride })
}

fn one_group(
    fields: &Fields<'_>,
    names: &Names<'_>,
    group: &Group<'_>,
    except: &Except,
    walked: &mut Walked,
) {
    let lines = fields.entries().iter().filter(|entry| !matches!(entry.key.as_str(), "defaults" | "repeat"));
    for entry in lines {
        walked.read += 1;
        check_name(fields, "a tag's name", &entry.key, entry.key_span);
        let path = format!("{}.{}", group.path, entry.key);
        let Some(table) = fields.as_table(entry) else {
            walked.lose(path);
            continue;
        };
        if is_group(table) {
            deep_group(fields, entry);
            walked.incomplete = true;
            continue;
        }
        if except.takes(&path) && table.get("bits").is_none() {
            continue;
        }
        let changed = group.changes.and_then(|changes| changes.get(&entry.key));
        let changed = changed.and_then(|entry| fields.as_table(entry)).map(|over| layers::line(table, over));
        one_tag(fields, names, group, (entry, changed.as_ref().unwrap_or(table)), &path, except, walked);
        if walked.full {
            return;
        }
    }
}

fn one_tag(
    fields: &Fields<'_>,
    names: &Names<'_>,
    group: &Group<'_>,
    (entry, table): (&Entry, &Table),
    path: &str,
    except: &Except,
    walked: &mut Walked,
) {
    let calculated = table.get("value").is_some();
    let inherited = [group.shared, names.defaults];
    let behind = if calculated { [&EMPTY, &EMPTY] } else { inherited };
    let tag = tag::open(fields.ctx, &entry.key, table, entry.key_span, behind);
    if let Some(trace) = fields.ctx.trace() {
        trace.note(path, &tag, &tag::KEYS, names.params);
    }
    if calculated {
        match calculated::read(names, &tag, path, &group.path, inherited) {
            Some(read) => walked.calculated.push(read),
            None => walked.lose(path),
        }
        return;
    }
    let read = if moved_twice(&tag, group) { None } else { tag::read(names, &tag, path, group.shift) };
    match read {
        Some(read) => add(&tag, read, except, walked),
        None => walked.lose(path),
    }
}

/// Reports an address that has the number of its group and is moved on by `stride` besides.
fn moved_twice(tag: &Fields<'_>, group: &Group<'_>) -> bool {
    let Some((entry, counter)) = tag.entry("address").zip(group.counter) else { return false };
    let name = format!("{{{counter}}}");
    let Content::Text(address) = &entry.node.content else { return false };
    if !address.contains(&name) {
        return false;
    }
    let message = format!("{}: the address is moved on twice, by {name} and by `stride`", tag.subject);
    let fault = tag.ctx.error("P0152", entry.node.span, message);
    tag.ctx.report(fault.help(format!(
        "write the address of the first one instead of {name}, or remove `stride` from `repeat`"
    )));
    true
}

/// True when tags stand where the keys of a tag should.
fn is_group(table: &Table) -> bool {
    let has_address =
        |entry: &Entry| matches!(&entry.node.content, Content::Table(tag) if tag.get("address").is_some());
    table.get("address").is_none() && table.entries.iter().any(has_address)
}

fn deep_group(fields: &Fields<'_>, entry: &Entry) {
    let group = fields.subject.trim_start_matches("[tags.").trim_end_matches(']');
    let message = format!("{}: `{}` is a group inside of a group", fields.subject, entry.key);
    let fault = fields.ctx.error("P0103", entry.key_span, message);
    let help = format!("groups have one level: write [tags.{group}_{}]", entry.key);
    fields.ctx.report(fault.help(help));
}

fn add(fields: &Fields<'_>, read: ReadTag, except: &Except, walked: &mut Walked) {
    let ctx = fields.ctx;
    let raw = u32::try_from(walked.raws.len()).unwrap_or(u32::MAX);
    let tags: Vec<Tag> =
        read.tags.into_iter().filter(|tag| !except.takes(&tag.path)).map(|tag| Tag { raw, ..tag }).collect();
    if tags.is_empty() {
        return;
    }
    if !walked.has_room(fields, fields.span, tags.len()) {
        return;
    }
    if let Some(extent) = read.extent {
        walked.extents.push(Placed { extent, path: read.raw.path.clone(), span: read.span });
    }
    if let Some(place) = read.place {
        let path = read.raw.path.clone();
        if let Some((first, at)) = walked.places.get(&place) {
            let message = format!("{} reads the same address as `{first}`", fields.subject);
            warn_double(ctx, read.span, *at, message);
        } else {
            walked.places.insert(place, (path, read.span));
        }
    }
    walked.raws.push(read.raw);
    walked.tags.extend(tags);
}

fn warn_double(ctx: &Context<'_>, span: Span, first: Span, message: String) {
    let mut fault = ctx.warning("P0150", span, message).label("again here");
    // A `repeat` without stride finds its own line.
    if first != span {
        fault = fault.also(ctx.place(first), "first here");
    }
    ctx.report(fault.help("correct one of the addresses, or remove one of the tags"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches("station.4.*", "station.4.die_temp"));
        assert!(!matches("station.4.*", "station.40.die_temp"));
        assert!(matches("*.temp", "a.b.temp"));
        assert!(matches("a*b*c", "a1b2b3c"));
        assert!(!matches("a*b*c", "a1b2b3"));
        assert!(matches("a.b", "a.b") && !matches("a.b", "a.bc") && matches("*", ""));
    }
}
