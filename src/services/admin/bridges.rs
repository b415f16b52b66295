//! Bridges: what the API shows of each.

use serde::Serialize;
use utoipa::ToSchema;

use super::connector_figures::ConnectorFigures;
use crate::services::connectors::NotPassed;

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

impl From<ConnectorFigures> for BridgeView {
    fn from(figures: ConnectorFigures) -> Self {
        let ConnectorFigures { name, client_id, told, counters, queue, .. } = figures;
        let failing = told.is_failing();
        let not_passed = |reason: NotPassed| counters.not_passed[reason as usize];
        let (last_error, last_error_ms) = told.last_error.unzip();
        Self {
            name,
            client_id,
            status: told.status.word(),
            since_ms: told.since_ms,
            address: told.address,
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            connects: counters.connects,
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
        }
    }
}
