//! The connector against doubles on real sockets.

// A failed unwrap in a double fails the test it serves.
#![allow(clippy::unwrap_used)]

mod bad_block;
mod double;
mod gateway;
mod hostile;
mod rtu;
mod silent_unit;
mod simulator;
