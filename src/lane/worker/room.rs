//! Making room: sent history first, then thinning, then the oldest.
//!
//! Thinning and counting take seconds, so they are done a little at a time between syncs, and are
//! begun while there is still some room. Only when the budget itself is reached is one finished
//! at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{FREE_SPACE_EVERY, Worker};
use crate::journal::{Evicted, SegmentInfo};
use crate::lane::gaps::NoRoom;
use crate::lane::reader::LaneReader;
use crate::lane::tally::Tally;
use crate::lane::thinner::{ThinError, Thinner};
use crate::lane::{Patience, WhenFull};

/// Samples summed up or counted between two looks at the queue: some milliseconds.
const SAMPLES_AT_ONCE: usize = 20_000;
/// Records read at once for counting.
const RECORDS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 256 << 10;
/// A disk that did not do a thinning is not asked for another this long.
const THIN_PAUSE: Duration = Duration::from_secs(60);
/// At most this part of what a disk had at the start is kept free, or a small one would have no
/// room at all.
const RESERVE_PART: u64 = 4;
/// The note of what was removed is kept so long: by then the event is synced in its lane.
pub(super) const NOTE_FOR: Duration = Duration::from_secs(60);

/// What is known about room.
#[derive(Default)]
pub(super) struct Room {
    job: Option<Job>,
    /// First offsets of segments that cannot be thinned, and until when; for a reason that stays
    /// without an end.
    unthinnable: Vec<(u64, Option<Instant>)>,
    /// Bytes of the journal when the file system became short: it grows no further.
    short_at_bytes: Option<u64>,
    looked_at: Option<Instant>,
    /// The reserve, as far as this disk can have it.
    reserve_bytes: Option<u64>,
    thin_failed_at: Option<Instant>,
    noted_at: Option<Instant>,
    /// Bytes before and after of all that was thinned since the start.
    thinned_bytes: (u64, u64),
}

/// What takes longer.
enum Job {
    Thin(Box<Thinner>),
    /// Counts what removing the oldest segment loses.
    Count(Box<Count>),
}

struct Count {
    reader: LaneReader,
    range: (u64, u64),
    tally: Tally,
}

/// What makes room.
enum Choice {
    /// Thinning the segment at this offset.
    Thin(u64),
    /// Removing the oldest.
    Evict,
}

/// How one step of a job ended.
#[derive(PartialEq, Eq)]
enum Step {
    More,
    Done,
    /// The disk does not do it now.
    Failed,
}

impl Room {
    /// Gives up what was begun.
    pub(super) fn forget_job(&mut self) {
        self.job = None;
    }
}

impl Worker {
    /// Goes on with making room; `at_once`, until the budget is kept.
    pub(super) fn make_room(&mut self, at_once: bool) {
        self.look_at_free_space();
        loop {
            self.drop_history();
            let full = self.journal.exceeds(self.limit_bytes(at_once));
            // While only the file system is short, there is time.
            if !full && (at_once || !self.is_short()) {
                if !self.journal.exceeds(self.limit_bytes(false)) {
                    // Whatever was begun is not needed any more.
                    self.room.job = None;
                }
                break;
            }
            if self.room.job.is_none() && !self.begin_job(full) {
                break;
            }
            if match self.step_job() {
                Step::Done => false,
                Step::More => !at_once,
                Step::Failed => true,
            } {
                break;
            }
        }
        self.forget_note();
    }

    /// True while something is being thinned or counted, so that there is no time to wait.
    pub(crate) fn is_making_room(&self) -> bool {
        self.room.job.is_some()
    }

    /// Bytes after thinning for each byte before; `None` while nothing was thinned.
    #[allow(clippy::cast_precision_loss)] // a ratio
    pub(super) fn thinned_ratio(&self) -> Option<f64> {
        let (before, after) = self.room.thinned_bytes;
        (before > 0).then(|| after as f64 / before as f64)
    }

    /// Above this room is made; a little below the budget unless it must be kept at once.
    fn limit_bytes(&self, at_once: bool) -> u64 {
        let (most, half) = (self.budget_limit(at_once), self.half_segment());
        // What is unsent is not given up for what others write, but it grows no further.
        let short = |bytes: u64| if at_once { bytes + half } else { bytes };
        self.room.short_at_bytes.map_or(most, |bytes| short(bytes).min(most))
    }

