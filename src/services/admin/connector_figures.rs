//! What is known of bridges, sinks and sources, for the API and for metrics: what each says of itself, and what waits in its session.

use super::problem::HttpProblem;
use crate::services::connectors::{ConnectorCounters, ConnectorKind, ConnectorState, ConnectorTold};

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

/// What is known of a connector now.
#[derive(Debug)]
pub(super) struct ConnectorFigures {
    pub(super) kind: ConnectorKind,
    pub(super) name: String,
    pub(super) client_id: String,
    pub(super) told: ConnectorTold,
    pub(super) counters: ConnectorCounters<u64>,
    /// Empty where its shard was not asked.
    pub(super) queue: ConnectorQueue,
}

impl ConnectorFigures {
    /// What it says of itself.
    pub(super) fn of(connector: &ConnectorState) -> Self {
        Self {
            kind: connector.kind,
            name: connector.name.to_string(),
            client_id: connector.client_id(),
            told: connector.told(),
            counters: connector.counters.read(),
            queue: ConnectorQueue::default(),
        }
    }
}

/// That there is none of this name.
pub(super) fn none(kind: ConnectorKind) -> HttpProblem {
    HttpProblem::not_found(&format!("no {} has this name", kind.word()))
}
