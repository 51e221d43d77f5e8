//! Numbers as people read them, in everything that commands print.

/// `1.5 GiB`, `12 MiB`, `700 bytes`.
#[allow(clippy::cast_precision_loss)] // for people
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / *size as f64),
        None => format!("{count} bytes"),
    }
}

/// `1,234,567`.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 file`, `2 files`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A time as the box writes it everywhere, to the second.
pub fn time(us: i64) -> String {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(time) => format!("{time:.0}"),
        Err(_) => us.to_string(),
    }
}

/// The same to the microsecond, as far as there is something behind the seconds: read back, it is the
/// same time.
pub fn exact_time(us: i64) -> String {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(time) => time.to_string(),
        Err(_) => us.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([5, 2048, 3 << 30].map(bytes), ["5 bytes", "2.0 KiB", "3.0 GiB"]);
        assert_eq!(time(1_770_000_000_900_000), "2026-02-02T02:40:00Z");
        assert_eq!(exact_time(1_770_000_000_900_000), "2026-02-02T02:40:00.9Z");
        assert_eq!(exact_time(1_770_000_000_000_000), "2026-02-02T02:40:00Z");
    }
}
