//! The areas of a CPU that can be read by offset or by number.

use std::fmt;

/// Bytes of one area that an S7ANY pointer can name; blocks readable by offset are never larger.
pub(super) const AREA_BYTES: u32 = 65_536;

/// Bytes of one timer or counter.
pub(super) const ELEMENT_BYTES: u32 = 2;

/// Highest number of a timer or counter: the largest CPUs have 2048 of each.
pub(super) const ELEMENT_MAX: u32 = 2047;

/// What is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Area {
    /// Process image of the inputs.
    Input,
    /// Inputs of the modules themselves, past the process image.
    Periphery,
    /// Process image of the outputs.
    Output,
    /// Bit memory.
    Memory,
    /// Data block with this number, never 0.
    Db(u16),
    /// S5 timers; two bytes each, counted in bytes here and by number over the wire.
    Timer,
    /// S5 counters, in the same way.
    Counter,
}

impl Area {
    /// Code of the area in an S7ANY pointer.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Periphery => 0x80,
            Self::Input => 0x81,
            Self::Output => 0x82,
            Self::Memory => 0x83,
            Self::Db(_) => 0x84,
            Self::Counter => 0x1C,
            Self::Timer => 0x1D,
        }
    }

    /// What a timer or counter is counted in over the wire; `None` where bytes are counted.
    pub(crate) fn element_bytes(self) -> Option<u32> {
        matches!(self, Self::Timer | Self::Counter).then_some(ELEMENT_BYTES)
    }

    /// True where the bytes between two tags may not exist: a CPU notes an access error for every byte
    /// of the periphery that no module has.
    pub(crate) fn is_sparse(self) -> bool {
        self == Self::Periphery
    }

    /// Where the area ends at the latest.
    pub(super) fn bytes_max(self) -> u32 {
        self.element_bytes().map_or(AREA_BYTES, |bytes| (ELEMENT_MAX + 1) * bytes)
    }

    /// Number of the data block, 0 for the other areas.
    pub(crate) fn db(self) -> u16 {
        if let Self::Db(number) = self { number } else { 0 }
    }

    /// The area an S7ANY pointer names.
    pub(crate) fn from_code(code: u8, db: u16) -> Option<Self> {
        Some(match code {
            0x80 => Self::Periphery,
            0x81 => Self::Input,
            0x82 => Self::Output,
            0x83 => Self::Memory,
            0x84 if db > 0 => Self::Db(db),
            0x1C => Self::Counter,
            0x1D => Self::Timer,
            _ => return None,
        })
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("I"),
            Self::Periphery => f.write_str("PI"),
            Self::Output => f.write_str("Q"),
            Self::Memory => f.write_str("M"),
            Self::Db(number) => write!(f, "DB{number}"),
            Self::Timer => f.write_str("T"),
            Self::Counter => f.write_str("C"),
        }
    }
}
