//! Sending history once more: `forebay replay`.
//!
//! Each replay has an id, and with it a transactional id and a checkpoint of its own: whatever
//! happens to the box or to Kafka meanwhile, each record is sent exactly once for that id. The
//! records carry the headers they had, and `delivery: replay` with `replay: <id>`. Only what Kafka
//! had when it was asked for is sent again: the rest is still to come, as normal records.

pub mod command;
mod job;
mod source;
mod words;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use job::{Job, Order, Sent, State, is_id};
pub use words::line;

use crate::clock::{now_us, rfc3339};
use crate::control::Switches;
use crate::event::{Event, Events, Kind, What};
use crate::journal::FilesError;
use crate::lane::OfflineLane;
use crate::past::{self, Filter, Names, UnknownName};
use crate::replicate::{self, Backfill, Delivery, Options, ReplicationStatus, Replicator};
use source::ReplaySource;

/// Folder of the jobs below `paths.state`.
const FOLDER: &str = "replay";
/// Progress is looked at so often.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Jobs that are over and still shown.
const OVER_MAX: usize = 20;
/// Whether there is anything to send is looked for at most so long before the order is taken.
const LOOK_MAX: Duration = Duration::from_secs(3);
/// Jobs that wait at most.
const WAITING_MAX: usize = 100;

/// A replay that is not done, and why.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be meant.
    #[error("{0}")]
    Wrong(String),
    /// The history of that time is not there any more.
    #[error(
        "the history of lane {lane} begins at {oldest}, what was before is no longer on this box: ask for --from {oldest}"
    )]
    Gone {
        /// Name of the lane.
        lane: String,
        /// RFC 3339.
        oldest: String,
    },
    /// Nothing was stored in that time.
    #[error("lane {lane} holds nothing of that time and these machines: {extent}")]
    Nothing {
        /// Name of the lane.
        lane: String,
        /// From when to when it holds something, in words.
        extent: String,
    },
    /// No machine has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// The id was used for something else.
    #[error(
        "a replay with the id {id} exists and is another one, {meaning}: repeat that one with `{command}`, or choose \
         another id"
    )]
    Taken {
        /// The id.
        id: String,
        /// What was asked for under it.
        meaning: String,
        /// The command that asks for that again.
        command: String,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] FilesError),
    /// The job cannot be kept.
    #[error(transparent)]
    File(#[from] crate::backlog::FileError),
}

/// All replays of a box.
pub struct Replays {
    folder: PathBuf,
    journal: PathBuf,
    kafka: Options,
    switches: Switches,
    boot: String,
    events: Events,
    jobs: Mutex<Vec<Job>>,
    changed: Condvar,
    /// The ways of the lanes to Kafka; not there until their disk works.
    lanes: OnceLock<Vec<(&'static str, Arc<ReplicationStatus>)>>,
}

/// Why sending one has ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Cancelled,
    /// Something keeps it from being sent, in words; tried again.
    Trouble(String),
    Stopped,
}

impl Replays {
    /// Replays from the lanes below `journal`, with jobs kept below `state`, sent the way of
    /// `kafka`. Those that were not over when the process ended go on.
    pub fn new(
        state: &Path,
        journal: &Path,
        kafka: Options,
        switches: Switches,
        events: Events,
    ) -> Arc<Self> {
        let folder = state.join(FOLDER);
        let mut jobs = Job::all(&folder);
        for job in jobs.iter_mut().filter(|job| !job.state.is_over()) {
            job.interrupted |= job.state == State::Sending;
            job.state = State::Waiting;
        }
        Arc::new(Self {
            folder,
            journal: journal.to_owned(),
            kafka,
            switches,
            boot: format!("{:016x}", fastrand::u64(..)),
            events,
            jobs: Mutex::new(jobs),
            changed: Condvar::new(),
            lanes: OnceLock::new(),
        })
    }

