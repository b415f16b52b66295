//! Where spans of sampled messages begin and end on their way through a shard.
//!
//! Always holds: where no message is looked at ([`Effects::is_watching`]), nothing here is called.
//! Leaves to others: what is sampled, and what is under way (`spans`).
//!
//! [`Effects::is_watching`]: super::Effects::is_watching

use super::clients::Clients;
use super::outgoing::DeliveryOptions;
use super::sampled::{SpanEnd, SpanKind};
use super::spans::{SampledNow, SpanBegun};
use super::{Shard, Turn};
use crate::codec::{Publish, ReasonCode};
use crate::ids::{ClientKey, PacketId, SessionId};
use crate::session::{Message, MessageRef};
use crate::telemetry::Verbosity;

impl Shard {
    /// A PUBLISH of a client, where messages are looked at.
    #[cold]
    pub(super) fn publish_watched(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>, topic: &str) {
        if turn.fx.verbosity == Verbosity::Trace {
            self.clients.report_publish(turn, id, publish, topic);
        }
        let shard = self.clients.id;
        self.clients.spans.begin(turn, shard, topic, publish.properties, publish.payload.len() as u64);
        let session = self.clients.sessions.get(id);
        let begun = self.clients.spans.sampled().map(|message| SpanBegun {
            message: message.clone(),
            key: session.key,
            client_id: session.client_id.clone(),
            qos: publish.qos,
            began_ns: turn.now.mono_ns,
        });
        self.publish_whole(turn, id, publish, topic);
        let done = self.clients.spans.leave(None);
        let Some(begun) = begun else { return };
        // Its publisher may be gone: it was its own slow subscriber.
        let waits = publish.packet_id.filter(|packet_id| self.clients.has_ack_waiting(id, begun.key, *packet_id));
        if let Some(packet_id) = waits {
            return self.clients.spans.begin_ack(turn.fx, id, packet_id, begun);
        }
        let code = done.and_then(|now| now.refused).unwrap_or(ReasonCode::Success);
        self.clients.spans.tell(turn.fx, shard, SpanKind::Receive, begun, SpanEnd::Code(code));
    }
}

impl Clients {
    /// Whether an acknowledgement has not left.
    fn has_ack_waiting(&self, id: SessionId, key: ClientKey, packet_id: PacketId) -> bool {
        let session = self.sessions.try_get(id).filter(|session| session.key == key);
        let acks = session.and_then(|session| session.link.as_deref()?.acks.as_deref());
        acks.is_some_and(|acks| acks.is_last(packet_id))
    }

    /// The acknowledgement of a publisher leaves after it has waited.
    #[cold]
    pub(super) fn end_ack_span(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId, code: ReasonCode) {
        let Some(begun) = self.spans.end_ack(id, packet_id).filter(|begun| self.sessions.get(id).key == begun.key)
        else {
            return;
        };
        let (end, key) = (SpanEnd::Code(code), begun.key);
        let store = SpanBegun { message: begun.message.clone(), client_id: begun.client_id.clone(), key, ..begun };
        self.spans.tell(turn.fx, self.id, SpanKind::Store, store, end);
        self.spans.tell(turn.fx, self.id, SpanKind::Receive, begun, end);
    }

    /// A PUBLISH to a client, where messages are looked at.
    #[cold]
    pub(super) fn note_sent(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        message: &MessageRef<'_>,
        (copy, packet_id): (&DeliveryOptions<'_>, Option<PacketId>),
    ) {
        if turn.fx.verbosity == Verbosity::Trace {
            self.report_delivery(turn, id, message, copy);
        }
        let Some(sampled) = self.spans.take_delivery(message.topic) else { return };
        let session = self.sessions.get(id);
        let (key, client_id) = (session.key, session.client_id.clone());
        let begun = SpanBegun { message: sampled, key, client_id, qos: copy.qos, began_ns: turn.now.mono_ns };
        match packet_id {
            Some(packet_id) => self.spans.begin_delivery(turn.fx, id, packet_id, begun),
            None => self.spans.tell(turn.fx, self.id, SpanKind::Send, begun, SpanEnd::Code(ReasonCode::Success)),
        }
    }

    /// A delivery has been acknowledged to the end.
    #[cold]
    pub(super) fn end_delivery_span(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        packet_id: PacketId,
        code: ReasonCode,
    ) {
        let begun = self.spans.end_delivery(id, packet_id).filter(|begun| self.sessions.get(id).key == begun.key);
        if let Some(begun) = begun {
            self.spans.tell(turn.fx, self.id, SpanKind::Send, begun, SpanEnd::Code(code));
        }
    }

    /// A message that was kept is sent from now on, until [`Self::leave_span`].
    #[inline]
    pub(super) fn enter_span(&mut self, turn: &Turn<'_>, message: &Message) -> Option<SampledNow> {
        if turn.fx.is_watching { self.spans.enter_kept(message) } else { None }
    }

    /// It is not any more.
    #[inline]
    pub(super) fn leave_span(&mut self, turn: &Turn<'_>, before: Option<SampledNow>) {
        if turn.fx.is_watching {
            self.spans.leave(before);
        }
    }

    /// A message is sent later, or to others.
    #[inline]
    pub(super) fn keep_span(&mut self, turn: &mut Turn<'_>, message: &Message) {
        if turn.fx.is_watching {
            self.spans.keep(turn, message);
        }
    }
}
