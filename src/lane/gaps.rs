//! Events that say what a lane lost, or that its disk does not work.

use std::ops::Range;

use serde_json::{Value as Json, json};

use crate::clock::rfc3339;
use crate::event::{Event, Kind, What};
use crate::journal::{Damage, DamageKind, Replaced};

use super::tally::Tally;
use super::worker::taken::Moved;

/// Devices and tags named in one event at most; the rest is counted.
const DEVICES_MAX: usize = 200;
const TAGS_MAX: usize = 2000;

/// Why there is no more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The lane's budget is used up.
    Budget,
    /// The file system has less left than it is to keep, whoever has filled it.
    Disk,
}

impl NoRoom {
    /// Stable word for `data.cause`.
    fn code(self) -> &'static str {
        match self {
            Self::Budget => "disk-budget",
            Self::Disk => "disk-full",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Budget => "the disk budget is reached",
            Self::Disk => "the disk has too little free space left",
        }
    }
}

/// Makes the events of one lane.
#[derive(Debug, Clone)]
pub(super) struct Gaps {
    /// Name of the lane.
    pub lane: String,
    /// Path of the box.
    pub box_path: String,
}

impl Gaps {
    /// The oldest records were removed for lack of room. Of what was handed to a replicator it
    /// is not known whether Kafka has it.
    pub(super) fn evicted(
        &self,
        (from_offset, to_offset): (u64, u64),
        tally: &Tally,
        was_handed: bool,
        why: NoRoom,
        now_us: i64,
    ) -> Event {
        let Self { lane, .. } = self;
        let Tally { batches, samples, .. } = tally;
        let (from, to) = times(tally);
        let (sent, words) = (sent(was_handed), why.words());
        let text = format!("{lane}: {batches} records from {from} to {to} removed {sent}, {words}");
        let mut data = json!({
            "lane": lane, "cause": why.code(), "batches": batches, "samples": samples,
            "from": from, "to": to, "from_offset": from_offset, "to_offset": to_offset,
        });
        if was_handed {
            data["perhaps_sent"] = true.into();
        }
        put_devices(&mut data, tally);
        self.event(Kind::Gap, text, data, now_us)
    }

    /// The oldest records were removed because somebody asked for it.
    pub(super) fn removed_by_order(
        &self,
        range: (u64, u64),
        tally: &Tally,
        was_handed: bool,
        now_us: i64,
    ) -> Event {
        let mut event = self.evicted(range, tally, was_handed, NoRoom::Budget, now_us);
        let (from, to) = times(tally);
        let (lane, batches, sent) = (&self.lane, tally.batches, sent(was_handed));
        event.text =
            format!("{lane}: {batches} records from {from} to {to} removed {sent}, an operator asked for it");
        event.data["cause"] = "operator".into();
        event
    }

    /// Records were summed up for lack of room.
    pub(super) fn thinned(
        &self,
        replaced: &Replaced,
        tally: &Tally,
        interval_s: u64,
        why: NoRoom,
        now_us: i64,
    ) -> Event {
        let Self { lane, .. } = self;
        let Tally { batches, samples, .. } = tally;
        let (from, to) = times(tally);
        let text = format!(
            "{lane}: {batches} records from {from} to {to} summed up over {interval_s} s each, {}",
            why.words()
        );
        let mut data = json!({
            "lane": lane, "cause": why.code(), "interval_s": interval_s, "batches": batches,
            "samples": samples, "from": from, "to": to,
            "from_offset": replaced.from_offset, "to_offset": replaced.to_offset,
            "bytes_before": replaced.bytes_before, "bytes": replaced.bytes,
        });
        put_devices(&mut data, tally);
        self.event(Kind::Thinned, text, data, now_us)
    }

    /// An event of [`Gaps::evicted`] as bytes.
    pub(super) fn note(&self, event: &Event) -> Vec<u8> {
        // What cannot be written as JSON cannot be sent as an event either.
        serde_json::to_vec(&(event.edge_time, &event.text, &event.data)).unwrap_or_default()
    }

    /// The event of [`Gaps::note`].
    pub(super) fn noted(&self, note: &[u8]) -> Option<Event> {
        let (edge_time, text, data) = serde_json::from_slice(note).ok()?;
        Some(self.event(Kind::Gap, text, data, edge_time))
    }

    /// Records that cannot be read any more.
    pub(super) fn damaged(&self, damage: &Damage, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let Damage { from_offset, to_offset, cause, kind } = damage;
        let batches = if *kind == DamageKind::Unused { 0 } else { to_offset - from_offset };
        let text = match kind {
            DamageKind::Damaged => {
                format!("{lane}: {batches} records from offset {from_offset} cannot be read: {cause}")
            }
            DamageKind::Unreadable => format!(
                "{lane}: {batches} records from offset {from_offset} are passed over, the disk has given errors for \
                 too long: {cause}"
            ),
            DamageKind::Unused => format!("{lane}: the offsets from {from_offset} to {to_offset}: {cause}"),
        };
        let data = json!({
            "lane": lane, "cause": kind.code(), "detail": cause, "batches": batches,
            "from_offset": from_offset, "to_offset": to_offset,
        });
        self.event(Kind::Gap, text, data, now_us)
    }

