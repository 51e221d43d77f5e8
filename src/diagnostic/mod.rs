//! Faults in the files people write: what, where, and how to mend it.
//!
//! Everything that reads a file reports into [`Faults`] and goes on, so that one run finds them
//! all; [`render`] shows them for people, programs and code hosts.

mod redact;
mod render;
mod sarif;
mod source;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};

pub use render::{Format, render};
pub use source::{Place, Source, Sources, Span};

/// Most diagnostics kept of one run; the rest is counted only.
pub const DIAGNOSTICS_MAX: usize = 500;

/// Longest line that is searched for names.
const LINE_BYTES_MAX: usize = 4096;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// What it stands in is not used.
    Error,
    /// Used as it is, but probably not meant.
    Warning,
}

impl Severity {
    /// The word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code with a section in `docs/errors`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence that names the thing.
    pub message: String,
    /// Where the caret points.
    pub place: Place,
    /// Words beside the caret, may be empty.
    pub label: String,
    /// Other places that belong to it, each with its words.
    pub also: Vec<(Place, String)>,
    /// The device whose parameters bring the fault about, where the place is in its profile.
    pub device: Option<String>,
    /// Further sentences.
    pub notes: Vec<String>,
    /// The fix, may be empty.
    pub help: String,
}

impl Diagnostic {
    /// An error at `place`.
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            place,
            label: String::new(),
            also: Vec::new(),
            device: None,
            notes: Vec::new(),
            help: String::new(),
        }
    }

    /// A warning at `place`.
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// Words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Another place that belongs to it.
    #[must_use]
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also.push((place, label.into()));
        self
    }

    /// The fix.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// What identifies a diagnostic: the same fault found again is not reported twice.
type Identity = (&'static str, Place, Option<String>, String);

/// Collects the faults of one run.
#[derive(Debug, Default)]
pub struct Faults {
    list: RefCell<Vec<Diagnostic>>,
    seen: RefCell<HashSet<Identity>>,
    /// Code and place of faults that belong to no device.
    general: RefCell<HashSet<(&'static str, Place)>>,
    /// Lines with a syntax fault: what else is found there follows from it.
    broken_lines: RefCell<BTreeMap<(usize, usize), usize>>,
    /// Files of which more than single lines could not be read.
    lost: RefCell<HashSet<usize>>,
    hidden: Cell<usize>,
}

impl Faults {
    /// Adds one, unless it is known already. A fault of the profile itself is not repeated for
    /// each device that uses it, and nothing is said about lines that cannot be read.
    pub fn add(&self, diagnostic: Diagnostic) {
        let Diagnostic { code, place, .. } = diagnostic;
        if self.in_broken_line(place) {
            return;
        }
        match &diagnostic.device {
            Some(_) if self.general.borrow().contains(&(code, place)) => return,
            Some(_) => {}
            None => {
                self.general.borrow_mut().insert((code, place));
            }
        }
        let identity = (code, place, diagnostic.device.clone(), diagnostic.message.clone());
        if !self.seen.borrow_mut().insert(identity) {
            return;
        }
        let mut list = self.list.borrow_mut();
        if list.len() < DIAGNOSTICS_MAX {
            list.push(diagnostic);
        } else {
            self.hidden.set(self.hidden.get() + 1);
        }
    }

    /// Adds a fault of the syntax, which spoils the whole `line` it stands in.
    pub fn add_syntax(&self, diagnostic: Diagnostic, line: Span) {
        let key = (diagnostic.place.file, line.start);
        self.add(diagnostic);
        self.broken_lines.borrow_mut().insert(key, line.end);
    }

    /// Remembers that more than single lines of file number `file` could not be read.
    pub fn lose(&self, file: usize) {
        self.lost.borrow_mut().insert(file);
    }

    /// True when something of this name, or a part of a dotted name, may stand where `file` could
    /// not be read.
    pub fn may_be_lost(&self, file: usize, source: &Source, name: &str) -> bool {
        let lines = self.broken_lines.borrow();
        let mut of_file = lines.range((file, 0)..(file + 1, 0));
        self.lost.borrow().contains(&file)
            || of_file.any(|((_, start), end)| {
                let line = source.slice(Span { start: *start, end: *end });
                // A line this long was written by no person, and takes long to search.
                line.len() > LINE_BYTES_MAX || name.split('.').any(|part| line.contains(part))
            })
    }

    /// True when all of the file could be read.
    pub fn is_whole(&self, file: usize) -> bool {
        let broken = self.broken_lines.borrow().range((file, 0)..(file + 1, 0)).next().is_some();
        !broken && !self.lost.borrow().contains(&file)
    }

    /// True when a line of `file` that cannot be read begins with this key.
    pub fn is_broken_key(&self, file: usize, source: &Source, key: &str) -> bool {
        let lines = self.broken_lines.borrow();
        let mut of_file = lines.range((file, 0)..(file + 1, 0));
        of_file.any(|((_, start), end)| {
            let line = source.slice(Span { start: *start, end: *end }).trim_start();
            let line = line.trim_start_matches(['[', '"', '\'']);
            let rest = line.strip_prefix(key);
            rest.is_some_and(|rest| {
                !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'))
            })
        })
    }

    fn in_broken_line(&self, place: Place) -> bool {
        let lines = self.broken_lines.borrow();
        let before = lines.range(..=(place.file, place.span.start)).next_back();
        before.is_some_and(|((file, _), end)| *file == place.file && place.span.start <= *end)
    }

    /// True when an error was found in file number `file` so far.
    pub fn any_in(&self, file: usize) -> bool {
        let seen = self.seen.borrow();
        seen.iter().any(|(_, place, ..)| place.file == file)
    }

    /// All of them, sorted by file and place, and how many more there were.
    pub fn finish(self) -> (Vec<Diagnostic>, usize) {
        let mut list = self.list.into_inner();
        list.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.code.cmp(b.code)));
        (list, self.hidden.get())
    }
}
