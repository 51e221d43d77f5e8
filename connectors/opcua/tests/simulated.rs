//! The connector against the crate's own simulator.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{PATIENCE, device, open, poll_error, poll_until, reconnect, tag};
use forebay_connector::{OptionValue, Pace, PollError, Protocol, Quality, RawSample, Value};
use forebay_opcua::OpcUa;

fn all_types() -> Vec<(&'static str, Value)> {
    vec![
        ("BOOL", Value::Bool(true)),
        ("BYTE", Value::Uint(0xA5)),
        ("SINT", Value::Int(-100)),
        ("USINT", Value::Uint(200)),
        ("CHAR", Value::Text("ß".into())),
        ("WORD", Value::Uint(0xBEEF)),
        ("INT", Value::Int(-30_000)),
        ("UINT", Value::Uint(60_000)),
        ("DWORD", Value::Uint(0xDEAD_BEEF)),
        ("DINT", Value::Int(-2_000_000_000)),
        ("UDINT", Value::Uint(4_000_000_000)),
        ("TIME", Value::Int(86_400_000)),
        ("LWORD", Value::Uint(u64::MAX)),
        ("LINT", Value::Int(i64::MIN)),
        ("ULINT", Value::Uint(u64::MAX - 1)),
        ("REAL", Value::Real(41.2)),
        ("LREAL", Value::Lreal(-1e300)),
        ("STRING", Value::Text("Flaschenfüller".into())),
        ("STRING[16]", Value::Text("Rezept 7".into())),
        ("WSTRING", Value::Text("充填".into())),
        ("DATETIME", Value::DateTime(1_772_413_323_123_456)),
        ("REAL[3]", Value::Array([Value::Real(1.5), Value::Real(-2.5), Value::Real(0.0)].into())),
        ("BYTE[2]", Value::Array([Value::Uint(1), Value::Uint(255)].into())),
    ]
}

fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("before the year 294246")
}

