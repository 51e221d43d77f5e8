//! kill -9 of the replicator and of brokers, while it works.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay::clock::now_us;
use forebay::replicate::{Backfill, Line, Options, Replicator, Source};

use super::lanes::{Generator, Growing, assert_exactly_once, assert_once_each_in_order, numbered};
use crate::kafka_cluster::{Cluster, consume};
use crate::support::{root, wait_for};

const CHILD: &str = "FOREBAY_TEST_REPLICATOR";
/// With live data first: what is old at the start, and how fast more comes in.
const OLD: u64 = 20_000;
const PERIOD_US: i64 = 1_000;

/// Without the variable: the generator gives the same from every offset. With it: this process
/// is the replicator that gets killed.
#[test]
fn child_replicates_what_the_generator_gives() {
    let mut generator = Generator::new(1000);
    generator.seek(998).unwrap();
    assert_eq!(generator.next(Duration::ZERO).unwrap().unwrap().value, numbered(998).1.as_bytes());
    assert_eq!(generator.next(Duration::ZERO).unwrap().unwrap().offset, 999);
    assert_eq!(generator.next(Duration::ZERO).unwrap(), None);
    let Ok(order) = std::env::var(CHILD) else { return };
    let order: Vec<&str> = order.split('|').collect();
    let [brokers, prefix, total] = order[..3] else { panic!("{order:?}") };
    let total = total.parse().unwrap();
    let (generator, backfill) = match order.get(3) {
        None => (Generator::new(total), Backfill::InOrder),
        Some(since_us) => {
            let growing = Growing { since_us: since_us.parse().unwrap(), old: OLD, period_us: PERIOD_US };
            let live_first = Backfill::LiveFirst { after: Duration::from_secs(1), window: None };
            (Generator::growing(total, growing), live_first)
        }
    };
    let options = Options {
        backfill,
        line: Arc::new(Line::new(None, 0.25)),
        transaction_records_max: 500,
        transaction_timeout: Duration::from_secs(10),
        commit_interval: Duration::from_millis(20),
        ..Options::new(brokers, prefix, "werk1", "box-1")
    };
    let boot = format!("pid-{}", std::process::id());
    let _runs = Replicator::start(options, generator, &boot, None).unwrap();
    // Ends with the test that started it, however that ends.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    std::process::exit(1);
}

struct Killed {
    child: Child,
    committed: Arc<AtomicU64>,
}

impl Killed {
    fn spawn(order: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kafka::kill::child_replicates_what_the_generator_gives", "--nocapture"])
            .env(CHILD, order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let committed = Arc::new(AtomicU64::new(0));
        let output = BufReader::new(child.stdout.take().unwrap());
        let seen = Arc::clone(&committed);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(offset) = line.strip_prefix("committed ").and_then(|text| text.parse().ok()) {
                    seen.store(offset, Ordering::SeqCst);
                }
            }
        });
        Self { child, committed }
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Child::kill is SIGKILL: no destructor and no flush runs in the child.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The promise itself: kill -9 the replicator at random, kill and pause brokers meanwhile.
#[test]
fn kill_9_of_replicator_and_brokers_loses_and_doubles_nothing() {
    const KILLS: u32 = 24;
    let total = 150_000;
    let mut cluster = Cluster::shared();
    cluster.create_topics("chaos");
    let order = format!("{}|chaos|{total}", cluster.brokers());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut kills, mut highest, mut broker) = (0, 0, 0);
    let begin = Instant::now();
    while kills < KILLS {
        let child = Killed::spawn(&order);
        // Killed while it works, so after its first commit and before its last.
        let before = highest;
        wait_for("progress", Duration::from_secs(180), || (child.committed() > before).then_some(()));
        match kills % 6 {
            1 => cluster.kill(broker),
            2 => cluster.restart(broker),
            3 => cluster.pause(broker),
            _ => {}
        }
        // As long as there is enough left for the kills to come, and never more.
        let share = (total - before) / u64::from(KILLS - kills);
        let until = Instant::now() + Duration::from_millis(random.u64(0..600));
        while Instant::now() < until && child.committed() < before + share {
            std::thread::sleep(Duration::from_millis(random.u64(0..3)));
        }
        highest = highest.max(child.committed());
        drop(child);
        kills += 1;
        if kills % 6 == 4 {
            cluster.resume(broker);
            broker = (broker + 1) % 3;
        }
        assert!(highest < total, "nothing is left to kill: raise the total");
    }
    (0..3).for_each(|index| cluster.resume(index));
    println!("{kills} kills in {:?}, committed {highest}", begin.elapsed());
    let child = Killed::spawn(&order);
    wait_for("the rest", Duration::from_secs(300), || (child.committed() >= total).then_some(()));
    drop(child);

    let topics = ["chaos.telemetry"];
    let read = consume(&cluster.brokers(), &topics, true, Duration::from_secs(3));
    let all = consume(&cluster.brokers(), &topics, false, Duration::from_secs(3)).len();
    println!("{} read_committed, {all} read_uncommitted, {:?} in all", read.len(), begin.elapsed());
    assert_exactly_once(&read, total);
    assert!(all > read.len(), "no attempt was given up: the kills came too late to prove anything");
    assert_eq!(documented_proof(&cluster, "chaos", "read_committed", total), "");
    assert_ne!(
        documented_proof(&cluster, "chaos", "read_uncommitted", total),
        "",
        "the proof must be able to fail"
    );
}

