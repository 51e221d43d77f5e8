//! What can be asked of models, and ordered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Controls;
use super::routes::{Answer, Refusal, fault, name_of, read, respond};
use crate::device::Text;
use crate::infer::models::{Done, Models, OrderError, Then};
use crate::infer::package::{Package, TAR_BYTES_MAX};
use crate::infer::store::StoreError;

/// A model must be there within this time.
const PACKAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Devices that are named with a model at most.
const DEVICES_MAX: usize = 500;

pub(super) fn router() -> Router<Arc<Controls>> {
    Router::new()
        .route("/v1/models", get(list).put(install))
        .route("/v1/models/{model}/activate", post(activate))
        .route("/v1/models/{model}/shadow", post(shadow))
        .route("/v1/models/{model}/rollback", post(roll_back))
        .route("/v1/models/{model}/remove", post(remove))
}

impl Controls {
    fn models(&self) -> Result<Arc<Models>, Refusal> {
        let starting =
            || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the box is still starting: try again".into());
        self.models.get().cloned().ok_or_else(starting)
    }
}

/// Carries out an order on a thread where waiting is allowed.
async fn ordered(
    controls: &Controls,
    order: impl FnOnce(&Models) -> Result<Json, OrderError> + Send + 'static,
) -> Answer {
    let models = controls.models()?;
    let done = tokio::task::spawn_blocking(move || order(&models)).await.map_err(|_| fault())?;
    done.map_err(|error| {
        let status = match &error {
            error if error.is_passing() => StatusCode::SERVICE_UNAVAILABLE,
            OrderError::Store(StoreError::Unknown { .. }) => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        Refusal(status, error.to_string())
    })
}

fn said(done: &Done) -> Json {
    json!({
        "model": done.identity.model,
        "version": done.identity.version,
        "signed_by": done.signed_by,
        "trial": done.trial,
        "swap_us": done.swap_us,
    })
}

async fn list(State(controls): State<Arc<Controls>>) -> Response {
    respond(ordered(&controls, |models| Ok(models.list())).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Installation {
    /// Who asks.
    #[serde(default)]
    by: String,
    /// `shadow` or `activate`; otherwise it only lies there.
    #[serde(default)]
    then: String,
    /// Devices with commas between.
    #[serde(default)]
    devices: String,
}

/// The body is a tar.
async fn install(
    State(controls): State<Arc<Controls>>,
    Query(asked): Query<Installation>,
    request: Request,
) -> Response {
    respond(do_install(&controls, asked, request).await)
}

async fn do_install(controls: &Controls, asked: Installation, request: Request) -> Answer {
    let then = match asked.then.as_str() {
        "" => Then::Keep,
        "shadow" => Then::Shadow,
        "activate" => Then::Activate,
        _ => return Err(Refusal::bad("then is shadow or activate")),
    };
    let devices: Vec<String> =
        asked.devices.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
    if devices.len() > DEVICES_MAX {
        return Err(Refusal::bad(format!("at most {DEVICES_MAX} devices can be named")));
    }
    let reading = axum::body::to_bytes(request.into_body(), TAR_BYTES_MAX);
    let tar = tokio::time::timeout(PACKAGE_TIMEOUT, reading)
        .await
        .map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT, "the model did not come in time".into()))?
        .map_err(|_| {
            let limit = format!("the model is larger than {TAR_BYTES_MAX} bytes, or the request is broken");
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, limit)
        })?;
    let by = name_of(&asked.by);
    ordered(controls, move |models| {
        let package = Package::read_tar(&tar).map_err(StoreError::from)?;
        models.install(&package, then, &devices, &by).map(|done| said(&done))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// Without one the version outside of the store is meant, or the end.
    version: Option<String>,
    /// Who asks.
    #[serde(default)]
    by: String,
}

async fn activate(
    State(controls): State<Arc<Controls>>,
    Path(model): Path<String>,
    request: Request,
) -> Response {
    let order = async {
        let Order { version, by } = read(request).await?;
        let order = move |models: &Models| {
            models.activate(&model, &version, &name_of(&by), &Text::default()).map(|done| said(&done))
        };
        ordered(&controls, order).await
    };
    respond(order.await)
}

async fn shadow(
    State(controls): State<Arc<Controls>>,
    Path(model): Path<String>,
    request: Request,
) -> Response {
    let order = async {
        let Order { version, by } = read(request).await?;
        let order = move |models: &Models| {
            let by = name_of(&by);
            match version {
                Some(version) => {
                    models.shadow(&model, &version, &by)?;
                    Ok(json!({ "model": model, "version": version }))
                }
                None => {
                    let ended = models.end_shadow(&model, &by)?;
                    Ok(json!({ "model": model, "ended": ended }))
                }
            }
        };
        ordered(&controls, order).await
    };
    respond(order.await)
}

async fn roll_back(
    State(controls): State<Arc<Controls>>,
    Path(model): Path<String>,
    request: Request,
) -> Response {
    let order = async {
        let Order { by, .. } = read(request).await?;
        ordered(&controls, move |models| models.roll_back(&model, &name_of(&by)).map(|done| said(&done)))
            .await
    };
    respond(order.await)
}

async fn remove(
    State(controls): State<Arc<Controls>>,
    Path(model): Path<String>,
    request: Request,
) -> Response {
    let order = async {
        let Order { version, by } = read(request).await?;
        let version = version.ok_or_else(|| Refusal::bad("say which version"))?;
        let order = move |models: &Models| {
            models.remove(&model, &version, &name_of(&by))?;
            Ok(json!({ "model": model, "removed": version }))
        };
        ordered(&controls, order).await
    };
    respond(order.await)
}
