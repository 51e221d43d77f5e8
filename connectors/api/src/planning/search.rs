//! Search to the end among all spans of neighbours and all ways to pack them: branch and bound.

use super::cover::Sorted;
use super::pack::{Draft, Room, STEP};
use super::{Cost, Place};

/// Places of a case that is searched at all; the depth of the search.
const PLACES_MAX: usize = 64;

/// Steps after which a search ends unfinished: some milliseconds.
const STEPS_MAX: u32 = 10_000;

/// What a search has found.
pub(super) struct Found {
    /// A draft that costs less than the one known before, and its cost.
    pub better: Option<(u64, Draft)>,
    /// Nothing costs less.
    pub is_complete: bool,
}

/// Looks for a draft that costs less than `known_ns`.
pub(super) fn search(sorted: &Sorted, room: &Room, cost: Cost, known_ns: u64) -> Found {
    if sorted.kept.len() > PLACES_MAX {
        return Found { better: None, is_complete: false };
    }
    let mut search = Search {
        sorted,
        room,
        cost,
        rest: Rest::new(sorted, room, cost),
        best_ns: known_ns,
        better: None,
        steps: 0,
        open: Vec::new(),
        firsts: Vec::new(),
        request_of: Vec::new(),
        spans_ns: 0,
    };
    search.place(0);
    let is_complete = search.steps <= STEPS_MAX;
    Found { better: search.better.map(|draft| (search.best_ns, draft)), is_complete }
}

/// A request being filled.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Open {
    bytes: u32,
    items: usize,
}

struct Search<'a> {
    sorted: &'a Sorted,
    room: &'a Room,
    cost: Cost,
    rest: Rest,
    best_ns: u64,
    better: Option<Draft>,
    steps: u32,
    /// Where the search stands: the requests,
    open: Vec<Open>,
    /// the first place of each span begun up to here,
    firsts: Vec<usize>,
    /// and its request.
    request_of: Vec<usize>,
    /// What the bytes of the spans cost.
    spans_ns: u64,
}

impl Search<'_> {
    /// Tries all ways to read the kept places from `index` on.
    fn place(&mut self, index: usize) {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.least_ns(index) >= self.best_ns {
            return;
        }
        if index == self.sorted.kept.len() {
            self.best_ns = self.spans_ns + self.open.len() as u64 * self.cost.request_ns;
            let behind = self.firsts.iter().skip(1).chain([&index]);
            self.better = Some(Draft {
                lasts: behind.filter_map(|first| first.checked_sub(1)).collect(),
                request_of: self.request_of.clone(),
                requests: self.open.len(),
            });
            return;
        }
        self.extend(index);
        self.begin(index);
    }

    /// The span that the place before belongs to takes this one in.
    fn extend(&mut self, index: usize) {
        let (Some(request), Some(first)) = (self.request_of.last().copied(), self.firsts.last()) else {
            return;
        };
        if !self.sorted.joins(index, u32::MAX) {
            return;
        }
        let start = u64::from(self.sorted.kept[*first].start);
        let len_to = |end: u64| u32::try_from(end - start).unwrap_or(u32::MAX);
        let (before, len) =
            (len_to(self.sorted.kept[index - 1].end()), len_to(self.sorted.kept[index].end()));
        if len > self.room.longest {
            return;
        }
        let more = self.room.answer(len) - self.room.answer(before);
        if self.open[request].bytes + more > self.room.answer_bytes {
            return;
        }
        self.open[request].bytes += more;
        self.spans_ns += u64::from(more) * self.cost.byte_ns;
        self.place(index + 1);
        self.spans_ns -= u64::from(more) * self.cost.byte_ns;
        self.open[request].bytes -= more;
    }

    /// A span begins with this place, in each of the requests or in a new one.
    fn begin(&mut self, index: usize) {
        let len = self.sorted.kept[index].len;
        let bytes = self.room.answer(len);
        let span_ns = self.room.span_ns(len, self.cost);
        self.firsts.push(index);
        self.spans_ns += span_ns;
        for request in 0..=self.open.len() {
            let known = self.open.get(request).copied();
            let old = known.unwrap_or(Open { bytes: 0, items: 0 });
            let fits = old.items < self.room.items && old.bytes + bytes <= self.room.answer_bytes;
            // Two requests filled alike are one case. A place that fits nowhere has a request of its own.
            if (known.is_some() && !fits) || self.open[..request].contains(&old) {
                continue;
            }
            match known {
                Some(_) => self.open[request] = Open { bytes: old.bytes + bytes, items: old.items + 1 },
                None => self.open.push(Open { bytes, items: 1 }),
            }
            self.request_of.push(request);
            self.place(index + 1);
            self.request_of.pop();
            match known {
                Some(_) => self.open[request] = old,
                None => self.open.truncate(request),
            }
        }
        self.spans_ns -= span_ns;
        self.firsts.pop();
    }

    /// What any plan costs that goes on from here.
    fn least_ns(&self, index: usize) -> u64 {
        let free_bytes: u64 =
            self.open.iter().map(|open| u64::from(self.room.answer_bytes.saturating_sub(open.bytes))).sum();
        let free_items: u64 = self.open.iter().map(|open| (self.room.items - open.items) as u64).sum();
        let by_bytes = self.rest.bytes[index].saturating_sub(free_bytes);
        let by_items = self.rest.items[index].saturating_sub(free_items);
        let more = by_bytes
            .div_ceil(u64::from(self.room.answer_bytes.max(1)))
            .max(by_items.div_ceil(self.room.items.max(1) as u64));
        self.spans_ns + self.rest.ns[index] + (self.open.len() as u64 + more) * self.cost.request_ns
    }
}

