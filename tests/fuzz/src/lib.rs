//! The modules of Forebay that read the disk, and directories in memory for them.

#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../../src/alike.rs"]
pub mod alike;
#[path = "../../../src/amount.rs"]
pub mod amount;
#[path = "../../../src/batch.rs"]
pub mod batch;
#[path = "../../../src/clock/mod.rs"]
pub mod clock;
#[path = "../../../src/device.rs"]
pub mod device;
#[path = "../../../src/event.rs"]
pub mod event;
#[path = "../../../src/formula/mod.rs"]
pub mod formula;
#[path = "../../../src/journal/mod.rs"]
pub mod journal;
#[path = "../../../src/lane/mod.rs"]
pub mod lane;
#[path = "../../../src/panic.rs"]
mod panic;
#[path = "../../../src/twin.rs"]
pub mod twin;

pub mod disk;
pub mod document;
pub mod state;
pub mod targets;
