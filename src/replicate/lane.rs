//! The thread of one lane: sessions, one after the other, as long as the process lives.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use serde_json::json;

use super::batch_size::BatchSize;
use super::checkpoint::{self, Place};
use super::fault::Fault;
use super::options::Options;
use super::reports::Reports;
use super::session::{Sent, Session};
use super::status::{ReplicationStatus, State};
use super::stop::Stop;
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
pub(super) struct Shared {
    pub options: Options,
    pub lane: String,
    /// Differs after every start, so that a second box is told from our own past.
    pub boot: String,
    pub status: Arc<ReplicationStatus>,
    pub stop: Arc<Stop>,
    pub reports: Reports,
    pub events: Option<Events>,
    /// The checkpoint topic's settings were looked at.
    pub looked_at_policy: AtomicBool,
}

/// One lane's replicator, on its own thread because the source and librdkafka block.
pub(super) struct Lane<S> {
    pub shared: Arc<Shared>,
    source: S,
    /// Our last place and the offset of our nonce there.
    last: Option<(Place, i64)>,
    batch: BatchSize,
    /// Offsets that Kafka refused even alone.
    too_large: BTreeSet<u64>,
    /// In the open transaction.
    left_out: Vec<LeftOut>,
    in_a_row: u32,
}

impl<S: Source> Lane<S> {
    pub fn new(shared: Shared, source: S) -> Self {
        Self {
            shared: Arc::new(shared),
            source,
            last: None,
            batch: BatchSize::new(Instant::now()),
            too_large: BTreeSet::new(),
            left_out: Vec::new(),
            in_a_row: 0,
        }
    }

