//! The line between a connector and a device: passes everything on, or is cut, or holds the
//! answers back until they are late. It works for simulators and for real devices alike.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::RigFault;

/// Bytes passed on at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Open,
    /// Requests pass, answers wait until the line is open again.
    Held,
    /// Nothing passes, and nobody listens.
    Cut,
}

/// A line to one device.
pub struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Where the device is now; a simulator that starts anew may have another port.
    target: watch::Sender<SocketAddr>,
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
    /// Bound, never listening: the port stays ours while the line is cut.
    _reserved: TcpSocket,
}

impl Line {
    /// A line to `host:port`.
    ///
    /// # Errors
    /// [`RigFault`] when there is no such host or no port to listen on.
    pub async fn to(host_and_port: &str) -> Result<Self, RigFault> {
        let target = resolve(host_and_port).await?;
        let no_port = |error: io::Error| RigFault(format!("no port on 127.0.0.1 for the line: {error}"));
        let reserved = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(no_port)?;
        let address = reserved.local_addr().map_err(no_port)?;
        let (state, states) = watch::channel(State::Open);
        let (target, targets) = watch::channel(target);
        let (said, listening) = watch::channel(false);
        let task = tokio::spawn(serve(address, states, targets, said));
        let mut line = Self { address, state, target, listening, task, _reserved: reserved };
        line.settle(true).await?;
        Ok(line)
    }

    /// `host:port` of this end.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Leads to another place from the next connection on.
    ///
    /// # Errors
    /// [`RigFault`] when there is no such host.
    pub async fn lead_to(&self, host_and_port: &str) -> Result<(), RigFault> {
        self.target.send_replace(resolve(host_and_port).await?);
        Ok(())
    }

    /// Changes what the line does; when this returns, it does.
    ///
    /// # Errors
    /// [`RigFault`] when the line's port was taken by someone else.
    pub async fn set(&mut self, state: State) -> Result<(), RigFault> {
        self.state.send_replace(state);
        self.settle(state != State::Cut).await
    }

    async fn settle(&mut self, listening: bool) -> Result<(), RigFault> {
        let settled = self.listening.wait_for(|now| *now == listening).await;
        settled.map(|_| ()).map_err(|_| RigFault(format!("the line at {} has ended", self.address)))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn resolve(host_and_port: &str) -> Result<SocketAddr, RigFault> {
    let found =
        lookup_host(host_and_port).await.map_err(|error| RigFault(format!("{host_and_port}: {error}")));
    found?.next().ok_or_else(|| RigFault(format!("{host_and_port} has no address")))
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Listens while the line is not cut.
async fn serve(
    address: SocketAddr,
    mut states: watch::Receiver<State>,
    targets: watch::Receiver<SocketAddr>,
    listening: watch::Sender<bool>,
) {
    let passing = states.clone();
    while states.wait_for(|state| *state != State::Cut).await.is_ok() {
        // The port is reserved for us.
        let Ok(listener) = bind(address).and_then(|socket| socket.listen(BACKLOG)) else { return };
        listening.send_replace(true);
        tokio::select! {
            ended = states.wait_for(|state| *state == State::Cut) => if ended.is_err() { return },
            () = accept(&listener, &passing, &targets) => return,
        }
        drop(listener);
        listening.send_replace(false);
    }
}

async fn accept(
    listener: &TcpListener,
    states: &watch::Receiver<State>,
    targets: &watch::Receiver<SocketAddr>,
) {
    // Fails when the system has no handles left: then there is nothing more to test here.
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass(client, *targets.borrow(), states.clone()));
    }
}

/// Passes bytes on until one side ends or the line is cut.
async fn pass(client: TcpStream, target: SocketAddr, mut states: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let held = states.clone();
    let requests = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from_client.read(&mut chunk).await {
            if to_server.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        let (mut chunk, mut held) = (vec![0; CHUNK_BYTES], held);
        while let Ok(count @ 1..) = from_server.read(&mut chunk).await {
            let open = held.wait_for(|state| *state == State::Open).await.is_ok();
            if !open || to_client.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _cut = states.wait_for(|state| *state == State::Cut) => {}
    }
}
