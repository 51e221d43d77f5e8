//! From a lane on disk to Kafka.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay::batch::{Batch, Sample};
use forebay::clock::now_us;
use forebay::device::Device;
use forebay::event::{Event, Events, Kind};
use forebay::lane::{Lane, LaneOptions, LaneWriter, Opened};
use forebay::replicate::{Backfill, JournalSource, Line, Options, Replicator};
use forebay_connector::{Quality, Scalar, Value};
use serde_json::json;

use super::lanes::assert_once_each_in_order;
use super::options;
use crate::device::device;
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, wait_for};

fn open(lane: &str, directory: &Path) -> Opened {
    let options = LaneOptions {
        sync_interval: Duration::from_millis(5),
        ..LaneOptions::new(lane, directory, "Site/box")
    };
    Lane::open(options, Events::new().0).unwrap()
}

fn wait_next(replicator: &Replicator, next_offset: u64) {
    let status = replicator.status();
    wait_for(&format!("commit of {next_offset}"), PATIENCE, || {
        (status.snapshot().next_offset >= Some(next_offset)).then_some(())
    });
}

/// Record `serial` of two machines that take turns.
fn append(writer: &LaneWriter, machines: &[Arc<Device>; 2], serial: i64, edge_us: i64) {
    let machine = &machines[usize::try_from(serial % 2).unwrap()];
    let good = |tag, value| Sample { tag, value, quality: Quality::Good, source_us: None };
    let samples = vec![good(0, Value::Int(serial)), good(1, Value::Real(41.2))];
    let batch = Batch { device: Arc::clone(machine), edge_us, samples, gap: None };
    // A full queue gives the batch back.
    let mut waiting = Some(batch);
    wait_for("place in the lane's queue", PATIENCE, || {
        waiting = writer.try_append(waiting.take()?).err();
        waiting.is_none().then_some(())
    });
}

/// Fresh data first from a lane on disk: its segments stay as long as something in them or before
/// them waits, also over a restart of the box, and go when it was sent.
#[test]
fn segments_stay_until_the_backlog_before_them_was_sent() {
    const OLD: i64 = 3_000;
    let cluster = Cluster::shared();
    cluster.create_topics("disk");
    let folder = tempfile::tempdir().unwrap();
    let machines = ["press-1", "press-2"].map(|name| device(name, &[Scalar::Lint, Scalar::Real]));
    let open = || {
        let small = LaneOptions {
            segment_bytes: 4 << 10,
            sync_interval: Duration::from_millis(5),
            ..LaneOptions::new("telemetry", folder.path(), "Site/box")
        };
        Lane::open(small, Events::new().0).unwrap()
    };
    let start = |reader, boot: &str, records| {
        let options = Options {
            backfill: Backfill::LiveFirst { after: Duration::from_secs(60), window: None },
            transaction_records_max: records,
            commit_interval: Duration::from_millis(20),
            line: Arc::new(Line::new(None, 0.25)),
            ..options(&cluster, "disk")
        };
        Replicator::start(options, JournalSource::new("telemetry", reader), boot, None).unwrap()
    };
    let Opened { lane, writer, reader, .. } = open();
    (0..OLD).for_each(|serial| append(&writer, &machines, serial, now_us() - 3_600_000_000));
    writer.flush(PATIENCE).unwrap();
    // So few at once that the rest is still there at the restart.
    let replicator = start(reader, "boot-a", 40);
    wait_next(&replicator, OLD.unsigned_abs());
    (OLD..OLD + 100).for_each(|serial| append(&writer, &machines, serial, now_us()));
    wait_next(&replicator, OLD.unsigned_abs() + 100);
    let seen = replicator.status().snapshot();
    assert!(seen.backlog.is_some(), "the backlog went too fast for this test");
    replicator.join();
    assert_eq!(lane.close(), 0);

    let Opened { lane, writer, reader, recovery, .. } = open();
    assert!(recovery.damages.is_empty());
    let lane_status = writer.status();
    let first = lane_status.borrow().first_offset;
    assert!(Some(first) <= seen.complete_below, "{first} was trimmed, {seen:?}");
    let replicator = start(reader, "boot-b", 2_000);
    let total = OLD.unsigned_abs() + 100;
    wait_for("everything in Kafka", PATIENCE, || {
        (replicator.status().snapshot().complete_below >= Some(total)).then_some(())
    });
    wait_for("room on the disk", PATIENCE, || {
        (lane_status.borrow().first_offset > first + 1_000).then_some(())
    });
    replicator.join();
    lane.close();
    let read = consume(&cluster.brokers(), &["disk.telemetry"], true, Duration::from_secs(3));
    assert_once_each_in_order(&read, total);
    for record in &read {
        assert_eq!(record.json()["samples"][0]["value"], json!(record.offset()));
        let is_old = record.offset() < OLD.unsigned_abs();
        assert_eq!(record.headers.get("delivery").is_some_and(|it| it == "backfill"), is_old);
    }
}

