//! The standby box: asks whether the active box lives, and opens the gate when it does not.

use std::time::Duration;

use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{StandbyFor, Surroundings, wire};
use crate::clock;
use crate::event::{Event, Kind, What};

/// Questions within the silence that is allowed: one lost datagram must not look like a dead box.
const QUESTIONS: u32 = 10;
/// Answers in a row after which the active box is believed to be back.
const ANSWERS_BACK: u32 = 3;

/// What is known of the active box.
struct Active {
    /// When it answered last; at first the start, so that it is given its time.
    heard: Instant,
    /// Answers since the last question that had none.
    in_a_row: u32,
}

/// Asks until stopped. The gate opens after [`StandbyFor::after`] of silence and closes when the active
/// box answers again. Without its secret this box stands by for ever.
pub async fn ask(standby: StandbyFor, gate: watch::Sender<bool>, surroundings: Surroundings) {
    let Some(secret) = surroundings.secret().await else { return };
    let interval = (standby.after / QUESTIONS).max(Duration::from_millis(20));
    let mut active = Active { heard: Instant::now(), in_a_row: 0 };
    let mut socket = None;
    loop {
        let next = Instant::now() + interval;
        let answered = tokio::select! {
            () = surroundings.stop.cancelled() => return,
            answered = question(&mut socket, &standby, &secret, next) => answered,
        };
        if answered {
            active = Active { heard: Instant::now(), in_a_row: active.in_a_row.saturating_add(1) };
        } else {
            active.in_a_row = 0;
        }
        turn(&standby, &gate, &surroundings, &active);
        if surroundings.stop.run_until_cancelled(sleep_until(next)).await.is_none() {
            return;
        }
    }
}

/// Opens or closes the gate where it is time to.
fn turn(standby: &StandbyFor, gate: &watch::Sender<bool>, surroundings: &Surroundings, active: &Active) {
    let reads = *gate.borrow();
    let of = &standby.of;
    let silent = active.heard.elapsed();
    if !reads && silent >= standby.after {
        let text = format!(
            "box {of} has not answered for {:.1} s: this box reads its machines. If {of} only cannot be reached \
             from here, both read; what this box writes is marked",
            silent.as_secs_f64()
        );
        tell(surroundings, What::StandbyReads, of, text);
        gate.send_replace(true);
    } else if reads && active.in_a_row >= ANSWERS_BACK {
        tell(surroundings, What::StandbyWaits, of, format!("box {of} answers again: this box stands by"));
        gate.send_replace(false);
    }
}

fn tell(surroundings: &Surroundings, what: What, of: &str, text: String) {
    tracing::warn!("{text}");
    surroundings.events.emit(Event {
        kind: Kind::Box,
        edge_time: clock::now_us(),
        device: surroundings.box_path.clone(),
        text,
        data: json!({ "what": what, "of": of }),
    });
}

/// Asks once; true when the right box has answered before `until`.
async fn question(
    socket: &mut Option<UdpSocket>,
    standby: &StandbyFor,
    secret: &[u8],
    until: Instant,
) -> bool {
    let asked = tokio::time::timeout_at(until, exchange(socket, standby, secret)).await;
    match asked {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            // The name may have got another address, or the network another route.
            tracing::debug!("no question to the active box: {error}");
            *socket = None;
            false
        }
        Err(_) => false,
    }
}

async fn exchange(kept: &mut Option<UdpSocket>, standby: &StandbyFor, secret: &[u8]) -> std::io::Result<()> {
    let socket = match kept {
        Some(socket) => socket,
        None => kept.insert(connected(&standby.ask).await?),
    };
    let mut nonce = [0; wire::NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| std::io::Error::other(error.to_string()))?;
    socket.send(&wire::question(secret, &nonce)).await?;
    let mut datagram = [0; wire::DATAGRAM_BYTES_MAX + 1];
    // Late answers to earlier questions are passed over; the caller bounds the time.
    loop {
        let length = socket.recv(&mut datagram).await?;
        let who = datagram.get(..length).and_then(|it| wire::read_answer(secret, &nonce, it));
        match who {
            Some(edge) if edge == standby.of => return Ok(()),
            Some(edge) => {
                let what = format!("the box {edge} answers, not {}", standby.of);
                return Err(std::io::Error::other(what));
            }
            None => {}
        }
    }
}

async fn connected(target: &str) -> std::io::Result<UdpSocket> {
    let address = tokio::net::lookup_host(target).await?.next();
    let address = address.ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
