//! The status page: is my data all right, how long can we stay offline, is anything about to fail?
//!
//! [`serve`] shows the [`crate::twin`] and the [`Facts`] as pages for operators, as JSON and as
//! metrics, all made from one `View` and its words. It holds no lock while it waits. Only a person
//! who is signed in changes anything, by one of the [`actions`]. `docs/status-page.md` is the text for users.
//!
//! Invariants: all words come from `words.rs`; text from outside goes through `speech::plain` and
//! maud's escaping; no answer is larger than 60 KB of HTML; number, duration and size of
//! connections and requests are bounded (`listen.rs`, `http.rs`).

pub mod actions;
mod axis;
mod certificates;
mod chronicle;
mod draw;
pub mod facts;
mod frame;
mod health;
mod health_page;
mod host;
mod http;
mod judge;
mod listen;
mod live;
mod machine;
mod metrics;
mod month;
mod page;
mod people;
mod speech;
mod standby;
mod tiles;
mod trend;
mod verdict;
mod view;
mod words;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use facts::Facts;
pub use words::Language;

use crate::twin::Twin;

/// Settings of the status page.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Any address but loopback shows the page to the whole network.
    pub listen: SocketAddr,
    /// Language for readers whose browser asks for none we have.
    pub language: Language,
    /// Live readers at once, and requests waiting at once; more get a 503 with words.
    pub web_clients_max: usize,
    /// Names the box is reached by, beside `localhost` and its addresses.
    pub host_names: Vec<String>,
    /// Who may sign in, and what they can do.
    pub acts: actions::Acts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            language: Language::En,
            web_clients_max: 32,
            host_names: Vec::new(),
            acts: actions::Acts::default(),
        }
    }
}

/// The page cannot be served there. Nothing else of the box depends on it: go on and try again.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error(
        "status page: {address} is taken by another program; stop that program or choose another port (status.listen)"
    )]
    Taken {
        /// Where.
        address: SocketAddr,
    },
    /// The address is none of this box, or not yet.
    #[error(
        "status page: {address} is no address of this box (yet); check the network cable, or choose 127.0.0.1 or 0.0.0.0 (status.listen)"
    )]
    NotHere {
        /// Where.
        address: SocketAddr,
    },
    /// The system forbids the port.
    #[error(
        "status page: the system does not allow to listen on {address}; choose a port from 1024 on (status.listen)"
    )]
    Forbidden {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("status page: cannot listen on {address}: {cause}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
}

/// A page that is being served.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens; names the port when [`Options::listen`] asked for port 0.
    pub address: SocketAddr,
    /// Ends when `stop` was cancelled and the last connection is closed.
    pub task: JoinHandle<()>,
}

/// Listens and serves in a task of its own until `stop`.
///
/// # Errors
/// [`ServeError`] when nothing can listen there; calling again later is fine.
pub async fn serve(
    options: Options,
    twin: Arc<Twin>,
    facts: Arc<dyn Facts>,
    stop: CancellationToken,
) -> Result<Serving, ServeError> {
    let wanted = options.listen;
    let listener = TcpListener::bind(wanted).await.map_err(|cause| refused(wanted, cause))?;
    let address = listener.local_addr().map_err(|cause| refused(wanted, cause))?;
    if address.ip().is_loopback() {
        tracing::info!("status page: http://{address}");
    } else {
        tracing::warn!(
            "status page: http://{address}, open to the network, for reading without login (status.listen)"
        );
    }
    let live_max = options.web_clients_max;
    let site = Arc::new(http::Site::new(options, address, twin, facts, stop.clone()));
    let task = tokio::spawn(listen::listen(listener, http::router(site), live_max, stop));
    Ok(Serving { address, task })
}

fn refused(address: SocketAddr, cause: io::Error) -> ServeError {
    match cause.kind() {
        io::ErrorKind::AddrInUse => ServeError::Taken { address },
        io::ErrorKind::AddrNotAvailable => ServeError::NotHere { address },
        io::ErrorKind::PermissionDenied => ServeError::Forbidden { address },
        _ => ServeError::Other { address, cause },
    }
}
