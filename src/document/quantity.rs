//! Durations and sizes as texts with their unit.

use std::time::Duration;

/// Units of durations, in nanoseconds.
const TIME_UNITS: [(&str, u64); 6] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of sizes, in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Reads `"200ms"`, `"1.5s"`, `"5m"`, `"2h"`, `"1d"`. `None` when it is no such text, or longer
/// than about 584 years.
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, &TIME_UNITS).map(Duration::from_nanos)
}

/// Reads `"256KiB"`, `"16MiB"`, `"2GiB"`, `"500MB"`. `None` when it is no such text.
pub fn size_bytes(text: &str) -> Option<u64> {
    scaled(text, &SIZE_UNITS)
}

/// A duration in the largest unit that divides it, as files write it: `"200ms"`, `"24h"`.
pub fn duration_text(value: Duration) -> String {
    // Days and `min` are other spellings; hours are what people count in.
    let units = TIME_UNITS.iter().rev().filter(|(name, _)| !matches!(*name, "d" | "m"));
    text(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX), units, "ms")
}

/// A size in the largest binary unit that divides it, as files write it: `"256KiB"`.
pub fn size_text(bytes: u64) -> String {
    text(bytes, SIZE_UNITS.iter().rev().filter(|(name, _)| name.len() != 2), "B")
}

fn text<'a>(value: u64, mut units: impl Iterator<Item = &'a (&'a str, u64)>, smallest: &str) -> String {
    let fits = units.find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    fits.map_or_else(|| format!("{value}{smallest}"), |(name, factor)| format!("{}{name}", value / factor))
}

/// Reads a decimal number with at most nine decimals, times its unit, exactly.
pub fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let number_is_whole = !number.contains('.');
    if whole.is_empty() || (!number_is_whole && decimals.is_empty()) || decimals.len() > 9 {
        return None;
    }
    let fraction = match decimals {
        "" => 0,
        digits => {
            let power = 10u128.pow(u32::try_from(digits.len()).ok()?);
            u128::from(digits.parse::<u64>().ok()?) * u128::from(factor) / power
        }
    };
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    u64::try_from(whole + fraction).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_need_their_unit() {
        assert_eq!(duration("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(size_bytes("256KiB"), Some(262_144));
        assert_eq!(size_bytes("2 GiB"), Some(2 << 30));
        for bad in ["", "5", "s", "1..5s", ".5s", "1.s", "-1s", "1 fortnight", "99999999999999999999s", "1ß"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(size_bytes("99999999TiB"), None);
    }

    #[test]
    fn bounds_are_told_in_the_largest_unit() {
        for (text, told) in [("86400s", "24h"), ("100ms", "100ms"), ("90s", "90s"), ("120s", "2min")] {
            assert_eq!(duration_text(duration(text).unwrap()), told);
        }
        assert_eq!(duration_text(Duration::ZERO), "0ms");
        assert_eq!([size_text(4096), size_text(64 << 40), size_text(1000)], ["4KiB", "64TiB", "1000B"]);
    }
}
