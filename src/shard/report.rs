//! What is said of packets and of sessions.
//!
//! Always holds: what only whoever asked for more than the usual lines is told is not reached otherwise. The caller has looked
//! at the verbosity, and nothing is built where it is too low.

use super::clients::Clients;
use super::losses::Loss;
use super::outgoing::DeliveryOptions;
use super::{ConnectInfo, Event, PublishSeen, Shard, ShownProperties, TailedMessage, Turn, UserNameBasis};
use crate::auth::Policy;
use crate::codec::{Connect, DecodeError, Publish, ReasonCode, SubscribeFilter};
use crate::ids::{ConnectionId, SessionId, is_of_service};
use crate::limits::{TAIL_MESSAGES_PER_TURN, TAIL_PAYLOAD_MAX_BYTES};
use crate::session::{MessageRef, Outbound};
use crate::telemetry::DropReason;
use crate::time::Now;

impl Clients {
    fn client(&self, id: SessionId) -> Option<(ConnectionId, Box<str>)> {
        let session = self.sessions.get(id);
        Some((session.link.as_deref()?.connection, session.client_id.clone()))
    }

    /// A CONNECT that was accepted: once, that nobody checks its credentials.
    pub(super) fn report_unchecked_credentials(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
    ) {
        let is_unchecked = info.listener.policy == Policy::Admit && info.user_name == UserNameBasis::Claim;
        if is_unchecked && !self.said_unchecked && has_credentials(connect) {
            self.said_unchecked = true;
            turn.fx.events.push(Event::CredentialsUnchecked { connection, client_id: connect.client_id.into() });
        }
    }

    /// A filter of a SUBSCRIBE, and its answer.
    #[cold]
    pub(super) fn report_subscribed(
        &self,
        turn: &mut Turn<'_>,
        id: SessionId,
        requested: &SubscribeFilter<'_>,
        code: ReasonCode,
    ) {
        let Some((connection, client_id)) = self.client(id) else { return };
        let (filter, qos) = (requested.filter.into(), requested.options.qos);
        turn.fx.events.push(Event::Subscribed { connection, client_id, filter, qos, code });
    }

    /// A filter of an UNSUBSCRIBE, and its answer.
    #[cold]
    pub(super) fn report_unsubscribed(&self, turn: &mut Turn<'_>, id: SessionId, filter: &str, code: ReasonCode) {
        let Some((connection, client_id)) = self.client(id) else { return };
        turn.fx.events.push(Event::Unsubscribed { connection, client_id, filter: filter.into(), code });
    }

    /// A PUBLISH from a client.
    #[cold]
    pub(super) fn report_publish(&self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>, topic: &str) {
        let Some((connection, client_id)) = self.client(id) else { return };
        turn.fx.events.push(Event::PublishReceived(PublishSeen {
            connection,
            client_id,
            topic: topic.into(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            payload_bytes: publish.payload.len() as u64,
        }));
    }

    /// Tells of a message that is routed, if somebody watches its topic: [`TAIL_MESSAGES_PER_TURN`] in a turn, and the others are counted.
    #[cold]
    pub(super) fn tell_tail(&self, turn: &mut Turn<'_>, publisher: Option<SessionId>, message: &MessageRef<'_>) {
        if !turn.fx.tails.as_deref().is_some_and(|tails| tails.wants(message.topic)) {
            return;
        }
        let Some(left) = turn.fx.tail_told.checked_add(1).filter(|told| *told <= TAIL_MESSAGES_PER_TURN) else {
            turn.fx.tail_skipped += 1;
            return;
        };
        turn.fx.tail_told = left;
        let shown = message.payload.len().min(TAIL_PAYLOAD_MAX_BYTES);
        turn.fx.events.push(Event::Tailed(TailedMessage {
            topic: message.topic.into(),
            qos: message.qos,
            retain: message.retain,
            client_id: publisher.map(|id| self.sessions.get(id).client_id.clone()),
            properties: ShownProperties::of(message.properties, TAIL_PAYLOAD_MAX_BYTES),
            payload: message.payload[..shown].into(),
            payload_bytes: message.payload.len() as u64,
        }));
    }

    /// A PUBLISH to a client.
    #[cold]
    pub(super) fn report_delivery(
        &self,
        turn: &mut Turn<'_>,
        id: SessionId,
        message: &MessageRef<'_>,
        copy: &DeliveryOptions<'_>,
    ) {
        let Some((connection, client_id)) = self.client(id) else { return };
        turn.fx.events.push(Event::PublishSent(PublishSeen {
            connection,
            client_id,
            topic: message.topic.into(),
            qos: copy.qos,
            retain: copy.retain,
            dup: copy.dup,
            payload_bytes: message.payload.len() as u64,
        }));
    }
}

impl Clients {
    /// A session loses a message.
    #[cold]
    pub(super) fn lose(&mut self, turn: &mut Turn<'_>, id: SessionId, reason: DropReason) {
        self.counters.dropped(reason);
        if self.traffic.is_counted() {
            self.traffic.note_dropped(id, self.sessions.get(id).key, reason);
        }
        if is_of_service(&self.sessions.get(id).client_id) {
            self.losses.add_of_service(id);
        }
        if let Some(link) = self.sessions.get(id).link.as_deref() {
            turn.fx.note_lost(link.listener);
        }
        if !self.losses.add(turn.now, id, reason) {
            return;
        }
        self.tell_loss_begins(turn.now, id, reason);
        let session = self.sessions.get(id);
        turn.fx.events.push(Event::LossBegins {
            client_id: session.client_id.clone(),
            reason,
            queued: session.outbound().map_or(0, Outbound::queued) as u64,
            queued_bytes: session.outbound().map_or(0, Outbound::queued_bytes),
        });
    }

