//! The cheapest spans, each of them paid for by itself: a dynamic programme, exact.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::{Place, Span};

/// What a span may be and what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Most entries in a span.
    pub longest: u32,
    /// Widest hole between two places that is read over, in entries.
    pub gap: u32,
    /// What every span costs, whatever its length.
    pub span_ns: u64,
    /// Entries are paid for in steps of this many: 8 coils fill a byte. At most 64.
    pub step: u32,
    /// What each step costs, begun ones too.
    pub step_ns: u64,
}

impl Rules {
    /// What a span of `len` entries costs.
    pub fn cost_ns(&self, len: u32) -> u64 {
        self.span_ns + u64::from(len.div_ceil(self.step)) * self.step_ns
    }
}

/// Spans that read all places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cover {
    /// By area and start.
    pub spans: Vec<Span>,
    /// For each place the span that contains it; `None` for a place longer than any span may be.
    pub span_of: Vec<Option<usize>>,
    /// What all spans cost together: no other spans that read the places cost less.
    pub cost_ns: u64,
}

/// Reads `places` by the cheapest spans.
pub fn cover(places: &[Place], rules: &Rules) -> Cover {
    let sorted = Sorted::new(places, rules.longest);
    let lasts = Programme::new(&sorted, rules).lasts();
    let spans_of_kept = spans(&sorted.kept, &lasts);
    let mut cover = Cover { span_of: vec![None; places.len()], ..Cover::default() };
    let mut span_of_kept = Vec::with_capacity(sorted.kept.len());
    for (span, members) in spans_of_kept {
        span_of_kept.resize(span_of_kept.len() + members, cover.spans.len());
        cover.cost_ns += rules.cost_ns(span.len);
        cover.spans.push(span);
    }
    for (place, kept) in sorted.kept_of.iter().enumerate() {
        cover.span_of[place] = kept.map(|kept| span_of_kept[kept]);
    }
    cover
}

/// The places that decide: none within another, by area and start, ends ascending as well.
pub(super) struct Sorted {
    pub kept: Vec<Place>,
    /// For each place the kept one that contains it; `None` when it is longer than a span.
    pub kept_of: Vec<Option<usize>>,
}

impl Sorted {
    pub fn new(places: &[Place], longest: u32) -> Self {
        let mut order: Vec<usize> = (0..places.len()).filter(|index| places[*index].len <= longest).collect();
        // Those that stay alone stand behind all others and contain nothing.
        order.sort_by_key(|index| {
            let place = &places[*index];
            (place.alone, place.area, place.start, Reverse(place.len), *index)
        });
        let mut sorted = Self { kept: Vec::with_capacity(order.len()), kept_of: vec![None; places.len()] };
        for index in order {
            let place = places[index];
            let within = sorted.kept.last().is_some_and(|last: &Place| {
                !place.alone && last.area == place.area && place.end() <= last.end()
            });
            if !within {
                sorted.kept.push(place);
            }
            sorted.kept_of[index] = Some(sorted.kept.len() - 1);
        }
        sorted
    }

    /// True when the kept place `index` may share a span with the one before it.
    pub fn joins(&self, index: usize, gap: u32) -> bool {
        let (before, place) = (&self.kept[index - 1], &self.kept[index]);
        !place.alone
            && before.area == place.area
            && u64::from(place.start) <= before.end().saturating_add(u64::from(gap))
    }
}

/// The spans of neighbours that end at `lasts`, with the number of their members.
pub(super) fn spans(kept: &[Place], lasts: &[usize]) -> Vec<(Span, usize)> {
    let mut first = 0;
    let mut spans = Vec::with_capacity(lasts.len());
    for last in lasts {
        let len = kept[*last].end() - u64::from(kept[first].start);
        // Not longer than `Rules::longest`.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        spans.push((Span { area: kept[first].area, start: kept[first].start, len }, last + 1 - first));
        first = last + 1;
    }
    spans
}

/// The dynamic programme over the kept places, from the last to the first.
///
/// What the places from `first` on cost is the least, over all `last` that a span from `first` can
/// reach, of that span and of what remains behind it. Among spans that end at the same remainder of
/// the step the order of the candidates does not depend on where the span begins: each remainder
/// has a queue whose front is its best, and the whole takes linear time.
struct Programme<'a> {
    sorted: &'a Sorted,
    rules: &'a Rules,
    /// Cost of the places from this one on.
    rest_ns: Vec<u64>,
    /// Last place of the span that begins with this one.
    last: Vec<usize>,
    /// Ends within reach, by `end % step`; costs ascend from the front, ends descend.
    queues: Vec<VecDeque<usize>>,
}

impl<'a> Programme<'a> {
    fn new(sorted: &'a Sorted, rules: &'a Rules) -> Self {
        let count = sorted.kept.len();
        let queues = vec![VecDeque::new(); rules.step as usize];
        Self { sorted, rules, rest_ns: vec![0; count + 1], last: vec![0; count], queues }
    }

    /// The last place of each span of the cheapest cover, in order.
    fn lasts(mut self) -> Vec<usize> {
        let count = self.sorted.kept.len();
        let mut linked = count.saturating_sub(1);
        for first in (0..count).rev() {
            if first + 1 < count && !self.sorted.joins(first + 1, self.rules.gap) {
                linked = first;
            }
            self.offer(first);
            self.choose(first, linked);
        }
        let mut lasts = Vec::new();
        let mut next = 0;
        while next < count {
            lasts.push(self.last[next]);
            next = self.last[next] + 1;
        }
        lasts
    }

    /// Makes a place an end that spans may have.
    fn offer(&mut self, place: usize) {
        let queue = self.queue_of(place);
        let key = self.key(place);
        // An equal one further on stays: of equal plans the one with the longest first span is made.
        while self.queues[queue].back().is_some_and(|back| self.key(*back) > key) {
            self.queues[queue].pop_back();
        }
        self.queues[queue].push_back(place);
    }

    fn queue_of(&self, place: usize) -> usize {
        let remainder = self.sorted.kept[place].end() % u64::from(self.rules.step);
        usize::try_from(remainder).unwrap_or(0) // below the step, which is small
    }

    /// Ascends as the cost of a span that ends with `last`, wherever it begins, as long as the
    /// remainder is the same.
    fn key(&self, last: usize) -> u64 {
        let steps = self.sorted.kept[last].end() / u64::from(self.rules.step);
        self.rest_ns[last + 1] + steps * self.rules.step_ns
    }

    /// Takes the best end of a span that begins with `first` and ends with `linked` at the latest.
    fn choose(&mut self, first: usize, linked: usize) {
        let start = u64::from(self.sorted.kept[first].start);
        let mut best: Option<(u64, Reverse<usize>)> = None;
        for queue in &mut self.queues {
            let reaches = |last: &usize| {
                *last <= linked && self.sorted.kept[*last].end() - start <= u64::from(self.rules.longest)
            };
            // Spans that begin further left reach no further right.
            while queue.front().is_some_and(|last| !reaches(last)) {
                queue.pop_front();
            }
            if let Some(last) = queue.front() {
                let len = u32::try_from(self.sorted.kept[*last].end() - start).unwrap_or(u32::MAX);
                let cost = self.rules.cost_ns(len) + self.rest_ns[last + 1];
                let candidate = (cost, Reverse(*last));
                best = Some(best.map_or(candidate, |best| best.min(candidate)));
            }
        }
        // A place reaches at least itself: it is not longer than `longest`.
        let (cost, Reverse(last)) = best.unwrap_or((u64::MAX, Reverse(first)));
        self.rest_ns[first] = cost;
        self.last[first] = last;
    }
}
