//! What a lane says of what Kafka has before it has heard Kafka.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Quality, Value};
use tokio::sync::mpsc;

use super::budget_tests::StepClock;
use super::{
    Before, LaneOptions, LaneReader, LaneStatus, LaneWriter, Parts, TrimError, TrimOrder, Trimmed, Worker,
};
use crate::batch::{Batch, Sample};
use crate::clock::Clock;
use crate::event::{Event, Events};
use crate::journal::memory_disk::MemoryDisk;
use crate::poll::testing;

const SECOND_US: i64 = 1_000_000;

/// One run of a box.
struct Run {
    clock: Arc<StepClock>,
    worker: Worker,
    writer: LaneWriter,
    reader: LaneReader,
    events: mpsc::Receiver<Event>,
}

fn run(disk: &MemoryDisk, clock: &Arc<StepClock>) -> Run {
    let (events, receiver) = Events::new();
    let options = LaneOptions {
        sync_interval: Duration::ZERO,
        keep: Duration::from_secs(30 * 24 * 3600),
        segment_bytes: 1 << 10,
        ..LaneOptions::new("telemetry", "/memory", "Werk1/box")
    };
    let parts = Parts::open(Arc::new(disk.clone()), clock.clone(), options, events).unwrap();
    let mut reader = parts.reader;
    reader.hand_over();
    Run { clock: Arc::clone(clock), worker: parts.worker, writer: parts.writer, reader, events: receiver }
}

impl Run {
    /// Stores one record a second.
    fn store(&mut self, records: i64) {
        let device = testing::device(vec![testing::tag("number", 0)]);
        for number in 0..records {
            self.clock.forward(SECOND_US);
            let sample = Sample {
                tag: 0,
                value: Value::Lreal(fastrand::Rng::with_seed(number.unsigned_abs()).f64()),
                quality: Quality::Good,
                source_us: None,
            };
            let edge_us = self.clock.now_us();
            let batch = Batch { device: Arc::clone(&device), edge_us, samples: vec![sample], gap: None };
            self.writer.try_append(batch).ok().expect("the queue has room");
            self.worker.step();
        }
    }

    /// Kafka is heard for the first time, gets what there is before `to`, and confirms it.
    fn send(&mut self, to: u64) {
        self.reader.found(0, &[]);
        self.worker.step();
        self.reader.seek(0);
        while self.reader.offset() < to {
            let wanted = usize::try_from(to - self.reader.offset()).unwrap();
            assert!(!self.reader.next(wanted, 1 << 20).is_empty());
        }
        self.reader.committed(to);
        self.worker.step();
    }

    fn status(&mut self) -> LaneStatus {
        self.clock.forward(2 * SECOND_US);
        self.worker.step();
        self.writer.status().borrow().clone()
    }

    fn trim(&mut self, before: Before, unsent: bool) -> Result<Trimmed, TrimError> {
        self.worker.trim_by_order(TrimOrder { before, unsent })
    }

    fn told(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

/// A box that has sent half of what it stored, and stands still now. Gives the edge time of the record
/// at offset 0; the others follow a second apart.
fn half_sent(disk: &MemoryDisk, clock: &Arc<StepClock>) -> i64 {
    let mut run = run(disk, clock);
    let first_us = run.clock.now_us() + SECOND_US;
    run.store(400);
    run.send(200);
    assert_eq!(run.status().confirmed, Some(200));
    first_us
}

#[test]
fn without_any_word_of_kafka_nothing_that_it_may_have_is_called_lost() {
    let (disk, clock) = (MemoryDisk::new(1), Arc::new(StepClock::new()));
    half_sent(&disk, &clock);
    let mut run = run(&disk, &clock);
    let status = run.status();
    assert_eq!((status.heard, status.confirmed), (false, None));
    assert!((200..400).contains(&status.perhaps_sent_records), "{status:?}");
    let oldest_us = status.oldest_unsent_us.expect("what was never given away is not in Kafka");
    // Nothing is removed unasked, and nothing is said of what is not known.
    let trimmed = run.trim(Before::Sent, false).unwrap();
    assert_eq!((trimmed.segments, trimmed.heard, trimmed.confirmed), (0, false, None));
    let refused = run.trim(Before::Offset(150), false).unwrap_err().to_string();
    assert!(
        refused.contains("it is not known whether Kafka has") && refused.contains("--unsent"),
        "{refused}"
    );
    let trimmed = run.trim(Before::Offset(150), true).unwrap();
    assert!(trimmed.segments > 0 && trimmed.perhaps_sent_records > 0, "{trimmed:?}");
    assert_eq!(trimmed.unsent_records, 0);
    assert!(run.told().iter().all(|event| event.data["perhaps_sent"] == true));
    let status = run.status();
    assert_eq!((status.evicted_records, status.perhaps_evicted_records), (0, trimmed.perhaps_sent_records));
    assert_eq!(status.oldest_unsent_us, Some(oldest_us));
    // What was never given away is lost.
    let all = status.next_offset;
    let refused = run.trim(Before::Offset(all), false).unwrap_err().to_string();
    assert!(refused.contains("were never sent, of"), "{refused}");
    let trimmed = run.trim(Before::Offset(all), true).unwrap();
    assert!(trimmed.unsent_records > 0 && trimmed.perhaps_sent_records > 0, "{trimmed:?}");
}

#[test]
fn what_is_remembered_of_kafka_says_what_is_unsent_and_may_be_removed() {
    let (disk, clock) = (MemoryDisk::new(1), Arc::new(StepClock::new()));
    let first_us = half_sent(&disk, &clock);
    let mut run = run(&disk, &clock);
    run.writer.remember_confirmed(150);
    run.store(10);
    let status = run.status();
    assert_eq!((status.heard, status.committed, status.confirmed), (false, None, Some(150)));
    assert_eq!(status.oldest_unsent_us, Some(first_us + 150 * SECOND_US));
    assert!(status.history_bytes > 0 && status.unsent_bytes < status.bytes, "{status:?}");
    let trimmed = run.trim(Before::Sent, false).unwrap();
    assert!(trimmed.segments > 0 && trimmed.first_offset <= 150, "{trimmed:?}");
    assert_eq!((trimmed.unsent_records, trimmed.perhaps_sent_records), (0, 0));
    assert_eq!((trimmed.heard, trimmed.left_records), (false, 260));
    let status = run.status();
    assert_eq!((status.evicted_records, status.perhaps_evicted_records), (0, 0));
    assert!(run.told().is_empty(), "nothing is missing");
    // Kafka knows better: somebody has deleted what it had.
    run.reader.found(0, &[]);
    let status = run.status();
    assert_eq!((status.heard, status.confirmed), (true, Some(0)));
    let trimmed = run.trim(Before::Sent, false).unwrap();
    assert_eq!(trimmed.segments, 0);
}

#[test]
fn a_journal_put_back_from_a_copy_does_not_call_new_records_confirmed() {
    let (disk, clock) = (MemoryDisk::new(1), Arc::new(StepClock::new()));
    half_sent(&disk, &clock);
    // Kafka had 500 when the box was last there; the copy ends at 400.
    for start in 0..2 {
        let mut run = run(&disk, &clock);
        run.writer.remember_confirmed(500);
        run.store(60);
        let status = run.status();
        let confirmed = status.confirmed.unwrap();
        assert!(confirmed <= 400, "start {start}: {confirmed}");
        let refused = run.trim(Before::Offset(status.next_offset), false).unwrap_err();
        let TrimError::Unsent { records, .. } = refused else { panic!("{refused}") };
        assert!(records >= 60 * start, "start {start}: {refused}");
    }
}
