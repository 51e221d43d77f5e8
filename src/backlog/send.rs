//! Sending imported backlogs, one after the other, until each is in Kafka.
//!
//! The box that a backlog comes from may be alive. So before anything is announced to Kafka under
//! its name, [`super::ready`] finds out whether the backlog can be sent; and what fails after that
//! is tried again with growing pauses.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::pack::sync_folder;
use super::ready::{self, Ready};
use super::state::{FINISHED_MAX, Finished, Import, ImportState, Pauses};
use super::{BacklogSource, FileError, IMPORT_FOLDER, Manifest};
use crate::amount::counted;
use crate::clock::now_us;
use crate::control::Switches;
use crate::event::{Event, Events, Kind, What};
use crate::replicate::{Backfill, Options, Replicator, State, importer, importer_boot};

/// The folder is looked at so often, and whenever somebody says that there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The replicator's progress is looked at so often.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Beside the manifest: records before the backlog may stay missing.
pub(crate) const ACCEPT_GAP_FILE: &str = "accept-gap";

/// All backlogs of a box.
pub struct Imports {
    folder: PathBuf,
    kafka: Options,
    switches: Switches,
    /// Names this run of the process, for whoever meets its traces in Kafka.
    boot: String,
    events: Events,
    list: Mutex<Vec<Import>>,
    /// The latest that are in Kafka.
    finished: Mutex<VecDeque<Finished>>,
    /// Of those that had to be given up, when each may be tried again.
    pauses: Mutex<HashMap<String, Pauses>>,
    /// Somebody says that there is something new.
    new: Mutex<bool>,
    nudge: Condvar,
}

/// Why sending one has ended.
enum Outcome {
    Done,
    /// Not now.
    Not(ImportState),
    /// Not now, and whoever has the name was disturbed by the attempt. Kafka has everything below
    /// this offset.
    Disturbed(ImportState, u64),
    Stopped,
}

impl Imports {
    /// Backlogs below the state folder, to be sent the way of `kafka`.
    pub fn new(state: &Path, kafka: Options, switches: Switches, events: Events) -> Arc<Self> {
        let boot = importer_boot(&kafka.site, &kafka.edge);
        Arc::new(Self {
            folder: state.join(IMPORT_FOLDER),
            kafka,
            switches,
            boot,
            events,
            list: Mutex::default(),
            finished: Mutex::default(),
            pauses: Mutex::default(),
            new: Mutex::default(),
            nudge: Condvar::new(),
        })
    }

    /// What waits or is being sent.
    pub fn list(&self) -> Vec<Import> {
        self.lock().clone()
    }

    /// The latest that are in Kafka, the newest last.
    pub fn finished(&self) -> Vec<Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Looks at the folder at once.
    pub fn look(&self) {
        *self.new.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.nudge.notify_one();
    }

