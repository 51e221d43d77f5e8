//! What goes wrong on lines and gateways, with foreign peers at the other end: the pains 2 and 11 of
//! those who use other programs, each as a test.

use std::time::Duration;

use forebay_connector::{PollError, Quality, RawSample, Value};

use super::{Expected, Plant, assert_read, tag};
use crate::support::{PATIENCE, Peer, Port, Python, wait_for};

/// Time limit where a peer is meant to exceed it.
const LIMIT: Duration = Duration::from_millis(500);

fn registers(numbers: &[u64]) -> Vec<Expected> {
    (1..)
        .zip(numbers)
        .map(|(number, value)| tag(format!("4{number:04}"), "UINT", Value::Uint(*value)))
        .collect()
}

fn is_good(samples: &[RawSample], tags: &[Expected]) -> bool {
    samples.iter().zip(tags).all(|(sample, tag)| sample.value == tag.value && sample.quality == Quality::Good)
}

/// The gateway loses power in the middle of reading, and comes back on the same address.
#[test]
fn a_gateway_that_reboots_is_read_again_by_all_its_units() {
    let port = Port::reserve();
    let number = port.number.to_string();
    let arguments = ["--unit", "12", "--unit", "13", "--port", &number];
    let mut plant = Plant::start(&arguments);
    let tags = registers(&[7]);
    let set = |plant: &mut Plant| {
        for unit in [12, 13] {
            plant.command(&format!("unit {unit}"));
            plant.command("set hr 0 7");
        }
    };
    set(&mut plant);
    let mut units = [12, 13].map(|unit| plant.open(unit, PATIENCE, &tags));
    for unit in &mut units {
        assert_read(&plant.connect_and_poll(unit).expect("an answer"), &tags);
    }
    plant.command("quit");
    for unit in &mut units {
        let outcome = plant.poll(unit);
        assert!(matches!(outcome, Err(PollError::Lost { .. } | PollError::Connect { .. })), "{outcome:?}");
    }
    plant.server = Peer::start(Python::Current, "modbus_server.py", &arguments);
    set(&mut plant);
    for unit in &mut units {
        let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(unit).ok());
        assert_read(&samples, &tags);
    }
}

/// The peer stops without closing anything, as when its power or a switch fails: nothing on the
/// connection says so. It is noticed within the time limit, and over when the peer is back.
#[test]
fn a_half_open_connection_is_noticed_and_replaced() {
    let mut plant = Plant::libmodbus();
    plant.command("set hr 0 5 6");
    let tags = registers(&[5, 6]);
    let mut connector = plant.open(1, LIMIT, &tags);
    wait_for("answer", PATIENCE, || plant.connect_and_poll(&mut connector).ok());
    let peer = plant.server.pid().to_string();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &peer]).status();
        assert!(sent.expect("kill runs").success());
    };
    signal("-STOP");
    for _ in 0..3 {
        // The kernel of a stopped peer still takes connections.
        let outcome = plant.connect_and_poll(&mut connector);
        assert!(matches!(outcome, Err(PollError::Timeout { .. })), "{outcome:?}");
    }
    signal("-CONT");
    let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(&mut connector).ok());
    assert_read(&samples, &tags);
}

/// Two registers are asked for in turn, and one answer comes after its time limit: it must not be
/// taken for the other register's, whatever carries it.
fn a_late_answer_is_nobodys(mut plant: Plant, what: &str) {
    plant.command("set hr 0 100 0 0 0 200");
    let first = [tag("40001", "UINT", Value::Uint(100))];
    let second = [tag("40005", "UINT", Value::Uint(200))];
    // Two devices of our own for the same unit: each poll is one request of the same shape.
    let mut connectors = [&first, &second].map(|tags| plant.open(1, LIMIT, tags));
    for (connector, tags) in connectors.iter_mut().zip([&first, &second]) {
        let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(connector).ok());
        assert_read(&samples, tags);
    }
    for late_ms in [600, 900, 1600] {
        plant.command(&format!("late {late_ms}"));
        let outcome = plant.connect_and_poll(&mut connectors[0]);
        assert!(outcome.is_err(), "{what}: {outcome:?}");
        let mut answered = 0;
        let end = std::time::Instant::now() + PATIENCE;
        while answered < 6 {
            assert!(std::time::Instant::now() < end, "{what}, {late_ms} ms late: not read again");
            for (connector, tags) in connectors.iter_mut().zip([&first, &second]).rev() {
                if let Ok(samples) = plant.connect_and_poll(connector) {
                    assert_eq!(samples[0].value, tags[0].value, "{what}, {late_ms} ms late");
                    answered += 1;
                }
            }
        }
    }
}

#[test]
fn a_late_answer_over_tcp_is_nobodys() {
    a_late_answer_is_nobodys(Plant::start(&["--unit", "1"]), "TCP");
}

#[test]
fn a_late_answer_over_rtu_is_nobodys() {
    a_late_answer_is_nobodys(Plant::serial(&["--unit", "1"]), "RTU");
}

