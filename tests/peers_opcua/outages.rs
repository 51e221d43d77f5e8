//! Servers that restart, are full, or have no room.

use std::time::{Duration, Instant};

use forebay_connector::{OptionValue, PollError, Quality, Value};

use super::{SCRIPT, device, open, poll_error, poll_for, reconnect, tag};
use crate::support::{PATIENCE, Peer, Port, Python};

/// Nodes that change every 20 ms while the server comes and goes.
const LOAD: usize = 40;

fn loaded(port: &str) -> Peer {
    let mut peer = Peer::start(Python::Current, SCRIPT, &["--port", port]);
    for node in 0..LOAD {
        peer.command(&format!("add s=n{node} DINT 0"));
    }
    peer.command("load 20");
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_under_load_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = Port::reserve();
    let number = port.number.to_string();
    let mut peer = loaded(&number);
    let tags = (0..LOAD).map(|node| tag(&format!("ns=test;s=n{node}"), "DINT")).collect();
    let mut connector = open(&device(&folder, port.number, tags));
    connector.connect().await.expect("connected");
    for round in 0..3 {
        // All nodes, and each of them more than once: subscriptions are alive, not just read.
        let end = Instant::now() + PATIENCE;
        let mut seen = vec![0; LOAD];
        while seen.iter().any(|count| *count < 3) {
            for sample in poll_for(&mut connector, 1).await {
                seen[sample.tag as usize] += usize::from(sample.quality == Quality::Good);
            }
            assert!(Instant::now() < end, "round {round}: {seen:?}");
        }
        assert_eq!(peer.command("sessions"), "1");
        drop(peer);
        let error = poll_error(&mut connector).await;
        assert!(matches!(error, PollError::Lost { .. } | PollError::Timeout { .. }), "{error}");
        peer = loaded(&number);
        reconnect(&mut connector).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_told_in_words_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    peer.command("limit sessions 1");
    let spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    let mut first = open(&spec);
    // Connecting again ends the session before: there is never a second one.
    for _ in 0..5 {
        first.connect().await.expect("there is room for one");
        assert_eq!(peer.command("sessions"), "1");
    }
    let created = peer.command("created");
    let mut second = open(&spec);
    for _ in 0..10 {
        let error = second.connect().await.expect_err("full");
        let PollError::Refused { what } = &error else { panic!("{error:?}") };
        assert!(what.contains("the server is full (BadTooManySessions)"), "{what}");
    }
    let tries = peer.command("created").parse::<u32>().expect("a number");
    assert_eq!(tries, created.parse::<u32>().expect("a number") + 1, "asked once, then left alone");
    assert_eq!(poll_for(&mut first, 1).await[0].quality, Quality::Good);
    first.close().await;
    assert_eq!(peer.command("sessions"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_half_way_leaves_no_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    let namespaces = [("test".to_owned(), "urn:nobody".to_owned())].into();
    spec.options.insert("namespaces".into(), OptionValue::Texts(namespaces));
    let mut connector = open(&spec);
    for _ in 0..8 {
        let error = connector.connect().await.expect_err("no such namespace");
        assert!(matches!(&error, PollError::Refused { what } if what.contains("urn:nobody")), "{error}");
        assert_eq!(peer.command("sessions"), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_for_subscriptions_is_polled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 1.5");
    peer.command("limit subscriptions 0");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.options.insert("events".into(), OptionValue::Bool(true));
    let mut connector = open(&spec);
    let said = connector.connect().await.expect("connected");
    assert!(said.contains("1 of 1 tags are polled") && said.contains("BadTooManySubscriptions"), "{said}");
    assert!(said.contains("no alarms"), "{said}");
    for value in [1.5f32, 2.5, 3.5] {
        peer.command(&format!("set s=level {value}"));
        let samples = poll_for(&mut connector, 1).await;
        assert_eq!((&samples[0].value, samples[0].quality), (&Value::Real(value), Quality::Good));
    }
    // Scan classes that are not due are not read.
    let mut samples = Vec::new();
    connector.poll(&[], &mut samples).await.expect("alive");
    assert!(samples.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_signals_are_not_lost_between_two_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=count DINT 0");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=count", "DINT")]);
    spec.options.insert("publishing".into(), OptionValue::Duration(Duration::from_secs(2)));
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    poll_for(&mut connector, 1).await;
    // Forty changes at the pace of the scan class are in one message.
    for number in 1..=40 {
        peer.command(&format!("set s=count {number}"));
    }
    let samples = poll_for(&mut connector, 40).await;
    let got: Vec<_> = samples.iter().map(|sample| (sample.value.clone(), sample.quality)).collect();
    let expected: Vec<_> = (1..=40).map(|number| (Value::Int(number), Quality::Good)).collect();
    assert_eq!(got, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_clock_is_wrong_by_years_is_read_as_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    for seconds in ["-1700000000", "1700000000"] {
        let mut peer = Peer::start(Python::Current, SCRIPT, &["--secure", "--clock", seconds]);
        peer.command("add s=level REAL 1.5");
        let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
        spec.options.remove("security");
        spec.allow_insecure = false;
        spec.trust = Some(peer.command("fingerprint"));
        let mut connector = open(&spec);
        connector.connect().await.expect("connected");
        poll_for(&mut connector, 1).await;
        for _ in 0..50 {
            connector.read(&[0], &mut Vec::new()).await.expect("read");
        }
        // One channel to ask for the endpoints and one to read; keys are not renewed before their time.
        let keys = peer.command("keys").parse::<u32>().expect("a number");
        assert!(keys <= 5, "keys were made {keys} times with a clock {seconds} s ahead");
        let time: i64 = peer.command("time s=level").parse().expect("a time");
        let look = connector.look(0).await.expect("read");
        assert_eq!(look.sample.source_us, Some(time), "times of values stay as they are");
        connector.close().await;
    }
}
