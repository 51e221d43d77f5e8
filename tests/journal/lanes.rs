//! Lanes from batch to record, with everything that can get in the way on a working disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::batch::{BATCH_SAMPLES_MAX, Batch, Sample, Schema};
use forebay::event::{Event, Events, Kind};
use forebay::journal::{Journal, Options, RealDisk};
use forebay::lane::{Body, LaneOptions, QUEUED_SAMPLES_MAX, WhenFull, store_events};
use forebay_connector::{Quality, Scalar, Value};
use tokio_util::sync::CancellationToken;

use super::{LIMIT, batch, open, options, read_all, segments, serial};
use crate::device::device;
use crate::support::wait_for;

#[test]
fn batches_come_out_as_they_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lint, Scalar::Lreal, Scalar::Lreal]);
    let (mut lane, _events) = open(options(directory.path()));
    assert!(lane.recovery.created);
    for number in 0..1000 {
        lane.writer.try_append(batch(&press, number)).ok().expect("the queue has room");
    }
    assert_eq!(lane.writer.flush(LIMIT), Some(1000));
    let records = read_all(&mut lane.reader);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    assert_eq!(
        records.iter().map(|record| serial(record, &press)).collect::<Vec<_>>(),
        (0..1000).collect::<Vec<_>>()
    );
    let Body::Batch(stored) = &records[0].body else { panic!("no batch") };
    assert_eq!(*stored.schema, Schema::of(&press));
    assert_eq!(lane.lane.close(), 0);
}

#[test]
fn every_kind_of_value_survives_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mixer = device("mixer", &[Scalar::Real; 9]);
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::Uint(u64::MAX),
        Value::Real(41.2),
        Value::Lreal(0.1 + 0.2),
        Value::Text("Störung 7".into()),
        Value::DateTime(-1),
        Value::Array([Value::Real(1.5), Value::Null].into()),
    ];
    let sample = |(tag, value): (u32, Value)| Sample {
        tag,
        value,
        quality: Quality::ALL[usize::try_from(tag).unwrap()],
        source_us: (tag % 2 == 0).then_some(1_700_000_000_000_000 + i64::from(tag)),
    };
    let samples: Vec<Sample> = (0..).zip(values).map(sample).collect();
    let (mut lane, _events) = open(options(directory.path()));
    let sent = Batch { device: mixer, edge_us: 1_700_000_000_500_000, samples: samples.clone(), gap: None };
    lane.writer.try_append(sent).ok().unwrap();
    lane.writer.flush(LIMIT).unwrap();
    let records = read_all(&mut lane.reader);
    let [record] = records.as_slice() else { panic!("{records:?}") };
    let Body::Batch(stored) = &record.body else { panic!("no batch") };
    assert_eq!((stored.edge_us, &stored.samples), (1_700_000_000_500_000, &samples));
}

#[test]
fn closing_stores_what_is_waiting_and_a_start_goes_on_behind() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lint; 2]);
    let slow = LaneOptions { sync_interval: Duration::from_secs(3600), ..options(directory.path()) };
    let (mut lane, _events) = open(slow.clone());
    let epoch = lane.reader.epoch();
    for number in 0..50 {
        lane.writer.try_append(batch(&press, number)).ok().unwrap();
    }
    assert!(read_all(&mut lane.reader).is_empty(), "nothing is synced yet, so nothing is shown");
    assert_eq!(lane.lane.close(), 0);
    assert!(lane.writer.try_append(batch(&press, 50)).is_err(), "a closed lane takes nothing");
    assert_eq!(read_all(&mut lane.reader).len(), 50);

    let (mut lane, _events) = open(slow);
    assert_eq!((lane.reader.epoch(), lane.recovery.created), (epoch, false));
    lane.writer.try_append(batch(&press, 50)).ok().unwrap();
    assert_eq!(lane.writer.flush(LIMIT), Some(51));
    lane.reader.seek(40);
    let records = read_all(&mut lane.reader);
    assert_eq!(
        records.iter().map(|record| serial(record, &press)).collect::<Vec<_>>(),
        (40..51).collect::<Vec<_>>()
    );
}

#[test]
fn a_full_queue_gives_the_batch_back() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lint; 2]);
    let slow =
        LaneOptions { sync_interval: Duration::from_secs(3600), queue_len: 1, ..options(directory.path()) };
    let (lane, _events) = open(slow);
    // With a queue of one the writer cannot always be fast enough.
    let given_back = wait_for("batch given back", LIMIT, || {
        (0..100).find_map(|number| lane.writer.try_append(batch(&press, number)).err())
    });
    assert_eq!(given_back.samples.len(), 2);
    lane.writer.flush(LIMIT).unwrap();
    wait_for("count in the status", LIMIT, || {
        lane.writer.flush(LIMIT);
        (lane.writer.status().borrow().given_back > 0).then_some(())
    });
}

