//! Puts the parts together, and takes them apart in order.
//!
//! Start: lanes, state, models, replicators, devices, page: each works without the next.

mod facts;
mod kafka;
mod last_good;
mod line;
mod rates;
mod refused;
mod service;
mod stop;

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::clock;
use crate::config::{Config, Loaded};
use crate::device::Device;
use crate::event::{Event, Events, Kind};
use crate::infer;
use crate::lane::{self, Lane, LaneOptions, LaneWriter};
use crate::poll;
use crate::replicate::{JournalSource, Options as KafkaOptions, Replicator};
use crate::state::State;
use crate::status::{self, Facts, Language};
use crate::twin::{DeviceTwin, Twin};

use facts::{BoxFacts, LaneFacts};

/// Events are few and must not be later than the samples that follow them: they are synced sooner.
const EVENTS_SYNC_MAX: Duration = Duration::from_millis(50);
/// Pause before the page's port is tried again.
const PAGE_RETRY: Duration = Duration::from_secs(10);

/// A running box.
pub struct Running {
    /// Last values.
    pub twin: Arc<Twin>,
    /// What the page shows.
    pub facts: Arc<dyn Facts>,
    box_facts: Arc<BoxFacts>,
    state: Option<Arc<State>>,
    devices: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    replicators: Vec<Replicator>,
    lanes: Vec<(Lane, LaneWriter)>,
    stop_devices: CancellationToken,
    stop_rest: CancellationToken,
    _only_one: File,
}

impl poll::Sink for LaneWriter {
    fn append(&self, batch: Batch) -> Result<(), Batch> {
        self.try_append(batch)
    }
}

/// Both lanes of a box, opened.
struct Lanes {
    telemetry: lane::Opened,
    events: lane::Opened,
}

/// The way from the lanes to Kafka.
struct Replication {
    facts: Vec<LaneFacts>,
    replicators: Vec<Replicator>,
    /// Telemetry, then events.
    lanes: Vec<(Lane, LaneWriter)>,
}

/// Starts everything that the configuration names. Devices, Kafka, network: nothing needs to be there.
///
/// # Errors
/// When the journal's folder cannot be used at all, or another process uses it; nothing works
/// without it.
pub fn start(config: &Config, loaded: &Loaded, kafka: KafkaOptions) -> anyhow::Result<Running> {
    let only_one = only_one(&config.journal.directory)?;
    let box_path = format!("{}/{}", config.edge.site, config.edge.id);
    let (events, raw_events) = Events::new();
    let mut lanes = open_lanes(config, &box_path, &events)?;
    let state = open_state(config, &box_path, &events);
    let (telemetry, event_lane) = (&mut lanes.telemetry.reader, &mut lanes.events.reader);
    let before = last_good::read(telemetry, event_lane, state.as_deref(), &loaded.devices);
    before.unstated.into_iter().for_each(|event| events.emit(event));
    let twin = Arc::new(Twin::new(&loaded.devices));
    let (stop_devices, stop_rest) = (CancellationToken::new(), CancellationToken::new());

    let bindings = bind_models(config, &loaded.devices, &box_path, &events);
    let predictions = infer::spawn(bindings, &box_path, Arc::clone(&twin), events.clone(), stop_rest.clone());
    let kafka = kafka::remembering(kafka, state.clone());
    let Replication { facts, replicators, lanes } = replicate(lanes, &kafka, &events)?;
    let facts =
        Arc::new(BoxFacts::new(identity(config), facts, predictions, refused::not_read(config, loaded)));
    // The first lane's replicator speaks for both.
    let line = replicators[0].status();
    let writer = |lane: usize| lanes[lane].1.clone();
    let shared = poll::Shared {
        sink: Arc::new(writer(0)),
        events: events.clone(),
        reconnect_pause_max: config.limits.reconnect_pause_max,
        stop: stop_devices.clone(),
    };
    let devices = poll_devices(&twin, &shared, &before.last_good_us);

    let stop = || stop_rest.clone();
    let alive = Arc::clone(&facts);
    let alive = move || alive.is_alive();
    let page = serve_page(page_options(config), Arc::clone(&twin), facts.clone(), stop());
    let mut tasks = vec![
        tokio::spawn(distribute(raw_events, Arc::clone(&facts), writer(1), stop())),
        tokio::spawn(tick(Arc::clone(&facts), stop())),
        tokio::spawn(page),
        tokio::spawn(line::watch(line, box_path.clone(), events.clone(), stop())),
        tokio::spawn(service::watch(alive, box_path.clone(), events.clone(), stop())),
    ];
    if let Some(state) = &state {
        let save = last_good::save(Arc::clone(state), Arc::clone(&twin), writer(0).status(), stop());
        tasks.push(tokio::spawn(save));
    }
    report_start(loaded, &box_path, &events);
    Ok(Running {
        facts: facts.clone(),
        box_facts: facts,
        twin,
        state,
        devices,
        tasks,
        replicators,
        lanes,
        stop_devices,
        stop_rest,
        _only_one: only_one,
    })
}

