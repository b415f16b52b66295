//! Bridges: which there are, how they do, and stopping and starting them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::asked::NameInPath;
use super::connectors::{self, ConnectorQueue};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::services::connectors::{ConnectorKind, ConnectorState, NotPassed};

/// A bridge, and what it has done.
#[derive(Serialize, ToSchema)]
pub(super) struct BridgeView {
    /// Its name in the configuration.
    name: String,
    /// The client id of its session here, where what has not been passed on waits.
    #[schema(example = "$bridge/cloud")]
    client_id: String,
    /// `connected`, `connecting`, `idle` (a lazy one without messages) or `stopped`.
    status: &'static str,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// The other broker's address that it is connected to, or tries.
    address: Option<String>,
    /// Messages from there to here.
    messages_in: u64,
    /// Messages from here to there.
    messages_out: u64,
    /// Bytes of the payloads of those from there.
    bytes_in: u64,
    /// Bytes of the payloads of those to there.
    bytes_out: u64,
    /// How often it has connected.
    connects: u64,
    /// Messages that wait in its session here, those that it holds unacknowledged included.
    queued_messages: u64,
    /// Topics, properties and payloads of those that wait.
    queued_bytes: u64,
    /// How long the oldest of those has waited, in milliseconds; none where none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_queued_ms: Option<u64>,
    /// Messages that its session has lost since it is there: its queue had no room for them, mostly.
    queue_dropped: u64,
    /// Messages that were not passed on and are acknowledged all the same.
    not_passed: NotPassedView,
    /// Whether `last_error` is why it passes nothing on now.
    failing: bool,
    /// What went wrong last.
    last_error: Option<String>,
    /// When that was, in milliseconds since 1970.
    last_error_ms: Option<u64>,
}

/// Messages that a bridge has not passed on, by reason.
#[derive(Serialize, ToSchema)]
pub(super) struct NotPassedView {
    /// Larger than the broker takes that it was for.
    too_large: u64,
    /// It had passed as many bridges as it may.
    hops: u64,
    /// No topic of the bridge was about it.
    no_topic: u64,
    /// The broker that it was for has refused it.
    refused: u64,
}

async fn view(state: &AdminState, bridge: &ConnectorState) -> Result<BridgeView, HttpProblem> {
    let queue = ConnectorQueue::ask(state, bridge).await?;
    let (told, counters) = (bridge.told(), &bridge.counters);
    let failing = told.is_failing();
    let not_passed = |reason: NotPassed| counters.not_passed[reason as usize].load(Ordering::Relaxed);
    let (last_error, last_error_ms) = told.last_error.unzip();
    Ok(BridgeView {
        name: bridge.name.to_string(),
        client_id: bridge.client_id(),
        status: told.status.word(),
        since_ms: told.since_ms,
        address: told.address,
        messages_in: counters.messages_in.load(Ordering::Relaxed),
        messages_out: counters.messages_out.load(Ordering::Relaxed),
        bytes_in: counters.bytes_in.load(Ordering::Relaxed),
        bytes_out: counters.bytes_out.load(Ordering::Relaxed),
        connects: counters.connects.load(Ordering::Relaxed),
        queued_messages: queue.messages,
        queued_bytes: queue.bytes,
        oldest_queued_ms: queue.oldest_ms,
        queue_dropped: queue.lost,
        not_passed: NotPassedView {
            too_large: not_passed(NotPassed::TooLarge),
            hops: not_passed(NotPassed::Hops),
            no_topic: not_passed(NotPassed::NoTopic),
            refused: not_passed(NotPassed::Refused),
        },
        failing,
        last_error,
        last_error_ms,
    })
}

/// The bridges, in the order of their names.
#[utoipa::path(
    get, path = "/api/v1/bridges", operation_id = "list_bridges", tag = "operation",
    responses(
        (status = 200, description = "done", body = Vec<BridgeView>),
        ReadProblems,
    )
)]
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
) -> Result<Json<Vec<BridgeView>>, HttpProblem> {
    let mut views = Vec::new();
    for bridge in connectors::all(&state, ConnectorKind::Bridge) {
        views.push(view(&state, &bridge).await?);
    }
    Ok(Json(views))
}

/// One bridge.
#[utoipa::path(
    get, path = "/api/v1/bridges/{name}", operation_id = "bridge", tag = "operation",
    params(("name" = String, Path, description = "its name, percent-encoded")),
    responses(
        (status = 200, description = "done", body = BridgeView),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn describe(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    NameInPath(name): NameInPath,
) -> Result<Json<BridgeView>, HttpProblem> {
    let bridge = connectors::find(&state, ConnectorKind::Bridge, &name)?;
    view(&state, &bridge).await.map(Json)
}

/// Stop a bridge: both its connections end, and what is for it waits in its session.
#[utoipa::path(
    post, path = "/api/v1/bridges/{name}/stop", operation_id = "stop_bridge", tag = "operation",
    params(("name" = String, Path, description = "its name, percent-encoded")),
    responses(
        (status = 204, description = "it ends"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn stop(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    connectors::set_running(&state, &operator, (ConnectorKind::Bridge, &name), false)
}

/// Start a bridge that was stopped, or that was to connect once.
#[utoipa::path(
    post, path = "/api/v1/bridges/{name}/start", operation_id = "start_bridge", tag = "operation",
    params(("name" = String, Path, description = "its name, percent-encoded")),
    responses(
        (status = 204, description = "it connects"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn start(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    connectors::set_running(&state, &operator, (ConnectorKind::Bridge, &name), true)
}
