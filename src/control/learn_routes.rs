//! `forebay learn`: what is normal for a machine, from its own history.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;

use super::Controls;
use super::routes::{Answer, Refusal, fault, name_of, read, respond};
use crate::infer::package::is_model;
use crate::learn::{LearnError, Learner, Order};

pub(super) fn router() -> Router<Arc<Controls>> {
    Router::new().route("/v1/learn", post(learn))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    order: Order,
    /// Who asks.
    #[serde(default)]
    by: String,
}

async fn learn(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(match read::<Asked>(request).await {
        Ok(asked) => order(&controls, asked).await,
        Err(refusal) => Err(refusal),
    })
}

impl Controls {
    fn learner(&self) -> Result<Arc<Learner>, Refusal> {
        let starting =
            || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the box is still starting: try again".into());
        self.learner.get().cloned().ok_or_else(starting)
    }
}

/// Learns on a thread where waiting is allowed.
async fn order(controls: &Controls, asked: Asked) -> Answer {
    let learner = controls.learner()?;
    if asked.order.model.as_deref().is_some_and(|name| !is_model(name)) {
        return Err(Refusal::bad("the name of a model has 1 to 64 of a-z, 0-9, - and _"));
    }
    let by = name_of(&asked.by);
    let learning = tokio::task::spawn_blocking(move || learner.learn(&asked.order, &by));
    let learned = learning.await.map_err(|_| fault())?.map_err(|error| {
        let status = match &error {
            error if error.is_passing() => StatusCode::SERVICE_UNAVAILABLE,
            LearnError::Choice(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        Refusal(status, error.to_string())
    })?;
    serde_json::to_value(&learned).map_err(|_| fault())
}
