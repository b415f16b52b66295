//! Sinks: what the API shows of each, and one message through its target.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Operator;
use super::asked::{JsonBody, NameInPath};
use super::connector_figures::{ConnectorFigures, none};
use super::problem::{ChangeProblems, HttpProblem};
use super::state::AdminState;
use crate::limits::PACKET_SIZE_MAX_BYTES;
use crate::services::connectors::ConnectorKind;
use crate::services::sinks::SinkTestOutcome;
use crate::topic::TopicName;

/// What a sink does, and what waits for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SinkView {
    /// As the configuration has it.
    name: String,
    /// `connected` once its target has taken a batch, `idle` before it got one, `connecting` while the target does not take what it is given,
    /// `stopped` while it is paused.
    status: &'static str,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// Where its target is.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Messages that wait in its session's queue, those that it holds unacknowledged included.
    queued_messages: u64,
    /// Topics, properties and payloads of those that wait.
    queued_bytes: u64,
    /// How long the oldest of those has waited, in milliseconds; none where none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_queued_ms: Option<u64>,
    /// Messages that it got from its session, those that came again included.
    received: u64,
    /// Messages that its target has taken.
    delivered: u64,
    /// Bytes of those.
    delivered_bytes: u64,
    /// Messages that its condition does not hold for.
    passed_over: u64,
    /// Messages that its target never takes, or that its condition or template fails for.
    dead_letters: u64,
    /// Messages of QoS 0 that it had no room for.
    dropped: u64,
    /// Attempts that its target did not take.
    failed_attempts: u64,
    /// Messages that its session has lost since it is there: its queue had no room for them, mostly.
    queue_dropped: u64,
    /// Whether `last_error` is why its target takes nothing now.
    failing: bool,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at_ms: Option<u64>,
}

impl From<ConnectorFigures> for SinkView {
    fn from(figures: ConnectorFigures) -> Self {
        let ConnectorFigures { name, told, counters, queue, .. } = figures;
        let failing = told.is_failing();
        let (last_error, last_error_at_ms) = told.last_error.unzip();
        Self {
            name,
            status: told.status.word(),
            since_ms: told.since_ms,
            target: told.address,
            queued_messages: queue.messages,
            queued_bytes: queue.bytes,
            oldest_queued_ms: queue.oldest_ms,
            received: counters.messages_in,
            delivered: counters.messages_out,
            delivered_bytes: counters.bytes_out,
            passed_over: counters.passed_over,
            dead_letters: counters.dead_letters,
            dropped: counters.dropped,
            failed_attempts: counters.failed_attempts,
            queue_dropped: queue.lost,
            failing,
            last_error,
            last_error_at_ms,
        }
    }
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
    params(("name" = String, Path, description = "its name, percent-encoded")),
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
    outcome.map(|outcome| Json(outcome.into())).ok_or_else(|| none(ConnectorKind::Sink))
}
