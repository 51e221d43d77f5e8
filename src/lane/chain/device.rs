//! What a chain knows of one device: what its batches have looked like so far.

use std::sync::Arc;

use forebay_connector::{Quality, Value};

use super::form::{self, Linear};
use super::model::Number;

/// A tag that misses its form this often stays with plain bits until the chain ends.
const MISSES_MAX: u8 = 8;
/// Errors of a prediction count as at most this.
const ERROR_MAX: u64 = 1 << 24;

/// What the numbers in a record mean; from the device's schema.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::lane) struct Meaning {
    /// How many tags there are.
    pub tags: usize,
    /// Scaling by tag; may be shorter. Equal devices share it.
    pub linear: Arc<[Option<Linear>]>,
}

impl Meaning {
    pub(super) fn linear(&self, tag: u32) -> Option<Linear> {
        self.linear.get(usize::try_from(tag).ok()?).copied().flatten()
    }
}

/// State of one tag.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    /// Form of the last value.
    pub form: u8,
    /// Form that the tag has when nothing is odd.
    home: u8,
    misses: u8,
    pub quality: Quality,
    pub last: i64,
    pub step: i64,
    /// Running errors of "as before" and of "one step further".
    error_same: u32,
    error_step: u32,
    /// For "as before" and for "one step further": one for both would fit neither.
    pub residual: [Number; 2],
}

impl Default for Tag {
    fn default() -> Self {
        Self {
            form: form::COLD,
            home: form::COLD,
            misses: 0,
            quality: Quality::Good,
            last: 0,
            step: 0,
            error_same: 0,
            error_step: 0,
            residual: [Number::default(); 2],
        }
    }
}

impl Tag {
    pub(super) fn is_cold(&self) -> bool {
        self.form == form::COLD
    }

    /// True when the tag goes on as it went, rather than staying where it is.
    pub(super) fn steps(&self) -> bool {
        self.error_step < self.error_same / 2
    }

    #[inline]
    pub(super) fn predicted(&self) -> i64 {
        if self.steps() { self.last.wrapping_add(self.step) } else { self.last }
    }

    #[inline]
    pub(super) fn learn(&mut self, number: i64) {
        let error = |predicted: i64| {
            let error = number.wrapping_sub(predicted).unsigned_abs().min(ERROR_MAX);
            u32::try_from(error).unwrap_or(u32::MAX)
        };
        let (same, step) = (error(self.last), error(self.last.wrapping_add(self.step)));
        self.error_same = self.error_same - (self.error_same >> 3) + same;
        self.error_step = self.error_step - (self.error_step >> 3) + step;
        self.step = number.wrapping_sub(self.last);
        self.last = number;
    }

    /// Form and number for the next value, staying with the tag's form while that works.
    pub(super) fn choose(&mut self, value: &Value, linear: Option<Linear>) -> (u8, i64) {
        if self.home == form::COLD {
            let (form, number) = form::find(value, linear);
            self.home = form;
            return (form, number);
        }
        if self.misses >= MISSES_MAX {
            return form::in_plain(value);
        }
        if let Some(number) = form::number_of(value, self.home, linear) {
            return (self.home, number);
        }
        // A value that is missing or NaN now and then must not cost the tag its form.
        self.misses += 1;
        let (form, number) = form::find(value, linear);
        if form::has_more_decimals(form, self.home) {
            self.home = form;
        }
        (form, number)
    }
}

/// State of one device.
#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    /// A first batch was coded.
    pub warm: bool,
    /// A record did not decode, so the state is not what it was when the next one was written.
    pub broken: bool,
    /// The quality of some tag was not good.
    pub odd_quality: bool,
    pub expected_us: i64,
    pub interval_us: i64,
    pub tags_before: Vec<u32>,
    /// They are in rising order.
    pub ascending: bool,
    /// A reader has passed over values of tags from this one on.
    pub passed_from: Option<u32>,
    /// Short texts seen last, the newest at the end.
    pub texts: Vec<Box<str>>,
    pub tags: Vec<Tag>,
    pub time: Number,
    pub count: Number,
    pub gap: Number,
    pub text: Number,
    pub length: Number,
    pub source: Number,
}

impl Device {
    /// The state before any batch, keeping the memory.
    pub(super) fn clear(&mut self) {
        let (mut tags, mut tags_before, mut texts) = (
            std::mem::take(&mut self.tags),
            std::mem::take(&mut self.tags_before),
            std::mem::take(&mut self.texts),
        );
        tags.clear();
        tags_before.clear();
        texts.clear();
        *self = Self { tags, tags_before, texts, ..Self::default() };
    }

    pub(super) fn tag(&mut self, tag: u32) -> Option<&mut Tag> {
        self.tags.get_mut(usize::try_from(tag).ok()?)
    }
}
