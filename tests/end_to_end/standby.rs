//! Two boxes, one machine: who reads it, and what a stranger sees of that in Kafka.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use super::gateway::Gateway;
use super::plant::{self, Server, Values};
use super::received::{self, Received};
use super::{topics, wait_until_read, wait_until_sent};
use crate::kafka_cluster::{Cluster, Consumed, consume};
use crate::support::{PATIENCE, wait_for};

const SECRET: &str = "secret = \"credential:standby\"\n";

/// A box with this id and this `[standby]`.
fn gateway(id: &str, standby: &str, (brokers, prefix): (&str, &str), servers: &[Server]) -> Gateway {
    let gateway = Gateway::new(brokers, prefix, "60s", servers);
    gateway.set("id = \"box-e2e\"", &format!("id = \"{id}\""));
    gateway.set("[paths]\n", &format!("[standby]\n{standby}\n[paths]\ncredentials = \".\"\n"));
    gateway.add("standby", "a secret of both boxes\n");
    gateway.check();
    gateway
}

fn wait_for_state(gateway: &Gateway, state: &str) {
    wait_for(&format!("state {state}"), PATIENCE, || {
        (gateway.status()?["machines"][0]["state"] == state).then_some(())
    });
}

/// Waits until a stranger has got what this box has read: what is only on its page is not yet on its disk.
fn wait_until_received((brokers, prefix): (&str, &str), edge: &str, values: Values) {
    let [telemetry, _] = topics(prefix);
    wait_for(&format!("{values:?} of {edge} in Kafka"), PATIENCE, || {
        let records = received::read(brokers, &telemetry);
        let of_edge: Vec<_> = records.into_iter().filter(|record| record.edge == edge).collect();
        counts(&of_edge).contains(&values.count.into()).then_some(())
    });
}

fn counts(records: &[Received]) -> Vec<u64> {
    let samples = records.iter().flat_map(|record| record.value["samples"].as_array().into_iter().flatten());
    let counts = samples.filter(|sample| sample["tag"].as_str().is_some_and(|tag| tag.ends_with("count")));
    counts.filter_map(|sample| sample["value"].as_u64()).collect()
}

#[test]
fn a_standby_reads_while_the_active_box_is_gone_and_marks_what_it_writes() {
    let (cluster, prefix) = (Cluster::shared(), "two-boxes");
    cluster.create_topics(prefix);
    let brokers = cluster.brokers();
    let kafka = (brokers.as_str(), prefix);
    let mut servers = vec![Server::start("meter", plant::Kind::Modbus, Values::step(0))];
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let answer = format!("{SECRET}answer_on = \"127.0.0.1:{port}\"");
    let mut active = gateway("box-a", &answer, kafka, &servers);
    let of = format!("{SECRET}of = \"box-a\"\nask = \"127.0.0.1:{port}\"\nafter = \"2s\"");
    let mut standby = gateway("box-b", &of, kafka, &servers);
    active.start();
    wait_until_read(&active, &servers);
    standby.start();
    wait_for_state(&standby, "standing-by");
    servers[0].set(Values::step(1));
    wait_until_read(&active, &servers);
    let waiting = standby.status().expect("its page");
    assert_eq!(
        (&waiting["machines"][0]["requests"], &waiting["machines"][0]["connects"]),
        (&0.into(), &0.into())
    );

    wait_until_received(kafka, "box-a", Values::step(1));
    active.kill();
    wait_for_state(&standby, "up");
    servers[0].set(Values::step(2));
    wait_until_read(&standby, &servers);

    active.start();
    wait_for_state(&standby, "standing-by");
    servers[0].set(Values::step(3));
    wait_until_read(&active, &servers);
    for gateway in [&mut active, &mut standby] {
        wait_until_sent(gateway, PATIENCE);
        gateway.stop();
    }

    let [telemetry, events] = topics(prefix).map(|topic| received::read(&brokers, &topic));
    let (by_standby, by_active): (Vec<_>, Vec<_>) = telemetry.into_iter().partition(|it| it.edge == "box-b");
    assert!(by_standby.iter().all(|record| record.value["standby_for"] == "box-a"));
    assert!(by_active.iter().all(|record| record.value.get("standby_for").is_none()));
    let [of_active, of_standby] = [&by_active, &by_standby].map(|records| counts(records));
    let count = |step| u64::from(Values::step(step).count);
    assert!([0, 1, 3].iter().all(|step| of_active.contains(&count(*step))), "{of_active:?}");
    assert!(of_standby.contains(&count(2)) && !of_standby.contains(&count(0)), "{of_standby:?}");
    let told = |what: &str| {
        events.iter().filter(|it| it.edge == "box-b" && it.value["data"]["what"] == what).count()
    };
    assert_eq!((told("standby-reads"), told("standby-waits")), (1, 1));
    let gaps = events.iter().filter(|it| it.edge == "box-b" && it.value["kind"] == "gap").count();
    assert_eq!(gaps, 0, "the time in which the other box reads is no gap of the standby");
}

