//! Which part of the past is wanted, and where in a lane's files it is: for export and replay.

use crate::batch::Schema;
use crate::lane::{Body, Item, OfflineLane};

/// Files that were begun so long after the end are not read: a batch may have waited, and the
/// clock may have been set.
const SPARE_US: i64 = 3_600_000_000;

/// Which samples.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Machines by name or path; empty = all.
    pub devices: Vec<String>,
    /// Tags, a `*` at the end stands for anything; empty = all.
    pub tags: Vec<String>,
    /// From this time on, microseconds since 1970 UTC.
    pub from_us: Option<i64>,
    /// Before this time.
    pub until_us: Option<i64>,
}

impl Filter {
    /// Whether this machine is wanted.
    pub fn has_device(&self, schema: &Schema) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|it| *it == schema.name || *it == schema.device)
    }

    /// Whether this tag is wanted.
    pub fn has_tag(&self, path: &str) -> bool {
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == wanted,
        };
        self.tags.is_empty() || self.tags.iter().any(fits)
    }

    /// Whether a time between these two is wanted.
    pub fn has_time(&self, from_us: i64, to_us: i64) -> bool {
        self.from_us.is_none_or(|wanted| to_us >= wanted)
            && self.until_us.is_none_or(|wanted| from_us < wanted)
    }
}

/// Offsets that may hold something wanted.
pub fn range(lane: &OfflineLane, filter: &Filter) -> (u64, u64) {
    let segments = lane.files().segments();
    let known = |us: i64| (us != 0).then_some(us);
    let ended = |number: usize, us: i64| {
        let next = segments.get(number + 1).and_then(|next| known(next.created_us));
        next.is_some_and(|next| next.saturating_add(SPARE_US) < us)
    };
    let first = filter.from_us.map_or(0, |us| (0..segments.len()).take_while(|it| ended(*it, us)).count());
    let later = filter.until_us.and_then(|us| {
        let is_later = |us_of: i64| known(us_of).is_some_and(|it| it.saturating_sub(SPARE_US) > us);
        // Only if all behind it are later, too: a clock may have been ahead for a while.
        let earlier = segments.iter().rposition(|segment| !is_later(segment.created_us));
        segments.get(earlier.map_or(0, |it| it + 1)).map(|segment| segment.first_offset)
    });
    let first_offset = segments.get(first).map_or(lane.files().next_offset(), |segment| segment.first_offset);
    (first_offset, later.unwrap_or(lane.files().next_offset()))
}

/// Edge time of the oldest batch that is left, microseconds since 1970 UTC; of an event nobody
/// knows it without reading its text, so there it is when its file was begun.
pub fn oldest_us(lane: &mut OfflineLane) -> Option<i64> {
    let begun_us = lane.files().segments().first().map(|segment| segment.created_us).filter(|us| *us != 0);
    lane.seek(lane.files().first_offset());
    loop {
        match lane.read() {
            Item::Record(record) => match record.body {
                Body::Batch(batch) => return Some(batch.edge_us),
                Body::Thinned(thinned) => return Some(thinned.from_us),
                Body::Event(_) => return begun_us,
            },
            Item::End => return begun_us,
            Item::Damage(_) | Item::Removed(..) => {}
        }
    }
}
