//! Alarms and conditions.

use std::time::{Duration, Instant};

use forebay_connector::{Connector, DeviceMessage, OptionValue};

use super::{SCRIPT, device, open, tag};
use crate::support::{PATIENCE, Peer, Python};

async fn messages(connector: &mut Box<dyn Connector>, count: usize) -> Vec<DeviceMessage> {
    let end = Instant::now() + PATIENCE;
    let mut messages = Vec::new();
    while messages.len() < count {
        connector.poll(&[0], &mut Vec::new()).await.unwrap_or_else(|error| panic!("{error}"));
        connector.take_messages(&mut messages);
        assert!(Instant::now() < end, "{count} messages expected, only {messages:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_comes_is_acknowledged_and_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.options.insert("events".into(), OptionValue::Bool(true));
    let mut connector = open(&spec);
    let said = connector.connect().await.expect("connected");
    assert!(!said.contains("no alarms"), "{said}");
    peer.command("alarm oil on OffNormalAlarmType Oil too hot");
    peer.command("alarm oil acked OffNormalAlarmType Oil too hot");
    peer.command("alarm oil off OffNormalAlarmType Oil is well");
    peer.command("message Shift begins");
    let told = messages(&mut connector, 4).await;
    let states: Vec<_> = told.iter().map(|m| (m.text.as_str(), m.active, m.acknowledged)).collect();
    assert_eq!(
        states,
        [
            ("Oil too hot", Some(true), Some(false)),
            ("Oil too hot", Some(true), Some(true)),
            ("Oil is well", Some(false), Some(true)),
            ("Shift begins", None, None),
        ]
    );
    for message in &told[..3] {
        assert_eq!((message.kind.as_str(), message.source.as_str()), ("OffNormalAlarmType", "Filler"));
        assert_eq!((message.condition.as_str(), message.severity), ("nsu=urn:forebay:test;s=oil", 700));
    }
    assert!(
        told.windows(2).all(|pair| pair[0].source_us <= pair[1].source_us && pair[0].source_us.is_some())
    );
    assert_eq!((told[3].kind.as_str(), told[3].condition.as_str()), ("BaseEventType", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_the_time_away_are_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    // On before anybody listens, of a kind that only this server has.
    peer.command("alarm oil on FillerAlarmType Oil too hot");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.options.insert("events".into(), OptionValue::Bool(true));
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    let told = messages(&mut connector, 1).await;
    assert_eq!((told[0].kind.as_str(), told[0].active), ("FillerAlarmType", Some(true)));
    peer.command("alarm cap on OffNormalAlarmType No caps");
    assert_eq!(messages(&mut connector, 1).await[0].text, "No caps");

    connector.close().await;
    peer.command("alarm oil off FillerAlarmType Oil is well");
    peer.command("alarm jam on OffNormalAlarmType Jam");
    connector.connect().await.expect("connected again");
    peer.command("message the end");
    let told = messages(&mut connector, 3).await;
    let told: Vec<_> = told.iter().map(|m| (m.text.as_str(), m.active, m.source_us.is_some())).collect();
    assert_eq!(
        told,
        [("Jam", Some(true), true), ("Oil too hot", Some(false), false), ("the end", None, true)],
        "what stayed on is not told again, what ended is"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_alarms_is_read_nevertheless() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    // A variable has no events.
    let nodes = [("level".to_owned(), "ns=test;s=level".to_owned())].into();
    spec.options.insert("event_nodes".into(), OptionValue::Texts(nodes));
    let mut connector = open(&spec);
    let said = connector.connect().await.expect("connected");
    assert!(said.contains("no alarms, the server refuses them"), "{said}");
    assert_eq!(super::poll_for(&mut connector, 1).await.len(), 1);
}
