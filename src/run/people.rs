//! Who may press buttons on the page, and which there are.

use std::sync::Arc;

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::event::Events;
use crate::infer::models::Models;
use crate::learn::Learner;
use crate::people::People;
use crate::state::State;
use crate::status::actions::{self, Acts};

/// Those who may press buttons. Of a state that is not open yet they are read when it is.
pub fn people(
    state: &Arc<SetOnce<State>>,
    events: &Events,
    box_path: &str,
    stop: &CancellationToken,
) -> Arc<People> {
    let people = Arc::new(People::new(Arc::clone(state), events.clone(), box_path));
    // What was read already is not read again. It ends by itself, or with the box.
    let (reading, stop) = (Arc::clone(&people).read_when_open(), stop.clone());
    let _detached = tokio::spawn(async move { stop.run_until_cancelled(reading).await });
    people
}

/// Everything that can be done by the page. New buttons are added here.
pub fn acts(
    config: &Config,
    people: Arc<People>,
    models: &Arc<Models>,
    learner: &Arc<Learner>,
    events: &Events,
) -> Acts {
    let feedback = actions::feedback(Arc::clone(&models.predictions().diaries), events.clone());
    let learn = actions::learn(Arc::clone(learner));
    let (promote, accept) = (actions::promote(Arc::clone(models)), actions::accept(Arc::clone(models)));
    Acts {
        people,
        actions: Arc::new([feedback, learn, promote, accept]),
        from_network: config.status.sign_in_from_network,
    }
}
