//! Sending imported backlogs, one after the other, until each is in Kafka.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::pack::sync_folder;
use super::{BacklogSource, FileError, IMPORT_FOLDER, Manifest};
use crate::amount::counted;
use crate::clock::now_us;
use crate::control::Switches;
use crate::event::{Event, Events, Kind, What};
use crate::replicate::{Backfill, Options, Replicator, State, look_up};

/// The folder is looked at so often, and whenever somebody says that there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The replicator's progress is looked at so often.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Longest look at the other box's checkpoint.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);
/// Beside the manifest: records before the backlog may stay missing.
pub(crate) const ACCEPT_GAP_FILE: &str = "accept-gap";

/// One backlog that waits or is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Folder below `import` in the state.
    pub name: String,
    /// Site of the box it comes from.
    pub site: String,
    /// That box.
    pub edge: String,
    /// Lane.
    pub lane: String,
    /// Epoch of its journal.
    pub epoch: String,
    /// First offset.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
    /// Behind the last that Kafka has; `from` until that is known.
    pub next_offset: u64,
    /// How far it is.
    #[serde(flatten)]
    pub state: ImportState,
}

/// How far a backlog is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "text", rename_all = "kebab-case")]
pub enum ImportState {
    /// Not begun.
    Waiting,
    /// Being sent; in words what Kafka says.
    Sending(String),
    /// Somebody must do something, in words what.
    Held(String),
}

/// All backlogs of a box.
pub struct Imports {
    folder: PathBuf,
    kafka: Options,
    switches: Switches,
    /// Names this run of the process, for whoever meets its traces in Kafka.
    boot: String,
    events: Events,
    list: Mutex<Vec<Import>>,
    /// Somebody says that there is something new.
    new: Mutex<bool>,
    nudge: Condvar,
}

/// Why sending one has ended.
enum Outcome {
    Done,
    Held(String),
    Stopped,
}

impl Imports {
    /// Backlogs below the state folder, to be sent the way of `kafka`.
    pub fn new(state: &Path, kafka: Options, switches: Switches, events: Events) -> Arc<Self> {
        Arc::new(Self {
            folder: state.join(IMPORT_FOLDER),
            kafka,
            switches,
            boot: format!("{:016x}", fastrand::u64(..)),
            events,
            list: Mutex::default(),
            new: Mutex::default(),
            nudge: Condvar::new(),
        })
    }

    /// What waits or is being sent.
    pub fn list(&self) -> Vec<Import> {
        self.lock().clone()
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
        while !stop.is_cancelled() {
            self.refresh();
            for import in self.list() {
                if stop.is_cancelled() {
                    return;
                }
                match self.send(&import, stop) {
                    Outcome::Stopped => return,
                    Outcome::Done => self.lock().retain(|known| known.name != import.name),
                    Outcome::Held(why) => self.set(&import.name, ImportState::Held(why)),
                }
            }
            self.pause(stop);
        }
    }

