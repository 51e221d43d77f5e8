//! Scan rates in milliseconds to scan classes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::report::Report;
use super::table::{Line, Table};

/// What Kepware takes where the column is empty, in milliseconds.
const RATE_DEFAULT_MS: u64 = 100;

/// Bounds of a scan class, in milliseconds.
const RATE_MS: (u64, u64) = (10, 86_400_000);

/// Most scan classes of a profile.
const CLASSES_MAX: usize = 16;

/// The classes of a file.
#[derive(Debug)]
pub struct Rates {
    /// Interval in milliseconds and name, fastest first.
    classes: Vec<(u64, String)>,
    /// Index of the class that most tags are in.
    default: usize,
}

impl Rates {
    /// Makes a class of every rate; of the 16 fastest when there are more.
    pub fn of(table: &Table, report: &mut Report) -> Self {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for line in &table.lines {
            *counts.entry(asked(line).clamp(RATE_MS.0, RATE_MS.1)).or_default() += 1;
        }
        if counts.is_empty() {
            counts.insert(RATE_DEFAULT_MS, 0);
        }
        if counts.len() > CLASSES_MAX {
            let what = format!("the file has {} scan rates, a profile at most {CLASSES_MAX}", counts.len());
            report.note("I0205", what, "slower tags are read at the next faster rate");
        }
        let kept: Vec<(u64, usize)> = counts.into_iter().take(CLASSES_MAX).collect();
        let names: Vec<String> = match kept.len() {
            1 => vec!["normal".into()],
            2 => vec!["fast".into(), "slow".into()],
            3 => vec!["fast".into(), "normal".into(), "slow".into()],
            _ => {
                kept.iter().map(|(ms, _)| super::super::draft::duration(Duration::from_millis(*ms))).collect()
            }
        };
        let default =
            kept.iter().enumerate().max_by_key(|(_, (_, count))| *count).map_or(0, |(index, _)| index);
        Self { classes: kept.iter().map(|(ms, _)| *ms).zip(names).collect(), default }
    }

    /// All classes.
    pub fn classes(&self) -> Vec<(String, Duration)> {
        self.classes.iter().map(|(ms, name)| (name.clone(), Duration::from_millis(*ms))).collect()
    }

    /// The class that most tags are in.
    pub fn default_class(&self) -> &str {
        self.classes.get(self.default).map_or("normal", |(_, name)| name)
    }

    /// The class of a tag: the slowest that is not slower than asked for.
    pub fn class(&self, line: &Line) -> &str {
        let asked = asked(line).clamp(RATE_MS.0, RATE_MS.1);
        let fitting = self.classes.iter().rev().find(|(ms, _)| *ms <= asked);
        fitting.map_or(self.default_class(), |(_, name)| name)
    }

    /// Says where the rate is not the one that was asked for.
    pub fn say(&self, line: &Line, report: &mut Report) {
        let (number, name) = (line.number, line.said_name());
        let asked = asked(line);
        let given =
            self.classes.iter().find(|(_, class)| class == self.class(line)).map_or(asked, |(ms, _)| *ms);
        if written(line).is_none() && !line.rate.is_empty() {
            let what =
                format!("\"{}\" is no scan rate in milliseconds; it is read every {given} ms", line.rate);
            report.changed(number, name, "I0205", &what, "");
        } else if given != asked {
            report.changed(
                number,
                name,
                "I0205",
                &format!("it is read every {given} ms instead of {asked} ms"),
                "",
            );
        }
    }
}

/// The rate of a line in milliseconds, as far as it is written.
fn written(line: &Line) -> Option<u64> {
    line.rate.parse().ok()
}

fn asked(line: &Line) -> u64 {
    written(line).unwrap_or(RATE_DEFAULT_MS)
}
