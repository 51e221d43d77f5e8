//! OPC UA against foreign servers: asyncua, and node-opcua in `second` and `second_structures`.

mod alarms;
mod history;
mod outages;
mod second;
mod second_structures;
mod security;
mod structures;
mod types;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, Quality, RawSample, ScanClass,
    Secrets, TagSpec, Value,
};
use forebay_opcua::OpcUa;

use crate::support::{PATIENCE, Peer, Port, Python};

const SCRIPT: &str = "opcua_server.py";

/// Secrets by name.
#[derive(Default)]
struct Known(BTreeMap<String, String>);

impl Known {
    fn password(password: &str) -> Arc<Self> {
        Arc::new(Self(BTreeMap::from([("opcua-filler".into(), password.into())])))
    }
}

impl Secrets for Known {
    fn read(&self, name: &str) -> Result<String, String> {
        self.0.get(name).cloned().ok_or_else(|| format!("no credential {name}"))
    }
}

fn tag(address: &str, data_type: &str) -> TagSpec {
    TagSpec {
        path: address.into(),
        address: address.into(),
        data_type: DataType::parse(data_type).expect("a type"),
        order: None,
        scan: 0,
        deadband: None,
    }
}

fn device(folder: &tempfile::TempDir, port: u16, tags: Vec<TagSpec>) -> DeviceSpec {
    let namespaces = BTreeMap::from([("test".to_owned(), "urn:forebay:test".to_owned())]);
    DeviceSpec {
        name: "filler-1".into(),
        endpoint: format!("opc.tcp://127.0.0.1:{port}"),
        options: BTreeMap::from([
            ("security".into(), OptionValue::Text("None".into())),
            ("publishing".into(), OptionValue::Duration(Duration::from_millis(100))),
            ("timeout".into(), OptionValue::Duration(Duration::from_secs(20))),
            ("namespaces".into(), OptionValue::Texts(namespaces)),
        ]),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_millis(50) }],
        tags: tags.into(),
        trust: None,
        allow_insecure: true,
        secrets: Known::password("s3cret"),
        state_directory: folder.path().join("state"),
    }
}

fn open(device: &DeviceSpec) -> Box<dyn Connector> {
    assert_eq!(OpcUa.check_device(device), []);
    OpcUa.open(device.clone()).unwrap_or_else(|fault| panic!("{fault}"))
}

