//! PUBLISH from a client: checked against the session, routed to sessions here and to shards that want it, acknowledged
//! when that means something.

use super::clients::Clients;
use super::outgoing::Fanout;
use super::policy::{MessageRefusal, NO_ROOM_TO_KEEP, NOT_ALLOWED, NOT_ASKED};
use super::record_log::Waiter;
use super::route::{MessageOrigin, Outcome};
use super::timed::is_timed;
use super::{ConfirmToken, Confirmation, Shard, Turn};
use crate::auth::{AskedTopic, TopicAction};
use crate::codec::{AckKind, Publish, ReasonCode, encode_ack};
use crate::ids::{INTERNAL_LISTENER, PacketId, Qos, SessionId};
use crate::session::{AckQueue, AliasesIn, MessageRef, PendingAck, Reception, Routed, expiry_of};
use crate::settings::{DeniedPublish, FullQueue};
use crate::store::format::LogRecord;
use crate::telemetry::{CloseReason, DropReason};
use crate::topic::{TopicName, TopicOwner};

impl Shard {
    pub(super) fn handle_publish(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>) {
        self.clients.counters.publish_received += 1;
        self.clients.counters.publish_bytes_received += publish.payload.len() as u64;
        if self.clients.profiled.has_rates && !self.count_against_rate(turn, id, publish) {
            return;
        }
        let Some(alias) = publish.topic_alias else {
            self.publish_to(turn, id, publish, publish.topic);
            return;
        };
        let maximum = self.clients.settings.topic_alias_max;
        let session = self.clients.sessions.get_mut(id);
        let link = session.link.as_deref_mut().expect("the packet came over it");
        if alias.get() > maximum {
            // [MQTT-3.3.2-9]
            self.close_for_alias(turn, id, "a topic alias above the maximum that CONNACK announced");
        } else if !publish.topic.is_empty() {
            link.aliases_in.get_or_insert_with(|| Box::new(AliasesIn::default())).set(alias, publish.topic);
            self.publish_to(turn, id, publish, publish.topic);
        } else if let Some(topic) = link.aliases_in.as_deref().and_then(|aliases| aliases.get(alias)) {
            let mut resolved = std::mem::take(&mut self.alias_topic);
            resolved.clear();
            resolved.push_str(topic);
            self.publish_to(turn, id, publish, &resolved);
            self.alias_topic = resolved;
        } else {
            self.close_for_alias(turn, id, "a topic alias that was never set");
        }
    }

    fn close_for_alias(&mut self, turn: &mut Turn<'_>, id: SessionId, text: &'static str) {
        self.close(turn, id, ReasonCode::TopicAliasInvalid, CloseReason::TopicAliasInvalid, text);
    }

    /// The topic is known as the client has it; now the exchange.
    fn publish_to(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>, topic: &str) {
        match self.clients.mounts.topic(id, topic) {
            None => self.publish_at(turn, id, publish, topic),
            Some(whole) => self.publish_at(turn, id, publish, &whole),
        }
    }

    #[inline]
    fn publish_at(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>, topic: &str) {
        if turn.fx.is_watching {
            return self.publish_watched(turn, id, publish, topic);
        }
        self.publish_whole(turn, id, publish, topic);
    }

    pub(super) fn publish_whole(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>, topic: &str) {
        let (mut qos, mut retain) = (publish.qos, publish.retain);
        if self.clients.settings.check_announced(qos, retain).is_err() {
            let Some(lowered) = self.lower_to_announced(turn, id, qos, retain) else { return };
            (qos, retain) = lowered;
        }
        let session = self.clients.sessions.get(id);
        let message = MessageRef {
            topic,
            qos,
            retain,
            expires: publish.message_expiry_s.map(|seconds| expiry_of(turn.now, seconds)),
            publisher: Some(session.key),
            properties: publish.properties,
            payload: publish.payload,
        };
        if self.clients.traffic.is_counted() {
            self.clients.traffic.note_received(turn.now, (id, session.key), topic, message.len_bytes());
        }
        if let Some(packet_id) = publish.packet_id {
            // As it was sent: what the message is passed on with may be lower.
            let kind = if publish.qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
            self.clients.counters.received_acknowledged[usize::from(kind == AckKind::PubRec)] += 1;
            self.publish_and_acknowledge(turn, id, message, packet_id, kind);
            return;
        }
        match self.admit_publish(id, &message) {
            Ok(topic) => {
                let before = self.clients.record_log.last();
                let origin = MessageOrigin { publisher: Some(id), ..MessageOrigin::default() };
                let mut fanout = Fanout::new(Routed::borrowed(message));
                let outcome = self.router.route(turn, &mut self.clients, topic, &mut fanout, origin);
                if self.clients.record_log.last() > before {
                    self.clients.hold_while_behind(turn, id); // it is retained
                }
                self.hold_publisher(turn, id, outcome);
            }
            Err(refusal) => {
                self.refuse_message(turn, id, message.topic, refusal);
                // Nobody waits for an acknowledgement that would have to be kept from it.
                let is_of_log = refusal.reason == DropReason::StorageFull;
                if let Some(reason) = self.closes_for(id, refusal).filter(|_| !is_of_log) {
                    self.close(turn, id, refusal.code, reason, refusal.text);
                }
            }
        }
    }

