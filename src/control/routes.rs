//! What can be asked and told. What is not named here does not exist.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::{Controls, LaneControl};
use crate::lane::{Before, TrimError, TrimOrder};
use crate::replicate::Replication;

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// The body must be there within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for removing files.
const TRIM_MAX: Duration = Duration::from_secs(60);

/// A request that is not done, and why.
#[derive(Debug)]
pub(super) struct Refusal(pub StatusCode, pub String);

impl Refusal {
    /// The request itself is wrong.
    pub fn bad(why: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, why.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        answer(self.0, &json!({ "error": self.1 }))
    }
}

pub(super) type Answer = Result<Json, Refusal>;

fn answer(status: StatusCode, body: &Json) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, Body::from(body.to_string())).into_response()
}

fn respond(done: Answer) -> Response {
    match done {
        Ok(json) => answer(StatusCode::OK, &json),
        Err(refusal) => refusal.into_response(),
    }
}

/// All routes.
pub(super) fn router(controls: Arc<Controls>) -> Router {
    let unknown = || async { Refusal(StatusCode::NOT_FOUND, "there is nothing of this name".into()) };
    let wrong_method = || async { Refusal(StatusCode::METHOD_NOT_ALLOWED, "not with this method".into()) };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/journal/trim", post(trim))
        .route("/v1/journal/handed", post(handed))
        .route("/v1/import", post(import))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(controls)
}

/// The body of a request as JSON; bounded in size and time.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let reading = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
    let bytes = tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT, "the request did not come in time".into()))?
        .map_err(|_| {
            let limit = format!("the request is broken, or longer than {BODY_BYTES_MAX} bytes");
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, limit)
        })?;
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad(format!("not understood: {error}")))
}

impl Controls {
    fn lane(&self, name: &str) -> Result<&LaneControl, Refusal> {
        self.lanes().iter().find(|lane| lane.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.lanes().iter().map(|lane| lane.name).collect();
            Refusal::bad(format!(
                "there is no lane \"{}\", only {}",
                name.escape_debug(),
                names.join(" and ")
            ))
        })
    }
}

async fn status(State(controls): State<Arc<Controls>>) -> Response {
    let lanes: Vec<Json> = controls.lanes().iter().map(lane_status).collect();
    respond(Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "edge": controls.edge,
        "site": controls.site,
        "lanes": lanes,
        "imports": controls.imports.list(),
    })))
}

fn lane_status(lane: &LaneControl) -> Json {
    // Newer than what the status says: published with every block.
    let synced = *lane.writer.synced().borrow();
    json!({
        "name": lane.name,
        "synced": synced,
        "journal": *lane.writer.status().borrow(),
        "replication": replication(&lane.replication.snapshot()),
    })
}

fn replication(now: &Replication) -> Json {
    json!({
        "state": now.state.code(),
        "text": now.state.to_string(),
        "since_us": now.state.since_us(),
        "next_offset": now.next_offset,
        "records": now.records,
        "bytes": now.bytes,
        "last_commit_us": (now.last_commit_us != 0).then_some(now.last_commit_us),
        "delay_us": now.delay_us,
        "transactions": now.transactions,
        "aborts": now.aborts,
        "too_large": now.too_large,
    })
}

/// Something new lies in the folder of imports.
async fn import(State(controls): State<Arc<Controls>>) -> Response {
    controls.imports.look();
    respond(Ok(json!({ "looking": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandedRequest {
    lane: String,
    /// The records before this offset have been exported.
    before_offset: u64,
}

async fn handed(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(do_hand_over(&controls, request).await)
}

async fn do_hand_over(controls: &Controls, request: Request) -> Answer {
    let HandedRequest { lane, before_offset } = read(request).await?;
    let writer = controls.lane(&lane)?.writer.clone();
    let noting = tokio::task::spawn_blocking(move || writer.hand_over(before_offset, TRIM_MAX)).await;
    if noting.unwrap_or(false) {
        Ok(json!({ "noted": true }))
    } else {
        Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, TrimError::NoAnswer.to_string()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrimRequest {
    lane: String,
    /// Removes only what lies before this offset …
    before_offset: Option<u64>,
    /// … or ended before this time, microseconds since 1970 UTC; without both all that was sent.
    before_us: Option<i64>,
    #[serde(default)]
    unsent: bool,
}

async fn trim(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(do_trim(&controls, request).await)
}

async fn do_trim(controls: &Controls, request: Request) -> Answer {
    let TrimRequest { lane, before_offset, before_us, unsent } = read(request).await?;
    let before = match (before_offset, before_us) {
        (Some(_), Some(_)) => return Err(Refusal::bad("give before_offset or before_us, not both")),
        (Some(offset), None) => Before::Offset(offset),
        (None, Some(us)) => Before::TimeUs(us),
        (None, None) => Before::Sent,
    };
    let writer = controls.lane(&lane)?.writer.clone();
    let trimming =
        tokio::task::spawn_blocking(move || writer.trim(TrimOrder { before, unsent }, TRIM_MAX)).await;
    match trimming {
        Ok(Ok(trimmed)) => {
            tracing::info!(
                lane,
                "an operator removed {} segments, {} bytes",
                trimmed.segments,
                trimmed.bytes
            );
            Ok(json!(trimmed))
        }
        Ok(Err(error @ TrimError::Unsent { .. })) => Err(Refusal(StatusCode::CONFLICT, error.to_string())),
        Ok(Err(error)) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "a fault inside Forebay".into())),
    }
}
