//! Lines for the log about clients: what the shard knows of them, and where they come from.

use super::edge::Edge;
use crate::codec::Version;
use crate::shard::Event;
use crate::telemetry::{CloseReason, log};

impl Edge {
    pub(super) fn write_log(&self, event: &Event) {
        let connections = &self.connections;
        match event {
            Event::Connected { connection, client_id, user, version, keep_alive_s, clean_start, session_present } => {
                log::event::ClientConnected {
                    client: client_id,
                    user: user.as_deref(),
                    peer: &connections.peer(*connection),
                    version: version_text(*version),
                    keep_alive_s: (*keep_alive_s).into(),
                    clean_start: *clean_start,
                    session_present: *session_present,
                    shard: connections.config().own.0.into(),
                }
                .log();
            }
            Event::Refused { connection, text, .. } => {
                log::event::connect_refused(&connections.peer(*connection), CloseReason::Refused.label(), text);
            }
            Event::Disconnected { connection, client_id, reason, text, duration_ms } => {
                log::event::ClientDisconnected {
                    client: client_id,
                    peer: &connections.peer(*connection),
                    reason: reason.label(),
                    text,
                    duration_ms: *duration_ms,
                }
                .log();
            }
            Event::MessageRefused { connection, client_id, topic, is_will, text } => {
                let what = if *is_will { "will" } else { "message" };
                log::event::message_refused(client_id, &connections.peer(*connection), what, topic, text);
            }
            Event::QueuedMemoryFull { max_bytes } => log::event::queued_memory_full(*max_bytes),
        }
    }
}

const fn version_text(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}
