//! From a match to bytes for each subscriber: quality of service, window, queue, limits.
//!
//! The encoded form of a message is made once per layout (version, QoS, RETAIN) and patched per subscriber; only what
//! is special to one subscriber (subscription identifiers, topic aliases, a repetition) is encoded for it alone.

use smallvec::SmallVec;

use super::clients::Clients;
use super::{Effect, Effects, Encoded, Event, Turn};
use crate::codec::{PublishOut, SubscriptionOptions};
use crate::ids::{PacketId, Qos, SessionId, SubscriptionId};
use crate::limits::PAYLOAD_BY_REFERENCE_MIN_BYTES;
use crate::session::{Delivery, Link, Outbound, QueueLimits, Routed, SubscriptionIds, TopicForm};
use crate::store::Record;
use crate::telemetry::DropReason;
use crate::time::Now;
use crate::topic::{Matches, Subscriber};

/// Messages that have expired and give way to one new one: so many small ones that it has room, yet no work for a
/// millisecond.
const GIVE_WAY_MAX: usize = 256;

/// One encoded packet; a long payload stands beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    encoded: Encoded,
    /// Index into the effects' payloads, and its length.
    payload: Option<(u32, u32)>,
}

impl Outgoing {
    const fn len(self) -> u32 {
        self.encoded.len() + if let Some((_, len)) = self.payload { len } else { 0 }
    }
}

/// The forms in which a message has been encoded so far, by layout, while it is being routed. There are twelve layouts
/// and mostly one subscriber, so nothing is laid out in advance. `None`: MQTT has no such packet.
#[derive(Debug, Default)]
pub(super) struct Templates(SmallVec<[(u8, Option<Outgoing>); 2]>);

/// What is special about one copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy<'a> {
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub ids: &'a [SubscriptionId],
}

/// What the matching subscriptions of one session grant together [MQTT-3.3.4-2].
struct Grant<'a> {
    qos: Qos,
    retain_as_published: bool,
    ids: &'a [SubscriptionId],
}

impl Clients {
    /// Delivers to every plain subscriber of this shard, once a session however many of its subscriptions match.
    pub(super) fn deliver_plain(
        &mut self,
        turn: &mut Turn<'_>,
        routed: &mut Routed<'_>,
        matches: &mut Matches,
        templates: &mut Templates,
    ) {
        self.leave_out_ended(matches);
        if matches.entries > 1 {
            matches.local.sort_unstable_by_key(|subscriber| subscriber.session);
        }
        for subscribers in matches.local.chunk_by(|left, right| left.session == right.session) {
            let id = subscribers[0].session;
            if let [subscriber] = *subscribers
                && !options_of(subscriber).no_local
            {
                self.deliver_shared(turn, subscriber, routed, templates);
                continue;
            }
            let own = routed.message.publisher == Some(self.sessions.get(id).key);
            let mut ids = SmallVec::<[SubscriptionId; 4]>::new();
            let mut granted: Option<(Qos, bool)> = None;
            for subscriber in subscribers {
                let options = options_of(*subscriber);
                if own && options.no_local {
                    continue; // [MQTT-3.8.3-3]
                }
                let (qos, retain) = granted.unwrap_or_default();
                granted = Some((qos.max(options.qos), retain | options.retain_as_published));
                ids.extend(subscriber.identifier);
            }
            if let Some((qos, retain_as_published)) = granted {
                self.deliver(turn, id, routed, &Grant { qos, retain_as_published, ids: &ids }, templates);
            }
        }
    }

    /// Delivers for one subscription alone: that of the picked member of a group, or the only one of a session.
    pub(super) fn deliver_shared(
        &mut self,
        turn: &mut Turn<'_>,
        subscriber: Subscriber,
        routed: &mut Routed<'_>,
        templates: &mut Templates,
    ) {
        let options = options_of(subscriber);
        let grant = Grant {
            qos: options.qos,
            retain_as_published: options.retain_as_published,
            ids: subscriber.identifier.as_slice(),
        };
        self.deliver(turn, subscriber.session, routed, &grant, templates);
    }