    /// Waits until somebody says that there is something new, at most [`LOOK_EVERY`].
    fn pause(&self, stop: &CancellationToken) {
        let end = Instant::now() + LOOK_EVERY;
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        while !*new && Instant::now() < end && !stop.is_cancelled() {
            new = self.nudge.wait_timeout(new, WATCH_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        *new = false;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Import>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, state: ImportState) {
        if let Some(import) = self.lock().iter_mut().find(|import| import.name == name) {
            if let ImportState::Held(why) = &state
                && import.state != state
            {
                tracing::warn!("backlog {name} is not sent: {why}");
            }
            import.state = state;
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
                && import.from < import.to
            {
                import.clone_from(known);
            }
        }
        *list = found;
    }

    fn read(&self, name: String) -> Import {
        let manifest = Manifest::read(&self.folder.join(&name));
        let state = match &manifest {
            Ok(_) => ImportState::Waiting,
            Err(error) => ImportState::Held(format!("{error}; remove the folder")),
        };
        let manifest = manifest.unwrap_or_else(|_| Manifest::new("", "", "", "", (0, 0)));
        let Manifest { site, edge, lane, epoch, from, to, .. } = manifest;
        Import { name, site, edge, lane, epoch, from, to, next_offset: from, state }
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

    /// Sends one backlog; blocks until it is in Kafka, somebody must do something, or `stop`.
    fn send(&self, import: &Import, stop: &CancellationToken) -> Outcome {
        let folder = self.folder.join(&import.name);
        let manifest = match Manifest::read(&folder) {
            Ok(manifest) => manifest,
            Err(error) => return Outcome::Held(format!("{error}; remove the folder")),
        };
        let mut options = self.kafka.clone();
        options.site.clone_from(&manifest.site);
        options.edge.clone_from(&manifest.edge);
        // It waited long enough, and nothing comes after it; a second cluster has its own way.
        options.backfill = Backfill::InOrder;
        options.fallback = None;
        if let Some((_, switch)) = self.switches.iter().find(|(lane, _)| *lane == manifest.lane) {
            options.control = Arc::clone(switch);
        }
        // Whoever has sent it already is not disturbed.
        if self.is_sent(&options, &manifest) {
            return self.finish(&folder, &manifest, "is in Kafka already");
        }
        let accept_gap = folder.join(ACCEPT_GAP_FILE).exists();
        let source = match BacklogSource::open(&folder, manifest.clone(), accept_gap, self.events.clone()) {
            Ok(source) => source,
            Err(error) => return Outcome::Held(error.to_string()),
        };
        let progress = source.progress();
        let (raised, mut received) = Events::new();
        self.tell(&manifest, "is being sent", What::ImportStarted);
        let replicator = match Replicator::start(options.clone(), source, &self.boot, Some(raised)) {
            Ok(replicator) => replicator,
            Err(error) => return Outcome::Held(format!("no thread to send it: {error}")),
        };
        let status = replicator.status();
        loop {
            let next_offset = progress.load(Ordering::SeqCst);
            while let Ok(event) = received.try_recv() {
                // That another box of this name writes is no news here: it is the one that the
                // backlog comes from.
                if event.kind == Kind::Gap {
                    self.events.emit(event);
                }
            }
            if next_offset >= manifest.to {
                replicator.join();
                return self.finish(&folder, &manifest, "is in Kafka");
            }
            let now = status.snapshot();
            self.show(&import.name, next_offset, &now.state);
            if let Some(outcome) = self.blocked(&now.state, &options, &manifest) {
                replicator.join();
                return match outcome {
                    Outcome::Done => self.finish(&folder, &manifest, "was sent by the box itself"),
                    other => other,
                };
            }
            if stop.is_cancelled() {
                replicator.join();
                return Outcome::Stopped;
            }
            std::thread::sleep(WATCH_EVERY);
        }
    }

    fn is_sent(&self, options: &Options, manifest: &Manifest) -> bool {
        look_up(options, &manifest.lane, &manifest.epoch, LOOK_UP_MAX).is_some_and(|next| next >= manifest.to)
    }

    /// What ends the sending although not all is sent.
    fn blocked(&self, state: &State, options: &Options, manifest: &Manifest) -> Option<Outcome> {
        let edge = &manifest.edge;
        match state {
            State::Fenced { .. } if self.is_sent(options, manifest) => Some(Outcome::Done),
            State::Fenced { .. } => Some(Outcome::Held(format!(
                "somebody else sends what {edge} has: {edge} itself, or another box that imported the same; looked at again \
                 every {} s",
                LOOK_EVERY.as_secs()
            ))),
            State::Waiting { cause, .. } if cause.contains("--accept-gap") => {
                Some(Outcome::Held(cause.clone()))
            }
            _ => None,
        }
    }

    fn show(&self, name: &str, next_offset: u64, state: &State) {
        if let Some(import) = self.lock().iter_mut().find(|import| import.name == name) {
            import.next_offset = import.next_offset.max(next_offset);
            import.state = ImportState::Sending(state.to_string());
        }
    }

    /// Kafka has it: it goes.
    fn finish(&self, folder: &Path, manifest: &Manifest, how: &str) -> Outcome {
        match remove(folder) {
            Ok(()) => {
                self.tell(manifest, how, What::ImportDone);
                Outcome::Done
            }
            Err(error) => Outcome::Held(format!("it {how}, but {error}: remove it by hand")),
        }
    }

    fn tell(&self, manifest: &Manifest, how: &str, what: What) {
        let Manifest { site, edge, lane, from, to, epoch, exported, .. } = manifest;
        let records = counted(to - from, "record", "records");
        let text = format!("The backlog of {edge} ({lane}, {records}, exported {exported}) {how}");
        tracing::info!("{text}");
        let data = json!({
            "what": what, "site": site, "edge": edge, "lane": lane, "epoch": epoch,
            "from_offset": from, "to_offset": to,
        });
        let device = format!("{}/{}", self.kafka.site, self.kafka.edge);
        self.events.emit(Event { kind: Kind::Box, edge_time: now_us(), device, text, data });
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
