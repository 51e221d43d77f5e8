//! An outage on a real directory by a clock that is set forward, then what Kafka would be given.

use std::sync::Arc;
use std::time::Duration;

use forebay::batch::{Batch, Sample};
use forebay::event::{Event, Events, Kind};
use forebay::journal::RealDisk;
use forebay::lane::{Lane, LaneOptions, LaneStatus, LaneWriter};
use forebay::replicate::{JournalSource, Source};
use forebay_connector::{Quality, Scalar, Value};
use serde_json::Value as Json;

use super::{LIMIT, StepClock};
use crate::device::device;

const DAY: Duration = Duration::from_secs(24 * 3600);
const SCAN: Duration = Duration::from_secs(10);
const TAGS: u32 = 8;
const BUDGET_BYTES: u64 = 1 << 20;

/// Samples that a record of Kafka stands for, and whether it was summed up.
fn stands_for(record: &Json) -> (u64, bool) {
    let rows = record["samples"].as_array().unwrap();
    match record.get("thinned") {
        None => (rows.len() as u64, false),
        Some(thinned) => {
            assert_eq!(record["edge_time"], thinned["to"]);
            assert_eq!((&thinned["interval_s"], &thinned["cause"]), (&60.into(), &"disk-budget".into()));
            let counted = |row: &Json| row["count"].as_u64().unwrap() + row["bad"].as_u64().unwrap_or(0);
            for row in rows {
                let number = |name: &str| row[name].as_f64().unwrap();
                assert!(number("min") <= number("mean") && number("mean") <= number("max"), "{row}");
                assert!(number("min") <= number("last") && number("last") <= number("max"), "{row}");
            }
            (rows.iter().map(counted).sum(), true)
        }
    }
}

#[test]
fn what_was_summed_up_goes_to_kafka_with_every_sample_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let press = device("press-3", &[Scalar::Lreal; TAGS as usize]);
    let (events, mut told) = Events::new();
    let clock = StepClock::new();
    let options = LaneOptions {
        budget_bytes: BUDGET_BYTES,
        segment_bytes: 64 << 10,
        full_for: DAY,
        ..LaneOptions::new("telemetry", directory.path(), "Werk1/box")
    };
    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    let lane = Lane::open_on(disk, clock.clone(), options, events).unwrap();
    let scans = scan_until_something_is_removed(&lane.writer, &press, &clock);
    let end = lane.writer.flush(LIMIT).unwrap();
    let status: LaneStatus = lane.writer.status().borrow().clone();
    assert!(status.bytes <= BUDGET_BYTES && status.thinned_records > 0, "{status:?}");
    assert!(status.thinned_bytes > 0 && status.full_from_us.is_some(), "{status:?}");

    let mut source = JournalSource::new("telemetry", lane.reader);
    let (mut full, mut thinned, mut given_as_lost) = (0, 0, 0);
    let mut last_offset = None;
    while last_offset.is_none_or(|last| last + 1 < end) {
        // Nothing is given before it is noted that it is; that takes a moment.
        let record = source.next(LIMIT).unwrap().expect("a record");
        assert!(last_offset < Some(record.offset), "offset {}", record.offset);
        last_offset = Some(record.offset);
        let json: Json = serde_json::from_slice(record.value).unwrap();
        if json.get("samples").is_none() {
            let data = &json["data"];
            given_as_lost += data["to_offset"].as_u64().unwrap() - data["from_offset"].as_u64().unwrap();
            continue;
        }
        assert_eq!(record.key, press.path);
        let (samples, was_thinned) = stands_for(&json);
        *(if was_thinned { &mut thinned } else { &mut full }) += samples;
    }
    let removed = removed_samples(&mut told);
    assert!(full > 0 && thinned > 0 && removed > 0, "{full} {thinned} {removed}");
    assert_eq!(full + thinned + removed, scans * u64::from(TAGS));
    assert_eq!(given_as_lost * u64::from(TAGS), removed, "what is gone is told in its place, too");
}

/// Scans until the budget has cost something; how often.
fn scan_until_something_is_removed(
    writer: &LaneWriter,
    press: &Arc<forebay::device::Device>,
    clock: &StepClock,
) -> u64 {
    let mut random = fastrand::Rng::with_seed(7);
    let mut scans = 0;
    while writer.status().borrow().evicted_records < 1000 {
        for _ in 0..500 {
            let mut sample = |tag| {
                let quality = if random.u8(..) < 5 { Quality::Refused } else { Quality::Good };
                Sample { tag, value: Value::Lreal(random.f64()), quality, source_us: None }
            };
            let samples = (0..TAGS).map(&mut sample).collect();
            let edge_us = forebay::clock::Clock::now_us(clock);
            writer.try_append(Batch { device: press.clone(), edge_us, samples, gap: None }).ok().unwrap();
            clock.forward(SCAN);
            scans += 1;
        }
        writer.flush(LIMIT).unwrap();
        assert!(scans < 1_000_000, "nothing is removed");
    }
    scans
}

/// Samples that gap events name, and as many by tag.
fn removed_samples(told: &mut tokio::sync::mpsc::Receiver<Event>) -> u64 {
    let mut removed = 0;
    while let Ok(event) = told.try_recv() {
        if event.kind != Kind::Gap {
            assert_eq!(event.kind, Kind::Thinned);
            continue;
        }
        let samples = event.data["samples"].as_u64().unwrap();
        let device = &event.data["devices"].as_array().unwrap()[0];
        let by_tag: u64 =
            device["tags"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!((by_tag, &device["samples"]), (samples, &samples.into()));
        removed += samples;
    }
    removed
}
