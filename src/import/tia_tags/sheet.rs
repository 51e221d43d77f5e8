//! The rows of a tag table: spreadsheet, CSV with heads, or the SDF of STEP 7 without.

use std::io::{Cursor, Read as _};

use anyhow::bail;
use calamine::{Data, DataRef, Reader as _, Xlsx};
use zip::ZipArchive;

use crate::import::report::Report;
use crate::import::{csv, source};

/// Bytes of an unpacked spreadsheet.
const UNPACKED_MAX: u64 = 64 << 20;

/// Files in a spreadsheet.
const PARTS_MAX: usize = 1000;

/// Rows and columns that are looked at.
const ROWS_MAX: u32 = 100_000;
const COLUMNS_MAX: u32 = 64;

/// The sheet that holds the tags.
const SHEET: &str = "PLC Tags";

/// One tag as exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Row of the sheet or line of the file, from 1.
    pub line: usize,
    /// "Name".
    pub name: String,
    /// "Path": the tag table.
    pub table: String,
    /// "Data Type".
    pub data_type: String,
    /// "Logical Address".
    pub address: String,
    /// "Comment".
    pub comment: String,
}

impl Row {
    /// Its name, or its address where it has none.
    pub fn said_name(&self) -> &str {
        if self.name.is_empty() { &self.address } else { &self.name }
    }

    fn field(&mut self, head: &str) -> Option<&mut String> {
        let letters: String = head.chars().filter(|c| c.is_alphabetic()).collect();
        Some(match letters.to_lowercase().as_str() {
            "name" => &mut self.name,
            "path" => &mut self.table,
            "datatype" | "type" => &mut self.data_type,
            "logicaladdress" | "address" => &mut self.address,
            "comment" => &mut self.comment,
            _ => return None,
        })
    }
}

/// The tags of a file.
#[derive(Debug)]
pub struct Sheet {
    /// In their order.
    pub rows: Vec<Row>,
    /// An SDF, which has no heads: the symbol table of STEP 7, and an old form of TIA Portal.
    pub is_sdf: bool,
}

fn is_head(fields: &[String]) -> bool {
    let has = |wanted: &str| fields.iter().any(|field| field.eq_ignore_ascii_case(wanted));
    has("Name") && has("Logical Address")
}

/// Reads the table.
///
/// # Errors
/// It is none, or is too large.
pub fn read(file: &str, bytes: &[u8], report: &mut Report) -> anyhow::Result<Sheet> {
    let cells = if bytes.starts_with(b"PK") {
        spreadsheet(file, bytes)?
    } else {
        let (text, _) = source::text(bytes);
        let (rows, _) = csv::table(&text, is_head);
        if rows.len() > ROWS_MAX as usize {
            bail!("{file} has more than {ROWS_MAX} rows; export one table at a time");
        }
        for row in &rows {
            if let Some(fault) = row.fault {
                report.not_taken(
                    row.line,
                    row.fields.first().map_or("", String::as_str),
                    crate::import::report::Refusal::new("I0010", fault, "mend the line in a text editor"),
                );
            }
        }
        rows.into_iter().filter(|row| row.fault.is_none()).map(|row| (row.line, row.fields)).collect()
    };
    if let Some(at) = cells.iter().take(csv::HEAD_ROWS).position(|(_, fields)| is_head(fields)) {
        return Ok(Sheet { rows: by_heads(&cells[at].1, &cells[at + 1..]), is_sdf: false });
    }
    let sdf: Vec<Row> = cells.iter().filter_map(|(line, fields)| by_place(*line, fields)).collect();
    if sdf.is_empty() || sdf.len() < cells.len() {
        bail!(
            "{file} is no tag table of TIA Portal[I0002]: the columns \"Name\" and \"Logical Address\" are missing\n    \
             fix: in TIA Portal open PLC tags, Show all tags, and choose Export"
        );
    }
    Ok(Sheet { rows: sdf, is_sdf: true })
}

