//! Sources: what the API shows of each.

use serde::Serialize;
use utoipa::ToSchema;

use super::connector_figures::ConnectorFigures;
use crate::services::connectors::NotPassed;

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

impl From<ConnectorFigures> for SourceView {
    fn from(figures: ConnectorFigures) -> Self {
        let ConnectorFigures { name, client_id, told, counters, .. } = figures;
        let failing = told.is_failing();
        let (last_error, last_error_at_ms) = told.last_error.unzip();
        Self {
            name,
            client_id,
            status: told.status.word(),
            since_ms: told.since_ms,
            address: told.address,
            lag_messages: told.lag,
            messages: counters.messages_in,
            bytes: counters.bytes_in,
            connects: counters.connects,
            left_behind: counters.not_passed[NotPassed::Refused as usize],
            failures: counters.failed_attempts,
            failing,
            last_error,
            last_error_at_ms,
        }
    }
}
