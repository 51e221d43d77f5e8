//! Siemens' types of time, each read from its bytes and written to them.
//!
//! Points in time are the controller's local time, read as if it were UTC: the profile's time zone
//! is applied outside.

use forebay_connector::{DecodeFault, Value};

const DAY_US: i64 = 86_400_000_000;

/// Days from 1970-01-01 to 1990-01-01, where DATE begins.
const DATE_EPOCH_DAYS: i64 = 7305;

/// Last day of DATE, 2168-12-31, counted from its first.
const DATE_MAX: u16 = 65_378;

/// Days of the year before each month begins, and of the whole year.
const BEFORE_MONTH: [u16; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/// S5TIME: two bits of time base, three decimal digits. The two bits above must be 0.
pub(crate) fn s5time(word: u16) -> Result<Value, DecodeFault> {
    if word & 0xC000 != 0 {
        return Err(DecodeFault::Digit);
    }
    let count = i64::from(bcd(&(word & 0x0FFF).to_be_bytes())?);
    let base_ms = 10 * 10i64.pow(u32::from(word >> 12));
    Ok(Value::Int(count * base_ms))
}

/// The finest S5TIME that holds so many milliseconds, the longest for all that are longer.
pub(crate) fn to_s5time(ms: i64) -> u16 {
    let ms = ms.clamp(0, 9_990_000);
    let finest = (0..3u16).find(|base| ms < 10_000 * 10i64.pow(u32::from(*base))).unwrap_or(3);
    let count = ms / (10 * 10i64.pow(u32::from(finest)));
    finest << 12 | to_bcd(u64::try_from(count).unwrap_or(0), 3)
}

/// DATE: days since 1990-01-01, as a text such as `2026-02-11`.
pub(crate) fn date(number: u16) -> Result<Value, DecodeFault> {
    if number > DATE_MAX {
        return Err(DecodeFault::Date);
    }
    let (year, month, day) = from_days(DATE_EPOCH_DAYS + i64::from(number));
    Ok(Value::Text(format!("{year:04}-{month:02}-{day:02}").into_boxed_str()))
}

/// The DATE of such a text, `None` when it is none.
pub(crate) fn to_date(text: &str) -> Option<u16> {
    let mut parts = text.split('-');
    let days = days(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)?;
    let number = u16::try_from(days - DATE_EPOCH_DAYS).ok()?;
    (parts.next().is_none() && number <= DATE_MAX).then_some(number)
}

/// DATE_AND_TIME: two digits each of year, month, day, hour, minute and second, three of
/// milliseconds; years from 90 on belong to the last century. The weekday in the last half byte is
/// not looked at: it follows from the date.
pub(crate) fn date_and_time(bytes: &[u8]) -> Result<Value, DecodeFault> {
    let [fields @ .., last] = bytes.get(..8).ok_or(short(8, bytes))? else {
        return Err(short(8, bytes));
    };
    let mut digits = [0u8; 7];
    for (digit, field) in digits.iter_mut().zip(fields) {
        *digit = u8::try_from(bcd(&[*field])?).unwrap_or(u8::MAX); // 0 to 99
    }
    let ms = bcd(&[last >> 4])? + 10 * u32::from(digits[6]);
    let [year, month, day, hour, minute, second, _] = digits;
    let year = u16::from(year) + if year >= 90 { 1900 } else { 2000 };
    point(year, [month, day, hour, minute, second], ms * 1000)
}

/// Writes a DATE_AND_TIME; `None` outside 1990 to 2089, which the type does not know.
pub(crate) fn to_date_and_time(us: i64) -> Option<[u8; 8]> {
    let (year, [month, day, hour, minute, second], rest_us) = parts(us)?;
    let year = (1990..2090).contains(&year).then_some(year % 100)?;
    let ms = u64::from(rest_us / 1000);
    let pair = |number: u64| to_bcd(number, 2).to_be_bytes()[1];
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|n| pair(n.into()));
    let last = to_bcd(ms % 10, 1).to_be_bytes()[1] << 4 | weekday(us);
    Some([pair(year.into()), month, day, hour, minute, second, pair(ms / 10), last])
}

/// DTL: year, month, day, weekday, hour, minute, second, nanosecond; 1970-01-01 to 2262-04-11. The
/// weekday is not looked at.
pub(crate) fn dtl(bytes: &[u8]) -> Result<Value, DecodeFault> {
    let [y1, y0, month, day, _, hour, minute, second, n3, n2, n1, n0, ..] = bytes else {
        return Err(short(12, bytes));
    };
    let year = u16::from_be_bytes([*y1, *y0]);
    let nanosecond = u32::from_be_bytes([*n3, *n2, *n1, *n0]);
    if !(1970..=2262).contains(&year) || nanosecond >= 1_000_000_000 {
        return Err(DecodeFault::Date);
    }
    point(year, [*month, *day, *hour, *minute, *second], nanosecond / 1000)
}

