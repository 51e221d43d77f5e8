//! The control socket: how `forebay pause`, `resume`, `reload`, `replay`, `person` and `journal` speak to a running box.
//!
//! HTTP/1.1 with JSON over the unix socket `control.sock` in the folder of the state, for its
//! owner and group only. It is never served on TCP. Who can write to it has the rights of
//! the service; on the page only persons that were added here can do anything.

pub mod client;
pub mod command;
mod learn_routes;
mod model_routes;
mod people;
pub mod reload;
mod routes;
mod server;
pub mod socket;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backlog::{ImportState, Imports};
use crate::infer::models::Models;
use crate::lane::LaneWriter;
use crate::learn::Learner;
use crate::people::People;
use crate::replay::Replays;
use crate::replicate::{ReplicationControl, ReplicationStatus};
use crate::status::facts::{Errand, ErrandKind};
use crate::twin::Twin;

pub use client::{Client, ClientError};
pub use socket::{Socket, SocketError};

/// Pause before the socket is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// One lane, as far as it can be looked at and told something.
pub struct LaneControl {
    /// `telemetry` or `events`.
    pub name: &'static str,
    /// Its journal.
    pub writer: LaneWriter,
    /// Its way to Kafka.
    pub replication: Arc<ReplicationStatus>,
}

/// To pause and resume each lane, by its name.
pub type Switches = Vec<(&'static str, Arc<ReplicationControl>)>;

/// Everything that the socket gives access to.
pub struct Controls {
    /// `edge.id`.
    pub edge: String,
    /// `edge.site`.
    pub site: String,
    /// To pause and resume each lane; they are there before the lanes are open.
    pub switches: Switches,
    /// Both lanes; none until their disk works.
    lanes: OnceLock<Vec<LaneControl>>,
    /// Backlogs of other boxes.
    pub imports: Arc<Imports>,
    /// History that is sent once more.
    pub replays: Arc<Replays>,
    /// Who may press buttons on the page.
    pub people: Arc<People>,
    /// To have the files read again; none when nobody does that.
    reloads: OnceLock<reload::Orders>,
    /// Last values, for `forebay explain`; none until the devices are known.
    twin: OnceLock<Arc<Twin>>,
    /// Versions of models, for `forebay model`.
    models: OnceLock<Arc<Models>>,
    /// Learns what is normal, for `forebay learn`.
    learner: OnceLock<Arc<Learner>>,
}

impl Controls {
    /// Of a box whose lanes are not open yet.
    pub fn new(
        site: &str,
        edge: &str,
        switches: Switches,
        imports: Arc<Imports>,
        replays: Arc<Replays>,
        people: Arc<People>,
    ) -> Self {
        Self {
            edge: edge.to_owned(),
            site: site.to_owned(),
            switches,
            lanes: OnceLock::new(),
            imports,
            replays,
            people,
            reloads: OnceLock::new(),
            twin: OnceLock::new(),
            models: OnceLock::new(),
            learner: OnceLock::new(),
        }
    }

    /// Models can be asked for, changed and learned from now on.
    pub fn take_models(&self, models: Arc<Models>, learner: Arc<Learner>) {
        // There is one of each for the life of the box.
        let _before = self.models.set(models);
        let _before = self.learner.set(learner);
    }

    /// Who learns, once it is there.
    pub fn known_learner(&self) -> Option<&Arc<Learner>> {
        self.learner.get()
    }

    /// From now on the files can be read again.
    pub fn take_reloads(&self, orders: reload::Orders) {
        // There is one who does it.
        let _before = self.reloads.set(orders);
    }

    /// Last values can be asked for from now on.
    pub fn watch(&self, twin: Arc<Twin>) {
        // There is one for the life of the box.
        let _before = self.twin.set(twin);
    }

    /// To pause and resume this lane.
    pub fn switch(&self, lane: &str) -> Option<Arc<ReplicationControl>> {
        self.switches.iter().find(|(name, _)| *name == lane).map(|(_, control)| Arc::clone(control))
    }

    /// The lanes work from now on.
    pub fn open(&self, lanes: Vec<LaneControl>) {
        let ways = lanes.iter().map(|lane| (lane.name, Arc::clone(&lane.replication)));
        self.replays.open(ways.collect());
        // They are opened once.
        let _before = self.lanes.set(lanes);
    }

    /// What is sent besides the box's own new data, for the page.
    pub fn errands(&self) -> Vec<Errand> {
        let imports = self.imports.list().into_iter().map(|import| Errand {
            kind: ErrandKind::Import,
            name: import.edge,
            lane: import.lane,
            done: import.next_offset.saturating_sub(import.from),
            total: import.to.saturating_sub(import.from),
            held: matches!(import.state, ImportState::Held(_)),
        });
        let waiting = self.replays.list().into_iter().filter(|job| !job.state.is_over());
        let replays = waiting.map(|job| Errand {
            kind: ErrandKind::Replay,
            name: job.order.id,
            lane: job.order.lane,
            done: job.next_offset.saturating_sub(job.from_offset),
            total: job.to_offset.saturating_sub(job.from_offset),
            held: false,
        });
        imports.chain(replays).collect()
    }

    fn lanes(&self) -> &[LaneControl] {
        self.lanes.get().map_or(&[], Vec::as_slice)
    }
}

/// Serves the socket in `folder` until `stop`. When it cannot be made, it is tried again for ever:
/// the box works without it.
pub async fn serve(folder: std::path::PathBuf, controls: Arc<Controls>, stop: CancellationToken) {
    let router = routes::router(controls);
    let mut told = false;
    loop {
        match Socket::bind(&folder) {
            Ok(socket) => {
                tracing::info!("control socket: {}", socket.path().display());
                return server::serve(&socket, router, stop).await;
            }
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::error!(
                    "no control socket, `forebay pause`, `resume`, `reload`, `replay` and `journal trim` do not work: \
                     {error}; trying again every {} s",
                    RETRY.as_secs()
                );
            }
            Err(_) => {}
        }
        if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return;
        }
    }
}
