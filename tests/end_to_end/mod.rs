//! From foreign controllers through the forebay process into real Kafka, read by a stranger.

pub mod gateway;
mod page;
pub mod plant;
mod received;
mod standby;

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::kafka_cluster::{Cluster, SharedCluster};
use crate::support::{PATIENCE, wait_for};
use gateway::Gateway;
use plant::{Server, Values};
use received::{assert_complete, gaps, of_device, read, samples};

/// Steps of values in the calm test.
const STEPS: u16 = 12;
/// Times forebay is killed in the stormy test.
const KILLS: usize = 20;
/// Transactions end after this long without a word; the long outage lasts longer.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A hole in the values of a device that is scanned every 100 ms and changes every time; longer when
/// the plant itself was slow.
const HOLE_MIN_US: i64 = 1_500_000;
/// An answer that was under way when its server was killed has its time from when it was read.
const UNDER_WAY_US: i64 = 1_000_000;
/// Clocks of test and box are the same; this is what starting takes.
const SLACK_US: i64 = 300_000;

/// Time during which a device could not be read, microseconds since 1970: forebay was killed (all
/// devices) or the device's server was.
#[derive(Debug, Clone, Copy)]
struct Away {
    server: Option<usize>,
    from_us: i64,
    to_us: i64,
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn topics(prefix: &str) -> [String; 2] {
    [format!("{prefix}.telemetry"), format!("{prefix}.events")]
}

/// Waits until the page's API says that nothing waits to be sent.
fn wait_until_sent(gateway: &Gateway, limit: Duration) {
    wait_for("empty backlog", limit, || {
        let status = gateway.status()?;
        (status["to_it"]["numbers"]["backlog_records"].as_u64()? == 0).then_some(())
    });
}

/// Waits until what the servers hold now has been read.
fn wait_until_read(gateway: &Gateway, servers: &[Server]) {
    for server in servers {
        let what = format!("{:?} of {} on its page", server.held(), server.name);
        wait_for(&what, PATIENCE, || gateway.shows(server)?.then_some(()));
    }
}

#[test]
fn a_stranger_reads_exactly_what_the_servers_held() {
    let cluster = Cluster::shared();
    let prefix = "calm";
    cluster.create_topics(prefix);
    let mut servers = plant::start(Values::step(0));
    let mut gateway = Gateway::new(&cluster.brokers(), prefix, "60s", &servers);
    gateway.check();
    gateway.start();
    // A step before the one before it was read by every device would not be seen.
    wait_until_read(&gateway, &servers);
    for step in 1..STEPS {
        servers.iter_mut().for_each(|server| server.set(Values::step(step)));
        wait_until_read(&gateway, &servers);
    }
    wait_until_sent(&gateway, PATIENCE);
    gateway.stop();

    let [telemetry, _] = topics(prefix);
    let records = read(&cluster.brokers(), &telemetry);
    assert_complete(&telemetry, &records);
    for server in &servers {
        let samples = samples(&records, server.name);
        let values =
            |tag: &str| -> Vec<Json> { samples[tag].iter().map(|(_, value)| value.clone()).collect() };
        let steps: Vec<Values> = (0..STEPS).map(Values::step).collect();
        let expected = |value: fn(&Values) -> Json| -> Vec<Json> { steps.iter().map(value).collect() };
        assert_eq!(values("e2e.count"), expected(|step| step.count.into()), "{}", server.name);
        assert_eq!(values("e2e.state"), expected(|step| step.state.into()), "{}", server.name);
        assert_eq!(values("e2e.running"), expected(|step| step.running.into()), "{}", server.name);
        let levels: Vec<f32> = values("e2e.level").iter().map(as_f32).collect();
        assert_eq!(levels, steps.iter().map(|step| step.level).collect::<Vec<_>>(), "{}", server.name);
    }
}

/// JSON numbers of REAL tags are the shortest that give the same 32 bits.
#[allow(clippy::cast_possible_truncation)]
fn as_f32(value: &Json) -> f32 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number")) as f32
}

#[test]
fn nothing_is_lost_or_doubled_while_everything_is_pulled_apart() {
    let mut cluster = Cluster::shared();
    let prefix = "storm";
    cluster.create_topics(prefix);
    let mut servers = plant::start(Values::step(0));
    let seconds = TRANSACTION_TIMEOUT.as_secs();
    let mut gateway = Gateway::new(&cluster.brokers(), prefix, &format!("{seconds}s"), &servers);
    gateway.check();
    gateway.start();
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let mut count = 1000;
    let (mut away, mut still) = (Vec::new(), Vec::new());
    let mut slowest = Duration::ZERO;
    for round in 0..KILLS {
        let trouble = Trouble::of_round(round);
        let before_us = now_us();
        trouble.begin(&mut cluster, &mut servers);
        let began_us = now_us();
        still.push(before_us..began_us);
        let mut time = Duration::from_millis(random.u64(1200..3500));
        if trouble == Trouble::AllBrokersAway {
            time += TRANSACTION_TIMEOUT + Duration::from_secs(5);
        }
        slowest = slowest.max(run_plant(&mut servers, &mut count, time));
        assert!(gateway.runs(), "forebay ended by itself in round {round}:\n{}", gateway.log());
        // Some troubles end before the kill, some after the next start.
        let ends_before = random.bool();
        let mut ended_us = now_us();
        if ends_before {
            trouble.end(&mut cluster, &mut servers);
            still.push(ended_us..now_us());
        }
        gateway.kill();
        let killed_us = now_us();
        if !ends_before {
            ended_us = now_us();
            trouble.end(&mut cluster, &mut servers);
        }
        away.push(Away { server: None, from_us: killed_us, to_us: now_us() });
        gateway.start();
        if let Trouble::ServerGone(index) = trouble {
            away.push(Away { server: Some(index), from_us: began_us, to_us: ended_us });
        }
    }
    slowest = slowest.max(run_plant(&mut servers, &mut count, Duration::from_secs(8)));
    wait_until_read(&gateway, &servers);
    wait_until_sent(&gateway, Duration::from_secs(180));
    gateway.stop();
    println!("the plant took at most {slowest:?} from one count to the next");
    let slowest_us = i64::try_from(slowest.as_micros()).expect("seconds");
    judge(&cluster, prefix, &servers, HOLE_MIN_US + 3 * slowest_us, &away, &still);
}

