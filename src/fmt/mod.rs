//! `forebay fmt`: profiles and device files in one spelling and in columns.
//!
//! Only what stands between words is laid out anew, and only addresses and types are spelt anew;
//! everything else, comments above all, is taken over letter by letter. What was laid out is read
//! again and compared with what was there: a file is never changed in what it says.

mod canonical;
mod layout;
mod lines;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::diagnostic::{Faults, Format, Source, Sources, render};
use crate::document::{Content, FILE_BYTES_MAX, Table, parse};

/// Writes files in one spelling and in columns; comments stay.
#[derive(Debug, Args)]
#[command(after_help = "\
  forebay fmt profiles/conveyor.toml        writes the file anew
  forebay fmt --check /etc/forebay          only says which files would change

A folder stands for its *.toml. Addresses and types get their one spelling (int16 becomes INT), the
columns of tags stand under each other. What a file says does not change, nor do its comments; a file
that cannot be read whole is left as it is.

Ends with 0; with --check with 1 when a file would change; also with 1 when a file has faults.")]
pub struct Fmt {
    /// Files and folders.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing, only name the files that would change.
    #[arg(long)]
    check: bool,
}

/// Formats files.
///
/// # Errors
/// When a file cannot be read or written, or the answer cannot be written.
pub fn run(fmt: &Fmt, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (mut changed, mut faulty) = (0, 0);
    for path in files(&fmt.files)? {
        let text = read(&path)?;
        let shown = path.display();
        let Formatted { text: new, in_columns } = match formatted(&shown.to_string(), &text) {
            Ok(new) => new,
            Err(said) => {
                faulty += 1;
                writeln!(out, "{said}\n{shown} has faults and is left as it is")?;
                continue;
            }
        };
        if !in_columns {
            writeln!(out, "{shown} keeps its columns: other ones would change what it says")?;
        }
        if new == text {
            continue;
        }
        changed += 1;
        if fmt.check {
            writeln!(out, "{shown} would change")?;
        } else {
            write(&path, &new)?;
            writeln!(out, "{shown} is written anew")?;
        }
    }
    let unsettled = faulty > 0 || (fmt.check && changed > 0);
    Ok(if unsettled { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The files, folders replaced by their `*.toml`, sorted.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
            if entry.extension().is_some_and(|end| end == "toml") && entry.is_file() {
                found.push(entry);
            }
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    anyhow::ensure!(
        size <= FILE_BYTES_MAX as u64,
        "{} is larger than {} KiB",
        path.display(),
        FILE_BYTES_MAX / 1024
    );
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes beside the file and renames: a power cut leaves the old or the new one.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let real = path.canonicalize().with_context(|| format!("cannot write {}", path.display()))?;
    let beside = real.with_extension("toml.new");
    let written = std::fs::write(&beside, text)
        .and_then(|()| std::fs::set_permissions(&beside, std::fs::metadata(&real)?.permissions()))
        .and_then(|()| std::fs::File::open(&beside)?.sync_all())
        .and_then(|()| std::fs::rename(&beside, &real));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The text in one spelling and in columns; the error says what is wrong with it.
///
/// # Errors
/// The syntax faults of the text, rendered.
pub fn format(name: &str, text: &str) -> Result<String, String> {
    formatted(name, text).map(|formatted| formatted.text)
}

/// A file in one spelling.
struct Formatted {
    text: String,
    /// False when columns would have changed what it says, so that it is left as it was.
    in_columns: bool,
}

fn formatted(name: &str, text: &str) -> Result<Formatted, String> {
    let plain = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let (source, table) = read_whole(name, &plain)?;
    let spelt = canonical::spell(&source, &table);
    let (source, table) = read_whole(name, &spelt)?;
    let laid = layout::lay_out(&source, &table);
    Ok(settled(name, &table, spelt, laid))
}

/// What was laid out, if it says the same as `table`, of which `spelt` is the text.
fn settled(name: &str, table: &Table, spelt: String, laid: String) -> Formatted {
    let in_columns = read_whole(name, &laid).is_ok_and(|(_, again)| says_the_same(table, &again));
    Formatted { text: if in_columns { laid } else { spelt }, in_columns }
}

fn read_whole(name: &str, text: &str) -> Result<(Source, Table), String> {
    let (mut sources, faults) = (Sources::default(), Faults::default());
    let file = sources.add(Source::new(name, text.to_owned()));
    let table = parse(&sources.files[file], file, &faults);
    let (diagnostics, hidden) = faults.finish();
    match table {
        Some(table) if diagnostics.is_empty() => Ok((sources.files.swap_remove(file), table)),
        _ => Err(render(&sources, &diagnostics, hidden, Format::Text, false)),
    }
}

/// True when both have the same keys and values in the same order.
fn says_the_same(one: &Table, other: &Table) -> bool {
    one.entries.len() == other.entries.len()
        && one
            .entries
            .iter()
            .zip(&other.entries)
            .all(|(one, other)| one.key == other.key && same_value(&one.node.content, &other.node.content))
}

fn same_value(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::Table(one), Content::Table(other)) => says_the_same(one, other),
        (Content::Array(one), Content::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| same_value(&one.content, &other.content))
        }
        (Content::Number(one), Content::Number(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