    /// Says of whom the trouble is over.
    pub(super) fn end_losses(&mut self, turn: &mut Turn<'_>) {
        while let Some((id, loss)) = self.losses.next_over(turn.now) {
            self.report_loss(turn, id, loss);
        }
    }

    /// A message is given up with the session that it was for.
    pub(super) fn lose_with_session(&mut self, now: Now, id: SessionId) {
        self.counters.dropped(DropReason::SessionEnded);
        self.losses.add(now, id, DropReason::SessionEnded);
    }

    /// A session has ended, or all that was given up with it has been: what it lost is told.
    pub(super) fn end_loss(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        if let Some(loss) = self.losses.remove(id) {
            self.report_loss(turn, id, loss);
        }
    }

    fn report_loss(&mut self, turn: &mut Turn<'_>, id: SessionId, loss: Loss) {
        self.tell_loss_ends(turn.now, id, loss);
        turn.fx.events.push(Event::LossEnds {
            client_id: self.sessions.get(id).client_id.clone(),
            reason: loss.reason,
            messages: loss.messages,
            duration_ms: loss.last_ms.saturating_sub(loss.began_ms),
        });
    }
}

impl Shard {
    /// A PUBLISH that is not taken.
    #[cold]
    pub(super) fn report_refused_publish(&self, turn: &mut Turn<'_>, id: SessionId, topic: &str, code: ReasonCode) {
        let Some((connection, client_id)) = self.clients.client(id) else { return };
        turn.fx.events.push(Event::PublishRefused { connection, client_id, topic: topic.into(), code });
    }

    /// A packet for which a connection is closed.
    #[cold]
    pub(super) fn report_protocol_error(
        &self,
        turn: &mut Turn<'_>,
        id: SessionId,
        code: ReasonCode,
        text: &'static str,
    ) {
        let Some((connection, client_id)) = self.clients.client(id) else { return };
        turn.fx.events.push(Event::ProtocolError { connection, client_id, code, text });
    }

    /// A packet that is larger than the broker takes: always said, with the numbers.
    pub(super) fn report_too_large(&self, turn: &mut Turn<'_>, id: SessionId, error: DecodeError) {
        let DecodeError::TooLarge { size_bytes, max_size_bytes } = error else { return };
        let Some((connection, client_id)) = self.clients.client(id) else { return };
        turn.fx.events.push(Event::PacketTooLarge { connection, client_id, size_bytes, max_bytes: max_size_bytes });
    }
}

/// Whether a client wants to be known by more than its client id.
pub(super) const fn has_credentials(connect: &Connect<'_>) -> bool {
    connect.username.is_some() || connect.password.is_some()
}
