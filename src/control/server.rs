//! Connections to the control socket: bounded in number, in time and in size.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::socket::Socket;

/// Connections at once; the next ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 16;
/// The head of a request must be complete within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request's head at most; hyper takes no less than 8 KiB.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header lines of a request at most.
const HEADERS_MAX: usize = 32;
/// No connection lives longer, answer included.
const LIFETIME: Duration = Duration::from_secs(120);
/// Pause after a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`; returns when all connections have ended.
pub(super) async fn serve(socket: &Socket, router: Router, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let service = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, socket.listener.accept().await)
            } => accepted,
        };
        let (place, stream) = match accepted {
            (place, Ok((stream, _))) => (place, stream),
            (_, Err(error)) => {
                // Out of file descriptors, mostly; they come back when connections end.
                tracing::debug!("control socket: cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (service, stop) = (service.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            connection(stream, service, stop).await;
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: UnixStream, service: TowerToHyperService<Router>, stop: CancellationToken) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // What a client breaks is its own affair.
        _ended = tokio::time::timeout(LIFETIME, serving) => {}
    }
}