    /// Replays one retained message to a new subscription: RETAIN is 1 [MQTT-3.3.1-8, 3.1.1]. The caller has made sure
    /// of room in window and outbox, so that nothing is dropped for want of it.
    pub(super) fn deliver_retained(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: &mut Routed<'_>,
        qos: Qos,
        identifier: Option<SubscriptionId>,
    ) {
        let qos = routed.message.qos.min(qos);
        let copy = Copy { qos, retain: true, dup: false, ids: identifier.as_slice() };
        let mut templates = Templates::default();
        if qos == Qos::AtMostOnce {
            self.send_at_most_once(turn, id, routed, copy, &mut templates);
            return;
        }
        let delivery = self.owe(turn, id, routed, copy);
        self.send_delivery(turn, id, delivery, routed, &mut templates);
    }

    /// One message for one session: sent, queued or dropped for a reason.
    pub(super) fn deliver(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: &mut Routed<'_>,
        grant: &Grant<'_>,
        templates: &mut Templates,
    ) {
        let copy = Copy {
            qos: routed.message.qos.min(grant.qos), // [MQTT-3.8.4-8]
            retain: routed.message.retain && grant.retain_as_published,
            dup: false,
            ids: grant.ids,
        };
        if routed.message.is_expired(turn.now) {
            self.counters.dropped(DropReason::Expired);
        } else if copy.qos == Qos::AtMostOnce {
            self.deliver_at_most_once(turn, id, routed, copy, templates);
        } else {
            self.deliver_acknowledged(turn, id, routed, copy, templates);
        }
    }

    pub(super) fn deliver_at_most_once(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: &mut Routed<'_>,
        copy: Copy<'_>,
        templates: &mut Templates,
    ) {
        let flush = self.flush;
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() else {
            self.counters.dropped(DropReason::OfflineQos0);
            return;
        };
        let waiting = link.outbox_bytes(flush);
        if waiting > 0 && waiting as usize + routed.message.payload.len() > self.settings.outbox_max_bytes as usize {
            self.counters.dropped(DropReason::OutboxFull);
            return;
        }
        self.send_at_most_once(turn, id, routed, copy, templates);
    }

    /// Sends without asking for room. The session has a connection.
    #[inline]
    pub(super) fn send_at_most_once(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: &mut Routed<'_>,
        copy: Copy<'_>,
        templates: &mut Templates,
    ) {
        let link = self.sessions.get_mut(id).link.as_deref_mut().expect("the caller has looked");
        let Some(outgoing) = encode(turn, routed, link, copy, templates) else {
            self.counters.dropped(DropReason::PacketTooLarge);
            return;
        };
        send_publish(link, self.flush, outgoing, None, turn.fx);
        self.count_publish(routed.message.payload.len());
    }