    /// Records that are no longer there when they are to be sent.
    pub(super) fn moved(&self, from_offset: u64, to_offset: u64, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let batches = to_offset - from_offset;
        let text = format!("{lane}: {batches} records from offset {from_offset} are no longer on this disk");
        let data = json!({
            "lane": lane, "cause": "removed", "batches": batches,
            "from_offset": from_offset, "to_offset": to_offset,
        });
        self.event(Kind::Gap, text, data, now_us)
    }

    /// Records have offsets under which Kafka has others, because the disk has lost its end or was
    /// put back from a copy. Of those of earlier runs it is not certain that these are others.
    pub(super) fn offsets_taken(&self, range: &Range<u64>, perhaps_sent: bool, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let Range { start, end } = range;
        let batches = end - start;
        let which = if perhaps_sent { "perhaps other" } else { "other" };
        let text = format!(
            "{lane}: {batches} records cannot be sent: the disk had lost its end or was put back from a copy, and \
             Kafka has {which} records under their offsets from {start}"
        );
        let mut data = json!({
            "lane": lane, "cause": "offsets-taken", "batches": batches, "from_offset": start, "to_offset": end,
        });
        if perhaps_sent {
            data["perhaps_sent"] = true.into();
        }
        self.event(Kind::Gap, text, data, now_us)
    }

    /// Records were stored again under new offsets, because Kafka has others under theirs.
    pub(super) fn new_offsets(&self, moved: &Moved, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let Moved { from: Range { start, end }, to } = moved;
        let batches = end - start;
        let text = format!(
            "{lane}: {batches} records from offset {start} got new offsets from {to}: the disk had lost its end or \
             was put back from a copy, and Kafka has other records under theirs"
        );
        let data = json!({
            "what": What::NewOffsets, "lane": lane, "batches": batches, "from_offset": start, "to_offset": end,
            "new_from_offset": to, "new_to_offset": to + batches,
        });
        self.event(Kind::Box, text, data, now_us)
    }

    /// Something of `device` that could not be stored at all.
    pub(super) fn refused(&self, device: &str, samples: usize, cause: &str, now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let text = format!("{lane}: {samples} samples of {device} cannot be stored: {cause}");
        let data = json!({ "lane": lane, "cause": "not-storable", "detail": cause, "samples": samples });
        Event { device: device.to_owned(), ..self.event(Kind::Gap, text, data, now_us) }
    }

    /// The disk has stopped or begun to work.
    pub(super) fn disk(&self, text: String, working: bool, now_us: i64) -> Event {
        let data = json!({ "what": What::Disk, "lane": self.lane, "working": working });
        self.event(Kind::Box, text, data, now_us)
    }

    /// Less is free than is to be left to others.
    pub(super) fn disk_short(&self, text: String, (free, reserve): (u64, u64), now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let data =
            json!({ "what": What::DiskShort, "lane": lane, "free_bytes": free, "reserve_bytes": reserve });
        self.event(Kind::Box, text, data, now_us)
    }

    /// The disk cannot hold what the budget promises.
    pub(super) fn disk_small(&self, text: String, (budget, room): (u64, u64), now_us: i64) -> Event {
        let Self { lane, .. } = self;
        let data =
            json!({ "what": What::DiskSmall, "lane": lane, "budget_bytes": budget, "room_bytes": room });
        self.event(Kind::Box, text, data, now_us)
    }

    /// The disk has stopped or begun to give what is read.
    pub(super) fn disk_read(&self, text: String, working: bool, now_us: i64) -> Event {
        let data = json!({ "what": What::DiskRead, "lane": self.lane, "working": working });
        self.event(Kind::Box, text, data, now_us)
    }

    fn event(&self, kind: Kind, text: String, data: serde_json::Value, now_us: i64) -> Event {
        Event { kind, edge_time: now_us, device: self.box_path.clone(), text, data }
    }
}

/// Whether Kafka has some of it is not known of what was handed to a replicator.
fn sent(was_handed: bool) -> &'static str {
    if was_handed { "when some of it may have been sent" } else { "unsent" }
}

fn times(tally: &Tally) -> (String, String) {
    tally.times_us.map_or_else(Default::default, |(from, to)| (rfc3339(from), rfc3339(to)))
}

/// Adds what of which device and tag it is.
fn put_devices(data: &mut Json, tally: &Tally) {
    let mut tags_left = TAGS_MAX;
    let mut tags_unnamed = 0;
    let named: Vec<Json> = tally
        .devices
        .iter()
        .take(DEVICES_MAX)
        .map(|(device, counts)| {
            let tags: serde_json::Map<String, Json> = counts
                .tags
                .iter()
                .take(tags_left)
                .map(|(tag, count)| (tag.clone(), (*count).into()))
                .collect();
            tags_left -= tags.len();
            tags_unnamed += counts.tags.len() - tags.len();
            json!({ "device": device, "batches": counts.batches, "samples": counts.samples, "tags": tags })
        })
        .collect();
    data["devices"] = named.into();
    data["devices_unnamed"] = tally.devices.len().saturating_sub(DEVICES_MAX).into();
    data["tags_unnamed"] = tags_unnamed.into();
}
