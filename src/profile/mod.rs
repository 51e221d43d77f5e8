//! Device profiles: what Forebay reads from one type of device, and what the values mean.
//!
//! `docs/profiles.md` is the guide for those who write them. A profile is walked once with its
//! default parameters, which finds its own faults, and once for every `[[device]]`, which gives a
//! [`crate::device::Device`] or the faults of that device alone. Nothing here knows a protocol:
//! addresses and options go through [`forebay_connector::Protocol`].

mod budget;
mod builtin;
mod calculated;
mod device;
pub(crate) mod keys;
mod layers;
mod load;
mod options;
mod overlap;
mod params;
mod precision;
mod read;
mod scaling;
mod tag;
mod texts;
pub mod units;
mod verify;
mod walk;

pub use builtin::BUILTIN;
pub use device::Environment;
pub use load::{Input, Instances, Refused, load};
pub use walk::TAGS_MAX;

use crate::diagnostic::Span;
use crate::document::Fields;

/// Longest name of a profile, device, group or tag, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Reports a name that cannot be part of a path or a file name. True when it can.
pub(crate) fn check_name(fields: &Fields<'_>, what: &str, name: &str, span: Span) -> bool {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !fits {
        let message = format!("{}: {what} cannot be \"{}\"", fields.subject, name.escape_debug());
        let fault = fields.ctx.error("P0108", span, message);
        fields.ctx.report(fault.help(format!(
            "use 1 to {NAME_BYTES_MAX} letters (a to z, A to Z), digits, _ and -; words for people go into title or desc"
        )));
    }
    fits
}

#[cfg(test)]
mod tests;