async fn poll_for(connector: &mut Box<dyn Connector>, count: usize) -> Vec<RawSample> {
    let end = Instant::now() + PATIENCE;
    let mut samples = Vec::new();
    while samples.len() < count {
        connector.poll(&[0], &mut samples).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(Instant::now() < end, "{count} samples expected, only {samples:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    samples
}

async fn poll_error(connector: &mut Box<dyn Connector>) -> PollError {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Err(error) = connector.poll(&[0], &mut Vec::new()).await {
            return error;
        }
        assert!(Instant::now() < end, "no error");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn reconnect(connector: &mut Box<dyn Connector>) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = connector.connect().await {
        assert!(Instant::now() < end, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    let cases = [
        ("s=bool", "BOOL", "true", Value::Bool(true)),
        ("s=byte", "BYTE", "165", Value::Uint(165)),
        ("s=sint", "SINT", "-100", Value::Int(-100)),
        ("s=char", "CHAR", "\"x\"", Value::Text("x".into())),
        ("i=1", "WORD", "48879", Value::Uint(48879)),
        ("i=2", "INT", "-30000", Value::Int(-30000)),
        ("i=3", "DWORD", "3735928559", Value::Uint(0xDEAD_BEEF)),
        ("i=4", "DINT", "-2000000000", Value::Int(-2_000_000_000)),
        ("i=5", "TIME", "86400000", Value::Int(86_400_000)),
        ("i=6", "LWORD", "18446744073709551615", Value::Uint(u64::MAX)),
        ("i=7", "LINT", "-9223372036854775808", Value::Int(i64::MIN)),
        ("s=\"DB\".\"rLevel\"", "REAL", "41.2", Value::Real(41.2)),
        ("s=lreal", "LREAL", "-1e300", Value::Lreal(-1e300)),
        ("s=text", "STRING", "\"Flaschenf\\u00fcller\"", Value::Text("Flaschenfüller".into())),
        ("s=date", "DATETIME", "1772413323123456", Value::DateTime(1_772_413_323_123_456)),
        ("s=reals", "REAL[2]", "[1.5, -2.5]", Value::Array([Value::Real(1.5), Value::Real(-2.5)].into())),
    ];
    let mut tags = Vec::new();
    for (node, data_type, json, _) in &cases {
        peer.command(&format!("add {node} {data_type} {json}"));
        tags.push(tag(&format!("ns=test;{node}"), data_type));
    }
    // Two tags that this server has not got, and one of another type than declared.
    tags.push(tag("ns=test;s=nowhere", "REAL"));
    tags.push(tag("ns=test;s=text", "DINT"));
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    let mut samples = poll_for(&mut connector, cases.len() + 2).await;
    samples.sort_by_key(|sample| sample.tag);
    let numbers: Vec<u32> = (0u32..).take(samples.len()).collect();
    let mut read = Vec::new();
    connector.read(&numbers, &mut read).await.expect("read");
    for got in [samples, read] {
        for ((node, data_type, _, value), sample) in cases.iter().zip(&got) {
            assert_eq!((&sample.value, sample.quality), (value, Quality::Good), "{node} {data_type}");
        }
        assert_eq!(got[cases.len()].quality, Quality::Refused);
        assert_eq!(got[cases.len() + 1].quality, Quality::Invalid);
    }
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_in_order_with_their_source_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=count DINT 0");
    let mut connector = open(&device(&folder, peer.port, vec![tag("ns=test;s=count", "DINT")]));
    connector.connect().await.expect("connected");
    poll_for(&mut connector, 1).await;
    let (mut samples, mut times) = (Vec::new(), Vec::new());
    for round in 0..25i64 {
        // No more than the server keeps between two messages.
        for number in round * 8..round * 8 + 8 {
            peer.command(&format!("set s=count {}", number + 1));
            times.push(peer.command("time s=count").parse::<i64>().expect("a time"));
        }
        samples.extend(poll_for(&mut connector, 8).await);
    }
    let got: Vec<_> = samples.iter().map(|s| (s.value.clone(), s.quality, s.source_us)).collect();
    let expected: Vec<_> =
        (1..=200i64).zip(times).map(|(n, time)| (Value::Int(n), Quality::Good, Some(time))).collect();
    assert_eq!(got, expected);

    peer.command("bad s=count");
    let samples = poll_for(&mut connector, 1).await;
    assert_eq!((&samples[0].value, samples[0].quality), (&Value::Null, Quality::Bad));
    peer.command("set s=count 7");
    let samples = poll_for(&mut connector, 1).await;
    assert_eq!((&samples[0].value, samples[0].quality), (&Value::Int(7), Quality::Good));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_may_number_its_namespaces_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = Port::reserve();
    let number = port.number.to_string();
    let mut peer = Peer::start(Python::Current, SCRIPT, &["--filler", "1", "--port", &number]);
    peer.command("add i=7 DINT 1");
    let mut connector = open(&device(&folder, port.number, vec![tag("ns=test;i=7", "DINT")]));
    connector.connect().await.expect("connected");
    assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Int(1));
    drop(peer);
    let error = poll_error(&mut connector).await;
    assert!(matches!(error, PollError::Lost { .. }), "{error}");
    let error = connector.connect().await.expect_err("nobody there");
    assert!(matches!(error, PollError::Connect { .. }), "{error}");

    let mut peer = Peer::start(Python::Current, SCRIPT, &["--filler", "3", "--port", &number]);
    peer.command("add i=7 DINT 2");
    connector.connect().await.expect("connected again");
    assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Int(2));
    peer.command("set i=7 3");
    assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Int(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_falls_silent_is_noticed_although_the_server_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    let mut connector = open(&device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]));
    connector.connect().await.expect("connected");
    poll_for(&mut connector, 1).await;
    // A quiet subscription is no dead one: keep-alives come for longer than the watchdog waits.
    let quiet = Instant::now() + Duration::from_secs(9);
    while Instant::now() < quiet {
        let mut samples = Vec::new();
        connector.poll(&[0], &mut samples).await.expect("alive");
        assert!(samples.is_empty(), "{samples:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    peer.command("mute");
    peer.command("set s=level 2.5");
    let error = poll_error(&mut connector).await;
    assert!(matches!(error, PollError::Timeout { .. }), "{error}");
    connector.connect().await.expect("connected again");
    assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Real(2.5));
}

fn signal(peer: &Peer, name: &str) {
    let sent = Command::new("kill").args([name, &peer.pid().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.options.insert("timeout".into(), OptionValue::Duration(Duration::from_secs(2)));
    let mut connector = open(&spec);
    reconnect(&mut connector).await;
    poll_for(&mut connector, 1).await;
    signal(&peer, "-STOP");
    let error = poll_error(&mut connector).await;
    assert!(matches!(error, PollError::Timeout { .. } | PollError::Lost { .. }), "{error}");
    let start = Instant::now();
    let error = connector.connect().await.expect_err("still frozen");
    assert!(
        matches!(error, PollError::Timeout { .. }) && start.elapsed() < Duration::from_secs(30),
        "{error}"
    );
    signal(&peer, "-CONT");
    peer.command("set s=level 2.5");
    reconnect(&mut connector).await;
    let samples = poll_for(&mut connector, 1).await;
    assert!(samples.iter().all(|sample| sample.value == Value::Real(2.5)), "{samples:?}");

    // Old connections end, so that the server does not fill up.
    for _ in 0..20 {
        reconnect(&mut connector).await;
    }
    crate::support::wait_for("old connections to end", PATIENCE, || {
        (peer.command("connections").parse::<u32>().expect("a number") <= 2).then_some(())
    });
}
