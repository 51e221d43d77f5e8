//! The time of day at which the backlog may be sent.

use jiff::civil::Time;
use jiff::tz::TimeZone;

/// From one time of the day to another, over midnight when the second is the earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyWindow {
    from: Time,
    to: Time,
}

impl DailyWindow {
    /// Reads `"22:00-06:00"`.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let window = Self { from: time(from)?, to: time(to)? };
        (window.from != window.to).then_some(window)
    }

    /// Whether it is open at this moment, microseconds since 1970 UTC, in the box's time zone.
    pub fn is_open(&self, now_us: i64) -> bool {
        self.is_open_in(now_us, TimeZone::system())
    }

    fn is_open_in(&self, now_us: i64, zone: TimeZone) -> bool {
        // A clock that is not set shows no time of day, and must not hold the backlog for ever.
        let Ok(now) = jiff::Timestamp::from_microsecond(now_us) else { return true };
        let now = now.to_zoned(zone).time();
        match self.from < self.to {
            true => self.from <= now && now < self.to,
            false => self.from <= now || now < self.to,
        }
    }
}

/// `HH:MM`, nothing else.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
    (two(hour) && two(minute)).then_some(())?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_day_and_over_midnight() {
        let open = |window: &str, time: &str, zone: &str| {
            let now: jiff::Timestamp = time.parse().unwrap();
            let zone = TimeZone::get(zone).unwrap();
            DailyWindow::parse(window).unwrap().is_open_in(now.as_microsecond(), zone)
        };
        assert!(open("22:00-06:00", "2026-02-11T23:30:00Z", "UTC"));
        assert!(open("22:00-06:00", "2026-02-11T05:59:59Z", "UTC"));
        assert!(!open("22:00-06:00", "2026-02-11T06:00:00Z", "UTC"));
        assert!(open("12:00-13:00", "2026-02-11T12:00:00Z", "UTC"));
        assert!(!open("12:00-13:00", "2026-02-11T13:00:00Z", "UTC"));
        assert!(open("22:00-06:00", "2026-02-11T21:30:00Z", "Europe/Berlin"), "it is 22:30 there");
        assert!(!open("22:00-06:00", "2026-07-11T05:30:00Z", "Europe/Berlin"), "summer time: 7:30");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in ["", "22:00", "22-06", "22:00-22:00", "24:00-06:00", "2:00-06:00", "22:00-06:60", "a-b"] {
            assert_eq!(DailyWindow::parse(text), None, "{text}");
        }
    }
}
