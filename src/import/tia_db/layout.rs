//! Offsets of the members of a data block without optimised access.
//!
//! Bits lie side by side; what is one byte wide begins at the next byte; everything wider, and every
//! structure, array and text, begins at an even byte, and what follows a structure, an array or a text
//! does so, too.

use std::collections::BTreeMap;

use forebay_connector::{DataType, Scalar};

use super::parser::{Block, Kind, Member};
use crate::import::report::Refusal;

/// Bits of the largest block that can be read by offset.
const BLOCK_BITS_MAX: u64 = 65_536 * 8;

/// Deepest nesting of PLC data types.
const DEPTH_MAX: usize = 24;

/// Most members of a block, elements of arrays of structures counted one by one.
const PLACED_MAX: usize = 40_000;

/// Most types looked at in one block.
const VISITS_MAX: usize = 400_000;

/// Types with their size in bits, and what they are read as.
const TYPES: &[(&str, u64, Reading)] = &[
    ("BOOL", 1, Reading::As(Scalar::Bool)),
    ("BYTE", 8, Reading::As(Scalar::Byte)),
    ("CHAR", 8, Reading::As(Scalar::Char)),
    ("WCHAR", 16, Reading::As(Scalar::Wchar)),
    ("SINT", 8, Reading::As(Scalar::Sint)),
    ("USINT", 8, Reading::As(Scalar::Usint)),
    ("WORD", 16, Reading::As(Scalar::Word)),
    ("INT", 16, Reading::As(Scalar::Int)),
    ("UINT", 16, Reading::As(Scalar::Uint)),
    ("S5TIME", 16, Reading::As(Scalar::S5time)),
    ("DATE", 16, Reading::As(Scalar::Date)),
    ("DWORD", 32, Reading::As(Scalar::Dword)),
    ("DINT", 32, Reading::As(Scalar::Dint)),
    ("UDINT", 32, Reading::As(Scalar::Udint)),
    ("REAL", 32, Reading::As(Scalar::Real)),
    ("TIME", 32, Reading::As(Scalar::Time)),
    ("TIME_OF_DAY", 32, Reading::As(Scalar::Tod)),
    ("TOD", 32, Reading::As(Scalar::Tod)),
    ("LWORD", 64, Reading::As(Scalar::Lword)),
    ("LINT", 64, Reading::As(Scalar::Lint)),
    ("ULINT", 64, Reading::As(Scalar::Ulint)),
    ("LREAL", 64, Reading::As(Scalar::Lreal)),
    ("DATE_AND_TIME", 64, Reading::As(Scalar::DateAndTime)),
    ("DT", 64, Reading::As(Scalar::DateAndTime)),
    ("DTL", 96, Reading::As(Scalar::Dtl)),
    ("LTIME", 64, Reading::Raw(Scalar::Lint, "a number of nanoseconds")),
    ("LTOD", 64, Reading::Raw(Scalar::Ulint, "a number of nanoseconds since midnight")),
    ("LTIME_OF_DAY", 64, Reading::Raw(Scalar::Ulint, "a number of nanoseconds since midnight")),
    ("LDT", 64, Reading::Raw(Scalar::Lint, "a number of nanoseconds since 1970")),
    ("DATE_AND_LTIME", 64, Reading::Raw(Scalar::Lint, "a number of nanoseconds since 1970")),
    ("POINTER", 48, Reading::No),
    ("ANY", 80, Reading::No),
    ("DB_ANY", 16, Reading::No),
    ("BLOCK_DB", 16, Reading::No),
    ("BLOCK_FB", 16, Reading::No),
    ("BLOCK_FC", 16, Reading::No),
    ("TIMER", 16, Reading::No),
    ("COUNTER", 16, Reading::No),
];

/// How a member is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As this type.
    As(Scalar),
    /// As a plain number, which means this.
    Raw(Scalar, &'static str),
    /// Not at all: it is no value.
    No,
}

/// One step of the way to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A structure's member.
    Name(String),
    /// Elements of the outermost array of structures that can be counted: from, to, bytes of one.
    Repeat(u32, u32, u32),
    /// One element of an array.
    Index(Vec<i64>),
}