/// The local network between two boxes, which can be cut.
struct Network {
    port: u16,
    is_whole: Arc<AtomicBool>,
}

impl Network {
    /// Carries questions to the active box at `to`, and its answers back.
    fn to(to: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("its address").port();
        let is_whole = Arc::new(AtomicBool::new(true));
        let carries = Arc::clone(&is_whole);
        std::thread::spawn(move || {
            let (mut datagram, mut standby) = ([0; 512], None);
            // Where the active box is down, its system says so to this socket.
            loop {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
                let target = if from.port() == to {
                    standby
                } else {
                    standby = Some(from);
                    Some(([127, 0, 0, 1], to).into())
                };
                if let Some(target) = target.filter(|_| carries.load(Ordering::SeqCst)) {
                    let _sent = socket.send_to(&datagram[..length], target);
                }
            }
        });
        Self { port, is_whole }
    }

    fn cut(&self) {
        self.is_whole.store(false, Ordering::SeqCst);
    }
}

/// Waits until the standby says this of the active box: heartbeat, lease, whether it reads.
fn wait_until_said(standby: &Gateway, heartbeat: Option<&str>, lease: &str, reads: bool) {
    wait_for(&format!("heartbeat {heartbeat:?}, lease {lease}, reads {reads}"), PATIENCE, || {
        let said = standby.status()?["standby"].clone();
        (said["heartbeat"].as_str() == heartbeat && said["lease"] == lease && said["reads"] == reads)
            .then_some(())
    });
}

/// Those that are there now; they never stop, so that a pause between two is waited for only.
fn leases(brokers: &str, prefix: &str) -> Vec<Consumed> {
    consume(brokers, &[&format!("{prefix}.leases")], true, Duration::from_millis(400))
}

#[test]
fn a_standby_keeps_still_while_the_lease_in_kafka_holds_and_steps_in_when_both_are_gone() {
    let (cluster, prefix) = (Cluster::shared(), "leases");
    cluster.create_topics(prefix);
    let brokers = cluster.brokers();
    let kafka = (brokers.as_str(), prefix);
    let mut servers = vec![Server::start("meter", plant::Kind::Modbus, Values::step(0))];
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let network = Network::to(port);
    let answer = format!("{SECRET}answer_on = \"127.0.0.1:{port}\"\nlease = \"6s\"");
    let mut active = gateway("box-a", &answer, kafka, &servers);
    let ask = format!(
        "{SECRET}of = \"box-a\"\nask = \"127.0.0.1:{}\"\nlease = \"6s\"\nafter = \"2s\"",
        network.port
    );
    let mut standby = gateway("box-b", &ask, kafka, &servers);
    active.start();
    wait_until_read(&active, &servers);
    standby.start();
    wait_until_said(&standby, Some("lives"), "lives", false);

    // Only the local network is cut: the lease is renewed again and again, and nobody steps in.
    network.cut();
    wait_until_said(&standby, Some("gone"), "lives", false);
    let before = leases(&brokers, prefix).len();
    wait_for("further leases", PATIENCE, || {
        assert_eq!(standby.status()?["standby"]["reads"], false, "the lease holds");
        (leases(&brokers, prefix).len() >= before + 4).then_some(())
    });
    let waiting = standby.status().expect("its page");
    assert_eq!(
        (&waiting["machines"][0]["requests"], &waiting["machines"][0]["connects"]),
        (&0.into(), &0.into())
    );

    // Both are gone.
    servers[0].set(Values::step(1));
    wait_until_read(&active, &servers);
    wait_until_received(kafka, "box-a", Values::step(1));
    active.kill();
    wait_until_said(&standby, Some("gone"), "gone", true);
    servers[0].set(Values::step(2));
    wait_until_read(&standby, &servers);

    // The lease alone is back, and that is enough.
    active.start();
    wait_until_said(&standby, Some("gone"), "lives", false);
    wait_for_state(&standby, "standing-by");
    servers[0].set(Values::step(3));
    wait_until_read(&active, &servers);

    // Kafka cannot be asked from the standby: the heartbeat decides, and both read.
    (0..3).for_each(|broker| cluster.pause(broker));
    wait_until_said(&standby, Some("gone"), "unknown", true);
    let told = standby.status().expect("its page")["standby"].clone();
    assert!(told["lease_cause"].as_str().is_some_and(|why| !why.is_empty()), "{told}");
    servers[0].set(Values::step(4));
    for gateway in [&active, &standby] {
        wait_until_read(gateway, &servers);
    }
    (0..3).for_each(|broker| cluster.resume(broker));
    wait_until_said(&standby, Some("gone"), "lives", false);
    for gateway in [&mut active, &mut standby] {
        wait_until_sent(gateway, PATIENCE);
        gateway.stop();
    }

    let [telemetry, events] = topics(prefix).map(|topic| received::read(&brokers, &topic));
    let (by_standby, by_active): (Vec<_>, Vec<_>) = telemetry.into_iter().partition(|it| it.edge == "box-b");
    assert!(by_standby.iter().all(|record| record.value["standby_for"] == "box-a"));
    assert!(by_active.iter().all(|record| record.value.get("standby_for").is_none()));
    let [of_active, of_standby] = [&by_active, &by_standby].map(|records| counts(records));
    let count = |step| u64::from(Values::step(step).count);
    assert!([0, 1, 3, 4].iter().all(|step| of_active.contains(&count(*step))), "{of_active:?}");
    assert!([2, 4].iter().all(|step| of_standby.contains(&count(*step))), "{of_standby:?}");
    // What the meter held when the standby began, it has read.
    assert!(!of_standby.contains(&count(0)), "{of_standby:?}");
    for records in [&by_active, &by_standby] {
        // The lease does not disturb what is exactly once.
        let epoch = &records[0].epoch;
        assert!(records.iter().all(|record| record.epoch == *epoch));
        let mut offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
        offsets.sort_unstable();
        assert!(offsets.iter().copied().eq(0..records.len() as u64), "{offsets:?}");
    }
    let told = |what: &str| -> Vec<&Json> {
        let told = events.iter().filter(|it| it.edge == "box-b" && it.value["data"]["what"] == what);
        told.map(|it| &it.value["data"]["lease"]).collect()
    };
    assert_eq!(told("standby-reads"), ["gone", "unknown"]);
    assert_eq!(told("standby-waits"), ["lives", "lives"]);
}

