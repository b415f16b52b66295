//! Packets of clients: each to whom it is for, and what answers them.
//!
//! Always holds: a packet of a connection that waits for a verdict goes no further than that; a client that asks and reads no answers is cut off; a
//! connection that the broker closes is told why, where its version has words for it and its packets room.
//! Leaves to others: what each packet means (`publish`, `ack`, `subscribe`, `end`, `reauthentication`).

use std::borrow::Cow;

use super::{Effect, Shard, Turn};
use crate::codec::{DecodeError, Disconnect, PINGRESP, Packet, PacketType, ReasonCode};
use crate::ids::{ConnectionId, SessionId};
use crate::telemetry::{CloseReason, Verbosity};
use crate::time::Now;

impl Shard {
    pub(super) fn handle_packet(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, packet: &Packet<'_>) {
        let Some(id) = self.clients.sessions.of_connection(connection) else {
            return self.handle_packet_of_pending(turn, connection, packet);
        };
        self.clients.counters.packets_received += 1;
        let session = self.clients.sessions.get_mut(id);
        let link = session.link.as_deref_mut().expect("a connection leads to a session with a link");
        link.note_received(turn.now);
        if self.clients.access.asks_others() && self.hold_undecided(turn, id, packet) {
            return;
        }
        self.take_packet(turn, id, packet);
    }

    /// A packet whose topics are decided about.
    pub(super) fn take_packet(&mut self, turn: &mut Turn<'_>, id: SessionId, packet: &Packet<'_>) {
        if self.clients.is_closing(id) {
            return self.forget_session(turn, id); // nothing of it is heard any more
        }
        match packet {
            Packet::Publish(publish) => self.handle_publish(turn, id, publish),
            Packet::Ack(ack) => self.handle_ack(turn, id, ack),
            Packet::Subscribe(subscribe) => self.handle_subscribe(turn, id, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(turn, id, unsubscribe),
            Packet::PingReq => self.reply(turn, id, |out, _| out.extend_from_slice(&PINGRESP)),
            Packet::Disconnect(disconnect) => self.handle_disconnect(turn, id, disconnect),
            Packet::Auth(auth) => self.handle_auth(turn, id, auth),
            Packet::Connect(_) => {
                // [MQTT-3.1.0-2]
                self.close(turn, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, "a second CONNECT");
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                unreachable!("the codec refuses what only a server sends")
            }
        }
    }

    pub(super) fn handle_bad_packet(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, error: DecodeError) {
        let Some(id) = self.clients.sessions.of_connection(connection) else {
            return self.handle_bad_packet_of_pending(turn, connection, error.reason());
        };
        // A second CONNECT may be wrong in a way that only CONNACK has a code for.
        let reason = match error.reason() {
            reason if reason.is_allowed_in(PacketType::Disconnect) => reason,
            _ => ReasonCode::ProtocolError,
        };
        let close_reason = match reason {
            ReasonCode::PacketTooLarge => CloseReason::PacketTooLarge,
            ReasonCode::MalformedPacket => CloseReason::Malformed,
            ReasonCode::TopicAliasInvalid => CloseReason::TopicAliasInvalid,
            _ => CloseReason::ProtocolError,
        };
        self.report_too_large(turn, id, error);
        self.close(turn, id, reason, close_reason, error.text());
    }

    /// Bytes of a packet are life as a whole packet is.
    pub(super) fn handle_growing(&mut self, now: Now, connection: ConnectionId) {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        if let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut() {
            link.note_received(now);
        }
    }

    pub(super) fn handle_blocked(&mut self, connection: ConnectionId, bytes: u32) {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        let session = self.clients.sessions.get_mut(id);
        if let Some(link) = session.link.as_deref_mut() {
            link.set_blocked(bytes);
        }
        if bytes == 0 {
            self.clients.add_work(id);
        }
    }

    /// Sends a packet that answers one of the client's. A client that goes on asking while it reads no answers is cut
    /// off: answers cannot be dropped, and must not pile up.
    pub(super) fn reply(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        write: impl FnOnce(&mut Vec<u8>, &crate::session::Link),
    ) {
        if self.clients.is_closing(id) {
            return; // nothing is acknowledged to it any more
        }
        let flush = self.clients.flush;
        let Some(link) = self.clients.sessions.try_get_mut(id).and_then(|session| session.link.as_deref_mut()) else {
            return; // an earlier answer to the same packet has cut it off
        };
        let encoded = turn.fx.encode(|out| {
            write(out, link);
            None
        });
        if encoded.len() > link.packet_size_max_bytes {
            // The client may not be sent it [MQTT-3.1.2-24], and would wait for it for ever.
            let reason = CloseReason::PacketTooLarge;
            self.close(turn, id, ReasonCode::PacketTooLarge, reason, "the answer is larger than it takes");
            return;
        }
        turn.fx.list.push(Effect::Send { connection: link.connection, encoded, packet_id: None });
        link.add_outbox(flush, encoded.len());
        self.clients.counters.packets_sent += 1;
        // What waits may be an outbox of messages and one more that was as large as a packet can be: that the client has
        // asked for, and it is no reason to cut it off.
        let settings = &self.clients.settings;
        let limit = settings.outbox_max_bytes.saturating_mul(2).saturating_add(settings.packet_size_max_bytes);
        if link.outbox_bytes(flush) > limit {
            self.end_connection(turn, id, CloseReason::Resources, "it reads no answers");
        }
    }

    /// Closes a connection for a reason of the broker's: DISCONNECT where the version has one, then the end.
    pub(super) fn close(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        code: ReasonCode,
        reason: CloseReason,
        text: impl Into<Cow<'static, str>>,
    ) {
        let text = text.into();
        if let Cow::Borrowed(text) = text
            && turn.fx.verbosity >= Verbosity::Debug
            && reason.is_of_client()
        {
            self.report_protocol_error(turn, id, code, text);
        }
        if let Some(link) = self.clients.sessions.get(id).link.as_deref()
            && link.version.is_v5()
        {
            // DISCONNECT may carry a reason string whatever the client said about problem information
            // [MQTT-3.1.2-29], but not beyond its packet size [MQTT-3.14.2-3].
            let fits = link.packet_size_max_bytes as usize >= text.len() + 16;
            // A CONNECT in the wrong place can be wrong in itself too, in ways that only CONNACK has codes for.
            let code = if code.is_allowed_in(PacketType::Disconnect) { code } else { ReasonCode::ProtocolError };
            let packet = Disconnect { reason: code, reason_string: fits.then_some(&text), ..Disconnect::default() };
            let version = link.version;
            if link.packet_size_max_bytes >= 4 {
                turn.fx.send(link.connection, |out| packet.encode(version, out));
                self.clients.counters.packets_sent += 1;
            }
        }
        self.end_connection(turn, id, reason, text);
    }
}