#[test]
fn a_late_answer_over_rtu_through_tcp_is_nobodys() {
    a_late_answer_is_nobodys(Plant::rtu_over_tcp(&["--unit", "1"]), "RTU over TCP");
}

/// A register that the device does not even refuse: it stays silent, or closes the connection.
fn a_bad_register_costs_only_itself(mut plant: Plant, how: &str, words: &str) {
    let numbers: Vec<u64> = (1..=30).collect();
    let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    plant.command(&format!("set hr 0 {}", list.join(" ")));
    plant.command(&format!("{how} hr 11 1"));
    let tags = registers(&numbers);
    let mut connector = plant.open(1, LIMIT, &tags);
    let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(&mut connector).ok());
    for (index, (sample, tag)) in samples.iter().zip(&tags).enumerate() {
        let expected =
            if index == 11 { (&Value::Null, Quality::Refused) } else { (&tag.value, Quality::Good) };
        assert_eq!((&sample.value, sample.quality), expected, "{how}: {}", tag.address);
    }
    let refusal = connector.refusal(11).expect("a reason");
    assert!(refusal.contains(words) && refusal.contains("holding register 12"), "{refusal}");
    for _ in 0..5 {
        let samples = plant.poll(&mut connector).expect("an answer: the bad register is left alone");
        assert!(is_good(&samples[..11], &tags[..11]) && is_good(&samples[12..], &tags[12..]));
    }
}

#[test]
fn a_register_without_an_answer_costs_only_itself() {
    a_bad_register_costs_only_itself(Plant::start(&["--unit", "1"]), "mute", "does not answer");
}

#[test]
fn a_register_without_an_answer_over_rtu_costs_only_itself() {
    a_bad_register_costs_only_itself(Plant::serial(&["--unit", "1"]), "mute", "does not answer");
}

#[test]
fn a_register_that_closes_the_connection_costs_only_itself() {
    a_bad_register_costs_only_itself(Plant::start(&["--unit", "1"]), "hangup", "closes the connection");
}

#[test]
fn a_register_refused_over_rtu_costs_only_itself() {
    a_bad_register_costs_only_itself(Plant::serial(&["--unit", "1"]), "refuse", "exception 02");
}

/// One unit behind the gateway has no power. The others are read all the time, and it is again when
/// it has.
fn one_dead_unit_costs_its_neighbours_little(mut plant: Plant, what: &str) {
    for unit in [1, 2] {
        plant.command(&format!("unit {unit}"));
        plant.command(&format!("set hr 0 {}", unit * 11));
    }
    let tags = [registers(&[11]), registers(&[22])];
    let mut dead = plant.open(1, LIMIT, &tags[0]);
    let mut healthy = plant.open(2, PATIENCE, &tags[1]);
    plant.command("off 1");
    assert_read(&plant.connect_and_poll(&mut healthy).expect("an answer"), &tags[1]);
    let (mut silences, mut demoted) = (0, 0);
    for _ in 0..30 {
        match plant.connect_and_poll(&mut dead) {
            Err(PollError::Timeout { .. }) => silences += 1,
            Err(PollError::Refused { what }) if what.contains("asked less often") => demoted += 1,
            other => panic!("{what}: {other:?}"),
        }
        let samples = plant.poll(&mut healthy).expect("the neighbour's answer");
        assert_read(&samples, &tags[1]);
    }
    assert!(silences < 6 && demoted > 20, "{what}: {silences} silences, {demoted} times demoted");
    plant.command("on 1");
    let samples = wait_for("answer", PATIENCE, || plant.connect_and_poll(&mut dead).ok());
    assert_read(&samples, &tags[0]);
    assert_read(&plant.poll(&mut healthy).expect("an answer"), &tags[1]);
}

#[test]
fn one_dead_unit_behind_a_gateway_costs_its_neighbours_little() {
    one_dead_unit_costs_its_neighbours_little(Plant::start(&["--unit", "1", "--unit", "2"]), "TCP");
}

#[test]
fn one_dead_unit_on_a_serial_line_costs_its_neighbours_little() {
    one_dead_unit_costs_its_neighbours_little(Plant::serial(&["--unit", "1", "--unit", "2"]), "RTU");
}

/// The adapter is pulled out and plugged in again: the device file goes away and comes back.
#[test]
fn a_serial_port_that_is_not_there_is_told_so() {
    let mut plant = Plant::serial(&["--unit", "1"]);
    plant.command("set hr 0 3");
    let tags = registers(&[3]);
    let mut connector = plant.open(1, LIMIT, &tags);
    assert_read(&plant.connect_and_poll(&mut connector).expect("an answer"), &tags);
    drop(plant.cable.take());
    let outcome = plant.poll(&mut connector);
    assert!(matches!(outcome, Err(PollError::Lost { .. } | PollError::Timeout { .. })), "{outcome:?}");
    let outcome = wait_for("missing port", PATIENCE, || match plant.connect_and_poll(&mut connector) {
        Err(PollError::Connect { cause, .. }) => Some(cause),
        _ => None,
    });
    assert!(outcome.contains("is the adapter plugged in?"), "{outcome}");
}
