//! A journal that has lost its end, or was put back from a copy, and stores before it hears Kafka.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Quality, Value};
use tokio::sync::mpsc;

use super::budget_tests::StepClock;
use super::{Body, LaneOptions, LaneReader, LaneWriter, Parts, Worker};
use crate::batch::{Batch, Sample};
use crate::clock::Clock;
use crate::event::{Event, Events};
use crate::journal::memory_disk::MemoryDisk;
use crate::poll::testing;

const TOLD_US: i64 = 61_000_000;

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
        ..LaneOptions::new("telemetry", "/memory", "Werk1/box")
    };
    let parts = Parts::open(Arc::new(disk.clone()), clock.clone(), options, events).unwrap();
    let mut reader = parts.reader;
    reader.hand_over();
    Run { clock: Arc::clone(clock), worker: parts.worker, writer: parts.writer, reader, events: receiver }
}

impl Run {
    fn store(&mut self, numbers: std::ops::Range<i64>) {
        let device = testing::device(vec![testing::tag("number", 0)]);
        for number in numbers {
            let sample =
                Sample { tag: 0, value: Value::Int(number), quality: Quality::Good, source_us: None };
            let edge_us = self.clock.now_us();
            let batch = Batch { device: Arc::clone(&device), edge_us, samples: vec![sample], gap: None };
            self.writer.try_append(batch).ok().expect("the queue has room");
            self.worker.step();
        }
    }

    /// Kafka is heard, and what follows from that has been done.
    fn find(&mut self, next_offset: u64, backlog: &[(u64, u64)]) -> Vec<Event> {
        self.reader.found(next_offset, backlog);
        assert!(!self.reader.wait(Duration::ZERO), "nothing is sent before it is settled");
        self.worker.step();
        let mut told = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            told.push(event);
        }
        told
    }

    fn read(&mut self, from: u64) -> Vec<(u64, i64)> {
        self.reader.seek(from);
        assert!(self.reader.wait(Duration::ZERO));
        let number = |body| match body {
            Body::Batch(batch) => match batch.samples[0].value {
                Value::Int(number) => number,
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let records = self.reader.next(100, 1 << 20).into_iter();
        records.map(|record| (record.offset, number(record.body))).collect()
    }
}

#[test]
fn what_has_the_offsets_of_others_gets_new_ones_and_is_sent() {
    let (disk, clock) = (MemoryDisk::new(1), Arc::new(StepClock::new()));
    let mut run = run(&disk, &clock);
    run.store(10..15);
    let told = run.find(3, &[(1, 2)]);
    let data: Vec<_> = told.iter().map(|event| &event.data).collect();
    assert_eq!(data.len(), 2, "{told:?}");
    assert!(data.iter().all(|data| data["what"] == "new-offsets"));
    assert_eq!((data[0]["from_offset"].as_u64(), data[0]["new_from_offset"].as_u64()), (Some(0), Some(5)));
    assert_eq!((data[1]["from_offset"].as_u64(), data[1]["new_from_offset"].as_u64()), (Some(2), Some(6)));
    clock.forward(TOLD_US);
    run.worker.step();
    assert_eq!(run.read(3), [(3, 13), (4, 14), (5, 10), (6, 12)], "Kafka still waits for the one at 1");
    assert_eq!(run.read(1)[0], (1, 11));
}

#[test]
fn what_is_stored_again_goes_behind_all_that_kafka_knows() {
    let (disk, clock) = (MemoryDisk::new(1), Arc::new(StepClock::new()));
    let mut run = run(&disk, &clock);
    run.store(10..12);
    assert_eq!(run.find(90, &[]).len(), 1);
    clock.forward(TOLD_US);
    run.worker.step();
    assert_eq!(run.read(90), [(90, 10), (91, 11)]);
    // Nothing of it is told or stored a second time.
    let mut run = self::run(&disk, &clock);
    assert!(run.find(90, &[]).is_empty());
    assert_eq!(run.read(90), [(90, 10), (91, 11)]);
}

#[test]
fn a_power_cut_before_it_is_told_makes_the_next_start_tell_it() {
    let (disk, clock) = (MemoryDisk::new(1), Arc::new(StepClock::new()));
    run(&disk, &clock).store(10..12);
    run(&disk, &clock).store(12..13);
    for start in 0..2 {
        let disk = disk.crash(start);
        let mut run = run(&disk, &clock);
        let told = run.find(90, &[]);
        assert_eq!(told.len(), 2, "{told:?}");
        for event in &told {
            assert_eq!(event.data["cause"], "offsets-taken");
            assert_eq!(event.data["perhaps_sent"], true, "the copy may be younger than these");
        }
        // The power goes before these events are stored.
    }
    let mut told_and_noted = run(&disk, &clock);
    assert_eq!(told_and_noted.find(90, &[]).len(), 2);
    clock.forward(TOLD_US);
    told_and_noted.worker.step();
    let mut after = run(&disk, &clock);
    assert!(after.find(90, &[]).is_empty(), "it is told");
}