/// Makes sure that no other process writes the same journal: two at once would destroy it.
fn only_one(directory: &Path) -> anyhow::Result<File> {
    let unusable = || format!("the journal's folder {} cannot be used", directory.display());
    std::fs::create_dir_all(directory).with_context(unusable)?;
    let file = File::create(directory.join("lock")).with_context(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let folder = directory.display();
            bail!(
                "another forebay runs with the folder {folder}: stop it, or give this one a folder of its own"
            );
        }
        // Some network file systems know no locks.
        Err(TryLockError::Error(error)) => tracing::warn!("{}: no lock: {error}", directory.display()),
    }
    Ok(file)
}

/// Starts a replicator for each lane.
fn replicate(lanes: Lanes, kafka: &KafkaOptions, events: &Events) -> anyhow::Result<Replication> {
    let boot = format!("{:016x}", fastrand::u64(..));
    let mut started = Replication { facts: Vec::new(), replicators: Vec::new(), lanes: Vec::new() };
    for (name, opened) in [("telemetry", lanes.telemetry), ("events", lanes.events)] {
        let source = JournalSource::new(name, opened.reader);
        let replicator = Replicator::start(kafka.clone(), source, &boot, Some(events.clone()))
            .with_context(|| format!("no thread for the {name} lane"))?;
        started.facts.push(LaneFacts::new(name, &opened.writer, replicator.status()));
        started.replicators.push(replicator);
        started.lanes.push((opened.lane, opened.writer));
    }
    Ok(started)
}

/// Starts a task for each device.
fn poll_devices(
    twin: &Twin,
    shared: &poll::Shared,
    last_good_us: &HashMap<String, i64>,
) -> Vec<JoinHandle<()>> {
    let poll = |twin: &Arc<DeviceTwin>| {
        let device = Arc::clone(&twin.device);
        let since_us = last_good_us.get(&device.path).copied().unwrap_or(0);
        tokio::spawn(poll::run(device, Arc::clone(twin), shared.clone(), since_us))
    };
    twin.devices.iter().map(poll).collect()
}

