//! Fresh data first, the backlog beside it; bandwidth, daily window, pause.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::clock::now_us;
use forebay::replicate::{Backfill, DailyWindow, Line, Options, ReplicationControl, Replicator, mock};

use super::lanes::{EPOCH, Kept, Memory, assert_once_each_in_order, numbered};
use super::{options, start, wait_state};
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, wait_for};

const HOUR_US: i64 = 3_600_000_000;

fn live_first() -> Backfill {
    Backfill::LiveFirst { after: Duration::from_secs(30), window: None }
}

/// Numbered records that were read an hour ago.
fn push_old(source: &Memory, count: u64) {
    for _ in 0..count {
        let (key, value) = numbered(source.len());
        source.push(&key, now_us() - HOUR_US, value.as_bytes());
    }
}

fn wait_live(replicator: &Replicator, next_offset: u64) {
    let status = replicator.status();
    wait_for(&format!("live data up to {next_offset}"), PATIENCE, || {
        (status.snapshot().next_offset >= Some(next_offset)).then_some(())
    });
}

/// How many records wait in the backlog.
fn backlog(replicator: &Replicator) -> u64 {
    replicator.status().snapshot().backlog.map_or(0, |backlog| backlog.records)
}

/// Two outages, the second before the backlog of the first was sent; a restart; brokers that go
/// away for longer than the transaction timeout. Fresh data never waits for the backlog.
#[test]
fn live_goes_first_and_everything_arrives_once() {
    let cluster = Cluster::shared();
    cluster.create_topics("live");
    let source = Memory::new("telemetry", EPOCH);
    let options = || Options {
        backfill: live_first(),
        transaction_timeout: Duration::from_secs(10),
        transaction_records_max: 40,
        commit_interval: Duration::from_millis(20),
        line: Arc::new(Line::new(None, 0.25)),
        ..options(&cluster, "live")
    };
    push_old(&source, 1_500);
    let replicator = start(options(), &source, "boot-a");
    wait_live(&replicator, 1_500);
    source.push_numbered(50);
    wait_live(&replicator, 1_550);
    let left = backlog(&replicator);
    assert!((1..1_500).contains(&left), "live did not wait for the backlog: {left} left");
    assert!(source.committed_to() < 1_500, "what waits must not be trimmed");
    replicator.join();

    // The box was off; more has come in since, and is old when it starts.
    push_old(&source, 500);
    let replicator = start(options(), &source, "boot-b");
    wait_live(&replicator, 2_050);
    source.push_numbered(50);
    wait_live(&replicator, 2_100);
    let left = backlog(&replicator);
    assert!(left > 500, "both ranges wait: {left} left");

    (0..3).for_each(|index| cluster.pause(index));
    wait_state(&replicator, "waiting", PATIENCE);
    source.push_numbered(50);
    let paused = Instant::now();
    wait_for("end of the outage", PATIENCE, || (paused.elapsed() > Duration::from_secs(9)).then_some(()));
    (0..3).for_each(|index| cluster.resume(index));
    source.wait_committed(2_150, Duration::from_secs(120));
    let status = replicator.status().snapshot();
    assert_eq!(status.backlog, None);
    println!("{status:?}");
    replicator.join();

    let read = consume(&cluster.brokers(), &["live.telemetry"], true, Duration::from_secs(3));
    assert_once_each_in_order(&read, 2_150);
    let late = |record: &&Consumed| record.headers.get("delivery").is_some_and(|it| it == "backfill");
    let backfilled: Vec<u64> = read.iter().filter(late).map(Consumed::offset).collect();
    assert_eq!(backfilled.len(), 2_000, "exactly what was old");
    assert!(backfilled.iter().all(|offset| *offset < 1_500 || (1_550..2_050).contains(offset)));

    // Back to in-order with a backlog left: that is drained first, so order holds from then on.
    push_old(&source, 300);
    let replicator = start(options(), &source, "boot-c");
    wait_live(&replicator, 2_450);
    replicator.join();
    let left = 2_450 - source.committed_to();
    assert!(left > 0, "the backlog went too fast for this test");
    source.push_numbered(50);
    let in_order = Options { backfill: Backfill::InOrder, ..options() };
    let replicator = start(in_order, &source, "boot-d");
    source.wait_committed(2_500, PATIENCE);
    replicator.join();
    let read = consume(&cluster.brokers(), &["live.telemetry"], true, Duration::from_secs(3));
    assert_once_each_in_order(&read, 2_500);
}

