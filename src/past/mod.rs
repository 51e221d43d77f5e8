//! Which part of the past is wanted, and where in a lane's files it is: for export and replay.

mod names;

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::amount::time;
use crate::batch::Schema;
use crate::lane::{Body, Item, OfflineLane, Record};
use crate::replicate::RecordEncoder;

pub use names::{Names, UnknownName};

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

/// Whether `wanted` names this machine, by its path or by the last part of it.
pub fn is_device(wanted: &str, path: &str) -> bool {
    wanted == path || path.rsplit('/').next() == Some(wanted)
}

/// Whether `wanted` names this tag; a `*` at its end stands for anything.
pub fn is_tag(wanted: &str, path: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == wanted,
    }
}

impl Filter {
    /// Whether this machine is wanted.
    pub fn has_device(&self, schema: &Schema) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|it| *it == schema.name || *it == schema.device)
    }

    /// Whether this tag is wanted.
    pub fn has_tag(&self, path: &str) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|wanted| is_tag(wanted, path))
    }

    /// Whether a time between these two is wanted.
    pub fn has_time(&self, from_us: i64, to_us: i64) -> bool {
        self.from_us.is_none_or(|wanted| to_us >= wanted)
            && self.until_us.is_none_or(|wanted| from_us < wanted)
    }

    /// Whether this record is wanted, by time and machine.
    pub fn has(&self, record: &Record) -> bool {
        match &record.body {
            Body::Batch(batch) => {
                self.has_time(batch.edge_us, batch.edge_us) && self.has_device(&batch.schema)
            }
            Body::Thinned(thinned) => {
                self.has_time(thinned.from_us, thinned.to_us) && self.has_device(&thinned.schema)
            }
            Body::Event(json) => {
                let (device, edge_us) = RecordEncoder::event(json);
                self.has_time(edge_us, edge_us)
                    && (self.devices.is_empty() || self.devices.iter().any(|it| is_device(it, &device)))
            }
        }
    }
}

/// Ranges of offsets that may hold something wanted, in order.
pub fn ranges(lane: &OfflineLane, filter: &Filter) -> Vec<Range<u64>> {
    let from_us = filter.from_us.unwrap_or(i64::MIN);
    lane.between(from_us, filter.until_us.unwrap_or(i64::MAX))
}

/// Whether there is anything wanted in these ranges. What takes longer than `limit` to find is
/// taken to be there.
pub fn is_there(lane: &mut OfflineLane, filter: &Filter, ranges: &[Range<u64>], limit: Duration) -> bool {
    let end = Instant::now() + limit;
    for range in ranges {
        lane.seek(range.start);
        while lane.offset() < range.end {
            match lane.read_all() {
                Item::Record(record) if filter.has(&record) => return true,
                Item::End | Item::Unreadable(_) => break,
                // What cannot be read is counted when it is its turn.
                Item::Damage(_) => return true,
                Item::Record(_) | Item::Removed(..) if Instant::now() > end => return true,
                Item::Record(_) | Item::Removed(..) => {}
            }
        }
    }
    false
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

/// Edge time of the newest record, microseconds since 1970 UTC; `None` when it cannot be read.
fn newest_us(lane: &mut OfflineLane) -> Option<i64> {
    lane.seek(lane.files().next_offset().checked_sub(1)?);
    match lane.read_all() {
        Item::Record(record) => Some(match record.body {
            Body::Batch(batch) => batch.edge_us,
            Body::Thinned(thinned) => thinned.to_us,
            Body::Event(json) => RecordEncoder::event(&json).1,
        }),
        _ => None,
    }
}

/// From when to when a lane holds something, in words.
pub fn extent(lane: &mut OfflineLane) -> String {
    if lane.files().first_offset() == lane.files().next_offset() {
        return "it holds nothing at all".to_owned();
    }
    match (oldest_us(lane), newest_us(lane)) {
        (Some(oldest), Some(newest)) => format!("it holds {} to {}", time(oldest), time(newest)),
        (Some(oldest), None) => format!("it holds what came after {}", time(oldest)),
        _ => "nobody knows of which time what it holds is".to_owned(),
    }
}
