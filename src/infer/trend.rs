//! Scores of the past, in three grains: the last ones, means of minutes for a day, and lowest, mean
//! and highest of hours for 30 days. Bounded, in memory; what is durable is written by
//! [`super::diary`] in pieces: a day of hours, an hour of minutes.

use std::collections::VecDeque;

use super::since::{self, Past, Since};

/// Days of which hours are kept.
pub const DAYS: i64 = 30;
/// Single scores that are kept.
const LAST_MAX: usize = 256;
/// Minutes that are kept.
const MINUTES: i64 = 24 * 60;
/// What comes from a clock that was ahead is not kept: minutes that it may be ahead.
const AHEAD: i64 = 60;

/// One minute, microseconds.
pub(super) const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
/// Bytes of a stored hour.
const HOUR_BYTES: usize = 26;
/// Bytes of a stored minute.
const MINUTE_BYTES: usize = 12;

/// One hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hour {
    /// Hours since 1970 UTC.
    pub hour: i64,
    /// Lowest score; of no use without any score.
    pub low: f32,
    /// Highest.
    pub high: f32,
    /// Mean of all.
    pub mean: f32,
    /// Scores.
    pub scores: u32,
    /// Seconds of the hour in which all inputs were there and good.
    pub valid_s: f32,
}

impl Hour {
    fn new(hour: i64) -> Self {
        Self { hour, low: 0.0, high: 0.0, mean: 0.0, scores: 0, valid_s: 0.0 }
    }

    #[allow(clippy::cast_precision_loss)] // at most 72,000 scores an hour
    fn add(&mut self, score: f32) {
        (self.low, self.high) = match self.scores {
            0 => (score, score),
            _ => (self.low.min(score), self.high.max(score)),
        };
        self.scores = self.scores.saturating_add(1);
        self.mean += (score - self.mean) / self.scores as f32;
    }

    fn to_bytes(self) -> Vec<u8> {
        let floats = [self.low, self.high, self.mean, self.valid_s].map(f32::to_le_bytes);
        let scores = self.scores.to_le_bytes();
        // The hour within its day, which stands before.
        let hour = u16::try_from(self.hour.rem_euclid(24)).unwrap_or_default().to_le_bytes();
        let parts: [&[u8]; 6] = [&hour, &floats[0], &floats[1], &floats[2], &floats[3], &scores];
        let mut bytes = parts.concat();
        bytes.resize(HOUR_BYTES, 0);
        bytes
    }

    fn from_bytes(day: i64, bytes: &[u8]) -> Option<Self> {
        let float = |at: usize| Some(f32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let hour = i64::from(u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?));
        let read = Self {
            hour: day.checked_mul(24)?.checked_add(hour).filter(|_| hour < 24)?,
            low: float(2)?,
            high: float(6)?,
            mean: float(10)?,
            valid_s: float(14)?,
            scores: u32::from_le_bytes(bytes.get(18..22)?.try_into().ok()?),
        };
        [read.low, read.high, read.mean, read.valid_s].iter().all(|it| it.is_finite()).then_some(read)
    }
}

/// The running minute, for its mean and for the summary that is sent of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Minute {
    /// Minutes since 1970 UTC.
    pub minute: i64,
    /// Scores.
    pub count: u32,
    sum: f64,
    /// Highest.
    pub highest: f32,
    /// Points of the grid that were lost, because inference was late.
    pub dropped: u32,
    /// Inputs that were good.
    good: u64,
    /// Inputs that were asked for.
    asked: u64,
}

impl Minute {
    /// Mean of its scores.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }

    /// Share of its inputs that were good.
    #[allow(clippy::cast_precision_loss)] // inputs of one minute
    pub fn input_quality(&self) -> f64 {
        if self.asked == 0 { 0.0 } else { self.good as f64 / self.asked as f64 }
    }
}

/// Scores of one model on one device.
#[derive(Debug, Default)]
pub struct Trend {
    /// Single scores: when, and what.
    last: VecDeque<(i64, f32)>,
    /// Minute and mean.
    minutes: VecDeque<(i64, f32)>,
    hours: VecDeque<Hour>,
    now: Minute,
}

impl Trend {
    /// A point of the grid has come at `now_us`: how many of its inputs were good, and what time it
    /// stands for when all were. Gives the minute before when this begins a new one.
    pub(super) fn point(&mut self, now_us: i64, good: usize, asked: usize, valid_us: i64) -> Option<Minute> {
        let minute = now_us.div_euclid(MINUTE_US);
        let over = (minute != self.now.minute).then(|| self.turn(minute));
        self.now.good += good as u64;
        self.now.asked += asked as u64;
        #[allow(clippy::cast_precision_loss)] // seconds of a grid
        if valid_us > 0 {
            let hour = self.hour(now_us.div_euclid(HOUR_US));
            hour.valid_s = (hour.valid_s + valid_us as f32 / 1e6).min(3600.0);
        }
        over.flatten()
    }

