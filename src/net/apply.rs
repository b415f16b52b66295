//! Effects of the shard: bytes into outboxes, connections let go, lines for the log.

use std::fmt;

use super::edge::Edge;
use super::table::Phase;
use crate::ids::{ConnectionId, PacketId, PeerAddress};
use crate::shard::{Effect, Effects, Encoded, Event};
use crate::telemetry::{CloseReason, log};

impl Edge {
    /// Carries out what the shard asked of its connections. Mesh messages and records are the pump's and stay.
    pub fn apply(&mut self, fx: &mut Effects) {
        // Log events first: they name connections that may be let go below.
        for event in fx.events.drain(..) {
            self.write_log(&event);
        }
        let list = std::mem::take(&mut fx.list);
        for effect in &list {
            match *effect {
                Effect::Send { connection, encoded, packet_id } => {
                    self.append(connection, fx, encoded, packet_id, None);
                }
                Effect::SendPayload { connection, encoded, packet_id, payload } => {
                    self.append(connection, fx, encoded, packet_id, Some(payload));
                }
                Effect::Close { connection, reason } => self.let_go(connection, reason),
            }
        }
        fx.list = list;
    }

    fn append(
        &mut self,
        connection: ConnectionId,
        fx: &Effects,
        encoded: Encoded,
        packet_id: Option<PacketId>,
        payload: Option<u32>,
    ) {
        let token = connection;
        let Some(connection) = self.table.get_mut(token) else { return };
        let pool = &mut self.pool;
        let outbox = connection.outbox.get_or_insert_with(|| pool.pop().unwrap_or_default());
        fx.copy_to(encoded, packet_id, outbox.bytes_mut());
        if let Some(payload) = payload {
            outbox.push_payload(fx.payloads[payload as usize].clone());
        }
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(token);
        }
    }

    /// The shard has forgotten the connection; it closes once its outbox is empty.
    fn let_go(&mut self, connection: ConnectionId, reason: CloseReason) {
        let token = connection;
        if let Some(connection) = self.table.get_mut(token) {
            connection.phase = Phase::Parting(reason);
            connection.spill.take();
            self.partings.push(token);
        }
    }

    fn write_log(&self, event: &Event) {
        match event {
            Event::Connected { connection, client_id, user, version, keep_alive_s, clean_start, session_present } => {
                log::event::ClientConnected {
                    client: client_id,
                    user: user.as_deref(),
                    peer: &self.peer(*connection),
                    version: version_text(*version),
                    keep_alive_s: (*keep_alive_s).into(),
                    clean_start: *clean_start,
                    session_present: *session_present,
                    shard: self.config.own.0.into(),
                }
                .log();
            }
            Event::Refused { connection, text, .. } => {
                log::event::connect_refused(&self.peer(*connection), CloseReason::Refused.label(), text);
            }
            Event::Disconnected { connection, client_id, reason, text, duration_ms } => {
                log::event::ClientDisconnected {
                    client: client_id,
                    peer: &self.peer(*connection),
                    reason: reason.label(),
                    text,
                    duration_ms: *duration_ms,
                }
                .log();
            }
            Event::QueuedMemoryFull { max_bytes } => log::event::queued_memory_full(*max_bytes),
        }
    }

    fn peer(&self, connection: ConnectionId) -> Peer {
        Peer(self.table.get(connection).and_then(|found| found.peer))
    }
}

/// An address as the log shows it.
struct Peer(Option<PeerAddress>);

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(out),
            None => out.write_str("unknown"),
        }
    }
}

const fn version_text(version: crate::codec::Version) -> &'static str {
    match version {
        crate::codec::Version::V31 => "3.1",
        crate::codec::Version::V311 => "3.1.1",
        crate::codec::Version::V5 => "5.0",
    }
}
