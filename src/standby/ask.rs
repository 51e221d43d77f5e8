//! The standby box: asks the active box on the local network whether it lives.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Heard, StandbyFor, Surroundings, judge, wire};

/// Questions within the silence that is allowed: one lost datagram must not look like a dead box. So
/// many may wait for their answers, so that a slow way looks not like a dead box either.
const QUESTIONS: u32 = 10;
/// After each so many questions without an answer the name is looked up again: the active box may have
/// got another address.
const MISSES_TO_LOOK_UP: u32 = 3;

/// Asks until stopped, and says what it has heard. Without its secret it says nothing.
pub(super) async fn ask_at<F>(
    look_up: impl Fn() -> F,
    standby: &StandbyFor,
    secret: &str,
    said: &watch::Sender<Heard>,
    surroundings: &Surroundings,
) where
    F: Future<Output = std::io::Result<SocketAddr>> + Send + 'static,
{
    let Some(secret) = surroundings.secret(secret).await else { return };
    let interval = (standby.after / QUESTIONS).max(Duration::from_millis(20));
    let start = Instant::now();
    let mut active = judge::nothing_heard();
    said.send_replace(active);
    let mut asking = Asking::new(standby, &secret);
    let mut misses: u32 = 0;
    loop {
        let next = Instant::now() + interval;
        if asking.socket.is_none() || (misses > 0 && misses.is_multiple_of(MISSES_TO_LOOK_UP)) {
            asking.looking.get_or_insert_with(|| Box::pin(look_up()));
        }
        let heard = tokio::select! {
            () = surroundings.stop.cancelled() => return,
            heard = asking.question(next) => heard,
        };
        if let Some(heard) = heard {
            let newest = active.heard.unwrap_or(start).max(heard);
            active = Heard { heard: Some(newest), in_a_row: active.in_a_row.saturating_add(1) };
            misses = 0;
        } else {
            active.in_a_row = 0;
            misses = misses.saturating_add(1);
        }
        said.send_replace(active);
        if surroundings.stop.run_until_cancelled(sleep_until(next)).await.is_none() {
            return;
        }
    }
}

/// A look-up under way.
type LookUp = Pin<Box<dyn Future<Output = std::io::Result<SocketAddr>> + Send>>;

/// The questions that may still be answered, and where they were sent.
struct Asking<'a> {
    standby: &'a StandbyFor,
    secret: &'a [u8],
    socket: Option<UdpSocket>,
    /// It may take longer than a question has; the old address is asked meanwhile.
    looking: Option<LookUp>,
    /// Nonces without an answer and when they were sent, oldest first, [`QUESTIONS`] at most.
    asked: VecDeque<(wire::Nonce, Instant)>,
}

impl<'a> Asking<'a> {
    fn new(standby: &'a StandbyFor, secret: &'a [u8]) -> Self {
        Self { standby, secret, socket: None, looking: None, asked: VecDeque::new() }
    }

    /// Asks once, and takes answers to this question and those before until `until` or the first one.
    /// Gives when the question was sent that was answered: then or later the active box has lived.
    async fn question(&mut self, until: Instant) -> Option<Instant> {
        let mut sent = self.send_or_forget().await;
        loop {
            let mut datagram = [0; wire::DATAGRAM_BYTES_MAX + 1];
            tokio::select! {
                () = sleep_until(until) => return None,
                address = looked_up(&mut self.looking) => {
                    self.looking = None;
                    if self.connect(address).await && !sent {
                        sent = self.send_or_forget().await;
                    }
                }
                length = received(self.socket.as_ref(), &mut datagram) => match length {
                    Ok(length) => {
                        let heard = datagram.get(..length).and_then(|datagram| self.answered(datagram));
                        if heard.is_some() {
                            return heard;
                        }
                    }
                    Err(error) => self.forget(&error),
                },
            }
        }
    }

    /// Sends a question; true when it is on its way.
    async fn send_or_forget(&mut self) -> bool {
        let sent = self.send().await;
        if let Err(error) = &sent {
            self.forget(error);
        }
        sent.unwrap_or(false)
    }

    async fn send(&mut self) -> std::io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(false) };
        let mut nonce = [0; wire::NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| std::io::Error::other(error.to_string()))?;
        while self.asked.len() >= QUESTIONS as usize {
            self.asked.pop_front();
        }
        self.asked.push_back((nonce, Instant::now()));
        socket.send(&wire::question(self.secret, &nonce)).await?;
        Ok(true)
    }

    /// When the question of this answer was sent. Each is believed once: a second answer is a copy.
    fn answered(&mut self, datagram: &[u8]) -> Option<Instant> {
        let answer = |nonce| wire::read_answer(self.secret, nonce, datagram);
        let (at, edge) =
            self.asked.iter().enumerate().find_map(|(at, (nonce, _))| Some((at, answer(nonce)?)))?;
        if edge != self.standby.of {
            tracing::debug!("the box {edge} answers, not {}", self.standby.of);
            return None;
        }
        self.asked.remove(at).map(|(_, sent)| sent)
    }

    /// Goes to the address that was found; true when there is a new socket. Where it is the one that
    /// is asked already, the socket stays: answers may be on their way to it.
    async fn connect(&mut self, address: std::io::Result<SocketAddr>) -> bool {
        let kept = self.socket.as_ref().and_then(|socket| socket.peer_addr().ok());
        let connected = match address {
            Ok(address) if kept == Some(address) => return false,
            Ok(address) => connected(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                tracing::debug!("no way to the active box: {error}");
                return false;
            }
        }
        true
    }

    /// The name may have got another address, or the network another route.
    fn forget(&mut self, error: &std::io::Error) {
        tracing::debug!("no question to the active box: {error}");
        self.socket = None;
    }
}

async fn looked_up(looking: &mut Option<LookUp>) -> std::io::Result<SocketAddr> {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

async fn received(socket: Option<&UdpSocket>, datagram: &mut [u8]) -> std::io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(datagram).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn address(target: String) -> std::io::Result<SocketAddr> {
    let address = tokio::net::lookup_host(target).await?.next();
    address.ok_or_else(|| std::io::Error::other("the name has no address"))
}

async fn connected(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
