//! Puts the parts together, and takes them apart in order.
//!
//! Start: lanes, state, models, replicators, devices, page: each works without the next.

mod certificates;
mod devices;
mod facts;
mod flash;
mod kafka;
mod last_good;
mod line;
mod people;
mod rates;
mod refused;
mod reload;
mod service;
mod standby;
mod stop;
mod storage;
mod trend;
mod trim;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::sync::{SetOnce, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backlog::Imports;
use crate::clock;
use crate::config::{Config, Loaded};
use crate::control::{self, Controls};
use crate::device::Device;
use crate::event::{Event, Events, Kind, What};
use crate::infer::{
    self,
    diary::{self, Diaries},
    models::Models,
};
use crate::lane;
use crate::learn::{self, Learner};
use crate::people::People;
use crate::poll;
use crate::replay::Replays;
use crate::replicate::Options as KafkaOptions;
use crate::standby::Gate;
use crate::state::State;
use crate::status::actions::Acts;
use crate::status::{self, Facts, Language};
use crate::twin::Twin;

use devices::Devices;
use facts::BoxFacts;
pub use kafka::remembered;
use storage::{Begin, Closed, Lanes, Opener, Storage, Writers, not_stored, open_state};
pub use trim::{hand_over_without_box, trim_without_box};

/// Pause before the page's port is tried again.
const PAGE_RETRY: Duration = Duration::from_secs(10);

/// A running box.
pub struct Running {
    /// Last values.
    pub twin: Arc<Twin>,
    /// What the page shows.
    pub facts: Arc<dyn Facts>,
    /// Learns what is normal.
    pub learner: Arc<Learner>,
    box_facts: Arc<BoxFacts>,
    state: Arc<SetOnce<State>>,
    devices: Arc<Devices>,
    tasks: Vec<JoinHandle<()>>,
    /// `None` until the journal's disk works.
    storage: Arc<Mutex<Option<Storage>>>,
    stop_rest: CancellationToken,
    events: Events,
    /// Ends with the devices: who stops starts nothing new.
    stop_reloads: CancellationToken,
}

impl Running {
    /// Reads the files again when somebody asks for it or saves one. What runs was read from `path`
    /// from `read_us` on, microseconds since 1970 UTC.
    fn follow_files(&mut self, path: &Path, config: &Config, read_us: i64) {
        let (orders, ordered) = control::reload::orders();
        let reloading = reload::Reloading {
            path: path.to_owned(),
            config: config.clone(),
            box_path: format!("{}/{}", config.edge.site, config.edge.id),
            devices: Arc::clone(&self.devices),
            twin: Arc::clone(&self.twin),
            facts: Arc::clone(&self.box_facts),
            state: Arc::clone(&self.state),
            events: self.events.clone(),
        };
        self.tasks.push(tokio::spawn(reloading.serve(ordered, read_us, self.stop_reloads.clone())));
        self.box_facts.controls.take_reloads(orders);
    }
}

/// Starts everything that the configuration names. Devices, Kafka, network, a disk that works: nothing
/// needs to be there.
///
/// # Errors
/// When another process uses the journal's folder, or the system gives no threads.
pub fn start(config: &Config, loaded: &Loaded, kafka: KafkaOptions) -> anyhow::Result<Running> {
    let (started_us, box_path) = (clock::now_us(), format!("{}/{}", config.edge.site, config.edge.id));
    let (events, raw_events) = Events::new();
    let (stop_devices, stop_rest) = (CancellationToken::new(), CancellationToken::new());
    let mut opener = Opener::new(config, &box_path, &events);
    let mut opened = opener.open();
    if let Err(Closed::Taken(error)) = opened {
        bail!("{error}");
    }
    let (state, state_directory) = (Arc::new(SetOnce::new()), config.paths.state.join("state"));
    open_state(&state_directory, &state, &box_path, &events);
    let last_good_us = time_before(opened.as_mut().ok(), state.get(), &loaded.devices, &events);
    let twin = Arc::new(Twin::new(&loaded.devices));
    let diaries = Diaries::open(state.get());
    let keeping = diary::keep(Arc::clone(&diaries), Arc::clone(&state), events.clone(), stop_rest.clone());
    let models = models(config, &kafka, &state, &twin, diaries, &events, &stop_rest);
    let people = people::people(&state, &events, &box_path, &stop_rest);
    let learner = learner(config, &models, &twin, &stop_devices);
    let acts = people::acts(config, Arc::clone(&people), &models, &learner, &events);
    let controls = controls(config, &kafka, &state, people, &events, &stop_devices)?;
    controls.watch(Arc::clone(&twin));
    controls.take_models(Arc::clone(&models), Arc::clone(&learner));
    let facts = Arc::new(box_facts(config, loaded, models, &controls));
    let (writers, storage) = (Writers::default(), Arc::new(Mutex::new(None)));
    let lease_kafka = kafka.clone();
    let begin = Begin {
        kafka,
        box_path: box_path.clone(),
        twin: Arc::clone(&twin),
        events: events.clone(),
        facts: Arc::clone(&facts),
        controls: Arc::clone(&controls),
        writers: writers.clone(),
        state: Arc::clone(&state),
        state_directory,
        stop: stop_rest.clone(),
    };
    let mut tasks =
        vec![tokio::spawn(distribute(raw_events, Arc::clone(&facts), writers.clone(), stop_rest.clone()))];
    match opened {
        Ok(lanes) => *storage.lock().unwrap_or_else(PoisonError::into_inner) = Some(begin.with(lanes)?),
        Err(Closed::Taken(trouble) | Closed::Disk(trouble)) => {
            facts.lanes.closed(&trouble);
            begin.tell(false, not_stored(&trouble));
            tasks.push(tokio::spawn(begin.later(opener, Arc::clone(&storage), started_us)));
        }
    }
    let standby = standby::start(config, &lease_kafka, &box_path, &events, &stop_devices);
    tasks.extend(standby.tasks);
    facts.show_standby(standby.report);
    let shared = shared(config, writers, &events, standby.gate, &stop_devices);
    let before = |device: &Device| last_good_us.get(&device.path).copied().unwrap_or(0);
    let devices = Arc::new(Devices::start(&twin, shared, before));
    tasks.extend(serve(config, acts, &twin, &facts, &stop_rest));
    tasks.extend([tokio::spawn(keeping), watch(&facts, &box_path, &events, &stop_rest)]);
    report_start(loaded, &box_path, &events);
    Ok(Running {
        facts: facts.clone(),
        learner,
        box_facts: facts,
        twin,
        state,
        devices,
        tasks,
        storage,
        stop_rest,
        events,
        stop_reloads: stop_devices,
    })
}

/// Everything that shows what the box does, and the socket that takes orders.
fn serve(
    config: &Config,
    acts: Acts,
    twin: &Arc<Twin>,
    facts: &Arc<BoxFacts>,
    stop: &CancellationToken,
) -> [JoinHandle<()>; 4] {
    let controls = Arc::clone(&facts.controls);
    let page = serve_page(page_options(config, acts), Arc::clone(twin), facts.clone(), stop.clone());
    [
        tokio::spawn(tick(Arc::clone(facts), stop.clone())),
        tokio::spawn(certificates::watch(Arc::clone(facts), Arc::clone(twin), stop.clone())),
        tokio::spawn(page),
        tokio::spawn(control::serve(config.paths.state.clone(), controls, stop.clone())),
    ]
}

/// Tells systemd's watchdog that the box works, as long as it does.
fn watch(facts: &Arc<BoxFacts>, box_path: &str, events: &Events, stop: &CancellationToken) -> JoinHandle<()> {
    let alive = Arc::clone(facts);
    let alive = move || alive.is_alive();
    tokio::spawn(service::watch(alive, box_path.to_owned(), events.clone(), stop.clone()))
}

fn box_facts(config: &Config, loaded: &Loaded, models: Arc<Models>, controls: &Arc<Controls>) -> BoxFacts {
    let flash = flash::FlashWear::new(&config.journal.directory, config.journal.flash_endurance_bytes);
    BoxFacts::new(
        identity(config),
        models,
        refused::not_read(config, loaded, &[]),
        flash,
        Arc::clone(controls),
    )
}

/// When each device delivered its last value before this start; emits the gap records that a crash
/// has swallowed.
fn time_before(
    lanes: Option<&mut Lanes>,
    state: Option<&State>,
    devices: &[Arc<Device>],
    events: &Events,
) -> HashMap<String, i64> {
    let Some(lanes) = lanes else { return last_good::saved(state, devices) };
    let before = last_good::read(&mut lanes.telemetry.reader, &mut lanes.events.reader, state, devices);
    before.unstated.into_iter().for_each(|event| events.emit(event));
    before.last_good_us
}

/// What the control socket gives access to; sending imported backlogs and history begins here.
fn controls(
    config: &Config,
    kafka: &KafkaOptions,
    state: &Arc<SetOnce<State>>,
    people: Arc<People>,
    events: &Events,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Controls>> {
    let switches = kafka::switches(state);
    let imports = Imports::new(&config.paths.state, kafka.clone(), switches.clone(), events.clone());
    imports.start(stop.clone()).context("no thread for imported backlogs")?;
    let (folder, journal) = (&config.paths.state, &config.journal.directory);
    let replays = Replays::new(folder, journal, kafka.clone(), switches.clone(), events.clone());
    replays.start(stop.clone()).context("no thread for replays")?;
    Ok(Arc::new(Controls::new(&config.edge.site, &config.edge.id, switches, imports, replays, people)))
}

/// What the devices' tasks share.
fn shared(
    config: &Config,
    writers: Writers,
    events: &Events,
    gate: Gate,
    stop: &CancellationToken,
) -> poll::Shared {
    poll::Shared {
        sink: Arc::new(writers),
        events: events.clone(),
        gate,
        reconnect_pause_max: config.limits.reconnect_pause_max,
        stop: stop.clone(),
    }
}

/// `forebay run`: starts, tells systemd, follows changes of the files, waits for SIGINT or SIGTERM,
/// stops. `path` is where `config` was read from.
///
/// # Errors
/// Those of [`start`].
pub async fn run(path: &Path, config: &Config, loaded: Loaded) -> anyhow::Result<()> {
    let kafka = kafka::options(config);
    let mut running = start(config, &loaded, kafka)?;
    running.follow_files(path, config, loaded.read_us);
    // The texts of the files are of no use any more, and devices end when their tasks do.
    drop(loaded);
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

fn box_event(events: &Events, box_path: &str, text: String, data: &serde_json::Value) {
    tracing::warn!("{text}");
    events.emit(Event {
        kind: Kind::Box,
        edge_time: clock::now_us(),
        device: box_path.to_owned(),
        text,
        data: data.clone(),
    });
}

/// The models of the configuration, and what runs them.
fn models(
    config: &Config,
    kafka: &KafkaOptions,
    state: &Arc<SetOnce<State>>,
    twin: &Arc<Twin>,
    diaries: Arc<Diaries>,
    events: &Events,
    stop: &CancellationToken,
) -> Arc<Models> {
    let models = Models::start(infer::models::Setup {
        options: config.model_options.clone(),
        folders: config.paths.models.clone(),
        state_folder: config.paths.state.clone(),
        state: Arc::clone(state),
        box_path: format!("{}/{}", config.edge.site, config.edge.id),
        twin: Arc::clone(twin),
        diaries,
        events: events.clone(),
        stop: stop.clone(),
    });
    models.configure(&config.models);
    if config.model_options.kafka {
        infer::models::delivered::start(&models, kafka.clone(), Arc::clone(state), stop.clone());
    }
    models
}

/// What learns on the box, as `[[learn]]` says.
fn learner(
    config: &Config,
    models: &Arc<Models>,
    twin: &Arc<Twin>,
    stop: &CancellationToken,
) -> Arc<Learner> {
    let (models, twin) = (Arc::clone(models), Arc::clone(twin));
    let learner = Learner::new(models, twin, &config.journal.directory, &config.paths.models);
    learner.configure(&config.learn);
    let learner = Arc::new(learner);
    // It ends with the box; what it is at is whole or not there.
    let _detached = tokio::spawn(learn::by_itself(Arc::clone(&learner), stop.clone()));
    let _detached = tokio::spawn(learn::look_back(Arc::clone(&learner), stop.clone()));
    learner
}

fn identity(config: &Config) -> status::facts::Identity {
    status::facts::Identity {
        edge_id: config.edge.id.clone(),
        name: config.edge.name.clone(),
        site: config.edge.site.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_us: clock::now_us(),
        // Asked anew each time.
        clock_synchronised: None,
        clock_jump: None,
    }
}

fn page_options(config: &Config, acts: Acts) -> status::Options {
    let language = if config.status.language == "de" { Language::De } else { Language::En };
    status::Options {
        listen: config.status.listen,
        host_names: config.status.host_names.iter().cloned().chain(own_name()).collect(),
        language,
        web_clients_max: config.limits.web_clients,
        acts,
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
    writers: Writers,
    stop: CancellationToken,
) {
    let (stored, waiting) = Events::new();
    let forward = async {
        while let Some(event) = raw.recv().await {
            facts.remember(&event);
            stored.emit(event);
        }
    };
    let store = async {
        // Until there is a lane they wait.
        if let Some(writer) = stop.run_until_cancelled(writers.events()).await {
            lane::store_events(waiting, writer, stop.clone()).await;
        }
    };
    tokio::select! {
        // First what has come in, so that at a stop nothing is left between the two.
        biased;
        () = forward => {}
        () = store => {}
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
        data: json!({ "what": What::Started, "version": env!("CARGO_PKG_VERSION"), "devices_refused": refused }),
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
        let names =
            page_options(crate::config::load(&path).config.as_ref().unwrap(), Acts::default()).host_names;
        assert_eq!(names[..2], ["box1", "box1.plant.example"]);
        let uname = std::process::Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(names[2], String::from_utf8_lossy(&uname.stdout).trim());
    }
}
