//! A second cluster for the time when the first is away.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::sync::Arc;
use std::time::Duration;

use forebay::replicate::{Fallback, Line, Options, ReplicationControl, Replicator};

use super::lanes::{EPOCH, Kept, Memory, assert_exactly_once};
use super::{options, start, wait_state};
use crate::kafka_cluster::{Cluster, consume};
use crate::support::{PATIENCE, wait_for};

fn wait_second(replicator: &Replicator, next_offset: u64) {
    let status = replicator.fallback_status().unwrap();
    wait_for(&format!("second cluster at {next_offset}"), PATIENCE, || {
        (status.snapshot().next_offset >= Some(next_offset)).then_some(())
    });
}

/// Two outages of the first cluster, a restart in the second one. The second cluster gets what
/// the first lacks, the first gets everything when it is back, and in each it is there once.
#[test]
fn a_second_cluster_has_what_the_first_lacks_and_each_has_it_once() {
    let first = Cluster::shared();
    let second = Cluster::start(1);
    first.create_topics("dr");
    second.create_topics("dr");
    let kept: Arc<Kept> = Arc::default();
    let options = || {
        let control = Arc::new(ReplicationControl::remembering(kept.clone()));
        let line = Arc::new(Line::new(None, 0.5));
        let both = |options: Options| Options { control: control.clone(), line: line.clone(), ..options };
        let fallback =
            Fallback { options: Box::new(both(options(&second, "dr"))), after: Duration::from_secs(1) };
        let first = Options { transaction_timeout: Duration::from_secs(10), ..options(&first, "dr") };
        Options { fallback: Some(fallback), ..both(first) }
    };
    let away = || (0..3).for_each(|index| first.pause(index));
    let back = || (0..3).for_each(|index| first.resume(index));
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(200);
    let replicator = start(options(), &source, "boot-a");
    source.wait_committed(200, PATIENCE);

    away();
    source.push_numbered(300);
    wait_second(&replicator, 500);
    assert_eq!(source.committed_to(), 200, "trimmed is only behind the first");
    assert_eq!(source.secured_to(), 500);
    back();
    source.wait_committed(500, PATIENCE);
    let status = replicator.fallback_status().unwrap();
    wait_for("standby", PATIENCE, || (status.snapshot().state.code() == "standby").then_some(()));
    source.push_numbered(100);
    source.wait_committed(600, PATIENCE);
    assert_eq!(status.snapshot().records, 300, "the first is back: nothing more for the second");
    replicator.join();

    // The box restarts while the first is away, and knows all the same what that has.
    away();
    let replicator = start(options(), &source, "boot-b");
    source.push_numbered(100);
    wait_second(&replicator, 700);
    assert_eq!(replicator.fallback_status().unwrap().snapshot().records, 100);
    back();
    source.wait_committed(700, PATIENCE);
    wait_state(&replicator, "up", PATIENCE);
    replicator.join();

    let read = consume(&first.brokers(), &["dr.telemetry"], true, Duration::from_secs(2));
    assert_exactly_once(&read, 700);
    let read = consume(&second.brokers(), &["dr.telemetry"], true, Duration::from_secs(2));
    let mut offsets: Vec<u64> = read.iter().map(|record| record.offset()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (200..500).chain(600..700).collect::<Vec<_>>(), "once, and only what was lacking");
}
