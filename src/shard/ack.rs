//! PUBACK, PUBREC, PUBREL and PUBCOMP, in both roles; and acknowledgements that waited for stable storage.

use super::{ConfirmToken, Effects, MeshMessage, Shard};
use crate::codec::{Ack, AckKind, ReasonCode, encode_ack};
use crate::ids::{ConnectionId, PacketId, SessionId};
use crate::session::{AckQueue, Exchange};
use crate::store::Record;
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Shard {
    pub(super) fn handle_ack(&mut self, now: Now, id: SessionId, ack: &Ack<'_>, fx: &mut Effects) {
        match ack.kind {
            AckKind::PubAck => self.handle_puback(now, id, ack.packet_id, fx),
            AckKind::PubRec => self.handle_pubrec(now, id, ack.packet_id, ack.reason, fx),
            AckKind::PubRel => self.handle_pubrel(now, id, ack.packet_id, fx),
            AckKind::PubComp => self.handle_pubcomp(now, id, ack.packet_id, fx),
        }
    }

    fn handle_puback(&mut self, now: Now, id: SessionId, packet_id: PacketId, fx: &mut Effects) {
        match self.exchange(id, packet_id) {
            None => {} // a repetition, or an identifier that was never used: no quota is raised by it
            Some(Exchange::Published(delivery)) if delivery.qos == crate::ids::Qos::AtLeastOnce => {
                self.settle(now, id, packet_id, fx);
            }
            Some(_) => self.close_for_ack(now, id, "PUBACK for a QoS 2 message", fx),
        }
    }

    fn handle_pubrec(&mut self, now: Now, id: SessionId, packet_id: PacketId, reason: ReasonCode, fx: &mut Effects) {
        let answer = match self.exchange(id, packet_id) {
            // After a lost session state the client may answer what the broker no longer knows.
            None => ReasonCode::PacketIdentifierNotFound,
            Some(Exchange::Published(delivery)) if delivery.qos == crate::ids::Qos::AtLeastOnce => {
                self.close_for_ack(now, id, "PUBREC for a QoS 1 message", fx);
                return;
            }
            Some(_) if reason.is_error() => {
                self.settle(now, id, packet_id, fx); // [MQTT-4.4.0-2]
                return;
            }
            Some(exchange) => {
                *exchange = Exchange::Released; // [MQTT-4.3.3-4]
                ReasonCode::Success
            }
        };
        self.reply(now, id, fx, |out, link| encode_ack(link.version, AckKind::PubRel, packet_id, answer, None, out));
    }

    fn handle_pubrel(&mut self, now: Now, id: SessionId, packet_id: PacketId, fx: &mut Effects) {
        let session = self.sessions.get_mut(id);
        let known = session.exchanges.remove(packet_id);
        if known && session.is_persistent() {
            self.log.append(Record::ExchangeClosed { session: id, packet_id }, fx);
        }
        let answer = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        // [MQTT-4.3.3-11]
        self.reply(now, id, fx, |out, link| encode_ack(link.version, AckKind::PubComp, packet_id, answer, None, out));
    }

    fn handle_pubcomp(&mut self, now: Now, id: SessionId, packet_id: PacketId, fx: &mut Effects) {
        match self.exchange(id, packet_id) {
            None => {}
            Some(Exchange::Released) => self.settle(now, id, packet_id, fx),
            Some(_) => self.close_for_ack(now, id, "PUBCOMP before PUBREC", fx),
        }
    }

    fn exchange(&mut self, id: SessionId, packet_id: PacketId) -> Option<&mut Exchange> {
        self.sessions.get_mut(id).outbound_existing_mut()?.exchange_mut(packet_id)
    }

    /// Ends an exchange; what waits behind the window moves up.
    fn settle(&mut self, now: Now, id: SessionId, packet_id: PacketId, fx: &mut Effects) {
        let session = self.sessions.get_mut(id);
        let outbound = session.outbound_existing_mut().expect("the exchange was just found in it");
        outbound.settle(packet_id, &mut self.queues);
        let waiting = outbound.has_queue();
        if session.is_persistent() {
            self.log.append(Record::Settled { session: id, packet_id }, fx);
        }
        if waiting {
            self.pump(now, id, PUMP_PER_ACK, fx);
            // Dropped messages, those too large for the client, bring no acknowledgement that would go on with the queue,
            // and neither does an outbox that this very turn has filled.
            if self.queue_can_go_on(id) {
                self.add_work(id);
            }
        }
        if self.sessions.get(id).link.as_deref().is_some_and(|link| link.backlog.is_some()) {
            self.add_work(id);
        }
    }

    fn close_for_ack(&mut self, now: Now, id: SessionId, text: &'static str, fx: &mut Effects) {
        self.close(now, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, text, fx);
    }

    /// The store has made records durable.
    pub(super) fn release_acks(&mut self, fx: &mut Effects) {
        while let Some(token) = self.log.next_ready() {
            self.tell_stored(token, fx);
        }
    }

    /// What an acknowledgement waited for has happened here. The publisher's shard may be this very one, also for a
    /// message that came over the mesh: one for a shared group is sent on when its member has left, and may come home.
    pub(super) fn tell_stored(&mut self, token: ConfirmToken, fx: &mut Effects) {
        if token.shard == self.id {
            self.confirm(token);
            self.send_ready_acks(token.connection, fx);
        } else {
            fx.mesh.push(token.shard, MeshMessage::Stored { token });
        }
    }

    /// Another shard wants to know when everything it has sent is stored here.
    pub(super) fn confirm_when_durable(&mut self, token: ConfirmToken, fx: &mut Effects) {
        if self.log.is_durable() {
            self.tell_stored(token, fx);
        } else {
            self.log.wait(token);
        }
    }

    /// Counts one confirmation for an acknowledgement, if its connection still exists.
    pub(super) fn confirm(&mut self, token: ConfirmToken) {
        debug_assert_eq!(token.shard, self.id);
        if let Some(acks) = self.acks_of(token.connection) {
            acks.confirm(token.number);
        }
    }

    /// Sends the acknowledgements whose turn has come.
    pub(super) fn send_ready_acks(&mut self, connection: ConnectionId, fx: &mut Effects) {
        let flush = self.flush;
        let Some(id) = self.sessions.of_connection(connection) else { return };
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() else { return };
        let version = link.version;
        while let Some(ack) = link.acks.as_deref_mut().and_then(AckQueue::next_ready) {
            let bytes = fx.send(connection, |out| encode_ack(version, ack.kind, ack.packet_id, ack.reason, None, out));
            link.add_outbox(flush, bytes);
            self.counters.packets_sent += 1;
        }
    }

    fn acks_of(&mut self, connection: ConnectionId) -> Option<&mut AckQueue> {
        let id = self.sessions.of_connection(connection)?;
        self.sessions.get_mut(id).link.as_deref_mut()?.acks.as_deref_mut()
    }
}

/// One acknowledgement makes room for one message; a few more are let through when the window has grown meanwhile.
const PUMP_PER_ACK: usize = 4;
