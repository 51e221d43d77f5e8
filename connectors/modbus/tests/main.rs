//! The connector against doubles on real sockets.

// A failed unwrap in a double fails the test it serves.
#![allow(clippy::unwrap_used)]

mod double;
mod gateway;
mod hostile;
mod simulator;