/// Two runs of the box over the same journal: everything arrives once, with its values.
#[test]
fn what_was_journalled_arrives_once() {
    const BATCHES: i64 = 1000;
    let cluster = Cluster::shared();
    cluster.create_topics("journalled");
    let folder = tempfile::tempdir().unwrap();
    let machines = ["press-1", "press-2"].map(|name| device(name, &[Scalar::Lint, Scalar::Real]));
    for run in 0..2 {
        let Opened { lane, writer, reader, .. } = open("telemetry", folder.path());
        let source = JournalSource::new("telemetry", reader);
        let replicator =
            Replicator::start(options(&cluster, "journalled"), source, &format!("boot-{run}"), None).unwrap();
        for serial in run * BATCHES..(run + 1) * BATCHES {
            append(&writer, &machines, serial, now_us());
        }
        wait_next(&replicator, u64::try_from((run + 1) * BATCHES).unwrap());
        replicator.join();
        assert_eq!(lane.close(), 0);
    }
    let read = consume(&cluster.brokers(), &["journalled.telemetry"], true, Duration::from_secs(3));
    let mut offsets: Vec<u64> = read.iter().map(Consumed::offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..2 * BATCHES.unsigned_abs()).collect::<Vec<_>>());
    for record in &read {
        let serial = record.offset();
        let machine = &machines[usize::try_from(serial % 2).unwrap()];
        assert_eq!(record.key.as_deref(), Some(machine.path.as_str()));
        let value = record.json();
        assert_eq!(value["profile"], "test-machine@1.0");
        let expected = json!([
            {"tag": "group0.tag0", "value": serial, "unit": "°C", "quality": "good"},
            {"tag": "group0.tag1", "value": 41.2, "unit": "°C", "quality": "good"},
        ]);
        assert_eq!(value["samples"], expected);
    }
}

#[test]
fn events_keep_their_json_and_go_under_their_device() {
    let cluster = Cluster::shared();
    cluster.create_topics("told");
    let folder = tempfile::tempdir().unwrap();
    let Opened { lane, writer, reader, .. } = open("events", folder.path());
    let edge_time = now_us() / 1000 * 1000;
    let event = Event {
        kind: Kind::Gap,
        edge_time,
        device: "Site/Line1/press-1".to_owned(),
        text: "no values for 3 s".to_owned(),
        data: json!({"cause": "timeout"}),
    };
    let source = JournalSource::new("events", reader);
    let replicator = Replicator::start(options(&cluster, "told"), source, "boot-a", None).unwrap();
    writer.try_append_event(event.clone()).unwrap();
    wait_next(&replicator, 1);
    replicator.join();
    lane.close();
    let read = consume(&cluster.brokers(), &["told.events"], true, Duration::from_secs(3));
    let [record] = &read[..] else { panic!("{read:?}") };
    assert_eq!(record.json(), serde_json::to_value(&event).unwrap());
    assert_eq!(record.key.as_deref(), Some("Site/Line1/press-1"));
    assert_eq!(record.timestamp * 1000, edge_time);
}
