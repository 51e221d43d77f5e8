//! Shorter spans fill requests better, longer ones cost fewer bytes: spans are cut before they are
//! packed, and joined again where both halves came into one request.

use super::cover::{Sorted, spans};
use super::pack::{Draft, Room};
use super::{Cost, Place};

/// The spans that end at `lasts`, cut between places so that none is longer than `longest` unless
/// it is a single place.
pub(super) fn cut(kept: &[Place], lasts: &[usize], longest: u64) -> Vec<usize> {
    let mut cut = Vec::with_capacity(lasts.len());
    let mut first = 0;
    for last in lasts {
        for place in first + 1..=*last {
            if kept[place].end() - u64::from(kept[first].start) > longest {
                cut.push(place - 1);
                first = place;
            }
        }
        cut.push(*last);
        first = last + 1;
    }
    cut
}

/// Joins neighbours in one request wherever that costs less and its answer has the room.
pub(super) fn join(sorted: &Sorted, draft: &Draft, room: &Room, cost: Cost) -> Draft {
    let lens: Vec<u32> = spans(&sorted.kept, &draft.lasts).iter().map(|(span, _)| span.len).collect();
    let mut used = vec![0; draft.requests];
    for (len, request) in lens.iter().zip(&draft.request_of) {
        used[*request] += room.answer(*len);
    }
    let mut joined = Draft { lasts: Vec::new(), request_of: Vec::new(), requests: draft.requests };
    // The span that may go on: its first place and its length.
    let (mut first, mut len_before) = (0, 0);
    let mut begin = 0;
    for (index, last) in draft.lasts.iter().enumerate() {
        let (request, len) = (draft.request_of[index], lens[index]);
        let with_this = || {
            if joined.request_of.last() != Some(&request) || !sorted.joins(begin, u32::MAX) {
                return None;
            }
            let together = sorted.kept[*last].end() - u64::from(sorted.kept[first].start);
            let together = u32::try_from(together).ok().filter(|len| *len <= room.longest)?;
            let apart_ns = room.span_ns(len_before, cost) + room.span_ns(len, cost);
            let bytes = used[request] - room.answer(len_before) - room.answer(len) + room.answer(together);
            let pays = room.span_ns(together, cost) <= apart_ns && bytes <= room.answer_bytes;
            pays.then_some((together, bytes))
        };
        match with_this() {
            Some((together, bytes)) => {
                used[request] = bytes;
                len_before = together;
                joined.lasts.pop();
            }
            None => {
                joined.request_of.push(request);
                (first, len_before) = (begin, len);
            }
        }
        joined.lasts.push(*last);
        begin = last + 1;
    }
    joined
}