/// A member that holds a value, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The way to it.
    pub steps: Vec<Step>,
    /// Line of its declaration.
    pub line: usize,
    /// First byte.
    pub byte: u32,
    /// Bit of it.
    pub bit: u8,
    /// What it is declared as.
    pub declared: String,
    /// How it is read.
    pub reading: Reading,
    /// Elements of an array.
    pub elements: Option<u32>,
    /// More than one dimension, or a lower bound that is neither 0 nor 1.
    pub flattened: Option<String>,
    /// Comment.
    pub comment: String,
}

/// A block, laid out.
#[derive(Debug, Default)]
pub struct Layout {
    /// Members in their order.
    pub members: Vec<Placed>,
    /// Length of the block in bytes.
    pub bytes: u32,
    /// Members whose offset hangs on how long an odd text before them is taken to be: path and byte.
    pub doubts: Vec<(String, u32)>,
}

/// What is known of types.
pub struct Types<'a> {
    /// PLC data types by name in capitals.
    pub blocks: BTreeMap<String, &'a Block>,
    /// Sizes in bytes that were given by hand.
    pub sizes: BTreeMap<String, u32>,
    /// Names of function blocks.
    pub functions: Vec<String>,
}

/// Lays a block out.
///
/// # Errors
/// A size is not known, so that no offset behind it is: line and [`Refusal`].
pub fn layout(block: &Block, types: &Types<'_>) -> Result<Layout, (usize, Refusal)> {
    let mut walk =
        Walk { types, layout: Layout::default(), bits: 0, after_odd_text: false, visits: 0, line: None };
    let member =
        Member { name: String::new(), line: block.line, kind: block.layout.clone(), comment: String::new() };
    walk.kind(&member, &block.layout, &mut Vec::new(), 0)?;
    walk.align(16);
    walk.layout.bytes = u32::try_from(walk.bits / 8).unwrap_or(u32::MAX);
    Ok(walk.layout)
}

struct Walk<'a> {
    types: &'a Types<'a>,
    layout: Layout,
    /// Where the next member may begin.
    bits: u64,
    /// An odd number of bytes of text was rounded up just before.
    after_odd_text: bool,
    /// Types looked at, so that types of types of types come to an end.
    visits: usize,
    /// Within a PLC data type: line of the member that has it, because the type may stand elsewhere.
    line: Option<usize>,
}

type Placing = Result<(), (usize, Refusal)>;

