//! Which bytes to ask for, and in which requests, so that a scan costs few round trips.
//!
//! Neighbouring tags are read as one range, also over small gaps; ranges are packed into as few
//! requests as both size limits and the limit of items allow. All bytes of a scan form one image:
//! a tag knows where in it its bytes will be, so a tag split over several requests is joined
//! without copying.

use crate::address::Area;
use crate::frame::{ITEMS_MAX, REPLY_HEAD_BYTES, REPLY_ITEM_BYTES, REQUEST_HEAD_BYTES, REQUEST_ITEM_BYTES};

/// Bytes between two tags that are read along: another item costs more.
const GAP_BYTES: u32 = 16; // REQUEST_ITEM_BYTES + REPLY_ITEM_BYTES

/// A tag larger than an answer is cut at multiples of this, so that no element of an array (1, 2,
/// 4, 8 or 12 bytes) is torn between two points in time.
const CUT_BYTES: u32 = 24;

/// What one request and its answer may hold, in bytes of S7 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub request_bytes: usize,
    pub reply_bytes: usize,
}

impl Limits {
    /// Largest range one item can answer.
    fn range_bytes(self) -> u32 {
        let bytes = self.reply_bytes.saturating_sub(REPLY_HEAD_BYTES + REPLY_ITEM_BYTES);
        // Even, so that no filling byte is needed; bounded because a length is a word.
        u32::try_from(bytes & !1).unwrap_or(u32::MAX).clamp(CUT_BYTES, 32_768)
    }

    fn items(self) -> usize {
        (self.request_bytes.saturating_sub(REQUEST_HEAD_BYTES) / REQUEST_ITEM_BYTES).clamp(1, ITEMS_MAX)
    }
}

/// A tag to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    pub tag: u32,
    pub area: Area,
    /// First byte, from 0.
    pub start: u32,
    pub len_bytes: u32,
    /// Not merged with its neighbours.
    pub alone: bool,
}

/// Bytes that are one item of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub area: Area,
    /// First byte, from 0.
    pub start: u32,
    pub len_bytes: u16,
    /// Where the bytes go in the image.
    pub at: usize,
    /// Tags that need it.
    pub tags: u32,
}

/// Where a tag's bytes will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub tag: u32,
    /// Place in the image.
    pub image: std::ops::Range<usize>,
    /// Ranges that must have been read for it, indices into [`Plan::ranges`].
    pub ranges: std::ops::Range<usize>,
}

/// The requests of one scan.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By area and address; those of one tag stand together.
    pub ranges: Vec<Range>,
    /// For each request the ranges it asks for, indices into `ranges`.
    pub requests: Vec<Vec<usize>>,
    /// By tag.
    pub slots: Vec<Slot>,
    pub image_bytes: usize,
}

impl Plan {
    /// Plans the reading of `wants`.
    pub(crate) fn new(mut wants: Vec<Want>, limits: Limits) -> Self {
        wants.sort_by_key(|want| (want.area, want.start, want.len_bytes, want.tag));
        let mut plan = Self { slots: Vec::with_capacity(wants.len()), ..Self::default() };
        // The last range may take in the next tag, when it is a range of several whole tags.
        let mut open = false;
        for want in wants {
            open = if want.len_bytes > limits.range_bytes() {
                plan.split(&want, limits);
                false
            } else {
                if !(open && !want.alone && plan.extend(&want, limits)) {
                    plan.push(&want, want.start, want.len_bytes);
                    plan.slot(&want, 1);
                }
                !want.alone
            };
        }
        plan.slots.sort_by_key(|slot| slot.tag);
        plan.pack(limits);
        plan
    }

    /// Takes `want` into the last range, if that is cheaper than an item of its own.
    fn extend(&mut self, want: &Want, limits: Limits) -> bool {
        let Some(last) = self.ranges.last_mut().filter(|last| last.area == want.area) else {
            return false;
        };
        let end = last.start + u32::from(last.len_bytes);
        let len_bytes = end.max(want.start + want.len_bytes) - last.start;
        if want.start > end + GAP_BYTES || len_bytes > limits.range_bytes() {
            return false;
        }
        let Ok(len_bytes) = u16::try_from(len_bytes) else { return false };
        self.image_bytes += usize::from(len_bytes - last.len_bytes);
        last.len_bytes = len_bytes;
        last.tags += 1;
        let at = last.at + (want.start - last.start) as usize;
        let range = self.ranges.len() - 1;
        let image = at..at + want.len_bytes as usize;
        self.slots.push(Slot { tag: want.tag, image, ranges: range..range + 1 });
        true
    }

    /// Reads one tag by several ranges.
    fn split(&mut self, want: &Want, limits: Limits) {
        let piece = limits.range_bytes() / CUT_BYTES * CUT_BYTES;
        let mut done = 0;
        let mut pieces = 0;
        while done < want.len_bytes {
            let len_bytes = piece.min(want.len_bytes - done);
            self.push(want, want.start + done, len_bytes);
            done += len_bytes;
            pieces += 1;
        }
        self.slot(want, pieces);
    }

    fn push(&mut self, want: &Want, start: u32, len_bytes: u32) {
        let len_bytes = u16::try_from(len_bytes).unwrap_or(u16::MAX); // `range_bytes` is below
        self.ranges.push(Range { area: want.area, start, len_bytes, at: self.image_bytes, tags: 1 });
        self.image_bytes += usize::from(len_bytes);
    }

    /// The slot of a tag that has the last `count` ranges for itself.
    fn slot(&mut self, want: &Want, count: usize) {
        let image = self.image_bytes - want.len_bytes as usize..self.image_bytes;
        let ranges = self.ranges.len() - count..self.ranges.len();
        self.slots.push(Slot { tag: want.tag, image, ranges });
    }

    /// Packs the ranges into requests: the largest first, each where it fits first.
    fn pack(&mut self, limits: Limits) {
        let mut order: Vec<usize> = (0..self.ranges.len()).collect();
        order.sort_by_key(|range| (std::cmp::Reverse(self.ranges[*range].len_bytes), *range));
        let mut used = Vec::new();
        let mut first_open = 0;
        for range in order {
            let bytes = REPLY_ITEM_BYTES + usize::from(self.ranges[range].len_bytes).next_multiple_of(2);
            let fits = |request: &usize| {
                used[*request] + bytes <= limits.reply_bytes && self.requests[*request].len() < limits.items()
            };
            let request = (first_open..used.len()).find(fits).unwrap_or_else(|| {
                self.requests.push(Vec::new());
                used.push(REPLY_HEAD_BYTES);
                used.len() - 1
            });
            self.requests[request].push(range);
            used[request] += bytes;
            // Full requests in front need not be looked at again.
            while self.requests.get(first_open).is_some_and(|request| request.len() == limits.items()) {
                first_open += 1;
            }
        }
        // Ascending addresses within a request are easier to read in a capture.
        self.requests.iter_mut().for_each(|request| request.sort_unstable());
    }
}

#[cfg(test)]
mod tests;