fn values_of(samples: &[RawSample], tag: u32) -> Vec<Value> {
    samples.iter().filter(|sample| sample.tag == tag).map(|sample| sample.value.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_by_subscription_and_by_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let types = all_types();
    let tags = types
        .iter()
        .enumerate()
        .map(|(number, (name, _))| tag(name, &format!("ns=plc;s=\"DB\".\"{number}\""), name, number % 2))
        .collect();
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", tags);
    let start = Instant::now();
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    println!("simulator started in {:?}", start.elapsed());
    spec.endpoint = simulator.endpoint();
    assert_eq!(OpcUa.check_device(&spec), []);
    for (number, (_, value)) in (0u32..).zip(&types) {
        simulator.set(number, value);
    }
    let mut connector = open(&spec);
    assert!(connector.connect().await.expect("connected").contains("Forebay simulator"));
    let samples =
        poll_until(&mut connector, "one value of each tag", |samples| samples.len() >= types.len()).await;
    let mut read = Vec::new();
    let numbers: Vec<u32> = (0u32..).take(types.len()).collect();
    connector.read(&numbers, &mut read).await.expect("read");
    assert_eq!(read.iter().map(|sample| sample.tag).collect::<Vec<_>>(), numbers);
    for (number, (name, value)) in (0u32..).zip(&types) {
        assert_eq!(values_of(&samples, number), std::slice::from_ref(value), "{name} by subscription");
        assert_eq!(read[number as usize].value, *value, "{name} by read");
    }
    assert!(samples.iter().chain(&read).all(|s| s.quality == Quality::Good && s.source_us.is_some()));
    assert!(connector.requests() > 5);
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_changes_arrive_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("count", "ns=plc;i=7", "DINT", 0)]);
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    poll_until(&mut connector, "the first value", |samples| !samples.is_empty()).await;
    let mut seen = Vec::new();
    for number in 1..=30i64 {
        simulator.set(0, &Value::Int(number));
        let got = poll_until(&mut connector, "the value", |samples| !samples.is_empty());
        seen.extend(got.await);
    }
    assert_eq!(values_of(&seen, 0), (1..=30).map(Value::Int).collect::<Vec<_>>());
    assert!(seen.windows(2).all(|pair| pair[0].source_us <= pair[1].source_us));
    assert!(seen.iter().all(|sample| sample.quality == Quality::Good));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_tags_change_and_nothing_is_missing() {
    const TAGS: u32 = 5000;
    const ROUNDS: u64 = 8;
    let folder = tempfile::tempdir().expect("a folder");
    let tags = (0..TAGS).map(|n| tag(&format!("t{n}"), &format!("ns=plc;i={n}"), "UDINT", 0)).collect();
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", tags);
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    let mut connector = open(&spec);
    let start = Instant::now();
    connector.connect().await.expect("connected");
    println!("{TAGS} tags subscribed in {:?}", start.elapsed());
    let all = |samples: &[RawSample]| samples.len() >= TAGS as usize;
    poll_until(&mut connector, "the first values", all).await;
    for round in 1..=ROUNDS {
        for tag in 0..TAGS {
            simulator.set(tag, &Value::Uint(round));
        }
        let start = Instant::now();
        let mut samples = poll_until(&mut connector, "all values", all).await;
        println!("round {round}: {TAGS} values in {:?}", start.elapsed());
        samples.sort_by_key(|sample| sample.tag);
        let got = samples.iter().map(|sample| (sample.tag, sample.value.clone(), sample.quality));
        assert!(got.eq((0..TAGS).map(|tag| (tag, Value::Uint(round), Quality::Good))), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_tag_harms_only_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let tags = vec![tag("good", "ns=plc;s=good", "REAL", 0), tag("bad", "ns=plc;s=bad", "REAL", 0)];
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", tags);
    let served = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("good", "ns=plc;s=good", "REAL", 0)]);
    let simulator = OpcUa.simulate(&served).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    spec.tags = spec.tags.iter().cloned().chain([tag("other", "ns=other;s=x", "REAL", 0)]).collect();
    if let Some(OptionValue::Texts(namespaces)) = spec.options.get_mut("namespaces") {
        namespaces.insert("other".into(), "urn:not:there".into());
    }
    let mut connector = open(&spec);
    for round in 0..2 {
        connector.connect().await.expect("connected");
        let samples = poll_until(&mut connector, "three samples", |samples| samples.len() >= 3).await;
        let quality = |tag| samples.iter().filter(|s| s.tag == tag).map(|s| s.quality).collect::<Vec<_>>();
        assert_eq!(quality(0), [Quality::Good], "round {round}");
        assert_eq!(quality(1), [Quality::Refused], "round {round}");
        assert_eq!(quality(2), [Quality::Refused], "round {round}");
    }
    let mut read = Vec::new();
    connector.read(&[2, 0, 1], &mut read).await.expect("read");
    let got: Vec<_> = read.iter().map(|sample| (sample.tag, sample.quality)).collect();
    assert_eq!(got, [(2, Quality::Refused), (0, Quality::Good), (1, Quality::Refused)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_is_invalid_and_no_namespace_is_a_refusal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut served = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    let simulator = OpcUa.simulate(&served).await.expect("a simulator");
    simulator.set(0, &Value::Int(70_000));
    served.endpoint = simulator.endpoint();
    served.tags = [tag("x", "ns=plc;s=x", "INT", 0)].into();
    let mut connector = open(&served);
    connector.connect().await.expect("connected");
    let samples = poll_until(&mut connector, "a sample", |samples| !samples.is_empty()).await;
    assert_eq!((&samples[0].value, samples[0].quality), (&Value::Null, Quality::Invalid));

    served.options.insert(
        "namespaces".into(),
        OptionValue::Texts(BTreeMap::from([("plc".to_owned(), "urn:elsewhere".to_owned())])),
    );
    let refused = open(&served).connect().await.expect_err("no namespace");
    assert!(matches!(&refused, PollError::Refused { what } if what.contains("urn:elsewhere")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unplugged_server_comes_back_with_its_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    let mut connector = open(&spec);
    for round in 1..=3i64 {
        simulator.set(0, &Value::Int(round));
        reconnect(&mut connector).await;
        let samples = poll_until(&mut connector, "the value", |samples| !samples.is_empty()).await;
        assert_eq!(samples[0].value, Value::Int(round));
        simulator.unplug(true).await;
        let error = poll_error(&mut connector).await;
        assert!(matches!(error, PollError::Lost { .. }), "{error}");
        let error = connector.connect().await.expect_err("nobody there");
        assert!(matches!(error, PollError::Connect { .. }), "{error}");
        simulator.unplug(false).await;
        assert_eq!(simulator.endpoint(), spec.endpoint);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_reads_only_what_is_due() {
    let folder = tempfile::tempdir().expect("a folder");
    // More tags than fit into one request.
    let tags: Vec<_> = (0..1200)
        .map(|number| tag(&format!("t{number}"), &format!("ns=plc;i={number}"), "UINT", number % 2))
        .collect();
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", tags);
    spec.options.insert("read".into(), OptionValue::Text("poll".into()));
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    for number in 0..1200u32 {
        simulator.set(number, &Value::Uint(u64::from(number)));
    }
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    for _ in 0..2 {
        let mut samples = Vec::new();
        connector.poll(&[1], &mut samples).await.expect("polled");
        let got: Vec<_> = samples.iter().map(|sample| (sample.tag, sample.value.clone())).collect();
        let expected: Vec<_> = (1..1200u32).step_by(2).map(|n| (n, Value::Uint(u64::from(n)))).collect();
        assert_eq!(got, expected);
    }
    simulator.unplug(true).await;
    let mut samples = Vec::new();
    assert!(connector.poll(&[0], &mut samples).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_applies_the_deadband() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "REAL", 0)]);
    Arc::make_mut(&mut spec.tags)[0].deadband = Some(1.0);
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    poll_until(&mut connector, "the first value", |samples| !samples.is_empty()).await;
    for value in [0.5, 2.0, 2.5, 5.0] {
        simulator.set(0, &Value::Real(value));
        let set_us = now_us();
        // The value can be read at once, and reaches subscribers with the next sample of the server,
        // which gives it a later time.
        let end = Instant::now() + PATIENCE;
        loop {
            let mut read = Vec::new();
            connector.read(&[0], &mut read).await.expect("read");
            assert_eq!(read[0].value, Value::Real(value));
            if read[0].source_us > Some(set_us) || Instant::now() > end {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let samples = poll_until(&mut connector, "the last value", |samples| {
        samples.last().is_some_and(|sample| sample.value == Value::Real(5.0))
    })
    .await;
    assert_eq!(values_of(&samples, 0), [Value::Real(2.0), Value::Real(5.0)]);
}

/// Counts the turns that requests wait for.
#[derive(Default)]
struct Turns(AtomicUsize);

#[async_trait::async_trait]
impl Pace for Turns {
    async fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_waits_for_its_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let tags = (0..2600).map(|number| tag("x", &format!("ns=plc;s={number}"), "INT", 0)).collect();
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", tags);
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    let mut connector = open(&spec);
    let turns = Arc::new(Turns::default());
    connector.set_pace(turns.clone());
    connector.connect().await.expect("connected");
    // Four to open the session, one for the server's facts, one for the subscription, and its tags
    // in requests of 500.
    assert_eq!(turns.0.swap(0, Ordering::Relaxed), 4 + 1 + 1 + 6);
    let mut samples = Vec::new();
    assert_eq!(connector.history(0, now_us(), 100, &mut samples).await, Ok(false), "it keeps none");
    assert_eq!(turns.0.swap(0, Ordering::Relaxed), 11, "two attributes of 250 tags each");
    connector.read(&[0, 1, 2], &mut samples).await.expect("read");
    assert_eq!(turns.0.swap(0, Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_simulated_structure_arrive() {
    let folder = tempfile::tempdir().expect("a folder");
    let real = |number| Value::Real(number);
    let fields = [
        ("Speed", "REAL", real(41.5)),
        ("Die.Temp", "REAL", real(180.5)),
        ("Die.Name", "STRING", Value::Text("upper".into())),
        ("Zones[1].Temp", "REAL", real(2.5)),
        ("Zones[0].Name", "STRING", Value::Text("a".into())),
        ("Profile", "REAL[2]", Value::Array([real(1.0), real(2.0)].into())),
        ("Counts[2]", "UDINT", Value::Uint(7)),
        ("Running", "BOOL", Value::Bool(true)),
    ];
    let tags =
        fields.iter().map(|(path, kind, _)| tag(path, &format!("ns=plc;field={path};s=Press"), kind, 0));
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", tags.collect());
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    spec.endpoint = simulator.endpoint();
    for (number, (_, _, value)) in (0u32..).zip(&fields) {
        simulator.set(number, value);
    }
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    let arrived = |samples: &[RawSample]| {
        (0u32..).zip(&fields).all(|(number, (_, _, value))| values_of(samples, number).contains(value))
    };
    poll_until(&mut connector, "all fields as they were set", arrived).await;
    simulator.set(0, &real(7.25));
    poll_until(&mut connector, "a new speed", |samples| values_of(samples, 0).contains(&real(7.25))).await;
    let mut read = Vec::new();
    connector.read(&[7, 3], &mut read).await.expect("read");
    let read: Vec<_> = read.into_iter().map(|sample| (sample.tag, sample.value)).collect();
    assert_eq!(read, [(7, Value::Bool(true)), (3, real(2.5))], "in the order they were asked for");
    connector.close().await;
}
