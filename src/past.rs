//! Which part of the past is wanted, and where in a lane's files it is: for export and replay.

use std::ops::Range;

use crate::batch::Schema;
use crate::lane::{Body, Item, OfflineLane};

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

/// Ranges of offsets that may hold something wanted, in order.
pub fn ranges(lane: &OfflineLane, filter: &Filter) -> Vec<Range<u64>> {
    let from_us = filter.from_us.unwrap_or(i64::MIN);
    lane.between(from_us, filter.until_us.unwrap_or(i64::MAX))
}

/// Edge time of the oldest batch that is left, microseconds since 1970 UTC; of an event nobody
/// knows it without reading its text, so there it is when its file was begun.
pub fn oldest_us(lane: &mut OfflineLane) -> Option<i64> {
    let begun_us = lane.files().segments().first().map(|segment| segment.created_us).filter(|us| *us != 0);
    lane.seek(lane.files().first_offset());
    loop {
        match lane.read_all() {
            Item::Record(record) => match record.body {
                Body::Batch(batch) => return Some(batch.edge_us),
                Body::Thinned(thinned) => return Some(thinned.from_us),
                Body::Event(_) => return begun_us,
            },
            Item::End | Item::Unreadable(_) => return begun_us,
            Item::Damage(_) | Item::Removed(..) => {}
        }
    }
}