impl Walk<'_> {
    fn align(&mut self, bits: u64) {
        self.bits = self.bits.next_multiple_of(bits);
    }

    fn kind(&mut self, member: &Member, kind: &Kind, steps: &mut Vec<Step>, depth: usize) -> Placing {
        self.visits += 1;
        if self.visits > VISITS_MAX {
            return Err((member.line, Refusal::new("I0005", "the block has too many members", "split it")));
        }
        if depth > DEPTH_MAX {
            let what =
                format!("`{}` is nested more than {DEPTH_MAX} deep; a type may contain itself", member.name);
            return Err((member.line, Refusal::new("I0005", what, "make the block flatter")));
        }
        match kind {
            Kind::Named(name, len) => self.named(member, name, *len, steps),
            Kind::Udt(name) => match self.types.blocks.get(&name.to_uppercase()) {
                Some(block) => {
                    let outer = self.line;
                    self.line = outer.or(Some(member.line));
                    self.kind(member, &block.layout, steps, depth + 1)?;
                    self.line = outer;
                    Ok(())
                }
                None => match self.types.sizes.get(&name.to_uppercase()) {
                    Some(bytes) => self.left_out(member, name, u64::from(*bytes) * 8, steps),
                    None => Err((member.line, self.unknown(name))),
                },
            },
            Kind::Struct(members) => {
                // It begins at an even byte, however long a text before it is.
                self.align(16);
                self.after_odd_text = false;
                for inner in members {
                    steps.push(Step::Name(inner.name.clone()));
                    self.kind(inner, &inner.kind, steps, depth + 1)?;
                    steps.pop();
                }
                self.align(16);
                self.after_odd_text = false;
                Ok(())
            }
            Kind::Array(bounds, of) => self.array(member, bounds, of, steps, depth),
        }
    }

    fn unknown(&self, name: &str) -> Refusal {
        if self.types.functions.iter().any(|function| function.eq_ignore_ascii_case(name)) {
            let what = format!("it is laid out by the function block \"{name}\": an instance data block");
            let fix = "copy what is to be read into a global data block of your own";
            return Refusal::new("I0004", what, fix);
        }
        Refusal::new(
            "I0004",
            format!("the size of type {name} is not known, so nothing behind it has a known offset"),
            format!(
                "put the source of a PLC data type (.udt) into the folder of --udt; for a type of the system give its bytes: --size {name}=16"
            ),
        )
    }

    fn named(&mut self, member: &Member, name: &str, len: Option<u32>, steps: &[Step]) -> Placing {
        let text = match name {
            "STRING" => Some((len.unwrap_or(254), 2, 1, 254)),
            "WSTRING" => Some((len.unwrap_or(254), 4, 2, 16_382)),
            _ => None,
        };
        if let Some((len, head, width, max)) = text {
            let fits = u16::try_from(len).ok().filter(|len| (1..=max).contains(len));
            let Some(len) = fits else {
                let what = format!("a {name} of {len} characters does not exist");
                return Err((member.line, Refusal::new("I0011", what, format!("it has 1 to {max}"))));
            };
            let scalar = if width == 1 { Scalar::String(Some(len)) } else { Scalar::Wstring(Some(len)) };
            let bytes = u64::from(len) * width + head;
            self.place(member, &format!("{name}[{len}]"), bytes * 8, Reading::As(scalar), None, steps)?;
            self.after_odd_text = bytes % 2 == 1;
            self.align(16);
            return Ok(());
        }
        match TYPES.iter().find(|(known, ..)| *known == name) {
            Some((_, bits, reading)) => self.place(member, name, *bits, *reading, None, steps),
            None => match self.types.sizes.get(name) {
                Some(bytes) => self.left_out(member, name, u64::from(*bytes) * 8, steps),
                None => Err((member.line, self.unknown(name))),
            },
        }
    }

    fn left_out(&mut self, member: &Member, name: &str, bits: u64, steps: &[Step]) -> Placing {
        self.align(16);
        self.place(member, name, bits.next_multiple_of(16), Reading::No, None, steps)
    }

    /// Gives a member its place and moves on behind it.
    fn place(
        &mut self,
        member: &Member,
        declared: &str,
        bits: u64,
        reading: Reading,
        elements: Option<(u32, Option<String>)>,
        steps: &[Step],
    ) -> Placing {
        match bits {
            1 if elements.is_none() => {}
            8 if elements.is_none() => self.align(8),
            _ => self.align(16),
        }
        let doubtful = self.after_odd_text && bits <= 8 && elements.is_none();
        let byte = u32::try_from(self.bits / 8).unwrap_or(u32::MAX);
        if doubtful {
            self.layout.doubts.push((path(steps), byte));
        }
        self.after_odd_text = false;
        let (elements, flattened) = elements.unzip();
        self.layout.members.push(Placed {
            steps: steps.to_vec(),
            line: self.line.unwrap_or(member.line),
            byte,
            bit: u8::try_from(self.bits % 8).unwrap_or(0),
            declared: declared.to_owned(),
            reading,
            elements,
            flattened: flattened.flatten(),
            comment: member.comment.clone(),
        });
        self.bits += bits;
        self.within(member.line)
    }

    fn within(&self, line: usize) -> Placing {
        if self.bits > BLOCK_BITS_MAX || self.layout.members.len() > PLACED_MAX {
            let what = "the block is larger than 65536 bytes, or has more than 40000 members";
            return Err((
                line,
                Refusal::new(
                    "I0005",
                    what,
                    "such a block cannot be read by offset; copy what is to be read into a smaller one",
                ),
            ));
        }
        Ok(())
    }

    fn array(
        &mut self,
        member: &Member,
        bounds: &[(i64, i64)],
        of: &Kind,
        steps: &mut Vec<Step>,
        depth: usize,
    ) -> Placing {
        self.align(16);
        self.after_odd_text = false;
        let sizes: Vec<u64> =
            bounds.iter().map(|(low, high)| high.abs_diff(*low).saturating_add(1)).collect();
        let count = sizes.iter().fold(1u64, |all, size| all.saturating_mul(*size));
        if count > BLOCK_BITS_MAX {
            self.bits = BLOCK_BITS_MAX + 1;
            return self.within(member.line);
        }
        if let Some((name, bits, reading)) = self.simple(of) {
            let inner = sizes.last().copied().unwrap_or(1) * bits;
            if sizes.len() > 1 && bits <= 8 && !inner.is_multiple_of(16) {
                let what = format!(
                    "the rows of `{}` end within a word, and where the next row begins is not certain",
                    member.name
                );
                let fix = "make the last dimension a multiple of two bytes, or import the block in two parts";
                return Err((member.line, Refusal::new("I0011", what, fix)));
            }
            if !matches!(reading, Reading::As(Scalar::Dtl | Scalar::DateAndTime | Scalar::Date) | Reading::No)
            {
                let told = flattened(bounds);
                let elements = u32::try_from(count).unwrap_or(u32::MAX);
                self.place(member, name, bits * count, reading, Some((elements, told)), steps)?;
                self.align(16);
                return Ok(());
            }
        }
        self.elements(member, bounds, of, count, steps, depth)
    }

    /// The type of an array's elements, where they are single values of one size.
    fn simple(&self, of: &Kind) -> Option<(&'static str, u64, Reading)> {
        let Kind::Named(name, None) = of else { return None };
        TYPES.iter().find(|(known, ..)| known == name).copied()
    }

    /// Elements that have members of their own, or that cannot be one list of values.
    fn elements(
        &mut self,
        member: &Member,
        bounds: &[(i64, i64)],
        of: &Kind,
        count: u64,
        steps: &mut Vec<Step>,
        depth: usize,
    ) -> Placing {
        let repeated = steps.iter().any(|step| matches!(step, Step::Repeat(..)));
        let counted = match bounds {
            [(low, high)] if !repeated && *low >= 0 && *high <= 99_999 => {
                u32::try_from(*low).ok().zip(u32::try_from(*high).ok())
            }
            _ => None,
        };
        if let (Some((low, high)), true) = (counted, is_structure(of)) {
            let (start, first) = (self.bits, self.layout.members.len());
            steps.push(Step::Repeat(low, high, 0));
            let at = steps.len() - 1;
            self.kind(member, of, steps, depth + 1)?;
            steps.pop();
            self.align(16);
            let stride = self.bits - start;
            let bytes = u32::try_from(stride / 8).unwrap_or(u32::MAX);
            for placed in &mut self.layout.members[first..] {
                placed.steps[at] = Step::Repeat(low, high, bytes);
            }
            self.bits = start.saturating_add(stride.saturating_mul(count));
            return self.within(member.line);
        }
        let mut index: Vec<i64> = bounds.iter().map(|(low, _)| *low).collect();
        for _ in 0..count {
            let before = self.bits;
            steps.push(Step::Index(index.clone()));
            self.kind(member, of, steps, depth + 1)?;
            steps.pop();
            self.align(16);
            self.within(member.line)?;
            if self.bits == before {
                // Elements without members take no room: there is nothing to be read in any.
                break;
            }
            // The last dimension runs fastest.
            for (slot, (low, high)) in index.iter_mut().zip(bounds).rev() {
                if *slot < *high {
                    *slot += 1;
                    break;
                }
                *slot = *low;
            }
        }
        Ok(())
    }
}

