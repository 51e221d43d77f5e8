//! Brokers that are upgraded, whose disk is full, and that slow us down on purpose.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::time::{Duration, Instant};

use forebay::replicate::Options;

use super::super::lanes::{EPOCH, Memory, assert_exactly_once, numbered};
use super::super::{options, start, wait_state};
use super::Load;
use crate::kafka_cluster::{Cluster, Plan, consume};
use crate::support::{PATIENCE, wait_for};

/// Catching up, on a machine that does other things as well.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// As in an upgrade: one broker after the other is shut down in order, stays away for a while, and
/// comes back; the next one goes when it has caught up.
#[test]
fn a_rolling_restart_as_in_an_upgrade_is_not_noticed_by_readers() {
    let mut cluster = Cluster::shared();
    let prefix = "rolling";
    cluster.create_topics(prefix);
    let source = Memory::new("telemetry", EPOCH);
    let replicator = start(options(&cluster, prefix), &source, "boot-a");
    let load = Load::start(&source, 1000);
    load.progress("the first records", 100);
    let begin = Instant::now();
    for broker in 0..3 {
        cluster.shut_down(broker);
        load.progress("records while a broker is away", 500);
        cluster.restart(broker);
        cluster.wait_in_sync(&format!("{prefix}.telemetry"));
        cluster.wait_in_sync(&format!("{prefix}.checkpoints"));
    }
    load.progress("records after the upgrade", 500);
    let took = begin.elapsed();
    let total = load.stop();
    source.wait_committed(total, CATCH_UP_MAX);
    let done = replicator.status().snapshot();
    replicator.join();
    println!("{total} records over an upgrade of {took:?}, {} transactions given up", done.aborts);
    let read = consume(&cluster.brokers(), &[&format!("{prefix}.telemetry")], true, Duration::from_secs(3));
    assert_exactly_once(&read, total);
}

/// The broker's disk fills up and the broker ends; somebody makes room and starts it again.
#[test]
fn a_full_disk_of_the_broker_is_waited_for() {
    const DISK_MIB: u32 = 48;
    let _quiet = Cluster::no_other();
    let mut cluster = Cluster::start_by(Plan { brokers: 1, disk_mib: Some(DISK_MIB), ..Plan::default() });
    let prefix = "full";
    cluster.create_topics(prefix);
    let source = Memory::new("telemetry", EPOCH);
    let options = Options { transaction_timeout: Duration::from_secs(10), ..options(&cluster, prefix) };
    let replicator = start(options, &source, "boot-a");
    let mut random = fastrand::Rng::with_seed(11);
    let mut total = 0;
    wait_for("the end of the broker", CATCH_UP_MAX, || {
        // What zstd cannot shrink, so that it is soon over; no more than the line takes.
        while total < source.committed_to() + 400 {
            let (key, value) = numbered(total);
            let noise: String = (0..8000).map(|_| random.alphanumeric()).collect();
            let value = value.replace("\"pad\":\"", &format!("\"noise\":\"{noise}\",\"pad\":\""));
            source.push(&key, forebay::clock::now_us(), value.as_bytes());
            total += 1;
        }
        cluster.has_ended(0).then_some(())
    });
    let at_the_end = source.committed_to();
    let state = wait_state(&replicator, "waiting", PATIENCE);
    assert!(state.to_string().contains("kept on disk"), "{state}");
    println!(
        "the broker ended with {at_the_end} of {total} records and {} bytes: {state}",
        cluster.disk_bytes(0)
    );
    assert!(at_the_end > 0 && at_the_end < total);
    cluster.resize_disk(0, 1024);
    cluster.restart(0);
    cluster.wait_complete();
    source.wait_committed(total, CATCH_UP_MAX);
    wait_state(&replicator, "up", PATIENCE);
    replicator.join();
    let read = consume(&cluster.brokers(), &[&format!("{prefix}.telemetry")], true, Duration::from_secs(3));
    assert_exactly_once(&read, total);
}

/// IT lets the box write only so many bytes a second. It is slower, and nothing else: a transaction
/// must not grow beyond what goes through within its timeout.
#[test]
fn a_quota_makes_it_slower_and_nothing_else() {
    /// For each broker.
    const BYTES_PER_S: u32 = 50_000;
    const RECORDS: u64 = 15_000;
    let cluster = Cluster::shared();
    let prefix = "quota";
    cluster.create_topics(prefix);
    let source = Memory::new("telemetry", EPOCH);
    let mut options = Options {
        edge: "box-1".to_owned(),
        transaction_timeout: Duration::from_secs(10),
        ..options(&cluster, prefix)
    };
    options.commit_interval = Duration::from_millis(100);
    let quota = |change: &[&str]| {
        let who = ["--alter", "--entity-type", "clients", "--entity-name", "forebay-box-1"];
        cluster.tool(0, "kafka.admin.ConfigCommand", &[&who, change].concat())
    };
    quota(&["--add-config", &format!("producer_byte_rate={BYTES_PER_S}")]);
    let mut random = fastrand::Rng::with_seed(5);
    for offset in 0..RECORDS {
        let (key, value) = numbered(offset);
        let noise: String = (0..300).map(|_| random.alphanumeric()).collect();
        let value = value.replace("\"pad\":\"", &format!("\"noise\":\"{noise}\",\"pad\":\""));
        source.push(&key, forebay::clock::now_us(), value.as_bytes());
    }
    let begin = Instant::now();
    let replicator = start(options, &source, "boot-a");
    let done = wait_for("everything in spite of the quota", CATCH_UP_MAX, || {
        let now = replicator.status().snapshot();
        assert_ne!(now.state.code(), "refused", "{now:?}");
        (source.committed_to() >= RECORDS).then_some(now)
    });
    let took = begin.elapsed();
    replicator.join();
    quota(&["--delete-config", "producer_byte_rate"]);
    println!(
        "{RECORDS} records in {took:?} under a quota of {BYTES_PER_S} bytes/s for each of three brokers, {} \
         transactions, {} given up",
        done.transactions, done.aborts
    );
    assert!(took > Duration::from_secs(5), "the quota did nothing: {took:?}");
    let read = consume(&cluster.brokers(), &[&format!("{prefix}.telemetry")], true, Duration::from_secs(3));
    assert_exactly_once(&read, RECORDS);
}
