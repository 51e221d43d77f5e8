//! The thread of one lane: sessions, one after the other, as long as the process lives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Source;
use super::batch_size::BatchSize;
use super::checkpoint::Checkpoint;
use super::fallback::Gate;
use super::fault::{Fault, Rejected};
use super::fill::{Cursor, Fill, Filled, Limits, journal};
use super::left_out::{Instead, LeftOut, Refused, Why};
use super::limits::{self, Backlog};
use super::options::Options;
use super::pace::{Size, Wire};
use super::progress::Progress;
use super::status::{ReplicationStatus, State};
use super::stop::Stop;
use super::transport::{Session, Transport};
use crate::clock::{Clock, rfc3339};
use crate::event::{Event, Events, Kind};
use crate::lane::ReadTrouble;
use crate::panic;

/// First wait after a fault; doubles with each in a row.
const BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait after a fault.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a new record before looking whether to end.
pub(super) const IDLE: Duration = Duration::from_millis(250);
/// With nothing to send, ask Kafka this often whether it is there.
const PROBE: Duration = Duration::from_secs(10);
/// A second cluster sends at most so much again after a restart.
const REMEMBER: Duration = Duration::from_secs(60);
/// While paused, look this often whether to go on.
const PAUSED: Duration = Duration::from_millis(200);

/// What the thread and the rest of the process share.
pub(crate) struct Shared {
    pub options: Options,
    pub lane: String,
    /// Differs after every start, so that a second box is told from our own past.
    pub boot: String,
    pub status: Arc<ReplicationStatus>,
    pub stop: Arc<Stop>,
    pub events: Option<Events>,
    pub clock: Arc<dyn Clock>,
}

/// One lane's replicator, on its own thread because the source and librdkafka block.
pub(crate) struct Lane<S, T: Transport> {
    pub shared: Arc<Shared>,
    source: S,
    pub(super) transport: T,
    /// `None` = to be opened.
    session: Option<T::Session>,
    /// The broker has given our place to another producer, and nobody has looked yet to whom.
    pub(super) is_fenced: bool,
    /// Kafka was heard within the transaction timeout when that happened.
    pub(super) was_heard: bool,
    /// When it was last told that somebody else sends under our name.
    pub(super) shut_out_told_us: Option<i64>,
    /// There was a session.
    has_opened: bool,
    /// Records of the transaction that is being committed.
    queued_records: u64,
    /// Of a guest: it has ended by itself, and its state says why.
    pub(super) is_over: bool,
    batch: BatchSize,
    refused: Refused,
    /// What Kafka has.
    progress: Progress,
    /// Where the backlog is read.
    cursor: Cursor,
    size: Size,
    wire: Wire,
    backlog: Backlog,
    /// When Kafka last answered.
    last_answer: Instant,
    in_a_row: u32,
    /// Of the lane to the second cluster: when it may send.
    gate: Option<Gate>,
    /// When it was last remembered how far Kafka has come, and how far that was.
    remembered: Option<(Instant, u64)>,
}

impl<S: Source, T: Transport> Lane<S, T> {
    pub fn new(shared: Arc<Shared>, source: S, transport: T) -> Self {
        let now = shared.clock.now();
        let size = Size::new(shared.options.transaction_timeout, shared.options.transaction_records_max);
        Self {
            shared,
            source,
            transport,
            session: None,
            is_fenced: false,
            was_heard: false,
            shut_out_told_us: None,
            has_opened: false,
            queued_records: 0,
            is_over: false,
            batch: BatchSize::new(now),
            refused: Refused::default(),
            progress: Progress::default(),
            cursor: Cursor::default(),
            size,
            wire: Wire::new(),
            backlog: Backlog::default(),
            last_answer: now,
            in_a_row: 0,
            gate: None,
            remembered: None,
        }
    }