fn is_structure(kind: &Kind) -> bool {
    matches!(kind, Kind::Struct(_) | Kind::Udt(_))
}

/// What to say about bounds that a list from 1 does not show.
fn flattened(bounds: &[(i64, i64)]) -> Option<String> {
    let written: Vec<String> = bounds.iter().map(|(low, high)| format!("{low}..{high}")).collect();
    match bounds {
        [(0 | 1, _)] => None,
        [(low, _)] => Some(format!("its first value is element {low}")),
        _ => {
            Some(format!("its values are one list, the last index of [{}] runs fastest", written.join(", ")))
        }
    }
}

/// How a type without a length is read; its name in capitals.
pub fn reading(name: &str) -> Option<Reading> {
    TYPES.iter().find(|(known, ..)| *known == name).map(|(.., reading)| *reading)
}

/// The way to a member as people write it: `Station[1].DieTemp`.
pub fn path(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Name(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Repeat(low, high, _) => text.push_str(&format!("[{low}..{high}]")),
            Step::Index(index) => {
                let index: Vec<String> = index.iter().map(i64::to_string).collect();
                text.push_str(&format!("[{}]", index.join(",")));
            }
        }
    }
    text
}

/// The type of a member in a profile, `None` when an array is too long for one.
pub fn data_type(scalar: Scalar, elements: Option<u32>) -> Option<DataType> {
    match elements {
        None => Some(DataType::single(scalar)),
        Some(count) => Some(DataType { scalar, array_len: Some(u16::try_from(count).ok()?) }),
    }
}
