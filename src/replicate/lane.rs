//! The thread of one lane: sessions, one after the other, as long as the process lives.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::batch_size::BatchSize;
use super::checkpoint::{Checkpoint, Found};
use super::fault::Fault;
use super::options::Options;
use super::status::{ReplicationStatus, State};
use super::stop::Stop;
use super::transport::{Outgoing, Session, Transport};
use super::{Record, Source, SourceFault};
use crate::clock::{now_us, rfc3339};
use crate::event::{Event, Events, Kind};
use crate::panic;

/// First wait after a fault; doubles with each in a row.
const BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait after a fault.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a new record before looking whether to end.
const IDLE: Duration = Duration::from_millis(250);
/// With nothing to send, ask Kafka this often whether it is there.
const PROBE: Duration = Duration::from_secs(10);

/// What the thread and the rest of the process share.
pub(crate) struct Shared {
    pub options: Options,
    pub lane: String,
    /// Differs after every start, so that a second box is told from our own past.
    pub boot: String,
    pub status: Arc<ReplicationStatus>,
    pub stop: Arc<Stop>,
    pub events: Option<Events>,
}

/// One lane's replicator, on its own thread because the source and librdkafka block.
pub(crate) struct Lane<S, T: Transport> {
    pub shared: Arc<Shared>,
    source: S,
    transport: T,
    /// `None` = to be opened.
    session: Option<T::Session>,
    /// The broker has given our place to another producer, and nobody has looked yet to whom.
    is_fenced: bool,
    batch: BatchSize,
    /// Offsets that Kafka refused even alone.
    too_large: BTreeSet<u64>,
    /// In the open transaction.
    left_out: Vec<LeftOut>,
    /// When Kafka last answered.
    last_answer: Instant,
    in_a_row: u32,
}

/// What an open transaction holds so far.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    records: u64,
    bytes: u64,
    next_offset: u64,
    newest_us: i64,
}

impl<S: Source, T: Transport> Lane<S, T> {
    pub fn new(shared: Arc<Shared>, source: S, transport: T) -> Self {
        Self {
            shared,
            source,
            transport,
            session: None,
            is_fenced: false,
            batch: BatchSize::new(Instant::now()),
            too_large: BTreeSet::new(),
            left_out: Vec::new(),
            last_answer: Instant::now(),
            in_a_row: 0,
        }
    }

    /// Works until asked to end. A panic is one more fault, recovered from like the others: with a
    /// new producer and from the checkpoint.
    pub fn run(mut self) {
        while !self.shared.stop.is_set() {
            let pause = catch_unwind(AssertUnwindSafe(|| self.step())).unwrap_or_else(|panic| {
                self.session = None;
                let words = panic::words(&*panic);
                let cause = format!("a fault inside Forebay, please report it: {words}");
                self.report(State::Waiting { since_us: now_us(), cause });
                self.back_off()
            });
            self.shared.stop.sleep(pause);
        }
        self.end_session();
        self.shared.status.set(State::Stopped);
    }

    /// The next piece of work: a session is opened, a transaction sent, or a short time waited for
    /// something to send. Returns how long to wait before the next one.
    pub fn step(&mut self) -> Duration {
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
        match fault {
            // Ends the loop: it is only said after the flag was set.
            Fault::Stopped => return Duration::ZERO,
            Fault::Grown => {
                let bytes = self.batch.bytes();
                tracing::info!(lane = self.shared.lane, "trying batches of {bytes} bytes again");
                return Duration::ZERO;
            }
            Fault::Fenced => {
                self.is_fenced = true;
                return Duration::ZERO;
            }
            Fault::TooLarge { offsets } => return self.shrink(&offsets),
            Fault::Refused(cause) => self.report(State::Refused { since_us: now_us(), cause }),
            Fault::Settings(cause) => self.report(State::Settings { since_us: now_us(), cause }),
            Fault::Lost(cause) => self.report(State::Waiting { since_us: now_us(), cause }),
        };
        self.back_off()
    }

