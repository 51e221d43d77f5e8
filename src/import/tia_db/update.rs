//! `--update`: a profile that was imported before gets new addresses and types, tags come and go, and
//! everything else stays as it was written.
//!
//! The old text is edited in place, so that comments, order and columns survive.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use forebay_connector::{DataType, Protocol};

use super::block::{OldBlock, split};
use crate::diagnostic::{Faults, Format, Source, Sources, Span, render};
use crate::document::{Content, Entry, Table, parse};
use crate::import::draft::{Draft, DraftTag, line};
use crate::import::finish::{Target, proof, write};
use crate::import::report::Report;

/// One change of the text.
struct Edit {
    /// Bytes of the old text that go; empty where something is put in.
    span: std::ops::Range<usize>,
    /// What comes instead.
    text: String,
}

/// Shows what changes, and writes the profile when `--out` says where to.
///
/// # Errors
/// The old profile cannot be read or does not tell its block, or the new one would have faults.
pub fn run(
    (draft, number): (&Draft, u16),
    mut report: Report,
    old: (&Path, &str),
    target: &Target,
    out: &mut impl Write,
    said: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let (path, text) = (old.0.display().to_string(), old.1);
    let table = read(&path, text)?;
    let none = Table::default();
    let groups = table.get("tags").and_then(inner).unwrap_or(&none);
    let block = OldBlock::find(&path, groups, draft, number)?;
    let draft = &written(draft, &block);
    let mut gone = Vec::new();
    let updated = update(text, groups, draft, &block, &mut gone);
    report.taken = draft.tags();
    said.write_all(report.render().as_bytes())?;
    if updated == text {
        writeln!(out, "{path}: nothing changes")?;
        return Ok(ExitCode::SUCCESS);
    }
    out.write_all(difference(&path, text, &updated).as_bytes())?;
    if !gone.is_empty() {
        writeln!(out, "removed, no member of the block has this name: {}", gone.join(", "))?;
    }
    let (_, doubts) = proof(&path, &updated)?;
    said.write_all(doubts.as_bytes())?;
    match &target.out {
        Some(file) => {
            write(file, &updated, target.force)?;
            writeln!(out, "written: {}", file.display())?;
        }
        None => writeln!(out, "nothing is written; to write it: --out {path} --force")?,
    }
    Ok(if report.is_partial() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &str, text: &str) -> anyhow::Result<Table> {
    let (mut sources, faults) = (Sources::default(), Faults::default());
    let file = sources.add(Source::new(path, text.to_owned()));
    let table = parse(&sources.files[file], file, &faults);
    let (diagnostics, hidden) = faults.finish();
    match table {
        Some(table) if diagnostics.is_empty() => Ok(table),
        _ => bail!("{}", render(&sources, &diagnostics, hidden, Format::Text, false).trim_end()),
    }
}

/// The draft with the block written as in the old profile.
fn written(draft: &Draft, block: &OldBlock) -> Draft {
    let mut draft = draft.clone();
    let keys = draft.groups.iter_mut().flat_map(|(_, tags)| tags).flat_map(|tag| &mut tag.keys);
    let addresses = keys.filter(|(key, _)| *key == "address");
    addresses.for_each(|(_, value)| *value = value.replacen("DB{db}", &block.written, 1));
    draft
}

/// The new text of the profile; `removed` gets the paths of tags that go.
fn update(text: &str, groups: &Table, draft: &Draft, block: &OldBlock, removed: &mut Vec<String>) -> String {
    let mut edits: Vec<Edit> = Vec::new();
    let mut members = BTreeSet::new();
    for (name, tags) in &draft.groups {
        match groups.get(name).and_then(|entry| Some((entry, inner(entry)?))) {
            Some((_, old)) => {
                group(text, old, tags, draft.repeats.get(name).map(|repeat| repeat.render()), &mut edits)
            }
            None => {
                let at = end_of_tags(text, groups);
                edits.push(Edit { span: at..at, text: new_group(name, tags, draft) });
            }
        }
        members.extend(tags.iter().map(|tag| format!("{name}.{}", tag.name)));
    }
    for group in &groups.entries {
        for tag in inner(group).map_or(&[][..], |table| &table.entries) {
            // What is no member of this block was added by hand, and stays.
            let gone = inner(tag).and_then(address).is_some_and(|address| block.has(address))
                && !members.contains(&format!("{}.{}", group.key, tag.key));
            if gone {
                removed.push(format!("{}.{}", group.key, tag.key));
                edits.push(Edit { span: whole_lines(text, tag), text: String::new() });
            }
        }
    }
    apply(text, edits)
}

/// Addresses, types and the repetition of a group that exists; new tags go to its end.
fn group(text: &str, old: &Table, tags: &[DraftTag], repeat: Option<String>, edits: &mut Vec<Edit>) {
    let end = old.entries.iter().map(|entry| whole_lines(text, entry).end).max().unwrap_or(0);
    match (old.get("repeat"), repeat) {
        (Some(entry), Some(repeat)) if same_numbers(entry, &repeat) => {}
        (Some(entry), Some(repeat)) => edits.push(Edit { span: range(entry.node.span), text: repeat }),
        (Some(entry), None) => edits.push(Edit { span: whole_lines(text, entry), text: String::new() }),
        (None, Some(repeat)) => edits.push(Edit { span: end..end, text: format!("repeat = {repeat}\n") }),
        (None, None) => {}
    }
    for tag in tags {
        let Some(keys) = old.get(&tag.name).and_then(inner) else {
            let mut written = format!("{} = {}\n", tag.name, line(tag, [0, 0]));
            if !text[..end].ends_with('\n') {
                written.insert(0, '\n');
            }
            edits.push(Edit { span: end..end, text: written });
            continue;
        };
        let (Some(old_type), Some(old_address)) = (keys.get("type"), keys.get("address")) else { continue };
        let (Some(was), Some(at)) = (plain(old_type), plain(old_address)) else { continue };
        let (data_type, place) = (value(tag, "type"), value(tag, "address"));
        if DataType::parse(was) != DataType::parse(data_type) {
            edits.push(Edit { span: range(old_type.node.span), text: format!("\"{data_type}\"") });
        }
        if let Some(new) = moved((at, was), (place, data_type)) {
            edits.push(Edit { span: range(old_address.node.span), text: format!("\"{new}\"") });
        }
    }
}

/// A text of a tag without its quotes.
fn value<'a>(tag: &'a DraftTag, key: &str) -> &'a str {
    tag.keys.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value.trim_matches('"'))
}

