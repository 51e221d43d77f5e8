//! What is asked of a CPU besides its values, when connecting and now and then.

use std::time::Duration;

use forebay_connector::{DeviceMessage, PollError};
use tokio::time::Instant;

use crate::identity::{self, Connections, State};
use crate::refusal;
use crate::session::Session;
use crate::settings::{Kind, Settings, Target};
use crate::szl::{List, ListId};

/// In this order; a device that breaks off over one is not asked the later ones.
const QUESTIONS: [ListId; 4] =
    [identity::MODULE, identity::CONNECTIONS, identity::STATE, identity::COMPONENTS];

/// How often connections and state are looked at while the CPU is read.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// After so long a device that broke off is asked again: it may be another one by then.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Asks, and remembers what the device does not bear to be asked.
pub(crate) struct Watch {
    /// How many of [`QUESTIONS`] are asked, and until when no more.
    bears: usize,
    until: Option<Instant>,
    /// The question over which the device was lost the last time, and could not be reached again;
    /// or the one that is under way.
    suspect: Option<usize>,
    /// The kind of connection that is open.
    target: Target,
    /// The device tells its connections, and its state.
    tells: (bool, bool),
    state: Option<State>,
    next: Instant,
    messages: Vec<DeviceMessage>,
}

impl Watch {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            bears: QUESTIONS.len(),
            until: None,
            suspect: None,
            target: settings.target,
            tells: (false, false),
            state: None,
            next: Instant::now(),
            messages: Vec::new(),
        }
    }

    /// Connects by a kind of connection that leaves one to the engineer, and asks the CPU who it
    /// is; empty when it does not say.
    pub(crate) async fn connect(&mut self, settings: &Settings) -> Result<(Session, String), PollError> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            (self.bears, self.until) = (QUESTIONS.len(), None);
        }
        self.target = settings.target;
        let mut session = Session::open(settings, self.target).await?;
        let module = self.ask(&mut session, settings, identity::MODULE).await?;
        self.tells.0 = self.leave_one(&mut session, settings).await?;
        let state = self.ask(&mut session, settings, identity::STATE).await?;
        let state = state.as_ref().and_then(State::read);
        self.tells.1 = state.is_some();
        self.saw(state);
        let components = self.ask(&mut session, settings, identity::COMPONENTS).await?;
        self.next = Instant::now() + LOOK_EVERY;
        Ok((session, identity::text(module.as_ref(), components.as_ref())))
    }

    /// Changes to another kind of connection until one is left for the engineer. True when the
    /// CPU tells its connections.
    async fn leave_one(&mut self, session: &mut Session, settings: &Settings) -> Result<bool, PollError> {
        loop {
            let list = self.ask(session, settings, identity::CONNECTIONS).await?;
            let Some(connections) = list.as_ref().and_then(Connections::read) else { return Ok(false) };
            if settings.take_last || connections.leave_one(self.target.kind()) {
                return Ok(true);
            }
            let other = match self.target.kind() {
                Some(Kind::Pg) => self.target.with(Kind::Op),
                Some(Kind::Op) => self.target.with(Kind::Basic),
                Some(Kind::Basic) | None => None,
            };
            session.close().await;
            self.target = other.ok_or_else(refusal::last_connection)?;
            *session = Session::open(settings, self.target).await.map_err(|error| match error {
                PollError::Refused { .. } => refusal::last_connection(),
                other => other,
            })?;
        }
    }

    /// Asks for a list; `None` when the device does not give it. A device that does not know the
    /// question may have lost its thread over it: then the connection is a new one.
    async fn ask(
        &mut self,
        session: &mut Session,
        settings: &Settings,
        list: ListId,
    ) -> Result<Option<List>, PollError> {
        let Some(number) = QUESTIONS[..self.bears].iter().position(|question| *question == list) else {
            return Ok(None);
        };
        let before = (self.bears, self.until, self.suspect);
        // Noted before it is asked: a caller who loses patience drops this future half-way. Lost
        // over the same question once more, it is left out.
        if self.suspect == Some(number) {
            self.leave_out(number);
        } else {
            self.suspect = Some(number);
        }
        if let Ok(answer) = session.list(list).await {
            (self.bears, self.until) = (before.0, before.1);
            self.suspect = before.2.filter(|suspect| *suspect != number);
            return Ok(answer);
        }
        // Two at a time could take the last connection, which is the engineer's.
        session.close().await;
        *session = Session::open(settings, self.target).await?;
        // It is there, so it was the question.
        self.leave_out(number);
        Ok(None)
    }

    /// Asks neither this question nor the later ones for a while.
    fn leave_out(&mut self, number: usize) {
        (self.bears, self.until) = (number, Some(Instant::now() + ASK_AGAIN_AFTER));
        self.suspect = None;
    }

    /// Looks now and then whether the CPU still runs, and whether somebody else has taken the
    /// connections that were left for the engineer while he is not there.
    pub(crate) async fn look(&mut self, session: &mut Session, settings: &Settings) -> Result<(), PollError> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + LOOK_EVERY;
        if self.tells.0 && !settings.take_last {
            let list = session.list(identity::CONNECTIONS).await?;
            let ours = self.target.kind();
            let shut_out = list
                .as_ref()
                .and_then(Connections::read)
                .is_some_and(|now| !now.leave_one(ours) && !now.engineer_is_in(ours));
            if shut_out {
                session.close().await;
                return Err(refusal::last_connection());
            }
        }
        if self.tells.1 {
            let state = session.list(identity::STATE).await?;
            self.saw(state.as_ref().and_then(State::read));
        }
        Ok(())
    }

    /// Notes the state and makes a message when it has changed.
    fn saw(&mut self, state: Option<State>) {
        let Some(state) = state.filter(|state| self.state != Some(*state)) else { return };
        let first = self.state.replace(state).is_none();
        if first && state == State::Run {
            return; // as it should be: nothing to tell
        }
        let text = match state {
            State::Run => "the CPU is in RUN",
            State::Stop => "the CPU is in STOP: its program does not run and its values stand still",
            State::Startup => "the CPU starts up",
            State::Hold => "the CPU is in HOLD: its program stands at a breakpoint",
        };
        self.messages.push(DeviceMessage {
            source_us: None,
            source: "CPU".into(),
            kind: "OperatingState".into(),
            text: text.into(),
            severity: if state == State::Run { 100 } else { 700 },
            active: Some(state != State::Run),
            acknowledged: None,
            condition: "operating-state".into(),
        });
    }

    /// Hands over what there is to tell.
    pub(crate) fn take_messages(&mut self, messages: &mut Vec<DeviceMessage>) {
        messages.append(&mut self.messages);
    }
}
