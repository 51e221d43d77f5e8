//! A port that somebody chose, in front of the one that the simulated machine has.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The port; closed when this is dropped.
pub struct Door {
    /// The machine's endpoint with this port.
    pub endpoint: String,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hands connections to `port` of 127.0.0.1 on to the machine at `endpoint`.
///
/// # Errors
/// When somebody has the port, or the system does not give it.
pub async fn open(port: u16, endpoint: &str) -> anyhow::Result<Door> {
    let address = endpoint.rsplit("://").next().unwrap_or(endpoint);
    let address: SocketAddr = address
        .trim_end_matches('/')
        .parse()
        .with_context(|| format!("{endpoint} has no port that another one could stand for"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| {
        format!("port {port} of 127.0.0.1 cannot be had: choose another one (below 1024 they are root's)")
    })?;
    let task = tokio::spawn(async move {
        loop {
            let Ok((mut outside, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                if let Ok(mut inside) = TcpStream::connect(address).await {
                    // Small requests and answers: waiting for more would only slow them.
                    let _slower = (outside.set_nodelay(true), inside.set_nodelay(true));
                    // Whichever side goes, the other follows.
                    let _ended = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    let endpoint = endpoint.replace(&address.to_string(), &format!("127.0.0.1:{port}"));
    Ok(Door { endpoint, task })
}