#[test]
fn boxes_that_cannot_see_each_other_go_by_the_lease_alone() {
    let (cluster, prefix) = (Cluster::shared(), "lease-alone");
    cluster.create_topics(prefix);
    let brokers = cluster.brokers();
    let kafka = (brokers.as_str(), prefix);
    let mut servers = vec![Server::start("meter", plant::Kind::Modbus, Values::step(0))];
    let mut active = gateway("box-a", "lease = \"20s\"", kafka, &servers);
    let mut standby = gateway("box-b", "of = \"box-a\"\nlease = \"20s\"\nafter = \"2s\"", kafka, &servers);
    active.start();
    wait_until_read(&active, &servers);
    standby.start();
    wait_until_said(&standby, None, "lives", false);
    // It says goodbye: nobody waits for its last lease to run out.
    active.stop();
    let last = leases(&brokers, prefix).pop().expect("leases");
    assert_eq!((last.key.as_deref(), last.partition), (Some("box-a"), 0));
    assert_eq!(last.json()["valid_ms"], 0);
    wait_until_said(&standby, None, "gone", true);
    servers[0].set(Values::step(1));
    wait_until_read(&standby, &servers);
    active.start();
    wait_until_said(&standby, None, "lives", false);
    wait_for_state(&standby, "standing-by");
    for gateway in [&mut active, &mut standby] {
        gateway.stop();
    }

    let written = leases(&brokers, prefix);
    let boots: std::collections::BTreeSet<String> =
        written.iter().map(|lease| lease.json()["boot"].as_str().expect("a boot").to_owned()).collect();
    assert_eq!(boots.len(), 2, "one for each start");
    let settings = cluster.tool(
        0,
        "kafka.admin.ConfigCommand",
        &["--describe", "--all", "--entity-type", "topics", "--entity-name", &format!("{prefix}.leases")],
    );
    assert!(settings.contains("cleanup.policy=compact "), "{settings}");
    let [telemetry, _] = topics(prefix).map(|topic| received::read(&brokers, &topic));
    let marked: Vec<_> = telemetry.into_iter().filter(|it| it.edge == "box-b").collect();
    assert!(!marked.is_empty() && marked.iter().all(|record| record.value["standby_for"] == "box-a"));
}