    /// Makes it the lane to the second cluster, which sends only while the gate is open.
    pub fn behind(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Works until asked to end. A panic is one more fault, recovered from like the others: with a
    /// new producer and from the checkpoint.
    pub fn run(mut self) {
        while !self.shared.stop.is_set() && !self.is_over {
            let pause = catch_unwind(AssertUnwindSafe(|| self.step())).unwrap_or_else(|panic| {
                self.session = None;
                let words = panic::words(&*panic);
                let cause = format!("a fault inside Forebay, please report it: {words}");
                self.report(State::Waiting { since_us: self.shared.clock.now_us(), cause });
                self.is_over = self.has_disturbed();
                self.back_off()
            });
            if !self.is_over {
                self.shared.stop.sleep(pause);
            }
        }
        self.end_session();
        self.remember(Duration::ZERO);
        if !self.is_over {
            self.shared.status.set(State::Stopped);
        }
    }

    /// The next piece of work: a session is opened, a transaction sent, or a short time waited for
    /// something to send. Returns how long to wait before the next one.
    pub fn step(&mut self) -> Duration {
        if let Some(pause) = self.shared.options.control.paused() {
            self.end_session();
            self.is_fenced = false;
            self.report(State::Paused { since_us: pause.since_us, by: pause.by });
            return PAUSED;
        }
        self.shared.status.resumed();
        if let Some(gate) = &self.gate
            && !gate.is_open(self.shared.clock.now_us())
        {
            if self.shared.status.set(State::Standby) {
                tracing::info!(
                    lane = self.shared.lane,
                    "the first Kafka is there: the second one gets nothing"
                );
            }
            self.end_session();
            return PAUSED;
        }
        if self.is_fenced {
            return self.fenced();
        }
        let done = match self.session {
            None => self.open(),
            Some(_) => self.turn(),
        };
        done.unwrap_or_else(|fault| {
            self.end_session();
            self.recover(fault)
        })
    }

    /// What the end of a session calls for.
    fn recover(&mut self, fault: Fault) -> Duration {
        if matches!(fault, Fault::Lost(_)) {
            self.size.gave_up(self.queued_records, self.shared.options.transaction_records_max);
        }
        self.is_over |= fault.is_trouble() && self.has_disturbed();
        match fault {
            // Ends the loop: it is only said after the flag was set.
            Fault::Stopped => return Duration::ZERO,
            Fault::Grown => {
                let bytes = self.batch.bytes();
                tracing::info!(lane = self.shared.lane, "trying batches of {bytes} bytes again");
                return Duration::ZERO;
            }
            Fault::Renewed => {
                self.shared.status.lock().renewals += 1;
                tracing::info!(
                    lane = self.shared.lane,
                    "certificates or passwords have changed: connecting anew"
                );
                return Duration::ZERO;
            }
            Fault::Fenced => {
                self.is_fenced = true;
                let silence = self.shared.clock.now().saturating_duration_since(self.last_answer);
                self.was_heard = self.has_opened && silence < self.shared.options.transaction_timeout;
                return Duration::ZERO;
            }
            Fault::TooLarge { offsets } => return self.shrink(&offsets),
            Fault::Rejected { records, is_exact } => return self.rejected(records, is_exact),
            Fault::NoDeadLetters { offset, cause } => return self.no_dead_letters(offset, cause),
            Fault::Refused(cause) => {
                self.report(State::Refused { since_us: self.shared.clock.now_us(), cause })
            }
            Fault::NotLetIn(cause) => {
                self.report(State::NotLetIn { since_us: self.shared.clock.now_us(), cause })
            }
            Fault::Settings(cause) => {
                self.report(State::Settings { since_us: self.shared.clock.now_us(), cause })
            }
            Fault::Lost(cause) => self.report(State::Waiting { since_us: self.shared.clock.now_us(), cause }),
        };
        self.back_off()
    }

    /// A guest has announced itself under another one's name. What is in its way then is no reason to
    /// do so again by itself: whoever has started it decides when.
    fn has_disturbed(&self) -> bool {
        self.shared.options.guest && self.shared.status.lock().announced > 0
    }

    fn end_session(&mut self) {
        if let Some(mut session) = self.session.take() {
            let more = self.wire.measured(&self.shared.options.line, session.wire_bytes());
            self.shared.status.lock().wire_bytes += more;
            session.abort();
        }
    }

    /// A new producer, and the source where Kafka says we are.
    fn open(&mut self) -> Result<Duration, Fault> {
        let session = self.transport.open(self.source.epoch(), self.batch.bytes())?;
        let (lane, epoch) = (&self.shared.lane, self.source.epoch());
        let found = session.found();
        match (&found.checkpoint, &found.other_epoch) {
            (Some(_), _) => {}
            // It is not about this box, and was said already.
            _ if self.shared.options.guest => {}
            (None, Some(other)) => tracing::warn!(
                lane,
                "Kafka knows this box with the journal {other}, this one is {epoch}: sending all of it"
            ),
            (None, None) => match &self.shared.options.replay {
                Some(id) => tracing::info!(lane, "the replay {id} begins"),
                None => tracing::info!(
                    lane,
                    "Kafka does not know {} yet: sending all that is stored of it",
                    self.shared.options.edge
                ),
            },
        }
        self.refused.look_again(self.shared.clock.now());
        self.progress = found.checkpoint.as_ref().map(Progress::of).unwrap_or_default();
        if let Some(gate) = &self.gate {
            self.progress.skip_below(gate.first_has());
        } else {
            // Also tells a journal that was put back from a copy not to number new records as old ones.
            self.source.found(self.progress.live(), &self.progress.ranges());
            if found.checkpoint.is_some() {
                self.source.committed(self.progress.complete_below());
            }
        }
        self.source.seek(self.progress.live()).map_err(journal)?;
        self.cursor.forget();
        self.wire.new_session();
        self.session = Some(session);
        self.has_opened = true;
        self.last_answer = self.shared.clock.now();
        self.show_progress();
        // Kafka may have forgotten what it had confirmed.
        self.remember(REMEMBER);
        if self.show_line() {
            tracing::info!(lane = self.shared.lane, next_offset = self.progress.live(), "connected to Kafka");
        }
        Ok(Duration::ZERO)
    }

    /// One transaction, or one wait for something to send.
    fn turn(&mut self) -> Result<Duration, Fault> {
        if self.shared.stop.is_set() {
            return Err(Fault::Stopped);
        }
        let Some(session) = &mut self.session else { return Ok(Duration::ZERO) };
        let options = &self.shared.options;
        let start = self.shared.clock.now();
        if session.is_renewed(start) {
            return Err(Fault::Renewed);
        }
        let more = self.wire.measured(&options.line, session.wire_bytes());
        self.shared.status.lock().wire_bytes += more;
        let now_us = self.shared.clock.now_us();
        let limits = match limits::of(options, &self.progress, &self.size, &self.wire, start, now_us) {
            Ok(limits) => limits,
            Err(wait) => return Ok(wait.min(IDLE)),
        };
        let filled = Fill::new(session, &self.shared, &self.refused, self.progress.clone()).all(
            &mut self.source,
            &mut self.cursor,
            &limits,
        )?;
        self.queued_records = filled.live.records + filled.backlog.records;
        if filled.progress == self.progress {
            return self.nothing_to_send(&limits);
        }
        session.commit(&Checkpoint {
            lane: self.shared.lane.clone(),
            epoch: self.source.epoch().to_owned(),
            next_offset: filled.progress.live(),
            backlog: filled.progress.ranges(),
            boot: self.shared.boot.clone(),
            time: rfc3339(now_us),
            ..Checkpoint::default()
        })?;
        self.queued_records = 0;
        self.last_answer = self.shared.clock.now();
        let took = self.last_answer.saturating_duration_since(start);
        let is_full = limits.are_reached(&filled);
        self.size.took(took, is_full);
        self.wire.sent(&options.line, filled.live.bytes, filled.backlog.bytes);
        self.backlog.sent(filled.backlog.records, self.last_answer);
        self.committed(filled);
        if self.batch.grow(self.last_answer) {
            return Err(Fault::Grown);
        }
        // Between two transactions the journal collects; an open one would hold up the readers of
        // every box. Behind, there is no pause, but on a line with a limit each waits its turn.
        let interval = self.shared.options.commit_interval;
        Ok(match (is_full, self.shared.options.line.is_limited()) {
            (true, false) => Duration::ZERO,
            (true, true) => interval.saturating_sub(took),
            (false, _) => interval,
        })
    }

    fn nothing_to_send(&mut self, limits: &Limits) -> Result<Duration, Fault> {
        let now = self.shared.clock.now();
        if now.saturating_duration_since(self.last_answer) > PROBE
            && let Some(session) = &mut self.session
        {
            session.probe()?;
            self.last_answer = self.shared.clock.now();
        }
        self.show_line();
        self.show_progress();
        // Without a wait for a record there is one here.
        Ok(if limits.wait.is_zero() { IDLE } else { Duration::ZERO })
    }

    fn committed(&mut self, filled: Filled) {
        let now = self.shared.clock.now_us();
        self.progress = filled.progress;
        {
            let mut status = self.shared.status.lock();
            status.records += filled.live.records + filled.backlog.records;
            status.backfilled_records += filled.backlog.records;
            status.bytes += filled.live.bytes + filled.backlog.bytes;
            status.last_commit_us = now;
            if filled.newest_us != 0 {
                status.delay_us = now - filled.newest_us;
            }
            status.transactions += 1;
        }
        self.show_progress();
        if self.show_line() {
            let next_offset = self.progress.live();
            tracing::info!(lane = self.shared.lane, next_offset, "data goes to Kafka");
        }
        let progress = &self.progress;
        self.refused.forget(|offset| progress.has(offset));
        self.in_a_row = 0;
        self.tell(filled.left_out);
        if self.gate.is_some() {
            self.source.secured(self.progress.complete_below());
        } else {
            self.source.used(self.progress.live());
            self.source.committed(self.progress.complete_below());
            self.remember(REMEMBER);
        }
    }

    /// Notes how far Kafka has come, for what is said while it is away after a restart, and for a
    /// second cluster that takes over then; at most once in `interval`, because it costs a sync.
    fn remember(&mut self, interval: Duration) {
        let complete = self.progress.complete_below();
        let Options { guest, replay, .. } = &self.shared.options;
        // Of the box's own journal, and by who sends all of it.
        let is_errand = *guest || replay.is_some() || self.gate.is_some();
        if is_errand || self.shared.status.lock().complete_below.is_none() {
            return;
        }
        let now = self.shared.clock.now();
        let is_fresh = |&(when, known): &(Instant, u64)| {
            known == complete || now.saturating_duration_since(when) < interval
        };
        if !self.remembered.as_ref().is_some_and(is_fresh) {
            self.remembered = Some((now, complete));
            self.shared.options.control.keep_complete(&self.shared.lane, self.source.epoch(), complete);
        }
    }

    /// Kafka is there; so nothing is in the way but perhaps the own disk. Tells whether data goes again.
    fn show_line(&self) -> bool {
        match self.source.trouble().or_else(|| self.cursor.trouble()) {
            None => self.shared.status.set(State::Up),
            Some(trouble) => {
                let ReadTrouble { since_us, what: cause } = trouble;
                self.report(State::Unreadable { since_us, cause });
                false
            }
        }
    }

    fn show_progress(&mut self) {
        let now_us = self.shared.clock.now_us();
        let mut status = self.shared.status.lock();
        status.next_offset = Some(self.progress.live());
        status.complete_below = Some(self.progress.complete_below());
        status.left = self.progress.ranges();
        status.backlog = self.backlog.look(&self.progress, &self.shared.options, now_us);
    }

    /// Counts and reports what a committed transaction does not hold.
    fn tell(&mut self, all_left_out: Vec<LeftOut>) {
        for left_out in all_left_out {
            {
                let mut status = self.shared.status.lock();
                match left_out.instead {
                    Instead::Notice(_) => status.too_large += 1,
                    Instead::DeadLetter(_) => status.dead_letters += 1,
                    Instead::Nothing => status.rejected += 1,
                }
            }
            tracing::error!(lane = self.shared.lane, device = left_out.device, "{}", left_out.text);
            self.emit(Kind::Gap, left_out.device, left_out.text, left_out.data);
        }
    }

    /// A record that was refused alone is left out, other records are tried in smaller batches.
    /// When there is nothing more to leave out, someone must raise the limit.
    fn shrink(&mut self, refused: &[(u64, usize)]) -> Duration {
        let (lane, batch_bytes) = (&self.shared.lane, self.batch.bytes());
        let topic = self.shared.options.topic(lane);
        let alone = refused.iter().filter(|(_, bytes)| *bytes > batch_bytes).map(|(offset, _)| *offset);
        let known = self.refused.len();
        alone.for_each(|offset| self.refused.add_too_large(offset));
        if self.refused.len() > known {
            self.back_off()
        } else if !refused.is_empty() && self.batch.shrink(self.shared.clock.now()) {
            tracing::warn!(
                lane,
                "Kafka refused a batch of records as too large, sending at most {} bytes at once; raise \
                 max.message.bytes of topic {topic}",
                self.batch.bytes(),
            );
            Duration::ZERO
        } else {
            let what = if refused.is_empty() {
                format!("even the checkpoints of lane {lane} are too large")
            } else {
                "even the short notice in the place of a record is too large".to_owned()
            };
            let checkpoints = self.shared.options.topic("checkpoints");
            let cause = format!("{what}: raise max.message.bytes of the topics {topic} and {checkpoints}");
            self.report(State::Refused { since_us: self.shared.clock.now_us(), cause });
            self.back_off()
        }
    }

    /// Records that a rule of their topic forbids go to the dead-letter topic. A broker that does
    /// not say which of a batch they are is sent each record alone.
    fn rejected(&mut self, records: Vec<Rejected>, is_exact: bool) -> Duration {
        if !is_exact && self.batch.single(self.shared.clock.now()) {
            return Duration::ZERO;
        }
        for Rejected { offset, reason } in records {
            let text = reason.text.clone();
            if !self.refused.add(offset, Why::Rejected(reason)) {
                self.refused.give_up(offset, &text);
            }
        }
        // Each attempt finds more of them, so waiting longer and longer would help nobody.
        BACKOFF
    }

    /// The dead-letter topic is not there, or does not take a record.
    fn no_dead_letters(&mut self, offset: Option<u64>, cause: String) -> Duration {
        match offset {
            Some(offset) => self.refused.give_up(offset, &cause),
            None => {
                tracing::error!(
                    lane = self.shared.lane,
                    "records that Kafka refuses cannot be kept: {cause}"
                );
                self.refused.without_dead_letters(self.shared.clock.now(), cause);
            }
        }
        BACKOFF
    }

    /// Shows the state and logs it when it is new.
    pub(super) fn report(&self, state: State) -> bool {
        let text = state.to_string();
        let is_new = self.shared.status.set(state);
        if is_new {
            tracing::warn!(lane = self.shared.lane, "{text}");
        }
        is_new
    }

    pub(super) fn emit(&self, kind: Kind, device: String, text: String, data: serde_json::Value) {
        if let Some(events) = &self.shared.events {
            events.emit(Event { kind, edge_time: self.shared.clock.now_us(), device, text, data });
        }
    }

    /// Wait before the next attempt: doubling from 100 ms to 10 s, spread by a random half so
    /// that boxes that lost Kafka together do not come back together.
    pub(super) fn back_off(&mut self) -> Duration {
        let full = BACKOFF.saturating_mul(1 << self.in_a_row.min(7)).min(BACKOFF_MAX);
        self.in_a_row = self.in_a_row.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicate::session::Kafka;
    use crate::replicate::{Record, SourceFault};

    /// A journal that is not read.
    struct Unread;

    impl Source for Unread {
        fn lane(&self) -> &str {
            "telemetry"
        }
        fn epoch(&self) -> &str {
            ""
        }
        fn seek(&mut self, _: u64) -> Result<(), SourceFault> {
            Ok(())
        }
        fn next(&mut self, _: Duration) -> Result<Option<Record<'_>>, SourceFault> {
            Ok(None)
        }
        fn committed(&mut self, _: u64) {}
        fn used(&mut self, _: u64) {}
        fn secured(&mut self, _: u64) {}
        fn end(&self) -> u64 {
            0
        }
        fn another(&self) -> Result<Box<dyn Source>, SourceFault> {
            Ok(Box::new(Self))
        }
    }

    /// A lane that waits for nothing, because it is to stop.
    fn lane() -> Lane<Unread, Kafka> {
        let stop = Arc::new(Stop::default());
        stop.set();
        let shared = Shared {
            options: Options::new("", "forebay", "Works1", "box"),
            lane: "telemetry".into(),
            boot: String::new(),
            status: Arc::default(),
            stop,
            events: None,
            clock: Arc::new(crate::clock::SystemClock),
        };
        let shared = Arc::new(shared);
        let kafka = Kafka::new(&shared);
        Lane::new(shared, Unread, kafka)
    }

    /// Rounds until `offset` is left out or Kafka is said to refuse.
    fn rounds(lane: &mut Lane<Unread, Kafka>, refused: &[(u64, usize)], offset: u64) -> usize {
        for round in 1..20 {
            lane.shrink(refused);
            let refuses = matches!(lane.shared.status.snapshot().state, State::Refused { .. });
            if refuses || lane.refused.contains(offset) {
                return round;
            }
        }
        panic!("no end");
    }

    #[test]
    fn a_small_record_that_kafka_refuses_is_left_out_too() {
        let mut lane = lane();
        assert_eq!(rounds(&mut lane, &[(7, 600_000)], 7), 2);
        assert_eq!(lane.batch.bytes(), 250_000, "no smaller than it takes to know that it was alone");
        rounds(&mut lane, &[(8, 300), (9, 400)], 8);
        assert!([7, 8, 9].into_iter().all(|offset| lane.refused.contains(offset)) && lane.refused.len() == 3);
        assert_eq!(lane.shared.status.snapshot().state, State::Connecting, "nobody is asked for anything");
    }

    #[test]
    fn what_cannot_be_left_out_is_said_in_words() {
        let cause = |lane: &Lane<Unread, Kafka>| match lane.shared.status.snapshot().state {
            State::Refused { cause, .. } => cause,
            state => panic!("{state:?}"),
        };
        let mut checkpoints = lane();
        assert_eq!(rounds(&mut checkpoints, &[], 0), 1);
        assert!(cause(&checkpoints).contains("checkpoints of lane telemetry"), "{}", cause(&checkpoints));
        let mut notice = lane();
        rounds(&mut notice, &[(7, 300)], 7);
        assert!(notice.refused.contains(7));
        notice.shrink(&[(7, 120)]);
        assert!(cause(&notice).contains("max.message.bytes of the topics forebay.telemetry"));
        assert_eq!(notice.in_a_row, 2, "each with a pause");
    }
}