/// Writes a DTL; `None` for times that the type does not know.
pub(crate) fn to_dtl(us: i64) -> Option<[u8; 12]> {
    let (year, [month, day, hour, minute, second], rest_us) = parts(us)?;
    let [y1, y0] = (1970..=2262).contains(&year).then_some(year)?.to_be_bytes();
    let [n3, n2, n1, n0] = (rest_us * 1000).to_be_bytes();
    Some([y1, y0, month, day, weekday(us), hour, minute, second, n3, n2, n1, n0])
}

fn short(needed: usize, bytes: &[u8]) -> DecodeFault {
    DecodeFault::Short { needed, got: bytes.len() }
}

/// Month, day, hour, minute and second of a year, and microseconds, as a point in time.
fn point(year: u16, fields: [u8; 5], rest_us: u32) -> Result<Value, DecodeFault> {
    let [month, day, hour, minute, second] = fields;
    let days = days(year, month, day).ok_or(DecodeFault::Date)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(DecodeFault::Date);
    }
    let seconds = ((days * 24 + i64::from(hour)) * 60 + i64::from(minute)) * 60 + i64::from(second);
    Ok(Value::DateTime(seconds * 1_000_000 + i64::from(rest_us)))
}

/// The opposite of [`point`]; `None` before the year 1 and behind 9999.
fn parts(us: i64) -> Option<(u16, [u8; 5], u32)> {
    let days = us.div_euclid(DAY_US);
    if !(-719_162..2_932_897).contains(&days) {
        return None;
    }
    let (year, month, day) = from_days(days);
    let rest = u64::try_from(us.rem_euclid(DAY_US)).ok()?;
    let part = |unit: u64, count: u64| u8::try_from(rest / unit % count).unwrap_or(0);
    let fields = [month, day, part(3_600_000_000, 24), part(60_000_000, 60), part(1_000_000, 60)];
    Some((year, fields, u32::try_from(rest % 1_000_000).ok()?))
}

/// Sunday is 1. 1970-01-01 was a Thursday.
fn weekday(us: i64) -> u8 {
    u8::try_from((us.div_euclid(DAY_US) + 4).rem_euclid(7) + 1).unwrap_or(1)
}

fn leap(year: u16) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// Days of the year in front of a month from 1 on; month 13 gives the whole year.
fn before_month(year: u16, month: u8) -> u16 {
    let days = BEFORE_MONTH.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or(0);
    days + u16::from(month > 2 && leap(year))
}

/// Days from 1970-01-01 to this date of the Gregorian calendar; `None` when it does not exist.
fn days(year: u16, month: u8, day: u8) -> Option<i64> {
    let exists = year >= 1
        && (1..=12).contains(&month)
        && day >= 1
        && u16::from(day) <= before_month(year, month + 1) - before_month(year, month);
    let past = i64::from(year) - 1;
    let of_year = i64::from(before_month(year, month)) + i64::from(day) - 1;
    // 719162 days lie between 0001-01-01 and 1970-01-01.
    exists.then_some(past * 365 + past / 4 - past / 100 + past / 400 + of_year - 719_162)
}

/// The date so many days after 1970-01-01; within the years 1 to 9999.
fn from_days(number: i64) -> (u16, u8, u8) {
    // An average year is a little longer than 365 days: at most one year too early.
    let guess = (number + 719_162) * 400 / 146_097 + 1;
    let mut year = u16::try_from(guess).unwrap_or(1);
    let begins = |year| days(year, 1, 1).unwrap_or(i64::MAX);
    while begins(year + 1) <= number {
        year += 1;
    }
    while year > 1 && begins(year) > number {
        year -= 1;
    }
    let of_year = u16::try_from(number - begins(year)).unwrap_or(0);
    let month = (2..=12).take_while(|month| before_month(year, *month) <= of_year).last().unwrap_or(1);
    let day = u8::try_from(of_year - before_month(year, month) + 1).unwrap_or(1);
    (year, month, day)
}

/// The number in decimal digits, one in each half byte.
fn bcd(bytes: &[u8]) -> Result<u32, DecodeFault> {
    let mut number = 0;
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        if digit > 9 {
            return Err(DecodeFault::Digit);
        }
        number = number * 10 + u32::from(digit);
    }
    Ok(number)
}

/// The last `digits` (at most 4) digits of a number, one in each half byte.
fn to_bcd(number: u64, digits: u32) -> u16 {
    (0..digits).fold(0, |word, digit| {
        let value = u16::try_from(number / 10u64.pow(digit) % 10).unwrap_or(0);
        word | value << (4 * digit)
    })
}

#[cfg(test)]
mod tests;