    /// From now on it can be seen what Kafka has of each lane.
    pub fn open(&self, lanes: Vec<(&'static str, Arc<ReplicationStatus>)>) {
        // They are opened once.
        let _before = self.lanes.set(lanes);
    }

    fn lane(&self, name: &str) -> Option<&ReplicationStatus> {
        self.lanes.get()?.iter().find(|(lane, _)| *lane == name).map(|(_, status)| status.as_ref())
    }

    /// What Kafka has of a lane; `None` before the first contact.
    fn sent(&self, lane: &str) -> Option<Sent> {
        let now = self.lane(lane)?.snapshot();
        Some(Sent { below: now.next_offset?, but: now.left })
    }

    /// All jobs, oldest first.
    pub fn list(&self) -> Vec<Job> {
        self.lock().clone()
    }

    /// One job.
    pub fn get(&self, id: &str) -> Option<Job> {
        self.lock().iter().find(|job| job.order.id == id).cloned()
    }

    /// Takes an order; `synced` is behind the last synced record of its lane. The same order once
    /// more gives the job it gave before, and false.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn order(&self, order: Order, synced: u64) -> Result<(Job, bool), ReplayError> {
        if !is_id(&order.id) {
            return Err(ReplayError::Wrong("an id is 1 to 40 letters (a to z), digits and -".into()));
        }
        if order.from_us >= order.to_us {
            return Err(ReplayError::Wrong(
                "it ends before it begins: --from must be earlier than --until".into(),
            ));
        }
        if let Some(known) = self.known(&order)? {
            return Ok((known, false));
        }
        // Before it is looked for: what is sent meanwhile is sent once.
        let sent = self.sent(&order.lane);
        let mut lane = OfflineLane::open(&self.journal.join(&order.lane), Some(synced))?;
        self.check_names(&mut lane, &order)?;
        let (from_offset, to_offset) = find(&mut lane, &order)?;
        let job = Job {
            epoch: lane.files().epoch().to_string(),
            from_offset,
            to_offset,
            created_us: now_us(),
            state: State::Waiting,
            next_offset: from_offset,
            sent,
            records: 0,
            interrupted: false,
            unsent: 0,
            missing: 0,
            text: String::new(),
            order,
        };
        let mut jobs = self.lock();
        // Finding it took a while.
        if let Some(known) = jobs.iter().find(|known| known.order.id == job.order.id) {
            return Ok((same(known, &job.order)?, false));
        }
        if jobs.iter().filter(|job| !job.state.is_over()).count() >= WAITING_MAX {
            return Err(ReplayError::Wrong(format!("{WAITING_MAX} replays wait already")));
        }
        // Durable before anybody is told.
        job.save(&self.folder)?;
        jobs.push(job.clone());
        let over: Vec<Job> = jobs.iter().filter(|job| job.state.is_over()).cloned().collect();
        for old in over.iter().take(over.len().saturating_sub(OVER_MAX)) {
            old.remove(&self.folder);
            jobs.retain(|job| job.order.id != old.order.id);
        }
        self.changed.notify_all();
        Ok((job, true))
    }

    /// The job that this order gave before, if it did.
    fn known(&self, order: &Order) -> Result<Option<Job>, ReplayError> {
        self.lock()
            .iter()
            .find(|known| known.order.id == order.id)
            .map(|known| same(known, order))
            .transpose()
    }

    /// Whether all machines that are asked for are known.
    fn check_names(&self, lane: &mut OfflineLane, order: &Order) -> Result<(), ReplayError> {
        let filter = order.filter();
        if filter.devices.is_empty() {
            return Ok(());
        }
        let mut names = Names::default();
        if order.lane == "events" {
            names.add_events(lane);
        } else {
            names = Names::of_telemetry(lane);
        }
        Ok(names.check(&filter)?)
    }

    /// Stops a job that is not over; what was sent stays in Kafka. `None` = there is none.
    pub fn cancel(&self, id: &str) -> Option<Job> {
        let mut jobs = self.lock();
        let job = jobs.iter_mut().find(|job| job.order.id == id)?;
        if !job.state.is_over() {
            job.state = State::Cancelled;
            self.keep(job);
            self.changed.notify_all();
        }
        Some(job.clone())
    }

