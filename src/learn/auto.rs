//! `when = "auto"` in `[[learn]]`: a machine is learned once it has run for long enough.
//!
//! Only the first time. What has been learned is not replaced by itself: what came since may be a fault,
//! and the baseline follows what may be followed (docs/predictive-maintenance.md). A person orders the
//! next version, or accepts a new normal.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{LearnError, Learner, Order, model_name, past_us, span};
use crate::config::Learn;
use crate::infer::models::ITSELF;

/// It is looked so often whether there is enough; reading a week takes some seconds.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The first time, when the box has started.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// It is looked so often whether a version in shadow waits to be run over the past.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(60);

/// Runs versions over the past before they take over by themselves, until `stop`.
pub async fn look_back(learner: Arc<Learner>, stop: CancellationToken) {
    learner.models().look_back_first();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_BACK_EVERY)).await.is_some() {
        if learner.models().wants_look_back().is_empty() {
            continue;
        }
        let (end, ended) = oneshot::channel();
        let (learner, told) = (Arc::clone(&learner), stop.clone());
        // A thread of its own: it takes a low priority, which the threads of the pool must not keep. Nobody
        // joins it: the box ends without waiting for the piece that is being read.
        let looking = std::thread::Builder::new().name("look-back".into()).spawn(move || {
            learner.look_back(&told);
            // A panic drops the sender instead.
            let _nobody_waits = end.send(());
        });
        let ended = match looking {
            Ok(_thread) => match stop.run_until_cancelled(ended).await {
                Some(ended) => ended.is_ok(),
                None => return,
            },
            Err(_) => false,
        };
        if !ended {
            tracing::error!("running a model over the past failed; it is tried again");
        }
    }
}

/// Learns what is to be learned by itself, until `stop`. Where `[[learn]]` is another one, it looks at once.
pub async fn by_itself(learner: Arc<Learner>, stop: CancellationToken) {
    let mut changes = learner.configured.subscribe();
    let mut pause = FIRST_LOOK;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // The learner has the other end, so it is there.
            _another = changes.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = LOOK_EVERY;
        let learner = Arc::clone(&learner);
        if tokio::task::spawn_blocking(move || learner.look()).await.is_err() {
            tracing::error!("learning by itself ended with a panic; it is tried again");
        }
    }
}

impl Learner {
    /// Learns of every device that has run for long enough and of which nothing is known.
    pub fn look(&self) {
        for learn in self.configured().into_iter().filter(|learn| learn.auto) {
            let model = learn.model.clone().unwrap_or_else(|| model_name(&learn.device));
            if self.runs(&model) || self.is_known(&model) {
                continue;
            }
            if let Err(error) = self.look_at(&learn) {
                tracing::info!("{} is not learned yet: {error}", learn.device);
            }
        }
    }

    fn look_at(&self, learn: &Learn) -> Result<(), LearnError> {
        let order = Order::configured(learn, past_us());
        let (_, there) = self.rows_there(&order)?;
        if there < learn.after {
            let (there, after) = (span(there), span(learn.after));
            tracing::info!("{}: {there} of {after} of normal running", learn.device);
            return Ok(());
        }
        let learned = self.learn(&order, ITSELF)?;
        tracing::info!("{} {} was learned", learned.model, learned.version);
        Ok(())
    }

    /// A version of it lies in the store, whether it runs or not: somebody has decided about it.
    fn is_known(&self, model: &str) -> bool {
        self.models().store().list().iter().any(|stored| stored.identity.model == model)
    }
}
