//! How numbers, times and texts are said in one language, at one moment, in one time zone.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::words::{EventWords, HealthWords, Language, PeopleWords, Words, fill};

/// Narrow no-break space between thousands: understood in both languages, unlike `.` and `,`.
const THIN_SPACE: char = '\u{202f}';

/// Longest text of a device or a message on the page, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 160;

/// Longest sentence that says what to do, in characters.
pub(super) const SENTENCE_CHARS_MAX: usize = 600;

/// Language, moment and time zone of one answer.
pub(super) struct Speech {
    pub(super) language: Language,
    pub(super) words: &'static Words,
    /// Now, microseconds since 1970 UTC.
    pub(super) now_us: i64,
    pub(super) zone: TimeZone,
}

impl Speech {
    /// Now, in the time zone of the box.
    pub(super) fn now(language: Language) -> Self {
        let now_us = crate::clock::now_us();
        Self { language, words: language.words(), now_us, zone: TimeZone::system() }
    }

    /// The words of "Is anything about to fail?".
    pub(super) fn health_words(&self) -> &'static HealthWords {
        self.language.health_words()
    }

    /// The words around people.
    pub(super) fn people_words(&self) -> &'static PeopleWords {
        self.language.people_words()
    }

    /// The words of the events.
    pub(super) fn event_words(&self) -> &'static EventWords {
        self.language.event_words()
    }

    /// A number with a fixed count of decimals.
    pub(super) fn number(&self, value: f64, decimals: usize) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        if value.abs() >= 1e15 {
            return format!("{value:.3e}").replace('.', self.words.decimal);
        }
        let text = format!("{:.decimals$}", value.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let mut out = String::with_capacity(text.len() + 8);
        // A value that rounds to zero has no sign.
        if value < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            out.push('−');
        }
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && whole.len() > 4 && (whole.len() - at).is_multiple_of(3) {
                out.push(THIN_SPACE);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push_str(self.words.decimal);
            out.push_str(fraction);
        }
        out
    }

    /// A count.
    #[allow(clippy::cast_precision_loss)] // counts over 2^53 lose their last digits, nobody reads those
    pub(super) fn count(&self, count: u64) -> String {
        self.number(count as f64, 0)
    }

    /// An age or a duration, short: `0.4 s`, `45 s`, `12 min`, `3 h 20 min`, `9 days 4 h`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0 … 1e9 first
    pub(super) fn duration(&self, seconds: f64) -> String {
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 1e9 };
        if seconds < 9.95 {
            return format!("{} s", self.number(seconds, 1));
        }
        let whole = seconds.round() as u64;
        let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
        match whole {
            0..60 => format!("{whole} s"),
            60..3600 => format!("{minutes} min"),
            3600..86_400 if minutes % 60 == 0 => format!("{hours} h"),
            3600..86_400 => format!("{hours} h {} min", minutes % 60),
            _ if days > 366 => self.words.over_a_year.to_owned(),
            _ => {
                let in_days = match days {
                    1 => self.words.one_day.to_owned(),
                    _ => fill(self.words.many_days, &[&days.to_string()]),
                };
                match hours % 24 {
                    0 => in_days,
                    // Of a long time nobody reads the hours.
                    _ if days > 30 => in_days,
                    rest => format!("{in_days} {rest} h"),
                }
            }
        }
    }

    /// How long a thing lasts, roughly: `about 15 days`, `about 8 months`, `about 70 years`.
    pub(super) fn lifetime(&self, years: f64) -> String {
        let (days, months) = (years * 365.25, years * 12.0);
        match years {
            _ if days < 60.0 => fill(self.words.about, &[&self.duration(days.max(1.0).round() * 86_400.0)]),
            _ if months < 23.5 => fill(self.words.many_months, &[&self.number(months, 0)]),
            _ if years < 100.0 => fill(self.words.many_years, &[&self.number(years, 0)]),
            _ => self.words.over_100_years.to_owned(),
        }
    }

    /// Age of a moment; a moment in the future has age 0.
    #[allow(clippy::cast_precision_loss)] // microseconds of an age, shown with one decimal
    pub(super) fn age_s(&self, at_us: i64) -> f64 {
        self.now_us.saturating_sub(at_us).max(0) as f64 / 1e6
    }

    /// A moment in local time: `14:32` today, `Tue 14:32` within a week, else `2026-02-11 14:32`.
    pub(super) fn moment(&self, at_us: i64) -> String {
        self.local(at_us, "%H:%M")
    }

    /// The same with seconds, for the list of events and the header's clock.
    pub(super) fn moment_exact(&self, at_us: i64) -> String {
        self.local(at_us, "%H:%M:%S")
    }

    /// `text` with the moments in it, which texts for all readers have in UTC, as local times.
    pub(super) fn local_times(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for (at, word) in text.split(' ').enumerate() {
            if at > 0 {
                out.push(' ');
            }
            let (bare, mark) = match word.trim_end_matches([',', ';', ':', '.', ')']) {
                bare if bare.ends_with('Z') => (bare, &word[bare.len()..]),
                _ => (word, ""),
            };
            match rfc3339_us(bare) {
                Some(at_us) => out.push_str(&(self.moment_exact(at_us) + mark)),
                None => out.push_str(word),
            }
        }
        out
    }

    /// The time zone of the box at this moment: `CET (UTC+01:00)`.
    pub(super) fn zone_name(&self) -> String {
        let Ok(now) = Timestamp::from_microsecond(self.now_us) else { return "UTC".to_owned() };
        let now = now.to_zoned(self.zone.clone());
        let (name, offset) = (now.strftime("%Z").to_string(), now.strftime("%:z").to_string());
        // Zones without a name are called by their offset.
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
        match (is_name, name.as_str()) {
            (true, "UTC") => name,
            (true, _) => format!("{name} (UTC{offset})"),
            (false, _) => format!("UTC{offset}"),
        }
    }

    fn local(&self, at_us: i64, form: &str) -> String {
        let (Ok(at), Ok(now)) =
            (Timestamp::from_microsecond(at_us), Timestamp::from_microsecond(self.now_us))
        else {
            return "–".to_owned();
        };
        let at = at.to_zoned(self.zone.clone());
        let today = now.to_zoned(self.zone.clone()).date();
        let time = at.strftime(form).to_string();
        let days = at.date().until(today).map_or(i32::MAX, |span| span.get_days());
        match days {
            0 => time,
            1..7 => format!("{} {time}", self.weekday(at.date())),
            _ => format!("{} {time}", at.date()),
        }
    }

    /// Short name of the day.
    pub(super) fn weekday(&self, date: Date) -> String {
        let weekday = usize::try_from(date.weekday().to_sunday_zero_offset()).unwrap_or_default();
        self.words.days.split(' ').nth(weekday).unwrap_or_default().to_owned()
    }

    /// An amount of bytes in the unit a person would choose.
    #[allow(clippy::cast_precision_loss)] // shown with two digits
    pub(super) fn bytes(&self, bytes: u64) -> String {
        let mut amount = bytes as f64;
        for unit in ["B", "kB", "MB", "GB"] {
            if amount < 999.5 {
                let decimals = usize::from(unit != "B" && amount < 9.95);
                return format!("{} {unit}", self.number(amount, decimals));
            }
            amount /= 1000.0;
        }
        format!("{} TB", self.number(amount, usize::from(amount < 9.95)))
    }

    /// A rate per second with about two digits.
    pub(super) fn rate(&self, per_second: f64) -> String {
        self.number(per_second, usize::from(per_second < 9.95))
    }

    /// `one` for 1, else `many`, filled with the count and `parts`.
    pub(super) fn plural(&self, count: usize, one: &str, many: &str, parts: &[&str]) -> String {
        let number = self.count(count as u64);
        let mut all = vec![number.as_str()];
        all.extend_from_slice(parts);
        fill(if count == 1 { one } else { many }, &all)
    }
}

