//! Deterministic simulation of poller, journal, lanes and replicators.
//!
//! The real code runs: [`crate::lane::Worker`] and its journal, the reader, the source, the
//! replicator's lane, and the poller's bookkeeping of losses. Simulated are clock, disks, network
//! and broker. A seed decides everything, so that a run can be had again exactly.
//!
//! `FOREBAY_SIM_SEEDS` is how many seeds are run (500), `FOREBAY_SIM_SEED` the only one.

mod broker;
mod context;
mod coroutine;
mod disk;
mod faults;
mod oracle;
mod plan;
mod poller;
mod tests;
mod transport;
mod world;
