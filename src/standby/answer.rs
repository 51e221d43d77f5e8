//! The active box: tells its standby that it lives.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{RETRY, Surroundings, wire};

/// A standby that has not asked for so long is said to be missing: nobody would step in.
const STANDBY_MISSING_AFTER: Duration = Duration::from_secs(60);

/// Answers questions at `listen` until stopped, with the credential `secret`.
pub async fn answer(listen: SocketAddr, secret: &str, surroundings: &Surroundings) {
    let Some(secret) = surroundings.secret(secret).await else { return };
    let Some(socket) = socket(listen, surroundings).await else { return };
    let mut datagram = [0; wire::DATAGRAM_BYTES_MAX + 1];
    let (mut asked, mut missing) = (Instant::now(), false);
    loop {
        let received = tokio::select! {
            () = surroundings.stop.cancelled() => return,
            received = socket.recv_from(&mut datagram) => received.ok(),
            () = tokio::time::sleep_until(asked + STANDBY_MISSING_AFTER), if !missing => {
                missing = true;
                tracing::warn!("the standby box has not asked for {} s", STANDBY_MISSING_AFTER.as_secs());
                continue;
            }
        };
        let question = received
            .and_then(|(length, from)| Some((wire::read_question(&secret, datagram.get(..length)?)?, from)));
        let Some((nonce, from)) = question else { continue };
        asked = Instant::now();
        if std::mem::take(&mut missing) {
            tracing::info!("the standby box asks again");
        }
        let answer = wire::answer(&secret, &nonce, &surroundings.edge);
        if let Err(error) = socket.send_to(&answer, from).await {
            tracing::debug!("no answer to the standby box: {error}");
        }
    }
}

/// The socket, as soon as the address can be had.
async fn socket(listen: SocketAddr, surroundings: &Surroundings) -> Option<UdpSocket> {
    let mut told = false;
    loop {
        match UdpSocket::bind(listen).await {
            Ok(socket) => return Some(socket),
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::error!("[standby] cannot answer on {listen}: {error} (trying again)");
            }
            Err(_) => {}
        }
        surroundings.pause(RETRY).await?;
    }
}
