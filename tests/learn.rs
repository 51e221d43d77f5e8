//! Learning in a running box: the real program reads simulated machines, and its command, its
//! configuration and its page have it learn from the journal what is normal for them.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

mod auto;
mod buttons;
mod order;
mod restart;
mod rig;
