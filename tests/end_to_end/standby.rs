//! Two boxes, one machine: who reads it, and what a stranger sees of that in Kafka.

use std::net::UdpSocket;

use super::gateway::Gateway;
use super::plant::{self, Server, Values};
use super::received::{self, Received};
use super::{topics, wait_until_read, wait_until_sent};
use crate::kafka_cluster::Cluster;
use crate::support::{PATIENCE, wait_for};

/// A box with this id and this `[standby]`.
fn gateway(id: &str, standby: &str, (brokers, prefix): (&str, &str), servers: &[Server]) -> Gateway {
    let gateway = Gateway::new(brokers, prefix, "60s", servers);
    gateway.set("id = \"box-e2e\"", &format!("id = \"{id}\""));
    let standby = format!("[standby]\nsecret = \"credential:standby\"\n{standby}\n");
    gateway.set("[paths]\n", &format!("{standby}[paths]\ncredentials = \".\"\n"));
    gateway.add("standby", "a secret of both boxes\n");
    gateway.check();
    gateway
}

fn wait_for_state(gateway: &Gateway, state: &str) {
    wait_for(&format!("state {state}"), PATIENCE, || {
        (gateway.status()?["machines"][0]["state"] == state).then_some(())
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
    let mut active = gateway("box-a", &format!("answer_on = \"127.0.0.1:{port}\""), kafka, &servers);
    let of = format!("of = \"box-a\"\nask = \"127.0.0.1:{port}\"\nafter = \"2s\"");
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

    wait_until_sent(&active, PATIENCE);
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