    /// Sends what is there and what comes, until `stop`; on a thread of its own, because the
    /// replicator blocks.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(self: &Arc<Self>, stop: CancellationToken) -> std::io::Result<()> {
        let this = Arc::clone(self);
        std::thread::Builder::new().name("imports".into()).spawn(move || this.run(&stop)).map(drop)
    }

    fn run(&self, stop: &CancellationToken) {
        self.sweep();
        let mut is_asked = true;
        while !stop.is_cancelled() {
            self.refresh();
            for import in self.list() {
                if stop.is_cancelled() {
                    return;
                }
                if !is_asked && !self.is_due(&import.name) {
                    continue;
                }
                match self.send(&import, stop) {
                    Outcome::Stopped => return,
                    Outcome::Done => self.forget(&import.name),
                    Outcome::Not(state) => self.set(&import.name, state, None),
                    Outcome::Disturbed(state, next_offset) => {
                        let pause = self.pauses().entry(import.name.clone()).or_default().next(next_offset);
                        self.set(&import.name, state, Some(pause));
                    }
                }
            }
            is_asked = self.pause(stop);
        }
    }

    /// Waits until somebody says that there is something new, at most [`LOOK_EVERY`]; whether somebody did.
    fn pause(&self, stop: &CancellationToken) -> bool {
        let end = Instant::now() + LOOK_EVERY;
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        while !*new && Instant::now() < end && !stop.is_cancelled() {
            new = self.nudge.wait_timeout(new, WATCH_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut new)
    }

    fn pauses(&self) -> MutexGuard<'_, HashMap<String, Pauses>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, name: &str) -> bool {
        self.pauses().get(name).is_none_or(Pauses::is_over)
    }

    fn forget(&self, name: &str) {
        self.lock().retain(|known| known.name != name);
        self.pauses().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Import>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is with a backlog, and tells it when somebody must do something.
    fn set(&self, name: &str, state: ImportState, pause: Option<Duration>) {
        let (now_us, mut list) = (now_us(), self.lock());
        let Some(import) = list.iter_mut().find(|import| import.name == name) else { return };
        import.looked_us = Some(now_us);
        import.next_try_us = pause.map(|pause| now_us + i64::try_from(pause.as_micros()).unwrap_or(0));
        let is_new = import.become_(state, now_us);
        let import = import.clone();
        drop(list);
        let ImportState::Held(why) = &import.state else { return };
        if is_new {
            let Import { site, edge, lane, epoch, from, to, .. } = &import;
            let text = format!("The backlog of {edge} ({lane}) is held: {why}");
            tracing::warn!("{text}");
            self.emit(
                text,
                json!({
                    "what": What::ImportHeld, "site": site, "edge": edge, "lane": lane, "epoch": epoch,
                    "from_offset": from, "to_offset": to,
                }),
            );
        }
    }

    /// Takes in what is in the folder; ordered so that what belongs together goes in order.
    fn refresh(&self) {
        let mut found: Vec<Import> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.ends_with(".tmp"))
            .map(|name| self.read(name))
            .collect();
        found.sort_by(|a, b| (&a.epoch, &a.lane, a.from).cmp(&(&b.epoch, &b.lane, b.from)));
        let mut list = self.lock();
        for import in &mut found {
            if let Some(known) = list.iter().find(|known| known.name == import.name)
                // One that could not be read may be readable now.
                && (known.from < known.to || import.from >= import.to)
            {
                import.clone_from(known);
            }
        }
        *list = found;
    }

    fn read(&self, name: String) -> Import {
        let manifest = Manifest::read(&self.folder.join(&name));
        // One that cannot be read is held when its turn has come, and that is told.
        let state = ImportState::Waiting(String::new());
        let manifest = manifest.unwrap_or_else(|_| Manifest::new("", "", "", "", (0, 0)));
        let Manifest { site, edge, lane, epoch, from, to, .. } = manifest;
        let (next_offset, since_us) = (from, now_us());
        Import {
            name,
            site,
            edge,
            lane,
            epoch,
            from,
            to,
            next_offset,
            had: None,
            since_us,
            next_try_us: None,
            looked_us: None,
            is_begun: false,
            state,
        }
    }

    /// Removes what an import that was cut off has left.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((_, pid)) = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.')) else {
                continue;
            };
            // One that is just being copied has a living process.
            if !Path::new("/proc").join(pid).exists()
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }

    /// Sends one backlog; blocks until it is in Kafka, cannot go on now, or `stop`.
    fn send(&self, import: &Import, stop: &CancellationToken) -> Outcome {
        let held = |why: String| Outcome::Not(ImportState::Held(why));
        let folder = self.folder.join(&import.name);
        let manifest = match Manifest::read(&folder) {
            Ok(manifest) => manifest,
            Err(error) => return held(format!("{error}; remove the folder")),
        };
        let options = self.options(&manifest);
        let accept_gap = folder.join(ACCEPT_GAP_FILE).exists();
        let is_over = || stop.is_cancelled();
        let know = |below| self.know(&import.name, below);
        let ready = ready::look(&options, &folder, &manifest, accept_gap, is_over, know);
        let known = self.lock().iter().find(|known| known.name == import.name).cloned();
        let import = known.unwrap_or_else(|| import.clone());
        match ready {
            _ if stop.is_cancelled() => return Outcome::Stopped,
            Ready::Done => return self.finish(&folder, &manifest, &import),
            Ready::Wait(what) => return Outcome::Not(ImportState::Waiting(what)),
            Ready::Held(why) => return held(why),
            Ready::Now => {}
        }
        let source = match BacklogSource::open(&folder, manifest.clone(), accept_gap, self.events.clone()) {
            Ok(source) => source,
            Err(error) => return held(error.to_string()),
        };
        if !import.is_begun {
            let how = match import.had {
                Some(had) if had > 0 => format!("is being sent; Kafka has {had} of the records already"),
                _ => "is being sent".to_owned(),
            };
            self.tell(&manifest, &how, What::ImportStarted, &import);
            if let Some(known) = self.lock().iter_mut().find(|known| known.name == import.name) {
                known.is_begun = true;
            }
        }
        match self.replicate(options, source, &manifest, &import, stop) {
            Outcome::Done => self.finish(&folder, &manifest, &import),
            other => other,
        }
    }

    /// The way to Kafka under the name of the box that the backlog comes from.
    fn options(&self, manifest: &Manifest) -> Options {
        let mut options = self.kafka.clone();
        options.site.clone_from(&manifest.site);
        options.edge.clone_from(&manifest.edge);
        options.guest = true;
        // It waited long enough, and nothing comes after it; a second cluster has its own way.
        options.backfill = Backfill::InOrder;
        options.fallback = None;
        if let Some((_, switch)) = self.switches.iter().find(|(lane, _)| *lane == manifest.lane) {
            options.control = Arc::clone(switch);
        }
        options
    }

    fn replicate(
        &self,
        options: Options,
        source: BacklogSource,
        manifest: &Manifest,
        import: &Import,
        stop: &CancellationToken,
    ) -> Outcome {
        let progress = source.progress();
        let (raised, mut received) = Events::new();
        let replicator = match Replicator::start(options, source, &self.boot, Some(raised)) {
            Ok(replicator) => replicator,
            Err(error) => {
                return Outcome::Not(ImportState::Held(format!("no thread to send it: {error}")));
            }
        };
        let status = replicator.status();
        loop {
            let is_over = replicator.is_over();
            let next_offset = progress.load(Ordering::SeqCst);
            while let Ok(event) = received.try_recv() {
                // That another box of this name writes is no news here: it is the one that the
                // backlog comes from.
                if event.kind == Kind::Gap {
                    self.events.emit(event);
                }
            }
            let now = status.snapshot();
            self.show(&import.name, next_offset, &now.state);
            let ended = if next_offset >= manifest.to {
                Some(Outcome::Done)
            } else if stop.is_cancelled() {
                Some(Outcome::Stopped)
            } else {
                ends(&now.state, is_over, &manifest.edge).map(|state| match now.announced {
                    0 => Outcome::Not(state),
                    _ => Outcome::Disturbed(state, next_offset),
                })
            };
            if let Some(outcome) = ended {
                replicator.join();
                return outcome;
            }
            std::thread::sleep(WATCH_EVERY);
        }
    }

    /// Notes how much of it Kafka has.
    fn know(&self, name: &str, below: u64) {
        if let Some(import) = self.lock().iter_mut().find(|import| import.name == name) {
            let next_offset = below.clamp(import.from, import.to);
            import.next_offset = import.next_offset.max(next_offset);
            import.had.get_or_insert(next_offset - import.from);
        }
    }

    fn show(&self, name: &str, next_offset: u64, state: &State) {
        let shown = match state {
            State::Waiting { cause, .. } => ImportState::Waiting(format!(
                "Kafka does not take data: {cause}. It is tried again by itself"
            )),
            State::Unreadable { .. } => ImportState::Held(state.to_string()),
            State::Connecting | State::Up => ImportState::Sending(state.to_string()),
            // What is left ends it, and is shown then.
            _ => return,
        };
        if let Some(import) = self.lock().iter_mut().find(|import| import.name == name) {
            import.next_offset = import.next_offset.max(next_offset);
            import.next_try_us = None;
        }
        self.set(name, shown, None);
    }

    /// Kafka has it: it goes.
    fn finish(&self, folder: &Path, manifest: &Manifest, import: &Import) -> Outcome {
        let had = import.had.unwrap_or(0);
        let how = match had {
            0 => "is in Kafka".to_owned(),
            had if had == import.to - import.from => {
                "was in Kafka already, or told there as lost: nothing of it was sent again".to_owned()
            }
            had => format!("is in Kafka; {had} of the records were there before"),
        };
        if let Err(error) = remove(folder) {
            return Outcome::Not(ImportState::Held(format!("it {how}, but {error}: remove it by hand")));
        }
        self.tell(manifest, &how, What::ImportDone, import);
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if finished.len() == FINISHED_MAX {
            finished.pop_front();
        }
        finished.push_back(Finished::new(import, now_us()));
        Outcome::Done
    }

    fn tell(&self, manifest: &Manifest, how: &str, what: What, import: &Import) {
        let Manifest { site, edge, lane, from, to, epoch, exported, .. } = manifest;
        let records = counted(to - from, "record", "records");
        let text = format!("The backlog of {edge} ({lane}, {records}, exported {exported}) {how}");
        tracing::info!("{text}");
        self.emit(
            text,
            json!({
                "what": what, "site": site, "edge": edge, "lane": lane, "epoch": epoch,
                "from_offset": from, "to_offset": to, "records_there_before": import.had,
            }),
        );
    }

    fn emit(&self, text: String, data: serde_json::Value) {
        let device = format!("{}/{}", self.kafka.site, self.kafka.edge);
        self.events.emit(Event { kind: Kind::Box, edge_time: now_us(), device, text, data });
    }
}