    /// Begins a minute; gives the one before, if there was one.
    fn turn(&mut self, minute: i64) -> Option<Minute> {
        let over = std::mem::replace(&mut self.now, Minute { minute, ..Minute::default() });
        if let Some(mean) = over.mean() {
            #[allow(clippy::cast_possible_truncation)] // scores are 32 bits wide
            let entry = (over.minute, mean as f32);
            if self.minutes.back().is_none_or(|(last, _)| *last < over.minute) {
                self.minutes.push_back(entry);
            }
        }
        self.forget(minute);
        (over.asked > 0).then_some(over)
    }

    /// Drops what is too old, and what a clock that was ahead has left.
    fn forget(&mut self, minute: i64) {
        self.minutes.retain(|(at, _)| (minute - MINUTES..=minute + AHEAD).contains(at));
        let (first, last) = (minute / 60 - DAYS * 24, (minute + AHEAD) / 60);
        self.hours.retain(|hour| (first..=last).contains(&hour.hour));
        let end_us = (minute + AHEAD) * MINUTE_US;
        self.last.retain(|(at_us, _)| *at_us <= end_us);
    }

    /// The entry of an hour, made when there is none.
    fn hour(&mut self, hour: i64) -> &mut Hour {
        let at = match self.hours.binary_search_by_key(&hour, |known| known.hour) {
            Ok(at) => at,
            Err(at) => {
                self.hours.insert(at, Hour::new(hour));
                at
            }
        };
        &mut self.hours[at]
    }

    /// A score.
    pub(super) fn score(&mut self, score: f32, now_us: i64) {
        self.now.count += 1;
        self.now.sum += f64::from(score);
        self.now.highest = if self.now.count == 1 { score } else { self.now.highest.max(score) };
        self.hour(now_us.div_euclid(HOUR_US)).add(score);
        if self.last.len() == LAST_MAX {
            self.last.pop_front();
        }
        // The clock was set back: what is newer than now says nothing.
        if self.last.back().is_some_and(|(at_us, _)| *at_us >= now_us) {
            self.last.clear();
        }
        self.last.push_back((now_us, score));
    }

    /// Points of the grid were lost.
    pub(super) fn dropped(&mut self, points: u32) {
        self.now.dropped = self.now.dropped.saturating_add(points);
    }

    /// When the score left its usual band, before a prediction that is raised at `raised_us`.
    pub(super) fn since(&self, limit: f32, raised_us: i64) -> Option<Since> {
        let means: Vec<f32> = match self.hours.len() {
            // Two days say what is usual, with their nights and shifts.
            48.. => self.hours.iter().filter(|hour| hour.scores > 0).map(|hour| hour.mean).collect(),
            _ if self.minutes.len() >= 10 => self.minutes.iter().map(|(_, mean)| *mean).collect(),
            _ => self.last.iter().map(|(_, score)| *score).collect(),
        };
        let top = since::band_top(means.into_iter(), limit)?;
        since::estimate(self.newest_first(), top, raised_us)
    }

    /// Everything that is remembered, newest first, each time once.
    fn newest_first(&self) -> impl Iterator<Item = Past> {
        let ends = self.last.iter().skip(1).map(|(at_us, _)| *at_us).chain(self.last.back().map(|it| it.0));
        // A score that another follows only after a minute stands for no more than that.
        let last: Vec<Past> = self
            .last
            .iter()
            .zip(ends)
            .map(|((from_us, score), end_us)| Past {
                from_us: *from_us,
                to_us: end_us.min(from_us + MINUTE_US),
                score: *score,
            })
            .collect();
        let oldest_us = last.first().map_or(i64::MAX, |past| past.from_us);
        let minutes = self.minutes.iter().rev().map(|(minute, score)| Past {
            from_us: minute * MINUTE_US,
            to_us: (minute + 1) * MINUTE_US,
            score: *score,
        });
        let minutes: Vec<Past> = minutes.filter(|past| past.to_us <= oldest_us).collect();
        let oldest_us = minutes.last().map_or(oldest_us, |past| past.from_us);
        let hours = self.hours.iter().rev().filter(|hour| hour.scores > 0).map(|hour| Past {
            from_us: hour.hour * HOUR_US,
            to_us: (hour.hour + 1) * HOUR_US,
            score: hour.mean,
        });
        let hours: Vec<Past> = hours.filter(|past| past.to_us <= oldest_us).collect();
        last.into_iter().rev().chain(minutes).chain(hours)
    }

    /// The hours of the last 30 days, oldest first; those without anything are missing.
    pub fn hours(&self) -> Vec<Hour> {
        self.hours.iter().copied().collect()
    }

    /// The hours of a day (days since 1970 UTC) as they are stored.
    pub(super) fn day(&self, day: i64) -> Vec<u8> {
        let mut bytes = day.to_le_bytes().to_vec();
        for hour in self.hours.iter().filter(|hour| hour.hour.div_euclid(24) == day) {
            bytes.extend(hour.to_bytes());
        }
        bytes
    }

    /// The minutes of an hour (hours since 1970 UTC) as they are stored.
    pub(super) fn minutes(&self, hour: i64) -> Vec<u8> {
        let mut bytes = hour.to_le_bytes().to_vec();
        for (minute, mean) in self.minutes.iter().filter(|(minute, _)| minute.div_euclid(60) == hour) {
            bytes.extend(minute.to_le_bytes());
            bytes.extend(mean.to_le_bytes());
        }
        bytes
    }

