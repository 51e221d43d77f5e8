//! Spans that share requests: bounded bytes, bounded items.

use std::collections::{BTreeMap, BTreeSet};

use super::complete::completed;
use super::cover::{Rules, Sorted, cover, spans};
use super::fill::fill;
use super::join::{cut, join};
use super::search::search;
use super::{Cost, Place, Span};

/// Spans that may be joined are paid for in steps of this many bytes: answers are filled up to words.
pub(super) const STEP: u32 = 2;

/// Numbers of requests above the bound that spans are spread over.
const SPREADS: usize = 4;

/// What fits into one request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Most items, also for want of bytes in the request itself; at least 1.
    pub items: usize,
    /// Bytes of an answer without its own head.
    pub answer_bytes: u32,
    /// Bytes in the answer for each item, besides its data.
    pub answer_item_bytes: u32,
    /// Bytes in the request for each item.
    pub request_item_bytes: u32,
    /// Longest span, in bytes.
    pub longest: u32,
}

impl Room {
    /// Bytes that a span takes in the answer.
    pub(super) fn answer(&self, len: u32) -> u32 {
        self.answer_item_bytes + len.next_multiple_of(STEP)
    }

    /// What the bytes of a span cost, wherever it is read.
    pub(super) fn span_ns(&self, len: u32, cost: Cost) -> u64 {
        u64::from(self.answer(len) + self.request_item_bytes) * cost.byte_ns
    }

    fn rules(&self, span_ns: u64, step_ns: u64) -> Rules {
        Rules { longest: self.longest, gap: u32::MAX, span_ns, step: STEP, step_ns }
    }

    /// The rules by which all spans together cost the fewest nanoseconds.
    pub(super) fn cheapest(&self, cost: Cost) -> Rules {
        let heads = u64::from(self.answer_item_bytes + self.request_item_bytes);
        self.rules(heads * cost.byte_ns, u64::from(STEP) * cost.byte_ns)
    }

    /// The rules by which all spans take the least of a request, when `share` of [`SHARES`] of it is
    /// measured in bytes and the rest in items; and how much of that a request holds.
    pub(super) fn fewest(&self, share: u64) -> (Rules, u64) {
        let (items, bytes) = (self.items as u64, u64::from(self.answer_bytes));
        let (per_byte, per_item) = (items * share, bytes * (SHARES - share));
        let span = u64::from(self.answer_item_bytes) * per_byte + per_item;
        (self.rules(span, u64::from(STEP) * per_byte), items * bytes * SHARES)
    }
}

/// How finely bytes and items are weighed against each other.
pub(super) const SHARES: u64 = 4;

/// Requests that read all places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packing {
    /// By area and start; those that stay alone last.
    pub spans: Vec<Span>,
    /// For each place the span that contains it; `None` for a place longer than any span may be.
    pub span_of: Vec<Option<usize>>,
    /// For each request its spans, ascending.
    pub requests: Vec<Vec<usize>>,
    /// What they cost together, heads of requests not counted.
    pub cost_ns: u64,
    /// No requests that read these places cost less. Equal to `cost_ns`: the packing is the best.
    pub bound_ns: u64,
    /// Nor are there fewer requests than this.
    pub requests_min: usize,
}

/// Spans of neighbours, and the requests they are in.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Last kept place of each span.
    pub lasts: Vec<usize>,
    /// Request of each span.
    pub request_of: Vec<usize>,
    pub requests: usize,
}

/// Reads `places` by the cheapest requests that can be found in bounded time.
///
/// Several ways to join places into spans are packed, and one way fills request after request; the
/// cheapest is taken. If that is not as cheap as the lower bound, a small case is searched to its
/// end, a larger one as far as a fixed number of steps goes.
pub fn pack(places: &[Place], room: &Room, cost: Cost) -> Packing {
    let sorted = Sorted::new(places, room.longest);
    let kept = &sorted.kept;
    let cheapest = cover(kept, &room.cheapest(cost));
    let mut bound = Bound { requests: 0, spans_ns: cheapest.cost_ns };
    let whole = lasts(&cheapest.span_of);
    let parts = [1, 2, 4, 8, u64::MAX].map(|parts| cut(kept, &whole, u64::from(room.longest) / parts));
    let mut joins = parts.to_vec();
    for share in (0..=SHARES).rev() {
        let (rules, full) = room.fewest(share);
        let least = cover(kept, &rules);
        bound.requests = bound.requests.max(least.cost_ns.div_ceil(full));
        joins.push(lasts(&least.span_of));
    }
    let mut best: Option<(u64, Draft)> = None;
    let mut consider = |draft: Draft| {
        let draft = join(&sorted, &draft, room, cost);
        let cost_ns = cost_of(kept, &draft, room, cost);
        if best.as_ref().is_none_or(|(least, _)| cost_ns < *least) {
            best = Some((cost_ns, draft));
        }
    };
    for gap in [0, room.answer_item_bytes, room.answer_item_bytes + room.request_item_bytes, room.longest] {
        consider(fill(&sorted, room, gap));
    }
    for lasts in joins {
        consider(packed(kept, lasts.clone(), room));
        consider(completed(kept, lasts.clone(), room));
        for requests in bound.requests()..bound.requests() + SPREADS {
            if let Some(draft) = spread(kept, &lasts, requests, room) {
                consider(draft);
                break;
            }
        }
    }
    let (mut cost_ns, mut draft) =
        best.unwrap_or((0, Draft { lasts: vec![], request_of: vec![], requests: 0 }));
    let mut bound_ns = bound.ns(cost);
    if cost_ns > bound_ns {
        let found = search(&sorted, room, cost, cost_ns);
        if let Some((less_ns, better)) = found.better {
            (cost_ns, draft) = (less_ns, better);
        }
        if found.is_complete {
            bound_ns = cost_ns;
        }
    }
    let requests_min = if bound_ns == cost_ns { draft.requests } else { bound.requests() };
    finish(&sorted, &draft, Packing { cost_ns, bound_ns, requests_min, ..Packing::default() })
}

