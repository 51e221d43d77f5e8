//! The lanes and all that needs them. They are opened at the start, or later, as soon as the disk
//! works: meanwhile machines are read and shown, and what could not be stored becomes gap records.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::sync::SetOnce;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::facts::{BoxFacts, LaneFacts};
use super::{box_event, kafka, last_good, line};
use crate::batch::{Batch, GapBefore};
use crate::clock;
use crate::config::{self, Config};
use crate::control::Controls;
use crate::device::Device;
use crate::event::{Event, Events, Kind, What};
use crate::lane::{self, Lane, LaneOptions, LaneWriter};
use crate::poll;
use crate::replicate::{JournalSource, Options as KafkaOptions, Replicator};
use crate::state::State;
use crate::twin::Twin;

/// Events are few and must not be later than the samples that follow them: they are synced sooner.
const EVENTS_SYNC_AFTER: Duration = Duration::from_millis(50);
/// Pause before a disk that does not work is tried again.
const OPEN_RETRY: Duration = Duration::from_secs(2);

/// Why the lanes are not open.
#[derive(Debug)]
pub enum Closed {
    /// Another process writes them; two at once would destroy them. In words.
    Taken(String),
    /// The disk does not work, in words; it may later.
    Disk(String),
}

/// Both lanes, opened, and the lock that keeps other processes out.
pub struct Lanes {
    pub telemetry: lane::Opened,
    pub events: lane::Opened,
    only_one: File,
}

/// Opens the lanes, as often as it takes. What was opened stays open meanwhile.
pub struct Opener {
    directory: PathBuf,
    telemetry: LaneOptions,
    events: LaneOptions,
    told: Events,
    only_one: Option<File>,
    opened: Option<lane::Opened>,
}

impl Opener {
    /// Of the lanes that the configuration names; opens nothing.
    pub fn new(config: &Config, box_path: &str, told: &Events) -> Self {
        let options = |name: &str, lane: &config::Lane, sync_after, reserve_bytes| LaneOptions {
            budget_bytes: lane.budget_bytes,
            when_full: lane.when_full.clone(),
            thin_interval: lane.thin_interval,
            full_for: lane.full_for,
            keep: config.journal.keep,
            skip_unreadable_after: config.journal.skip_unreadable_after,
            reserve_bytes,
            segment_bytes: config.journal.segment_bytes,
            sync_interval: config.journal.sync_interval,
            sync_after,
            sync_bytes: usize::try_from(config.journal.sync_bytes).unwrap_or(usize::MAX),
            ..LaneOptions::new(name, config.journal.directory.join(name), box_path)
        };
        Self {
            directory: config.journal.directory.clone(),
            telemetry: options("telemetry", &config.telemetry, Duration::MAX, config.journal.reserve_bytes),
            // The reserve is for the events too: when the disk is short, telemetry gives way.
            events: options("events", &config.events, EVENTS_SYNC_AFTER, 0),
            told: told.clone(),
            only_one: None,
            opened: None,
        }
    }

    /// Opens what is not open yet.
    ///
    /// # Errors
    /// [`Closed`]; to be called again later.
    pub fn open(&mut self) -> Result<Lanes, Closed> {
        let unusable = |error: anyhow::Error| Closed::Disk(format!("{error:#}"));
        let only_one = match self.only_one.take() {
            Some(file) => file,
            None => only_one(&self.directory)?,
        };
        let open = |options: &LaneOptions| {
            let opened = Lane::open(options.clone(), self.told.clone());
            opened.with_context(|| format!("the {} lane cannot be opened", options.name)).map_err(unusable)
        };
        let telemetry = match self.opened.take().map_or_else(|| open(&self.telemetry), Ok) {
            Ok(telemetry) => telemetry,
            Err(closed) => {
                self.only_one = Some(only_one);
                return Err(closed);
            }
        };
        match open(&self.events) {
            Ok(events) => Ok(Lanes { telemetry, events, only_one }),
            Err(closed) => {
                (self.only_one, self.opened) = (Some(only_one), Some(telemetry));
                Err(closed)
            }
        }
    }
}