/// The moment that a word like `2026-02-11T08:15:30.250000Z` names.
fn rfc3339_us(word: &str) -> Option<i64> {
    let is_one = word.len() >= 20 && word.ends_with('Z') && word.as_bytes().get(10) == Some(&b'T');
    is_one.then(|| word.parse::<Timestamp>().ok()).flatten().map(Timestamp::as_microsecond)
}

/// Text from outside made fit to show: bounded, without control characters and without those
/// that turn the direction of writing (they make a name look like another one).
pub(super) fn plain(text: &str) -> String {
    plain_to(text, TEXT_CHARS_MAX)
}

/// [`plain`] with room for a whole instruction: one that is cut is none.
pub(super) fn sentence(text: &str) -> String {
    plain_to(text, SENTENCE_CHARS_MAX)
}

fn plain_to(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars_max * 4));
    for (at, c) in text.trim().chars().enumerate() {
        if at == chars_max {
            out.push('…');
            break;
        }
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        out.push(match c {
            '\n' | '\t' => ' ',
            _ if c.is_control() || turns => '\u{fffd}',
            _ => c,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(language: Language) -> Speech {
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
        // 2026-02-11 (a Wednesday) 14:36:05 in Berlin.
        Speech { language, words: language.words(), now_us: 1_770_816_965_000_000, zone }
    }

    #[test]
    fn numbers_follow_the_language() {
        let (en, de) = (speech(Language::En), speech(Language::De));
        assert_eq!(en.number(-1234.56, 1), "−1234.6");
        assert_eq!(de.number(1_234_567.8, 1), "1\u{202f}234\u{202f}567,8");
        assert_eq!(en.number(-0.04, 1), "0.0");
        assert_eq!(en.number(f64::NAN, 1), "–");
        assert_eq!(en.number(1e300, 2), "1.000e300");
        assert_eq!(de.bytes(2_140_000_000), "2,1 GB");
        assert_eq!(en.bytes(999), "999 B");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let (en, de) = (speech(Language::En), speech(Language::De));
        for (seconds, text) in [
            (0.42, "0.4 s"),
            (-3.0, "0.0 s"),
            (9.96, "10 s"),
            (59.7, "1 min"),
            (3599.0, "59 min"),
            (12_000.0, "3 h 20 min"),
            (7200.0, "2 h"),
            (86_400.0, "1 day"),
            (792_000.0, "9 days 4 h"),
            (1e30, "more than a year"),
        ] {
            assert_eq!(en.duration(seconds), text);
        }
        assert_eq!(de.duration(792_000.0), "9 Tage 4 h");
        assert_eq!(de.duration(1.2), "1,2 s");
    }

    #[test]
    fn a_life_is_never_0_years() {
        let (en, de) = (speech(Language::En), speech(Language::De));
        for (years, text) in [
            (1e-9, "about 1 day"),
            (0.11, "about 40 days"),
            (0.7, "about 8 months"),
            (1.99, "about 2 years"),
            (82.1, "about 82 years"),
            (f64::INFINITY, "more than 100 years"),
        ] {
            assert_eq!(en.lifetime(years), text);
        }
        assert_eq!(de.lifetime(0.7), "etwa 8 Monate");
    }

    #[test]
    fn times_are_local_and_name_the_day_when_it_is_not_today() {
        let (en, de) = (speech(Language::En), speech(Language::De));
        let minute = 60_000_000;
        assert_eq!(en.moment(en.now_us - 4 * minute), "14:32");
        assert_eq!(de.moment(de.now_us - 24 * 60 * minute), "Di 14:36");
        assert_eq!(en.moment(en.now_us - 40 * 24 * 60 * minute), "2026-01-02 14:36");
        assert_eq!(en.moment_exact(en.now_us), "14:36:05");
        assert_eq!(en.moment(i64::MAX), "–");
    }

    #[test]
    fn moments_in_texts_become_local_times_to_the_second() {
        let de = speech(Language::De);
        let text = "No values from 2026-02-11T13:32:07.250000Z to 2026-02-11T13:35:11.500000Z: Z, 12";
        assert_eq!(de.local_times(text), "No values from 14:32:07 to 14:35:11: Z, 12");
        assert_eq!(de.local_times("(2026-01-11T13:32:07Z)"), "(2026-01-11T13:32:07Z)", "as it is");
        assert_eq!(de.zone_name(), "CET (UTC+01:00)");
        let utc = Speech { zone: TimeZone::UTC, ..speech(Language::En) };
        assert_eq!(utc.zone_name(), "UTC");
    }

    #[test]
    fn text_from_outside_is_bounded_and_harmless() {
        assert_eq!(plain("a\u{0}b\u{202e}c\nd"), "a\u{fffd}b\u{fffd}c d");
        assert_eq!(plain(&"x".repeat(1000)).chars().count(), TEXT_CHARS_MAX + 1);
        assert_eq!(sentence(&"x".repeat(1000)).chars().count(), SENTENCE_CHARS_MAX + 1);
    }
}
