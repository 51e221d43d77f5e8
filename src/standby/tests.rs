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
        secret: Arc::new(move |_: &str| Ok(secret.clone())),
        events: events.clone(),
        stop: stop.clone(),
    }
}

fn standby(port: u16) -> StandbyFor {
    StandbyFor {
        of: "box-a".into(),
        heartbeat: Some(Heartbeat { at: format!("127.0.0.1:{port}"), secret: "standby".into() }),
        lease: None,
        after: Duration::from_millis(400),
        devices: Vec::new(),
    }
}

fn report() -> watch::Sender<Report> {
    watch::Sender::new(Report::Active { lease: None })
}

fn answering(listen: SocketAddr, surroundings: Surroundings) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { answer(listen, "standby", &surroundings).await })
}

fn standing_by(
    standby: StandbyFor,
    gate: watch::Sender<bool>,
    surroundings: Surroundings,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(stand_by(standby, None, gate, report(), surroundings))
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
    let active = || answering(listen, surroundings("box-a", SECRET, &events, &stop_active));
    let first = active();
    let (gate, mut reads) = watch::channel(false);
    let asking = standing_by(standby(port), gate, surroundings("box-b", SECRET, &events, &stop));
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
        let answering = answering(listen, surroundings(edge, secret, &events, &stop));
        let (gate, mut reads) = watch::channel(false);
        let asking = standing_by(standby(port), gate, surroundings("box-b", SECRET, &events, &stop));
        until(&mut reads, true).await;
        stop.cancel();
        asking.await.unwrap();
        answering.await.unwrap();
    }
}

/// An active box whose answers take this long.
async fn slow(delay: Duration) -> SocketAddr {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 256];
        loop {
            let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
            let nonce = wire::read_question(SECRET.as_bytes(), &datagram[..length]).unwrap();
            let socket = Arc::clone(&socket);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let answer = wire::answer(SECRET.as_bytes(), &nonce, "box-a");
                // The standby may have gone.
                let _sent = socket.send_to(&answer, from).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_may_take_longer_than_there_is_between_two_questions() {
    // A question every 40 ms.
    let active = slow(Duration::from_millis(100)).await;
    let ((events, _emitted), stop) = (Events::new(), CancellationToken::new());
    let (gate, mut reads) = watch::channel(false);
    let asking = standing_by(standby(active.port()), gate, surroundings("box-b", SECRET, &events, &stop));
    let opened = timeout(Duration::from_secs(1), reads.wait_for(|open| *open)).await.is_ok();
    assert!(!opened, "each question is answered");
    stop.cancel();
    asking.await.unwrap();
}

#[tokio::test]
async fn the_name_is_looked_up_again_and_may_take_longer_than_a_question() {
    let (old, new) = (port().await, slow(Duration::ZERO).await);
    // Bound and mute: nothing says that nobody is there any more.
    let _mute = UdpSocket::bind((Ipv4Addr::LOCALHOST, old)).await.unwrap();
    let ((events, _emitted), stop) = (Events::new(), CancellationToken::new());
    let (gate, mut reads) = watch::channel(false);
    let looked_up = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let look_up = move || {
        // Half a second, so that the gate opens.
        let first = looked_up.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 5;
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(if first { SocketAddr::from((Ipv4Addr::LOCALHOST, old)) } else { new })
        }
    };
    let around = surroundings("box-b", SECRET, &events, &stop);
    let asking = tokio::spawn(stand_by_at(look_up, standby(old), None, (gate, report()), around));
    until(&mut reads, true).await;
    until(&mut reads, false).await;
    stop.cancel();
    asking.await.unwrap();
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