/// The new address with the block as it was written; `None` where the old one means the same place.
/// Addresses come with their types.
fn moved((old, was): (&str, &str), (new, data_type): (&str, &str)) -> Option<String> {
    let (block, old_place) = split(old)?;
    let (_, place) = split(new)?;
    let canonical = |place: &str, data_type: &str| {
        let address = format!("DB1.{place}");
        Some(forebay_s7::S7.check_address(&address, DataType::parse(data_type)?).ok()?.canonical)
    };
    let same = old_place == place
        || canonical(old_place, was).is_some_and(|old| canonical(place, data_type) == Some(old));
    (!same).then(|| format!("{block}.{place}"))
}

/// The address of a tag.
pub(super) fn address(keys: &Table) -> Option<&str> {
    keys.get("address").and_then(plain)
}

fn plain(entry: &Entry) -> Option<&str> {
    match &entry.node.content {
        Content::Text(text) => Some(text),
        _ => None,
    }
}

/// The table of an entry that is one.
pub(super) fn inner(entry: &Entry) -> Option<&Table> {
    match &entry.node.content {
        Content::Table(table) => Some(table),
        _ => None,
    }
}

fn same_numbers(entry: &Entry, repeat: &str) -> bool {
    let number = |key: &str| match inner(entry)?.get(key)?.node.content {
        Content::Int(number) => Some(number),
        _ => None,
    };
    ["from", "to", "stride"].iter().all(|key| {
        number(key).is_some_and(|number| {
            repeat.contains(&format!("{key} = {number},")) || repeat.contains(&format!("{key} = {number} "))
        })
    })
}

fn new_group(name: &str, tags: &[DraftTag], draft: &Draft) -> String {
    let mut text = format!("\n[tags.{name}]\n");
    if let Some(repeat) = draft.repeats.get(name) {
        text.push_str(&format!("repeat = {}\n", repeat.render()));
    }
    tags.iter().for_each(|tag| text.push_str(&format!("{} = {}\n", tag.name, line(tag, [0, 0]))));
    text
}

/// Behind the last line of the last group.
fn end_of_tags(text: &str, groups: &Table) -> usize {
    let entries = groups.entries.iter().filter_map(inner).flat_map(|table| &table.entries);
    entries.map(|entry| whole_lines(text, entry).end).max().unwrap_or(text.len())
}

fn range(span: Span) -> std::ops::Range<usize> {
    span.start..span.end
}

/// The lines of an entry with what stands behind it.
fn whole_lines(text: &str, entry: &Entry) -> std::ops::Range<usize> {
    let start = text[..entry.key_span.start].rfind('\n').map_or(0, |at| at + 1);
    let last = entry.node.span.end.max(entry.key_span.end).min(text.len());
    let end = text[last..].find('\n').map_or(text.len(), |at| last + at + 1);
    start..end
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let (mut new, mut at) = (String::new(), 0);
    for edit in edits {
        // Two edits of one place: a tag that goes takes its address with it.
        if edit.span.start < at {
            continue;
        }
        new.push_str(&text[at..edit.span.start]);
        new.push_str(&edit.text);
        at = edit.span.end;
    }
    new.push_str(&text[at..]);
    new
}

/// Lines that go (-) with their numbers, and lines that come (+), those of one tag together.
fn difference(path: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut said = String::new();
    let (mut a, mut b) = (0, 0);
    while a < old.len() || b < new.len() {
        if old.get(a) == new.get(b) {
            (a, b) = (a + 1, b + 1);
            continue;
        }
        let (go, come) = meet(&old[a..], &new[b..]);
        let mut coming: Vec<&str> = new[b..b + come].to_vec();
        for (number, line) in old[a..a + go].iter().enumerate() {
            // A blank line that moves is no news.
            if line.is_empty() {
                continue;
            }
            said.push_str(&format!("{path}:{}: - {line}\n", a + number + 1));
            if let Some(at) = coming.iter().position(|new| key(new) == key(line)) {
                said.push_str(&format!("{path}:{}: + {}\n", a + number + 1, coming.remove(at)));
            }
        }
        for line in coming.into_iter().filter(|line| !line.is_empty()) {
            said.push_str(&format!("{path}: + {line}\n"));
        }
        (a, b) = (a + go, b + come);
    }
    said
}

fn key(line: &str) -> &str {
    line.split('=').next().unwrap_or("").trim()
}

/// How many lines go and come before both texts are the same again.
fn meet(old: &[&str], new: &[&str]) -> (usize, usize) {
    const AHEAD: usize = 400;
    for sum in 1..AHEAD {
        for go in 0..=sum.min(old.len()) {
            let come = sum - go;
            if come <= new.len()
                && go < old.len()
                && come < new.len()
                && old[go] == new[come]
                && !old[go].is_empty()
            {
                return (go, come);
            }
        }
    }
    (old.len(), new.len())
}
