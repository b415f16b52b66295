//! PUBLISH from a client: checked against the session, routed to sessions here and to shards that want it, acknowledged
//! when that means something.

use smallvec::SmallVec;

use super::deliver::Templates;
use super::groups::RemotePicks;
use super::{ConfirmToken, MeshMessage, Rider, Shard, Stamp, Turn};
use crate::codec::{AckKind, Publish, ReasonCode, encode_ack};
use crate::ids::{PacketId, Qos, SessionId, ShardId, ShardSet};
use crate::session::{AckQueue, AliasesIn, MessageRef, Routed};
use crate::store::Record;
use crate::telemetry::{CloseReason, DropReason};
use crate::topic::{Matches, TopicName};

/// What became of a routed message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Somebody has a matching subscription.
    pub matched: bool,
    /// Confirmations that the acknowledgement has to wait for: other shards, and this shard's own store.
    pub waits: u8,
}

impl Shard {
    pub(super) fn handle_publish(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>) {
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += publish.payload.len() as u64;
        let Some(alias) = publish.topic_alias else {
            self.publish_to(turn, id, publish, publish.topic);
            return;
        };
        let maximum = self.settings.topic_alias_max;
        let session = self.sessions.get_mut(id);
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

    /// The topic is known; now the exchange.
    fn publish_to(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>, topic: &str) {
        let session = self.sessions.get_mut(id);
        let message = MessageRef {
            topic,
            qos: publish.qos,
            retain: publish.retain,
            expires: publish.message_expiry_s.map(|seconds| turn.now.after_s(seconds)),
            publisher: Some(session.key),
            properties: publish.properties,
            payload: publish.payload,
        };
        let Some(packet_id) = publish.packet_id else {
            if let Ok(topic) = self.admit_publish(&message) {
                self.route(turn, topic, &mut Routed::borrowed(message), None);
            }
            return;
        };
        let link = session.link.as_deref().expect("the packet came over it");
        let kind = if publish.qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
        let is_repetition = kind == AckKind::PubRec && session.exchanges.contains(packet_id);
        let (waiting, alone) = link.acks.as_deref().map_or((0, 0), |acks| (acks.len(), acks.in_flight_alone()));
        // Clients before 5.0 are told no maximum, and a repetition takes no new place; but nobody can have more
        // messages in flight than there are identifiers, and what waits for a slow store must not pile up.
        let in_flight = alone + session.exchanges.len();
        let exceeds = link.version.is_v5() && !is_repetition && in_flight >= usize::from(self.settings.receive_maximum);
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
        let topic = match self.admit_publish(&message) {
            Ok(topic) => topic,
            Err(reason) => {
                self.acknowledge(turn, id, kind, packet_id, reason, 0);
                return;
            }
        };
        let token = self.next_ack(id);
        let session = self.sessions.get_mut(id);
        if kind == AckKind::PubRec {
            session.exchanges.insert(packet_id);
            if session.is_persistent() {
                self.log.append(Record::ExchangeOpened { session: id, packet_id }, turn.fx);
            }
        }
        let outcome = self.route(turn, topic, &mut Routed::borrowed(message), Some(token));
        let reason = if outcome.matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        self.acknowledge(turn, id, kind, packet_id, reason, outcome.waits);
    }

    /// A QoS 2 message that came before is acknowledged again and not routed again [MQTT-4.3.3-10]. If it came over an
    /// earlier connection, nobody knows any more what its PUBREC was waiting for: then everything is waited for.
    fn acknowledge_again(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        let token = self.next_ack(id);
        let mut waits = 0;
        if self.sessions.get(id).link.as_deref().is_some_and(|link| link.inherits_exchanges) {
            if !self.log.is_durable() {
                self.log.wait(token);
                waits += 1;
            }
            for shard in ShardSet::all_but(self.id, self.settings.shards).iter() {
                turn.fx.mesh.push(shard, MeshMessage::Barrier { token });
                waits += 1;
            }
        }
        self.acknowledge(turn, id, AckKind::PubRec, packet_id, ReasonCode::Success, waits);
    }

    /// Names the acknowledgement that a connection is owed next.
    fn next_ack(&self, id: SessionId) -> ConfirmToken {
        let link = self.sessions.get(id).link.as_deref().expect("the packet came over it");
        let number = link.acks.as_deref().map_or_else(|| AckQueue::default().next_number(), AckQueue::next_number);
        ConfirmToken { shard: self.id, connection: link.connection, number }
    }

    /// Whether the broker takes a message from a client; otherwise the reason for its PUBACK or PUBREC.
    fn admit_publish<'a>(&mut self, message: &MessageRef<'a>) -> Result<TopicName<'a>, ReasonCode> {
        let topic = match TopicName::parse(message.topic, self.settings.topic_levels_max) {
            Ok(topic) if !topic.is_dollar() => topic,
            _ => {
                self.counters.dropped(DropReason::TopicRefused);
                return Err(ReasonCode::TopicNameInvalid);
            }
        };
        if message.retain && !message.payload.is_empty() && !self.may_retain(message.topic, message.len_bytes()) {
            self.counters.dropped(DropReason::RetainedFull);
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(topic)
    }

    /// Whether there is room to retain a message of so many bytes on `topic`, in place of the one that it may have.
    pub(super) fn may_retain(&self, topic: &str, bytes: u64) -> bool {
        let has_room = |sum_bytes: u64| sum_bytes + bytes <= self.settings.retained_max_bytes;
        if self.retained.len() < self.settings.retained_max as usize && has_room(self.retained.bytes()) {
            return true; // without looking anything up
        }
        self.retained.bytes_of(topic).is_some_and(|old_bytes| has_room(self.retained.bytes() - old_bytes))
    }