    /// Sends what waits and what comes, until `stop`; on a thread of its own, because the
    /// replicator blocks.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(self: &Arc<Self>, stop: CancellationToken) -> std::io::Result<()> {
        let this = Arc::clone(self);
        std::thread::Builder::new().name("replays".into()).spawn(move || this.run(&stop)).map(drop)
    }

    fn run(&self, stop: &CancellationToken) {
        while let Some(job) = self.next(stop) {
            let id = job.order.id.clone();
            match self.send(&job, stop) {
                Outcome::Stopped => return,
                Outcome::Cancelled => self.tell(&id, What::ReplayCancelled, "was cancelled"),
                Outcome::Done => {
                    self.change(&id, |job| {
                        (job.state, job.next_offset, job.text) = (State::Done, job.to_offset, String::new());
                    });
                    self.tell(&id, What::ReplayDone, "is in Kafka");
                }
                Outcome::Trouble(why) => {
                    self.change(&id, |job| job.text = why);
                    self.wait(stop, Duration::from_secs(10));
                }
            }
        }
    }

    /// The next job that is not over; waits for one. `None` = stop.
    fn next(&self, stop: &CancellationToken) -> Option<Job> {
        loop {
            if stop.is_cancelled() {
                return None;
            }
            if let Some(job) = self.lock().iter().find(|job| !job.state.is_over()) {
                return Some(job.clone());
            }
            self.wait(stop, Duration::from_secs(60));
        }
    }

    fn wait(&self, stop: &CancellationToken, limit: Duration) {
        let end = Instant::now() + limit;
        let mut jobs = self.lock();
        let known = jobs.len();
        while Instant::now() < end && !stop.is_cancelled() && jobs.len() == known {
            jobs = self.changed.wait_timeout(jobs, WATCH_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Those that wait behind mean what Kafka has now, too, not what it has when their turn comes.
    fn settle_others(&self, lane: &str, sent: Option<&Sent>) {
        for job in self.lock().iter_mut() {
            if job.order.lane == lane && job.sent.is_none() && !job.state.is_over() {
                job.sent = sent.cloned();
                self.keep(job);
            }
        }
    }

    /// Waits until it is known what Kafka had: the job with that.
    fn settle(&self, job: &Job, stop: &CancellationToken) -> Result<Job, Outcome> {
        let Order { id, lane, .. } = &job.order;
        let mut job = job.clone();
        while job.sent.is_none() {
            job.sent = self.sent(lane);
            if job.sent.is_some() {
                self.settle_others(lane, job.sent.as_ref());
            }
            let why = match self.lane(lane).map(|status| status.snapshot().state) {
                _ if job.sent.is_some() => String::new(),
                None => "the journal is not open yet".to_owned(),
                Some(replicate::State::Connecting) => {
                    "the box is asking Kafka what it has already".to_owned()
                }
                Some(state) => state.to_string(),
            };
            let mut cancelled = false;
            self.change(id, |known| {
                cancelled = known.state.is_over();
                (known.text, known.sent) = (why, job.sent.clone());
                if known.sent.is_some() {
                    // After a restart it means the same.
                    self.keep(known);
                }
            });
            match (cancelled, job.sent.is_some()) {
                (true, _) => return Err(Outcome::Cancelled),
                (false, false) if stop.is_cancelled() => return Err(Outcome::Stopped),
                (false, false) => std::thread::sleep(WATCH_EVERY),
                (false, true) => {}
            }
        }
        Ok(job)
    }

    /// Sends one; blocks until it is in Kafka, cancelled, or `stop`.
    fn send(&self, job: &Job, stop: &CancellationToken) -> Outcome {
        let id = job.order.id.as_str();
        let job = &match self.settle(job, stop) {
            Ok(job) => job,
            Err(outcome) => return outcome,
        };
        let source = match ReplaySource::open(&self.journal.join(&job.order.lane), job) {
            Ok(source) => source,
            Err(error) => return Outcome::Trouble(error.to_string()),
        };
        if source.found_epoch() != job.epoch {
            return Outcome::Trouble(format!(
                "the journal it was asked of is no longer on this disk, another one is: `forebay replay --cancel {id}`"
            ));
        }
        let progress = source.progress();
        let options = self.options(job);
        let replicator = match Replicator::start(options, source, &self.boot, Some(self.events.clone())) {
            Ok(replicator) => replicator,
            Err(error) => return Outcome::Trouble(format!("no thread to send it: {error}")),
        };
        let status = replicator.status();
        let outcome = loop {
            let is_done = progress.is_done();
            let now = status.snapshot();
            let [read, missing, unsent] = [&progress.read, &progress.missing, &progress.unsent]
                .map(|counter| counter.load(Ordering::SeqCst));
            let mut cancelled = false;
            self.change(id, |job| {
                cancelled = job.state.is_over();
                if !cancelled {
                    job.state = State::Sending;
                }
                job.next_offset = read.clamp(job.from_offset, job.to_offset);
                (job.records, job.missing, job.unsent) = (now.records, missing, unsent);
                job.text = now.state.to_string();
            });
            match (is_done, cancelled) {
                (true, _) => break Outcome::Done,
                (false, true) => break Outcome::Cancelled,
                (false, false) if stop.is_cancelled() => break Outcome::Stopped,
                (false, false) => std::thread::sleep(WATCH_EVERY),
            }
        };
        replicator.join();
        outcome
    }

    fn options(&self, job: &Job) -> Options {
        let mut options = self.kafka.clone();
        options.replay = Some(job.order.id.clone());
        options.delivery = Delivery::Replay;
        options.backfill = Backfill::InOrder;
        options.fallback = None;
        if let Some((_, switch)) = self.switches.iter().find(|(lane, _)| *lane == job.order.lane) {
            options.control = Arc::clone(switch);
        }
        options
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a job; the file is only written when its state is another one.
    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        let mut jobs = self.lock();
        let Some(job) = jobs.iter_mut().find(|job| job.order.id == id) else { return };
        let before = job.state;
        change(job);
        if job.state != before {
            self.keep(job);
        }
    }

    fn keep(&self, job: &Job) {
        if let Err(error) = job.save(&self.folder) {
            // After a restart it is sent again, which the checkpoint makes nothing of.
            tracing::warn!("{error}");
        }
    }

    fn tell(&self, id: &str, what: What, how: &str) {
        let Some(job) = self.get(id) else { return };
        let Order { lane, from_us, to_us, devices, .. } = &job.order;
        let (from, to) = (rfc3339(*from_us), rfc3339(*to_us));
        let text = format!("The replay {id} ({}) {how}{}", words::meaning(&job.order), words::rest(&job));
        tracing::info!("{text}");
        let data = json!({
            "what": what, "replay": id, "lane": lane, "from": from, "to": to, "devices": devices,
            "records": (!job.interrupted).then_some(job.records), "missing": job.missing, "unsent": job.unsent,
        });
        let device = format!("{}/{}", self.kafka.site, self.kafka.edge);
        self.events.emit(Event { kind: Kind::Box, edge_time: now_us(), device, text, data });
    }
}

/// `known`, when `order` asks for the same.
fn same(known: &Job, order: &Order) -> Result<Job, ReplayError> {
    if known.order.is_same(order) {
        return Ok(known.clone());
    }
    let (meaning, command) = (words::meaning(&known.order), words::command(&known.order));
    Err(ReplayError::Taken { id: order.id.clone(), meaning, command })
}

/// The offsets that may hold what `order` means.
fn find(lane: &mut OfflineLane, order: &Order) -> Result<(u64, u64), ReplayError> {
    let oldest_us = past::oldest_us(lane);
    let filter: Filter = order.filter();
    let ranges = past::ranges(lane, &filter);
    match (oldest_us, ranges.first(), ranges.last()) {
        // Before the very first record nothing is missing.
        (Some(oldest_us), ..) if lane.files().first_offset() > 0 && order.from_us < oldest_us => {
            Err(ReplayError::Gone { lane: order.lane.clone(), oldest: rfc3339(oldest_us) })
        }
        (Some(_), Some(first), Some(last)) if past::is_there(lane, &filter, &ranges, LOOK_MAX) => {
            Ok((first.start, last.end))
        }
        _ => Err(ReplayError::Nothing { lane: order.lane.clone(), extent: past::extent(lane) }),
    }
}
