//! The demonstration: simulated machines that behave like real ones.
//!
//! `forebay demo` serves them over real sockets; `forebay demo record` writes what they do as a
//! table, so that the shipped model can be trained from nothing but this repository.

mod drift;
pub mod filler;
pub mod machine;
pub mod meter;
pub mod record;