    /// The part of [`Self::limit_bytes`] that the budget gives.
    fn budget_limit(&self, at_once: bool) -> u64 {
        let budget = self.options.budget_bytes;
        if at_once { budget } else { budget - self.half_segment() }
    }

    fn half_segment(&self) -> u64 {
        self.options.segment_bytes.min(self.options.budget_bytes / 8) / 2
    }

    /// True while the file system has less than the reserve.
    fn is_short(&self) -> bool {
        self.room.short_at_bytes.is_some()
    }

    fn look_at_free_space(&mut self) {
        let now = self.clock.now();
        if self.room.looked_at.is_some_and(|at| now.saturating_duration_since(at) < FREE_SPACE_EVERY) {
            return;
        }
        self.room.looked_at = Some(now);
        let Ok(free_bytes) = self.journal.free_bytes() else { return };
        self.status.free_bytes = free_bytes;
        if self.room.reserve_bytes.is_none() {
            let had = free_bytes.saturating_add(self.journal.bytes());
            self.room.reserve_bytes = Some(self.options.reserve_bytes.min(had / RESERVE_PART));
        }
        self.look_at_reserve();
    }

    fn look_at_reserve(&mut self) {
        let (free, reserve) = (self.status.free_bytes, self.room.reserve_bytes.unwrap_or(0));
        if free < reserve {
            if self.room.short_at_bytes.is_none() {
                let text = format!(
                    "{}: only {} MB are free on the disk, less than the reserve of {} MB; the journal grows no further",
                    self.options.name,
                    free >> 20,
                    reserve >> 20
                );
                tracing::warn!("{text}");
                self.events.emit(self.gaps.disk_short(text, (free, reserve), self.clock.now_us()));
            }
            let bytes = self.journal.bytes();
            self.room.short_at_bytes = Some(self.room.short_at_bytes.map_or(bytes, |at| at.min(bytes)));
        } else if free >= reserve.saturating_add(2 * self.options.segment_bytes) {
            // Not at the first byte, or it would come and go with every segment.
            self.room.short_at_bytes = None;
        }
    }

    /// Removes sent segments while room is needed; nothing is lost by that.
    fn drop_history(&mut self) {
        while self.is_short() || self.journal.exceeds(self.limit_bytes(false)) {
            let (from, to) = self.journal.oldest_range();
            if from < to {
                return;
            }
            match self.journal.evict_oldest(b"") {
                Ok(Some(evicted)) => {
                    self.status.free_bytes += evicted.bytes;
                    self.look_at_reserve();
                }
                Ok(None) => return,
                Err(error) => return self.cannot_remove(&error),
            }
        }
    }

    /// Begins with what comes next; `false` when nothing can be done. While only the file system
    /// is short and not the budget `full`, nothing is given up.
    fn begin_job(&mut self, full: bool) -> bool {
        let segments = self.journal.segments();
        let now = self.clock.now();
        self.room.unthinnable.retain(|(offset, until)| {
            until.is_none_or(|until| until > now) && segments.iter().any(|it| it.first_offset == *offset)
        });
        match self.choose(&segments, full) {
            Some(Choice::Thin(first_offset)) => self.begin_thinning(first_offset),
            Some(Choice::Evict) => self.begin_counting(),
            None => false,
        }
    }

    /// What will make room when Kafka takes nothing.
    pub(super) fn next_room(&self, segments: &[SegmentInfo]) -> Option<WhenFull> {
        self.choose(segments, true).map(|choice| match choice {
            Choice::Thin(_) => WhenFull::Thin,
            Choice::Evict => WhenFull::Evict,
        })
    }

