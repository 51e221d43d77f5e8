//! Both sides over loopback, and what strangers can do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::event::What;

const SECRET: &str = "sixteen characters";
const PATIENCE: Duration = Duration::from_secs(20);

fn surroundings(edge: &str, secret: &str, events: &Events, stop: &CancellationToken) -> Surroundings {
    let secret = secret.to_owned();
    Surroundings {
        edge: edge.into(),
        box_path: format!("Werk1/{edge}"),
        secret: Arc::new(move || Ok(secret.clone())),
        events: events.clone(),
        stop: stop.clone(),
    }
}

fn standby(port: u16) -> StandbyFor {
    StandbyFor {
        of: "box-a".into(),
        ask: format!("127.0.0.1:{port}"),
        secret: "standby".into(),
        after: Duration::from_millis(400),
        devices: Vec::new(),
    }
}

async fn until(gate: &mut Gate, wanted: bool) {
    timeout(PATIENCE, gate.wait_for(|open| *open == wanted)).await.expect("in time").expect("it is asked");
}

/// A port that is free now.
async fn port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_standby_steps_in_when_the_active_box_is_silent_and_back_when_it_answers() {
    let (events, mut emitted) = Events::new();
    let (stop, stop_active, port) = (CancellationToken::new(), CancellationToken::new(), port().await);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let active = || tokio::spawn(answer(listen, surroundings("box-a", SECRET, &events, &stop_active)));
    let first = active();
    let (gate, mut reads) = watch::channel(false);
    let asking = tokio::spawn(ask(standby(port), gate, surroundings("box-b", SECRET, &events, &stop)));
    // Longer than the silence that is allowed.
    let opened = timeout(Duration::from_secs(1), reads.wait_for(|open| *open)).await.is_ok();
    assert!(!opened, "the active box answers");
    first.abort();
    until(&mut reads, true).await;
    let second = active();
    until(&mut reads, false).await;
    stop.cancel();
    asking.await.unwrap();
    second.abort();
    let told: Vec<_> = std::iter::from_fn(|| emitted.try_recv().ok()).map(|it| it.what()).collect();
    assert_eq!(told, [Some(What::StandbyReads), Some(What::StandbyWaits)]);
}

#[tokio::test]
async fn a_box_with_another_secret_or_another_id_is_not_the_active_box() {
    let (events, _emitted) = Events::new();
    for (edge, secret) in [("box-a", "another secret, also long"), ("box-c", SECRET)] {
        let (stop, port) = (CancellationToken::new(), port().await);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let answering = tokio::spawn(answer(listen, surroundings(edge, secret, &events, &stop)));
        let (gate, mut reads) = watch::channel(false);
        let asking = tokio::spawn(ask(standby(port), gate, surroundings("box-b", SECRET, &events, &stop)));
        until(&mut reads, true).await;
        stop.cancel();
        asking.await.unwrap();
        answering.await.unwrap();
    }
}

#[test]
fn nothing_but_the_answer_to_this_question_is_an_answer() {
    let (secret, nonce, other) = (SECRET.as_bytes(), [1; 16], [2; 16]);
    let question = wire::question(secret, &nonce);
    assert_eq!(wire::read_question(secret, &question), Some(nonce));
    let answer = wire::answer(secret, &nonce, "box-a");
    assert_eq!(wire::read_answer(secret, &nonce, &answer), Some("box-a"));
    assert_eq!(wire::read_answer(secret, &other, &answer), None, "an old answer");
    assert_eq!(wire::read_answer(secret, &nonce, &question), None, "our own question come back");
    assert_eq!(wire::read_question(secret, &answer), None);
    for at in 0..answer.len() {
        let mut forged = answer.clone();
        forged[at] ^= 1;
        assert_eq!(wire::read_answer(secret, &nonce, &forged), None, "byte {at}");
        assert_eq!(wire::read_answer(secret, &nonce, &answer[..at]), None, "cut at {at}");
    }
}
