//! `forebay journal verify`: every byte of every file, and every record in them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Common, Progress, Site};
use crate::amount::{bytes, counted, time};
use crate::journal::{BadBytes, Damage, DamageKind, Hole, SegmentFile};
use crate::lane::{Body, Item, OfflineLane, Record};

/// How `verify` ends when there is no journal: neither sound nor damaged.
const NO_JOURNAL: u8 = 3;
/// Machines named for one piece of damage at most.
const DEVICES_MAX: usize = 20;

/// Which lane.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with 0 when everything is as it was written, with 1 when something is damaged or missing, or when
it could not be done, with 3 when there is no journal yet. Nothing is changed or repaired. A last write that a power cut has cut off is no damage: nobody was told that it
was stored.")]
pub struct Verify {
    #[command(flatten)]
    common: Common,
    /// Only this lane.
    #[arg(long)]
    lane: Option<String>,
}

/// What was found in one lane.
#[derive(Debug, Default, Serialize)]
struct Checked {
    lane: String,
    /// False when nothing was ever stored.
    exists: bool,
    files: u64,
    bytes: u64,
    records: u64,
    /// Cut off by a crash; nobody was told that it was stored.
    torn_bytes: u64,
    damage: Vec<Finding>,
}

/// One piece of damage.
#[derive(Debug, Serialize)]
struct Finding {
    /// `None` when whole files are missing.
    file: Option<String>,
    /// Files are missing between these two; without a first one, in front.
    between: Option<(Option<String>, String)>,
    /// First bad byte and behind the last; absent when every byte is as it was written.
    bytes: Option<(u64, u64)>,
    /// First lost offset and behind the last; absent when no record is lost.
    offsets: Option<(u64, u64)>,
    cause: String,
    /// The disk gave an error in the place of bytes: they may be as they were written.
    unreadable: bool,
    /// Times of the records before and behind, microseconds since 1970 UTC.
    after_us: Option<i64>,
    before_us: Option<i64>,
    /// Machines with records in the same file.
    devices: Vec<String>,
}

