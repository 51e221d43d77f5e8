//! `forebay import tia-db`: the source of a data block, as TIA Portal and STEP 7 generate it.
//!
//! Offsets are in no such source; they are computed (`layout`) and can be compared with the column
//! "Offset" of the block in TIA Portal.

mod block;
mod emit;
pub(super) mod layout;
mod lexer;
mod parser;
mod update;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::draft::Draft;
use super::finish::{Target, finish};
use super::report::{Refusal, Report};
use super::{source, zone};
use layout::{Reading, Types};
use parser::{Block, Source};

/// Most files of the folder with PLC data types.
const TYPE_FILES_MAX: usize = 2000;

/// Options of the import.
#[derive(Debug, Args)]
#[command(after_help = "\
In TIA Portal: open the block's properties, Attributes, and take the tick from \"Optimized block access\";
compile and load. Then right-click the block, Generate source from blocks, Selected blocks only; the same
for its PLC data types (.udt). In STEP 7: Generate source in the editor (.awl). Then

  forebay import tia-db DB_Press.db --db 10 --endpoint 192.168.10.33 --out press.toml
  forebay import tia-db DB_Press.db --db 10 --udt types/ --timezone Europe/Berlin --out press.toml
  forebay import tia-db Oven.awl --db 20 --cpu s7-300 --out oven.toml

After the block was changed:

  forebay import tia-db DB_Press.db --db 10 --update press.toml              shows what changes
  forebay import tia-db DB_Press.db --db 10 --update press.toml --out press.toml --force

An update gives the tags their new addresses and types, adds and removes some, and leaves everything else
as you have written it. Ends with 1 when a member was left out.")]
pub struct TiaDb {
    /// The source: .db, .scl or .awl.
    pub file: PathBuf,
    /// Number of the block on the CPU; it is not in the source.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub db: u16,
    /// Folder with the sources of PLC data types (.udt).
    #[arg(long, value_name = "FOLDER")]
    pub udt: Option<PathBuf>,
    /// Which block, where the source has several.
    #[arg(long, value_name = "NAME")]
    pub block: Option<String>,
    /// Bytes of a type that has no source, for example IEC_TIMER=16; may be given several times.
    #[arg(long, value_name = "TYPE=BYTES", value_parser = size)]
    pub size: Vec<(String, u32)>,
    /// Zone of the controller's clock, for DTL and DATE_AND_TIME, for example Europe/Berlin.
    #[arg(long, value_parser = zone)]
    pub timezone: Option<String>,
    /// S7: family of the CPU; s7-300 for an .awl and s7-1500 otherwise, unless given.
    #[arg(long, value_parser = ["s7-300", "s7-400", "s7-1200", "s7-1500", "logo"])]
    pub cpu: Option<String>,
    /// A profile that was imported before: show what changes, keep what was added by hand.
    #[arg(long, value_name = "FILE")]
    pub update: Option<PathBuf>,
    /// Where the profile goes.
    #[command(flatten)]
    pub target: Target,
}

fn size(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("`{text}` is no size; write for example IEC_TIMER=16");
    let (name, bytes) = text.split_once('=').ok_or_else(wrong)?;
    let bytes = bytes.parse::<u32>().ok().filter(|bytes| (1..=65_536).contains(bytes)).ok_or_else(wrong)?;
    Ok((name.trim_matches('"').to_uppercase(), bytes))
}

