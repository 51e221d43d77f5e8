//! From laid out members to groups and tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_connector::{DataType, Protocol, Scalar};

use super::TiaDb;
use super::layout::{self, Layout, Placed, Reading, Step};
use super::parser::Block;
use crate::import::draft::{Draft, DraftTag, Repeat, string, words};
use crate::import::names::{self, Paths};
use crate::import::report::{Refusal, Report};
use crate::import::{TagKeys, cpu, zone_missing};
use crate::profile::TAGS_MAX;

/// Makes the profile.
///
/// # Errors
/// The name that was asked for cannot be one.
pub fn draft(options: &TiaDb, block: &Block, laid: &Layout, report: &mut Report) -> anyhow::Result<Draft> {
    let file = options.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let desc = string(&words(&format!("Number of {}", block.name)));
    let is_awl = options.file.extension().is_some_and(|end| end.eq_ignore_ascii_case("awl"));
    let mut draft = Draft {
        name: options.target.profile_name(&options.file)?,
        protocol: forebay_s7::S7.name(),
        source: format!("{file}, source of data block {}", block.name),
        options: vec![cpu(options.cpu.as_deref(), is_awl && options.update.is_none(), report)],
        params: vec![(
            "db".into(),
            format!("{{ type = \"int\", default = {}, min = 1, max = 65535, desc = {desc} }}", options.db),
        )],
        scans: vec![("normal".into(), Duration::from_secs(1))],
        defaults: vec![("scan", string("normal"))],
        ..Draft::default()
    };
    let main = names::fit(&block.name);
    let mut groups = Groups { main, ..Groups::default() };
    for placed in &laid.members {
        let path = layout::path(&placed.steps);
        match tag(options, placed, &path, &mut groups, report) {
            Ok((group, repeat, tag)) => {
                draft.add(&group, tag);
                draft.repeats.extend(repeat.map(|repeat| (group, repeat)));
            }
            Err(refusal) => report.not_taken(placed.line, &path, refusal),
        }
    }
    report.note(
        "I0212",
        format!("{} has {} bytes", block.name, laid.bytes),
        "compare with the end of the column Offset in TIA Portal; a difference means that a type has changed",
    );
    for (path, byte) in &laid.doubts {
        report.note(
            "I0212",
            format!("{path} stands behind a text of odd length; byte {byte} is taken"),
            "compare with the column Offset in TIA Portal",
        );
    }
    Ok(draft)
}

/// Names of groups and tags that are given out.
#[derive(Default)]
struct Groups {
    /// Group of members that stand in no structure.
    main: String,
    /// Group of a way.
    by_way: BTreeMap<String, String>,
    /// Groups that have another name than their way.
    renamed: BTreeSet<String>,
    names: Paths,
    tags: Paths,
    /// Tags with all their repetitions.
    count: usize,
}

impl Groups {
    /// The group of a member, its name without the tag's own, and the repetition of it.
    fn of(&mut self, steps: &[Step]) -> (String, String, Option<Repeat>) {
        let last = steps.iter().rposition(|step| matches!(step, Step::Name(_))).unwrap_or(0);
        let (way, own) = steps.split_at(last);
        let repeat = steps.iter().find_map(|step| match step {
            Step::Repeat(from, to, stride) => Some(Repeat { from: *from, to: *to, stride: *stride }),
            _ => None,
        });
        let mut parts: Vec<String> = Vec::new();
        for step in way {
            match step {
                Step::Name(name) => parts.push(name.clone()),
                Step::Index(index) => parts.extend(index.iter().map(i64::to_string)),
                Step::Repeat(..) => {}
            }
        }
        // An array of structures in the block itself: its name is the group, as all members have one.
        let wanted = if parts.is_empty() { self.main.clone() } else { names::fit(&parts.join("_")) };
        let key = format!("{}{repeat:?}", layout::path(way));
        let group = match self.by_way.get(&key) {
            Some(group) => group.clone(),
            None => {
                let group = self.names.give("", &wanted);
                if !parts.is_empty() && group != parts.join("_") {
                    self.renamed.insert(group.clone());
                }
                self.by_way.insert(key, group.clone());
                group
            }
        };
        let name: Vec<String> = own
            .iter()
            .flat_map(|step| match step {
                Step::Name(name) => vec![name.clone()],
                Step::Index(index) => index.iter().map(i64::to_string).collect(),
                Step::Repeat(..) => Vec::new(),
            })
            .collect();
        (group, name.join("_"), repeat)
    }
}

