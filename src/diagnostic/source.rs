//! The files of a run and places in them.

use std::ops::Range;

/// Bytes of a file, from 0, end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end.max(range.start) }
    }
}

/// A span of one file of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Index into [`Sources::files`].
    pub file: usize,
    /// Where in it.
    pub span: Span,
}

/// One file as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name as shown in messages.
    pub name: String,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// A file named `name` with this text.
    pub fn new(name: impl Into<String>, text: String) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text, line_starts }
    }

    /// The bytes of `span` as text; empty when it does not lie on characters.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// Line and column of a byte, both from 1, the column in characters.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let at = self.floor(at);
        let column = self.text[self.line_start(at)..at].chars().count() + 1;
        (self.line(at), column)
    }

    /// Line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// `name:line` of a byte.
    pub fn at_line(&self, at: usize) -> String {
        format!("{}:{}", self.name, self.line(at))
    }

    /// Where the line of a byte starts.
    pub fn line_start(&self, at: usize) -> usize {
        self.line_starts[self.line(at) - 1]
    }

    /// Where the line of a byte ends, line break excluded.
    pub fn line_end(&self, at: usize) -> usize {
        let at = self.floor(at);
        let rest = &self.text[at..];
        at + rest.find('\n').map_or(rest.len(), |end| rest[..end].trim_end_matches('\r').len())
    }

    /// The nearest character boundary at or before `at`, within the text.
    pub fn floor(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// The files of one run, in the order in which they are reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The files.
    pub files: Vec<Source>,
}

impl Sources {
    /// Adds a file and returns its index.
    pub fn add(&mut self, source: Source) -> usize {
        self.files.push(source);
        self.files.len() - 1
    }
}
