//! The topic of leases: an active box says in it that it lives, and its standby reads that
//! (docs/kafka.md, ADR 16).
//!
//! Both sides have clients of their own beside the transactional ones, on a thread each: a lease must
//! go out while a lane waits, is paused or cannot send, and must never be part of a transaction. All
//! leases stand in the first partition, so that reader and writer need not agree on a number of them.

mod keep;
mod watch;

pub(crate) use keep::{Lease, keep};
pub(crate) use watch::{Look, watch};

/// The partition that holds the leases.
const PARTITION: i32 = 0;
