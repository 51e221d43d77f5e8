//! The part of this box where two share a plant.

use std::sync::Arc;

use forebay_connector::Secrets;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, CredentialStore};
use crate::event::Events;
use crate::standby::{self, Gate, Standby, Surroundings};

/// Starts answering or asking, as configured. The gate stays closed where this box stands by for nobody.
pub fn start(
    config: &Config,
    box_path: &str,
    events: &Events,
    stop: &CancellationToken,
) -> (Gate, Option<JoinHandle<()>>) {
    let (open, gate) = watch::channel(false);
    let task = config.standby.as_ref().map(|standby| {
        let (Standby::Active { secret, .. } | Standby::Standby(standby::StandbyFor { secret, .. })) = standby;
        let (store, name) = (CredentialStore::new(config.paths.credentials.clone()), secret.clone());
        let surroundings = Surroundings {
            edge: config.edge.id.clone(),
            box_path: box_path.to_owned(),
            secret: Arc::new(move || store.read(&name)),
            events: events.clone(),
            stop: stop.clone(),
        };
        match standby.clone() {
            Standby::Active { answer_on, .. } => tokio::spawn(standby::answer(answer_on, surroundings)),
            Standby::Standby(standby) => tokio::spawn(standby::ask(standby, open, surroundings)),
        }
    });
    (gate, task)
}
