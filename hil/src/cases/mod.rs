//! The cases: each says what it shows, and what it needs of a rig.

mod reading;
mod stand;
mod trouble;

use std::future::Future;
use std::pin::Pin;

pub use stand::{Stand, Trouble, accept, poll_all, read_all};

/// What running a case gives: words for the report, or what went wrong.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<String, Trouble>> + Send + 'a>>;

/// One case.
pub struct Case {
    /// Name in `known_faults` and in the table.
    pub id: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// What it needs beside the protocol: features of the rig (`{protocol}` stands for its name), a
    /// `missing` address, `checks` in the profile.
    pub needs: &'static [&'static str],
    /// Runs it.
    pub run: for<'a> fn(&'a mut Stand) -> Running<'a>,
}

/// All cases, in the order in which they run.
pub const CASES: &[Case] = &[
    Case {
        id: "readable",
        shows: "every tag of the profile is answered with a good value within its range",
        needs: &[],
        run: |stand| Box::pin(reading::readable(stand)),
    },
    Case {
        id: "values",
        shows: "every tag has the value the device was given",
        needs: &["seed"],
        run: |stand| Box::pin(reading::values(stand)),
    },
    Case {
        id: "verify",
        shows: "every [[verify]] of the profile holds",
        needs: &["checks"],
        run: |stand| Box::pin(reading::verify(stand)),
    },
    Case {
        id: "identity",
        shows: "the device says who it is",
        needs: &["identity.{protocol}"],
        run: |stand| Box::pin(reading::identity(stand)),
    },
    Case {
        id: "bad-address",
        shows: "an address that the device does not have costs only its own tag",
        needs: &["missing"],
        run: |stand| Box::pin(trouble::bad_address(stand)),
    },
    Case {
        id: "replug",
        shows: "after the cable was out, good values come again",
        needs: &["net-impair"],
        run: |stand| Box::pin(trouble::replug(stand)),
    },
    Case {
        id: "late-answer",
        shows: "an answer that comes too late is never taken for a new one",
        needs: &["seed", "net-impair"],
        run: |stand| Box::pin(trouble::late_answer(stand)),
    },
    Case {
        id: "restart",
        shows: "a device that restarts under load is read again",
        needs: &["seed", "restart"],
        run: |stand| Box::pin(trouble::restart(stand)),
    },
];
