//! Tables of measured values for `forebay evaluate`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::features::StateFilter;
use super::spec::INPUTS_MAX;

/// Largest table.
pub const TABLE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most tables in one evaluation.
pub const TABLES_MAX: usize = 1000;
/// Columns that are labels, never inputs.
const LABELS: [&str; 2] = ["anomaly", "changepoint"];

/// One table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Folder and file name.
    pub(super) name: String,
    /// Names of the inputs.
    pub(super) columns: Vec<String>,
    /// Values, row after row.
    pub(super) values: Vec<f32>,
    /// For each row whether it is anomalous; `None` when the table has no labels.
    pub(super) labels: Option<Vec<bool>>,
    /// For each row whether the machine was in a state that the model watches; `None` when it watches always.
    pub(super) inside: Option<Vec<bool>>,
}

impl Table {
    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.columns.len()
    }

    /// The same rows with only these columns, in this order.
    ///
    /// # Errors
    /// Which column is missing.
    pub(super) fn select(&self, columns: &[&str]) -> Result<Self, String> {
        let place = |name: &&str| {
            let found = self.columns.iter().position(|column| column == name);
            found.ok_or_else(|| format!("{}: no column {name}, which the model is given", self.name))
        };
        let places: Vec<usize> = columns.iter().map(place).collect::<Result<_, _>>()?;
        let rows = self.values.chunks_exact(self.columns.len());
        Ok(Self {
            name: self.name.clone(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            values: rows.flat_map(|row| places.iter().map(|place| row[*place])).collect(),
            labels: self.labels.clone(),
            inside: self.inside.clone(),
        })
    }

    /// Reads a table with a header, separated by `;` or `,`. A time is left out: a column whose
    /// first cell is no number, or whose name begins with `time` or `date`. The column of `state` says in
    /// which rows a model watches; it holds numbers or texts as `is` names them.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub(super) fn read(path: &Path, state: Option<&StateFilter>) -> Result<Self, String> {
        let place = path.display();
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(TABLE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| format!("{place}: {error}"))?;
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map(|(_, line)| line).unwrap_or_default();
        let separator = if header.contains(';') { ';' } else { ',' };
        let names: Vec<&str> = header.split(separator).map(str::trim).collect();
        let mut lines = lines.peekable();
        let first: Vec<&str> =
            lines.peek().map(|(_, line)| line.split(separator).collect()).unwrap_or_default();
        let is_input = |column: &usize| {
            !LABELS.contains(&names[*column])
                && !is_time(names[*column])
                && first.get(*column).is_some_and(|cell| number(cell).is_some())
        };
        let inputs: Vec<usize> = (0..names.len()).filter(is_input).collect();
        if inputs.is_empty() || inputs.len() > INPUTS_MAX {
            return Err(format!(
                "{place}: {} columns of numbers, 1 to {INPUTS_MAX} are needed",
                inputs.len()
            ));
        }
        let label = names.iter().position(|name| *name == LABELS[0]);
        let state = state.map(|state| {
            let place_of = names.iter().position(|name| *name == state.tag);
            let tag = &state.tag;
            let missing = || format!("{place}: no column {tag}, which says when the model watches");
            Ok::<_, String>((place_of.ok_or_else(missing)?, state))
        });
        let state = state.transpose()?;
        let (mut values, mut labels, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        for (index, line) in lines {
            let cells: Vec<&str> = line.split(separator).collect();
            if let Some((column, state)) = &state {
                let cell = cells.get(*column).map_or("", |cell| cell.trim());
                inside.push(state.is.iter().any(|wanted| is_same(wanted.trim(), cell)));
            }
            for column in inputs.iter().chain(&label) {
                let cell = cells.get(*column).and_then(|cell| number(cell));
                let cell =
                    cell.ok_or_else(|| format!("{place}:{}: {} is no number", index + 1, names[*column]))?;
                if label == Some(*column) {
                    labels.push(cell > 0.5);
                } else {
                    values.push(cell);
                }
            }
        }
        let name = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>();
        Ok(Self {
            name: name.into_iter().rev().collect::<Vec<_>>().join("/"),
            columns: inputs.iter().map(|column| names[*column].to_owned()).collect(),
            values,
            labels: label.map(|_| labels),
            inside: state.map(|_| inside),
        })
    }
}

/// What goes up with every row says nothing of a machine, and everything of a table.
fn is_time(name: &str) -> bool {
    let begins = |word: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    begins("time") || begins("date")
}

/// A state as a table writes it: a text, or a number in any spelling.
fn is_same(wanted: &str, cell: &str) -> bool {
    let numbers = number(wanted).zip(number(cell));
    wanted.eq_ignore_ascii_case(cell) || numbers.is_some_and(|(a, b)| a.to_bits() == b.to_bits())
}

fn number(cell: &str) -> Option<f32> {
    cell.trim().parse::<f32>().ok().filter(|value| value.is_finite())
}

/// A table itself, or all `*.csv` in a folder and the folders in it, in the order people count.
pub(super) fn find(folder: &Path) -> Result<Vec<PathBuf>, String> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            found.extend(entries(&path)?);
        } else {
            found.push(path);
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    found.sort_by_cached_key(|path| {
        let name = path.file_name().map_or_else(Default::default, |name| name.to_os_string());
        (path.parent().map(Path::to_path_buf), name.len(), name)
    });
    found.truncate(TABLES_MAX);
    if found.is_empty() {
        return Err(format!("{}: no .csv file in it", folder.display()));
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_labels_are_no_inputs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        let text = "time_s,Timestamp,day,current,anomaly\n0,17,monday,1.5,0\n1,18,tuesday,2.5,1\n";
        std::fs::write(&path, text).expect("it is written");
        let table = Table::read(&path, None).expect("it is read");
        assert_eq!(table.columns, ["current"]);
        assert_eq!(table.labels, Some(vec![false, true]));
        assert_eq!(table.rows(), 2);
        let state = |tag: &str, is: &str| StateFilter {
            tag: tag.to_owned(),
            is: vec![is.to_owned()],
            settle: std::time::Duration::ZERO,
        };
        let inside =
            |tag: &str, is: &str| Table::read(&path, Some(&state(tag, is))).map(|table| table.inside);
        assert_eq!(inside("day", "Tuesday"), Ok(Some(vec![false, true])));
        assert_eq!(inside("Timestamp", "17.0"), Ok(Some(vec![true, false])));
        assert!(inside("mode", "1").is_err_and(|error| error.contains("no column mode")));
        assert!(table.select(&["current", "force"]).expect_err("it is missing").contains("no column force"));
    }
}
