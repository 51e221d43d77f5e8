//! The promise under fire: the gateway's process, brokers and network fail at random, all at once,
//! and what arrives in Kafka is exactly what was journalled.
//!
//! `cargo test --test forebay chaos::` runs it as the test command does.
//! `FOREBAY_CHAOS_KILLS=2000` makes it longer, `FOREBAY_CHAOS_SEED=…` repeats a run's decisions,
//! `FOREBAY_BIN=…` tries another binary.

pub mod counter;
mod daemon;
mod judge;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::counter::{Counter, TAGS};
use self::daemon::{Backfill, Daemon, EDGE};
use self::judge::{Device, Evidence, Findings};
use self::trouble::{Curtain, Scene, Tally};
use crate::kafka_cluster::{Cluster, Plan, consume_each};
use crate::network::{End, Network};
use crate::support::{PATIENCE, wait_for};

const PREFIX: &str = "pulled";
/// Kills of the daemon, and samples, at least.
const KILLS: u32 = 100;
const SAMPLES: usize = 1_000_000;
/// Kills of brokers, for each hundred of the daemon.
const BROKER_KILLS: u32 = 30;
/// The catching up at the end, on a machine that does other things as well.
const CATCH_UP_MAX: Duration = Duration::from_secs(180);

/// The broker forgets producers after ten seconds, so that an outage can last longer.
const BROKER_SETTINGS: &str = "transactional.id.expiration.ms=10000
transaction.remove.expired.transaction.cleanup.interval.ms=1000
producer.id.expiration.ms=10000
producer.id.expiration.check.interval.ms=1000
auto.leader.rebalance.enable=true
leader.imbalance.check.interval.seconds=5
leader.imbalance.per.broker.percentage=0
";

#[test]
fn a_million_samples_through_kills_of_everything_arrive_once_and_in_order() {
    let _quiet = Cluster::no_other();
    let seed = number("FOREBAY_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let kills = number("FOREBAY_CHAOS_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap());
    println!("FOREBAY_CHAOS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let network = Network::start(3);
    let plan = Plan { brokers: 3, network: Some(&network), settings: BROKER_SETTINGS, ..Plan::default() };
    let cluster = Cluster::start_by(plan);
    cluster.create_topics(PREFIX);
    let counters = ["press", "filler", "meter"].map(Counter::start);
    let brokers = cluster.brokers();
    let mut daemon = Daemon::new(&brokers, PREFIX, &counters);
    let scene = Scene {
        cluster: Mutex::new(cluster),
        network: Mutex::new(&network),
        tally: Tally::default(),
        over: AtomicBool::new(false),
    };

    let begin = Instant::now();
    start_and_deliver(&mut daemon);
    let daemon_kills = std::thread::scope(|scope| {
        let _curtain = Curtain(&scene.over);
        let [mut of_brokers, mut of_network] = [random.fork(), random.fork()];
        let scene = &scene;
        let troubles =
            scope.spawn(move || scene.trouble_brokers(&mut of_brokers, BROKER_KILLS * kills.div_ceil(100)));
        scope.spawn(move || scene.trouble_network(&mut of_network));
        scope.spawn(|| scene.count_leader_moves(&brokers, PREFIX));
        let mut done = 0;
        while done < kills || !troubles.is_finished() || samples(&counters) < SAMPLES + SAMPLES / 20 {
            // The first half in order, so that order holds over all of it; then a life like this
            // and one like that.
            let is_second_half = done >= kills / 2;
            let live_first = is_second_half && random.bool();
            let next = if live_first { Backfill::LiveFirst } else { Backfill::InOrder };
            live_and_die(&mut daemon, &mut random, next);
            done += 1;
            if done == kills / 2 {
                outage_longer_than_the_broker_remembers(&mut daemon, scene);
            }
            if done.is_multiple_of(20) {
                let brokers = scene.tally.broker_kills.load(Ordering::SeqCst);
                let (seconds, samples) = (begin.elapsed().as_secs(), samples(&counters));
                println!("{seconds:>4} s: {done} kills, {brokers} of brokers, {samples} samples read");
            }
        }
        done
    });
    scene.end();
    println!("{:>4} s: all is well again", begin.elapsed().as_secs());
    // A device that the last life reads for the first time when it does not count any more would look
    // like one reading twice.
    let before = counters.each_ref().map(Counter::count);
    wait_for("another reading of each device", PATIENCE, || {
        counters.iter().zip(before).all(|(counter, before)| counter.count() > before).then_some(())
    });
    counters.iter().for_each(Counter::freeze);
    wait_for("empty backlog", CATCH_UP_MAX, || (daemon.backlog()? == 0).then_some(()));
    daemon.stop();
    println!("{:>4} s: everything is sent", begin.elapsed().as_secs());

    let topics = [format!("{PREFIX}.telemetry"), format!("{PREFIX}.events")];
    let topics = [topics[0].as_str(), topics[1].as_str()];
    let idle = Duration::from_secs(3);
    let mut evidence = Evidence::default();
    consume_each(&brokers, &topics, true, idle, |record| evidence.add(&record, topics[0]));
    let mut attempts = 0;
    consume_each(&brokers, &topics, false, idle, |_| attempts += 1);
    attempts -= evidence.records();
    evidence.add_journal(&daemon.kept("telemetry"), &daemon.kept("events"));
    let devices: Vec<Device> = counters.iter().map(Device::of).collect();
    let findings = evidence.judge(&devices);
    print_table(&findings, &scene.tally, daemon_kills, attempts, begin.elapsed());
    assert_eq!(findings.complaints(), "", "FOREBAY_CHAOS_SEED={seed}");
    assert!(findings.samples >= SAMPLES, "{} samples", findings.samples);
    assert!(attempts > 0, "no attempt was given up: the kills proved nothing");
    the_judge_notices_every_mistake(&evidence, &devices);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text} is no number")))
}

