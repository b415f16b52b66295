//! Whether the broker lives, and whether it takes clients.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::HttpProblem;
use super::state::AdminState;

/// How the broker is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, `starting` while sessions are read back, or `stopping` once it was told to stop.
    #[schema(example = "ok")]
    status: &'static str,
    /// Shards that have answered: all of them, but where it stops.
    shards: usize,
}

/// Whether every shard answers. A process that does not is to be restarted.
#[utoipa::path(
    get, path = "/healthz", tag = "health", security(()),
    responses(
        (status = 200, description = "done", body = Health),
        (status = 503, description = "a shard does not answer", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn healthz(State(state): State<Arc<AdminState>>) -> Result<Json<Health>, HttpProblem> {
    if state.reload.get().is_none() {
        // It reads back what it keeps, and is not to be started again for that; the watchdog looks after it.
        return Ok(Json(Health { status: "starting", shards: 0 }));
    }
    if state.is_stopping() {
        // One shard has ended while another sends its last packets: it lives until it is gone, and is not to be killed for that.
        let answers = state.shards.counts_of_each(Duration::from_secs(1)).await;
        return Ok(Json(Health { status: "stopping", shards: answers.iter().filter(|answer| answer.is_ok()).count() }));
    }
    let shards = state.shards.counts().await?.len();
    Ok(Json(Health { status: "ok", shards }))
}

/// Whether clients are to be sent here: when all that is kept has been read back, a listener accepts, the broker is neither being emptied nor
/// stopping, and every shard answers.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "done", body = Health),
        (status = 503, description = "not now", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn readyz(state: State<Arc<AdminState>>) -> Result<Json<Health>, HttpProblem> {
    if state.reload.get().is_none() {
        return Err(HttpProblem::not_now("the broker reads back what it keeps"));
    }
    if state.with_drain(|drain| drain.is_some()) {
        return Err(HttpProblem::not_now("the broker is being emptied"));
    }
    if state.is_stopping() {
        return Err(HttpProblem::not_now("the broker is stopping"));
    }
    if !state.listeners.load().iter().any(|listener| listener.is_open.load(Ordering::Relaxed)) {
        return Err(HttpProblem::not_now("no listener accepts"));
    }
    healthz(state).await
}
