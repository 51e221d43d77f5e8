//! Time: the wall clock as the rest uses it, microseconds since 1970 UTC, and the clock that what
//! waits and measures is given, so that a simulation can own it.

mod kernel;

use std::time::Instant;

use serde::Serializer;

pub use kernel::is_synchronised;

/// Wall and monotonic time. What has deadlines, ages or pauses asks this and not the system.
pub trait Clock: Send + Sync {
    /// Wall time, microseconds since 1970 UTC. May jump either way.
    fn now_us(&self) -> i64;

    /// Monotonic time: never goes back, says nothing of the day.
    fn now(&self) -> Instant;
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        now_us()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Now, microseconds since 1970-01-01T00:00:00Z.
pub fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// RFC 3339 in UTC with microseconds, for example `2026-02-11T08:15:30.250000Z`.
///
/// A time outside years -9999 to 9999 (a device may send anything) is shown as its number.
pub fn rfc3339(us: i64) -> String {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => us.to_string(),
    }
}

/// Serialises microseconds since 1970 as RFC 3339.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_us<S: Serializer>(us: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&rfc3339(*us))
}