    /// Takes a stored day. What does not make sense is left out.
    pub(super) fn take_day(&mut self, bytes: &[u8]) {
        let Some((day, hours)) = number(bytes) else { return };
        for hour in hours.chunks_exact(HOUR_BYTES).filter_map(|bytes| Hour::from_bytes(day, bytes)) {
            if let Err(at) = self.hours.binary_search_by_key(&hour.hour, |known| known.hour) {
                self.hours.insert(at, hour);
            }
        }
    }

    /// Takes a stored hour of minutes.
    pub(super) fn take_minutes(&mut self, bytes: &[u8]) {
        let Some((hour, minutes)) = number(bytes) else { return };
        for (minute, mean) in minutes.chunks_exact(MINUTE_BYTES).filter_map(number) {
            let mean = mean.first_chunk().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes));
            if minute.div_euclid(60) == hour && mean.is_finite() {
                let at = self.minutes.partition_point(|(known, _)| *known < minute);
                if self.minutes.get(at).is_none_or(|(known, _)| *known != minute) {
                    self.minutes.insert(at, (minute, mean));
                }
            }
        }
    }
}

/// The number at the beginning, and the rest.
fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((i64::from_le_bytes(*first), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: i64 = 1_770_800_400_000_000;

    /// A score every ten seconds for some hours.
    fn run(trend: &mut Trend, from_us: i64, hours: i64, score: impl Fn(i64) -> f32) -> Vec<Minute> {
        let mut over = Vec::new();
        for at in 0..hours * 360 {
            let now_us = from_us + at * 10_000_000;
            over.extend(trend.point(now_us, 5, 5, 10_000_000));
            trend.score(score(at), now_us);
        }
        over
    }

    #[test]
    fn hours_and_minutes_sum_up_and_are_bounded() {
        let mut trend = Trend::default();
        let over = run(&mut trend, START_US, 40 * 24, |at| if at % 2 == 0 { 0.2 } else { 0.6 });
        assert_eq!(over.len(), 40 * 24 * 60 - 1);
        assert_eq!(
            (over[5].count, over[5].mean(), over[5].highest),
            (6, Some(f64::from(0.2_f32) / 2.0 + f64::from(0.6_f32) / 2.0), 0.6)
        );
        assert!((over[5].input_quality() - 1.0).abs() < 1e-9);
        let hours = trend.hours();
        assert!((720..=721).contains(&hours.len()), "{}", hours.len());
        let hour = hours[3];
        assert_eq!((hour.low, hour.high, hour.scores, hour.valid_s), (0.2, 0.6, 360, 3600.0));
        assert!((hour.mean - 0.4).abs() < 1e-4);
        assert!(trend.minutes.len() <= 1441 && trend.last.len() == LAST_MAX);
    }

    #[test]
    fn what_was_stored_is_what_is_read() {
        let mut trend = Trend::default();
        run(&mut trend, START_US, 30, |at| 0.2 + 0.000_1 * f32::from(u16::try_from(at).unwrap()));
        let mut read = Trend::default();
        let day = START_US.div_euclid(24 * HOUR_US);
        (day..day + 3).for_each(|day| read.take_day(&trend.day(day)));
        let hour = START_US.div_euclid(HOUR_US);
        (hour..hour + 31).for_each(|hour| read.take_minutes(&trend.minutes(hour)));
        assert_eq!(read.hours, trend.hours);
        assert_eq!(read.minutes, trend.minutes);
        for bytes in [&b""[..], b"1234567", &[0xff; 100]] {
            read.take_day(bytes);
            read.take_minutes(bytes);
        }
        assert_eq!(read.hours.len(), trend.hours.len(), "what is damaged adds nothing");
    }

    #[test]
    fn a_fault_of_days_is_dated_by_the_hours() {
        let mut trend = Trend::default();
        let days = 10 * 24;
        run(&mut trend, START_US, days, |at| {
            // Ten days calm, but for the last three: a slow rise to the limit.
            let rise = (at - 7 * 24 * 360).max(0) as f32 / (3.0 * 24.0 * 360.0);
            0.4 + 0.6 * rise + 0.02 * ((at * 7919 % 13) as f32 / 13.0)
        });
        let raised_us = START_US + days * HOUR_US;
        let since = trend.since(0.9, raised_us).unwrap();
        let after_h = (since.at_us - START_US) / HOUR_US - 7 * 24;
        assert!((0..30).contains(&after_h) && !since.or_earlier, "{after_h} h after the rise began");
    }

    #[test]
    fn a_clock_that_jumps_leaves_nothing_in_the_future() {
        let mut trend = Trend::default();
        run(&mut trend, START_US + 4000 * HOUR_US, 2, |_| 0.4);
        run(&mut trend, START_US, 2, |_| 0.5);
        assert!(trend.hours().iter().all(|hour| hour.hour <= START_US / HOUR_US + 2), "{:?}", trend.hours());
        assert_eq!(trend.hours().len(), 2);
    }
}
