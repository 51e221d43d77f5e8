//! Fills request after request with places in order, and cuts spans where a request is full.

use super::Span;
use super::cover::Sorted;
use super::pack::{Draft, Room};

/// A request being filled, and the span at its end.
struct Filling {
    span: Span,
    bytes: u32,
    items: usize,
}

/// Reads over holes of up to `gap` entries, over wider ones only when no further item fits.
pub(super) fn fill(sorted: &Sorted, room: &Room, gap: u32) -> Draft {
    let mut draft = Draft { lasts: Vec::new(), request_of: Vec::new(), requests: 0 };
    let mut filling: Option<Filling> = None;
    for (index, place) in sorted.kept.iter().enumerate() {
        let extended = |filling: &Filling, gap: u32| {
            if !sorted.joins(index, gap) {
                return None;
            }
            let len = u32::try_from(place.end() - u64::from(filling.span.start)).ok()?;
            let bytes = filling.bytes - room.answer(filling.span.len) + room.answer(len);
            let fits = len <= room.longest && bytes <= room.answer_bytes;
            fits.then_some((len, bytes))
        };
        let bytes = room.answer(place.len);
        let has_room =
            |filling: &Filling| filling.items < room.items && filling.bytes + bytes <= room.answer_bytes;
        let longer = filling.as_ref().and_then(|filling| {
            let wider = || if has_room(filling) { None } else { extended(filling, u32::MAX) };
            extended(filling, gap).or_else(wider)
        });
        if let (Some(filling), Some((len, bytes))) = (&mut filling, longer) {
            (filling.span.len, filling.bytes) = (len, bytes);
            continue;
        }
        let span = Span { area: place.area, start: place.start, len: place.len };
        if index > 0 {
            draft.lasts.push(index - 1);
        }
        match filling.as_mut().filter(|filling| has_room(filling)) {
            Some(filling) => {
                *filling = Filling { span, bytes: filling.bytes + bytes, items: filling.items + 1 };
            }
            None => {
                draft.requests += 1;
                filling = Some(Filling { span, bytes, items: 1 });
            }
        }
        draft.request_of.push(draft.requests - 1);
    }
    if let Some(last) = sorted.kept.len().checked_sub(1) {
        draft.lasts.push(last);
    }
    draft
}
