//! Reading the files again while the box runs: on order, on SIGHUP, and when one was saved.
//!
//! Only what has changed is touched. What has errors is not taken over: its devices run on as they
//! did. Journal, Kafka, page and the state stay as they are; what of them is another in
//! `forebay.toml` waits for a new start, and that is said.

mod change;
mod stamp;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{SetOnce, mpsc};
use tokio_util::sync::CancellationToken;

use super::devices::Devices;
use super::facts::{BoxFacts, LastRead, lock};
use super::refused;
use crate::amount::counted;
use crate::clock;
use crate::config::{self, Config, Loaded};
use crate::control::reload::{Order, Reloaded};
use crate::device::Device;
use crate::diagnostic::{Format, Severity};
use crate::event::{Event, Events, Kind, What};
use crate::state::State;
use crate::twin::Twin;
use change::{Change, tables, waiting_for_restart};
use stamp::{Saves, Stamp};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Where these have changed, nothing is taken over: other folders are another box, and devices and who
/// reads them belong together.
const NOTHING_WITHOUT_RESTART: [&str; 2] = ["[paths]", "[standby]"];
/// Files that change while they are read are read again, so often at most.
const READS_MAX: usize = 5;
/// Pause between them.
const READ_PAUSE: Duration = Duration::from_millis(200);
/// Letters of the first fault in an event's text at most.
const FAULT_CHARS_MAX: usize = 500;

/// Everything that a new configuration changes.
pub struct Reloading {
    /// `forebay.toml`.
    pub path: PathBuf,
    /// What runs.
    pub config: Config,
    /// Path of the box, for events.
    pub box_path: String,
    /// The devices' tasks.
    pub devices: Arc<Devices>,
    /// Their values.
    pub twin: Arc<Twin>,
    /// What the page says beside.
    pub facts: Arc<BoxFacts>,
    /// Knows when a device was read last.
    pub state: Arc<SetOnce<State>>,
    /// Where events go.
    pub events: Events,
}

/// What made us read.
enum Why {
    Order(Order),
    Signal,
    Save,
}

impl Why {
    /// For events (docs/kafka.md).
    fn code(&self) -> &'static str {
        match self {
            Self::Order(_) => "reload",
            Self::Signal => "signal",
            Self::Save => "save",
        }
    }

    fn by(&self) -> &str {
        match self {
            Self::Order(order) => &order.by,
            Self::Signal | Self::Save => "",
        }
    }
}

