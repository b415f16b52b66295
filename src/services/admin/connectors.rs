//! What bridges, sinks and sources have in common here: finding one, what waits in its session, stopping and starting it.

use std::sync::Arc;

use axum::http::StatusCode;

use super::access::Operator;
use super::problem::HttpProblem;
use super::state::AdminState;
use crate::services::connectors::{ConnectorKind, ConnectorState};
use crate::shard::{Command, Reply};

/// What waits in the session of a bridge or a sink.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectorQueue {
    /// Those that were sent and are not acknowledged included.
    pub(super) messages: u64,
    /// Topics, properties and payloads of those that wait.
    pub(super) bytes: u64,
    /// How long the oldest has waited, in milliseconds.
    pub(super) oldest_ms: Option<u64>,
    /// Messages that the session has lost since it is there.
    pub(super) lost: u64,
}

impl ConnectorQueue {
    /// As the session's shard says it; empty where there is no session yet.
    pub(super) async fn ask(state: &AdminState, connector: &ConnectorState) -> Result<Self, HttpProblem> {
        let command = Command::DescribeClient { client_id: connector.client_id().into() };
        match state.shards.ask_owner(&command).await? {
            Reply::Client(client) => Ok(Self {
                messages: u64::from(client.queued) + u64::from(client.in_flight),
                bytes: client.queued_bytes,
                oldest_ms: client.oldest_queued_ms,
                lost: client.lost,
            }),
            Reply::NotFound => Ok(Self::default()),
            other => Err(HttpProblem::of_reply(&other)),
        }
    }
}

/// All of a kind, in the order of their names.
pub(super) fn all(state: &AdminState, kind: ConnectorKind) -> Vec<Arc<ConnectorState>> {
    let mut known = state.connectors.registry().all();
    known.retain(|known| known.kind == kind);
    known
}

/// The one of this name, or the problem that there is none (404).
pub(super) fn find(state: &AdminState, kind: ConnectorKind, name: &str) -> Result<Arc<ConnectorState>, HttpProblem> {
    state.connectors.registry().get(kind, name).ok_or_else(|| none(kind))
}

/// That there is none of this name.
pub(super) fn none(kind: ConnectorKind) -> HttpProblem {
    HttpProblem::not_found(&format!("no {} has this name", kind.word()))
}

/// Has one run or not.
pub(super) fn set_running(
    state: &AdminState,
    operator: &Operator,
    (kind, name): (ConnectorKind, &str),
    is_to_run: bool,
) -> Result<StatusCode, HttpProblem> {
    if !state.connectors.run(kind, name, is_to_run) {
        return Err(none(kind));
    }
    let action = match (kind, is_to_run) {
        (ConnectorKind::Bridge, true) => "start_bridge",
        (ConnectorKind::Bridge, false) => "stop_bridge",
        (ConnectorKind::Sink, true) => "resume_sink",
        (ConnectorKind::Sink, false) => "pause_sink",
        (ConnectorKind::Source, true) => "resume_source",
        (ConnectorKind::Source, false) => "pause_source",
    };
    operator.note(action, name);
    Ok(StatusCode::NO_CONTENT)
}
