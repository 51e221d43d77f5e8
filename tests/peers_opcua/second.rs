//! The same against a second server, node-opcua, where the two may differ: types, logins, sessions,
//! alarms, history.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use forebay_connector::{Connector, DeviceMessage, OptionValue, PollError, Quality, Value};

use super::{device, open, poll_for, tag};
use crate::support::{PATIENCE, Peer};

const SCRIPT: &str = "opcua_node_server.js";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_the_second_server_arrives() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    let uint = Value::Uint;
    let cases = [
        ("BOOL", "Boolean", "true", Value::Bool(true)),
        ("SINT", "SByte", "-128", Value::Int(-128)),
        ("BYTE", "Byte", "255", uint(255)),
        ("INT", "Int16", "-32768", Value::Int(-32_768)),
        ("UINT", "UInt16", "65535", uint(65_535)),
        ("DINT", "Int32", "-2147483648", Value::Int(i32::MIN.into())),
        ("UDINT", "UInt32", "4294967295", uint(u32::MAX.into())),
        ("LINT", "Int64", "\"-9223372036854775808\"", Value::Int(i64::MIN)),
        ("ULINT", "UInt64", "\"18446744073709551615\"", uint(u64::MAX)),
        ("REAL", "Float", "-1.5", Value::Real(-1.5)),
        ("LREAL", "Double", "1.7976931348623157e308", Value::Lreal(f64::MAX)),
        ("TIME", "Double", "1500", Value::Int(1500)),
        ("STRING", "String", "\"Größe 日本\"", Value::Text("Größe 日本".into())),
        ("DATETIME", "DateTime", "\"2026-03-02T01:02:03.004Z\"", Value::DateTime(1_772_413_323_004_000)),
        ("INT[3]", "Int16[]", "[1, -1, 32767]", Value::Array([1, -1, 32_767].map(Value::Int).into())),
        ("LREAL[1]", "Double[]", "[0.1]", Value::Array([Value::Lreal(0.1)].into())),
        (
            "BOOL[2]",
            "Boolean[]",
            "[true, false]",
            Value::Array([Value::Bool(true), Value::Bool(false)].into()),
        ),
        ("ULINT[2]", "UInt64[]", "[\"0\", \"4294967296\"]", Value::Array([uint(0), uint(1 << 32)].into())),
    ];
    let mut tags = Vec::new();
    for (number, (ours, theirs, json, _)) in cases.iter().enumerate() {
        peer.command(&format!("add s=n{number} {theirs} {json}"));
        tags.push(tag(&format!("ns=test;s=n{number}"), ours));
    }
    tags.push(tag("ns=test;s=nowhere", "REAL"));
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    let mut samples = poll_for(&mut connector, cases.len() + 1).await;
    samples.sort_by_key(|sample| sample.tag);
    for ((ours, _, _, value), sample) in cases.iter().zip(&samples) {
        assert_eq!((&sample.value, sample.quality), (value, Quality::Good), "{ours}");
    }
    assert_eq!(samples[cases.len()].quality, Quality::Refused);
    // This server samples by itself, so that not each change is seen; each has the time of its source.
    const START_US: i64 = 4_102_444_800_000_000;
    for number in 1..=20i64 {
        peer.command(&format!("put s=n5 {} {number}", START_US + number * 1000));
    }
    let mut last = 0;
    while last < 20 {
        for sample in poll_for(&mut connector, 1).await {
            let Value::Int(number) = sample.value else { panic!("{sample:?}") };
            assert!(number > last, "{number} after {last}");
            assert_eq!((sample.tag, sample.source_us), (5, Some(START_US + number * 1000)));
            last = number;
        }
    }
    connector.close().await;
    assert_eq!(peer.command("sessions"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_server_takes_every_policy_and_has_room_for_three() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    peer.command("add s=level Float 41.5");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.allow_insecure = false;
    spec.trust = Some(peer.command("fingerprint"));
    let auth = [("user", "forebay"), ("password", "credential:opcua-filler")];
    let auth: BTreeMap<_, _> = auth.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    for policy in ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"] {
        for mode in ["Sign", "SignAndEncrypt"] {
            for user in [false, true] {
                let mut spec = spec.clone();
                spec.options.insert("security".into(), OptionValue::Text(policy.into()));
                spec.options.insert("mode".into(), OptionValue::Text(mode.into()));
                if user {
                    spec.options.insert("auth".into(), OptionValue::Texts(auth.clone()));
                }
                let mut connector = open(&spec);
                connector.connect().await.unwrap_or_else(|error| panic!("{policy} {mode} {user}: {error}"));
                assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Real(41.5), "{policy} {mode}");
                connector.close().await;
            }
        }
    }
    let plain = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    let mut connectors: Vec<_> = (0..3).map(|_| open(&plain)).collect();
    for connector in &mut connectors {
        connector.connect().await.expect("room for three");
    }
    let error = open(&plain).connect().await.expect_err("full");
    assert!(matches!(&error, PollError::Refused { what } if what.contains("BadTooManySessions")), "{error}");
    connectors[0].close().await;
    open(&plain).connect().await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_of_the_second_server_comes_and_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    peer.command("add s=hot Boolean false");
    peer.command("alarm s=hot");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=hot", "BOOL")]);
    spec.options.insert("events".into(), OptionValue::Bool(true));
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    peer.command("set s=hot true");
    let on = until(&mut connector, |m| m.active == Some(true) && m.text == "Oil too hot").await;
    // It writes the number of the namespace into the name.
    assert_eq!((on.kind.as_str(), on.source.trim_start_matches("2:")), ("OffNormalAlarmType", "Filler"));
    assert!(on.condition.starts_with("nsu=urn:forebay:test;") && on.severity == 700, "{on:?}");

    // Its ConditionRefresh answers BadInternalError: an alarm is told all the same.
    peer.command("set s=hot false");
    let off = until(&mut connector, |m| m.active == Some(false) && m.text == "Oil is well").await;
    assert_eq!(off.condition, on.condition);
}

