//! `forebay import tia-tags`: the tag table of a CPU, as TIA Portal exports it (.xlsx), or as CSV or SDF.
//!
//! Only what has an address of its own is in it: inputs, outputs, bit memory, timers and counters.
//! Data blocks are imported by `tia-db`.

mod sheet;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use forebay_connector::{DataType, Protocol, Scalar};

use super::draft::{Draft, DraftTag, string, words};
use super::finish::{Target, finish};
use super::names::{self, Paths};
use super::report::{Refusal, Report};
use super::tia_db::layout::{self, Reading};
use super::{TagKeys, cpu, s7_area, source, zone, zone_missing};
use crate::amount::counted;
use sheet::Row;

/// Options of the import.
#[derive(Debug, Args)]
#[command(after_help = "\
In TIA Portal: PLC tags, Show all tags, Export. In STEP 7: symbol editor, Symbol table, Export as .sdf. Then

  forebay import tia-tags PLCTags.xlsx --endpoint 192.168.10.33 --out cell.toml
  forebay import tia-tags symbols.sdf --cpu s7-300 --endpoint 192.168.10.33 --out cell.toml

Each tag table becomes a group. Ends with 1 when a tag was left out.")]
pub struct TiaTags {
    /// The exported table: .xlsx, .csv or .sdf.
    pub file: PathBuf,
    /// Zone of the controller's clock, for DTL and DATE_AND_TIME, for example Europe/Berlin.
    #[arg(long, value_parser = zone)]
    pub timezone: Option<String>,
    /// Family of the CPU; s7-300 for an .sdf and s7-1500 otherwise, unless given.
    #[arg(long, value_parser = ["s7-300", "s7-400", "s7-1200", "s7-1500", "logo"])]
    pub cpu: Option<String>,
    /// Where the profile goes.
    #[command(flatten)]
    pub target: Target,
}

/// Runs the import.
///
/// # Errors
/// The file is no such table, nothing of it can be taken, or the profile cannot be written.
pub fn run(options: &TiaTags, out: &mut impl Write, said: &mut impl Write) -> anyhow::Result<ExitCode> {
    let bytes = source::bytes(&options.file)?;
    let (draft, report) = import(options, &options.file, &bytes)?;
    finish(draft, report, &options.target, out, said)
}

/// Makes the profile of the bytes of a file.
///
/// # Errors
/// The file is no such table.
pub fn import(options: &TiaTags, file: &Path, bytes: &[u8]) -> anyhow::Result<(Draft, Report)> {
    let name = options.target.profile_name(file)?;
    let mut report = Report::new(file.display().to_string());
    let sheet = sheet::read(&report.file.clone(), bytes, &mut report)?;
    let shown = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut draft = Draft {
        name,
        protocol: forebay_s7::S7.name(),
        source: match sheet.is_sdf {
            true => format!("{shown}, symbol table"),
            false => format!("{shown}, tag table exported from TIA Portal"),
        },
        options: vec![cpu(options.cpu.as_deref(), sheet.is_sdf, &mut report)],
        scans: vec![("normal".into(), Duration::from_secs(1))],
        defaults: vec![("scan", string("normal"))],
        ..Draft::default()
    };
    let mut paths = Paths::default();
    let (blocks, rows): (Vec<Row>, Vec<Row>) =
        sheet.rows.into_iter().partition(|row| sheet.is_sdf && is_block(&row.address));
    pass_over(&blocks, &mut report);
    for row in rows {
        if draft.tags() >= crate::profile::TAGS_MAX {
            let fix = "export a part of the tables at a time";
            report.not_taken(
                row.line,
                &row.name,
                Refusal::new("I0005", "a device has at most 20000 tags", fix),
            );
            continue;
        }
        match tag(options, &row, &mut paths, &mut report) {
            Ok((group, tag)) => draft.add(&group, tag),
            Err(refusal) => report.not_taken(row.line, row.said_name(), refusal),
        }
    }
    Ok((draft, report))
}

