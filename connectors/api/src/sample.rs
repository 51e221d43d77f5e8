//! Values, quality and samples.

/// A value as read from a device, or as published after scaling.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value: the quality says why.
    #[default]
    Null,
    /// BOOL.
    Bool(bool),
    /// Signed integers and TIME (milliseconds).
    Int(i64),
    /// Unsigned integers and bit strings.
    Uint(u64),
    /// REAL; kept as 32 bits so that 41.2 is published as 41.2.
    Real(f32),
    /// LREAL and everything that was scaled.
    Lreal(f64),
    /// CHAR, WCHAR, STRING, WSTRING.
    Text(Box<str>),
    /// DTL and DATETIME, microseconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// An array, in index order.
    Array(Box<[Value]>),
}

impl Value {
    /// The value as a number, `None` for text, times, arrays and no value.
    #[allow(clippy::cast_precision_loss)] // 64-bit counters over 2^53 lose their last digits on purpose
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Int(i) => Some(*i as f64),
            Self::Uint(u) => Some(*u as f64),
            Self::Real(r) => Some(f64::from(*r)),
            Self::Lreal(r) => Some(*r),
            Self::Null | Self::Text(_) | Self::DateTime(_) | Self::Array(_) => None,
        }
    }
}

/// What a sample is worth. The letters are those of NAMUR NE 107.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
#[repr(u8)]
pub enum Quality {
    /// Use it.
    #[default]
    Good = 0,
    /// C: someone works on the machine, or the source is simulated.
    FunctionCheck = 1,
    /// S: outside `range`.
    OutOfRange = 2,
    /// S: the server itself calls the value uncertain.
    Uncertain = 3,
    /// F: the device refused this address; the others are fine.
    Refused = 4,
    /// F: the bytes are no valid value of the type (NaN, broken text, impossible date).
    Invalid = 5,
    /// F: the server itself calls the value bad.
    Bad = 6,
    /// F: `[[verify]]` failed, so nothing of this device may be believed.
    NotVerified = 7,
    /// F: the device does not answer.
    NoConnection = 8,
}

impl Quality {
    /// All qualities, index = number on disk.
    pub const ALL: [Self; 9] = [
        Self::Good,
        Self::FunctionCheck,
        Self::OutOfRange,
        Self::Uncertain,
        Self::Refused,
        Self::Invalid,
        Self::Bad,
        Self::NotVerified,
        Self::NoConnection,
    ];

    /// Name in Kafka records and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::FunctionCheck => "function-check",
            Self::OutOfRange => "out-of-range",
            Self::Uncertain => "uncertain",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Bad => "bad",
            Self::NotVerified => "not-verified",
            Self::NoConnection => "no-connection",
        }
    }

    /// NE 107 letter, `None` when good.
    pub fn ne107(self) -> Option<char> {
        match self {
            Self::Good => None,
            Self::FunctionCheck => Some('C'),
            Self::OutOfRange | Self::Uncertain => Some('S'),
            Self::Refused | Self::Invalid | Self::Bad | Self::NotVerified | Self::NoConnection => Some('F'),
        }
    }

    /// Only good values feed models and count as good on the page.
    pub fn is_good(self) -> bool {
        self == Self::Good
    }

    /// The quality with this number on disk.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// One value as a connector delivers it: decoded, not yet scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSample {
    /// Index into [`crate::DeviceSpec::tags`].
    pub tag: u32,
    /// Decoded value; [`Value::Null`] when the quality says that there is none.
    pub value: Value,
    /// What the device or the decoder says of it.
    pub quality: Quality,
    /// Time the device gave with the value, microseconds since 1970 UTC.
    pub source_us: Option<i64>,
}
