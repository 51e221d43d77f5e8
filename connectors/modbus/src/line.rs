//! One endpoint, shared by all devices behind it.
//!
//! A gateway to a serial line serves one request at a time and few connections, and a serial port is
//! one line anyhow, so the devices behind one endpoint share **one connection**, and each waits in
//! turn, first come first served, for every single request. Endpoints are compared as written: two
//! names of one gateway are two lines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use forebay_connector::{OpenFault, Pace, PollError};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::endpoint::Endpoint;
use crate::frame::{Framing, Read};
use crate::session::{Answer, Session};
use crate::standing::{Caution, Standing};

/// Silence after a failure on a line whose answers name no request: adapters and serial servers
/// pass bytes on with up to some 20 ms delay.
const SILENCE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How many time limits late an answer may come where nothing but time tells it from others.
const LATEST: u32 = 5;
/// Longest such wait, whatever the time limit: the poller gives up a poll after a minute.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Exception of a gateway whose unit does not answer it.
const GATEWAY_TARGET_SILENT: u8 = 0x0B;

/// Lines in use. A line ends with its last device.
static LINES: StdMutex<BTreeMap<String, Weak<Line>>> = StdMutex::new(BTreeMap::new());

/// The connection to one endpoint.
pub struct Line {
    endpoint: Endpoint,
    // tokio's mutex is fair: waiting requests are served in the order they came.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Box<Session>>,
    /// Counts how often the far end was gone. A device that connected before that must connect
    /// anew, because another one may stand there now. A connection given up for one device's
    /// silence does not count: it is no fault of its neighbours.
    generation: u64,
    /// End of the last request.
    quiet_since: Option<Instant>,
    /// The last request failed, so the line must be silent before the next.
    unsettled: bool,
    standing: Standing,
}

/// How one device uses the line.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// Unit identifier.
    pub unit: u8,
    /// Longest wait for the connection and for an answer.
    pub timeout: Duration,
    /// Silence before a request.
    pub pause: Duration,
    /// Silence between connecting and the first request.
    pub pause_after_connect: Duration,
    /// What [`Line::connect`] gave.
    pub generation: u64,
    /// Most registers and most coils of a request.
    pub widest: [u16; 2],
    /// Other devices use this line too.
    pub shared: bool,
    /// What a failure says.
    pub blame: Blame,
}

/// Counts the requests of one device, and lets each wait for its turn.
#[derive(Default)]
pub struct Turns {
    /// Requests made so far.
    pub requests: u64,
    /// The device's budget, if it has one.
    pub pace: Option<Arc<dyn Pace>>,
}

impl Turns {
    async fn next(&mut self) {
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        self.requests += 1;
    }
}

/// Whom the failure of a request speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The unit when it is silent, the far end when it closes the connection.
    All,
    /// The unit when it is silent. That the connection is closed may be the request's own fault.
    Unit,
    /// Nobody: the unit is there, and the request is one that it may not like.
    None,
}

impl Manners {
    /// Most entries of a request to the table of this one.
    fn widest(&self, read: Read) -> u16 {
        self.widest[usize::from(read.table.is_bits())]
    }
}

impl Line {
    /// The line to this endpoint.
    ///
    /// # Errors
    /// [`OpenFault`] when a device that is open already has the same serial port set otherwise.
    pub fn to(endpoint: &Endpoint) -> Result<Arc<Self>, OpenFault> {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&endpoint.line()).and_then(Weak::upgrade) {
            if line.endpoint == *endpoint {
                return Ok(line);
            }
            return Err(OpenFault {
                message: format!(
                    "endpoint: {endpoint} is one line with {}, which another device says: write the same settings in both, as they are set on the devices",
                    line.endpoint
                ),
            });
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::new(Self { endpoint: endpoint.clone(), state: Mutex::default() });
        lines.insert(endpoint.line(), Arc::downgrade(&line));
        Ok(line)
    }

    /// Connects, unless a neighbour has done so; gives the generation of the connection.
    ///
    /// Whoever had an error has closed the connection with it, so one that is open is sound.
    ///
    /// # Errors
    /// [`PollError::Connect`]; [`PollError::Refused`] for a unit that must leave the line to others.
    pub async fn connect(&self, manners: Manners) -> Result<u64, PollError> {
        let mut state = self.state.lock().await;
        state.admit(manners)?;
        let session = state.take_or_connect(&self.endpoint, manners).await?;
        state.session = Some(session);
        Ok(state.generation)
    }

