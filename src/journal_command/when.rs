//! Times as an operator writes them.

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned, civil};

/// A point in time: `2026-11-21T08:00:00Z`, `2026-11-21 08:00` (time zone of the box), a day
/// (its beginning), `2h ago`, `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(pub i64);

impl When {
    /// Whether these words are another time whenever they are read.
    pub fn is_relative(text: &str) -> bool {
        let text = text.trim();
        text.eq_ignore_ascii_case("now") || Span::from_str(text).is_ok()
    }

    fn read(text: &str, now: &Zoned) -> Option<Self> {
        let of = |time: Timestamp| Some(Self(time.as_microsecond()));
        let text = text.trim();
        if text.eq_ignore_ascii_case("now") {
            return of(now.timestamp());
        }
        if let Ok(time) = Timestamp::from_str(text) {
            return of(time);
        }
        if let Ok(local) = civil::DateTime::from_str(text) {
            return of(local.to_zoned(now.time_zone().clone()).ok()?.timestamp());
        }
        // Only the past: "2h" alone would be ahead of us.
        let span = Span::from_str(text).ok().filter(|span| span.is_negative())?;
        of(now.checked_add(span).ok()?.timestamp())
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let now = Timestamp::now().to_zoned(TimeZone::system());
        Self::read(text, &now).ok_or_else(|| {
            format!(
                "\"{}\" is no time: write 2026-11-21T08:00:00Z, \"2026-11-21 08:00\", 2026-11-21 or \"2h ago\"",
                text.escape_debug()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-11-21T10:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, expected) in [
            ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"),
            ("2026-11-21T08:00:00+02:00", "2026-11-21T06:00:00Z"),
            ("2026-11-21 08:00", "2026-11-21T07:00:00Z"),
            ("2026-11-21T08:00:30", "2026-11-21T07:00:30Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("2h ago", "2026-11-21T07:00:00Z"),
            ("90m ago", "2026-11-21T07:30:00Z"),
            ("3 days ago", "2026-11-18T09:00:00Z"),
            ("now", "2026-11-21T09:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(When::read(text, &now), Some(When(expected.as_microsecond())), "{text}");
            assert_eq!(When::is_relative(text), text == "now" || text.ends_with("ago"), "{text}");
        }
        for wrong in ["", "2h", "yesterday", "ago", "2026-13-01", "12:00"] {
            assert_eq!(When::read(wrong, &now), None, "{wrong}");
        }
        assert!("soon".parse::<When>().unwrap_err().contains("is no time: write"));
    }
}
