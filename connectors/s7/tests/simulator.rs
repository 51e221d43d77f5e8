//! The connector against the simulated CPU, which enforces the PDU size.

mod support;

use std::task::{Context, Waker};
use std::time::Duration;

use forebay_connector::{OptionValue, PollError, Protocol, Quality, Value};
use forebay_s7::S7;
use support::{device, good, text};

/// One tag of every type, and the value it is set to.
fn every_type() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("DB10.DBX0.0", "BOOL", Value::Bool(true)),
        ("DB10.DBX0.7", "BOOL", Value::Bool(false)),
        ("DB10.DBB1", "BYTE", Value::Uint(0xA5)),
        ("DB10.DBB2", "SINT", Value::Int(-128)),
        ("DB10.DBB3", "USINT", Value::Uint(255)),
        ("DB10.DBB4", "CHAR", text("ü")),
        ("DB10.DBW6", "WORD", Value::Uint(0xBEEF)),
        ("DB10.DBW8", "INT", Value::Int(-12_345)),
        ("DB10.DBW10", "UINT", Value::Uint(54_321)),
        ("DB10.DBD12", "DWORD", Value::Uint(0xDEAD_BEEF)),
        ("DB10.DBD16", "DINT", Value::Int(-2_000_000_000)),
        ("DB10.DBD20", "UDINT", Value::Uint(4_000_000_000)),
        ("DB10.DBD24", "TIME", Value::Int(-90_500)),
        ("DB10.DBD28", "REAL", Value::Real(41.2)),
        ("DB10.DBB32", "LWORD", Value::Uint(u64::MAX)),
        ("DB10.DBB40", "LINT", Value::Int(i64::MIN)),
        ("DB10.DBB48", "ULINT", Value::Uint(1 << 63)),
        ("DB10.DBB56", "LREAL", Value::Lreal(-1.0e-300)),
        ("DB10.DBB64", "STRING[16]", text("Rezept 7 °C €")),
        ("DB10.DBB82", "WSTRING[8]", text("Größe Ω")),
        ("DB10.DBB102", "DTL", Value::DateTime(1_770_798_615_123_456)),
        ("DB10.DBD114", "REAL[3]", Value::Array([1.5f32, -2.5, 0.0].map(Value::Real).into())),
        ("DB10.DBX126.3", "BOOL[12]", Value::Array((0..12).map(|n| Value::Bool(n % 3 == 0)).collect())),
        ("M10.1", "BOOL", Value::Bool(true)),
        ("IW64", "INT", Value::Int(27_648)),
        ("QB4", "USINT", Value::Uint(17)),
    ]
}

#[tokio::test]
async fn every_type_of_every_cpu_family() {
    for cpu in ["s7-300", "s7-400", "s7-1200", "s7-1500", "logo"] {
        let tags = every_type();
        let mut device = device(tags.iter().map(|(address, data_type, _)| (*address, *data_type)));
        device.options.insert("cpu".into(), OptionValue::Text(cpu.into()));
        let simulator = S7.simulate(&device).await.unwrap();
        for (tag, (.., value)) in (0..).zip(&tags) {
            simulator.set(tag, value);
        }
        device.endpoint = simulator.endpoint();
        let mut connector = S7.open(device).unwrap();
        assert_eq!(connector.connect().await.unwrap(), "Forebay simulator");
        let mut samples = Vec::new();
        connector.poll(&[0], &mut samples).await.unwrap();
        for (sample, (address, _, value)) in samples.iter().zip(&tags) {
            assert_eq!((&sample.value, sample.quality), (value, Quality::Good), "{cpu} {address}");
        }
        assert_eq!(samples.len(), tags.len());
        assert_eq!(connector.requests(), 1, "128 bytes and three areas are one request");
    }
}