    pub(super) fn deliver_acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: &mut Routed<'_>,
        copy: Copy<'_>,
        templates: &mut Templates,
    ) {
        if self.has_room(id) && !self.sessions.get(id).outbound().is_some_and(Outbound::has_queue) {
            let delivery = self.owe(turn, id, routed, copy);
            self.send_delivery(turn, id, delivery, routed, templates);
            return;
        }
        let len_bytes = routed.message.len_bytes() + size_of_val(copy.ids) as u64;
        if let Err(reason) = self.make_room(turn.now, id, len_bytes) {
            self.counters.dropped(reason);
            if reason == DropReason::QueuedMemoryFull {
                self.say_memory_is_full(turn);
            }
            return;
        }
        let delivery = self.owe(turn, id, routed, copy);
        self.sessions.get_mut(id).outbound_mut().enqueue(delivery, &mut self.queues);
        if self.has_window(id) {
            self.add_work(id); // no acknowledgement may come that would bring it forward
        }
    }

    /// Sees that a queue has room for one more message of `len_bytes`: what stands first in it and has expired meanwhile
    /// gives way. If there is none, the newest is the one to drop, for this reason.
    pub(super) fn make_room(&mut self, now: Now, id: SessionId, len_bytes: u64) -> Result<(), DropReason> {
        let limits = QueueLimits { messages: self.settings.queued_messages_max, bytes: self.settings.queued_bytes_max };
        let outbound = self.sessions.get_mut(id).outbound_mut();
        let mut given_way = 0;
        loop {
            let reason = match (outbound.admits(len_bytes, limits), self.queues.memory().is_full()) {
                (true, false) => return Ok(()),
                (true, true) => DropReason::QueuedMemoryFull,
                (false, _) => DropReason::QueueFull,
            };
            let may_go = outbound.queue().next().is_some_and(|oldest| oldest.message.is_expired(now));
            if !may_go || given_way == GIVE_WAY_MAX {
                return Err(reason);
            }
            outbound.dequeue(&mut self.queues);
            self.counters.dropped(DropReason::Expired); // [MQTT-3.3.2-5]
            given_way += 1;
        }
    }

    /// Once a minute at most: the operator is to know why messages are dropped for everybody.
    #[cold]
    pub(super) fn say_memory_is_full(&mut self, turn: &mut Turn<'_>) {
        if self.next_full_report.is_due(turn.now) {
            self.next_full_report = turn.now.after_s(60);
            turn.fx.events.push(Event::QueuedMemoryFull { max_bytes: self.settings.queued_memory_max_bytes });
        }
    }

    /// Makes a message into a delivery that is kept until it is settled, on stable storage if the session is.
    pub(super) fn owe(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: &mut Routed<'_>,
        copy: Copy<'_>,
    ) -> Delivery {
        let message = routed.share().clone();
        if self.sessions.get(id).is_persistent() {
            let message = message.clone();
            self.ledger.append(Record::Owed { session: id, message, qos: copy.qos, retain: copy.retain }, turn.fx);
        }
        Delivery { message, ids: SubscriptionIds::from_slice(copy.ids), qos: copy.qos, retain: copy.retain }
    }

    /// Takes a delivery into flight and sends it. The caller has made sure of room.
    pub(super) fn send_delivery(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        delivery: Delivery,
        routed: &mut Routed<'_>,
        templates: &mut Templates,
    ) {
        let session = self.sessions.get_mut(id);
        let link = session.link.as_deref_mut().expect("room means a connection");
        let copy = Copy { qos: delivery.qos, retain: delivery.retain, dup: false, ids: delivery.ids.as_slice() };
        let Some(outgoing) = encode(turn, routed, link, copy, templates) else {
            // As if its delivery had completed [MQTT-3.1.2-25].
            self.counters.dropped(DropReason::PacketTooLarge);
            return;
        };
        let packet_id = session.outbound_mut().send(delivery, &mut self.queues);
        let link = session.link.as_deref_mut().expect("it had one above");
        send_publish(link, self.flush, outgoing, Some(packet_id), turn.fx);
        self.count_publish(routed.message.payload.len());
    }

    /// Sends again what was in flight when an earlier connection ended, with DUP [MQTT-3.3.1-1].
    pub(super) fn send_again(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId, delivery: &Delivery) {
        let mut routed = Routed::shared(&delivery.message);
        let copy = Copy { qos: delivery.qos, retain: delivery.retain, dup: true, ids: delivery.ids.as_slice() };
        let link = self.sessions.get_mut(id).link.as_deref_mut().expect("it is being resumed");
        if let Some(outgoing) = encode(turn, &mut routed, link, copy, &mut Templates::default()) {
            send_publish(link, self.flush, outgoing, Some(packet_id), turn.fx);
            self.count_publish(routed.message.payload.len());
            return;
        }
        self.counters.dropped(DropReason::PacketTooLarge);
        if let Some(outbound) = self.sessions.get_mut(id).outbound_existing_mut() {
            outbound.settle(packet_id, &mut self.queues);
        }
    }

    pub(super) const fn count_publish(&mut self, payload_bytes: usize) {
        self.counters.packets_sent += 1;
        self.counters.publish_sent += 1;
        self.counters.publish_bytes_sent += payload_bytes as u64;
    }

    /// Whether the client's receive maximum leaves room [MQTT-3.3.4-9].
    pub(super) fn has_window(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        session.link.as_deref().is_some_and(|link| {
            let in_flight = session.outbound().map_or(0, |outbound| usize::from(outbound.window().len()));
            in_flight - link.resends().min(in_flight) < usize::from(link.window_max)
        })
    }

    /// Whether a new QoS 1 or 2 message may be sent now: connected, nothing to be sent again first, window and outbox.
    pub(super) fn has_room(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        self.has_window(id)
            && session.link.as_deref().is_some_and(|link| {
                link.resends() == 0 && link.outbox_bytes(self.flush) < self.settings.outbox_max_bytes
            })
    }
}