    /// A message whose sender waits for `kind`.
    #[inline]
    fn publish_and_acknowledge(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        message: MessageRef<'_>,
        packet_id: PacketId,
        kind: AckKind,
    ) {
        let session = self.clients.sessions.get(id);
        let link = session.link.as_deref().expect("the packet came over it");
        let is_repetition = kind == AckKind::PubRec && session.exchanges.contains(packet_id);
        let (waiting, alone) = link.acks.as_deref().map_or((0, 0), |acks| (acks.len(), acks.in_flight_alone()));
        // Clients before 5.0 are told no maximum, and a repetition takes no new place; but nobody can have more
        // messages in flight than there are identifiers, and what waits for a slow store must not pile up.
        let in_flight = alone + session.exchanges.len();
        let is_bounded = link.version.is_v5() && link.listener != INTERNAL_LISTENER;
        let exceeds = is_bounded && !is_repetition && in_flight >= usize::from(self.clients.settings.receive_maximum);
        if exceeds || waiting >= usize::from(u16::MAX) {
            let reason = CloseReason::ReceiveMaximumExceeded;
            let text = "more QoS 1 and 2 messages in flight than CONNACK announced";
            self.close(turn, id, ReasonCode::ReceiveMaximumExceeded, reason, text); // [MQTT-3.3.4-7]
            return;
        }
        if is_repetition {
            self.acknowledge_again(turn, id, packet_id);
            return;
        }
        let topic = match self.admit_publish(id, &message) {
            Ok(topic) => topic,
            Err(refusal) => {
                let reason = self.refuse_message(turn, id, message.topic, refusal);
                if let Some(reason) = self.closes_for(id, refusal) {
                    return self.close(turn, id, refusal.code, reason, refusal.text);
                }
                let reception = Reception::default();
                self.acknowledge(
                    turn,
                    id,
                    PendingAck { kind, packet_id, reason, waits: 0, reception, since: turn.now.short() },
                );
                return;
            }
        };
        let token = self.clients.next_ack(id);
        let is_logged = kind == AckKind::PubRec && self.open_exchange(turn, id, packet_id);
        let origin = MessageOrigin { confirm: Some(token), once: is_logged, publisher: Some(id) };
        let mut fanout = Fanout::new(Routed::borrowed(message));
        let outcome = self.router.route(turn, &mut self.clients, topic, &mut fanout, origin);
        let reason = if outcome.matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        let Outcome { mut waits, reception, .. } = outcome;
        if is_logged && !outcome.waits_for_log && self.clients.record_log.must_wait() {
            self.clients.record_log.wait(turn, Confirmation::of(token));
            waits += 1;
        }
        self.acknowledge(turn, id, PendingAck { kind, packet_id, reason, waits, reception, since: turn.now.short() });
        if waits > 0 {
            self.clients.hold_while_behind(turn, id);
        }
        if self.clients.settings.full_queue == FullQueue::HoldBack && !outcome.is_under_way {
            self.clients.hold_publisher_back(turn, id);
        }
        self.hold_publisher(turn, id, outcome);
    }

    /// A QoS 2 message is taken. Returns whether that was written down.
    fn open_exchange(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) -> bool {
        let session = self.clients.sessions.get_mut(id);
        session.exchanges.insert(packet_id);
        let is_persistent = session.is_persistent();
        if is_persistent {
            self.clients.record_log.append(turn, &LogRecord::ExchangeOpened { session: id, packet_id });
        }
        is_persistent
    }

    /// Whoever has published to more subscribers than one turn serves, while much is under way already, is read on when they have been
    /// served.
    #[inline]
    fn hold_publisher(&mut self, turn: &mut Turn<'_>, id: SessionId, outcome: Outcome) {
        if outcome.is_under_way
            && self.router.has_much_under_way(&self.clients)
            && let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut()
        {
            turn.fx.holds_sender = true;
            link.set_held_for_fanout(true);
            self.router.fanouts.hold_publisher(link.connection);
        }
    }

    /// A QoS 2 message that came before is acknowledged again and not routed again [MQTT-4.3.3-10]. If it came over an
    /// earlier connection, nobody knows any more what its PUBREC was waiting for: then everything is waited for.
    fn acknowledge_again(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        let token = self.clients.next_ack(id);
        let mut waits = 0;
        if self.clients.sessions.get(id).link.as_deref().is_some_and(|link| link.inherits_exchanges) {
            let confirmation = Confirmation::of(token);
            if self.router.fanouts.wait_behind(confirmation) {
                waits += 1;
            } else if !self.clients.record_log.is_durable() {
                self.clients.record_log.wait(turn, confirmation);
                waits += 1;
            }
            let asked = self.router.others;
            waits += asked.iter().count() as u8;
            if self.clients.record_log.must_wait() {
                // Behind what waits to cross.
                self.clients.record_log.wait_for(turn, Waiter::Barrier(token, asked));
            } else {
                self.send_barriers(turn, token, asked);
            }
        }
        let (kind, reception) = (AckKind::PubRec, Reception::default());
        let since = turn.now.short();
        let ack = PendingAck { kind, packet_id, reason: ReasonCode::Success, waits, reception, since };
        self.acknowledge(turn, id, ack);
    }

