//! Puts the parts together, and takes them apart in order.
//!
//! Start: state, lanes, page, models, replicators, devices: each works without the next. Stop:
//! devices first, then what they have delivered is synced and sent while Kafka takes it, at most
//! `SEND_REST_MAX`; what is left is sent after the next start.

mod facts;
mod kafka;
mod last_good;
mod rates;
mod service;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
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
use crate::twin::Twin;

use facts::{BoxFacts, LaneFacts};

/// Longest wait at the end for Kafka to take what is journalled.
const SEND_REST_MAX: Duration = Duration::from_secs(5);
/// Longest wait at the end for the journal to sync.
const SYNC_REST_MAX: Duration = Duration::from_secs(5);
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

/// Starts everything that the configuration names. Devices, Kafka, network: nothing needs to be there.
///
/// # Errors
/// When the journal's folder cannot be used at all; nothing works without it.
pub fn start(config: &Config, loaded: &Loaded, kafka: KafkaOptions) -> anyhow::Result<Running> {
    let box_path = format!("{}/{}", config.edge.site, config.edge.id);
    let (events, raw_events) = Events::new();
    let mut lanes = open_lanes(config, &box_path, &events)?;
    let state = open_state(config, &box_path, &events);
    let before = last_good::read(
        &mut lanes.telemetry.reader,
        &mut lanes.events.reader,
        state.as_deref(),
        &loaded.devices,
    );
    before.unstated.into_iter().for_each(|event| events.emit(event));
    let twin = Arc::new(Twin::new(&loaded.devices));
    let (stop_devices, stop_rest) = (CancellationToken::new(), CancellationToken::new());

    let bindings = bind_models(config, &loaded.devices, &box_path, &events);
    let predictions = infer::spawn(bindings, &box_path, Arc::clone(&twin), events.clone(), stop_rest.clone());
    let boot = format!("{:016x}", fastrand::u64(..));
    let Lanes { telemetry, events: event_lane } = lanes;
    let mut lane_facts = Vec::new();
    let mut replicators = Vec::new();
    let mut kept = Vec::new();
    for (name, opened) in [("telemetry", telemetry), ("events", event_lane)] {
        let status = opened.writer.status();
        let source = JournalSource::new(name, opened.reader);
        let replicator = Replicator::start(kafka.clone(), source, &boot, Some(events.clone()))
            .with_context(|| format!("no thread for the {name} lane"))?;
        let replication = replicator.status();
        lane_facts.push(LaneFacts { name, writer: opened.writer.clone(), status, replication });
        replicators.push(replicator);
        kept.push((opened.lane, opened.writer));
    }
    let facts = Arc::new(BoxFacts {
        identity: identity(config),
        lanes: lane_facts,
        predictions,
        rates: Mutex::default(),
        latest: Mutex::new(VecDeque::new()),
        disk_broken_us: Mutex::default(),
    });

    let shared = poll::Shared {
        sink: Arc::new(kept[0].1.clone()),
        events: events.clone(),
        reconnect_pause_max: config.limits.reconnect_pause_max,
        stop: stop_devices.clone(),
    };
    let start_device = |(device, twin): (&Arc<Device>, _)| {
        let since = before.last_good_us.get(&device.path).copied().unwrap_or(0);
        tokio::spawn(poll::run(Arc::clone(device), Arc::clone(twin), shared.clone(), since))
    };
    let devices = loaded.devices.iter().zip(&twin.devices).map(start_device).collect();

    let page: Arc<dyn Facts> = facts.clone();
    let alive = Arc::clone(&facts);
    let mut tasks = vec![
        tokio::spawn(distribute(raw_events, Arc::clone(&facts), kept[1].1.clone(), stop_rest.clone())),
        tokio::spawn(tick(Arc::clone(&facts), stop_rest.clone())),
        tokio::spawn(serve_page(
            page_options(config),
            Arc::clone(&twin),
            Arc::clone(&page),
            stop_rest.clone(),
        )),
        tokio::spawn(service::watch(
            move || alive.stopped().is_empty() || alive.reserve().disk_error.is_some(),
            box_path.clone(),
            events.clone(),
            stop_rest.clone(),
        )),
    ];
    if let Some(state) = &state {
        tasks.push(tokio::spawn(last_good::save(Arc::clone(state), Arc::clone(&twin), stop_rest.clone())));
    }
    report_start(loaded, &box_path, &events);
    Ok(Running {
        twin,
        facts: page,
        box_facts: facts,
        state,
        devices,
        tasks,
        replicators,
        lanes: kept,
        stop_devices,
        stop_rest,
    })
}