/// The same with fresh data first: each kill makes another outage while the backlog of the ones
/// before is still being sent.
#[test]
fn kill_9_while_a_backlog_is_sent_beside_live_data_loses_and_doubles_nothing() {
    const KILLS: u32 = 8;
    let total = 50_000;
    let cluster = Cluster::shared();
    cluster.create_topics("beside");
    let order = format!("{}|beside|{total}|{}", cluster.brokers(), now_us());
    let mut random = fastrand::Rng::new();
    println!("seed {}", random.get_seed());
    let mut highest = 0;
    for _ in 0..KILLS {
        let child = Killed::spawn(&order);
        wait_for("progress", Duration::from_secs(180), || (child.committed() > highest).then_some(()));
        let until = Instant::now() + Duration::from_millis(random.u64(0..300));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(random.u64(0..3)));
        }
        highest = child.committed();
        assert!(highest < total, "nothing is left to kill: raise the total");
    }
    let child = Killed::spawn(&order);
    wait_for("the rest", Duration::from_secs(300), || (child.committed() >= total).then_some(()));
    drop(child);
    let topics = ["beside.telemetry"];
    let read = consume(&cluster.brokers(), &topics, true, Duration::from_secs(3));
    let all = consume(&cluster.brokers(), &topics, false, Duration::from_secs(3)).len();
    let late = read.iter().filter(|record| record.headers.contains_key("delivery")).count();
    println!("{} read_committed, {late} of them backfilled; {all} read_uncommitted", read.len());
    assert_once_each_in_order(&read, total);
    assert!(all > read.len(), "no attempt was given up: the kills came too late to prove anything");
    assert!(late as u64 > OLD && (late as u64) < total, "some of each kind");
    assert_eq!(documented_proof(&cluster, "beside", "read_committed", total), "");
}

/// What the command of docs/kafka.md prints for this prefix, without the count of records in its last line.
/// It is run again when brokers that were away a moment ago have not given it all `total`.
fn documented_proof(cluster: &Cluster, prefix: &str, isolation: &str, total: u64) -> String {
    let text = std::fs::read_to_string(root().join("docs/kafka.md")).unwrap();
    let section = text.split_once("### Proving it").unwrap().1;
    let command = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let command = command.replace("forebay.telemetry", &format!("{prefix}.telemetry"));
    let command = command.replace("read_committed", isolation);
    wait_for("all records by the documented command", Duration::from_secs(120), || {
        let done =
            Command::new("bash").args(["-c", &command]).env("broker", cluster.brokers()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout).unwrap();
        let looked_at = said.lines().last().and_then(|line| line.strip_suffix(" records looked at"));
        let looked_at: u64 = looked_at.unwrap_or_else(|| panic!("no count: {said}")).parse().unwrap();
        let faults = said.trim_end().rsplit_once('\n').map_or("", |(faults, _)| faults);
        (looked_at >= total).then(|| faults.to_owned())
    })
}