    /// What a second cluster has goes first; the oldest that is older than `full_for` is thinned; then the oldest removed, once it is as
    /// small as it can be; what is younger is thinned before anything is removed in full. Unless it
    /// is `full`, nothing younger is touched and nothing removed.
    fn choose(&self, segments: &[SegmentInfo], full: bool) -> Option<Choice> {
        let full_from_us = self.clock.now_us().saturating_sub(micros(self.options.full_for));
        let rests = |at: Instant| self.clock.now().saturating_duration_since(at) < THIN_PAUSE;
        let thins =
            self.options.when_full.contains(&WhenFull::Thin) && !self.room.thin_failed_at.is_some_and(rests);
        let can_thin = |segment: &&SegmentInfo| {
            thins
                && !segment.thinned
                && !segment.handed
                && !self.taken.holds(&(segment.first_offset..segment.end_offset))
                && !self.room.unthinnable.iter().any(|(offset, _)| *offset == segment.first_offset)
        };
        let evicts = full && !segments.is_empty() && self.options.when_full.contains(&WhenFull::Evict);
        let secured = self.shared.secured.load(Ordering::SeqCst);
        if evicts && segments.first().is_some_and(|first| first.end_offset <= secured) {
            return Some(Choice::Evict);
        }
        if let Some(old) = segments.iter().filter(can_thin).find(|segment| segment.to_us <= full_from_us) {
            return Some(Choice::Thin(old.first_offset));
        }
        let oldest_is_small = segments.first().is_some_and(|first| !can_thin(&first));
        if evicts && oldest_is_small && segments.iter().any(|segment| segment.thinned) {
            return Some(Choice::Evict);
        }
        let young =
            segments.iter().find(can_thin).filter(|_| full).map(|segment| Choice::Thin(segment.first_offset));
        young.or(evicts.then_some(Choice::Evict))
    }

    fn begin_thinning(&mut self, first_offset: u64) -> bool {
        let begun = self
            .journal
            .thin(first_offset)
            .and_then(|thinning| Ok(thinning.zip(Some(self.lane_reader(first_offset)?))));
        match begun {
            Ok(Some((thinning, reader))) => {
                let thinner = Thinner::new(thinning, reader, self.options.thin_interval);
                self.room.job = Some(Job::Thin(Box::new(thinner)));
            }
            Ok(None) => self.room.unthinnable.push((first_offset, None)),
            Err(error) => {
                self.thinning_failed(&error);
            }
        }
        true
    }

    fn begin_counting(&mut self) -> bool {
        let range = self.journal.oldest_range();
        match self.lane_reader(range.0) {
            Ok(mut reader) => {
                reader.only_count();
                self.room.job = Some(Job::Count(Box::new(Count { reader, range, tally: Tally::default() })));
                true
            }
            Err(error) => {
                self.cannot_remove(&error);
                false
            }
        }
    }

    /// Counts what removing the oldest segment loses, all at once.
    pub(in crate::lane) fn tally_oldest(&self) -> Tally {
        let range = self.journal.oldest_range();
        let mut tally = Tally::default();
        match self.lane_reader(range.0) {
            Ok(mut reader) => {
                reader.only_count();
                let mut count = Count { reader, range, tally };
                while !count.step() {}
                tally = count.tally;
            }
            Err(error) => tracing::warn!("{}: what is removed cannot be counted: {error}", self.options.name),
        }
        tally
    }

    /// A reader that hands nothing over.
    pub(super) fn lane_reader(&self, offset: u64) -> std::io::Result<LaneReader> {
        let reader = self.journal.reader(offset)?;
        let (clock, shared) = (self.clock.clone(), self.shared.clone());
        let (events, gaps) = (self.events.clone(), self.gaps.clone());
        // Each of them begins anew with what the disk does not give.
        let patience = Patience::new(self.options.skip_unreadable_after);
        Ok(LaneReader::new(reader, self.journal.epoch(), clock, shared, events, gaps, patience))
    }

    fn step_job(&mut self) -> Step {
        match self.room.job.take() {
            None => Step::Done,
            Some(Job::Thin(mut thinner)) => match thinner.step(SAMPLES_AT_ONCE) {
                Ok(false) => {
                    self.room.job = Some(Job::Thin(thinner));
                    Step::More
                }
                Ok(true) => self.replace(*thinner),
                Err(ThinError::Unreadable(words)) => {
                    // Others may be thinned meanwhile; the disk may give this one later.
                    tracing::warn!("{}: a segment is not summed up now: {words}", self.options.name);
                    let until = self.clock.now() + THIN_PAUSE;
                    self.room.unthinnable.push((thinner.first_offset(), Some(until)));
                    Step::Done
                }
                Err(error) => {
                    if !matches!(error, ThinError::Disk(_)) {
                        self.room.unthinnable.push((thinner.first_offset(), None));
                    }
                    self.thinning_failed(&error);
                    Step::Done
                }
            },
            Some(Job::Count(mut count)) => {
                if self.journal.oldest_range() != count.range {
                    // Kafka has taken some of it meanwhile.
                    return Step::Done;
                }
                if count.step() {
                    return self.evict(&count.tally);
                }
                self.room.job = Some(Job::Count(count));
                Step::More
            }
        }
    }

