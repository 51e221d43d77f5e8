//! Puts records into a transaction: fresh ones, and a share of the backlog.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::lane::Shared;
use super::left_out::{Instead, LeftOut, Refused};
use super::options::{Backfill, Options};
use super::progress::Progress;
use super::transport::{Delivery, Outgoing, Session};
use super::{Record, Source, SourceFault};
use crate::clock::Clock;
use crate::lane::ReadTrouble;

/// Records and bytes of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub records: u64,
    pub bytes: u64,
}

impl Amount {
    /// Both limits hold.
    fn is_below(&self, limit: Amount) -> bool {
        self.records < limit.records && self.bytes < limit.bytes
    }
}

/// How much a transaction may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub live: Amount,
    pub backlog: Amount,
    /// Longest wait for the first record.
    pub wait: Duration,
    /// From then on live records are put in for at most this long, so that what is sent meanwhile
    /// is not kept from readers.
    pub live_time: Duration,
    /// The same for all.
    pub time: Duration,
    /// Now, microseconds since 1970 UTC.
    pub now_us: i64,
}

/// What a transaction holds.
#[derive(Debug, Default)]
pub(super) struct Filled {
    pub live: Amount,
    pub backlog: Amount,
    /// Edge time of the newest live record, or of the newest of the backlog without one.
    pub newest_us: i64,
    /// Where we are when it is committed.
    pub progress: Progress,
    pub left_out: Vec<LeftOut>,
    /// It ended because its time was over.
    pub is_late: bool,
}

/// A second place to read the lane from.
#[derive(Default)]
pub(super) struct Cursor {
    source: Option<Box<dyn Source>>,
    /// Where it stands, and the end of the range it reads, if that is known.
    at: Option<(u64, u64)>,
}

impl Cursor {
    /// Seeks before the next read.
    pub fn forget(&mut self) {
        self.at = None;
    }

    /// What the disk does not give of the backlog.
    pub fn trouble(&self) -> Option<ReadTrouble> {
        self.source.as_ref().and_then(|source| source.trouble())
    }

    fn next(&mut self, of: &impl Source, range: Range<u64>) -> Result<Option<Record<'_>>, SourceFault> {
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert(of.another()?),
        };
        if self.at != Some((range.start, range.end)) {
            source.seek_range(range.clone())?;
        }
        let record = source.next(Duration::ZERO)?;
        self.at = record.map(|record| (record.offset + 1, range.end));
        Ok(record)
    }
}

/// Fills one transaction. It is opened with the first record.
pub(super) struct Fill<'a, N> {
    session: &'a mut N,
    options: &'a Options,
    refused: &'a Refused,
    clock: &'a dyn Clock,
    filled: Filled,
    /// When it was opened.
    since: Option<Instant>,
}

impl<'a, N: Session> Fill<'a, N> {
    pub fn new(session: &'a mut N, shared: &'a Shared, refused: &'a Refused, progress: Progress) -> Self {
        let filled = Filled { progress, ..Filled::default() };
        let Shared { options, clock, .. } = shared;
        Self { session, options, refused, clock: &**clock, filled, since: None }
    }

    /// Live records, then some of the backlog.
    pub fn all(
        mut self,
        source: &mut impl Source,
        cursor: &mut Cursor,
        limits: &Limits,
    ) -> Result<Filled, Fault> {
        let before = self.filled.progress.clone();
        self.live(source, limits)?;
        self.backlog(source, cursor, limits)?;
        if self.filled.progress != before {
            // Without a record, too: what was left for later, or is gone, is to be known.
            self.open()?;
        }
        Ok(self.filled)
    }

    fn live(&mut self, source: &mut impl Source, limits: &Limits) -> Result<(), Fault> {
        let mut wait = limits.wait;
        while self.filled.live.is_below(limits.live) && !self.is_late(limits.live_time) {
            // Asked before the record is borrowed; in order nobody wants to know.
            let end = if self.options.backfill == Backfill::InOrder { 0 } else { source.end() };
            let Some(record) = source.next(wait).map_err(journal)? else {
                // What the disk does not give now must not hold up fresh data.
                let progress = &mut self.filled.progress;
                if matches!(self.options.backfill, Backfill::LiveFirst { .. })
                    && source.trouble().is_some()
                    && progress.leave_for_later(progress.live(), end)
                {
                    source.seek(end).map_err(journal)?;
                    wait = Duration::ZERO;
                    continue;
                }
                break;
            };
            wait = Duration::ZERO;
            if let Backfill::LiveFirst { after, .. } = self.options.backfill
                && is_older(&record, after, limits.now_us)
            {
                let progress = &mut self.filled.progress;
                if progress.leave_for_later(progress.live(), end) {
                    source.seek(end).map_err(journal)?;
                    continue;
                }
            }
            self.put(&record, self.options.delivery)?;
            let filled = &mut self.filled;
            filled.live.records += 1;
            filled.live.bytes += record.value.len() as u64;
            filled.newest_us = record.edge_us;
            filled.progress.live_sent(record.offset + 1);
        }
        Ok(())
    }

    fn backlog(&mut self, of: &impl Source, cursor: &mut Cursor, limits: &Limits) -> Result<(), Fault> {
        while self.filled.backlog.is_below(limits.backlog) && !self.is_late(limits.time) {
            let Some(range) = self.filled.progress.next_range() else { break };
            let Some(record) = cursor.next(of, range.clone()).map_err(journal)? else { break };
            if record.offset >= range.end {
                // There is nothing left in the range; what is missing was told before.
                self.filled.progress.backlog_sent(range.end);
                continue;
            }
            self.put(&record, Delivery::Backfill)?;
            let filled = &mut self.filled;
            filled.backlog.records += 1;
            filled.backlog.bytes += record.value.len() as u64;
            if filled.live.records == 0 {
                filled.newest_us = record.edge_us;
            }
            filled.progress.backlog_sent(record.offset + 1);
        }
        Ok(())
    }

    fn put(&mut self, record: &Record<'_>, delivery: Delivery) -> Result<(), Fault> {
        self.open()?;
        let Some(left_out) = self.refused.fate(record, self.options) else {
            return self.session.send(&Outgoing { record: *record, delivery, dead_letter: None });
        };
        match &left_out.instead {
            Instead::Notice(notice) => {
                let record = Record { value: notice.as_bytes(), fault: None, ..*record };
                self.session.send(&Outgoing { record, delivery, dead_letter: None })?;
            }
            Instead::DeadLetter(reason) => {
                self.session.send(&Outgoing { record: *record, delivery, dead_letter: Some(reason) })?;
            }
            Instead::Nothing => {}
        }
        self.filled.left_out.push(left_out);
        Ok(())
    }

    fn open(&mut self) -> Result<(), Fault> {
        if self.since.is_none() {
            self.session.begin()?;
            self.since = Some(self.clock.now());
        }
        Ok(())
    }

    /// True when it has been open for `time`. One record goes in, whatever the clock says.
    fn is_late(&mut self, time: Duration) -> bool {
        let is_late = |since| self.clock.now().saturating_duration_since(since) >= time;
        let is_late = self.since.is_some_and(is_late);
        self.filled.is_late |= is_late;
        is_late
    }
}

fn is_older(record: &Record<'_>, age: Duration, now_us: i64) -> bool {
    let age_us = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    now_us.saturating_sub(record.edge_us) > age_us
}

pub(super) fn journal(fault: SourceFault) -> Fault {
    Fault::Lost(format!("the journal gives nothing: {fault}"))
}
