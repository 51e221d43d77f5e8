//! `forebay person`: who may press buttons on the page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Controls;
use super::routes::{Answer, Refusal, fault, name_of, read, respond};
use crate::clock::rfc3339;
use crate::people::{People, PeopleError, Role};

fn refused(error: PeopleError) -> Refusal {
    let status = match error {
        PeopleError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal(status, error.to_string())
}

/// All persons.
pub(super) async fn list(State(controls): State<Arc<Controls>>) -> Response {
    let all = controls.people.list();
    let people: Vec<_> = all
        .iter()
        .map(|it| json!({ "name": it.name, "role": it.role, "added": rfc3339(it.added_us) }))
        .collect();
    respond(Ok(json!({ "people": people })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    name: String,
    role: Role,
    /// Argon2id, as text.
    hash: String,
    /// Who asks.
    #[serde(default)]
    by: String,
}

/// Adds one.
pub(super) async fn add(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(match read::<Add>(request).await {
        Ok(Add { name, role, hash, by }) => {
            change(&controls, move |people| people.add(&name, role, &hash, &name_of(&by))).await
        }
        Err(refusal) => Err(refusal),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    name: String,
    /// Who asks.
    #[serde(default)]
    by: String,
}

/// Removes one.
pub(super) async fn remove(State(controls): State<Arc<Controls>>, request: Request) -> Response {
    respond(match read::<Remove>(request).await {
        Ok(Remove { name, by }) => change(&controls, move |people| people.remove(&name, &name_of(&by))).await,
        Err(refusal) => Err(refusal),
    })
}

/// Does what writes to the disk where it may.
async fn change(
    controls: &Controls,
    change: impl FnOnce(&People) -> Result<(), PeopleError> + Send + 'static,
) -> Answer {
    let people = Arc::clone(&controls.people);
    let changing = tokio::task::spawn_blocking(move || change(&people));
    changing.await.map_err(|_| fault())?.map_err(refused)?;
    Ok(json!({}))
}