/// What ends the sending although not all is sent, as it is shown then.
fn ends(state: &State, is_over: bool, edge: &str) -> Option<ImportState> {
    match state {
        State::Fenced { by, .. } => {
            let who = importer(by).map_or_else(|| format!("{edge} itself"), str::to_owned);
            Some(ImportState::Waiting(format!("{who} sends under the name of {edge} now and goes first")))
        }
        State::Refused { cause, .. } | State::NotLetIn { cause, .. } | State::Settings { cause, .. } => {
            Some(ImportState::Held(cause.clone()))
        }
        // It is tried again without announcing anything before the disk gives it.
        State::Unreadable { .. } => Some(ImportState::Held(state.to_string())),
        State::Paused { by, .. } => Some(ImportState::Waiting(format!("paused by {by}"))),
        State::Waiting { cause, .. } if is_over => Some(ImportState::Waiting(cause.clone())),
        // The thread has ended and does not say why.
        _ if is_over => Some(ImportState::Waiting(String::new())),
        _ => None,
    }
}

/// Removes a backlog. What is left when that is cut off has a name that the next start sweeps.
fn remove(folder: &Path) -> Result<(), FileError> {
    let mut aside = folder.as_os_str().to_owned();
    aside.push(".0.tmp");
    let aside = PathBuf::from(aside);
    fs::rename(folder, &aside).map_err(FileError::of("rename", folder))?;
    if let Some(parent) = folder.parent() {
        sync_folder(parent)?;
    }
    fs::remove_dir_all(&aside).map_err(FileError::of("remove", &aside))
}
