//! What can be asked and told. What is not named here does not exist.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::{Controls, LaneControl, people, reload};
use crate::amount::{bytes, counted};
use crate::lane::{Before, TrimError, TrimOrder};
use crate::replay::{Order, ReplayError};
use crate::replicate::{Pause, Replication};

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// The body must be there within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Letters of the name of who asks at most.
const BY_CHARS_MAX: usize = 64;
/// Longest time for removing files.
const TRIM_MAX: Duration = Duration::from_secs(60);
/// Longest time for reading the files.
const RELOAD_MAX: Duration = Duration::from_secs(60);

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

/// A handler has ended with a panic.
pub(super) fn fault() -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, "a fault inside Forebay, see its log".into())
}

pub(super) type Answer = Result<Json, Refusal>;

fn answer(status: StatusCode, body: &Json) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, Body::from(body.to_string())).into_response()
}

pub(super) fn respond(done: Answer) -> Response {
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
        .route("/v1/value/{device}/{tag}", get(value))
        .route("/v1/replication/pause", post(pause))
        .route("/v1/replication/resume", post(resume))
        .route("/v1/journal/trim", post(trim))
        .route("/v1/journal/handed", post(handed))
        .route("/v1/import", post(import))
        .route("/v1/reload", post(order_reload))
        .route("/v1/people", get(people::list).post(people::add))
        .route("/v1/people/remove", post(people::remove))
        .route("/v1/replay", get(replays).post(order_replay))
        .route("/v1/replay/{id}", get(replay).delete(cancel_replay))
        .merge(super::model_routes::router())
        .merge(super::learn_routes::router())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(controls)
}

/// The body of a request as JSON; bounded in size and time.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
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
            if names.is_empty() {
                let why = "the journal is not open yet: `forebay journal status` and the log say why";
                return Refusal(StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
            }
            Refusal::bad(format!(
                "there is no lane \"{}\", only {}",
                name.escape_debug(),
                names.join(" and ")
            ))
        })
    }
}

async fn status(State(controls): State<Arc<Controls>>) -> Response {
    let lanes: Vec<Json> = controls.lanes().iter().map(|lane| lane_status(&controls, lane)).collect();
    respond(Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "edge": controls.edge,
        "site": controls.site,
        "lanes": lanes,
        "imports": controls.imports.list(),
        "imported": controls.imports.finished(),
        "replays": controls.replays.list(),
    })))
}