#[tokio::test]
async fn a_thousand_scattered_tags_and_a_large_array_keep_within_the_pdu() {
    let addresses: Vec<String> =
        (0..1000).map(|n| format!("DB{}.DBW{}", n % 7 + 1, n / 7 * 2 + n / 50 * 40)).collect();
    let tags = addresses.iter().map(|address| (address.as_str(), "INT"));
    let mut device = device(tags.chain([("DB9.DBD0", "REAL[2000]"), ("DB9.DBB8000", "STRING[254]")]));
    // The smallest PDU, which the simulator refuses to exceed.
    device.options.insert("cpu".into(), OptionValue::Text("s7-1200".into()));
    let simulator = S7.simulate(&device).await.unwrap();
    for tag in 0..1000 {
        simulator.set(tag, &Value::Int(i64::from(tag) - 500));
    }
    let array = Value::Array((0..2000u16).map(|n| Value::Real(f32::from(n) / 4.0)).collect());
    simulator.set(1000, &array);
    simulator.set(1001, &text(&"langer Text ".repeat(21)));
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    connector.connect().await.unwrap();
    for _ in 0..2 {
        let samples = good(connector.as_mut(), &[0]).await;
        for (tag, value) in (-500..500).zip(&samples) {
            assert_eq!(*value, Value::Int(tag));
        }
        assert_eq!(samples[1000], array);
        assert_eq!(samples[1001], text(&"langer Text ".repeat(21)));
    }
}

