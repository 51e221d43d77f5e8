//! Connections: bounded in number, in time and in the size of what they send.
//!
//! `axum::serve` has neither a limit of connections nor a time limit for the request's head, so
//! that a handful of silent clients could keep everybody out. Here a new connection is always
//! taken; when the table is full, the oldest one that is no live stream goes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request's head must be complete within this time; also the longest idle time between two
/// requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a request's head at most; hyper takes no less than 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of a request at most.
const HEADERS_MAX: usize = 64;

/// No connection lives longer. A live page connects anew within a second; one that no longer
/// reads frees its place.
const LIFETIME: Duration = Duration::from_secs(600);

/// Connections beside the live streams, for pages, files and probes.
const PASSING_MAX: usize = 64;

/// Address of who asks, put into each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Put into a request so that its handler can say: this connection has become a live stream.
#[derive(Clone, Default)]
pub(super) struct LiveMark(Arc<AtomicBool>);

impl LiveMark {
    /// While `place` is held, the connection is not the one that goes when the table is full.
    pub(super) fn sit(self, place: OwnedSemaphorePermit) -> Seat {
        self.0.store(true, Ordering::Relaxed);
        Seat { mark: self, _place: place }
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The place of a live reader; free again when dropped.
pub(super) struct Seat {
    mark: LiveMark,
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.mark.0.store(false, Ordering::Relaxed);
    }
}

/// Open connections, oldest first.
#[derive(Default)]
struct Table(Mutex<VecDeque<(LiveMark, CancellationToken)>>);

impl Table {
    /// Enters a connection, ending the oldest passing one when there are `max`.
    fn enter(&self, mark: &LiveMark, end: &CancellationToken, max: usize) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, end)| !end.is_cancelled());
        if open.len() >= max
            && let Some(oldest) = open.iter().position(|(mark, _)| !mark.is_set())
            && let Some((_, end)) = open.remove(oldest)
        {
            end.cancel();
        }
        open.push_back((mark.clone(), end.clone()));
    }
}

/// Serves until `stop`; returns when all connections have ended.
pub(super) async fn listen(listener: TcpListener, router: Router, live_max: usize, stop: CancellationToken) {
    let table = Table::default();
    let tasks = TaskTracker::new();
    let service = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, Peer(address.ip().to_canonical())),
            Err(error) => {
                // Out of file descriptors, mostly; they come back when connections end.
                tracing::debug!("status page: cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (mark, end) = (LiveMark::default(), stop.child_token());
        table.enter(&mark, &end, live_max + PASSING_MAX);
        tasks.spawn(connection(stream, peer, service.clone(), mark, end));
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    service: TowerToHyperService<Router>,
    mark: LiveMark,
    end: CancellationToken,
) {
    // Small answers, sent at once. A socket that refuses is slower, no more.
    let _slower = stream.set_nodelay(true);
    let answer = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(mark.clone());
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        biased;
        () = end.cancelled() => {}
        // What a client breaks is its own affair; there is nothing to do about it here.
        _ended = tokio::time::timeout(LIFETIME, serving) => {}
    }
    // Tells the table that the place is free.
    end.cancel();
}
