//! Effects of the shard: bytes into outboxes, connections that end.

use super::connection::{Hearing, Phase};
use super::connections::Connections;
use super::operation::Operation;
use super::packet_bounds::PacketBound;
use crate::ids::{ConnectionId, PacketId};
use crate::shard::{Effect, Effects, Encoded};
use crate::telemetry::CloseReason;

impl Connections {
    /// Carries out what the shard asked of its connections. Lines for the log, which name connections that may close here,
    /// are to be written before; mesh messages and records are others'.
    pub fn apply(&mut self, fx: &Effects) {
        if let Some(lost) = fx.lost_by_listener() {
            self.counters.lost_by_listener.add(lost);
        }
        for effect in &fx.list {
            match *effect {
                Effect::Send { connection, encoded, packet_id } => {
                    self.append(connection, fx, encoded, packet_id, None);
                }
                Effect::SendPayload { connection, encoded, packet_id, payload } => {
                    self.append(connection, fx, encoded, packet_id, Some(payload));
                }
                Effect::Resume { connection } => {
                    self.end_authenticating(connection);
                    self.resume(connection);
                }
                Effect::HearAuth { connection } => {
                    self.bound_packets(connection, PacketBound::AUTHENTICATING);
                    self.resume(connection);
                }
                Effect::BoundPackets { connection, max_bytes } => {
                    let bound = self.packet_bounds.name(max_bytes);
                    self.bound_packets(connection, bound);
                }
                Effect::Hold { connection } => self.hold(connection),
                Effect::Release { connection } => self.release_held(connection),
                Effect::Close { connection, reason } => self.begin_lingering(connection, reason),
                Effect::EndLink { slot, fault } => self.end_links_of(slot, fault),
            }
        }
    }

    fn end_authenticating(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(id)
            && connection.packet_bound == PacketBound::AUTHENTICATING
        {
            connection.packet_bound = PacketBound::OF_ALL;
        }
    }

    fn bound_packets(&mut self, id: ConnectionId, bound: PacketBound) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.packet_bound = bound;
        }
    }

    fn append(
        &mut self,
        id: ConnectionId,
        fx: &Effects,
        encoded: Encoded,
        packet_id: Option<PacketId>,
        payload: Option<u32>,
    ) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let pool = &mut self.pool;
        let outbox = connection.outbox.get_or_insert_with(|| pool.pop().unwrap_or_default());
        fx.copy_to(encoded, packet_id, outbox.bytes_mut());
        if let Some(payload) = payload {
            outbox.push_payload(fx.payloads[payload as usize].clone());
        }
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(id);
        }
    }

    fn hold(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.is_held = true;
        }
    }

    fn release_held(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.is_held = false;
            if connection.has_words() {
                self.mark_dirty(id);
            }
        }
    }

    /// The shard has forgotten the connection; it closes once its outbox is empty.
    fn begin_lingering(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(connection) = self.table.get_mut(id) {
            if let Phase::AwaitingVerdict(Hearing::Nothing | Hearing::Ended) = connection.phase {
                // Nothing is received from it; its end is to be seen.
                self.operations.push_back(Operation::Receive { socket: connection.socket, connection: id });
            }
            connection.phase = Phase::Lingering(reason);
            self.counters.ended_by_shard(connection.listener, reason);
            // What is held says what may not be so after a restart.
            let held = if std::mem::take(&mut connection.is_held) { connection.outbox.take() } else { None };
            connection.partial.clear();
            connection.wire.end(reason);
            self.lingering.push(id);
            self.budgets.release(id);
            if connection.has_words() {
                self.mark_dirty(id);
            }
            if let Some(held) = held {
                self.release(held);
            }
        }
    }
}
