//! Wall-clock time as the rest uses it: microseconds since 1970 UTC.

use serde::Serializer;

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
