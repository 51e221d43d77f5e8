//! Completes one request after the other: each takes the longest span that is left and those others
//! that leave the least room.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::cover::spans;
use super::pack::{Draft, Room};
use super::{Place, Span};

/// Choices weighed for one request at most.
const STEPS_MAX: u32 = 300;

/// Packs the spans that end at `lasts`.
pub(super) fn completed(kept: &[Place], lasts: Vec<usize>, room: &Room) -> Draft {
    let spans: Vec<(Span, usize)> = spans(kept, &lasts);
    let mut left: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, (span, _)) in spans.iter().enumerate().rev() {
        left.entry(room.answer(span.len)).or_default().push(index);
    }
    let mut request_of = vec![0; lasts.len()];
    let mut requests = 0;
    while let Some((longest, _)) = left.last_key_value() {
        let mut choice =
            Choice { left: &left, chosen: vec![*longest], best: vec![*longest], slack: u32::MAX, steps: 0 };
        choice.go_on(room.answer_bytes.saturating_sub(*longest), room.items);
        for bytes in choice.best {
            let Some(same) = left.get_mut(&bytes) else { continue };
            if let Some(span) = same.pop() {
                request_of[span] = requests;
            }
            if same.is_empty() {
                left.remove(&bytes);
            }
        }
        requests += 1;
    }
    Draft { lasts, request_of, requests }
}

/// The filling of one request.
struct Choice<'a> {
    /// Spans not yet in a request, by the bytes they take.
    left: &'a BTreeMap<u32, Vec<usize>>,
    chosen: Vec<u32>,
    best: Vec<u32>,
    slack: u32,
    steps: u32,
}

impl Choice<'_> {
    /// Tries what else fits into `free` bytes, the longest first.
    fn go_on(&mut self, free: u32, items: usize) {
        self.steps += 1;
        if free < self.slack {
            self.slack = free;
            self.best.clone_from(&self.chosen);
        }
        if self.chosen.len() >= items {
            return;
        }
        let longest = self.chosen.last().copied().unwrap_or(free).min(free);
        let mut next = self.left.range((Bound::Unbounded, Bound::Included(longest))).next_back();
        while let Some((bytes, same)) = next {
            if self.slack == 0 || self.steps >= STEPS_MAX {
                return;
            }
            let used = self.chosen.iter().rev().take_while(|chosen| *chosen == bytes).count();
            if used < same.len() {
                self.chosen.push(*bytes);
                self.go_on(free - bytes, items);
                self.chosen.pop();
            }
            next = self.left.range((Bound::Unbounded, Bound::Excluded(*bytes))).next_back();
        }
    }
}
