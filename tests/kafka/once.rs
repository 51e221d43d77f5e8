//! Without transactions: nothing is lost, and little is there twice.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::collections::HashMap;
use std::time::Duration;

use forebay::replicate::{Mode, Options, mock};

use super::lanes::{EPOCH, Memory};
use super::start;
use crate::kafka_cluster::{Consumed, consume};
use crate::support::{PATIENCE, wait_for};

/// The broker goes away and comes back while records are sent, the box restarts. With and without
/// an idempotent producer: all arrive, those that are there twice have the same headers, and each
/// device's records are in order apart from these repetitions.
#[test]
fn without_transactions_nothing_is_lost_and_order_holds() {
    const TOTAL: u64 = 4_000;
    for is_idempotent in [true, false] {
        let broker = mock::Broker::start("alo").unwrap();
        if !is_idempotent {
            broker.without_idempotence().unwrap();
        }
        // Each transaction takes a while, so that the fault comes in the middle of one.
        broker.slow(Duration::from_millis(50)).unwrap();
        let source = Memory::new("telemetry", EPOCH);
        let options = || Options {
            mode: Mode::AtLeastOnce,
            transaction_records_max: 200,
            transaction_timeout: Duration::from_secs(5),
            commit_interval: Duration::from_millis(5),
            ..Options::new(broker.bootstrap(), "alo", "werk1", "box-1")
        };
        let mut replicator = start(options(), &source, "boot-0");
        let mut aborts = 0;
        for round in 1..=4 {
            source.push_numbered(TOTAL / 4);
            let wanted = round * (TOTAL / 4);
            wait_for("work to interrupt", PATIENCE, || {
                (source.committed_to() > wanted - TOTAL / 4).then_some(())
            });
            if round % 2 == 0 {
                broker.down().unwrap();
                // Longer than anything waits for it: what was sent is given up and sent again.
                let status = replicator.status();
                let before = status.snapshot().aborts;
                wait_for("given up", PATIENCE, || (status.snapshot().aborts > before).then_some(()));
                aborts += 1;
                broker.up().unwrap();
            } else {
                replicator.join();
                replicator = start(options(), &source, &format!("boot-{round}"));
            }
            source.wait_committed(wanted, PATIENCE);
        }
        assert_eq!(aborts, 2);
        replicator.join();
        let read = consume(broker.bootstrap(), &["alo.telemetry"], true, Duration::from_secs(2));
        let doubled = assert_nothing_lost(&read, TOTAL);
        println!("idempotent {is_idempotent}: {doubled} of {TOTAL} twice, {aborts} attempts given up");
        assert!(doubled <= 4 * 200, "at most one transaction's worth for each fault");
    }
}

/// Each offset at least once; the first arrivals of each device in order. Returns how many came twice.
fn assert_nothing_lost(read: &[Consumed], total: u64) -> u64 {
    let mut places: Vec<&Consumed> = read.iter().collect();
    places.sort_by_key(|record| (record.partition, record.kafka_offset));
    let mut seen = vec![false; usize::try_from(total).unwrap()];
    let mut last: HashMap<&str, u64> = HashMap::new();
    for record in places {
        let offset = record.offset();
        if std::mem::replace(&mut seen[usize::try_from(offset).unwrap()], true) {
            continue;
        }
        let device = record.key.as_deref().unwrap();
        let before = last.insert(device, offset);
        assert!(before < Some(offset), "{device}: {before:?} then {offset}");
    }
    assert!(seen.iter().all(|seen| *seen), "lost");
    read.len() as u64 - total
}
