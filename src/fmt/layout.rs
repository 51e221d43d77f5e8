//! Columns: what stands under each other in a block of lines.

use std::collections::BTreeMap;

use super::lines::{self, Line, Pair, Words};
use crate::diagnostic::Source;
use crate::document::Table;

/// Wider keys than this do not move the others, in characters.
const KEY_MAX: usize = 28;

/// A column is not filled up by more than this.
const FILL_MAX: usize = 48;

/// Comments of longer lines stand right behind them.
const COMMENT_COLUMN_MAX: usize = 150;

/// The file with its lines in columns.
pub fn lay_out(source: &Source, table: &Table) -> String {
    let mut out = String::new();
    let mut block: Vec<Line> = Vec::new();
    for line in lines::of(source, table) {
        match line {
            Line::Pair(_) | Line::Comment(_) => block.push(line),
            other => {
                write_block(&mut out, &std::mem::take(&mut block));
                match other {
                    // One blank line is enough, and none at the beginning.
                    Line::Blank if out.is_empty() || out.ends_with("\n\n") => {}
                    Line::Blank => out.push('\n'),
                    Line::Header(text) | Line::Verbatim(text) => write_line(&mut out, &text),
                    Line::Pair(_) | Line::Comment(_) => {}
                }
            }
        }
    }
    write_block(&mut out, &block);
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn write_line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text with blanks up to this column. Widths of `format!` end at 65,535, those of lines do not.
fn filled(text: &str, column: usize) -> String {
    text.to_owned() + &" ".repeat(column.saturating_sub(width(text)))
}

fn write_block(out: &mut String, block: &[Line]) {
    let pairs: Vec<&Pair> =
        block.iter().filter_map(|line| if let Line::Pair(pair) = line { Some(pair) } else { None }).collect();
    let keys = pairs.iter().map(|pair| width(&pair.key)).filter(|it| *it <= KEY_MAX).max().unwrap_or(0);
    let values = columns(&pairs);
    let texts: Vec<String> = pairs
        .iter()
        .zip(values)
        .map(|(pair, value)| format!("{} = {value}", filled(&pair.key, keys)))
        .collect();
    let column = comment_column(&pairs, &texts);
    let mut rest = pairs.iter().zip(&texts);
    for line in block {
        match line {
            Line::Comment(text) => write_line(out, text),
            _ => {
                let Some((pair, text)) = rest.next() else { continue };
                if pair.comment.is_empty() {
                    write_line(out, text);
                } else {
                    write_line(out, &format!("{}  {}", filled(text, column.saturating_sub(2)), pair.comment));
                }
            }
        }
    }
}

/// Where the comments of a block begin: where they all stand now when there is room, else two blanks
/// behind the longest line.
fn comment_column(pairs: &[&Pair], texts: &[String]) -> usize {
    let commented = || {
        let lines = pairs.iter().zip(texts).filter(|(pair, _)| !pair.comment.is_empty());
        lines.filter(|(_, text)| width(text) <= COMMENT_COLUMN_MAX)
    };
    let least = commented().map(|(_, text)| width(text) + 2).max().unwrap_or(0);
    let now = commented().next().map_or(0, |(pair, _)| pair.column);
    let lined_up = commented().all(|(pair, _)| pair.column == now);
    if lined_up && (least..=COMMENT_COLUMN_MAX + 2).contains(&now) { now } else { least }
}

/// Number of a line, and the fields of its inline table.
type Fields<'f> = (usize, &'f [(String, String)]);

/// The values of a block, the fields of inline tables under each other.
fn columns(pairs: &[&Pair]) -> Vec<String> {
    let mut values: Vec<String> = vec![String::new(); pairs.len()];
    let mut tables = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        match &pair.value {
            Words::Plain(text) => values[index].clone_from(text),
            Words::Table(fields) if fields.is_empty() => values[index] = "{}".to_owned(),
            Words::Table(fields) => tables.push((index, fields.as_slice())),
        }
    }
    let mut open = vec![(tables, 0)];
    // Lines that have had the same keys so far stand under each other.
    while let Some((group, at)) = open.pop() {
        let mut by_key: BTreeMap<&str, Vec<Fields<'_>>> = BTreeMap::new();
        for (index, fields) in group {
            let Some((key, value)) = fields.get(at) else { continue };
            let last = fields.len() == at + 1;
            let begin = if at == 0 { "{ " } else { "" };
            values[index].push_str(&format!("{begin}{key} = {value}{}", if last { " }" } else { "," }));
            if !last {
                by_key.entry(key).or_default().push((index, fields));
            }
        }
        for group in by_key.into_values() {
            let widths = || group.iter().map(|(index, _)| width(&values[*index]));
            let (least, most) = (widths().min().unwrap_or(0), widths().max().unwrap_or(0));
            let column = if most - least > FILL_MAX { 0 } else { most };
            for (index, _) in &group {
                values[*index] = filled(&values[*index], column) + " ";
            }
            open.push((group, at + 1));
        }
    }
    values
}