type Made = (String, Option<Repeat>, DraftTag);

fn tag(
    options: &TiaDb,
    placed: &Placed,
    path: &str,
    groups: &mut Groups,
    report: &mut Report,
) -> Result<Made, Refusal> {
    let (place, data_type, raw) = place(placed)?;
    let address = format!("DB{}.{place}", options.db);
    forebay_s7::S7.check_address(&address, data_type)?;
    let mut keys = TagKeys::new(&format!("DB{{db}}.{place}"), data_type);
    if data_type.scalar.is_local_time() {
        let zone = options.timezone.as_ref().ok_or_else(zone_missing)?;
        keys.add("timezone", string(zone));
    }
    let (group, wanted, repeat) = groups.of(&placed.steps);
    let times = repeat.as_ref().map_or(1, |repeat| (repeat.to - repeat.from) as usize + 1);
    if groups.count.saturating_add(times) > TAGS_MAX {
        let what = format!("a device has at most {TAGS_MAX} tags");
        return Err(Refusal::new(
            "I0005",
            what,
            "split the block, or import it as two profiles and remove what is not needed",
        ));
    }
    if let Some(repeat) = &repeat {
        // The last repetition must lie in the block as well.
        let last = repeat.stride.saturating_mul(repeat.to - repeat.from);
        forebay_s7::S7.shift_address(&address, last)?;
    }
    groups.count += times;
    let name = groups.tags.give(&group, &names::fit(&wanted));
    let comment = words(&placed.comment);
    if !comment.is_empty() {
        keys.add("desc", string(&comment));
    } else if name != wanted {
        keys.add("desc", string(&words(&wanted)));
    }
    if name != wanted || groups.renamed.contains(&group) {
        report.changed(placed.line, path, "I0201", &format!("its path is now `{group}.{name}`"), "");
    }
    if let Some(means) = raw {
        report.changed(placed.line, path, "I0202", &format!("{} is read as {means}", placed.declared), "");
    }
    if let Some(flattened) = &placed.flattened {
        report.changed(placed.line, path, "I0202", flattened, "");
    }
    Ok((group, repeat, DraftTag { name, keys: keys.into_vec() }))
}

/// Place behind the block's name, type, and what a number read in place of the type means.
fn place(placed: &Placed) -> Result<(String, DataType, Option<&'static str>), Refusal> {
    let (scalar, raw) = match placed.reading {
        Reading::As(scalar) => (scalar, None),
        Reading::Raw(scalar, means) => (scalar, Some(means)),
        Reading::No => {
            let what = format!("{} is no value that can be read", placed.declared);
            return Err(Refusal::new(
                "I0105",
                what,
                "nothing is to be done; what stands behind it has the right offset",
            ));
        }
    };
    let too_long = || {
        let what = format!("an array of {} values is too long for one tag", placed.elements.unwrap_or(0));
        Refusal::new(
            "I0105",
            what,
            "write a tag for each part that is needed: address of its first value, type REAL[100]",
        )
    };
    let data_type = layout::data_type(scalar, placed.elements).ok_or_else(too_long)?;
    let letter = match scalar.bits() {
        Some(1) => "X",
        Some(16) => "W",
        Some(32) => "D",
        _ => "B",
    };
    let bit = if scalar == Scalar::Bool { format!(".{}", placed.bit) } else { String::new() };
    Ok((format!("DB{letter}{}{bit}", placed.byte), data_type, raw))
}