/// Verifies.
pub fn run(verify: &Verify, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let site = Site::open(&verify.common.config)?;
    let mut all = Vec::new();
    for lane in Site::lanes(verify.lane.as_deref())? {
        all.push(match site.find_lane(lane)? {
            Some(found) => check(&site, lane, found, verify.common.json)?,
            None => Checked { lane: lane.to_owned(), ..Checked::default() },
        });
    }
    if all.iter().all(|lane| !lane.exists) {
        let why = site.no_journal();
        if verify.common.json {
            writeln!(out, "{}", json!({ "sound": null, "lanes": [], "error": why }))?;
        } else {
            writeln!(out, "{why}")?;
        }
        return Ok(ExitCode::from(NO_JOURNAL));
    }
    let sound = all.iter().all(|lane| lane.damage.is_empty());
    if verify.common.json {
        writeln!(out, "{}", json!({ "sound": sound, "lanes": all }))?;
    } else {
        for lane in &all {
            out.write_all(words(lane).as_bytes())?;
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(site: &Site, name: &str, mut lane: OfflineLane, json: bool) -> anyhow::Result<Checked> {
    let segments = lane.files().segments();
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let torn_bytes = lane.files().torn_bytes();
    let mut checked =
        Checked { lane: name.to_owned(), exists: true, bytes, torn_bytes, ..Checked::default() };
    // Every byte is looked at twice: as bytes, and as records.
    let mut progress = Progress::new(&format!("verify {name}"), bytes * 2, json);
    let mut done = 0;
    let mut bad = Vec::new();
    for segment in &segments {
        if let Some(found) = lane.files().check(segment, |position| progress.set(done + position))? {
            checked.files += 1;
            bad.extend(found);
        }
        done += segment.bytes;
    }
    bad.extend(lane.files().check_small_files());
    let holes = site.holes(name, lane.files());
    let lost = read_all(&mut lane, &segments, &holes, &mut checked, &mut progress);
    checked.damage = join(bad, lost);
    Ok(checked)
}

/// Reads every record; what cannot be read comes back with what is known of it.
fn read_all(
    lane: &mut OfflineLane,
    segments: &[SegmentFile],
    holes: &[Hole],
    checked: &mut Checked,
    progress: &mut Progress,
) -> Vec<Finding> {
    let in_front = holes.iter().filter(|hole| hole.after_file.is_none());
    let mut lost: Vec<Finding> = in_front.map(|hole| missing(hole, None)).collect();
    let (mut number, mut last_us) = (0, None);
    let mut devices = BTreeSet::new();
    let mut open = 0;
    loop {
        let item = lane.read_all();
        let offset = lane.offset().saturating_sub(1);
        while number + 1 < segments.len() && segments[number].end <= offset {
            name_devices(&mut lost[open..], &mut devices);
            progress.add(segments[number].bytes);
            (number, open) = (number + 1, lost.len());
        }
        match item {
            Item::End | Item::Unreadable(_) => break,
            Item::Removed(..) => {}
            Item::Damage(Damage { kind: DamageKind::Unused, .. }) => {}
            Item::Damage(damage) => tell(&damage, segments, holes, last_us, &mut lost),
            Item::Record(record) => {
                checked.records += 1;
                let (us, device) = describe(&record);
                for finding in lost.iter_mut().rev().take_while(|finding| finding.before_us.is_none()) {
                    finding.before_us = us;
                }
                last_us = us.or(last_us);
                if let Some(device) = device.filter(|_| devices.len() < DEVICES_MAX) {
                    devices.insert(device);
                }
            }
        }
    }
    name_devices(&mut lost[open..], &mut devices);
    lost
}

fn name_devices(lost: &mut [Finding], devices: &mut BTreeSet<String>) {
    let names: Vec<String> = std::mem::take(devices).into_iter().collect();
    for finding in lost.iter_mut().filter(|finding| finding.between.is_none()) {
        finding.devices.clone_from(&names);
    }
}

/// Adds what cannot be read; where whole files are missing, what of it was in those.
fn tell(
    damage: &Damage,
    segments: &[SegmentFile],
    holes: &[Hole],
    last_us: Option<i64>,
    lost: &mut Vec<Finding>,
) {
    let inside = |hole: &&Hole| {
        damage.from_offset <= hole.offsets.start
            && hole.offsets.start < damage.to_offset
            && damage.to_offset == hole.offsets.end
    };
    let Some(hole) = holes.iter().find(inside) else {
        return lost.push(finding(damage, segments, last_us));
    };
    if damage.from_offset < hole.offsets.start {
        let in_file = Damage { to_offset: hole.offsets.start, ..damage.clone() };
        lost.push(finding(&in_file, segments, last_us));
    }
    lost.push(missing(hole, last_us));
}

fn missing(hole: &Hole, last_us: Option<i64>) -> Finding {
    Finding {
        file: None,
        between: Some((hole.after_file.clone(), hole.before_file.clone())),
        bytes: None,
        offsets: Some((hole.offsets.start, hole.offsets.end)),
        cause: "files are missing".to_owned(),
        unreadable: false,
        after_us: last_us,
        before_us: None,
        devices: Vec::new(),
    }
}

fn finding(damage: &Damage, segments: &[SegmentFile], last_us: Option<i64>) -> Finding {
    let segment =
        segments.iter().find(|segment| (segment.first_offset..segment.end).contains(&damage.from_offset));
    Finding {
        file: segment.map(|segment| segment.file.clone()),
        between: None,
        bytes: None,
        offsets: Some((damage.from_offset, damage.to_offset)),
        cause: damage.cause.clone(),
        unreadable: damage.kind == DamageKind::Unreadable,
        after_us: last_us,
        before_us: None,
        devices: Vec::new(),
    }
}

/// Time and machine of a record.
fn describe(record: &Record) -> (Option<i64>, Option<String>) {
    match &record.body {
        Body::Batch(batch) => (Some(batch.edge_us), Some(batch.schema.device.clone())),
        Body::Thinned(thinned) => (Some(thinned.to_us), Some(thinned.schema.device.clone())),
        Body::Event(_) => (None, None),
    }
}

/// Bad bytes and lost records of the same file are one finding when there is one of each; else
/// they stand side by side.
fn join(bad: Vec<BadBytes>, mut lost: Vec<Finding>) -> Vec<Finding> {
    let mut rest = Vec::new();
    for BadBytes { file, from, to, cause, is_unreadable } in bad {
        match lost.iter_mut().find(|finding| finding.file.as_ref() == Some(&file) && finding.bytes.is_none())
        {
            Some(finding) => {
                (finding.bytes, finding.cause) = (Some((from, to)), cause);
                finding.unreadable |= is_unreadable;
            }
            None => rest.push(Finding {
                file: Some(file),
                between: None,
                bytes: Some((from, to)),
                offsets: None,
                cause,
                unreadable: is_unreadable,
                after_us: None,
                before_us: None,
                devices: Vec::new(),
            }),
        }
    }
    lost.extend(rest);
    // A missing file stands behind the one before it.
    let place = |finding: &Finding| {
        let before = finding.between.as_ref().and_then(|(before, _)| before.clone());
        (finding.file.clone().or(before), finding.between.is_some(), finding.bytes, finding.offsets)
    };
    lost.sort_by_key(place);
    lost
}

/// What is wrong, and where.
fn place(found: &Finding) -> String {
    match &found.between {
        Some((None, before)) => {
            format!("MISSING in front of {before}: the box has not removed what was there")
        }
        Some((Some(after), before)) => format!("MISSING between {after} and {before}"),
        None => {
            let bytes = found.bytes.map_or_else(String::new, |(from, to)| format!(", bytes {from} to {to}"));
            let what = if found.unreadable { "UNREADABLE" } else { "DAMAGED" };
            let file = found.file.as_deref().unwrap_or("files");
            format!("{what} {file}{bytes}: {}", found.cause)
        }
    }
}

fn words(lane: &Checked) -> String {
    if !lane.exists {
        return format!("{}: nothing was ever stored\n", lane.lane);
    }
    let mut text = format!(
        "{}: {}, {}, {} read\n",
        lane.lane,
        counted(lane.files, "file", "files"),
        bytes(lane.bytes),
        counted(lane.records, "record", "records"),
    );
    if lane.torn_bytes > 0 {
        text += &format!(
            "  the last write was cut off by a crash: {} that nobody was told to be stored\n",
            bytes(lane.torn_bytes)
        );
    }
    for found in &lane.damage {
        text += &format!("  {}\n", place(found));
        let Some((from, to)) = found.offsets else {
            text += "    no record is lost by it\n";
            continue;
        };
        let between = match (found.after_us, found.before_us) {
            (Some(after), Some(before)) => format!(", of between {} and {}", time(after), time(before)),
            (Some(after), None) => format!(", of after {}", time(after)),
            (None, Some(before)) => format!(", of before {}", time(before)),
            (None, None) => String::new(),
        };
        let lost = counted(to - from, "record is", "records are");
        let fate = match &found.between {
            Some(_) => "in no file",
            None if found.unreadable => "not read now",
            None => "lost",
        };
        text += &format!("    {lost} {fate} (offsets {from} to {}){between}\n", to - 1);
        if !found.devices.is_empty() {
            text += &format!("    machines in this file: {}\n", found.devices.join(", "));
        }
    }
    let unreadable = lane.damage.iter().filter(|found| found.unreadable).count();
    if lane.damage.is_empty() {
        text += "  sound\n";
    }
    if lane.damage.len() > unreadable {
        text += "  The box goes on with what is whole, and has told or will tell the loss as a gap.\n";
    }
    if unreadable > 0 {
        text += "  The disk gives errors: look at its card, cable or age. What cannot be read now may come back; the \
                 box tries again by itself.\n";
    }
    text
}