    /// Works until asked to end. A panic is one more fault, recovered from like the others: with a
    /// new producer and from the checkpoint.
    pub fn run(mut self) {
        while !self.shared.stop.is_set() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.attempt())) {
                let words = panic::words(&*panic);
                let cause = format!("a fault inside Forebay, please report it: {words}");
                self.report(State::Waiting { since_us: now_us(), cause });
                self.back_off();
            }
        }
        self.shared.status.set(State::Stopped);
    }

    /// One session, and what its end calls for.
    fn attempt(&mut self) {
        match self.session() {
            // Ends the loop: it is only said after the flag was set.
            Fault::Stopped => {}
            Fault::Grown => {
                let bytes = self.batch.bytes();
                tracing::info!(lane = self.shared.lane, "trying batches of {bytes} bytes again");
            }
            Fault::Fenced => self.fenced(),
            Fault::TooLarge { offsets } => self.shrink(&offsets),
            Fault::Refused(cause) => {
                self.report(State::Refused { since_us: now_us(), cause });
                self.back_off();
            }
            Fault::Settings(cause) => {
                self.report(State::Settings { since_us: now_us(), cause });
                self.back_off();
            }
            Fault::Lost(cause) => {
                self.report(State::Waiting { since_us: now_us(), cause });
                self.back_off();
            }
        }
    }

    /// One producer from its start to its end.
    fn session(&mut self) -> Fault {
        let shared = Arc::clone(&self.shared);
        let epoch = self.source.epoch().to_owned();
        let mut session = match Session::open(&shared, &epoch, self.batch.bytes()) {
            Ok(session) => session,
            Err(fault) => return fault,
        };
        self.last = Some((session.place.clone(), session.found.nonce_offset));
        let fault = match start_offset(&session, &mut self.source, &shared, &epoch) {
            Ok(()) => loop {
                match self.turn(&mut session) {
                    Ok(()) => {}
                    Err(fault) => break fault,
                }
            },
            Err(fault) => fault,
        };
        session.abort();
        fault
    }

    /// One transaction, or one wait for something to send.
    fn turn(&mut self, session: &mut Session<'_>) -> Result<(), Fault> {
        if self.shared.stop.is_set() {
            return Err(Fault::Stopped);
        }
        let mut last_answer = Instant::now();
        self.left_out.clear();
        while !self.fill(session)? {
            if self.shared.stop.is_set() {
                return Err(Fault::Stopped);
            }
            if last_answer.elapsed() > PROBE {
                session.probe()?;
                self.shared.status.set(State::Up);
                last_answer = Instant::now();
            }
        }
        let sent = session.commit()?;
        self.committed(sent);
        if self.batch.grow(Instant::now()) {
            return Err(Fault::Grown);
        }
        let is_full = sent.records >= self.shared.options.transaction_records_max as u64
            || sent.bytes >= self.shared.options.transaction_bytes_max as u64;
        // Between two transactions the journal collects; an open one would hold up the readers of
        // every box. Behind, there is no pause.
        if !is_full {
            self.shared.stop.sleep(self.shared.options.commit_interval);
        }
        Ok(())
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

    /// Puts what is there into a transaction, at most the configured size. False = nothing is there.
    fn fill(&mut self, session: &mut Session<'_>) -> Result<bool, Fault> {
        let options = &self.shared.options;
        let mut sent = Sent::default();
        let mut wait = IDLE;
        while sent.records < options.transaction_records_max as u64
            && sent.bytes < options.transaction_bytes_max as u64
        {
            let Some(record) = self.source.next(wait).map_err(journal)? else { break };
            wait = Duration::ZERO;
            if sent.records == 0 {
                session.begin()?;
            }
            sent = if record.value.len() > options.record_bytes_max || self.too_large.contains(&record.offset)
            {
                let left_out = LeftOut::new(&record, options.record_bytes_max);
                let sent = session.send(&Record { value: left_out.notice.as_bytes(), ..record })?;
                self.left_out.push(left_out);
                sent
            } else {
                session.send(&record)?
            };
        }
        Ok(sent.records > 0)
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
    fn fenced(&mut self) {
        let Some((place, mut seen)) = self.last.clone() else { return self.back_off() };
        while !self.shared.stop.is_set() {
            let config = self.shared.options.consumer(&self.shared.lane, false);
            let Ok(consumer) =
                config.create_with_context::<_, BaseConsumer<Reports>>(self.shared.reports.fresh())
            else {
                return self.back_off();
            };
            let patience = self.shared.options.newcomer_max;
            let Some((by, at)) =
                checkpoint::find_other(&consumer, &place, &self.shared.boot, seen + 1, patience)
            else {
                return self.back_off();
            };
            drop(consumer);
            let state = State::Fenced { since_us: now_us(), by };
            if self.report(state.clone()) {
                let Options { site, edge, .. } = &self.shared.options;
                let (box_path, data) =
                    (format!("{site}/{edge}"), json!({"what": "fenced", "lane": self.shared.lane}));
                self.emit(Kind::Box, box_path, state.to_string(), data);
            }
            self.shared.stop.sleep(self.shared.options.fenced_retry);
            seen = at.max(seen);
            self.last = Some((place.clone(), seen));
        }
    }

    /// A record that was refused alone is left out, other records are tried in smaller batches.
    /// When there is nothing more to leave out, someone must raise the limit.
    fn shrink(&mut self, refused: &[(u64, usize)]) {
        let (lane, batch_bytes) = (&self.shared.lane, self.batch.bytes());
        let topic = self.shared.options.topic(lane);
        let alone = refused.iter().filter(|(_, bytes)| *bytes > batch_bytes).map(|(offset, _)| *offset);
        let known = self.too_large.len();
        self.too_large.extend(alone);
        if self.too_large.len() > known {
            self.back_off();
        } else if !refused.is_empty() && self.batch.shrink(Instant::now()) {
            tracing::warn!(
                lane,
                "Kafka refused a batch of records as too large, sending at most {} bytes at once; raise \
                 max.message.bytes of topic {topic}",
                self.batch.bytes(),
            );
        } else {
            let what = if refused.is_empty() {
                format!("even the checkpoints of lane {lane} are too large")
            } else {
                "even the short notice in the place of a record is too large".to_owned()
            };
            let checkpoints = self.shared.options.topic("checkpoints");
            let cause = format!("{what}: raise max.message.bytes of the topics {topic} and {checkpoints}");
            self.report(State::Refused { since_us: now_us(), cause });
            self.back_off();
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

    /// Waits before the next attempt: doubling from 100 ms to 10 s, spread by a random half so
    /// that boxes that lost Kafka together do not come back together.
    fn back_off(&mut self) {
        let full = BACKOFF.saturating_mul(1 << self.in_a_row.min(7)).min(BACKOFF_MAX);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.shared.stop.sleep(full.mul_f64(0.5 + fastrand::f64() / 2.0));
    }
}

/// A record that Kafka would not take.
pub(super) struct LeftOut {
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

/// Sets the source to where Kafka says we are.
fn start_offset<S: Source>(
    session: &Session<'_>,
    source: &mut S,
    shared: &Shared,
    epoch: &str,
) -> Result<(), Fault> {
    let lane = &shared.lane;
    let start = session.found.next_offset.unwrap_or(0);
    match (session.found.next_offset, &session.found.other_epoch) {
        // Also tells a journal that was put back from a copy not to number new records as old ones.
        (Some(next), _) => source.committed(next),
        (None, Some(other)) => {
            tracing::warn!(
                lane,
                "Kafka knows this box with the journal {other}, this one is {epoch}: sending all of it"
            );
        }
        (None, None) => tracing::info!(lane, "Kafka does not know this box yet: sending the whole journal"),
    }
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
    use std::time::Duration;

    use super::*;

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
    fn lane() -> Lane<Unread> {
        let stop = Arc::new(Stop::default());
        stop.set();
        let shared = Shared {
            options: Options::new("", "forebay", "Works1", "box"),
            lane: "telemetry".into(),
            boot: String::new(),
            status: Arc::default(),
            stop,
            reports: Reports::new("telemetry"),
            events: None,
            looked_at_policy: AtomicBool::new(false),
        };
        Lane::new(shared, Unread)
    }

    /// Rounds until `offset` is left out or Kafka is said to refuse.
    fn rounds(lane: &mut Lane<Unread>, refused: &[(u64, usize)], offset: u64) -> usize {
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
        let cause = |lane: &Lane<Unread>| match lane.shared.status.snapshot().state {
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