    /// Sends PUBACK or PUBREC now, or when `waits` confirmations have come and those before it have left.
    fn acknowledge(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        waits: u8,
    ) {
        // Routing may have cut this very connection off, when it is its own slow subscriber.
        let Some(session) = self.sessions.try_get_mut(id) else { return };
        if reason.is_error() {
            session.exchanges.remove(packet_id); // [MQTT-4.3.3-9]
        }
        let Some(link) = session.link.as_deref_mut() else { return };
        if waits == 0 && link.acks.as_deref().is_none_or(AckQueue::is_empty) {
            self.reply(turn, id, |out, link| encode_ack(link.version, kind, packet_id, reason, None, out));
        } else {
            link.acks.get_or_insert_default().push(kind, packet_id, reason, waits);
        }
    }

    /// Gives a message to everybody who is to have it: the retained store, sessions of this shard, other shards.
    pub(super) fn route(
        &mut self,
        turn: &mut Turn<'_>,
        topic: TopicName<'_>,
        routed: &mut Routed<'_>,
        confirm: Option<ConfirmToken>,
    ) -> Outcome {
        let before = self.log.last();
        let stamp = routed.message.retain.then(|| self.retain(turn, routed));
        let mut matches = self.matches.take().unwrap_or_default();
        self.index.matches_again(topic, &mut matches);
        let mut templates = Templates::default();
        self.deliver_plain(turn, routed, &mut matches, &mut templates);
        let (picks, any_member) = self.deliver_groups(turn, routed, &matches, &mut templates);
        let matched = !matches.local.is_empty() || !matches.shards.is_empty() || any_member;
        let mut outcome = Outcome { matched, waits: 0 };
        let confirm = confirm.filter(|_| routed.message.qos != Qos::AtMostOnce);
        if let Some(token) = confirm
            && self.log.last() > before
        {
            self.log.wait(token);
            outcome.waits += 1;
        }
        if self.settings.shards > 1 {
            outcome.waits += self.send_to_shards(turn, routed, &matches, &picks, stamp, confirm);
        }
        self.matches = Some(matches);
        outcome
    }

    /// Writes a retained message, or deletes one [MQTT-3.3.1-6], on this shard.
    fn retain(&mut self, turn: &mut Turn<'_>, routed: &mut Routed<'_>) -> Stamp {
        let stamp = self.retained.stamp(turn.now, self.id);
        let message = (!routed.message.payload.is_empty()).then(|| routed.share().clone());
        self.log.append(Record::Retained { topic: routed.message.topic.into(), message: message.clone() }, turn.fx);
        self.retained.write(turn.now, routed.message.topic, message, stamp);
        stamp
    }

    /// One message per interested shard. Returns how many of them will confirm.
    fn send_to_shards(
        &mut self,
        turn: &mut Turn<'_>,
        routed: &mut Routed<'_>,
        matches: &Matches,
        picks: &[(ShardId, u64)],
        retained: Option<Stamp>,
        confirm: Option<ConfirmToken>,
    ) -> u8 {
        let mut targets = matches.shards;
        for &(shard, _) in picks {
            targets.insert(shard);
        }
        if retained.is_some() {
            targets = ShardSet::all_but(self.id, self.settings.shards);
        }
        let mut waits = 0;
        for shard in targets.iter() {
            let groups: SmallVec<[u64; 2]> =
                picks.iter().filter(|&&(picked, _)| picked == shard).map(|&(_, key)| key).collect();
            // A retained message is taken over when every copy has it: whoever subscribes after seeing it acknowledged
            // is shown it with RETAIN 1, wherever the subscription lives.
            let owed = retained.is_some() || matches.durable_shards.contains(shard) || !groups.is_empty();
            let confirm = confirm.filter(|_| owed);
            waits += u8::from(confirm.is_some());
            self.counters.mesh_sent += 1;
            turn.fx.mesh.publish(shard, routed, matches.shards.contains(shard), Rider { groups, retained, confirm });
        }
        waits
    }

    /// A message that a client of another shard published.
    pub(super) fn handle_mesh_publish(
        &mut self,
        turn: &mut Turn<'_>,
        mut routed: Routed<'_>,
        plain: bool,
        rider: Rider,
    ) {
        let Rider { groups, retained, mut confirm } = rider;
        let before = self.log.last();
        let text = routed.message.topic;
        if let Some(stamp) = retained {
            let message = (!routed.message.payload.is_empty()).then(|| routed.share().clone());
            self.retained.write(turn.now, text, message, stamp);
        }
        let mut templates = Templates::default();
        // Interest may have arisen here that the publisher's shard had not heard of when it sent a retained message.
        if plain || retained.is_some() {
            let mut matches = self.matches.take().unwrap_or_default();
            let topic = TopicName::checked_before(text);
            self.index.matches_again(topic, &mut matches);
            self.deliver_plain(turn, &mut routed, &mut matches, &mut templates);
            self.matches = Some(matches);
        }
        let mut forwarded = RemotePicks::new();
        for key in groups {
            self.deliver_to_group_member(turn, key, &mut routed, &mut templates, &mut forwarded);
        }
        let stored_here = self.log.last() > before;
        for (shard, key) in forwarded {
            // Whoever takes the message last confirms, unless something of it is stored here.
            let confirm = if stored_here { None } else { confirm.take() };
            let rider = Rider { groups: SmallVec::from_slice(&[key]), retained: None, confirm };
            self.counters.mesh_sent += 1;
            turn.fx.mesh.publish(shard, &mut routed, false, rider);
        }
        match confirm {
            Some(token) if stored_here => self.log.wait(token),
            Some(token) => self.tell_stored(turn, token),
            None => {}
        }
    }
}