fn lane_status(controls: &Controls, lane: &LaneControl) -> Json {
    // Newer than what the status says: published with every block.
    let synced = *lane.writer.synced().borrow();
    json!({
        "name": lane.name,
        "synced": synced,
        "journal": *lane.writer.status().borrow(),
        "replication": replication(&lane.replication.snapshot()),
        "paused": controls.switch(lane.name).and_then(|switch| switch.paused()),
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
        "shut_out": now.shut_out,
        "shut_out_us": (now.shut_out_us != 0).then_some(now.shut_out_us),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchRequest {
    /// Both without one.
    lane: Option<String>,
    /// Who asks.
    #[serde(default)]
    by: String,
}

async fn pause(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(switch(&controls, request, true).await)
}

async fn resume(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(switch(&controls, request, false).await)
}

/// Who asks, as far as it is a name.
pub(super) fn name_of(by: &str) -> String {
    let by: String = by.chars().filter(|letter| !letter.is_control()).take(BY_CHARS_MAX).collect();
    if by.is_empty() { "an operator".to_owned() } else { by }
}

async fn switch(controls: &Controls, request: Request, pause: bool) -> Answer {
    let SwitchRequest { lane, by } = read(request).await?;
    let by = name_of(&by);
    let is_meant = |name: &str| lane.as_deref().is_none_or(|lane| lane == name);
    let meant: Vec<_> = controls.switches.iter().filter(|(name, _)| is_meant(name)).cloned().collect();
    if meant.is_empty() {
        let lane = lane.unwrap_or_default();
        return Err(Refusal::bad(format!("there is no lane \"{}\"", lane.escape_debug())));
    }
    let names: Vec<&str> = meant.iter().map(|(name, _)| *name).collect();
    let state = if pause { "paused" } else { "resumed" };
    tracing::info!("sending {} is {state} by {by}", names.join(" and "));
    let before: Vec<Json> = meant
        .iter()
        .filter_map(|(name, switch)| {
            let Pause { since_us, by } = switch.paused()?;
            Some(json!({ "lane": name, "since_us": since_us, "by": by }))
        })
        .collect();
    // Who was not paused is told so.
    let answer = json!({ "lanes": names, "paused": pause, "paused_before": before });
    // Remembering it writes to the disk.
    let switching = tokio::task::spawn_blocking(move || {
        let done = meant.iter().map(|(_, switch)| if pause { switch.pause(&by) } else { switch.resume() });
        done.collect::<Vec<_>>()
    });
    let done = switching.await.map_err(|_| fault())?;
    let mut answer = answer;
    if let Some(warning) = done.into_iter().find_map(Result::err) {
        answer["warning"] = warning.into();
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadRequest {
    /// Who asks.
    #[serde(default)]
    by: String,
}

async fn order_reload(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(do_reload(&controls, request).await)
}

async fn do_reload(controls: &Controls, request: Request) -> Answer {
    let ReloadRequest { by } = read(request).await?;
    let unable = |why: &str| Refusal(StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    let orders = controls.reloads.get().ok_or_else(|| unable("the box is still starting: try again"))?;
    let (answer, answered) = oneshot::channel();
    let order = reload::Order { by: name_of(&by), answer };
    let reloading = async {
        orders.send(order).await.ok()?;
        answered.await.ok()
    };
    match tokio::time::timeout(RELOAD_MAX, reloading).await {
        Ok(Some(reloaded)) => Ok(json!(reloaded)),
        Ok(None) => Err(unable("the box is stopping")),
        Err(_) => Err(unable("the files are still being read: what comes of it is in the log and an event")),
    }
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
    match noting.unwrap_or(Err(TrimError::NoAnswer)) {
        Ok(()) => Ok(json!({ "noted": true })),
        Err(error) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
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
            if trimmed.segments > 0 {
                let files = counted(trimmed.segments, "file", "files");
                tracing::info!(
                    lane,
                    "an operator had {files} removed, {} are free now",
                    bytes(trimmed.bytes)
                );
            }
            Ok(json!(trimmed))
        }
        Ok(Err(error @ TrimError::Unsent { .. })) => Err(Refusal(StatusCode::CONFLICT, error.to_string())),
        Ok(Err(error)) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        Err(_) => Err(fault()),
    }
}

async fn replays(State(controls): State<Arc<Controls>>) -> Response {
    respond(Ok(json!({ "replays": controls.replays.list() })))
}

async fn replay(State(controls): State<Arc<Controls>>, Path(id): Path<String>) -> Response {
    respond(controls.replays.get(&id).map(|job| json!(job)).ok_or_else(no_replay))
}

/// The last value of one tag.
async fn value(
    State(controls): State<Arc<Controls>>,
    Path((device, tag)): Path<(String, String)>,
) -> Response {
    let unknown = || Refusal(StatusCode::NOT_FOUND, "there is no such tag in the running box".into());
    let found = controls.twin.get().and_then(|twin| {
        let twin = twin.device(&device)?;
        let index = twin.device.tag_index(&tag)?;
        let current = twin.state().values.get(index)?.clone();
        let mut text = Vec::new();
        crate::replicate::encode::value(&mut text, &current.value);
        Some(json!({
            "value": String::from_utf8_lossy(&text),
            "quality": current.quality.as_str(),
            "edge_us": current.edge_us,
        }))
    });
    respond(found.ok_or_else(unknown))
}

async fn cancel_replay(State(controls): State<Arc<Controls>>, Path(id): Path<String>) -> Response {
    respond(controls.replays.cancel(&id).map(|job| json!(job)).ok_or_else(no_replay))
}

fn no_replay() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "there is no replay with this id, see `forebay replay --list`".into())
}

async fn order_replay(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(do_replay(&controls, request).await)
}

async fn do_replay(controls: &Controls, request: Request) -> Answer {
    let order: Order = read(request).await?;
    let synced = *controls.lane(&order.lane)?.writer.synced().borrow();
    let replays = Arc::clone(&controls.replays);
    match tokio::task::spawn_blocking(move || replays.order(order, synced)).await {
        Ok(Ok((job, is_new))) => {
            let mut answer = json!(job);
            answer["new"] = is_new.into();
            Ok(answer)
        }
        Ok(Err(error @ (ReplayError::Wrong(_) | ReplayError::Unknown(_)))) => {
            Err(Refusal::bad(error.to_string()))
        }
        Ok(Err(error @ (ReplayError::Journal(_) | ReplayError::File(_)))) => {
            Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
        Ok(Err(error)) => Err(Refusal(StatusCode::CONFLICT, error.to_string())),
        Err(_) => Err(fault()),
    }
}