/// `forebay run`: starts, tells systemd, waits for SIGINT or SIGTERM, stops.
///
/// # Errors
/// Those of [`start`].
pub async fn run(config: &Config, loaded: &Loaded) -> anyhow::Result<()> {
    let kafka = kafka::options(config);
    let running = start(config, loaded, kafka)?;
    service::notify(&[NotifyState::Ready]);
    stop_signal().await;
    service::notify(&[NotifyState::Stopping]);
    running.stop().await;
    Ok(())
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM (systemd).
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(error) => {
            tracing::warn!("no SIGTERM: {error}");
            // Without Ctrl-C either, only kill -9 is left, which costs nothing that was synced.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn open_lanes(config: &Config, box_path: &str, events: &Events) -> anyhow::Result<Lanes> {
    let open = |name: &str, budget_bytes, sync_interval| {
        let options = LaneOptions {
            budget_bytes,
            segment_bytes: config.journal.segment_bytes,
            sync_interval,
            sync_bytes: usize::try_from(config.journal.sync_bytes).unwrap_or(usize::MAX),
            ..LaneOptions::new(name, config.journal.directory.join(name), box_path)
        };
        Lane::open(options, events.clone()).with_context(|| format!("the {name} lane cannot be opened"))
    };
    let interval = config.journal.sync_interval;
    Ok(Lanes {
        telemetry: open("telemetry", config.telemetry.budget_bytes, interval)?,
        events: open("events", config.events.budget_bytes, interval.min(EVENTS_SYNC_MAX))?,
    })
}

fn open_state(config: &Config, box_path: &str, events: &Events) -> Option<Arc<State>> {
    let trouble = match State::open(&config.paths.state.join("state")) {
        Ok(opened) => {
            if let Some(put_aside) = opened.put_aside {
                box_event(
                    events,
                    box_path,
                    "state-put-aside",
                    format!("The small state was damaged: {put_aside}"),
                );
            }
            return Some(Arc::new(opened.state));
        }
        Err(error) => error.to_string(),
    };
    // Only the exact times of gaps over a restart depend on it.
    box_event(events, box_path, "no-state", format!("Going on without the small state: {trouble}"));
    None
}

fn box_event(events: &Events, box_path: &str, what: &str, text: String) {
    tracing::warn!("{text}");
    let data = json!({ "what": what });
    events.emit(Event {
        kind: Kind::Box,
        edge_time: clock::now_us(),
        device: box_path.to_owned(),
        text,
        data,
    });
}

fn bind_models(
    config: &Config,
    devices: &[Arc<Device>],
    box_path: &str,
    events: &Events,
) -> Vec<infer::Binding> {
    let folders: Vec<_> =
        infer::folder::Folder::all(&config.paths.models).into_iter().map(Arc::new).collect();
    let mut bindings = Vec::new();
    for model in &config.models {
        let Some(folder) = folders.iter().find(|folder| folder.model_name() == model.name) else {
            let text = format!("Model {} is in none of the folders of paths.models", model.name);
            box_event(events, box_path, "no-model", text);
            continue;
        };
        for name in model.devices.iter().filter(|name| devices.iter().any(|device| device.name == **name)) {
            bindings.push(infer::Binding { folder: Arc::clone(folder), device: name.clone() });
        }
    }
    bindings
}

fn identity(config: &Config) -> status::facts::Identity {
    status::facts::Identity {
        edge_id: config.edge.id.clone(),
        name: config.edge.name.clone(),
        site: config.edge.site.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_us: clock::now_us(),
        clock_synchronised: None,
    }
}

fn page_options(config: &Config) -> status::Options {
    let language = if config.status.language == "de" { Language::De } else { Language::En };
    status::Options {
        listen: config.status.listen,
        host_names: config.status.host_names.iter().cloned().chain(own_name()).collect(),
        language,
        web_clients_max: config.limits.web_clients,
    }
}

/// The name the system gives itself; a reader may well have come by it.
fn own_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Events go to the page's list and into their lane.
async fn distribute(
    mut raw: mpsc::Receiver<Event>,
    facts: Arc<BoxFacts>,
    writer: LaneWriter,
    stop: CancellationToken,
) {
    let (stored, waiting) = Events::new();
    let forward = async {
        while let Some(event) = raw.recv().await {
            facts.remember(&event);
            stored.emit(event);
        }
    };
    tokio::select! {
        // First what has come in, so that at a stop nothing is left between the two.
        biased;
        () = forward => {}
        () = lane::store_events(waiting, writer, stop) => {}
    }
}

async fn tick(facts: Arc<BoxFacts>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => facts.tick(),
        }
    }
}

/// Serves the page; a port that is taken is tried again for ever.
async fn serve_page(
    options: status::Options,
    twin: Arc<Twin>,
    facts: Arc<dyn Facts>,
    stop: CancellationToken,
) {
    let mut told = false;
    loop {
        match status::serve(options.clone(), Arc::clone(&twin), Arc::clone(&facts), stop.clone()).await {
            Ok(serving) => {
                if serving.task.await.is_err() {
                    tracing::error!("the status page ended with a panic");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!("{error}; trying again every {} s", PAGE_RETRY.as_secs());
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAGE_RETRY) => {}
        }
    }
}

fn report_start(loaded: &Loaded, box_path: &str, events: &Events) {
    let devices = match loaded.devices.len() {
        1 => "1 device".to_owned(),
        devices => format!("{devices} devices"),
    };
    let text = format!("Forebay {} started with {devices}", env!("CARGO_PKG_VERSION"));
    tracing::info!("{text}");
    let refused: Vec<&str> = loaded.refused.iter().map(|refused| refused.name.as_str()).collect();
    for name in &refused {
        tracing::error!(device = name, "not polled: its files have faults, see `forebay check`");
    }
    events.emit(Event {
        kind: Kind::Box,
        edge_time: clock::now_us(),
        device: box_path.to_owned(),
        text,
        data: json!({ "what": "started", "version": env!("CARGO_PKG_VERSION"), "devices_refused": refused }),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_answers_to_the_names_in_the_settings_and_to_the_systems_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forebay.toml");
        let text = "forebay = 1\n[edge]\nid = \"box\"\nsite = \"Werk1\"\n[kafka]\nbrokers = [\"k:9092\"]\n\
            [status]\nhost_names = [\"box1\", \"box1.plant.example\"]\n";
        std::fs::write(&path, text).unwrap();
        let names = page_options(crate::config::load(&path).config.as_ref().unwrap()).host_names;
        assert_eq!(names[..2], ["box1", "box1.plant.example"]);
        let uname = std::process::Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(names[2], String::from_utf8_lossy(&uname.stdout).trim());
    }

    #[test]
    fn two_never_write_the_same_journal() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let first = only_one(&journal).unwrap();
        let error = only_one(&journal).unwrap_err().to_string();
        assert!(error.contains("another forebay runs with the folder"), "{error}");
        drop(first);
        only_one(&journal).unwrap();
    }
}