/// A line with a limit carries what it was told, and live data does not wait for the backlog.
#[test]
fn the_bandwidth_holds_and_the_backlog_takes_its_share() {
    const BITS_PER_S: u64 = 200_000;
    let cluster = Cluster::shared();
    cluster.create_topics("slow");
    let source = Memory::new("telemetry", EPOCH);
    // Digits that zstd can only halve.
    let mut random = fastrand::Rng::with_seed(7);
    for offset in 0..6_000_u64 {
        let pad: String = (0..150).map(|_| random.digit(10)).collect();
        let value = format!("{{\"n\":{offset},\"pad\":\"{pad}\"}}");
        source.push("Werk1/slow", now_us() - HOUR_US, value.as_bytes());
    }
    let options = Options {
        backfill: live_first(),
        line: Arc::new(Line::new(Some(BITS_PER_S), 0.8)),
        commit_interval: Duration::from_millis(500),
        ..options(&cluster, "slow")
    };
    let replicator = start(options, &source, "boot-a");
    let status = replicator.status();
    wait_for("first backlog", PATIENCE, || (status.snapshot().backfilled_records > 0).then_some(()));
    let (begin, before) = (Instant::now(), status.snapshot());
    let mut live = source.len();
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(14) {
        let pushed = Instant::now();
        source.push("Werk1/live", now_us(), br#"{"n":1}"#);
        live += 1;
        wait_live(&replicator, live);
        longest = longest.max(pushed.elapsed());
    }
    let after = status.snapshot();
    let seconds = begin.elapsed().as_secs_f64();
    let rate = 8.0 * (after.wire_bytes - before.wire_bytes) as f64 / seconds;
    let backfilled = after.backfilled_records - before.backfilled_records;
    println!(
        "{rate:.0} of {BITS_PER_S} bit/s in {seconds:.1} s, {backfilled} backfilled, live at most {longest:?} late"
    );
    assert!((0.5..1.2).contains(&(rate / BITS_PER_S as f64)), "{rate} bit/s");
    assert!(longest < Duration::from_secs(5), "live waited {longest:?}");
    let left = after.backlog.unwrap().left_s.unwrap();
    assert!((5.0..120.0).contains(&left), "{left} s");
}

/// Outside its window the backlog waits, live data does not.
#[test]
fn the_backlog_waits_for_its_time_of_day() {
    let broker = mock::Broker::start("window").unwrap();
    let source = Memory::new("telemetry", EPOCH);
    push_old(&source, 500);
    let clock = |hours: i64| {
        let time = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::system());
        time.checked_add(jiff::Span::new().hours(hours)).unwrap().strftime("%H:%M").to_string()
    };
    let window = |from: i64, to: i64| DailyWindow::parse(&format!("{}-{}", clock(from), clock(to)));
    let options = |window| Options {
        backfill: Backfill::LiveFirst { after: Duration::from_secs(30), window },
        commit_interval: Duration::from_millis(20),
        ..Options::new(broker.bootstrap(), "window", "werk1", "box-1")
    };
    let replicator = start(options(window(2, 4)), &source, "boot-a");
    wait_live(&replicator, 500);
    for _ in 0..5 {
        let next = source.len() + 10;
        source.push_numbered(10);
        wait_live(&replicator, next);
    }
    let status = replicator.status().snapshot();
    assert_eq!((status.backfilled_records, source.committed_to()), (0, 0));
    let backlog = status.backlog.unwrap();
    assert_eq!((backlog.records, backlog.waits_for_window, backlog.left_s), (500, true, None));
    replicator.join();
    let replicator = start(options(window(-2, 2)), &source, "boot-b");
    source.wait_committed(550, PATIENCE);
    assert_eq!(replicator.status().snapshot().backlog, None);
}

/// A pause holds over a restart, says whose it is, and ends when someone ends it.
#[test]
fn a_pause_holds_until_someone_resumes_it() {
    let broker = mock::Broker::start("pause").unwrap();
    let kept: Arc<Kept> = Arc::default();
    let source = Memory::new("telemetry", EPOCH);
    let options = || Options {
        control: Arc::new(ReplicationControl::remembering(kept.clone())),
        commit_interval: Duration::from_millis(20),
        ..Options::new(broker.bootstrap(), "pause", "werk1", "box-1")
    };
    let replicator = start(options(), &source, "boot-a");
    source.push_numbered(10);
    source.wait_committed(10, PATIENCE);
    replicator.control().pause("anna").unwrap();
    wait_state(&replicator, "paused", PATIENCE);
    source.push_numbered(10);
    replicator.join();
    let replicator = start(options(), &source, "boot-b");
    let state = wait_state(&replicator, "paused", PATIENCE).to_string();
    assert!(state.contains("paused by anna"), "{state}");
    assert_eq!(source.committed_to(), 10);
    replicator.control().resume().unwrap();
    source.wait_committed(20, PATIENCE);
    wait_state(&replicator, "up", PATIENCE);
    assert!(!replicator.control().is_paused());
}
