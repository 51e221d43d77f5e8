//! Every table of profiles and device files and its keys: what is read, and what the schema offers.

pub use super::device::KEYS as DEVICE;
pub use super::params::KEYS as PARAM;
pub use super::read::{HEADER_KEYS as HEADER, ROOT_KEYS as ROOT};
pub use super::tag::{DEFAULT_KEYS as DEFAULTS, KEYS as TAG, LIMITS};
pub use super::verify::{INLINE_KEYS as VERIFY_TAG, KEYS as VERIFY};
pub use super::walk::REPEAT_KEYS as REPEAT;