/// What is wrong besides the kill of forebay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    BrokerKilled(usize),
    BrokerPaused(usize),
    AllBrokersAway,
    ServerGone(usize),
}

impl Trouble {
    fn of_round(round: usize) -> Self {
        match round % 8 {
            1 | 5 => Self::BrokerKilled(round % 3),
            2 => Self::BrokerPaused((round + 1) % 3),
            3 => Self::ServerGone(0),
            4 => Self::ServerGone(1),
            6 if round < 8 => Self::AllBrokersAway,
            6 => Self::ServerGone(2),
            7 => Self::ServerGone(3),
            _ => Self::None,
        }
    }

    fn begin(self, cluster: &mut SharedCluster, servers: &mut [Server]) {
        match self {
            Self::None => {}
            Self::BrokerKilled(index) => cluster.kill(index),
            Self::BrokerPaused(index) => cluster.pause(index),
            Self::AllBrokersAway => (0..3).for_each(|index| cluster.kill(index)),
            Self::ServerGone(index) => servers[index].kill(),
        }
    }

    fn end(self, cluster: &mut SharedCluster, servers: &mut [Server]) {
        match self {
            Self::None => {}
            Self::BrokerKilled(index) => cluster.restart(index),
            Self::BrokerPaused(index) => cluster.resume(index),
            Self::AllBrokersAway => (0..3).for_each(|index| cluster.restart(index)),
            Self::ServerGone(index) => servers[index].restart(),
        }
    }
}

/// Counts up on all servers every 50 ms; the longest time from one count to the next.
fn run_plant(servers: &mut [Server], count: &mut u32, time: Duration) -> Duration {
    let end = Instant::now() + time;
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let begun = Instant::now();
        *count += 1;
        let values = Values { count: *count, ..Values::step(1) };
        servers.iter_mut().for_each(|server| server.set(values));
        std::thread::sleep(Duration::from_millis(50));
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

/// While the plant was `still`, because a broker or server took its time to start, no value changed, and
/// nothing had to be stored.
fn judge(
    cluster: &Cluster,
    prefix: &str,
    servers: &[Server],
    hole_min_us: i64,
    away: &[Away],
    still: &[Range<i64>],
) {
    let [telemetry, events] = topics(prefix);
    let records = read(&cluster.brokers(), &telemetry);
    let events_read = read(&cluster.brokers(), &events);
    assert_complete(&telemetry, &records);
    assert_complete(&events, &events_read);
    for (index, server) in servers.iter().enumerate() {
        let samples = samples(&records, server.name);
        let counts = &samples["e2e.count"];
        let values: Vec<u64> = counts.iter().map(|(_, value)| value.as_u64().expect("UDINT")).collect();
        assert!(
            values.windows(2).all(|pair| pair[0] <= pair[1]),
            "{}: the counter never runs back",
            server.name
        );
        assert_eq!(
            values.last(),
            Some(&u64::from(server.held().count)),
            "{}: the last value is there",
            server.name
        );
        let gaps = gaps(&events_read, server.name);
        let states = |from_us: i64, to_us: i64| {
            gaps.iter().any(|(from, to, _)| *from <= from_us + UNDER_WAY_US && *to >= to_us - SLACK_US)
        };
        let own = away.iter().filter(|away| away.server.is_none_or(|server| server == index));
        for away in own {
            assert!(
                states(away.from_us, away.to_us),
                "{}: no gap record for {away:?}: {gaps:#?}",
                server.name
            );
        }
        let times: Vec<i64> = of_device(&records, server.name)
            .iter()
            .map(|record| received::time_us(&record.value["edge_time"]))
            .collect();
        let counted_us = |pair: &[i64]| {
            let still_us = still.iter().map(|it| (it.end.min(pair[1]) - it.start.max(pair[0])).max(0));
            pair[1] - pair[0] - still_us.sum::<i64>()
        };
        for hole in times.windows(2).filter(|pair| counted_us(pair) > hole_min_us) {
            assert!(
                states(hole[0], hole[1]),
                "{}: no gap record for the hole {hole:?}: {gaps:#?}",
                server.name
            );
        }
        println!("{}: {} values, {} gap records", server.name, values.len(), gaps.len());
    }
}