/// Makes sure that no other process writes the same journal.
fn only_one(directory: &Path) -> Result<File, Closed> {
    let folder = directory.display();
    let unusable =
        |error: io::Error| Closed::Disk(format!("the journal's folder {folder} cannot be used: {error}"));
    fs::create_dir_all(directory).map_err(unusable)?;
    let path = directory.join("lock");
    // On a file system that has become read-only the lock of before serves as well.
    let file = File::create(&path).or_else(|error| File::open(&path).map_err(|_| error)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Closed::Taken(format!(
                "another forebay runs with the folder {folder}: stop it, or give this one a folder of its own"
            )));
        }
        // Some network file systems know no locks.
        Err(TryLockError::Error(error)) => tracing::warn!("{folder}: no lock: {error}"),
    }
    Ok(file)
}

/// Where batches and events go in: nowhere until the lanes are open.
#[derive(Clone, Default)]
pub struct Writers(Arc<SetOnce<[LaneWriter; 2]>>);

impl Writers {
    /// The events lane, when it is open.
    pub async fn events(&self) -> LaneWriter {
        self.0.wait().await[1].clone()
    }
}

impl poll::Sink for Writers {
    fn append(&self, batch: Batch) -> Result<(), Batch> {
        match self.0.get() {
            Some([telemetry, _]) => telemetry.try_append(batch),
            None => Err(batch),
        }
    }
}

/// What begins with the lanes and ends before them.
pub struct Storage {
    pub replicators: Vec<Replicator>,
    /// Telemetry, then events.
    pub lanes: Vec<(Lane, LaneWriter)>,
    pub tasks: Vec<JoinHandle<()>>,
    _only_one: File,
}

/// All that is needed to begin with what needs the lanes.
pub struct Begin {
    pub kafka: KafkaOptions,
    pub box_path: String,
    pub twin: Arc<Twin>,
    pub events: Events,
    pub facts: Arc<BoxFacts>,
    pub controls: Arc<Controls>,
    pub writers: Writers,
    pub state: Arc<SetOnce<State>>,
    pub state_directory: PathBuf,
    pub stop: CancellationToken,
}

impl Begin {
    /// Starts the replicators and what else needs the lanes; batches and events are taken from now on.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn with(&self, lanes: Lanes) -> anyhow::Result<Storage> {
        let Lanes { telemetry, events, only_one } = lanes;
        let boot = format!("{:016x}", fastrand::u64(..));
        let (mut facts, mut replicators, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        for (name, lane) in [("telemetry", telemetry), ("events", events)] {
            let source = JournalSource::new(name, lane.reader);
            let mut kafka = self.kafka.clone();
            if let Some(switch) = self.controls.switch(name) {
                kafka = kafka::controlled(kafka, &switch);
            }
            let replicator = Replicator::start(kafka, source, &boot, Some(self.events.clone()))
                .with_context(|| format!("no thread for the {name} lane"))?;
            facts.push(LaneFacts::new(name, &lane.writer, &replicator, lane.history));
            replicators.push(replicator);
            opened.push((lane.lane, lane.writer));
        }
        self.controls.open(facts.iter().map(LaneFacts::control).collect());
        self.facts.lanes.open(facts);
        // The first lane's replicator speaks for both.
        let line = line::watch(
            replicators[0].status(),
            replicators[0].fallback_status(),
            self.box_path.clone(),
            self.events.clone(),
            self.stop.clone(),
        );
        let save = last_good::save(
            Arc::clone(&self.state),
            self.state_directory.clone(),
            Arc::clone(&self.twin),
            opened[0].1.status(),
            self.stop.clone(),
        );
        let tasks = vec![tokio::spawn(line), tokio::spawn(save), tokio::spawn(self.remember(&opened))];
        // Nobody else sets them.
        let _once = self.writers.0.set([opened[0].1.clone(), opened[1].1.clone()]);
        Ok(Storage { replicators, lanes: opened, tasks, _only_one: only_one })
    }

    /// Tells the lanes what is remembered of Kafka, as soon as the small state is open.
    fn remember(&self, opened: &[(Lane, LaneWriter)]) -> impl Future<Output = ()> + use<> {
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        let switches = self.controls.switches.clone();
        let writers: Vec<LaneWriter> = opened.iter().map(|(_, writer)| writer.clone()).collect();
        async move {
            if stop.run_until_cancelled(state.wait()).await.is_none() {
                return;
            }
            // Remembering a correction writes to the disk.
            let told = tokio::task::spawn_blocking(move || {
                for ((lane, switch), writer) in switches.iter().zip(&writers) {
                    kafka::remember_confirmed(writer, lane, switch);
                }
            });
            // Without it less is known.
            let _panicked = told.await;
        }
    }