/// Runs the import.
///
/// # Errors
/// The source cannot be understood, the block cannot be read by offset, or the profile cannot be
/// written.
pub fn run(options: &TiaDb, out: &mut impl Write, said: &mut impl Write) -> anyhow::Result<ExitCode> {
    let text = read(&options.file)?;
    let types = options.udt.as_deref().map_or(Ok(Vec::new()), type_files)?;
    let (draft, report) = import(options, &text, &types)?;
    match &options.update {
        None => finish(draft, report, &options.target, out, said),
        Some(path) => {
            let old = read(path)?;
            update::run((&draft, options.db), report, (path.as_path(), &old), &options.target, out, said)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(source::text(&source::bytes(path)?).0)
}

/// Names and texts of the sources in the folder of PLC data types.
fn type_files(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let name = folder.display();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("--udt {name} is no folder that can be read"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let is_source = |path: &PathBuf| {
        let end = path.extension().map(|end| end.to_string_lossy().to_lowercase());
        end.is_some_and(|end| ["udt", "scl", "awl", "db"].contains(&end.as_str()))
    };
    let paths: Vec<PathBuf> = paths.into_iter().filter(is_source).collect();
    if paths.len() > TYPE_FILES_MAX {
        bail!("--udt {name} has more than {TYPE_FILES_MAX} sources");
    }
    paths.iter().map(|path| Ok((path.display().to_string(), read(path)?))).collect()
}

/// Makes the profile of a source and of the sources of its types, each with its name.
///
/// # Errors
/// The source cannot be understood, or the block cannot be read by offset.
pub fn import(
    options: &TiaDb,
    text: &str,
    type_sources: &[(String, String)],
) -> anyhow::Result<(Draft, Report)> {
    let file = options.file.display().to_string();
    let parsed = parse(&file, text)?;
    let others: Vec<Source> =
        type_sources.iter().map(|(name, text)| parse(name, text)).collect::<Result<_, _>>()?;
    let block = choose(&file, &parsed, options.block.as_deref())?;
    let mut report = Report::new(file.clone());
    if block.optimized == Some(true) {
        bail!(
            "{file}:{}: \"{}\" has optimised access[I0003]: its members have no offsets, so S7 cannot read them\n    \
             fix: in TIA Portal open the block's Properties, Attributes, take the tick from \"Optimized block access\", \
             compile and load, then generate the source again; or read it by OPC UA",
            block.line,
            block.name
        );
    }
    if block.optimized.is_none() {
        report.note(
            "I0211",
            "the source does not say whether the block is optimised",
            "blocks of an S7-300 or S7-400 never are; on an S7-1200 or S7-1500 look at Properties, Attributes",
        );
    }
    let mut blocks = BTreeMap::new();
    for known in others.iter().chain([&parsed]).flat_map(|source| &source.types) {
        blocks.insert(known.name.to_uppercase(), known);
    }
    let sizes = options.size.iter().cloned().collect();
    let types = Types { blocks, sizes, functions: parsed.functions.clone() };
    let laid = layout::layout(block, &types).map_err(|(line, refusal)| refused(&file, line, &refusal))?;
    let local_time =
        |placed: &layout::Placed| matches!(placed.reading, Reading::As(scalar) if scalar.is_local_time());
    if let (Some(_), None, Some(time)) =
        (&options.update, &options.timezone, laid.members.iter().find(|it| local_time(it)))
    {
        // Left out, it would look as if it were gone.
        let Refusal { what, fix, .. } = super::zone_missing();
        bail!("{file}:{}: {}: {what}[I0105]\n    fix: {fix}", time.line, layout::path(&time.steps));
    }
    let draft = emit::draft(options, block, &laid, &mut report)?;
    Ok((draft, report))
}

fn parse(file: &str, text: &str) -> anyhow::Result<Source> {
    parser::parse(text).map_err(|(line, refusal)| refused(file, line, &refusal))
}

fn refused(file: &str, line: usize, refusal: &Refusal) -> anyhow::Error {
    let Refusal { code, what, fix } = refusal;
    anyhow::anyhow!("{file}:{line}: {what}[{code}]\n    fix: {fix}")
}

fn choose<'a>(file: &str, source: &'a Source, asked: Option<&str>) -> anyhow::Result<&'a Block> {
    let names = || source.blocks.iter().map(|block| block.name.as_str()).collect::<Vec<_>>().join(", ");
    match (asked, source.blocks.as_slice()) {
        (_, []) => bail!(
            "{file} has no data block[I0002]: it should hold DATA_BLOCK … END_DATA_BLOCK\n    \
             fix: in TIA Portal right-click the block, Generate source from blocks, Selected blocks only"
        ),
        (None, [block]) => Ok(block),
        (None, _) => bail!("{file} has several data blocks: choose one with --block: {}", names()),
        (Some(name), blocks) => {
            let found = blocks.iter().find(|block| block.name.eq_ignore_ascii_case(name));
            found.with_context(|| format!("{file} has no data block \"{name}\"; it has: {}", names()))
        }
    }
}
