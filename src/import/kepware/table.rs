//! The rows of the CSV by the names of their columns.

use anyhow::bail;

use super::super::csv;
use super::super::report::Report;

/// Most lines of a file.
const LINES_MAX: usize = 200_000;

/// Columns that say nothing a profile could hold.
const OF_NO_USE: [&str; 1] = ["respectdatatype"];

/// One tag as exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Line of the file, from 1.
    pub number: usize,
    /// Why it cannot be read.
    pub fault: Option<&'static str>,
    /// "Tag Name", with its groups before it and dots between.
    pub name: String,
    /// "Address".
    pub address: String,
    /// "Data Type".
    pub data_type: String,
    /// "Client Access": R/W, RO and the like.
    pub access: String,
    /// "Scan Rate" in milliseconds.
    pub rate: String,
    /// "Scaling": None, Linear, Square Root.
    pub scaling: String,
    /// "Raw Low", "Raw High".
    pub raw: [String; 2],
    /// "Scaled Low", "Scaled High".
    pub scaled: [String; 2],
    /// "Scaled Data Type".
    pub scaled_type: String,
    /// "Clamp Low", "Clamp High".
    pub clamp: [String; 2],
    /// "Eng Units".
    pub unit: String,
    /// "Description".
    pub description: String,
    /// "Negate Value".
    pub negate: String,
}

impl Line {
    /// Its name, or its address where it has none.
    pub fn said_name(&self) -> &str {
        match (self.name.as_str(), self.address.as_str()) {
            ("", "") => "(no name)",
            ("", address) => address,
            (name, _) => name,
        }
    }

    /// The field that belongs under a head, by its letters only.
    fn field(&mut self, head: &str) -> Option<&mut String> {
        let [raw_low, raw_high] = &mut self.raw;
        let [scaled_low, scaled_high] = &mut self.scaled;
        let [clamp_low, clamp_high] = &mut self.clamp;
        Some(match head {
            "tagname" => &mut self.name,
            "address" => &mut self.address,
            "datatype" => &mut self.data_type,
            "clientaccess" => &mut self.access,
            "scanrate" => &mut self.rate,
            "scaling" => &mut self.scaling,
            "rawlow" => raw_low,
            "rawhigh" => raw_high,
            "scaledlow" => scaled_low,
            "scaledhigh" => scaled_high,
            "scaleddatatype" => &mut self.scaled_type,
            "clamplow" => clamp_low,
            "clamphigh" => clamp_high,
            "engunits" | "engineeringunits" | "units" => &mut self.unit,
            "description" => &mut self.description,
            "negatevalue" => &mut self.negate,
            _ => return None,
        })
    }
}

/// All tags of a file.
#[derive(Debug, Default)]
pub struct Table {
    /// In the order of the file.
    pub lines: Vec<Line>,
}

impl Table {
    /// Reads the text.
    ///
    /// # Errors
    /// It is no such export, or too long.
    pub fn read(text: &str, report: &mut Report) -> anyhow::Result<Self> {
        let heads = |fields: &[String]| fields.iter().map(|field| letters(field)).collect::<Vec<_>>();
        let is_head = |fields: &[String]| {
            let heads = heads(fields);
            ["tagname", "address"].iter().all(|wanted| heads.iter().any(|head| head == wanted))
        };
        let (rows, separator) = csv::table(text, is_head);
        if rows.len() > LINES_MAX {
            bail!("{} has more than {LINES_MAX} lines; export a device at a time", report.file);
        }
        let Some(first) = rows.iter().take(csv::HEAD_ROWS).position(|row| is_head(&row.fields)) else {
            bail!(
                "{} is no tag export of Kepware[I0002]: a line with the columns \"Tag Name\" and \"Address\" is \
                 missing; in KEPServerEX right-click the device and choose Export CSV",
                report.file
            );
        };
        let mut head = heads(&rows[first].fields);
        let mut table = Self::default();
        let mut unknown: Vec<String> = Vec::new();
        for row in &rows[first + 1..] {
            if is_head(&row.fields) {
                // Exports of several devices put into one file.
                head = heads(&row.fields);
                report.note(
                    "I0210",
                    format!("line {} begins another table", row.line),
                    "import each device by itself, so that tags of different devices are not mixed",
                );
                continue;
            }
            if separator != ';' && row.fields.first().is_some_and(|field| field.starts_with(';')) {
                report.note("I0210", format!("line {} is a comment", row.line), "");
                continue;
            }
            let mut line = line(row, &head, &rows[first], &mut unknown);
            if separator == ';' {
                // Where a semicolon separates, numbers have a decimal comma.
                line.raw.iter_mut().chain(&mut line.scaled).for_each(|text| *text = text.replace(',', "."));
            }
            table.lines.push(line);
        }
        for column in unknown {
            report.note(
                "I0210",
                format!("the column \"{column}\" is not known; what stands there is not taken"),
                "",
            );
        }
        Ok(table)
    }
}

fn line(row: &csv::Row, head: &[String], named: &csv::Row, unknown: &mut Vec<String>) -> Line {
    let mut line = Line { number: row.line, fault: row.fault, ..Line::default() };
    for (index, text) in row.fields.iter().enumerate() {
        let Some(column) = head.get(index).filter(|column| !column.is_empty()) else {
            if !text.is_empty() && line.fault.is_none() {
                line.fault =
                    Some("it has more fields than there are columns: a text with a comma needs quotes");
            }
            continue;
        };
        match line.field(column) {
            Some(field) => field.clone_from(text),
            None if OF_NO_USE.contains(&column.as_str()) || text.is_empty() => {}
            None => {
                let name = named.fields.get(index).unwrap_or(column);
                if !unknown.contains(name) {
                    unknown.push(name.clone());
                }
            }
        }
    }
    line
}

/// The letters of a head, small: "Eng. Units" and "Eng Units" are the same.
fn letters(head: &str) -> String {
    head.chars().filter(|c| c.is_alphabetic()).collect::<String>().to_lowercase()
}