#[test]
fn batches_beyond_the_limit_are_split_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let big = device("big", &vec![Scalar::Lint; 2 * BATCH_SAMPLES_MAX + 1]);
    let (mut lane, _events) = open(options(directory.path()));
    lane.writer.try_append(batch(&big, 7)).ok().unwrap();
    assert_eq!(lane.writer.flush(LIMIT), Some(3));
    let samples: usize = read_all(&mut lane.reader)
        .iter()
        .map(|record| match &record.body {
            Body::Batch(stored) => stored.samples.len(),
            other => panic!("no batch: {other:?}"),
        })
        .sum();
    assert_eq!(samples, 2 * BATCH_SAMPLES_MAX + 1);
    const { assert!(QUEUED_SAMPLES_MAX > BATCH_SAMPLES_MAX) };
}

#[tokio::test]
async fn events_reach_their_lane_and_readers_are_woken() {
    let directory = tempfile::tempdir().unwrap();
    let (mut lane, _own) = open(LaneOptions { name: "events".to_owned(), ..options(directory.path()) });
    let (events, receiver) = Events::new();
    let stop = CancellationToken::new();
    let store = tokio::spawn(store_events(receiver, lane.writer.clone(), stop.clone()));
    let event = |text: &str| Event {
        kind: Kind::DeviceState,
        edge_time: 0,
        device: "Site/Line1/press-3".to_owned(),
        text: text.to_owned(),
        data: serde_json::json!({ "state": "away" }),
    };
    events.emit(event("no answer"));
    assert!(lane.reader.readable().await);
    let records = lane.reader.next(10, 1 << 20);
    let Body::Event(json) = &records[0].body else { panic!("no event") };
    let stored: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!((&stored["kind"], &stored["text"]), (&"device-state".into(), &"no answer".into()));
    // What is waiting at the stop is still stored.
    (0..100).for_each(|_| events.emit(event("again")));
    stop.cancel();
    store.await.unwrap();
    let closing = lane.lane;
    assert_eq!(tokio::task::spawn_blocking(move || closing.close()).await.unwrap(), 0);
    assert!(lane.reader.readable().await);
    assert_eq!(read_all(&mut lane.reader).len(), 100);
    assert!(!lane.reader.readable().await, "a closed lane has no more");
}

#[test]
fn the_budget_holds_and_what_it_costs_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let types = [Scalar::Lint; 20];
    let (press, mixer) = (device("press-3", &types), device("mixer", &types));
    let budget_bytes = 256 << 10;
    let when_full = vec![WhenFull::Evict];
    let small = LaneOptions { budget_bytes, when_full, sync_bytes: 4 << 10, ..options(directory.path()) };
    let (mut lane, mut events) = open(small);
    let mut sent = 0;
    while lane.writer.status().borrow().evicted_records == 0 {
        lane.writer.try_append(batch(&press, sent)).ok().unwrap();
        lane.writer.try_append(batch(&mixer, sent + 1)).ok().unwrap();
        sent += 2;
        if sent % 100 == 0 {
            lane.writer.flush(LIMIT).unwrap();
        }
    }
    lane.writer.flush(LIMIT).unwrap();
    let on_disk: u64 = segments(directory.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(on_disk <= budget_bytes + (4 << 10), "{on_disk} bytes on disk");

    // Every offset is either told as evicted or still there.
    let mut lost = Vec::new();
    while let Ok(event) = events.try_recv() {
        assert_eq!((event.kind, &event.data["cause"]), (Kind::Gap, &"disk-budget".into()));
        let range = event.data["from_offset"].as_u64().unwrap()..event.data["to_offset"].as_u64().unwrap();
        assert_eq!(event.data["batches"], range.end - range.start);
        let devices = event.data["devices"].as_array().unwrap();
        let counted: u64 = devices.iter().map(|device| device["batches"].as_u64().unwrap()).sum();
        assert_eq!((devices.len(), counted), (2, range.end - range.start));
        let samples: u64 = devices
            .iter()
            .flat_map(|it| it["tags"].as_object().unwrap().values())
            .map(|it| it.as_u64().unwrap())
            .sum();
        assert_eq!((samples, event.data["samples"].as_u64().unwrap()), (counted * 20, counted * 20));
        lost.extend(range);
    }
    let kept: Vec<u64> = read_all(&mut lane.reader).iter().map(|record| record.offset).collect();
    assert!(!lost.is_empty());
    assert_eq!([lost, kept].concat(), (0..u64::try_from(sent).unwrap()).collect::<Vec<_>>());
}

