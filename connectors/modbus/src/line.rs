//! One endpoint, shared by all devices behind it.
//!
//! A gateway to a serial line serves one request at a time and few connections, so the devices
//! behind one endpoint share **one connection**, and each waits in turn, first come first served,
//! for every single request. Endpoints are compared as written: two names of one gateway are two
//! lines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use forebay_connector::PollError;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::session::{Answer, Read, Session};
use crate::settings::Endpoint;

/// Lines in use. A line ends with its last device.
static LINES: StdMutex<BTreeMap<Endpoint, Weak<Line>>> = StdMutex::new(BTreeMap::new());

/// The connection to one endpoint.
pub struct Line {
    endpoint: Endpoint,
    // tokio's mutex is fair: waiting requests are served in the order they came.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Counts how often the far end was gone. A device that connected before that must connect
    /// anew, because another one may stand there now. A connection given up for one device's
    /// silence does not count: it is no fault of its neighbours.
    generation: u64,
    /// End of the last request.
    quiet_since: Option<Instant>,
}

/// How one device uses the line.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// Longest wait for the connection and for an answer.
    pub timeout: Duration,
    /// Silence before a request.
    pub pause: Duration,
    /// What [`Line::connect`] gave.
    pub generation: u64,
}

impl Line {
    /// The line to this endpoint.
    pub fn to(endpoint: &Endpoint) -> Arc<Self> {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(endpoint).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::new(Self { endpoint: endpoint.clone(), state: Mutex::default() });
        lines.insert(endpoint.clone(), Arc::downgrade(&line));
        line
    }

    /// Connects, unless a neighbour has done so; gives the generation of the connection.
    ///
    /// Whoever had an error has closed the connection with it, so one that is open is sound.
    ///
    /// # Errors
    /// [`PollError::Connect`].
    pub async fn connect(&self, limit: Duration) -> Result<u64, PollError> {
        let mut state = self.state.lock().await;
        let session = state.take_or_connect(&self.endpoint, limit).await?;
        state.session = Some(session);
        Ok(state.generation)
    }

    /// Waits for its turn, then sends one request.
    ///
    /// # Errors
    /// As [`Session::read`], and [`PollError::Connect`] or [`PollError::Lost`] when the connection
    /// had to be rebuilt for another device and the far end is not what it was.
    pub async fn read(&self, manners: Manners, read: Read) -> Result<Answer, PollError> {
        let mut state = self.state.lock().await;
        if state.generation != manners.generation {
            return Err(PollError::Lost { cause: format!("{} was gone meanwhile", self.endpoint) });
        }
        // Out of the state while in use: if this call is dropped, so is the connection.
        let session = state.take_or_connect(&self.endpoint, manners.timeout).await?;
        if let Some(quiet_since) = state.quiet_since.filter(|_| !manners.pause.is_zero()) {
            sleep_until(quiet_since + manners.pause).await;
        }
        let outcome = session.read(read, manners.timeout).await;
        state.quiet_since = Some(Instant::now());
        match outcome {
            Ok((session, answer)) => {
                state.session = Some(session);
                Ok(answer)
            }
            Err(error) => {
                if matches!(error, PollError::Lost { .. }) {
                    state.generation += 1;
                }
                Err(error)
            }
        }
    }

    /// Closes the connection.
    pub async fn hang_up(&self) {
        self.state.lock().await.session = None;
    }
}

impl State {
    async fn take_or_connect(&mut self, endpoint: &Endpoint, limit: Duration) -> Result<Session, PollError> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => Session::connect(endpoint, limit).await.inspect_err(|_| self.generation += 1),
        }
    }
}