fn by_heads(heads: &[String], cells: &[(usize, Vec<String>)]) -> Vec<Row> {
    let row = |(line, fields): &(usize, Vec<String>)| {
        let mut row = Row { line: *line, ..Row::default() };
        for (head, text) in heads.iter().zip(fields) {
            if let Some(field) = row.field(head) {
                field.clone_from(text);
            }
        }
        row
    };
    cells.iter().map(row).collect()
}

/// A line of an SDF file: name, address and type; of STEP 7 with the comment behind them.
fn by_place(line: usize, fields: &[String]) -> Option<Row> {
    let [name, address, data_type, rest @ ..] = fields else { return None };
    let letter = address.trim_start_matches('%').chars().next()?;
    let is_address = letter.is_ascii_alphabetic() && address.contains(|c: char| c.is_ascii_digit());
    let comment = match rest {
        [comment] => comment.clone(),
        // TIA Portal writes what the HMI may do before it.
        [_, _, _, comment, ..] => comment.clone(),
        _ => String::new(),
    };
    is_address.then(|| Row {
        line,
        name: name.clone(),
        table: String::new(),
        data_type: data_type.clone(),
        address: address.clone(),
        comment,
    })
}

/// The cells of the sheet as text, row by row.
fn spreadsheet(file: &str, bytes: &[u8]) -> anyhow::Result<Vec<(usize, Vec<String>)>> {
    bounded(file, bytes)?;
    // The reader is well kept, but it reads what anybody may have written.
    let read = std::panic::catch_unwind(|| cells(file, bytes));
    read.unwrap_or_else(|_| {
        bail!("{file} is a damaged spreadsheet[I0001]: save it anew in Excel, or export it again")
    })
}

/// Unpacks everything once and counts: what a file says of its own size proves nothing.
fn bounded(file: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let damaged =
        |error: String| anyhow::anyhow!("{file} is a damaged spreadsheet[I0001]: {error}; export it again");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(error.to_string()))?;
    if archive.len() > PARTS_MAX {
        bail!("{file} has more than {PARTS_MAX} parts[I0001]; export it again");
    }
    let mut unpacked = 0;
    for index in 0..archive.len() {
        let part = archive.by_index(index).map_err(|error| damaged(error.to_string()))?;
        let left = UNPACKED_MAX - unpacked;
        unpacked += std::io::copy(&mut part.take(left + 1), &mut std::io::sink())
            .map_err(|error| damaged(error.to_string()))?;
        if unpacked > UNPACKED_MAX {
            bail!(
                "{file} is larger than {} MiB when unpacked[I0001]; export one table at a time",
                UNPACKED_MAX >> 20
            );
        }
    }
    Ok(())
}

fn cells(file: &str, bytes: &[u8]) -> anyhow::Result<Vec<(usize, Vec<String>)>> {
    let damaged = |error: calamine::XlsxError| {
        anyhow::anyhow!("{file} is a damaged spreadsheet[I0001]: {error}; export it again")
    };
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(damaged)?;
    let names = book.sheet_names();
    let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(SHEET)).or(names.first()).cloned()
    else {
        bail!("{file} has no sheet[I0002]; export it again");
    };
    let mut rows: Vec<(usize, Vec<String>)> = Vec::new();
    let mut reader = book.worksheet_cells_reader(&name).map_err(damaged)?;
    while let Some(cell) = reader.next_cell().map_err(damaged)? {
        let (row, column) = cell.get_position();
        let text = match cell.get_value() {
            DataRef::Empty => continue,
            DataRef::String(text) => text.clone(),
            DataRef::SharedString(text) => (*text).to_owned(),
            value => Data::from(value.clone()).to_string(),
        };
        if row >= ROWS_MAX {
            bail!("{file} has more than {ROWS_MAX} rows; export one table at a time");
        }
        if column >= COLUMNS_MAX {
            continue;
        }
        let line = row as usize + 1;
        if rows.last().is_none_or(|(last, _)| *last != line) {
            rows.push((line, Vec::new()));
        }
        if let Some((_, fields)) = rows.last_mut() {
            let column = column as usize;
            if fields.len() <= column {
                fields.resize(column + 1, String::new());
            }
            fields[column] = text.trim().to_owned();
        }
    }
    Ok(rows)
}