    /// Tries to open the lanes until it works or `stop`, and begins then.
    pub async fn later(self, mut opener: Opener, storage: Arc<Mutex<Option<Storage>>>, started_us: i64) {
        loop {
            if self.stop.run_until_cancelled(tokio::time::sleep(OPEN_RETRY)).await.is_none() {
                return;
            }
            let tried = tokio::task::spawn_blocking(move || {
                let opened = opener.open();
                (opener, opened)
            });
            let Ok((again, opened)) = tried.await else {
                tracing::error!("opening the journal ended with a panic; only a new start helps");
                self.facts.lanes.give_up();
                return;
            };
            opener = again;
            let trouble = match opened {
                Ok(mut lanes) => {
                    self.tell_time_before(&mut lanes, started_us);
                    match self.with(lanes) {
                        Ok(begun) => {
                            *storage.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(begun);
                            self.tell(
                                true,
                                "The journal's disk works: what is read from now on is stored".to_owned(),
                            );
                        }
                        Err(error) => {
                            tracing::error!("{error:#}; only a new start helps");
                            self.facts.lanes.give_up();
                        }
                    }
                    return;
                }
                Err(Closed::Taken(trouble) | Closed::Disk(trouble)) => trouble,
            };
            if self.facts.lanes.closed(&trouble) {
                self.tell(false, not_stored(&trouble));
            }
        }
    }

    /// The machines' tasks began without knowing what the journal knows: the time before this start
    /// is missing too.
    fn tell_time_before(&self, lanes: &mut Lanes, started_us: i64) {
        let known = self.state.get();
        let devices: Vec<Arc<Device>> =
            self.twin.devices().iter().map(|twin| Arc::clone(&twin.device)).collect();
        let told: Vec<bool> = devices
            .iter()
            .map(|device| known.is_some_and(|state| state.last_good_us(&device.path) != 0))
            .collect();
        let before = last_good::read(&mut lanes.telemetry.reader, &mut lanes.events.reader, known, &devices);
        before.unstated.into_iter().for_each(|event| self.events.emit(event));
        for (device, _) in devices.iter().zip(told).filter(|(_, told)| !told) {
            let from_us = before.last_good_us.get(&device.path).copied().unwrap_or(0);
            if from_us != 0 {
                let gap = GapBefore { from_us, cause: poll::box_off() };
                self.events.emit(poll::gap_event(&device.path, &device.standby_for, &gap, started_us));
            }
        }
    }

    /// Says that the disk does not work, or works.
    pub fn tell(&self, working: bool, text: String) {
        if working {
            tracing::info!("{text}");
        } else {
            tracing::error!("{text}; tried again every {} s", OPEN_RETRY.as_secs());
        }
        self.events.emit(Event {
            kind: Kind::Box,
            edge_time: clock::now_us(),
            device: self.box_path.clone(),
            text,
            data: json!({ "what": What::Disk, "working": working }),
        });
    }
}

/// What the page and the log say while the lanes are closed.
pub fn not_stored(trouble: &str) -> String {
    format!("Nothing is stored: {trouble}")
}

/// Opens the small state into `place`, or says why that does not work.
pub fn open_state(directory: &Path, place: &SetOnce<State>, box_path: &str, events: &Events) {
    match State::open(directory) {
        Ok(opened) => {
            if let Some(put_aside) = opened.put_aside {
                let text = format!("The small state was damaged: {put_aside}");
                box_event(events, box_path, text, &json!({ "what": What::StatePutAside }));
            }
            // Nobody else sets it.
            let _once = place.set(opened.state);
        }
        // Only the exact times of gaps over a restart depend on it.
        Err(error) => {
            let text = format!("Going on without the small state: {error}");
            box_event(events, box_path, text, &json!({ "what": What::NoState }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_never_write_the_same_journal() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let first = only_one(&journal).unwrap();
        let Err(Closed::Taken(error)) = only_one(&journal) else { panic!("both have it") };
        assert!(error.contains("another forebay runs with the folder"), "{error}");
        drop(first);
        only_one(&journal).unwrap();
    }
}