    /// For what reason the connection ends, if what is refused for this ends it: of clients that cannot be told otherwise. What
    /// the rules do not allow is acknowledged to them all the same unless the setting says so; what was to be kept, and is not, never is.
    #[cold]
    fn closes_for(&self, id: SessionId, refusal: MessageRefusal) -> Option<CloseReason> {
        let link = self.clients.sessions.get(id).link.as_deref().filter(|link| !link.version.is_v5());
        let reason = match refusal.reason {
            DropReason::AccessDenied if self.clients.settings.denied_before_v5 == DeniedPublish::Close => {
                CloseReason::NotAuthorized
            }
            DropReason::StorageFull => CloseReason::Resources,
            _ => return None,
        };
        link.map(|_| reason)
    }

    /// Whether this is a client of the broker's own.
    #[cold]
    fn is_of_service(&self, id: SessionId) -> bool {
        self.clients.sessions.get(id).link.as_deref().is_some_and(|link| link.listener == INTERNAL_LISTENER)
    }

    /// Whether the broker takes a message from a client.
    #[inline]
    fn admit_publish<'a>(&mut self, id: SessionId, message: &MessageRef<'a>) -> Result<TopicName<'a>, MessageRefusal> {
        if !self.clients.may_publish(id, message) {
            let MessageRef { topic, qos, retain, .. } = *message;
            let asked = || AskedTopic { action: TopicAction::Publish, topic: topic.into(), qos, retain };
            return Err(if self.clients.is_unanswered(id, asked) { NOT_ASKED } else { NOT_ALLOWED });
        }
        let settings = &self.clients.settings;
        let topic = match TopicName::of_decoded(message.topic, settings.topic_levels_max) {
            Ok(topic) if settings.is_ordinary(&topic, message.payload.len()) => topic,
            // Dead letters of a sink: the setting is about what comes from outside.
            Ok(topic) if topic.owner() == TopicOwner::Application && self.is_of_service(id) => topic,
            parsed => settings.check_message(parsed.ok(), message.payload.len())?,
        };
        if message.retain
            && !message.payload.is_empty()
            && !self.router.may_retain(&self.clients.settings, message.topic, message.len_bytes())
        {
            let text = "no room for another retained message, see --retained-max and --retained-max-bytes";
            // A bridge, a sink and a source take 0x97 for "later", and would wait for an operator with all that is behind this one.
            let is_service = self.is_of_service(id);
            let code = if is_service { ReasonCode::ImplementationSpecificError } else { ReasonCode::QuotaExceeded };
            let reason = DropReason::RetainedFull;
            return Err(MessageRefusal { code, reason, text });
        }
        if self.clients.log_rooms.is_short() && self.router.is_to_be_kept(&self.clients, Some(id), message) {
            return Err(NO_ROOM_TO_KEEP);
        }
        Ok(topic)
    }

    /// Sends PUBACK or PUBREC now, or when the confirmations that it waits for have come and those before it have left.
    fn acknowledge(&mut self, turn: &mut Turn<'_>, id: SessionId, ack: PendingAck) {
        // Routing may have cut this very connection off, when it is its own slow subscriber.
        let Some(session) = self.clients.sessions.try_get_mut(id) else { return };
        let PendingAck { kind, packet_id, mut reason, waits, reception, .. } = ack;
        let Some(link) = session.link.as_deref_mut() else { return };
        if waits == 0 && link.acks.as_deref().is_none_or(AckQueue::is_empty) {
            reason = self.clients.settings.code_of(link.version, reason, reception);
            if reason.is_error() && kind == AckKind::PubRec {
                self.clients.end_exchange_in(turn, id, packet_id); // [MQTT-4.3.3-9]
            }
            if is_timed(id, packet_id) {
                self.clients.counters.timings.own_acks.note(0); // less than a turn, whose length is not known yet
            }
            self.reply(turn, id, |out, link| encode_ack(link.version, kind, packet_id, reason, out));
        } else {
            link.acks.get_or_insert_default().push(ack);
        }
    }
}

impl Clients {
    /// Names the next acknowledgement of a connection.
    fn next_ack(&self, id: SessionId) -> ConfirmToken {
        let link = self.sessions.get(id).link.as_deref().expect("the packet came over it");
        let number = link.acks.as_deref().map_or_else(|| AckQueue::default().next_number(), AckQueue::next_number);
        ConfirmToken { shard: self.id, connection: link.connection, number }
    }
}
