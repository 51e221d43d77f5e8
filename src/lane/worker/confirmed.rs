//! What Kafka is known to have: by its own word, and before that is heard, by what was remembered
//! of the time before this start.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{PARTS_EVERY, Worker};
use crate::lane::Body;
use crate::lane::status::Ages;

/// Bytes read at most to find the time of one record.
const RECORD_BYTES: usize = 1;

/// From where on Kafka lacks records, or may.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// The first of them; `None` when nobody knows.
    from: Option<u64>,
    /// The first offset of this run.
    opened_at: u64,
    /// Offset and time of the first record of earlier runs that Kafka lacks.
    earlier: Option<(u64, i64)>,
    /// When it was read; while an old backlog is sent it is another with every transaction.
    read_at: Option<Instant>,
}

impl Open {
    /// The time of the first of them; `next_offset` is behind the last record.
    pub(super) fn oldest_us(&self, next_offset: u64, ages: &mut Ages) -> Option<i64> {
        let from = self.from.filter(|from| *from < next_offset)?;
        if from < self.opened_at {
            return self.earlier.map(|(_, us)| us);
        }
        ages.forget(from);
        ages.oldest_us()
    }
}

impl Worker {
    /// Takes in what is remembered of Kafka, until Kafka itself is heard.
    pub(in crate::lane) fn look_at_confirmed(&mut self) {
        if self.shared.found.get().is_some() || self.shared.committed().is_some() {
            if !self.status.heard {
                (self.status.heard, self.parts_at) = (true, None);
                self.journal.forget_confirmed();
            }
            self.status.confirmed = Some(self.shared.committed().unwrap_or(0));
            return;
        }
        let remembered = self.shared.confirmed.swap(0, Ordering::SeqCst);
        if remembered > 0 {
            self.journal.confirm(remembered);
            self.parts_at = None;
        }
    }

    /// Finds from where on Kafka lacks records, and since when.
    pub(in crate::lane) fn look_at_known(&mut self) {
        let known = self.journal.known_before(self.journal.next_offset());
        let first = self.journal.first_offset();
        let from = if self.status.heard {
            Some(self.shared.committed().unwrap_or(0).max(first))
        } else {
            self.status.confirmed = (known.confirmed > 0).then(|| first + known.confirmed);
            let end = self.journal.next_offset();
            // Without any word of Kafka only what was never given away is certainly not there.
            if known.perhaps == 0 || known.confirmed > 0 {
                Some(known.first_open.unwrap_or(end))
            } else {
                known.first_unsent
            }
        };
        self.status.perhaps_sent_records = if self.status.heard { 0 } else { known.perhaps };
        let opened_at = self.journal.opened_at();
        let earlier = from.filter(|from| *from < opened_at);
        let now = self.clock.now();
        let rests = |at: Instant| now.saturating_duration_since(at) < PARTS_EVERY;
        if earlier != self.open.earlier.map(|(offset, _)| offset) && !self.open.read_at.is_some_and(rests) {
            self.open.read_at = Some(now);
            self.open.earlier = earlier.and_then(|offset| Some((offset, self.time_at(offset)?)));
        }
        (self.open.from, self.open.opened_at) = (from, opened_at);
    }

    /// Time of the first record from `offset` on that can be read, microseconds since 1970 UTC.
    fn time_at(&self, offset: u64) -> Option<i64> {
        let mut reader = self.lane_reader(offset).ok()?;
        reader.only_count();
        match reader.next(1, RECORD_BYTES).pop()?.body {
            Body::Batch(batch) => Some(batch.edge_us),
            Body::Thinned(thinned) => Some(thinned.from_us),
            Body::Event(json) => {
                let event: serde_json::Value = serde_json::from_slice(&json).ok()?;
                let time: jiff::Timestamp = event["edge_time"].as_str()?.parse().ok()?;
                Some(time.as_microsecond())
            }
        }
    }
}
