//! Calculated tags: `value = "hydraulics.pressure * 0.1 + rate(production.parts)"`.
//!
//! A formula is compiled once when the profile is read, which finds all of its faults, into a
//! list of operations on a stack. It has no loops and no names of its own, so that it always ends
//! and needs memory that is known beforehand: evaluating it allocates nothing. There is no crate
//! for it because the general ones bring loops, strings or variables with them, and none tells the
//! place of a fault well enough for a caret.
//!
//! Numbers are 64-bit floats; a BOOL is 0 or 1 on the stack. "Not a number" stands for what cannot
//! be said (a division by zero) and goes through to the result.

mod counter;
mod parse;
mod run;
mod token;
mod window;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

pub use counter::{Counter, Step};
pub use parse::{compile, names};
pub use run::{Outcome, Running};

/// Longest formula in bytes.
pub const BYTES_MAX: usize = 2000;

/// Most operations of one formula.
pub const OPERATIONS_MAX: usize = 250;

/// Deepest nesting of brackets, calls and signs.
pub const DEPTH_MAX: usize = 24;

/// Most functions with a memory (`rate`, `mean(…, 10s)` …) of one formula.
pub const MEMORIES_MAX: usize = 16;

/// Bounds of the time a function looks back.
pub const WINDOW: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);

/// What a formula or a part of it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// True or false.
    Bool,
}

impl Kind {
    /// In words, for "this is …".
    pub fn words(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Bool => "true or false",
        }
    }
}

/// A tag that a formula may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Input {
    /// Index into the device's published tags.
    pub tag: u32,
    /// What it gives.
    pub kind: Kind,
    /// It is a counter (`kind = "counter"`).
    pub counter: Option<Counter>,
}

/// Why a tag cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoInput {
    /// What is wrong, without the name of the calculated tag.
    pub message: String,
    /// The fix.
    pub help: String,
}

/// What is wrong with a formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormulaFault {
    /// Stable code.
    pub code: &'static str,
    /// What is wrong, without the name of the calculated tag.
    pub message: String,
    /// Bytes of the formula the caret points at.
    pub span: Range<usize>,
    /// Words beside the caret, may be empty.
    pub label: String,
    /// The fix.
    pub help: String,
}

/// A formula, ready to be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    /// What it gives.
    pub kind: Kind,
    /// Tags it uses, each once.
    pub inputs: Box<[u32]>,
    operations: Box<[Operation]>,
    memories: Box<[MemorySpec]>,
}

/// One operation; operands are on the stack, the last one on top.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Number(f64),
    /// The value of this entry of `inputs`.
    Input(u16),
    Negate,
    Not,
    Absolute,
    Root,
    Round,
    Add,
    Subtract,
    Multiply,
    Divide,
    Less,
    LessOrEqual,
    Equal,
    Unequal,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Least,
    Most,
    /// Condition, value if true, value if false.
    If,
    /// Gives the value to this entry of `memories`, and takes its answer.
    Memory(u16),
}

/// A function that remembers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct MemorySpec {
    function: Remembering,
    /// How far it looks back; `None` to the evaluation before (`rate`), or to the start (`total`).
    window_us: Option<i64>,
    /// Its argument is a counter.
    counter: Option<Counter>,
}

/// Functions that remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remembering {
    Rate,
    Change,
    Total,
    Least,
    Most,
    Mean,
}

impl Formula {
    /// Bytes that its memories need while it runs.
    pub fn memory_bytes(&self) -> usize {
        self.memories.iter().map(window::bytes).sum()
    }

    /// True when it looks at more than the last values.
    pub fn remembers(&self) -> bool {
        !self.memories.is_empty()
    }
}