    /// Waits for its turn, then sends one request; the data of the answer are put into `data`. More
    /// requests may be needed, a fence or a repetition: each is a turn of its own.
    ///
    /// # Errors
    /// As [`Session::read`], and [`PollError::Connect`] or [`PollError::Lost`] when the connection
    /// had to be rebuilt for another device and the far end is not what it was.
    pub async fn read(
        &self,
        manners: Manners,
        read: Read,
        turns: &mut Turns,
        data: &mut Vec<u8>,
    ) -> Result<Answer, PollError> {
        let mut repeated = false;
        loop {
            // Before the line is taken, so that nobody holds it only to wait.
            turns.next().await;
            let mut state = self.state.lock().await;
            if state.generation != manners.generation {
                return Err(PollError::Lost { cause: format!("{} was gone meanwhile", self.endpoint) });
            }
            state.admit(manners)?;
            let began = Instant::now();
            let caution = state.standing.caution(read, manners.widest(read));
            let outcome = state.ask(&self.endpoint, manners, read, &caution, data).await;
            state.note(manners, &outcome, began);
            match outcome {
                Ok(_) if matches!(caution, Caution::Fence(_)) => {}
                // A neighbour's late answer is no fault of this unit; its own doubtful exception is
                // not a neighbour's.
                Err(PollError::Mismatch { .. })
                    if !repeated
                        && state.standing.others_may_answer(read.unit)
                        && state.standing.caution(read, manners.widest(read)) != Caution::Wait =>
                {
                    repeated = true;
                }
                outcome => return outcome,
            }
        }
    }

    /// Closes the connection.
    pub async fn hang_up(&self) {
        self.state.lock().await.session = None;
    }
}

impl State {
    fn admit(&self, manners: Manners) -> Result<(), PollError> {
        if manners.shared { self.standing.admit(manners.unit, Instant::now()) } else { Ok(()) }
    }

    async fn take_or_connect(
        &mut self,
        endpoint: &Endpoint,
        manners: Manners,
    ) -> Result<Box<Session>, PollError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let session =
            Session::connect(endpoint, manners.timeout).await.inspect_err(|_| self.generation += 1)?;
        if !manners.pause_after_connect.is_zero() {
            sleep(manners.pause_after_connect).await;
        }
        Ok(session)
    }

    /// One request, or the fence before it, after the silence that it needs. The session is out of
    /// the state meanwhile: if this call is dropped, so is the connection.
    async fn ask(
        &mut self,
        endpoint: &Endpoint,
        manners: Manners,
        read: Read,
        caution: &Caution,
        data: &mut Vec<u8>,
    ) -> Result<Answer, PollError> {
        let session = self.take_or_connect(endpoint, manners).await?;
        // Until there is an answer: a dropped call leaves the line as unsettled as a failed one.
        let was_unsettled = std::mem::replace(&mut self.unsettled, true);
        let silence = match (was_unsettled, caution) {
            (_, Caution::Wait) => (manners.timeout * LATEST).clamp(SILENCE_AFTER_FAILURE, WAIT_MAX),
            (true, _) => SILENCE_AFTER_FAILURE,
            (false, _) => Duration::ZERO,
        };
        let session = session.settle(silence, manners.timeout).await?;
        let read = if let Caution::Fence(fence) = caution { *fence } else { read };
        let has_waited = *caution == Caution::Wait;
        let (session, answer) =
            self.one(session, endpoint.framing(), manners, read, has_waited, data).await?;
        self.session = Some(session);
        self.unsettled = false;
        Ok(answer)
    }

    /// One request as such. After a wait an exception is believed, as data are.
    async fn one(
        &mut self,
        session: Box<Session>,
        framing: Framing,
        manners: Manners,
        read: Read,
        has_waited: bool,
        data: &mut Vec<u8>,
    ) -> Result<(Box<Session>, Answer), PollError> {
        if let Some(quiet_since) = self.quiet_since.filter(|_| !manners.pause.is_zero()) {
            sleep_until(quiet_since + manners.pause).await;
        }
        let doubts_exceptions = self.standing.doubts_exceptions(read) && !has_waited;
        if framing == Framing::Rtu {
            self.standing.may_come_late(read);
        }
        let outcome = session.read(read, manners.timeout, data).await;
        self.quiet_since = Some(Instant::now());
        if framing == Framing::Rtu {
            match &outcome {
                Ok((_, Answer::Exception(code))) if doubts_exceptions => {
                    self.standing.doubted(read.unit);
                    let what = format!(
                        "exception {code:02X} may be the late answer to an earlier request: if this is seen often, raise timeout"
                    );
                    return Err(PollError::Mismatch { what });
                }
                Ok(_) => self.standing.is_in_step(read.unit),
                Err(_) => {}
            }
        }
        outcome
    }

    fn note(&mut self, manners: Manners, outcome: &Result<Answer, PollError>, began: Instant) {
        let now = Instant::now();
        match outcome {
            Ok(Answer::Exception(GATEWAY_TARGET_SILENT)) | Err(PollError::Timeout { .. }) => {
                if manners.blame != Blame::None {
                    self.standing.silent(manners.unit, now - began, now);
                }
            }
            Ok(_) => self.standing.answered(manners.unit),
            Err(PollError::Lost { .. }) if manners.blame == Blame::All => self.generation += 1,
            Err(_) => {}
        }
    }
}