    fn replace(&mut self, thinner: Thinner) -> Step {
        let first_offset = thinner.first_offset();
        let (thinning, tally) = thinner.into_parts();
        let why = self.why_no_room();
        match self.journal.replace(thinning) {
            Ok(Some(replaced)) => {
                let (before, after) = &mut self.room.thinned_bytes;
                *before += replaced.bytes_before;
                *after += replaced.bytes;
                self.status.thinned_records += tally.batches;
                let interval_s = self.options.thin_interval.as_secs();
                let event = self.gaps.thinned(&replaced, &tally, interval_s, why, self.clock.now_us());
                tracing::warn!("{}", event.text);
                self.events.emit(event);
            }
            // It was sent meanwhile, or its rows would be as long as its samples.
            Ok(None) => self.room.unthinnable.push((first_offset, None)),
            Err(error) => self.thinning_failed(&error),
        }
        Step::Done
    }

    fn thinning_failed(&mut self, error: &dyn std::error::Error) {
        tracing::warn!("{}: a segment cannot be summed up: {error}", self.options.name);
        self.room.thin_failed_at = Some(self.clock.now());
    }

    fn evict(&mut self, tally: &Tally) -> Step {
        let (from_offset, to_offset) = self.journal.oldest_range();
        let (range, handed) = ((from_offset, to_offset), self.oldest_was_handed());
        let why = self.why_no_room();
        let mut event = self.gaps.evicted(range, tally, handed, why, self.clock.now_us());
        if to_offset <= self.shared.secured.load(Ordering::SeqCst) {
            event.data["second_cluster"] = true.into();
        }
        match self.journal.evict_oldest(&self.gaps.note(&event)) {
            Ok(Some(Evicted { bytes, .. })) => {
                self.count_evicted(to_offset - from_offset, handed);
                self.status.free_bytes += bytes;
                self.room.noted_at = Some(self.clock.now());
                tracing::warn!("{}", event.text);
                self.events.emit(event);
                self.look_at_reserve();
                Step::Done
            }
            Ok(None) => Step::Failed,
            Err(error) => {
                self.cannot_remove(&error);
                Step::Failed
            }
        }
    }

    /// Counts records that are removed and that Kafka has not confirmed.
    pub(in crate::lane) fn count_evicted(&mut self, records: u64, perhaps_sent: bool) {
        let status = &mut self.status;
        *(if perhaps_sent { &mut status.perhaps_evicted_records } else { &mut status.evicted_records }) +=
            records;
    }

    /// What keeps the journal from having more room: its budget, or the file system, which is
    /// short before the budget is reached.
    fn why_no_room(&self) -> NoRoom {
        let within_budget = !self.journal.exceeds(self.budget_limit(false));
        if self.is_short() && within_budget { NoRoom::Disk } else { NoRoom::Budget }
    }

    /// True when some of the oldest segment may have been sent without anybody knowing it yet.
    pub(in crate::lane) fn oldest_was_handed(&self) -> bool {
        self.journal.segments().first().is_some_and(|segment| segment.handed)
    }

    /// What was removed is told by now.
    fn forget_note(&mut self) {
        let old = |at: Instant| self.clock.now().saturating_duration_since(at) >= NOTE_FOR;
        if self.room.noted_at.is_some_and(old) {
            self.room.noted_at = None;
            self.journal.forget_note();
        }
    }

    /// What a start told again is forgotten like what this run has told.
    pub(crate) fn noted(&mut self) {
        self.room.noted_at = Some(self.clock.now());
    }

    fn cannot_remove(&self, error: &std::io::Error) {
        tracing::error!("{}: cannot remove the oldest segment: {error}", self.options.name);
    }
}

impl Count {
    /// Counts some more; tells whether all is counted.
    fn step(&mut self) -> bool {
        let mut counted = 0;
        while counted < SAMPLES_AT_ONCE {
            let records = self.reader.next(RECORDS_AT_ONCE, BYTES_AT_ONCE);
            if records.is_empty() {
                return true;
            }
            let before = self.tally.samples + self.tally.batches;
            for record in &records {
                if record.offset >= self.range.1 {
                    return true;
                }
                self.tally.add(record);
            }
            counted +=
                usize::try_from(self.tally.samples + self.tally.batches - before).unwrap_or(usize::MAX);
        }
        false
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