fn options_of(subscriber: Subscriber) -> SubscriptionOptions {
    SubscriptionOptions::from_bits(subscriber.options).expect("the index keeps what SUBSCRIBE put there")
}

/// Sends one copy. `flush` counts the shard's flushes.
fn send_publish(link: &mut Link, flush: u32, outgoing: Outgoing, packet_id: Option<PacketId>, fx: &mut Effects) {
    link.add_outbox(flush, outgoing.len());
    let (connection, encoded) = (link.connection, outgoing.encoded);
    fx.list.push(match outgoing.payload {
        None => Effect::Send { connection, encoded, packet_id },
        Some((payload, _)) => Effect::SendPayload { connection, encoded, packet_id, payload },
    });
}

/// Encodes one copy, or takes the form that was encoded before. `None` when it is too large for the client.
fn encode(
    turn: &mut Turn<'_>,
    routed: &mut Routed<'_>,
    link: &mut Link,
    copy: Copy<'_>,
    templates: &mut Templates,
) -> Option<Outgoing> {
    let fits = |outgoing: &Outgoing| outgoing.len() <= link.packet_size_max_bytes;
    let is_v5 = link.version.is_v5();
    if copy.ids.is_empty() && !copy.dup && link.alias_max == 0 || !is_v5 && !copy.dup {
        let layout = u8::from(is_v5) * 6 + copy.qos as u8 * 2 + u8::from(copy.retain);
        if let Some(&(_, outgoing)) = templates.0.iter().find(|&&(made, _)| made == layout) {
            return outgoing.filter(fits);
        }
        let outgoing = encode_form(turn, routed, link, copy, TopicForm::Name);
        templates.0.push((layout, outgoing));
        return outgoing.filter(fits);
    }
    let topic = routed.message.topic;
    let form = match (is_v5, link.alias_max) {
        (false, _) | (_, 0) => TopicForm::Name,
        (true, max) => link.aliases_out.get_or_insert_default().form(topic, max),
    };
    let outgoing = encode_form(turn, routed, link, copy, form).filter(fits);
    if !matches!(form, TopicForm::NameAndAlias(_)) {
        return outgoing;
    }
    if outgoing.is_none() {
        // To teach an alias takes three bytes; without them it may fit.
        return encode_form(turn, routed, link, copy, TopicForm::Name).filter(fits);
    }
    if let Some(aliases) = link.aliases_out.as_deref_mut() {
        aliases.sent(topic);
    }
    outgoing
}

/// Encodes one form. `None` when MQTT has no such packet: a message of the largest size can gain bytes on its way.
fn encode_form(
    turn: &mut Turn<'_>,
    routed: &mut Routed<'_>,
    link: &Link,
    copy: Copy<'_>,
    form: TopicForm,
) -> Option<Outgoing> {
    let message = routed.message;
    let (topic, topic_alias) = match form {
        TopicForm::Name => (message.topic, None),
        TopicForm::NameAndAlias(alias) => (message.topic, Some(alias)),
        TopicForm::Alias(alias) => ("", Some(alias)),
    };
    let packet = PublishOut {
        version: link.version,
        topic,
        topic_alias,
        qos: copy.qos,
        dup: copy.dup,
        retain: copy.retain,
        packet_id: (copy.qos != Qos::AtMostOnce).then_some(PacketId::MIN), // patched per subscriber
        message_expiry_s: message.expires.map(|expires| expires.left_s(turn.now)), // [MQTT-3.3.2-6]
        subscription_ids: copy.ids,
        forwarded: message.properties,
        payload: message.payload,
    };
    if !packet.fits(u32::MAX) {
        return None;
    }
    if message.payload.len() < PAYLOAD_BY_REFERENCE_MIN_BYTES {
        let encoded = turn.fx.encode(|out| packet.encode(out).packet_id_at);
        return Some(Outgoing { encoded, payload: None });
    }
    let encoded = turn.fx.encode(|out| packet.encode_head(out).packet_id_at);
    let payload = turn.fx.payload(routed.share().long_payload().expect("its length is what makes it long"));
    Some(Outgoing { encoded, payload: Some((payload, message.payload.len() as u32)) })
}