    fn end_session(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.abort();
        }
    }

    /// A new producer, and the source where Kafka says we are.
    fn open(&mut self) -> Result<Duration, Fault> {
        let session = self.transport.open(self.source.epoch(), self.batch.bytes())?;
        start_offset(session.found(), &mut self.source, &self.shared)?;
        self.session = Some(session);
        self.last_answer = Instant::now();
        Ok(Duration::ZERO)
    }

    /// One transaction, or one wait for something to send.
    fn turn(&mut self) -> Result<Duration, Fault> {
        if self.shared.stop.is_set() {
            return Err(Fault::Stopped);
        }
        self.left_out.clear();
        let Some(session) = &mut self.session else { return Ok(Duration::ZERO) };
        let sent =
            fill(session, &mut self.source, &self.shared.options, &self.too_large, &mut self.left_out)?;
        if sent.records == 0 {
            if self.last_answer.elapsed() > PROBE {
                session.probe()?;
                self.shared.status.set(State::Up);
                self.last_answer = Instant::now();
            }
            return Ok(Duration::ZERO);
        }
        session.commit(&Checkpoint {
            lane: self.shared.lane.clone(),
            epoch: self.source.epoch().to_owned(),
            next_offset: sent.next_offset,
            boot: self.shared.boot.clone(),
            time: rfc3339(now_us()),
        })?;
        self.last_answer = Instant::now();
        self.committed(sent);
        if self.batch.grow(Instant::now()) {
            return Err(Fault::Grown);
        }
        let is_full = sent.records >= self.shared.options.transaction_records_max as u64
            || sent.bytes >= self.shared.options.transaction_bytes_max as u64;
        // Between two transactions the journal collects; an open one would hold up the readers of
        // every box. Behind, there is no pause.
        Ok(if is_full { Duration::ZERO } else { self.shared.options.commit_interval })
    }

    fn committed(&mut self, sent: Sent) {
        let now = now_us();
        {
            let mut status = self.shared.status.lock();
            status.next_offset = Some(sent.next_offset);
            status.records += sent.records;
            status.bytes += sent.bytes;
            status.last_commit_us = now;
            status.delay_us = now - sent.newest_us;
            status.transactions += 1;
        }
        if self.shared.status.set(State::Up) {
            tracing::info!(lane = self.shared.lane, next_offset = sent.next_offset, "data goes to Kafka");
        }
        self.too_large = self.too_large.split_off(&sent.next_offset);
        self.in_a_row = 0;
        self.tell_left_out();
        self.source.committed(sent.next_offset);
    }

    /// Counts and reports what a committed transaction does not hold.
    fn tell_left_out(&mut self) {
        for left_out in std::mem::take(&mut self.left_out) {
            self.shared.status.lock().too_large += 1;
            tracing::error!(lane = self.shared.lane, device = left_out.device, "{}", left_out.text);
            self.emit(Kind::Gap, left_out.device, left_out.text, left_out.data);
        }
    }

    /// A second box, or only an outage longer than the transaction timeout? Looks, and waits as
    /// long as a second box writes.
    fn fenced(&mut self) -> Duration {
        let Some(by) = self.transport.find_other() else {
            self.is_fenced = false;
            return self.back_off();
        };
        let state = State::Fenced { since_us: now_us(), by };
        if self.report(state.clone()) {
            let Options { site, edge, .. } = &self.shared.options;
            let (box_path, data) =
                (format!("{site}/{edge}"), json!({"what": "fenced", "lane": self.shared.lane}));
            self.emit(Kind::Box, box_path, state.to_string(), data);
        }
        self.shared.options.fenced_retry
    }

    /// A record that was refused alone is left out, other records are tried in smaller batches.
    /// When there is nothing more to leave out, someone must raise the limit.
    fn shrink(&mut self, refused: &[(u64, usize)]) -> Duration {
        let (lane, batch_bytes) = (&self.shared.lane, self.batch.bytes());
        let topic = self.shared.options.topic(lane);
        let alone = refused.iter().filter(|(_, bytes)| *bytes > batch_bytes).map(|(offset, _)| *offset);
        let known = self.too_large.len();
        self.too_large.extend(alone);
        if self.too_large.len() > known {
            self.back_off()
        } else if !refused.is_empty() && self.batch.shrink(Instant::now()) {
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
            self.report(State::Refused { since_us: now_us(), cause });
            self.back_off()
        }
    }

    /// Shows the state and logs it when it is new.
    fn report(&self, state: State) -> bool {
        let text = state.to_string();
        let is_new = self.shared.status.set(state);
        if is_new {
            tracing::warn!(lane = self.shared.lane, "{text}");
        }
        is_new
    }

    fn emit(&self, kind: Kind, device: String, text: String, data: serde_json::Value) {
        if let Some(events) = &self.shared.events {
            events.emit(Event { kind, edge_time: now_us(), device, text, data });
        }
    }

    /// Wait before the next attempt: doubling from 100 ms to 10 s, spread by a random half so
    /// that boxes that lost Kafka together do not come back together.
    fn back_off(&mut self) -> Duration {
        let full = BACKOFF.saturating_mul(1 << self.in_a_row.min(7)).min(BACKOFF_MAX);
        self.in_a_row = self.in_a_row.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// A record that Kafka would not take.
struct LeftOut {
    device: String,
    text: String,
    data: serde_json::Value,
    /// Sent in its place, under the same offset.
    notice: String,
}

impl LeftOut {
    fn new(record: &Record<'_>, limit_bytes: usize) -> Self {
        let bytes = record.value.len();
        let cause = if bytes > limit_bytes { "record-too-large" } else { "topic-refuses-size" };
        let data =
            json!({"cause": cause, "bytes": bytes, "limit_bytes": limit_bytes, "offset": record.offset});
        let notice = json!({"device": record.key, "edge_time": rfc3339(record.edge_us), "dropped": data});
        let text =
            format!("record {} of {bytes} bytes is too large for Kafka and was not sent", record.offset);
        Self { device: record.key.to_owned(), text, data, notice: notice.to_string() }
    }
}

/// Puts what is there into a transaction, at most the configured size.
fn fill(
    session: &mut impl Session,
    source: &mut impl Source,
    options: &Options,
    too_large: &BTreeSet<u64>,
    all_left_out: &mut Vec<LeftOut>,
) -> Result<Sent, Fault> {
    let mut sent = Sent::default();
    let mut wait = IDLE;
    while sent.records < options.transaction_records_max as u64
        && sent.bytes < options.transaction_bytes_max as u64
    {
        let Some(mut record) = source.next(wait).map_err(journal)? else { break };
        wait = Duration::ZERO;
        if sent.records == 0 {
            session.begin()?;
        }
        if record.value.len() > options.record_bytes_max || too_large.contains(&record.offset) {
            let left_out = all_left_out.push_mut(LeftOut::new(&record, options.record_bytes_max));
            record.value = left_out.notice.as_bytes();
        }
        session.send(&Outgoing { record })?;
        sent.records += 1;
        sent.bytes += record.value.len() as u64;
        sent.next_offset = record.offset + 1;
        sent.newest_us = record.edge_us;
    }
    Ok(sent)
}

/// Sets the source to where Kafka says we are.
fn start_offset(found: &Found, source: &mut impl Source, shared: &Shared) -> Result<(), Fault> {
    let lane = &shared.lane;
    let start = match (&found.checkpoint, &found.other_epoch) {
        // Also tells a journal that was put back from a copy not to number new records as old ones.
        (Some(checkpoint), _) => {
            source.committed(checkpoint.next_offset);
            checkpoint.next_offset
        }
        (None, Some(other)) => {
            let epoch = source.epoch();
            tracing::warn!(
                lane,
                "Kafka knows this box with the journal {other}, this one is {epoch}: sending all of it"
            );
            0
        }
        (None, None) => {
            tracing::info!(lane, "Kafka does not know this box yet: sending the whole journal");
            0
        }
    };
    source.seek(start).map_err(journal)?;
    shared.status.lock().next_offset = Some(start);
    if shared.status.set(State::Up) {
        tracing::info!(lane, next_offset = start, "connected to Kafka");
    }
    Ok(())
}

fn journal(fault: SourceFault) -> Fault {
    Fault::Lost(format!("the journal cannot be read: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicate::session::Kafka;

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
            if refuses || lane.too_large.contains(&offset) {
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
        assert_eq!(lane.too_large, BTreeSet::from([7, 8, 9]));
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
        assert!(notice.too_large.contains(&7));
        notice.shrink(&[(7, 120)]);
        assert!(cause(&notice).contains("max.message.bytes of the topics forebay.telemetry"));
        assert_eq!(notice.in_a_row, 2, "each with a pause");
    }
}