impl Reloading {
    /// Reads the files again whenever that is asked for, until `stop`. What runs was read from
    /// `read_us` on, microseconds since 1970 UTC.
    pub async fn serve(mut self, mut orders: mpsc::Receiver<Order>, read_us: i64, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!("no SIGHUP: {error}");
                None
            }
        };
        let hung_up = async |hangup: &mut Option<tokio::signal::unix::Signal>| match hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        };
        // What was written while we read is read again.
        let read = self.look().await.filter(|stamp| stamp.is_from_before(read_us));
        let mut saves = Saves::new(read.unwrap_or_default());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let why = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(order) = orders.recv() => Why::Order(order),
                Some(()) = hung_up(&mut hangup) => Why::Signal,
                _ = look.tick() => {
                    let Some(now) = self.look().await else { continue };
                    if !saves.look(now) {
                        continue;
                    }
                    Why::Save
                }
            };
            let Some((loaded, stamp)) = self.read().await else { continue };
            saves.read(stamp);
            let reloaded = self.take_over(&loaded, &why).await;
            if let Why::Order(order) = why {
                // Who asked may have gone.
                let _gone = order.answer.send(reloaded);
            }
        }
    }

    /// How the files are now; `None` after a panic, which has been reported.
    async fn look(&self) -> Option<Stamp> {
        let (path, paths) = (self.path.clone(), self.config.paths.clone());
        tokio::task::spawn_blocking(move || Stamp::take(&path, &paths)).await.ok()
    }

    /// Reads all files, again when one was written meanwhile.
    async fn read(&self) -> Option<(Loaded, Stamp)> {
        let mut before = self.look().await?;
        for read in 1.. {
            let path = self.path.clone();
            let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await.ok()?;
            let after = self.look().await?;
            if before == after || read == READS_MAX {
                // What is written from now on is another save.
                return Some((loaded, before));
            }
            before = after;
            tokio::time::sleep(READ_PAUSE).await;
        }
        None
    }

    /// Takes over what has no errors.
    async fn take_over(&mut self, loaded: &Loaded, why: &Why) -> Reloaded {
        let running: Vec<Arc<Device>> =
            self.twin.devices().iter().map(|twin| Arc::clone(&twin.device)).collect();
        let unchanged = Change { devices: running.clone(), ..Change::default() };
        let mut restart = Vec::new();
        let change = match &loaded.config {
            // Nothing is known of the rest when the file that names it has errors.
            None => unchanged,
            Some(new) => {
                restart = waiting_for_restart(&self.config, new);
                if restart.iter().any(|part| NOTHING_WITHOUT_RESTART.contains(part)) {
                    unchanged
                } else {
                    let mut change =
                        Change::between(&running, &loaded.devices, |it| refused::runs_on(it, loaded));
                    change.tables = tables(&self.config, new);
                    self.apply(&change, new, loaded).await;
                    change
                }
            }
        };
        let successful = loaded.errors() == 0;
        {
            let mut read = lock(&self.facts.read);
            let at_us = if successful { clock::now_us() } else { read.at_us };
            *read = LastRead { at_us, successful };
        }
        let names = |names: &change::Names| names.first.clone();
        let reloaded = Reloaded {
            text: said(&change, loaded, &restart),
            devices: change.devices.len(),
            added: names(&change.added),
            removed: names(&change.removed),
            changed: names(&change.changed),
            tags_added: names(&change.tags_added),
            tags_removed: names(&change.tags_removed),
            kept: change.kept.iter().map(|device| device.name.clone()).collect(),
            restart: restart.iter().map(|part| (*part).to_owned()).collect(),
            errors: loaded.errors(),
            faults: if loaded.diagnostics.is_empty() {
                String::new()
            } else {
                loaded.render(Format::Text, false)
            },
        };
        self.tell(&reloaded, &change, loaded, why);
        reloaded
    }

    /// Devices, then the models that watch them, then what the page says of files with faults.
    async fn apply(&mut self, change: &Change, new: &Config, loaded: &Loaded) {
        if !change.is_empty() {
            self.remember_last_values().await;
            let state = Arc::clone(&self.state);
            self.devices.replace(&change.devices, |device| {
                state.get().map_or(0, |state| state.last_good_us(&device.path))
            });
        }
        if !change.is_empty() || new.models != self.config.models {
            self.config.models.clone_from(&new.models);
            let (models, wanted) = (Arc::clone(&self.facts.models), new.models.clone());
            // Reads the models' files. A panic has been reported; the models go on as they were.
            let _panicked = tokio::task::spawn_blocking(move || models.configure(&wanted)).await;
        }
        self.config.learn.clone_from(&new.learn);
        self.facts.controls.known_learner().into_iter().for_each(|learner| learner.configure(&new.learn));
        let mut not_read = refused::not_read(&self.config, loaded, &change.kept);
        not_read.extend(refused::running_on(&change.kept, loaded));
        *lock(&self.facts.not_read) = not_read;
    }

    /// A device that goes may come back: then it is to be known since when its values are missing.
    async fn remember_last_values(&self) {
        let (state, twin) = (Arc::clone(&self.state), Arc::clone(&self.twin));
        let saving = tokio::task::spawn_blocking(move || {
            state.get().into_iter().for_each(|state| super::last_good::save_now(state, &twin));
        });
        // A panic has been reported; less is known then.
        let _panicked = saving.await;
    }

    fn tell(&self, reloaded: &Reloaded, change: &Change, loaded: &Loaded, why: &Why) {
        let emit = |text: String, mut data: Json| {
            data["cause"] = why.code().into();
            if !why.by().is_empty() {
                data["by"] = why.by().into();
            }
            let (device, edge_time) = (self.box_path.clone(), clock::now_us());
            self.events.emit(Event { kind: Kind::Box, edge_time, device, text, data });
        };
        let Reloaded { text, restart, errors, faults, .. } = reloaded;
        if *errors > 0 {
            tracing::error!("{text}\n{faults}");
            let said = format!("{text}: {}", first_fault(loaded));
            let kept = &reloaded.kept[..reloaded.kept.len().min(50)];
            let data = json!({ "what": What::ConfigurationFaults, "errors": errors, "devices_kept": kept });
            emit(said, data);
        } else if !faults.is_empty() {
            tracing::warn!("the files have doubtful places:\n{faults}");
        }
        if change.is_empty() && change.tables.is_empty() && restart.is_empty() {
            tracing::info!("the files were read again ({}): nothing has changed", why.code());
            return;
        }
        tracing::info!("{text}");
        if !restart.is_empty() {
            tracing::warn!("only a restart takes over what has changed in {}", restart.join(", "));
        }
        let Change { added, removed, changed, tags_added, tags_removed, tables, .. } = change;
        let data = json!({
            "what": What::Configuration,
            "devices_added": added.first, "devices_removed": removed.first, "devices_changed": changed.first,
            "tags_added": tags_added.first, "tags_removed": tags_removed.first,
            "counts": {
                "devices_added": added.count, "devices_removed": removed.count,
                "devices_changed": changed.count, "tags_added": tags_added.count,
                "tags_removed": tags_removed.count,
            },
            "tables": tables,
            "restart": restart,
        });
        emit(text.clone(), data);
    }
}