#[tokio::test]
async fn only_the_due_scan_classes_are_read() {
    let mut device = device([("DB1.DBW0", "INT"), ("DB1.DBW2", "INT"), ("DB1.DBW4", "INT")]);
    std::sync::Arc::make_mut(&mut device.tags)[1].scan = 1;
    let simulator = S7.simulate(&device).await.unwrap();
    (0..3).for_each(|tag| simulator.set(tag, &Value::Int(i64::from(tag) + 7)));
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    connector.connect().await.unwrap();
    let read = async |connector: &mut dyn forebay_connector::Connector, due: &[usize]| {
        let mut samples = Vec::new();
        connector.poll(due, &mut samples).await.unwrap();
        samples.iter().map(|sample| sample.tag).collect::<Vec<_>>()
    };
    assert_eq!(read(connector.as_mut(), &[0]).await, [0, 2]);
    assert_eq!(read(connector.as_mut(), &[1]).await, [1]);
    assert_eq!(read(connector.as_mut(), &[0, 1]).await, [0, 1, 2]);
    assert_eq!(read(connector.as_mut(), &[0]).await, [0, 2], "from the kept plan");
    assert!(read(connector.as_mut(), &[]).await.is_empty());
    let mut samples = Vec::new();
    connector.read(&[2, 1, 99], &mut samples).await.unwrap();
    assert_eq!(samples.iter().map(|sample| sample.tag).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn bytes_that_are_no_value_are_invalid() {
    let mut device = device([("DB1.DBD0", "REAL"), ("DB1.DBB4", "STRING[4]"), ("DB1.DBB10", "DTL")]);
    let raw = support::device([("DB1.DBD0", "DWORD"), ("DB1.DBW4", "WORD"), ("DB1.DBB6", "USINT[16]")]);
    let simulator = S7.simulate(&raw).await.unwrap();
    simulator.set(0, &Value::Uint(0x7FC0_0000)); // NaN
    simulator.set(1, &Value::Uint(0x04FF)); // 255 of 4 characters
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    connector.connect().await.unwrap();
    let mut samples = Vec::new();
    connector.poll(&[0], &mut samples).await.unwrap();
    for sample in samples {
        assert_eq!((sample.value, sample.quality), (Value::Null, Quality::Invalid), "tag {}", sample.tag);
    }
}

#[tokio::test]
async fn a_refused_tag_costs_only_itself_and_says_why() {
    let served = device([("DB1.DBW0", "INT"), ("DB1.DBW2", "INT"), ("DB2.DBD0", "REAL")]);
    let simulator = S7.simulate(&served).await.unwrap();
    (0..3).for_each(|tag| simulator.set(tag, &Value::Int(5)));
    // Behind the end of DB1 by one word, so the merged range is refused as a whole; DB7 is missing.
    let mut asked = device([
        ("DB1.DBW0", "INT"),
        ("DB7.DBW0", "INT"),
        ("DB1.DBW2", "INT"),
        ("DB1.DBW4", "INT"),
        ("DB2.DBD0", "REAL"),
        ("MB9000", "BYTE"),
    ]);
    asked.endpoint = simulator.endpoint();
    let mut connector = S7.open(asked).unwrap();
    connector.connect().await.unwrap();
    for (round, requests) in [(0, 2), (1, 3), (2, 4)] {
        let mut samples = Vec::new();
        connector.poll(&[0], &mut samples).await.unwrap();
        let found: Vec<_> = samples.iter().map(|sample| (sample.tag, sample.quality)).collect();
        use Quality::{Good, Refused};
        assert_eq!(found, [(0, Good), (1, Refused), (2, Good), (3, Refused), (4, Good), (5, Refused)]);
        assert_eq!(connector.requests(), requests, "round {round}: refused tags are not asked again");
    }
    assert!(connector.refusal(1).unwrap().contains("DB7 does not exist"));
    assert!(connector.refusal(1).unwrap().contains("untick 'Optimized block access'"));
    assert!(connector.refusal(3).unwrap().contains("DB1.DBW4 lies behind the end of DB1"));
    assert!(connector.refusal(5).unwrap().contains("MB9000 lies behind the end"));
    assert_eq!(connector.refusal(0), None);
}

#[tokio::test]
async fn a_refused_tag_is_asked_again_after_a_while() {
    let tags = [("DB1.DBW0", "INT"), ("DB2.DBW0", "INT")];
    let small = S7.simulate(&device([tags[0]])).await.unwrap();
    let mut asked = device(tags);
    asked.endpoint = small.endpoint();
    let mut connector = S7.open(asked).unwrap();
    connector.connect().await.unwrap();
    let mut samples = Vec::new();
    connector.poll(&[0], &mut samples).await.unwrap();
    assert_eq!(samples[1].quality, Quality::Refused);
    let before = connector.requests();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    connector.poll(&[0], &mut samples).await.unwrap();
    assert_eq!(connector.requests() - before, 2, "asked together, then by itself");
    assert_eq!(samples[3].quality, Quality::Refused);
}

#[tokio::test]
async fn an_unplugged_cpu_is_lost_and_comes_back_on_its_port() {
    let mut device = device([("DB1.DBW0", "INT")]);
    let simulator = S7.simulate(&device).await.unwrap();
    simulator.set(0, &Value::Int(1));
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    for round in 1..=3 {
        connector.connect().await.unwrap();
        assert_eq!(good(connector.as_mut(), &[0]).await, [Value::Int(round)]);
        simulator.unplug(true).await;
        let mut samples = Vec::new();
        let error = connector.poll(&[0], &mut samples).await.unwrap_err();
        assert!(matches!(error, PollError::Lost { .. }), "{error}");
        let again = connector.poll(&[0], &mut samples).await.unwrap_err();
        assert_eq!(again, PollError::Lost { cause: "not connected".into() });
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(error, PollError::Connect { .. }), "{error}");
        simulator.set(0, &Value::Int(round + 1));
        simulator.unplug(false).await;
        assert_eq!(simulator.endpoint(), simulator.endpoint());
    }
}

#[tokio::test]
async fn a_dropped_simulator_frees_its_port() {
    let simulator = S7.simulate(&device([("DB1.DBW0", "INT")])).await.unwrap();
    let endpoint = simulator.endpoint();
    drop(simulator);
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while std::net::TcpListener::bind(&endpoint).is_err() {
        assert!(tokio::time::Instant::now() < end, "port still taken");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dropped_poll_leaves_no_connection_behind() {
    let mut device = device([("DB1.DBW0", "INT")]);
    let simulator = S7.simulate(&device).await.unwrap();
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    connector.connect().await.unwrap();
    let mut samples = Vec::new();
    let mut poll = connector.poll(&[0], &mut samples);
    // Dropped at its first wait: the answer is under way and must never be read.
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(poll.as_mut().poll(&mut nobody).is_pending());
    drop(poll);
    let error = connector.poll(&[0], &mut samples).await.unwrap_err();
    assert_eq!(error, PollError::Lost { cause: "not connected".into() });
    connector.connect().await.unwrap();
    good(connector.as_mut(), &[0]).await;
    connector.close().await;
    assert!(connector.poll(&[0], &mut samples).await.is_err());
}
