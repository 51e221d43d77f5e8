//! What an import did with every line: taken, taken with a change, not taken, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::amount::counted;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing of it is in the profile.
    NotTaken,
    /// It is in the profile, but not exactly as it was.
    Changed,
    /// Worth knowing; it is about the whole file.
    Note,
}

/// One thing to be said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    outcome: Outcome,
    code: &'static str,
    what: String,
    fix: String,
}

/// Collects what is to be said about an import.
#[derive(Debug, Default)]
pub struct Report {
    /// Name of the file, for messages.
    pub file: String,
    /// Tags in the profile.
    pub taken: usize,
    findings: BTreeMap<Finding, Vec<(usize, String)>>,
    changed: std::collections::BTreeSet<(usize, String)>,
    not_taken: std::collections::BTreeSet<(usize, String)>,
    read_only: Vec<String>,
}

impl Report {
    /// A report about `file`.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// `name` of line `line` (from 1) is not in the profile.
    pub fn not_taken(&mut self, line: usize, name: &str, refusal: Refusal) {
        let Refusal { code, what, fix } = refusal;
        self.not_taken.insert((line, name.to_owned()));
        self.add(line, name, Finding { outcome: Outcome::NotTaken, code, what, fix });
    }

    /// `name` of line `line` is in the profile, with this difference.
    pub fn changed(&mut self, line: usize, name: &str, code: &'static str, what: &str, fix: &str) {
        self.changed.insert((line, name.to_owned()));
        let (what, fix) = (what.to_owned(), fix.to_owned());
        self.add(line, name, Finding { outcome: Outcome::Changed, code, what, fix });
    }

    /// Something about the whole file.
    pub fn note(&mut self, code: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding { outcome: Outcome::Note, code, what: what.into(), fix: fix.into() };
        self.findings.entry(finding).or_default();
    }

    /// The source may write this tag; Forebay only reads it.
    pub fn read_only(&mut self, name: &str) {
        self.read_only.push(name.to_owned());
    }

    /// True when something was left out.
    pub fn is_partial(&self) -> bool {
        !self.not_taken.is_empty()
    }

    fn add(&mut self, line: usize, name: &str, finding: Finding) {
        self.findings.entry(finding).or_default().push((line, name.to_owned()));
    }

    /// The whole report: every line that was not taken or was changed, then the summary.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|(finding, lines)| (finding.outcome, lines.first().map(|(line, _)| *line)));
        for (finding, lines) in findings {
            self.finding(&mut text, finding, lines);
        }
        if !self.read_only.is_empty() {
            let count = self.read_only.len();
            // Writing to a `String` cannot fail, here and below.
            let _infallible = writeln!(
                text,
                "{}: {} the source may write; Forebay only reads:",
                self.file,
                counted(count as u64, "tag", "tags")
            );
            wrap(&mut text, &self.read_only);
        }
        text + &self.summary()
    }

    fn finding(&self, text: &mut String, finding: &Finding, lines: &[(usize, String)]) {
        let Finding { outcome, code, what, fix } = finding;
        let word = match outcome {
            Outcome::NotTaken => "not taken",
            Outcome::Changed => "changed",
            Outcome::Note => "note",
        };
        let file = &self.file;
        let _infallible = match lines {
            [] => writeln!(text, "{file}: {word}[{code}]: {what}"),
            [(line, name)] => writeln!(text, "{file}:{line}: {name}: {word}[{code}]: {what}"),
            [(line, name), rest @ ..] => {
                let more = rest.len();
                writeln!(text, "{file}:{line}: {name} and {more} more: {word}[{code}]: {what}")
            }
        };
        if lines.len() > 1 {
            let named: Vec<String> =
                lines.iter().map(|(line, name)| format!("{name} (line {line})")).collect();
            wrap(text, &named);
        }
        if !fix.is_empty() {
            let _infallible =
                writeln!(text, "    {}: {fix}", if *outcome == Outcome::NotTaken { "fix" } else { "see" });
        }
    }

    /// `14 tags in the source: 10 taken as they are, 3 taken with changes, 1 not taken`.
    pub fn summary(&self) -> String {
        let (changed, not) = (self.changed.len(), self.not_taken.len());
        let as_they_are = self.taken.saturating_sub(changed);
        format!(
            "{}: {}: {as_they_are} taken as they are, {changed} taken with changes, {not} not taken\n",
            self.file,
            counted((self.taken + not) as u64, "tag", "tags"),
        )
    }
}

/// Writes names in lines of at most 110 letters.
fn wrap(text: &mut String, names: &[String]) {
    let mut width = 0;
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 < names.len() { "," } else { "" };
        if width > 0 && width + name.len() + 2 > 106 {
            text.push('\n');
            width = 0;
        }
        text.push_str(if width == 0 { "    " } else { " " });
        text.push_str(name);
        text.push_str(comma);
        width += name.len() + 2;
    }
    text.push('\n');
}

/// Why something cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {fix}")]
pub struct Refusal {
    /// Stable code, explained in `docs/errors`.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Refusal {
    /// A refusal with this code.
    pub fn new(code: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, what: what.into(), fix: fix.into() }
    }
}

impl From<forebay_connector::AddressFault> for Refusal {
    fn from(fault: forebay_connector::AddressFault) -> Self {
        Self::new(fault.code, fault.message, fault.help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_findings_are_told_once_and_every_name_is_there() {
        let mut report = Report::new("tags.csv");
        report.taken = 3;
        for (line, name) in [(4, "a.x"), (9, "b.y")] {
            report.not_taken(line, name, Refusal::new("I0103", "square root", "scale it in the PLC"));
        }
        report.changed(2, "c", "I0201", "renamed to `d`", "");
        report.note("I0207", "the byte order is not in the file", "--order");
        report.read_only("c");
        let expected = "\
tags.csv:4: a.x and 1 more: not taken[I0103]: square root
    a.x (line 4), b.y (line 9)
    fix: scale it in the PLC
tags.csv:2: c: changed[I0201]: renamed to `d`
tags.csv: note[I0207]: the byte order is not in the file
    see: --order
tags.csv: 1 tag the source may write; Forebay only reads:
    c
tags.csv: 5 tags: 2 taken as they are, 1 taken with changes, 2 not taken
";
        assert_eq!(report.render(), expected);
    }
}