/// True for the symbol of a block or of a table: `OB 1`, `VAT 1`.
fn is_block(address: &str) -> bool {
    const BLOCKS: [&str; 9] = ["OB", "FC", "FB", "DB", "SFC", "SFB", "UDT", "VAT", "SDB"];
    let letters = address.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(address.len());
    let (letters, number) = address.split_at(letters);
    let number = number.trim();
    BLOCKS.iter().any(|block| block.eq_ignore_ascii_case(letters))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A symbol table names blocks as well; they are no values, so nothing is left out with them.
fn pass_over(blocks: &[Row], report: &mut Report) {
    const NAMED_MAX: usize = 8;
    if blocks.is_empty() {
        return;
    }
    let mut named: Vec<String> = blocks.iter().take(NAMED_MAX).map(|row| words(row.said_name())).collect();
    if blocks.len() > NAMED_MAX {
        named.push(format!("{} more", blocks.len() - NAMED_MAX));
    }
    let count = counted(blocks.len() as u64, "symbol of a block is", "symbols of blocks are");
    report.note(
        "I0210",
        format!("{count} passed over: {}", named.join(", ")),
        "what stands in a data block is imported by its source: forebay import tia-db",
    );
}

fn tag(
    options: &TiaTags,
    row: &Row,
    paths: &mut Paths,
    report: &mut Report,
) -> Result<(String, DraftTag), Refusal> {
    if row.name.is_empty() {
        return Err(Refusal::new("I0010", "the row has no name", "give it one"));
    }
    let (address, data_type, means) = place(&row.address, &row.data_type)?;
    let mut keys = TagKeys::new(&address, data_type);
    if data_type.scalar.is_local_time() {
        keys.add("timezone", string(options.timezone.as_ref().ok_or_else(zone_missing)?));
    }
    let group = if row.table.is_empty() { "main".to_owned() } else { names::fit(&row.table) };
    let name = paths.give(&group, &names::fit(&row.name));
    let comment = words(&row.comment);
    if !comment.is_empty() {
        keys.add("desc", string(&comment));
    } else if name != row.name {
        keys.add("desc", string(&words(&row.name)));
    }
    if name != row.name {
        report.changed(row.line, &row.name, "I0201", &format!("its path is now `{group}.{name}`"), "");
    }
    if let Some(means) = means {
        report.changed(row.line, &row.name, "I0202", &means, "");
    }
    Ok((group, DraftTag { name, keys: keys.into_vec() }))
}

/// Address and type in the notation of profiles, and what differs.
fn place(address: &str, data_type: &str) -> Result<(String, DataType, Option<String>), Refusal> {
    let plain: String =
        address.chars().filter(|c| !matches!(c, ' ' | '%')).collect::<String>().to_ascii_uppercase();
    let (plain, periphery) = match plain.strip_suffix(":P") {
        Some(plain) => (plain.to_owned(), true),
        None => (plain, false),
    };
    if let Some(found) = s7_area::timer_or_counter(&plain, &forebay_s7::S7) {
        return found.map(|(address, data_type)| (address, data_type, None));
    }
    if plain.starts_with("DB") {
        let what = "it lies in a data block";
        return Err(Refusal::new("I0101", what, "import the block by its source: forebay import tia-db"));
    }
    let name = data_type.trim().trim_matches('"').to_uppercase();
    let (scalar, means) = match layout::reading(&name) {
        Some(Reading::As(scalar)) => (scalar, None),
        Some(Reading::Raw(scalar, means)) => (scalar, Some(format!("{name} is read as {means}"))),
        Some(Reading::No) | None => {
            let what = format!("a {data_type} cannot be read as one value");
            return Err(Refusal::new("I0102", what, "give its members tags of their own"));
        }
    };
    let wrong = || {
        Refusal::new(
            "I0101",
            format!("`{address}` is no address of an input, output or bit memory"),
            "for example %I0.0, %QB4, %MW20 or %MD24",
        )
    };
    let (area, rest) = s7_area::area(&plain).ok_or_else(wrong)?;
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let written_letter = &rest[..rest.len() - digits.len()];
    let letter = match scalar.bits() {
        Some(1) => "",
        Some(16) => "W",
        Some(32) => "D",
        _ => "B",
    };
    if scalar.bits().is_some_and(|bits| bits <= 32) && written_letter.trim_start_matches('X') != letter {
        let what = format!("`{address}` has another width than {}", DataType::single(scalar));
        return Err(Refusal::new("I0102", what, "correct the data type or the address"));
    }
    // TIA shows some types wider than 32 bits with a bit number, which is always 0.
    let digits = if scalar == Scalar::Bool { digits } else { digits.strip_suffix(".0").unwrap_or(digits) };
    let written = |area: &str| format!("{area}{letter}{digits}");
    let data_type = DataType::single(scalar);
    let check = |area: &str| forebay_s7::S7.check_address(&written(area), data_type);
    let image = area.strip_prefix('P').unwrap_or(&area).to_owned();
    if periphery || area != image {
        // Whether a CPU lets others read its periphery is not known of every one.
        let told = "it is read from the process image instead of the module itself".to_owned();
        return Ok((check(&image)?.canonical, data_type, means.or(Some(told))));
    }
    Ok((check(&area)?.canonical, data_type, means))
}