/// Samples that the devices have given, whether or not anybody got them.
fn samples(counters: &[Counter]) -> usize {
    counters.iter().map(|counter| counter.count() as usize * TAGS).sum()
}

/// The very first life begins in peace and lasts until every device was read and something is in
/// Kafka: before that there is nothing that could be lost.
fn start_and_deliver(daemon: &mut Daemon) {
    daemon.start();
    wait_for("first commit", PATIENCE, || {
        let numbers = daemon.status()?["to_it"]["numbers"].clone();
        (numbers["committed_records"].as_u64()? > 10).then_some(())
    });
}

/// One life of the daemon: kill -9 at a random moment, and a new start.
fn live_and_die(daemon: &mut Daemon, random: &mut fastrand::Rng, next: Backfill) {
    std::thread::sleep(Duration::from_millis(random.u64(200..3200)));
    assert!(daemon.runs(), "forebay ended by itself:\n{}", daemon.log());
    daemon.kill();
    // Now and then it stays away for a while.
    if random.u8(0..8) == 0 {
        std::thread::sleep(Duration::from_millis(random.u64(0..2000)));
    }
    daemon.configure(next);
    daemon.start();
}

/// The line is cut in the middle of the work, until the brokers have forgotten the producers.
fn outage_longer_than_the_broker_remembers(daemon: &mut Daemon, scene: &Scene<'_>) {
    let cluster = scene.cluster();
    let network = scene.network();
    cluster.wait_complete();
    wait_for("nearly empty backlog", CATCH_UP_MAX, || (daemon.backlog()? < 100).then_some(()));
    let begin = Instant::now();
    for broker in (0..3).map(End::Broker) {
        network.cut(End::Host, broker);
        network.cut(broker, End::Host);
    }
    let list = || cluster.tool(0, "org.apache.kafka.tools.TransactionsCommand", &["list"]);
    let ours = format!(".{EDGE}.");
    wait_for("the brokers to forget the producers", PATIENCE * 2, || (!list().contains(&ours)).then_some(()));
    println!("outage of {} s, longer than the brokers remember a producer", begin.elapsed().as_secs());
    let waiting = daemon.backlog().unwrap_or_default();
    assert!(waiting > 100, "only {waiting} records waited for the end of the outage");
    network.heal();
    wait_for("the same process to catch up", CATCH_UP_MAX, || (daemon.backlog()? < 100).then_some(()));
    assert!(daemon.runs(), "forebay ended by itself:\n{}", daemon.log());
}

fn print_table(findings: &Findings, tally: &Tally, kills: u32, attempts: usize, time: Duration) {
    let count = |number: &std::sync::atomic::AtomicU32| number.load(Ordering::SeqCst).to_string();
    let rows = [
        ("samples in Kafka", findings.samples.to_string()),
        ("telemetry records", findings.records.to_string()),
        ("of them marked as backfill", findings.backfilled.to_string()),
        ("events", findings.events.to_string()),
        ("kill -9 of the daemon", kills.to_string()),
        ("kill -9 of a broker", count(&tally.broker_kills)),
        ("brokers paused", count(&tally.pauses)),
        ("leader moves seen", count(&tally.leader_moves)),
        ("lines cut", count(&tally.partitions)),
        ("outage longer than producers are remembered", 1.to_string()),
        ("records of aborted attempts (read_uncommitted)", attempts.to_string()),
        ("lost", findings.lost.len().to_string()),
        ("doubled", findings.doubled.len().to_string()),
        ("out of order", findings.disordered.len().to_string()),
        ("gaps, all explained", findings.gaps_explained.to_string()),
        ("gaps unexplained", findings.unexplained.len().to_string()),
        ("readings that no disk had yet, inside those gaps", findings.scans_in_gaps.to_string()),
        ("seconds", time.as_secs().to_string()),
    ];
    for (what, number) in rows {
        println!("| {what:<50} | {number:>9} |");
    }
}

/// A proof must be able to fail: the same evidence, spoilt.
fn the_judge_notices_every_mistake(evidence: &Evidence, devices: &[Device]) {
    let spoil: BTreeMap<&str, fn(&mut Evidence)> = [
        ("lost", (|it| drop(it.scans.remove(1000))) as fn(&mut Evidence)),
        ("doubled", |it| it.scans.push(it.scans[1000].clone())),
        ("out of order", |it| it.scans.swap(1000, 1500)),
        ("unexplained", |it| it.events.retain(|(_, event)| event["kind"] != "gap")),
        ("the last", |it| {
            let last = it.scans.iter().map(|scan| scan.offset).max();
            it.scans.retain(|scan| Some(scan.offset) != last);
        }),
        ("wrong", |it| it.scans[1000].edge_us += 1),
    ]
    .into();
    for (complaint, mistake) in spoil {
        let mut spoilt = evidence.clone();
        mistake(&mut spoilt);
        let said = spoilt.judge(devices).complaints();
        assert!(said.contains(complaint), "{complaint} is not noticed: {said:?}");
    }
}
