//! Which bytes to ask for, and in which requests, so that a scan costs few round trips.
//!
//! The shared planner, [`forebay_connector::planning`], joins neighbours into ranges and packs the
//! ranges into requests within both size limits and the limit of items. All bytes of a scan form one
//! image: a tag knows where in it its bytes will be, so a tag split over several requests is joined
//! without copying.

use forebay_connector::planning::{self, Cost, Packing, Place, Room};

use crate::address::Area;
use crate::frame::{ITEMS_MAX, REPLY_HEAD_BYTES, REPLY_ITEM_BYTES, REQUEST_HEAD_BYTES, REQUEST_ITEM_BYTES};

/// Bytes around a request and around its answer: TPKT (RFC 1006, section 6) and the head of a COTP
/// data unit (ISO 8073, 13.7).
const TRANSPORT_BYTES: usize = 7;

/// Bytes of every request and its answer, whatever is asked.
pub(crate) const HEADS_BYTES: usize = 2 * TRANSPORT_BYTES + REQUEST_HEAD_BYTES + REPLY_HEAD_BYTES;

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

    fn room(self) -> Room {
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Room {
            items: self.items(),
            answer_bytes: bytes(self.reply_bytes.saturating_sub(REPLY_HEAD_BYTES)),
            answer_item_bytes: bytes(REPLY_ITEM_BYTES),
            request_item_bytes: bytes(REQUEST_ITEM_BYTES),
            longest: self.range_bytes(),
        }
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
    /// What the requests cost on the planner's model, what they cost at the least, and how many
    /// there are at the least.
    pub cost_ns: u64,
    pub bound_ns: u64,
    pub requests_min: usize,
}

impl Plan {
    /// Plans the reading of `wants`. A tag larger than an answer is read by pieces of its own.
    pub(crate) fn new(mut wants: Vec<Want>, limits: Limits) -> Self {
        wants.sort_by_key(|want| (want.area, want.start, want.len_bytes, want.tag));
        let (places, counts) = places(&wants, limits);
        let cost = Cost::default();
        let heads_ns = HEADS_BYTES as u64 * cost.byte_ns;
        let cost = Cost { request_ns: cost.request_ns + heads_ns, ..cost };
        let packing = planning::pack(&places, &limits.room(), cost);
        let mut plan = Self {
            slots: Vec::with_capacity(wants.len()),
            cost_ns: packing.cost_ns,
            bound_ns: packing.bound_ns,
            requests_min: packing.requests_min,
            ..Self::default()
        };
        plan.lay_out(&wants, &counts, &places, &packing);
        plan.slots.sort_by_key(|slot| slot.tag);
        plan
    }

    /// Gives each range its place in the image and each tag its slot; `counts` says of how many
    /// places each tag consists.
    fn lay_out(&mut self, wants: &[Want], counts: &[usize], places: &[Place], packing: &Packing) {
        let mut range_of_span = vec![None; packing.spans.len()];
        let mut left = places.iter().zip(&packing.span_of);
        for (want, count) in wants.iter().zip(counts) {
            let mut slot: Option<Slot> = None;
            for (place, span) in left.by_ref().take(*count) {
                // Every place is short enough for a span.
                let Some(span) = *span else { continue };
                let range = *range_of_span[span].get_or_insert_with(|| {
                    let span = packing.spans[span];
                    let len_bytes = u16::try_from(span.len).unwrap_or(u16::MAX); // `range_bytes` is below
                    let at = self.image_bytes;
                    self.ranges.push(Range { area: want.area, start: span.start, len_bytes, at, tags: 0 });
                    self.image_bytes += usize::from(len_bytes);
                    self.ranges.len() - 1
                });
                let known = &mut self.ranges[range];
                known.tags += 1;
                let at = known.at + (place.start - known.start) as usize;
                let end = at + place.len as usize;
                let slot =
                    slot.get_or_insert(Slot { tag: want.tag, image: at..end, ranges: range..range + 1 });
                // The pieces of a tag stand one behind the other, in the image as in the device.
                (slot.image.end, slot.ranges.end) = (end, range + 1);
            }
            self.slots.extend(slot);
        }
        let ranges = |request: &Vec<usize>| {
            let mut ranges: Vec<usize> = request.iter().filter_map(|span| range_of_span[*span]).collect();
            // Ascending addresses within a request are easier to read in a capture.
            ranges.sort_unstable();
            ranges
        };
        self.requests = packing.requests.iter().map(ranges).collect();
    }
}

/// The places of all tags for the planner, and how many each tag has.
fn places(wants: &[Want], limits: Limits) -> (Vec<Place>, Vec<usize>) {
    let longest = limits.range_bytes();
    let piece = longest / CUT_BYTES * CUT_BYTES;
    let mut places = Vec::with_capacity(wants.len());
    let mut area = 0;
    let counts = wants.iter().enumerate().map(|(index, want)| {
        // Sorted by area, so that equal ones stand together. No range goes over a tag that stays
        // alone: the bytes beside it may be what the device refuses.
        let parts = |other: &Want| other.area != want.area || other.alone || want.alone;
        area += u32::from(index > 0 && parts(&wants[index - 1]));
        let before = places.len();
        if want.len_bytes <= longest {
            places.push(Place { area, start: want.start, len: want.len_bytes, alone: want.alone });
        } else {
            let mut done = 0;
            while done < want.len_bytes {
                let len = piece.min(want.len_bytes - done);
                places.push(Place { area, start: want.start + done, len, alone: true });
                done += len;
            }
        }
        places.len() - before
    });
    let counts = counts.collect();
    (places, counts)
}

mod report;
#[cfg(test)]
mod tests;

pub(crate) use report::report;
