//! Tags that read a part of each other: mostly a slip in an address, or a stride that is too small.

use std::collections::HashSet;

use forebay_connector::Extent;

use crate::diagnostic::Span;
use crate::document::Context;

/// What one tag reads.
pub struct Placed {
    /// Its part of the device's memory.
    pub extent: Extent,
    /// Path of the tag.
    pub path: String,
    /// Where its address stands.
    pub span: Span,
}

/// Warns of tags that overlap without one lying wholly inside the other; a bit of a word or the
/// same bytes read as another type are meant.
///
/// Sorted by their beginning, longer ones first, tags that lie within each other nest like
/// brackets. The innermost that is still open when the next begins must end behind it.
pub fn warn(ctx: &Context<'_>, mut tags: Vec<Placed>) {
    tags.sort_by(|a, b| {
        let key = |it: &Placed| (it.extent.bits.start, std::cmp::Reverse(it.extent.bits.end));
        a.extent.area.cmp(&b.extent.area).then_with(|| key(a).cmp(&key(b)))
    });
    let mut open: Vec<&Placed> = Vec::new();
    // One line may be many tags, by `repeat`.
    let mut told: HashSet<Span> = HashSet::new();
    for tag in &tags {
        while open.last().is_some_and(|last| {
            last.extent.area != tag.extent.area || last.extent.bits.end <= tag.extent.bits.start
        }) {
            open.pop();
        }
        if let Some(first) = open.last().filter(|first| first.extent.bits.end < tag.extent.bits.end)
            && told.insert(tag.span)
        {
            let message = format!("tag `{}` reads a part of what `{}` reads", tag.path, first.path);
            let mut fault = ctx.warning("P0151", tag.span, message).label("begins inside");
            let help = if first.span == tag.span {
                "make `stride` as large as one structure"
            } else {
                fault = fault.also(ctx.place(first.span), "this value");
                "correct one of the addresses or types; with `repeat`, make `stride` as large as one structure"
            };
            ctx.report(fault.help(help));
        }
        open.push(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Faults, Source};

    fn overlapping(bits: &[(&str, std::ops::Range<u64>)]) -> Vec<String> {
        let (source, faults) = (Source::new("x", " ".repeat(100)), Faults::default());
        let placed = bits.iter().enumerate().map(|(at, (area, bits))| Placed {
            extent: Extent { area: (*area).to_owned(), bits: bits.clone() },
            path: format!("{area}{bits:?}"),
            span: Span::from(at..at + 1),
        });
        warn(&Context::new(0, &source, &faults), placed.collect());
        faults.finish().0.into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn only_what_sticks_out_is_told() {
        assert_eq!(overlapping(&[("a", 0..32), ("a", 32..64), ("b", 16..48)]), [""; 0]);
        assert_eq!(
            overlapping(&[("a", 0..32), ("a", 0..32), ("a", 0..16), ("a", 16..32), ("a", 3..4)]),
            [""; 0]
        );
        assert_eq!(
            overlapping(&[("a", 16..48), ("a", 0..32)]),
            ["tag `a16..48` reads a part of what `a0..32` reads"]
        );
        let found = overlapping(&[("a", 0..64), ("a", 8..24), ("a", 16..32), ("a", 40..80)]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
