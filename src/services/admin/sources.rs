//! Sources: what each does, stopping and starting it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::asked::NameInPath;
use super::connectors;
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::services::connectors::{ConnectorKind, ConnectorState, NotPassed};

/// A source, and what has come by it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SourceView {
    /// As the configuration has it.
    name: String,
    /// Its client id, for as long as it is connected.
    #[schema(example = "$source/orders")]
    client_id: String,
    /// `connected` while the other system has it for a reader, `connecting` while it tries, `stopped` while it is paused.
    status: &'static str,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// Where it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Messages that wait where it reads, those that it has not acknowledged included; none where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_messages: Option<u64>,
    /// Messages that this broker has taken from it.
    messages: u64,
    /// Bytes of the payloads of those.
    bytes: u64,
    /// How often it has begun to read.
    connects: u64,
    /// Messages that MQTT cannot have, or that this broker never takes: they are acknowledged all the same.
    left_behind: u64,
    /// How often it had to begin anew.
    failures: u64,
    /// Whether `last_error` is why it does not read now.
    failing: bool,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at_ms: Option<u64>,
}

fn view(source: &ConnectorState) -> SourceView {
    let told = source.told();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &source.counters;
    let failing = told.is_failing();
    let (last_error, last_error_at_ms) = told.last_error.unzip();
    SourceView {
        name: source.name.to_string(),
        client_id: source.client_id(),
        status: told.status.word(),
        since_ms: told.since_ms,
        address: told.address,
        lag_messages: told.lag,
        messages: count(&counters.messages_in),
        bytes: count(&counters.bytes_in),
        connects: count(&counters.connects),
        left_behind: count(&counters.not_passed[NotPassed::Refused as usize]),
        failures: count(&counters.failed_attempts),
        failing,
        last_error,
        last_error_at_ms,
    }
}

/// The sources, in the order of their names.
#[utoipa::path(
    get, path = "/api/v1/sources", operation_id = "list_sources", tag = "sources",
    responses(
        (status = 200, description = "done", body = Vec<SourceView>),
        ReadProblems,
    )
)]
pub(super) async fn list(State(state): State<Arc<AdminState>>, _: Viewer) -> Json<Vec<SourceView>> {
    Json(connectors::all(&state, ConnectorKind::Source).iter().map(|source| view(source)).collect())
}

/// One source.
#[utoipa::path(
    get, path = "/api/v1/sources/{name}", operation_id = "source", tag = "sources",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 200, description = "done", body = SourceView),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn describe(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    NameInPath(name): NameInPath,
) -> Result<Json<SourceView>, HttpProblem> {
    connectors::find(&state, ConnectorKind::Source, &name).map(|source| Json(view(&source)))
}

/// Stop a source until it is resumed or the broker starts again. Messages wait where it reads, for as long as they are kept there.
#[utoipa::path(
    post, path = "/api/v1/sources/{name}/pause", operation_id = "pause_source", tag = "sources",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 204, description = "it stops"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn pause(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    connectors::set_running(&state, &operator, (ConnectorKind::Source, &name), false)
}

/// Start a source that was paused.
#[utoipa::path(
    post, path = "/api/v1/sources/{name}/resume", operation_id = "resume_source", tag = "sources",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 204, description = "it starts"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn resume(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    connectors::set_running(&state, &operator, (ConnectorKind::Source, &name), true)
}
