//! Models that central IT delivers by Kafka.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use super::super::package::{Identity, Package, TAR_BYTES_MAX, hex};
use super::super::store::StoreError;
use super::super::words;
use super::{Models, OrderError, Then, lock};
use crate::device::Text;
use crate::replicate::{Followed, Options, follow};
use crate::state::State;

/// Who such models come from, in events.
const BY: &str = "kafka";
/// Name of the topic behind the prefix.
pub const TOPIC: &str = "models";

/// Follows the topic on a thread of its own, once the small state is there.
pub fn start(models: &Arc<Models>, kafka: Options, state: Arc<SetOnce<State>>, stop: CancellationToken) {
    let models = Arc::clone(models);
    let follow = async move {
        if stop.run_until_cancelled(state.wait()).await.is_none() {
            return;
        }
        let thread = std::thread::Builder::new().name("models-kafka".into());
        let spawned = thread.spawn(move || {
            follow(&kafka, TOPIC, TAR_BYTES_MAX, &stop, |record| models.take(&record));
        });
        if let Err(error) = spawned {
            tracing::error!("no models are taken from Kafka: {error}");
        }
    };
    tokio::spawn(follow);
}

impl Models {
    /// Takes a model that has come; what comes of it is an event.
    fn take(&self, record: &Followed) {
        if record.value.is_empty() {
            // The key was deleted: what the box has, it keeps.
            return;
        }
        let digest = hex(&Sha256::digest(&record.value));
        let refused = lock(&self.refused).get(&record.key) == Some(&digest);
        if refused || self.registry.was_delivered(&record.key, &digest) {
            return;
        }
        match self.take_new(record) {
            Ok(()) => {
                if let Err(error) = self.registry.deliver(&record.key, &digest) {
                    tracing::warn!("model {}: it will be looked at once more: {error}", record.key);
                }
            }
            // It is tried again at the next start, unless it is wrong for good.
            Err(error) => {
                match &error {
                    OrderError::Wrong(_) => {
                        let _anew = self.registry.deliver(&record.key, &digest);
                    }
                    error if error.is_passing() => {}
                    _ => _ = lock(&self.refused).insert(record.key.clone(), digest),
                }
                let version = record.headers.get("version").cloned().unwrap_or_default();
                self.say("refused", &record.key, "", &version, &words::english(error.to_string()), BY);
            }
        }
    }

    fn take_new(&self, record: &Followed) -> Result<(), OrderError> {
        let package = Package::read_tar(&record.value).map_err(StoreError::from)?;
        let Identity { model, version } = package.identity().map_err(StoreError::from)?;
        let said = record.headers.get("version").unwrap_or(&version);
        if (&record.key, said) != (&model, &version) {
            let message =
                format!("the record is named {} {said}, the model in it {model} {version}", record.key);
            return Err(OrderError::Wrong(message));
        }
        if package.signature().is_none() {
            let error = super::super::signature::SignatureError::Missing;
            return Err(OrderError::Signature { model, version, error });
        }
        self.install(&package, Then::Keep, &[], BY)?;
        if record.headers.get("activate").is_some_and(|when| when == "now") {
            self.activate(&model, &Some(version), BY, &Text::default())?;
        } else if self.registry.entry(&model).active.as_ref() != Some(&version) {
            self.shadow(&model, &version, BY)?;
        }
        Ok(())
    }
}
