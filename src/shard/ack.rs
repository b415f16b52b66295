//! PUBACK, PUBREC, PUBREL and PUBCOMP, in both roles; and acknowledgements that waited for stable storage.

use smallvec::SmallVec;

use super::clients::Clients;
use super::record_log::Held;
use super::timed::is_timed;
use super::{Confirmation, MeshMessage, Shard, Turn};
use crate::codec::{Ack, AckKind, ReasonCode, encode_ack};
use crate::ids::{ConnectionId, PacketId, SessionId};
use crate::session::{AckQueue, Exchange};
use crate::store::format::LogRecord;
use crate::telemetry::CloseReason;

impl Shard {
    pub(super) fn handle_ack(&mut self, turn: &mut Turn<'_>, id: SessionId, ack: &Ack<'_>) {
        match ack.kind {
            AckKind::PubAck => self.handle_puback(turn, id, ack.packet_id, ack.reason),
            AckKind::PubRec => self.handle_pubrec(turn, id, ack.packet_id, ack.reason),
            AckKind::PubRel => self.handle_pubrel(turn, id, ack.packet_id),
            AckKind::PubComp => self.handle_pubcomp(turn, id, ack.packet_id, ack.reason),
        }
    }

    fn handle_puback(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId, reason: ReasonCode) {
        if is_timed(id, packet_id) {
            self.clients.time_client_ack(turn.now, id, packet_id);
        }
        match self.clients.exchange(id, packet_id) {
            None => {} // a repetition, or an identifier that was never used: no quota is raised by it
            Some(Exchange::Published(delivery)) if delivery.qos == crate::ids::Qos::AtLeastOnce => {
                self.complete_exchange(turn, id, packet_id, reason);
            }
            Some(_) => self.close_for_ack(turn, id, "PUBACK for a QoS 2 message"),
        }
    }

    fn handle_pubrec(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId, reason: ReasonCode) {
        if is_timed(id, packet_id) {
            self.clients.time_client_ack(turn.now, id, packet_id);
        }
        let answer = match self.clients.exchange(id, packet_id) {
            // An error ends the exchange, also one that the broker does not know: nothing is answered [MQTT-4.4.0-2].
            None if reason.is_error() => return,
            // After a lost session state the client may answer what the broker no longer knows.
            None => ReasonCode::PacketIdentifierNotFound,
            Some(Exchange::Published(delivery)) if delivery.qos == crate::ids::Qos::AtLeastOnce => {
                self.close_for_ack(turn, id, "PUBREC for a QoS 1 message");
                return;
            }
            Some(_) if reason.is_error() => {
                self.complete_exchange(turn, id, packet_id, reason); // [MQTT-4.4.0-2]
                return;
            }
            Some(exchange) => {
                let is_new = !matches!(exchange, Exchange::Released);
                *exchange = Exchange::Released; // [MQTT-4.3.3-4]
                if is_new && self.clients.sessions.get(id).is_persistent() {
                    self.clients.record_log.append(turn, &LogRecord::Released { session: id, packet_id });
                }
                ReasonCode::Success
            }
        };
        if answer == ReasonCode::Success && self.clients.hold(turn, id, || Held::PubRel(packet_id)) {
            return; // or the message would be sent again after a restart, to a client that has forgotten it
        }
        self.reply(turn, id, |out, link| encode_ack(link.version, AckKind::PubRel, packet_id, answer, out));
    }

    fn handle_pubrel(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        let session = self.clients.sessions.get_mut(id);
        let known = session.exchanges.complete(packet_id);
        if known && session.is_persistent() {
            self.clients.record_log.append(turn, &LogRecord::ExchangeClosed { session: id, packet_id });
        }
        // Sent again by a client whose PUBCOMP was lost, it has done what it should.
        let is_completed = known || self.clients.sessions.get(id).exchanges.was_completed(packet_id);
        let answer = if is_completed { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        if self.clients.hold(turn, id, || Held::PubComp(packet_id, answer)) {
            return; // or a message with the same identifier would be taken for a repetition after a restart
        }
        // [MQTT-4.3.3-11]
        self.reply(turn, id, |out, link| encode_ack(link.version, AckKind::PubComp, packet_id, answer, out));
    }

    fn handle_pubcomp(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId, reason: ReasonCode) {
        match self.clients.exchange(id, packet_id) {
            None => {}
            Some(Exchange::Released) => self.complete_exchange(turn, id, packet_id, reason),
            Some(_) => self.close_for_ack(turn, id, "PUBCOMP before PUBREC"),
        }
    }

    /// Ends an exchange; what waits behind the window moves up.
    fn complete_exchange(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId, reason: ReasonCode) {
        if turn.fx.is_watching {
            self.clients.end_delivery_span(turn, id, packet_id, reason);
        }
        let session = self.clients.sessions.get_mut(id);
        let outbound = session.outbound_existing_mut().expect("the exchange was just found in it");
        outbound.complete(packet_id, &mut self.clients.queues);
        let waiting = outbound.has_queue();
        if session.is_persistent() {
            self.clients.record_log.append(turn, &LogRecord::Completed { session: id, packet_id });
        }
        if waiting {
            self.clients.send_queued(turn, id, QUEUED_PER_ACK);
            // Dropped messages, those too large for the client, bring no acknowledgement that would go on with the queue,
            // and neither does an outbox that this very turn has filled.
            if self.clients.queue_can_go_on(id) {
                self.clients.add_work(id);
            }
        }
        if self.clients.sessions.get(id).link.as_deref().is_some_and(|link| link.backlog.is_some()) {
            self.clients.add_work(id);
        }
        self.router.room_again(&mut self.clients, id);
    }

    fn close_for_ack(&mut self, turn: &mut Turn<'_>, id: SessionId, text: &'static str) {
        self.close(turn, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, text);
    }
}

impl Clients {
    pub(super) fn exchange(&mut self, id: SessionId, packet_id: PacketId) -> Option<&mut Exchange> {
        self.sessions.get_mut(id).outbound_existing_mut()?.exchange_mut(packet_id)
    }

