//! Writing diaries down.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Diaries;
use crate::event::Events;
use crate::state::State;

/// Scores are written so often: flash does not like more. A crash costs so much of the curve.
const SCORES_EVERY: Duration = Duration::from_secs(600);
/// What was told is noted so often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Writes diaries down until `stop`, once more then. A state that opens late is taken in when it is there.
pub async fn keep(
    diaries: Arc<Diaries>,
    state: Arc<SetOnce<State>>,
    events: Events,
    stop: CancellationToken,
) {
    let mut scores_at = Instant::now() + SCORES_EVERY;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = diaries.woken() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let scores = Instant::now() >= scores_at;
        if scores {
            scores_at = Instant::now() + SCORES_EVERY;
        }
        write(&diaries, &state, (scores, false), &events).await;
    }
    diaries.end_keeping();
    write(&diaries, &state, (true, true), &events).await;
}

/// Writes where it may block, `scores` too, and for the last time. A state that has just opened is taken
/// in before.
async fn write(
    diaries: &Arc<Diaries>,
    state: &Arc<SetOnce<State>>,
    (scores, stopping): (bool, bool),
    events: &Events,
) {
    let (diaries, state, events) = (Arc::clone(diaries), Arc::clone(state), events.clone());
    let writing = tokio::task::spawn_blocking(move || {
        if let Some(state) = state.get().filter(|_| !diaries.was_taken()) {
            diaries.take(state);
        }
        diaries.write(state.get(), scores, stopping, &events);
    });
    if writing.await.is_err() {
        tracing::error!("writing down what the models found ended with a panic");
    }
}

impl Diaries {
    /// What is stored, and from now on events wait for [`keep`], which must be run.
    pub fn open(state: Option<&State>) -> Arc<Self> {
        let diaries = Self::default();
        if let Some(state) = state {
            diaries.take(state);
        }
        diaries.begin_keeping();
        Arc::new(diaries)
    }
}
