//! Who may press buttons on the page, and which there are.

use std::sync::Arc;

use crate::config::Config;
use crate::event::Events;
use crate::infer::models::Models;
use crate::learn::Learner;
use crate::people::People;
use crate::status::actions::{self, Acts};

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
