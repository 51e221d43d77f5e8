//! What a stranger finds in Kafka, and what must hold for it.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value as Json;

use crate::support::{root, tool};

/// One record as the foreign consumer prints it.
#[derive(Debug, Clone)]
pub struct Received {
    pub edge: String,
    pub key: String,
    pub partition: i64,
    pub kafka_offset: i64,
    pub epoch: String,
    pub offset: u64,
    pub value: Json,
}

/// Reads a topic from the beginning with confluent-kafka, committed records only, until nothing
/// comes for 6 seconds.
pub fn read(brokers: &str, topic: &str) -> Vec<Received> {
    let output = Command::new(tool("python/bin/python"))
        .arg(root().join("tests/peers/consume.py"))
        .args(["--brokers", brokers, "--idle", "6", topic])
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| parse(&serde_json::from_str(line).expect("a JSON object"))).collect()
}

fn parse(line: &Json) -> Received {
    let header = |name: &str| {
        line["headers"][name].as_str().unwrap_or_else(|| panic!("no header {name}: {line}")).to_owned()
    };
    Received {
        edge: header("edge"),
        key: line["key"].as_str().expect("a key").to_owned(),
        partition: line["partition"].as_i64().expect("a partition"),
        kafka_offset: line["kafka_offset"].as_i64().expect("an offset"),
        epoch: header("epoch"),
        offset: header("offset").parse().expect("a number"),
        value: serde_json::from_str(line["value"].as_str().expect("a value")).expect("JSON inside"),
    }
}

/// Every offset from 0 on once, no hole, no repetition; returns how many.
pub fn assert_complete(topic: &str, records: &[Received]) -> usize {
    assert!(records.iter().all(|record| record.edge == "box-e2e"));
    let mut offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
    offsets.sort_unstable();
    let lost: Vec<u64> = (0..offsets.last().map_or(0, |last| last + 1))
        .filter(|offset| offsets.binary_search(offset).is_err())
        .collect();
    let doubled = offsets.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let epochs: std::collections::BTreeSet<&str> =
        records.iter().map(|record| record.epoch.as_str()).collect();
    assert_eq!(epochs.len(), 1, "{topic}: one journal, one epoch: {epochs:?}");
    println!("{topic}: {} records, {} lost, {doubled} doubled", records.len(), lost.len());
    assert!(lost.is_empty() && doubled == 0, "{topic}: lost {lost:?}, doubled {doubled}");
    offsets.len()
}

/// Records of one device in the order of Kafka; must be the order of the journal.
pub fn of_device(records: &[Received], device: &str) -> Vec<Received> {
    let suffix = format!("/{device}");
    let mut own: Vec<Received> =
        records.iter().filter(|record| record.key.ends_with(&suffix)).cloned().collect();
    own.sort_by_key(|record| (record.partition, record.kafka_offset));
    let partitions: std::collections::BTreeSet<i64> = own.iter().map(|record| record.partition).collect();
    assert!(partitions.len() <= 1, "one key, one partition: {partitions:?}");
    assert!(own.windows(2).all(|pair| pair[0].offset < pair[1].offset), "{device}: order kept");
    own
}

/// All samples of a device: tag → values with edge times (microseconds) in order.
pub fn samples(records: &[Received], device: &str) -> BTreeMap<String, Vec<(i64, Json)>> {
    let mut tags: BTreeMap<String, Vec<(i64, Json)>> = BTreeMap::new();
    for record in of_device(records, device) {
        assert_eq!(record.value["device"], record.key);
        let edge_us = time_us(&record.value["edge_time"]);
        for sample in record.value["samples"].as_array().expect("samples") {
            assert_eq!(sample["quality"], "good", "{sample}");
            let tag = sample["tag"].as_str().expect("a tag").to_owned();
            tags.entry(tag).or_default().push((edge_us, sample["value"].clone()));
        }
    }
    tags
}

/// From and to of each gap of a device, microseconds.
pub fn gaps(events: &[Received], device: &str) -> Vec<(i64, i64, String)> {
    let own = of_device(events, device);
    let gaps = own.iter().filter(|event| event.value["kind"] == "gap");
    gaps.map(|event| {
        let data = &event.value["data"];
        (time_us(&data["from"]), time_us(&data["to"]), data["cause"].as_str().unwrap_or_default().to_owned())
    })
    .collect()
}

/// RFC 3339 to microseconds since 1970.
pub fn time_us(time: &Json) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_microsecond()
}