async fn until(connector: &mut Box<dyn Connector>, fits: impl Fn(&DeviceMessage) -> bool) -> DeviceMessage {
    let end = Instant::now() + PATIENCE;
    let mut messages = Vec::new();
    loop {
        connector.poll(&[0], &mut Vec::new()).await.unwrap_or_else(|error| panic!("{error}"));
        connector.take_messages(&mut messages);
        if let Some(found) = messages.iter().find(|message| fits(message)) {
            return found.clone();
        }
        assert!(Instant::now() < end, "not among {messages:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_of_the_second_server_is_read() {
    /// 2100-01-01: behind the first value, because this server takes values in order of time only.
    const START_US: i64 = 4_102_444_800_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    peer.command("add s=a Int32 -1");
    peer.command("add s=b Int32 -1");
    peer.command("record s=a");
    peer.command("record s=b");
    for value in 0..100i64 {
        peer.command(&format!("put s=a {} {value}", START_US + value * 1_000_000));
        peer.command(&format!("put s=b {} {value}", START_US + value * 1_000_000 + 1000));
    }
    let tags = vec![tag("ns=test;s=a", "DINT"), tag("ns=test;s=b", "DINT")];
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    let expected: Vec<_> =
        (10..=80i64).flat_map(|value| [(0, Value::Int(value)), (1, Value::Int(value))]).collect();
    for max in [10_000, 40, 7] {
        let (mut all, mut next) = (Vec::new(), START_US + 10_000_000);
        loop {
            let mut part = Vec::new();
            let read = connector.history(next, START_US + 80_001_000, max, &mut part).await;
            assert_eq!(read, Ok(true), "{max}");
            let Some(last) = part.last().and_then(|sample| sample.source_us) else { break };
            next = last + 1;
            all.extend(part.into_iter().map(|sample| (sample.tag, sample.value)));
        }
        assert_eq!(all, expected, "{max}");
    }
}
