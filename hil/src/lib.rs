//! Hardware in the loop: the same cases on our own simulators, on foreign ones and on real devices.
//!
//! A *rig* is a set of devices that a file describes. Cases name roles (`press`) and features
//! (`s7.real`), never addresses. What a rig lacks is the recorded reason why a case did not run
//! there; it is never counted as passed. `README.md` says how to bring a bench.
//!
//! `rig` reads rig files, `device` makes what is to be read, `bench` starts what answers, `line`
//! stands between the two and can be cut or held, `cases` are the cases, `runner` runs them,
//! `report` and `proved` write what came out. `library` puts every built-in profile to its test.

pub mod bench;
pub mod cases;
pub mod device;
pub mod library;
pub mod line;
pub mod lock;
pub mod peer;
pub mod proved;
pub mod report;
pub mod rig;
pub mod runner;
pub mod values;

use std::path::Path;

/// The rig itself is at fault: its file, a missing program, a port. It says nothing of the product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RigFault(pub String);

impl RigFault {
    /// The same fault with the place it was found at in front.
    #[must_use]
    pub fn at(self, place: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {self}"))
    }
}

/// Root of the repository: rig files name profiles relative to it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
