//! The codec of the records, and what a lane does after a fault of ours; the lanes themselves are
//! tested in `tests/journal.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_connector::{Quality, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::codec::row_writer::Encoder;
use super::codec::{DecodedBatch, RecordFault, decode_batch};
use super::writer::{Message, Shared};
use super::{Lane, LaneOptions, LaneWriter};
use crate::batch::Sample;
use crate::event::{Event, Events, Kind};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Uint),
        any::<f32>().prop_map(Value::Real),
        any::<f64>().prop_map(Value::Lreal),
        (any::<i16>(), 0..4).prop_map(|(raw, k)| Value::Real(f32::from(raw) / 10f32.powi(k))),
        (any::<i32>(), 0..5).prop_map(|(raw, k)| Value::Lreal(f64::from(raw) / 10f64.powi(k))),
        (any::<i16>(), 0..5).prop_map(|(raw, k): (i16, i32)| Value::Lreal(f64::from(raw) * 10f64.powi(-k))),
        prop_oneof![Just(0.0), Just(-0.0), Just(f64::MAX), Just(0.1 + 0.2)].prop_map(Value::Lreal),
        prop_oneof![Just(0.0), Just(-0.0), Just(f32::MIN_POSITIVE)].prop_map(Value::Real),
        "\\PC{0,20}".prop_map(|text| Value::Text(text.into())),
        any::<i64>().prop_map(Value::DateTime),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 4, |inner| vec(inner, 0..5).prop_map(|inner| Value::Array(inner.into())))
}

pub(super) fn sample() -> impl Strategy<Value = Sample> {
    let quality = (0..9u8).prop_map(|number| Quality::from_u8(number).unwrap());
    (any::<u32>(), value(), quality, option::of(any::<i64>()))
        .prop_map(|(tag, value, quality, source_us)| Sample { tag, value, quality, source_us })
}

/// Samples as pollers send them: each column may be the ordinary one.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    (vec(sample(), 0..30), any::<[bool; 3]>()).prop_map(|(mut samples, [in_order, good, sources])| {
        for (index, sample) in (0..).zip(&mut samples) {
            if in_order {
                sample.tag = 5 + index;
            }
            if good {
                sample.quality = Quality::Good;
            }
            if sources {
                sample.source_us = None;
            }
        }
        samples
    })
}

/// Equal bit by bit; `==` holds NaN unequal to itself and -0.0 equal to 0.0.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Real(left), Value::Real(right)) => left.to_bits() == right.to_bits(),
        (Value::Lreal(left), Value::Lreal(right)) => left.to_bits() == right.to_bits(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        _ => left == right,
    }
}

fn encoded(samples: &[Sample]) -> Vec<u8> {
    Encoder::default().batch(7, 1_000_250, 1_000_000, samples, None).to_vec()
}