    /// What an acknowledgement waited for has happened here. The publisher's shard may be this very one, also for a
    /// message that came over the mesh: one for a shared group is sent on when its member has left, and may come home.
    pub(super) fn tell_stored(&mut self, turn: &mut Turn<'_>, confirmation: Confirmation) {
        let token = confirmation.token;
        if token.shard == self.id {
            self.confirm(confirmation);
            self.send_ready_acks(turn, token.connection);
        } else {
            turn.fx.mesh.push(token.shard, MeshMessage::Stored { confirmation });
        }
    }

    /// Another shard wants to know when everything it has sent is stored here.
    pub(super) fn confirm_when_durable(&mut self, turn: &mut Turn<'_>, confirmation: Confirmation) {
        if self.record_log.is_durable() {
            self.tell_stored(turn, confirmation);
        } else {
            self.record_log.wait(turn, confirmation);
        }
    }

    /// Counts one confirmation for an acknowledgement, if its connection still exists, or for the answer to another node.
    pub(super) fn confirm(&mut self, confirmation: Confirmation) {
        let Confirmation { token, reception } = confirmation;
        debug_assert_eq!(token.shard, self.id);
        if let Some(acks) = self.acks_of(token.connection) {
            acks.confirm(token.number, reception);
        } else if token.connection == ConnectionId::OF_NODE {
            self.questions.confirm(token.number, reception);
        }
    }

    /// Sends the acknowledgements whose turn has come, or the answers to other nodes.
    pub(super) fn send_ready_acks(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let flush = self.flush;
        let Some(id) = self.sessions.of_connection(connection) else { return self.answer_nodes(turn) };
        if self.is_closing(id) {
            return;
        }
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() else { return };
        let version = link.version;
        let mut nobody_took = SmallVec::<[PacketId; 4]>::new();
        let mut left = Vec::new(); // of those that somebody may look at
        while let Some(ack) = link.acks.as_deref_mut().and_then(AckQueue::next_ready) {
            let reason = self.settings.code_of(version, ack.reason, ack.reception);
            if reason != ack.reason && ack.kind == AckKind::PubRec {
                nobody_took.push(ack.packet_id);
            }
            let bytes = turn.fx.send(connection, |out| encode_ack(version, ack.kind, ack.packet_id, reason, out));
            link.add_outbox(flush, bytes);
            self.counters.packets_sent += 1;
            if turn.fx.is_watching {
                left.push((ack.packet_id, reason));
            }
            if is_timed(id, ack.packet_id) {
                self.counters.timings.own_acks.note(ack.since.elapsed_ns(turn.now));
            }
        }
        for packet_id in nobody_took {
            self.end_exchange_in(turn, id, packet_id);
        }
        for (packet_id, code) in left {
            self.end_ack_span(turn, id, packet_id, code);
        }
        self.acks_have_left(turn, id);
    }

    /// A QoS 2 message that was taken into an exchange is refused after all [MQTT-4.3.3-9].
    #[cold]
    pub(super) fn end_exchange_in(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        let session = self.sessions.get_mut(id);
        if session.exchanges.remove(packet_id) && session.is_persistent() {
            self.record_log.append(turn, &LogRecord::ExchangeClosed { session: id, packet_id });
        }
    }

    fn acks_of(&mut self, connection: ConnectionId) -> Option<&mut AckQueue> {
        let id = self.sessions.of_connection(connection)?;
        self.sessions.get_mut(id).link.as_deref_mut()?.acks.as_deref_mut()
    }
}

/// One acknowledgement makes room for one message; a few more are let through when the window has grown meanwhile.
const QUEUED_PER_ACK: usize = 4;