/// `forebay run`: starts, tells systemd, waits for SIGINT or SIGTERM, stops.
///
/// # Errors
/// Those of [`start`], and of secrets that cannot be read.
pub async fn run(config: &Config, loaded: &Loaded) -> anyhow::Result<()> {
    let kafka = kafka::options(config)?;
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

impl Running {
    /// Takes everything apart in order. Bounded: devices say goodbye, the journal syncs, Kafka is
    /// given a few seconds.
    pub async fn stop(self) {
        tracing::info!("stopping: no more polling; what was read is stored and sent");
        self.stop_devices.cancel();
        for device in self.devices {
            if device.await.is_err() {
                tracing::error!("a device's task ended with a panic");
            }
        }
        let synced = sync_rest(self.lanes.iter().map(|(_, writer)| writer.clone()).collect()).await;
        send_rest(&self.box_facts, &synced).await;
        self.stop_rest.cancel();
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("a task ended with a panic");
            }
        }
        let (state, twin) = (self.state, self.twin);
        let closing = tokio::task::spawn_blocking(move || {
            self.replicators.iter().for_each(Replicator::stop);
            self.replicators.into_iter().for_each(Replicator::join);
            let lost: u64 = self.lanes.into_iter().map(|(lane, _)| lane.close()).sum();
            if lost > 0 {
                tracing::error!("{lost} records could not be stored");
            }
            if let Some(state) = state {
                last_good::save_now(&state, &twin);
            }
        });
        if closing.await.is_err() {
            tracing::error!("closing ended with a panic");
        }
        tracing::info!("stopped");
    }
}

/// Has everything that was handed over synced; the offset behind it for each lane, 0 when that
/// is not known because the disk does not work.
async fn sync_rest(writers: Vec<LaneWriter>) -> Vec<u64> {
    let flush = move || writers.iter().map(|writer| writer.flush(SYNC_REST_MAX)).collect::<Vec<_>>();
    let synced = tokio::task::spawn_blocking(flush).await.unwrap_or_default();
    if synced.iter().any(Option::is_none) {
        tracing::error!("not everything could be stored within {} s", SYNC_REST_MAX.as_secs());
    }
    synced.into_iter().map(Option::unwrap_or_default).collect()
}

/// Waits until Kafka has everything before `synced`, as long as it takes something.
async fn send_rest(facts: &BoxFacts, synced: &[u64]) {
    let end = tokio::time::Instant::now() + SEND_REST_MAX;
    loop {
        let lanes = facts.lanes.iter().zip(synced);
        let rest: u64 = lanes
            .map(|(lane, synced)| synced.saturating_sub(lane.replication.snapshot().next_offset.unwrap_or(0)))
            .sum();
        if rest == 0 {
            return;
        }
        if facts.to_it().state != status::facts::ToItState::Up || tokio::time::Instant::now() >= end {
            tracing::info!("{rest} records are on disk and are sent after the next start");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn open_lanes(config: &Config, box_path: &str, events: &Events) -> anyhow::Result<Lanes> {
    let open = |name: &str, budget_bytes| {
        let options = LaneOptions {
            budget_bytes,
            segment_bytes: config.journal.segment_bytes,
            sync_interval: config.journal.sync_interval,
            sync_bytes: usize::try_from(config.journal.sync_bytes).unwrap_or(usize::MAX),
            ..LaneOptions::new(name, config.journal.directory.join(name), box_path)
        };
        Lane::open(options, events.clone()).with_context(|| format!("the {name} lane cannot be opened"))
    };
    Ok(Lanes {
        telemetry: open("telemetry", config.telemetry.budget_bytes)?,
        events: open("events", config.events.budget_bytes)?,
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
    let mut folders = infer::folder::Folder::built_in();
    for directory in config.paths.models.iter().filter(|directory| directory.is_dir()) {
        for folder in infer::folder::Folder::all(directory) {
            // A folder of the site takes the place of a built-in one of the same name.
            folders.retain(|other| other.model_name() != folder.model_name());
            folders.push(folder);
        }
    }
    let folders: Vec<_> = folders.into_iter().map(Arc::new).collect();
    let mut bindings = Vec::new();
    for model in &config.models {
        let Some(folder) = folders.iter().find(|folder| folder.model_name() == model.name) else {
            let text = format!("Model {} is in none of the folders of paths.models", model.name);
            box_event(events, box_path, "no-model", text);
            continue;
        };
        for name in model.devices.iter().filter(|name| devices.iter().any(|device| device.name == **name)) {
            bindings.push(infer::Binding { folder: Arc::clone(folder), device: Some(name.clone()) });
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
        language,
        web_clients_max: config.limits.web_clients,
        ..status::Options::default()
    }
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
    let text = format!("Forebay {} started with {} devices", env!("CARGO_PKG_VERSION"), loaded.devices.len());
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