/// What happened, in one sentence.
fn said(change: &Change, loaded: &Loaded, restart: &[&str]) -> String {
    let errors = loaded.errors();
    let machines = |count: usize| counted(count as u64, "machine", "machines");
    if loaded.config.is_none() {
        return "forebay.toml has errors: everything runs on as it was".to_owned();
    }
    if let Some(part) = restart.iter().find(|part| NOTHING_WITHOUT_RESTART.contains(part)) {
        return format!("{part} in forebay.toml has changed: nothing is taken over before a restart");
    }
    let mut parts = Vec::new();
    for (count, what) in
        [(change.added.count, "new"), (change.changed.count, "changed"), (change.removed.count, "removed")]
    {
        if count > 0 {
            parts.push(format!("{} {what}", machines(count)));
        }
    }
    let nothing = parts.is_empty();
    parts.extend(change.tables.iter().map(|table| (*table).to_owned()));
    let mut text = match parts.as_slice() {
        [] => "no machine has changed".to_owned(),
        parts => format!("configuration taken over: {}", parts.join(", ")),
    };
    if nothing && !parts.is_empty() {
        text += "; no machine has changed";
    }
    if errors > 0 {
        let kept = match change.kept.len() {
            0 => String::new(),
            kept => format!(", {} run on as before", machines(kept)),
        };
        text += &format!("; {} not taken over{kept}", counted(errors as u64, "error is", "errors are"));
    }
    text
}

/// The first error with its place.
fn first_fault(loaded: &Loaded) -> String {
    let first = loaded.diagnostics.iter().find(|fault| fault.severity == Severity::Error);
    let said = first.map(|fault| {
        let source = loaded.sources.files.get(fault.place.file);
        let place = source.map(|source| source.at_line(fault.place.span.start)).unwrap_or_default();
        format!("{place}: {}", fault.message)
    });
    said.unwrap_or_default().chars().take(FAULT_CHARS_MAX).collect()
}
