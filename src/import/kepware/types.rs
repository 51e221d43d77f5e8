//! Data types as Kepware names them.

/// A data type of the column of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// What the address says.
    Default,
    /// One bit.
    Boolean,
    /// 8 bits, signed.
    Char,
    /// 8 bits, unsigned.
    Byte,
    /// 16 bits, signed.
    Short,
    /// 16 bits, unsigned.
    Word,
    /// 32 bits, signed.
    Long,
    /// 32 bits, unsigned.
    DWord,
    /// 64 bits, signed.
    LLong,
    /// 64 bits, unsigned.
    QWord,
    /// 32 bits, IEEE 754.
    Float,
    /// 64 bits, IEEE 754.
    Double,
    /// Four decimal digits.
    Bcd,
    /// Eight decimal digits.
    Lbcd,
    /// Text.
    String,
    /// A point in time.
    Date,
}

const NAMES: [(&str, Type); 16] = [
    ("Default", Type::Default),
    ("Boolean", Type::Boolean),
    ("Char", Type::Char),
    ("Byte", Type::Byte),
    ("Short", Type::Short),
    ("Word", Type::Word),
    ("Long", Type::Long),
    ("DWord", Type::DWord),
    ("LLong", Type::LLong),
    ("QWord", Type::QWord),
    ("Float", Type::Float),
    ("Double", Type::Double),
    ("BCD", Type::Bcd),
    ("LBCD", Type::Lbcd),
    ("String", Type::String),
    ("Date", Type::Date),
];

/// The content of the column "Data Type".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Type of one element.
    pub single: Type,
    /// `Word Array`.
    pub is_array: bool,
    /// As Kepware writes it, for messages.
    pub name: &'static str,
}

impl Kind {
    /// Reads `Word`, `word array` and the like; empty is the default.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, is_array) =
            match text.len().checked_sub(" array".len()).and_then(|at| text.split_at_checked(at)) {
                Some((name, end)) if end.eq_ignore_ascii_case(" array") => (name.trim(), true),
                _ => (text.trim(), false),
            };
        let name = if name.is_empty() { "Default" } else { name };
        let (name, single) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Self { single: *single, is_array, name })
    }
}

/// All names, for help texts.
pub fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}