#[test]
fn what_kafka_has_is_removed_and_only_that() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lint; 20]);
    let small = LaneOptions { segment_bytes: 4 << 10, sync_bytes: 1 << 10, ..options(directory.path()) };
    let (mut lane, _events) = open(small);
    for number in 0..2000 {
        lane.writer.try_append(batch(&press, number)).ok().unwrap();
    }
    assert_eq!(lane.writer.flush(LIMIT), Some(2000));
    let before = segments(directory.path()).len();
    lane.reader.committed(1000);
    let status = lane.writer.status();
    wait_for("trimmed journal", LIMIT, || (status.borrow().first_offset > 0).then_some(()));
    assert!(status.borrow().first_offset <= 1000 && segments(directory.path()).len() < before);
    assert_eq!(status.borrow().committed, Some(1000));
    assert!(status.borrow().oldest_unsent_us.is_some());
    lane.reader.seek(1000);
    assert_eq!(read_all(&mut lane.reader).len(), 1000);
    lane.reader.committed(2000);
    wait_for("trimmed journal", LIMIT, || status.borrow().oldest_unsent_us.is_none().then_some(()));
    wait_for("one segment left", LIMIT, || (segments(directory.path()).len() == 1).then_some(()));
}

#[test]
fn offsets_that_kafka_has_are_never_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lint; 2]);
    let (mut lane, mut events) = open(options(directory.path()));
    lane.writer.try_append(batch(&press, 0)).ok().unwrap();
    assert_eq!(lane.writer.flush(LIMIT), Some(1));
    // The checkpoint says that more had been sent than this disk still knows.
    lane.reader.committed(100);
    wait_for("skipped offsets", LIMIT, || (lane.reader.synced() == 100).then_some(()));
    lane.writer.try_append(batch(&press, 1)).ok().unwrap();
    assert_eq!(lane.writer.flush(LIMIT), Some(101));
    let offsets: Vec<u64> = read_all(&mut lane.reader).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [100], "the older segment is committed and removed");
    assert!(events.try_recv().is_err(), "what Kafka has is not lost");
}

#[test]
fn damage_becomes_one_gap_event_and_reading_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lint; 20]);
    let small = LaneOptions { segment_bytes: 4 << 10, sync_bytes: 1 << 10, ..options(directory.path()) };
    let (lane, _events) = open(small.clone());
    for number in 0..2000 {
        lane.writer.try_append(batch(&press, number)).ok().unwrap();
    }
    assert_eq!(lane.writer.flush(LIMIT), Some(2000));
    lane.lane.close();
    let victim = &segments(directory.path())[1];
    let mut bytes = std::fs::read(victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(victim, bytes).unwrap();

    let (mut lane, mut events) = open(small);
    // Only who sends tells it; a record in its place says the same.
    lane.reader.hand_over();
    let records = read_all(&mut lane.reader);
    let event = events.try_recv().expect("a gap event");
    assert_eq!((event.kind, &event.data["cause"]), (Kind::Gap, &"damage".into()));
    let lost = event.data["from_offset"].as_u64().unwrap()..event.data["to_offset"].as_u64().unwrap();
    let is_batch = |record: &&forebay::lane::Record| matches!(record.body, Body::Batch(_));
    let kept: Vec<u64> = records.iter().filter(is_batch).map(|record| record.offset).collect();
    assert_eq!(kept, (0..2000).filter(|offset| !lost.contains(offset)).collect::<Vec<_>>());
    assert!(!lost.is_empty());
    lane.reader.seek(0);
    assert_eq!(read_all(&mut lane.reader).len(), records.len());
    assert!(events.try_recv().is_err(), "the same damage is told once");
}

/// Readers and writer at once on real files, with trimming behind the reader.
#[test]
fn a_reader_follows_the_writer_while_segments_go() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    let limits = Options { segment_bytes: 2_000 };
    let (mut journal, _) = Journal::open(disk, limits).unwrap();
    let mut reader = journal.reader(0).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut expected = 0u64;
            let mut moved = 0;
            while !done.load(Ordering::SeqCst) || reader.wait(Duration::ZERO) {
                reader.wait(Duration::from_millis(10));
                match reader.read() {
                    forebay::journal::Read::Record { offset, bytes, .. } => {
                        assert_eq!((offset, bytes), (expected, expected.to_le_bytes().as_slice()));
                        expected += 1;
                    }
                    forebay::journal::Read::Moved { from, to } => {
                        assert!(from == expected && to > from);
                        (expected, moved) = (to, moved + 1);
                    }
                    forebay::journal::Read::Link(link) => panic!("{link:?} was never written"),
                    forebay::journal::Read::Damage(damage) => panic!("{damage:?}"),
                    forebay::journal::Read::Unreadable(unreadable) => panic!("{unreadable}"),
                    forebay::journal::Read::End => {}
                }
            }
            (expected, moved)
        });
        for serial in 0..20_000u64 {
            journal.append(&serial.to_le_bytes(), 1).unwrap();
            if serial % 50 == 49 {
                journal.sync(1).unwrap();
                if serial % 1000 == 999 {
                    journal.trim(serial).unwrap();
                }
            }
        }
        done.store(true, Ordering::SeqCst);
        let (read_to, _moved) = follower.join().expect("the reader does not fail");
        assert_eq!(read_to, 20_000);
    });
}
