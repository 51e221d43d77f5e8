//! What a protocol says of the requests it would send, for `forebay plan`.

use std::time::Duration;

/// How a device would be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadPlan {
    /// One entry for each of `DeviceSpec::scans`, as if it were due alone.
    pub scans: Vec<ScanReads>,
    /// Silence that is kept before each request.
    pub pause: Duration,
    /// What one byte takes on the way at least, in nanoseconds; on Ethernet as good as nothing.
    pub byte_ns: u64,
    /// What the plan takes for granted, for people; may be empty.
    pub assumes: String,
}

/// How one scan class would be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScanReads {
    /// The requests of one scan. Empty where the device sends by itself.
    pub requests: Vec<PlannedRequest>,
    /// How the device sends by itself (`subscription, 22 items, published every 500 ms`).
    pub pushed: Option<String>,
    /// What the requests cost on the planner's model, in nanoseconds.
    pub cost_ns: u64,
    /// What they cost at the least; equal: there is no cheaper plan.
    pub bound_ns: u64,
    /// Fewest requests that any plan has.
    pub requests_min: usize,
}

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedRequest {
    /// As the protocol writes it: `FC04 wire 0..80, 80 registers`.
    pub what: String,
    /// Tags that are read by it.
    pub tags: usize,
    /// Bytes sent, frames of the protocol included, TCP's not.
    pub request_bytes: usize,
    /// Bytes of the answer.
    pub answer_bytes: usize,
}