/// What no packing can do with less of.
struct Bound {
    requests: u64,
    spans_ns: u64,
}

impl Bound {
    fn ns(&self, cost: Cost) -> u64 {
        self.requests * cost.request_ns + self.spans_ns
    }

    fn requests(&self) -> usize {
        usize::try_from(self.requests).unwrap_or(usize::MAX)
    }
}

/// What a draft costs.
pub(super) fn cost_of(kept: &[Place], draft: &Draft, room: &Room, cost: Cost) -> u64 {
    let spans = spans(kept, &draft.lasts);
    let bytes: u64 = spans.iter().map(|(span, _)| room.span_ns(span.len, cost)).sum();
    draft.requests as u64 * cost.request_ns + bytes
}

/// The last place of each span.
fn lasts(span_of: &[Option<usize>]) -> Vec<usize> {
    (0..span_of.len()).filter(|place| span_of.get(place + 1) != Some(&span_of[*place])).collect()
}

/// Puts spans into requests: the longest first, each where it leaves the least room.
fn packed(kept: &[Place], lasts: Vec<usize>, room: &Room) -> Draft {
    let mut request_of = vec![0; lasts.len()];
    // Requests with room for more, by what is left of it; the value counts the items.
    let mut open: BTreeMap<(u32, usize), usize> = BTreeMap::new();
    let mut requests = 0;
    for (bytes, index) in longest_first(kept, &lasts, room) {
        let fitting = open.range((bytes, 0)..).next().map(|(key, items)| (*key, *items));
        let ((left, request), items) = fitting.unwrap_or_else(|| {
            requests += 1;
            ((room.answer_bytes, requests - 1), 0)
        });
        open.remove(&(left, request));
        if items + 1 < room.items {
            open.insert((left.saturating_sub(bytes), request), items + 1);
        }
        request_of[index] = request;
    }
    Draft { lasts, request_of, requests }
}

/// Spreads spans over so many requests: the longest first, each to where the most room is left, so
/// that the short ones find free items everywhere. `None` when that does not work out.
fn spread(kept: &[Place], lasts: &[usize], requests: usize, room: &Room) -> Option<Draft> {
    let mut request_of = vec![0; lasts.len()];
    // Requests that take more items, by the room that is left and then by the items.
    let mut open: BTreeSet<(u32, usize, usize)> =
        (0..requests).map(|request| (room.answer_bytes, room.items, request)).collect();
    for (bytes, index) in longest_first(kept, lasts, room) {
        let (free, items, request) = open.pop_last()?;
        if items > 1 {
            open.insert((free.checked_sub(bytes)?, items - 1, request));
        } else if free < bytes {
            return None;
        }
        request_of[index] = request;
    }
    Some(Draft { lasts: lasts.to_vec(), request_of, requests })
}

/// The bytes that spans take and their numbers, the longest first.
fn longest_first(kept: &[Place], lasts: &[usize], room: &Room) -> Vec<(u32, usize)> {
    let spans = spans(kept, lasts);
    let bytes = spans.iter().enumerate().map(|(index, (span, _))| (room.answer(span.len), index));
    let mut order: Vec<(u32, usize)> = bytes.collect();
    order.sort_by_key(|(bytes, index)| (std::cmp::Reverse(*bytes), *index));
    order
}

/// Writes a draft out.
fn finish(sorted: &Sorted, draft: &Draft, mut packing: Packing) -> Packing {
    let mut span_of_kept = Vec::with_capacity(sorted.kept.len());
    packing.requests = vec![Vec::new(); draft.requests];
    for (index, (span, members)) in spans(&sorted.kept, &draft.lasts).into_iter().enumerate() {
        span_of_kept.resize(span_of_kept.len() + members, index);
        packing.spans.push(span);
        packing.requests[draft.request_of[index]].push(index);
    }
    // By what they begin with, so that a capture is easy to read.
    packing.requests.sort_unstable();
    packing.span_of = sorted.kept_of.iter().map(|kept| kept.map(|kept| span_of_kept[kept])).collect();
    packing
}
