//! The connector against doubles on real sockets.

mod double;
mod gateway;
mod hostile;
mod simulator;
