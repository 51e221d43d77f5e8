//! A thread that runs only while the simulation waits for it, so that real code that sleeps and
//! waits has its turns in an order that the seed decides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::context::Context;
use crate::clock::Clock;

/// When the thread wants its next turn; `None` = it has ended.
type Wish = Option<Instant>;

/// The simulation's end.
pub struct Coroutine {
    turns: SyncSender<()>,
    wishes: Receiver<Wish>,
    wish: Wish,
    is_killed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's end.
#[derive(Clone)]
pub struct Turn {
    context: Context,
    turns: Arc<Mutex<Receiver<()>>>,
    wishes: SyncSender<Wish>,
    is_killed: Arc<AtomicBool>,
}

impl Coroutine {
    /// A thread that does `work` when it has a turn. Its random numbers come from the seed.
    pub fn new(context: &Context, work: impl FnOnce(Turn) + Send + 'static) -> Self {
        let (turns, taken) = sync_channel(0);
        let (wishes, wished) = sync_channel(0);
        let is_killed = Arc::new(AtomicBool::new(false));
        let turn = Turn {
            context: context.clone(),
            turns: Arc::new(Mutex::new(taken)),
            wishes,
            is_killed: Arc::clone(&is_killed),
        };
        let seed = context.seed;
        let thread = std::thread::spawn(move || {
            fastrand::seed(seed);
            turn.take();
            let wishes = turn.wishes.clone();
            work(turn);
            // Nobody waits for it when the simulation is gone.
            let _gone = wishes.send(None);
        });
        Self { turns, wishes: wished, wish: Some(context.now()), is_killed, thread: Some(thread) }
    }

    /// Time until it wants its next turn; `None` when it has ended.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        self.wish.map(|wish| wish.saturating_duration_since(now))
    }

    /// One turn.
    pub fn turn(&mut self) {
        // It has panicked when it does not answer.
        self.wish = self.turns.send(()).ok().and_then(|()| self.wishes.recv().ok()).flatten();
    }

    /// The process dies: nothing that the thread does from now on has an effect, and it ends.
    pub fn kill(mut self) {
        self.is_killed.store(true, Ordering::SeqCst);
        while self.wish.is_some() {
            self.turn();
        }
        self.thread.take().map(JoinHandle::join);
    }
}

impl Turn {
    /// Waits for the next turn. When the simulation is gone, so is the process.
    fn take(&self) {
        if self.turns.lock().unwrap().recv().is_err() {
            self.is_killed.store(true, Ordering::SeqCst);
        }
    }

    /// Lets the others have turns for `time`; false when the process has died meanwhile.
    pub fn give(&self, time: Duration) -> bool {
        if self.wishes.send(Some(self.context.now() + time)).is_ok() {
            self.take();
        }
        !self.is_killed()
    }

    pub fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst)
    }
}
