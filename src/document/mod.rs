//! Files people write, as trees that know the place of every value.
//!
//! `forebay.toml`, profiles and device files are all read the same way: the text becomes a
//! [`Table`] with a span on every key and value, [`Fields`] walks it and reports every fault it
//! meets into [`crate::diagnostic::Faults`], and nothing stops at the first. `{param}` in strings
//! is filled in while walking, so a profile is walked once for each device.

mod context;
mod fields;
mod fill;
mod layout;
mod nearest;
mod quantity;
mod syntax;
mod trace;
mod tree;

pub use context::{Context, EMPTY, Instance, Layer, Resolved, TextValue};
pub use fields::Fields;
pub use fill::{Param, Params, fill, is_name};
pub use nearest::nearest;
pub use quantity::{duration, scaled, size_bytes};
pub use trace::{Origin, Trace};
pub use tree::{Content, Entry, Node, Table, parse};

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Version of the file format this program reads.
pub const FORMAT_VERSION: i64 = 1;
