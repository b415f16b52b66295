//! Sinks: what each does, stopping and starting it, and one message through its target.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::asked::{JsonBody, NameInPath};
use super::connectors::{self, ConnectorQueue};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::limits::PACKET_SIZE_MAX_BYTES;
use crate::services::connectors::{ConnectorKind, ConnectorState};
use crate::services::sinks::SinkTestOutcome;
use crate::topic::TopicName;

/// What a sink does, and what waits for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SinkView {
    /// As the configuration has it.
    pub(super) name: String,
    /// `connected` once its target has taken a batch, `idle` before it got one, `connecting` while the target does not take what it is given,
    /// `stopped` while it is paused.
    pub(super) status: &'static str,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// Where its target is.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Messages that wait in its session's queue, those that it holds unacknowledged included.
    pub(super) queued_messages: u64,
    /// Topics, properties and payloads of those that wait.
    pub(super) queued_bytes: u64,
    /// How long the oldest of those has waited, in milliseconds; none where none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oldest_queued_ms: Option<u64>,
    /// Messages that it got from its session, those that came again included.
    pub(super) received: u64,
    /// Messages that its target has taken.
    pub(super) delivered: u64,
    /// Bytes of those.
    pub(super) delivered_bytes: u64,
    /// Messages that its condition does not hold for.
    pub(super) passed_over: u64,
    /// Messages that its target never takes, or that its condition or template fails for.
    pub(super) dead_letters: u64,
    /// Messages of QoS 0 that it had no room for.
    pub(super) dropped: u64,
    /// Attempts that its target did not take.
    pub(super) failed_attempts: u64,
    /// Messages that its session has lost since it is there: its queue had no room for them, mostly.
    pub(super) queue_dropped: u64,
    /// Whether `last_error` is why its target takes nothing now.
    failing: bool,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at_ms: Option<u64>,
}

/// All sinks, with what waits for each.
pub(super) async fn all(state: &AdminState) -> Result<Vec<SinkView>, HttpProblem> {
    let mut views = Vec::new();
    for sink in connectors::all(state, ConnectorKind::Sink) {
        views.push(view(state, &sink).await?);
    }
    Ok(views)
}

async fn view(state: &AdminState, sink: &ConnectorState) -> Result<SinkView, HttpProblem> {
    let queue = ConnectorQueue::ask(state, sink).await?;
    let told = sink.told();
    let failing = told.is_failing();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &sink.counters;
    let (last_error, last_error_at_ms) = told.last_error.unzip();
    Ok(SinkView {
        name: sink.name.to_string(),
        status: told.status.word(),
        since_ms: told.since_ms,
        target: told.address,
        queued_messages: queue.messages,
        queued_bytes: queue.bytes,
        oldest_queued_ms: queue.oldest_ms,
        received: count(&counters.messages_in),
        delivered: count(&counters.messages_out),
        delivered_bytes: count(&counters.bytes_out),
        passed_over: count(&counters.passed_over),
        dead_letters: count(&counters.dead_letters),
        dropped: count(&counters.dropped),
        failed_attempts: count(&counters.failed_attempts),
        queue_dropped: queue.lost,
        failing,
        last_error,
        last_error_at_ms,
    })
}

/// The sinks, in the order of their names.
#[utoipa::path(
    get, path = "/api/v1/sinks", operation_id = "list_sinks", tag = "sinks",
    responses(
        (status = 200, description = "done", body = Vec<SinkView>),
        ReadProblems,
    )
)]
pub(super) async fn list(State(state): State<Arc<AdminState>>, _: Viewer) -> Result<Json<Vec<SinkView>>, HttpProblem> {
    all(&state).await.map(Json)
}

/// One sink.
#[utoipa::path(
    get, path = "/api/v1/sinks/{name}", operation_id = "sink", tag = "sinks",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 200, description = "done", body = SinkView),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn describe(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    NameInPath(name): NameInPath,
) -> Result<Json<SinkView>, HttpProblem> {
    let sink = connectors::find(&state, ConnectorKind::Sink, &name)?;
    view(&state, &sink).await.map(Json)
}

/// Stop a sink until it is resumed or the broker starts again. Messages wait in its session, for as long as that lives without it.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/pause", operation_id = "pause_sink", tag = "sinks",
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
    connectors::set_running(&state, &operator, (ConnectorKind::Sink, &name), false)
}

/// Start a sink that was paused.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/resume", operation_id = "resume_sink", tag = "sinks",
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
    connectors::set_running(&state, &operator, (ConnectorKind::Sink, &name), true)
}

/// The message that a sink is tested with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkTestMessage {
    /// Its topic name.
    #[serde(default = "test_topic")]
    topic: String,
    /// As text.
    #[serde(default = "test_payload")]
    payload: String,
}

fn test_topic() -> String {
    "dunlin/sink-test".to_owned()
}

fn test_payload() -> String {
    "{\"test\":true}".to_owned()
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
pub(super) struct SinkTestView {
    /// `delivered`, `passed_over` (the condition does not hold for the message), `rejected` (it would be a dead letter) or `failed` (it would
    /// be tried again).
    outcome: &'static str,
    /// Why, where it was not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What the target was given, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
    /// How long the target took to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
}

impl From<SinkTestOutcome> for SinkTestView {
    fn from(outcome: SinkTestOutcome) -> Self {
        let other = |outcome, reason| Self { outcome, reason, sent: None, milliseconds: None };
        match outcome {
            SinkTestOutcome::Delivered { milliseconds, sent } => {
                Self { outcome: "delivered", reason: None, sent, milliseconds: Some(milliseconds) }
            }
            SinkTestOutcome::PassedOver => other("passed_over", None),
            SinkTestOutcome::Rejected(why) => other("rejected", Some(why)),
            SinkTestOutcome::Failed(why) => other("failed", Some(why)),
        }
    }
}

/// Send one message through a sink's condition, template and target, past its queue, and say what happened.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/test", operation_id = "test_sink", tag = "sinks", request_body = SinkTestMessage,
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 200, description = "what happened", body = SinkTestView),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn try_one(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
    JsonBody(message): JsonBody<SinkTestMessage>,
) -> Result<Json<SinkTestView>, HttpProblem> {
    let SinkTestMessage { topic, payload } = message;
    if TopicName::parse(&topic, u16::MAX).is_err() || payload.len() > PACKET_SIZE_MAX_BYTES as usize {
        return Err(HttpProblem::bad_request("topic is no topic name, or the payload is too long"));
    }
    operator.note("test_sink", &name);
    let outcome = state.connectors.test_sink(&name, topic, payload).await;
    outcome.map(|outcome| Json(outcome.into())).ok_or_else(|| connectors::none(ConnectorKind::Sink))
}