/// The least that the places from each one on take, even when the span before them goes on.
struct Rest {
    ns: Vec<u64>,
    bytes: Vec<u64>,
    items: Vec<u64>,
}

impl Rest {
    fn new(sorted: &Sorted, room: &Room, cost: Cost) -> Self {
        let heads = u64::from(room.answer_item_bytes + room.request_item_bytes);
        let (step, item) = (u64::from(STEP), u64::from(room.answer_item_bytes));
        Self {
            ns: rest(sorted, room.longest, heads * cost.byte_ns, step * cost.byte_ns),
            bytes: rest(sorted, room.longest, item, step),
            items: rest(sorted, room.longest, 1, 0),
        }
    }
}

/// The least cost of the places from each one on, with `each` for a span and `step` for two bytes.
fn rest(sorted: &Sorted, longest: u32, each: u64, step: u64) -> Vec<u64> {
    let kept = &sorted.kept;
    let steps = |bytes: u64| bytes / u64::from(STEP) * step;
    let mut fresh = vec![0; kept.len() + 1];
    let mut least = vec![0; kept.len() + 1];
    for first in (0..kept.len()).rev() {
        let run = || members(sorted, first, longest);
        let begun = run().map(|last| {
            let len = kept[last].end() - u64::from(kept[first].start);
            each + steps(len.next_multiple_of(u64::from(STEP))) + fresh[last + 1]
        });
        fresh[first] = begun.min().unwrap_or(0);
        least[first] = fresh[first];
        if first > 0 && sorted.joins(first, u32::MAX) {
            // An odd byte more may fall into the one that filled up a word.
            let gone_on = run().map(|last| steps(kept[last].end() - kept[first - 1].end()) + fresh[last + 1]);
            least[first] = least[first].min(gone_on.min().unwrap_or(u64::MAX));
        }
    }
    least
}

/// The last members that a span which begins with `first` can have.
fn members(sorted: &Sorted, first: usize, longest: u32) -> impl Iterator<Item = usize> {
    let reaches = move |last: &usize| {
        let kept: &[Place] = &sorted.kept;
        (*last == first || sorted.joins(*last, u32::MAX))
            && kept[*last].end() - u64::from(kept[first].start) <= u64::from(longest)
    };
    (first..sorted.kept.len()).take_while(reaches)
}
