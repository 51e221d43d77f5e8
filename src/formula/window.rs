//! What functions remember, in memory of a fixed size.
//!
//! A window is cut into [`PARTS`] parts of equal length. Each part keeps the least, the greatest
//! and the sum of what was seen in it, so a window of a day needs no more room than one of a
//! second; its older end moves on in steps of one part. It is never shorter than asked for, and
//! longer by one part at most.

use super::{Counter, MemorySpec, Remembering};

/// Parts of a window.
const PARTS: usize = 60;

/// One part more, because the oldest is only partly within the window.
const SLOTS: usize = PARTS + 1;

/// What was seen in one part of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Number of the part since 1970; meaningless while `count` is 0.
    number: i64,
    count: u32,
    least: f64,
    most: f64,
    sum: f64,
    /// The first reading in it, counters summed up, and when it was.
    first: f64,
    first_us: i64,
}

/// The memory of one function.
#[derive(Debug, Clone)]
pub struct Memory {
    spec: MemorySpec,
    parts: Box<[Part]>,
    /// The last reading as it came, and when; `None` before the first.
    last: Option<(f64, i64)>,
    /// The last reading with everything a counter has added over wraps and resets.
    total: f64,
    /// The last answer, for a second look at the same time.
    answer: Option<f64>,
}

/// Bytes that the memory of such a function needs.
pub(super) fn bytes(spec: &MemorySpec) -> usize {
    size_of::<Memory>() + spec.window_us.map_or(0, |_| SLOTS * size_of::<Part>())
}

impl Memory {
    pub(super) fn new(spec: MemorySpec) -> Self {
        let slots = if spec.window_us.is_some() { SLOTS } else { 0 };
        Self { spec, parts: vec![Part::default(); slots].into(), last: None, total: 0.0, answer: None }
    }

    /// Forgets what must not span a time without readings. A total goes on: what a counter has
    /// counted meanwhile belongs to it.
    pub(super) fn forget(&mut self) {
        if self.spec.function == Remembering::Total {
            return;
        }
        self.parts.fill(Part::default());
        self.last = None;
        self.answer = None;
    }

    /// Takes a reading and answers; `None` as long as there is too little to say.
    pub(super) fn take(&mut self, value: f64, now_us: i64) -> Option<f64> {
        if !value.is_finite() {
            return Some(f64::NAN);
        }
        // The clock was set back: times before and after cannot be compared.
        if self.last.is_some_and(|(_, last_us)| now_us < last_us) {
            self.forget();
        }
        let before = self.last.replace((value, now_us));
        let total_before = self.total;
        self.total = match (before, self.spec.counter) {
            (Some((old, _)), Some(counter)) => self.total + added(counter, old, value),
            _ => value,
        };
        self.answer = match self.spec.window_us {
            Some(window_us) => self.over_window(value, now_us, window_us),
            None if self.spec.function == Remembering::Total => Some(self.total),
            None => match before {
                Some((_, last_us)) if now_us > last_us => {
                    Some((self.total - total_before) / seconds(now_us - last_us))
                }
                Some(_) => self.answer,
                None => None,
            },
        };
        self.answer
    }

    fn over_window(&mut self, value: f64, now_us: i64, window_us: i64) -> Option<f64> {
        let number = now_us.div_euclid((window_us / PARTS as i64).max(1));
        let slot = usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or(0);
        let part = &mut self.parts[slot];
        if part.count == 0 || part.number != number {
            *part = Part {
                number,
                count: 0,
                least: value,
                most: value,
                sum: 0.0,
                first: self.total,
                first_us: now_us,
            };
        }
        part.count = part.count.saturating_add(1);
        part.least = part.least.min(value);
        part.most = part.most.max(value);
        part.sum += value;
        let oldest = number - PARTS as i64;
        let live = self.parts.iter().filter(|part| part.count > 0 && part.number >= oldest);
        match self.spec.function {
            Remembering::Least => live.map(|part| part.least).reduce(f64::min),
            Remembering::Most => live.map(|part| part.most).reduce(f64::max),
            Remembering::Mean => {
                let (sum, count) = live
                    .fold((0.0, 0.0), |(sum, count), part| (sum + part.sum, count + f64::from(part.count)));
                Some(sum / count)
            }
            Remembering::Rate | Remembering::Change | Remembering::Total => {
                let first = live.min_by_key(|part| part.first_us)?;
                let change = self.total - first.first;
                match self.spec.function {
                    Remembering::Rate if now_us == first.first_us => None,
                    Remembering::Rate => Some(change / seconds(now_us - first.first_us)),
                    _ => Some(change),
                }
            }
        }
    }
}

fn added(counter: Counter, old: f64, new: f64) -> f64 {
    counter.step(old, new).increase()
}

#[allow(clippy::cast_precision_loss)] // differences of microseconds stay far below 2^53
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