fn good(tag: u32, value: Value) -> Sample {
    Sample { tag, value, quality: Quality::Good, source_us: None }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_round_trip(samples in samples(), edge_us in any::<i64>(), base_us in any::<i64>(), schema in any::<u32>()) {
        let record = Encoder::default().batch(schema, edge_us, base_us, &samples, None).to_vec();
        let decoded = decode_batch(&record, base_us).unwrap();
        prop_assert_eq!(decoded.edge_us, edge_us);
        prop_assert_eq!(decoded.schema, schema);
        prop_assert_eq!(decoded.samples.len(), samples.len());
        for (left, right) in decoded.samples.iter().zip(&samples) {
            prop_assert!(same(&left.value, &right.value), "{:?} became {:?}", right.value, left.value);
            prop_assert_eq!((left.tag, left.quality, left.source_us), (right.tag, right.quality, right.source_us));
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), base_us in any::<i64>()) {
        // The outcome does not matter, only that there is one.
        let _outcome = decode_batch(&[&[1], bytes.as_slice()].concat(), base_us);
    }

    #[test]
    fn changed_records_never_panic(samples in samples(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut record = encoded(&samples);
        *at.get_mut(&mut record) = byte;
        if let Ok(decoded) = decode_batch(&record, 0) {
            prop_assert!(decoded.samples.len() <= crate::batch::BATCH_SAMPLES_MAX);
        }
    }
}

#[test]
fn a_record_has_exactly_the_documented_bytes() {
    let samples = [
        good(3, Value::Lreal(23.7)),
        good(4, Value::Bool(true)),
        Sample { tag: 9, value: Value::Null, quality: Quality::NoConnection, source_us: Some(1_000_251) },
    ];
    let record = encoded(&samples);
    // Kind; no flag; schema 7; edge time +250 µs; 3 samples; tags 3, +1, +5; qualities; sources none, none,
    // +1 µs; kinds; 237.
    let expected = [1, 0, 7, 0xf4, 3, 3, 6, 2, 10, 0, 0, 8, 0, 0, 1, 2, 33, 2, 0, 0xda, 3];
    assert_eq!(record, expected);
    assert_eq!(
        decode_batch(&record, 1_000_000),
        Ok(DecodedBatch { schema: 7, edge_us: 1_000_250, samples: samples.to_vec(), gap: None })
    );
}

#[test]
fn short_numbers_stay_short() {
    let size = |value: Value| encoded(&[good(0, value)]).len() - encoded(&[good(0, Value::Null)]).len();
    assert_eq!(size(Value::Real(41.2)), 2);
    assert_eq!(size(Value::Lreal(41.2)), 2);
    // What `raw * 0.1` gives, which is not what `raw / 10` gives.
    assert_eq!(size(Value::Lreal(237.0 * 0.1)), 2);
    assert_eq!(size(Value::Lreal(std::f64::consts::PI)), 8);
    assert_eq!(size(Value::Bool(true)), 0);
}

#[test]
fn memory_is_bounded_whatever_a_record_says() {
    // An array of 2^40 BOOLs in nine bytes.
    let record = [1, 1 | 2 | 4 | 16, 0, 0, 1, 0, 9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 1];
    assert_eq!(decode_batch(&record, 0), Err(RecordFault::Malformed));
    // 2^28 samples without a byte each.
    let record = [1, 1 | 2 | 4 | 16, 0, 0, 0x80, 0x80, 0x80, 0x80, 1, 0, 0];
    assert_eq!(decode_batch(&record, 0), Err(RecordFault::Malformed));
}

#[test]
fn a_gap_is_stored_with_its_batch() {
    let cause = crate::twin::Cause { code: "timeout".into(), message: "no answer within 500 ms".into() };
    let gap = crate::batch::GapBefore { from_us: 17, cause };
    let record = Encoder::default().batch(7, 1_000_250, 1_000_000, &[], Some(&gap)).to_vec();
    assert_eq!(decode_batch(&record, 1_000_000).unwrap().gap, Some(gap.clone()));
    let long = crate::twin::Cause { message: "ä".repeat(2000), ..gap.cause };
    let gap = crate::batch::GapBefore { from_us: 17, cause: long };
    let record = Encoder::default().batch(7, 1_000_250, 1_000_000, &[], Some(&gap)).to_vec();
    let stored = decode_batch(&record, 1_000_000).unwrap().gap.unwrap();
    assert_eq!(stored.cause.message, "ä".repeat(512), "cut at a whole character");
}

fn event() -> Event {
    Event {
        kind: Kind::Box,
        edge_time: 0,
        device: "Works1/box".into(),
        text: String::new(),
        data: serde_json::Value::Null,
    }
}

#[test]
fn a_lane_whose_thread_panicked_is_closed_and_says_that_something_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // No time is that late: adding it to the present panics in the thread.
    let sync_interval = Duration::MAX;
    let options = LaneOptions { sync_interval, ..LaneOptions::new("events", folder.path(), "Works1/box") };
    let opened = Lane::open(options, Events::new().0).unwrap();
    assert!(!opened.writer.is_closed());
    opened.writer.try_append_event(event()).unwrap();
    let start = Instant::now();
    while !opened.writer.is_closed() {
        assert!(start.elapsed() < Duration::from_secs(60), "the lane seems to work");
        std::thread::yield_now();
    }
    assert!(opened.writer.try_append_event(event()).is_err());
    assert_eq!(opened.writer.flush(Duration::from_secs(60)), None);
    assert_eq!(opened.lane.close(), 1);
}

/// A lane without its thread: the queue takes one message, which nobody takes out.
fn stuck() -> (LaneWriter, std::sync::mpsc::Receiver<Message>) {
    let (queue, receiver) = std::sync::mpsc::sync_channel(1);
    let shared = Shared {
        queue,
        confirmed: Default::default(),
        queued_samples: Default::default(),
        given_back: Default::default(),
        committed: Default::default(),
        used: Default::default(),
        secured: Default::default(),
        found: Default::default(),
        settled: Default::default(),
        damage_told: Default::default(),
        lost_records: Default::default(),
        stopping: Default::default(),
        closed: Default::default(),
        synced: tokio::sync::watch::Sender::new(0),
        status: Default::default(),
    };
    (LaneWriter { shared: Arc::new(shared) }, receiver)
}

#[test]
fn a_flush_waits_no_longer_than_its_limit_also_for_room_in_the_queue() {
    let (writer, receiver) = stuck();
    writer.try_append_event(event()).unwrap();
    let limit = Duration::from_millis(50);
    let (answer, flushed) = std::sync::mpsc::channel();
    let flushing = writer.clone();
    std::thread::spawn(move || answer.send(flushing.flush(limit)));
    assert_eq!(flushed.recv_timeout(Duration::from_secs(60)), Ok(None));
    drop(receiver);
    assert_eq!(writer.flush(Duration::from_secs(60)), None, "nobody is there");
}
