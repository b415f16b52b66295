//! What is said only when it is on stable storage, besides the acknowledgements of messages: sent when its record is durable, in the order
//! of the records.
//!
//! Always holds: where nothing is kept, or a session is not, nothing waits. On one connection nothing of what waits overtakes anything
//! else that waits. What waited for a connection that has gone is not sent.
//! Leaves to others: PUBACK and PUBREC, which also wait for other shards and for their turn (`ack`); the bytes behind a CONNACK
//! (`conn`).

use super::clients::Clients;
use super::record_log::{Held, Waiter};
use super::{Effect, Shard, Turn};
use crate::codec::{AckKind, ReasonCode, encode_ack, encode_unsuback};
use crate::ids::{ConnectionId, PacketId, SessionId};
use crate::limits::RELEASED_PER_TURN;
use crate::session::{Exchange, Resend};
use crate::telemetry::DropReason;

impl Shard {
    /// The store has made records durable: goes on with what waited for that, for one turn's part.
    pub(super) fn release_waiting(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..RELEASED_PER_TURN {
            match self.clients.record_log.next_ready() {
                Some(Waiter::Confirm(confirmation)) => self.clients.tell_stored(turn, confirmation),
                Some(Waiter::Barrier(token, asked)) => self.send_barriers(turn, token, asked),
                Some(Waiter::Forward(held)) => self.release_forward(turn, *held),
                Some(Waiter::Queue(session)) => self.clients.ask_again(turn, session),
                Some(Waiter::Send(connection, held)) => self.send_held(turn, connection, held),
                None => return,
            }
        }
    }

    fn send_held(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, held: Held) {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        if self.clients.is_closing(id) {
            return;
        }
        match held {
            Held::ConnAck => {
                turn.fx.list.push(Effect::Release { connection });
                // What was held is offered to the socket with this turn's flush; if it takes it, nothing is blocked.
                self.handle_blocked(connection, 0);
            }
            Held::Backlog => {
                let link = self.clients.sessions.get_mut(id).link.as_deref_mut();
                if let Some(backlog) = link.and_then(|link| link.backlog.as_deref_mut()) {
                    backlog.waits = false;
                }
                self.advance(turn, id);
            }
            Held::Publish(packet_id) => self.clients.send_held_publish(turn, id, packet_id),
            Held::PubRel(packet_id) => self.send_pubrel(turn, id, packet_id),
            Held::PubComp(packet_id, code) => {
                self.reply(turn, id, |out, link| encode_ack(link.version, AckKind::PubComp, packet_id, code, out));
            }
            Held::SubAck(suback) => {
                let link = self.clients.sessions.get_mut(id).link.as_deref_mut();
                if let Some(backlog) = link.and_then(|link| link.backlog.as_deref_mut()) {
                    backlog.subacks = backlog.subacks.saturating_sub(1);
                }
                self.send_suback(turn, id, &suback);
            }
            Held::UnsubAck(unsuback) => {
                let (packet_id, codes) = *unsuback;
                self.reply(turn, id, |out, link| encode_unsuback(link.version, packet_id, &codes, None, out));
            }
        }
    }

    /// Unless the exchange has ended meanwhile.
    fn send_pubrel(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        if let Some(Exchange::Released) = self.clients.exchange(id, packet_id) {
            let (kind, code) = (AckKind::PubRel, ReasonCode::Success);
            self.reply(turn, id, |out, link| encode_ack(link.version, kind, packet_id, code, out));
        }
    }
}

impl Clients {
    /// Has a packet wait for everything that was appended so far, if its session is kept and not all of that is durable. Returns
    /// whether it does.
    #[inline]
    pub(super) fn hold(&mut self, turn: &mut Turn<'_>, id: SessionId, packet: impl FnOnce() -> Held) -> bool {
        if !self.record_log.must_wait() {
            return false;
        }
        let session = self.sessions.get(id);
        let Some(link) = session.link.as_deref().filter(|_| session.is_persistent()) else { return false };
        self.record_log.hold(turn, link.connection, packet());
        true
    }

    /// A QoS 2 message whose packet identifier is durable, unless it was sent otherwise meanwhile, or has gone.
    fn send_held_publish(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        let (flush, limit) = (self.flush, self.settings.outbox_max_bytes);
        let session = self.sessions.get_mut(id);
        let Some(link) = session.link.as_deref_mut() else { return };
        if link.outbox_bytes(flush) >= limit || link.resends() > 0 {
            // It goes on with the backlog, in its order, when the socket takes more.
            link.backlog_mut().resend.push_back(Resend { packet_id, dup: false });
            return self.add_work(id);
        }
        let Some(Exchange::Published(delivery)) = self.exchange(id, packet_id) else { return };
        let delivery = delivery.clone();
        if delivery.message.borrow().is_too_late(turn.now) {
            self.counters.dropped(DropReason::Expired); // while it waited [MQTT-3.3.2-5]
            return self.drop_in_flight(turn, id, packet_id);
        }
        self.send_in_flight(turn, id, packet_id, (&delivery, false));
    }
}
