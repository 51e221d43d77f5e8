//! Read planning: which requests read a set of places at the least cost.
//!
//! Two questions, both answered exactly where that is possible in bounded time:
//!
//! - [`cover`]: every span is a request of its own (Modbus). A dynamic programme over the sorted
//!   places is exact.
//! - [`pack()`]: several spans share a request, both its bytes and its items are limited (S7). That
//!   contains bin packing, so small cases are searched to the end, and for large ones the plan says
//!   how far from a proven lower bound it can be at most.
//!
//! A place inside another one is read with it and costs nothing; therefore only places that begin
//! and end one after the other remain. Among those a cheapest plan always exists whose spans hold
//! neighbours only: of two spans that overlap, what both contain can be left to the first, which
//! makes the second shorter and never dearer.
//!
//! Plans depend on nothing but the places and the limits, never on a measurement, so that the same
//! profile makes the same requests on every box (docs/adr/0013-read-planning.md).

mod complete;
mod cover;
mod fill;
mod join;
mod pack;
mod report;
mod search;
#[cfg(test)]
mod tests;

pub use cover::{Cover, Rules, cover};
pub use pack::{Packing, Room, pack};
pub use report::{PlannedRequest, ReadPlan, ScanReads};

/// What a request costs. Nanoseconds, so that all sums are whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Every request: its way there and back, and the device's own time for it.
    pub request_ns: u64,
    /// Every byte sent or received, heads included.
    pub byte_ns: u64,
}

impl Default for Cost {
    /// 5 ms a request and 1 µs a byte: about what a PLC on Ethernet takes. All that matters for the
    /// plan is their ratio: a request is dearer than any number of bytes that fits into one.
    fn default() -> Self {
        Self { request_ns: 5_000_000, byte_ns: 1_000 }
    }
}

/// A stretch of one memory that is read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Equal for places in the same memory.
    pub area: u32,
    /// First entry (byte, register, coil), from 0.
    pub start: u32,
    /// Entries.
    pub len: u32,
    /// Shares its span with no other place.
    pub alone: bool,
}

impl Place {
    /// First entry behind it.
    pub fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.len)
    }
}

/// Entries that are asked for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// As in [`Place::area`].
    pub area: u32,
    /// First entry.
    pub start: u32,
    /// Entries.
    pub len: u32,
}
