//! What was found at a machine, as a table for the terminal.

use std::io::{self, Write};

use forebay_connector::Quality;

use super::look::{Looked, Tag};
use super::spell::spell;
use crate::amount::counted;
use crate::clock;
use crate::device::{Device, Transform};
use crate::twin::Current;

/// Bytes shown of one value at most.
const BYTES_MAX: usize = 12;
/// Widest column.
const COLUMN_MAX: usize = 44;

/// Head, table and summary of one machine.
///
/// # Errors
/// When it cannot be written.
pub fn print(device: &Device, looked: &Looked, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}  {}  profile {}", device.name, device.spec.endpoint, device.profile)?;
    let (identity, took) = match &looked.connected {
        Ok((identity, took)) => (identity, took),
        Err(why) => return writeln!(out, "  not reached: {why}\n"),
    };
    let says = if identity.is_empty() { String::new() } else { format!(": {}", one_line(identity)) };
    writeln!(out, "  connected in {} ms{says}", took.as_millis())?;
    match (device.verify.len(), looked.failed_checks.as_slice()) {
        (0, _) => writeln!(out, "  no [[verify]]: nothing says that this is the right machine")?,
        (all, []) if looked.cut.is_none() => writeln!(out, "  [[verify]] holds ({all} of {all})")?,
        (_, failed) => failed.iter().try_for_each(|why| writeln!(out, "  {why}"))?,
    }
    table(device, looked, out)?;
    if let Some(cut) = &looked.cut {
        writeln!(out, "  {cut}")?;
    }
    let good = looked.published.iter().filter(|it| it.edge_us != 0 && it.quality.is_good()).count();
    let tags = counted(device.tags.len() as u64, "tag", "tags");
    let others = others(&looked.published);
    let requests = counted(looked.requests, "request", "requests");
    writeln!(out, "  {tags}: {good} good{others}; {requests} in {:.1} s\n", looked.took.as_secs_f64())
}

/// How many values are not good, by what they are.
fn others(published: &[Current]) -> String {
    let mut text = String::new();
    for quality in Quality::ALL.into_iter().filter(|quality| !quality.is_good()) {
        let count = published.iter().filter(|it| it.edge_us != 0 && it.quality == quality).count();
        if count > 0 {
            text += &format!(", {count} {}", quality.as_str());
        }
    }
    let absent = published.iter().filter(|it| it.edge_us == 0).count();
    if absent > 0 {
        text += &format!(", {absent} not looked at");
    }
    text
}

const HEADS: [&str; 7] = ["tag", "address", "bytes", "decoded", "value", "quality", "time of the device"];

fn table(device: &Device, looked: &Looked, out: &mut impl Write) -> io::Result<()> {
    let mut rows: Vec<[String; 7]> = vec![HEADS.map(str::to_owned)];
    for (raw, tag) in looked.tags.iter().enumerate() {
        rows.extend(rows_of(device, looked, raw, tag));
    }
    if rows.len() == 1 {
        return Ok(());
    }
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(|column| wide(column).min(COLUMN_MAX));
    for row in &rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:<width$}  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// One row for each tag that is made from a raw one; one for a raw tag that only a check reads.
fn rows_of(device: &Device, looked: &Looked, raw: usize, tag: &Tag) -> Vec<[String; 7]> {
    let Some(spec) = device.spec.tags.get(raw) else { return Vec::new() };
    let bytes = tag.look.as_ref().and_then(|look| look.bytes.as_deref()).map(hex).unwrap_or_default();
    let decoded = tag.value().map(spell).unwrap_or_default();
    let source = tag.look.as_ref().and_then(|look| look.sample.source_us).map(age).unwrap_or_default();
    let of_this = device.tags.iter().zip(&looked.published).filter(|(it, _)| it.raw as usize == raw);
    let mut rows = Vec::new();
    for (published, current) in of_this {
        let value = format!("{} {}", spell(&current.value), published.unit);
        let quality = match (current.quality, tag.refusal.as_str()) {
            (Quality::Refused, why) if !why.is_empty() => format!("refused: {why}"),
            (quality, _) => quality.as_str().to_owned(),
        };
        let is_bit = matches!(published.transform, Transform::Bit(_));
        let text = text_of(published, current);
        rows.push(if is_bit {
            let bit = published.bit.as_ref().map(|bit| bit.text.get("en")).unwrap_or_default();
            let name = format!("  {}", published.path);
            let value =
                if bit.is_empty() { value.trim().to_owned() } else { format!("{} ({bit})", value.trim()) };
            [name, String::new(), String::new(), String::new(), value, quality, String::new()]
        } else {
            let value = format!("{}{text}", value.trim());
            [
                published.path.clone(),
                spec.address.clone(),
                bytes.clone(),
                decoded.clone(),
                value,
                quality,
                source.clone(),
            ]
        });
    }
    if rows.is_empty() {
        let quality = tag.look.as_ref().map_or("", |look| look.sample.quality.as_str());
        let name = format!("{} (only checked)", spec.path);
        let quality = quality.to_owned();
        rows.push([name, spec.address.clone(), bytes, decoded, String::new(), quality, source]);
    }
    rows
}

/// The text of an enumeration's value.
fn text_of(tag: &crate::device::Tag, current: &Current) -> String {
    #[allow(clippy::cast_possible_truncation)] // an enumeration has whole numbers
    let number = current.value.as_f64().map(|number| number as i64);
    let known = tag.enumeration.as_ref().zip(number);
    match known.map(|(texts, number)| texts.get(&number)) {
        Some(Some(value)) => format!(" ({})", value.text.get("en")),
        Some(None) => " (not among the texts)".to_owned(),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
    let more = bytes.len().saturating_sub(BYTES_MAX);
    let more = if more > 0 { format!(" … {more} more") } else { String::new() };
    shown.join(" ") + &more
}

/// The time that the machine gives, and how long ago that is by the clock of this computer.
#[allow(clippy::cast_precision_loss)] // seconds for people
fn age(source_us: i64) -> String {
    let ago_s = clock::now_us().saturating_sub(source_us) as f64 / 1e6;
    let ago = match ago_s {
        ago if ago.abs() < 0.05 => "now".to_owned(),
        ago if ago < 0.0 => format!("{:.1} s ahead", -ago),
        ago if ago < 120.0 => format!("{ago:.1} s ago"),
        ago if ago < 7200.0 => format!("{:.0} min ago", ago / 60.0),
        ago => format!("{:.0} h ago", ago / 3600.0),
    };
    format!("{} ({ago})", crate::amount::time(source_us))
}

/// What a machine says of itself may hold anything; the terminal gets one line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(200).collect()
}
