//! From a match to bytes for each subscriber: quality of service, window, queue, limits.
//!
//! The encoded form of a message is made once per layout (version, QoS, RETAIN) and patched per subscriber; only what
//! is special to one subscriber (subscription identifiers, topic aliases, a repetition) is encoded for it alone.

use smallvec::SmallVec;

use super::clients::Clients;
use super::fanouts::cost_of;
use super::hold_back::Fullest;
use super::record_log::Held;
use super::timed::is_timed;
use super::{Effect, Effects, Encoded, Turn};
use crate::codec::{PublishOut, SubscriptionOptions, Version};
use crate::ids::{MessageId, PacketId, Qos, SessionId, SubscriptionId, TopicAlias};
use crate::limits::PAYLOAD_BY_REFERENCE_MIN_BYTES;
use crate::session::{Delivery, Link, MessageRef, Outbound, Reception, Routed, SubscriptionIds, TopicForm};
use crate::store::format::{ListOf, LogRecord, QueuedRecord};
use crate::telemetry::DropReason;
use crate::topic::{GroupTag, Matches, Subscriber};

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

/// Of a client's outbox: whoever sends has asked for room before.
const NO_BOUND: usize = usize::MAX;

/// When a packet leaves.
enum Departure {
    /// At once.
    Now(Outgoing),
    /// When its packet identifier is durable: then it is encoded.
    Held,
}

/// A PUBLISH with an identifier, taken into flight.
struct ReadyPublish<'a> {
    copy: &'a DeliveryOptions<'a>,
    packet_id: PacketId,
    departure: Departure,
}

/// What tells forms apart: version, QoS and RETAIN in the low byte, above it how many bytes of the topic its client does not see.
type Layout = u32;

/// One message on its way to its subscribers, and the forms in which it has been encoded so far, by layout. There are twelve
/// layouts and mostly one subscriber, so nothing is laid out in advance. `None`: MQTT has no such packet.
#[derive(Debug)]
pub(super) struct Fanout<'a> {
    pub routed: Routed<'a>,
    /// What became of it so far.
    pub reception: Reception,
    /// The fullest queue that it has met so far, where that matters.
    pub fullest: Fullest,
    forms: SmallVec<[(Layout, Option<Outgoing>); 2]>,
}

impl<'a> Fanout<'a> {
    #[inline]
    pub(super) fn new(routed: Routed<'a>) -> Self {
        Self { routed, reception: Reception::default(), fullest: Fullest::default(), forms: SmallVec::new() }
    }
}

/// The shared subscription that a session was picked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickedFor {
    /// As a delivery remembers it.
    pub tag: GroupTag,
    /// As it is told to others, and written down.
    pub key: u64,
}

impl PickedFor {
    /// A plain subscription.
    pub(super) const NONE: Self = Self { tag: GroupTag::NONE, key: 0 };
}

/// What is special about one copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryOptions<'a> {
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub ids: &'a [SubscriptionId],
    /// The shared subscription that it is for.
    pub group: PickedFor,
}

impl<'a> DeliveryOptions<'a> {
    /// Of a delivery that was made before; `ids` are its own.
    fn of(delivery: &Delivery, ids: &'a [SubscriptionId]) -> Self {
        let group = PickedFor { tag: delivery.group, key: 0 };
        Self { qos: delivery.qos, retain: delivery.retain, dup: false, ids, group }
    }
}

/// What the matching subscriptions of one session grant together [MQTT-3.3.4-2].
struct EffectiveOptions<'a> {
    qos: Qos,
    retain_as_published: bool,
    ids: &'a [SubscriptionId],
    group: PickedFor,
}

impl Clients {
    /// Delivers to every plain subscriber of this shard, once a session however many of its subscriptions match.
    pub(super) fn deliver_plain(&mut self, turn: &mut Turn<'_>, fanout: &mut Fanout<'_>, matches: &mut Matches) {
        self.remove_ended_sessions(matches);
        if matches.entries.len() > 1 {
            matches.local.sort_unstable_by_key(|subscriber| subscriber.session);
        }
        let has_rules = self.access.checks;
        for subscribers in matches.local.chunk_by(|left, right| left.session == right.session) {
            if has_rules && self.withholds(subscribers[0].session, fanout) {
                continue;
            }
            self.deliver_to_session(turn, fanout, subscribers);
        }
    }

    /// Delivers to subscribers of one filter: each is another session's.
    pub(super) fn deliver_to_each(&mut self, turn: &mut Turn<'_>, fanout: &mut Fanout<'_>, subscribers: &[Subscriber]) {
        let has_rules = self.access.checks;
        for subscriber in subscribers {
            if has_rules && self.withholds(subscriber.session, fanout) {
                continue;
            }
            if self.sessions.ended().is_empty() || !self.sessions.get(subscriber.session).has_ended {
                self.deliver_to_session(turn, fanout, std::slice::from_ref(subscriber));
            }
        }
    }

    /// Delivers for all subscriptions of one session that match.
    #[inline]
    pub(super) fn deliver_to_session(
        &mut self,
        turn: &mut Turn<'_>,
        fanout: &mut Fanout<'_>,
        subscribers: &[Subscriber],
    ) {
        if let [subscriber] = *subscribers
            && !options_of(subscriber).no_local
        {
            self.deliver_to_one(turn, subscriber, PickedFor::NONE, fanout);
        } else {
            self.deliver_together(turn, fanout, subscribers);
        }
    }

    /// The same where there are several, or one that wants nothing of its own.
    #[inline(never)]
    fn deliver_together(&mut self, turn: &mut Turn<'_>, fanout: &mut Fanout<'_>, subscribers: &[Subscriber]) {
        let id = subscribers[0].session;
        let own = fanout.routed.message.publisher == Some(self.sessions.get(id).key);
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
            let grant = EffectiveOptions { qos, retain_as_published, ids: &ids, group: PickedFor::NONE };
            self.deliver(turn, id, fanout, &grant);
        }
    }

    /// Whether the rules keep a message from a session, which is counted. To be asked where there are rules.
    #[inline]
    pub(super) fn withholds(&mut self, id: SessionId, fanout: &Fanout<'_>) -> bool {
        let is_withheld = self.access.looks_at(id) && !self.may_receive(id, fanout.routed.message.topic);
        if is_withheld {
            self.counters.dropped(DropReason::AccessDenied);
        }
        is_withheld
    }

    /// Delivers to the picked member of a group.
    pub(super) fn deliver_to_member(
        &mut self,
        turn: &mut Turn<'_>,
        subscriber: Subscriber,
        group: PickedFor,
        fanout: &mut Fanout<'_>,
    ) {
        if !self.access.checks || !self.withholds(subscriber.session, fanout) {
            self.deliver_to_one(turn, subscriber, group, fanout);
        }
    }

    /// Delivers for one subscription alone: that of the picked member of a group, or the only one of a session.
    pub(super) fn deliver_to_one(
        &mut self,
        turn: &mut Turn<'_>,
        subscriber: Subscriber,
        group: PickedFor,
        fanout: &mut Fanout<'_>,
    ) {
        let options = options_of(subscriber);
        let grant = EffectiveOptions {
            qos: options.qos,
            retain_as_published: options.retain_as_published,
            ids: subscriber.identifier.as_slice(),
            group,
        };
        self.deliver(turn, subscriber.session, fanout, &grant);
    }

    /// Replays one retained message to a new subscription: RETAIN is 1 [MQTT-3.3.1-8, 3.1.1]. The caller has made sure
    /// of room in window and outbox, so that nothing is dropped for want of it.
    pub(super) fn deliver_retained(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        routed: Routed<'_>,
        qos: Qos,
        identifier: Option<SubscriptionId>,
    ) {
        let qos = routed.message.qos.min(qos);
        let copy =
            DeliveryOptions { qos, retain: true, dup: false, ids: identifier.as_slice(), group: PickedFor::NONE };
        let mut fanout = Fanout::new(routed);
        if qos == Qos::AtMostOnce {
            assert!(self.sessions.get(id).link.is_some(), "the caller has looked");
            self.send_at_most_once(turn, id, &mut fanout, &copy, NO_BOUND);
            return;
        }
        self.send_acknowledged(turn, id, &mut fanout, &copy);
    }

    /// One message for one session: sent, queued or dropped for a reason.
    fn deliver(&mut self, turn: &mut Turn<'_>, id: SessionId, fanout: &mut Fanout<'_>, grant: &EffectiveOptions<'_>) {
        let copy = DeliveryOptions {
            qos: fanout.routed.message.qos.min(grant.qos), // [MQTT-3.8.4-8]
            retain: fanout.routed.message.retain && grant.retain_as_published,
            dup: false,
            ids: grant.ids,
            group: grant.group,
        };
        turn.fx.deliveries += cost_of(copy.qos);
        if fanout.routed.message.is_too_late(turn.now) {
            self.counters.dropped(DropReason::Expired);
        } else if copy.qos == Qos::AtMostOnce {
            self.deliver_at_most_once(turn, id, fanout, &copy);
        } else {
            self.deliver_acknowledged(turn, id, fanout, &copy);
        }
    }

    fn deliver_at_most_once(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) {
        let is_sent_nothing = self.is_sent_nothing(id);
        if self.settings.queue_qos0 && (is_sent_nothing || self.waits_behind_others(id)) {
            return self.enqueue(turn, id, fanout, copy);
        }
        if is_sent_nothing {
            return self.lose(turn, id, DropReason::RateLimited);
        }
        self.send_at_most_once(turn, id, fanout, copy, self.settings.outbox_max_bytes as usize);
    }

    /// Sends it, unless there is no connection, or too much waits for its client: more than `outbox_max_bytes`, with this.
    #[inline]
    fn send_at_most_once(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
        outbox_max_bytes: usize,
    ) {
        let flush = self.flush;
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() else {
            return self.counters.dropped(DropReason::OfflineQos0);
        };
        let waiting = link.outbox_bytes(flush);
        if waiting > 0 && waiting as usize + fanout.routed.message.payload.len() > outbox_max_bytes {
            return self.lose(turn, id, DropReason::OutboxFull);
        }
        let Some(outgoing) = encode(turn, fanout, link, copy, self.mounts.of(id)) else {
            return self.lose_unencoded(turn, id, fanout);
        };
        send_publish(link, flush, outgoing, None, turn.fx);
        fanout.reception = Reception::Taken;
        self.count_publish(turn, id, &fanout.routed.message, (copy, None));
    }

    fn deliver_acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) {
        if self.takes_at_once(id) {
            return self.send_acknowledged(turn, id, fanout, copy);
        }
        self.enqueue(turn, id, fanout, copy);
    }

    /// Makes a message into a delivery that waits in its session's queue, on stable storage if the session is.
    pub(super) fn add_delivery(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) -> Delivery {
        let delivery = self.new_delivery(turn, id, fanout, copy);
        if delivery.stored_as != MessageId::NONE {
            self.log_queued(turn, id, delivery.stored_as, (copy, None));
        }
        delivery
    }

    /// A delivery, of which nothing but its message is written down.
    #[inline]
    fn new_delivery(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) -> Delivery {
        let is_kept = copy.qos > Qos::AtMostOnce && self.sessions.get(id).is_persistent();
        Delivery {
            message: fanout.routed.share().clone(),
            ids: SubscriptionIds::from_slice(copy.ids),
            qos: copy.qos,
            retain: copy.retain,
            group: copy.group.tag,
            stored_as: if is_kept { self.record_log.message(turn, &mut fanout.routed) } else { MessageId::NONE },
        }
    }

    fn log_queued(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        message: MessageId,
        (copy, packet_id): (&DeliveryOptions<'_>, Option<PacketId>),
    ) {
        let DeliveryOptions { qos, retain, ids, group: PickedFor { tag, key }, .. } = *copy;
        let (group, ids) = ((tag != GroupTag::NONE).then_some(key), ListOf::Values(ids));
        let queued = QueuedRecord { session, message, qos, retain, packet_id, group, ids };
        self.record_log.append(turn, &LogRecord::Queued(queued));
    }

    /// A delivery that was waiting in a queue has gone out of it and will not be sent.
    pub(super) fn log_dropped(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        message: MessageId,
        reason: DropReason,
    ) {
        if message != MessageId::NONE && self.sessions.get(session).is_persistent() {
            self.record_log.append(turn, &LogRecord::Dropped { session, message, reason: reason as u8 });
        }
    }

    /// Takes a message into flight and sends it. The caller has made sure of room.
    fn send_acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) {
        let session = self.sessions.get_mut(id);
        if session.is_persistent() && self.record_log.is_kept() {
            return self.send_and_log(turn, id, fanout, copy);
        }
        let link = session.link.as_deref_mut().expect("room means a connection");
        let Some(outgoing) = encode(turn, fanout, link, copy, self.mounts.of(id)) else {
            // As if its delivery had completed [MQTT-3.1.2-25].
            return self.lose_unencoded(turn, id, fanout);
        };
        let delivery = Delivery {
            message: fanout.routed.share().clone(),
            ids: SubscriptionIds::from_slice(copy.ids),
            qos: copy.qos,
            retain: copy.retain,
            group: copy.group.tag,
            stored_as: MessageId::NONE,
        };
        let packet_id = session.outbound_mut().send(delivery, turn.now, &mut self.queues);
        let link = session.link.as_deref_mut().expect("it had one above");
        send_publish(link, self.flush, outgoing, Some(packet_id), turn.fx);
        fanout.reception = Reception::Taken;
        self.count_publish(turn, id, &fanout.routed.message, (copy, Some(packet_id)));
        self.count_acknowledged(copy.qos);
    }

    /// The same of a session whose deliveries are written down.
    #[inline(never)]
    fn send_and_log(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) {
        let Some(departure) = self.encode_unless_held(turn, id, fanout, copy) else { return };
        let delivery = self.new_delivery(turn, id, fanout, copy);
        let message = delivery.stored_as;
        let packet_id = self.sessions.get_mut(id).outbound_mut().send(delivery, turn.now, &mut self.queues);
        self.log_queued(turn, id, message, (copy, Some(packet_id)));
        self.send_or_hold(turn, id, fanout, ReadyPublish { copy, packet_id, departure });
    }

    /// Takes into flight what has waited in the queue, and sends it.
    fn send_queued_delivery(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        delivery: Delivery,
        fanout: &mut Fanout<'_>,
    ) {
        let ids = delivery.ids.clone();
        let copy = DeliveryOptions::of(&delivery, ids.as_slice());
        let Some(departure) = self.encode_unless_held(turn, session, fanout, &copy) else {
            return self.log_dropped(turn, session, delivery.stored_as, DropReason::PacketTooLarge);
        };
        let message = delivery.stored_as;
        let packet_id = self.sessions.get_mut(session).outbound_mut().send(delivery, turn.now, &mut self.queues);
        if is_timed(session, packet_id) {
            self.time_queue_wait(fanout.routed.share());
        }
        if message != MessageId::NONE && self.sessions.get(session).is_persistent() {
            self.record_log.append(turn, &LogRecord::Sent { session, message, packet_id });
        }
        self.send_or_hold(turn, session, fanout, ReadyPublish { copy: &copy, packet_id, departure });
    }

    /// The packet of a delivery with QoS 1 or 2, or that it is to wait. `None`: it is too large, and was dropped.
    #[inline]
    fn encode_unless_held(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) -> Option<Departure> {
        let session = self.sessions.get_mut(id);
        if copy.qos == Qos::ExactlyOnce && self.record_log.is_kept() && session.is_persistent() {
            return Some(Departure::Held);
        }
        let link = session.link.as_deref_mut().expect("room means a connection");
        let outgoing = encode(turn, fanout, link, copy, self.mounts.of(id));
        if outgoing.is_none() {
            // As if its delivery had completed [MQTT-3.1.2-25].
            self.lose_unencoded(turn, id, fanout);
        }
        outgoing.map(Departure::Now)
    }

    #[inline]
    fn send_or_hold(&mut self, turn: &mut Turn<'_>, id: SessionId, fanout: &mut Fanout<'_>, ready: ReadyPublish<'_>) {
        let ReadyPublish { copy, packet_id, departure } = ready;
        let link = self.sessions.get_mut(id).link.as_deref_mut().expect("room means a connection");
        fanout.reception = Reception::Taken;
        let Departure::Now(outgoing) = departure else {
            let connection = link.connection;
            self.keep_span(turn, fanout.routed.share());
            return self.record_log.hold(turn, connection, Held::Publish(packet_id));
        };
        send_publish(link, self.flush, outgoing, Some(packet_id), turn.fx);
        self.count_publish(turn, id, &fanout.routed.message, (copy, Some(packet_id)));
        self.count_acknowledged(copy.qos);
    }

    /// Sends what has waited in the queue. The caller has made sure of room.
    pub(super) fn send_from_queue(&mut self, turn: &mut Turn<'_>, id: SessionId, delivery: Delivery) {
        let message = delivery.message.clone();
        if self.access.checks && !self.may_receive(id, message.borrow().topic) {
            // The rules are others than when it came.
            self.counters.dropped(DropReason::AccessDenied);
            return self.log_dropped(turn, id, delivery.stored_as, DropReason::AccessDenied);
        }
        let mut fanout = Fanout::new(Routed::shared(&message));
        let before = self.enter_span(turn, &message);
        if delivery.qos > Qos::AtMostOnce {
            self.send_queued_delivery(turn, id, delivery, &mut fanout);
        } else {
            let copy = DeliveryOptions::of(&delivery, delivery.ids.as_slice());
            assert!(self.sessions.get(id).link.is_some(), "the caller has looked");
            self.send_at_most_once(turn, id, &mut fanout, &copy, NO_BOUND);
        }
        self.leave_span(turn, before);
    }

    /// Sends what is in flight: for the first time, or again, with DUP, when an earlier connection has ended [MQTT-3.3.1-1].
    pub(super) fn send_in_flight(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        packet_id: PacketId,
        (delivery, dup): (&Delivery, bool),
    ) {
        let mut fanout = Fanout::new(Routed::shared(&delivery.message));
        let copy = DeliveryOptions { dup, ..DeliveryOptions::of(delivery, delivery.ids.as_slice()) };
        if self.access.checks && !self.may_receive(id, delivery.message.borrow().topic) {
            self.counters.dropped(DropReason::AccessDenied);
            return self.drop_in_flight(turn, id, packet_id);
        }
        let link = self.sessions.get_mut(id).link.as_deref_mut().expect("it is sent on it");
        if let Some(outgoing) = encode(turn, &mut fanout, link, &copy, self.mounts.of(id)) {
            send_publish(link, self.flush, outgoing, Some(packet_id), turn.fx);
            let before = self.enter_span(turn, &delivery.message);
            self.count_publish(turn, id, &fanout.routed.message, (&copy, Some(packet_id)));
            self.leave_span(turn, before);
            self.count_acknowledged(copy.qos);
            if is_timed(id, packet_id)
                && let Some(outbound) = self.sessions.get_mut(id).outbound_existing_mut()
            {
                outbound.note_sent(packet_id, turn.now);
            }
            return;
        }
        self.lose_unencoded(turn, id, &fanout);
        self.drop_in_flight(turn, id, packet_id);
    }

    /// As if the delivery had completed: the client will not get it.
    pub(super) fn drop_in_flight(&mut self, turn: &mut Turn<'_>, id: SessionId, packet_id: PacketId) {
        let session = self.sessions.get_mut(id);
        if let Some(outbound) = session.outbound_existing_mut() {
            outbound.complete(packet_id, &mut self.queues);
        }
        if session.is_persistent() {
            self.record_log.append(turn, &LogRecord::Completed { session: id, packet_id });
        }
        self.add_work(id); // no acknowledgement will come that would go on with the queue
    }

    /// A message for which there is no packet: it is too large for the client, or its topic lies outside of the client's mount point.
    #[cold]
    fn lose_unencoded(&mut self, turn: &mut Turn<'_>, id: SessionId, fanout: &Fanout<'_>) {
        let topic = fanout.routed.message.topic;
        let is_outside =
            self.mounts.of(id).is_some_and(|mount| !topic.starts_with(mount) || topic.len() == mount.len());
        if is_outside {
            return self.counters.dropped(DropReason::AccessDenied);
        }
        self.lose(turn, id, DropReason::PacketTooLarge);
    }

    #[inline]
    fn count_publish(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        message: &MessageRef<'_>,
        (copy, packet_id): (&DeliveryOptions<'_>, Option<PacketId>),
    ) {
        self.counters.packets_sent += 1;
        self.counters.publish_sent += 1;
        self.counters.publish_bytes_sent += message.payload.len() as u64;
        if self.profiled.has_rates {
            self.count_delivery_against_rate(turn, id, message.len_bytes());
        }
        if self.traffic.is_counted() {
            self.count_traffic_sent(id, message);
        }
        if turn.fx.is_watching {
            self.note_sent(turn, id, message, (copy, packet_id));
        }
    }

    /// Counts a message with QoS 1 or 2 apart.
    #[inline]
    const fn count_acknowledged(&mut self, qos: Qos) {
        self.counters.sent_acknowledged[matches!(qos, Qos::ExactlyOnce) as usize] += 1;
    }

    /// Apart, so that whoever is not counted pays for a look alone.
    #[cold]
    fn count_traffic_sent(&mut self, id: SessionId, message: &MessageRef<'_>) {
        self.traffic.note_sent(id, self.sessions.get(id).key, message.len_bytes());
    }

    /// Whether the client's receive maximum leaves room [MQTT-3.3.4-9].
    pub(super) fn has_window(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        session.link.as_deref().is_some_and(|link| {
            let in_flight = session.outbound().map_or(0, |outbound| usize::from(outbound.window().len()));
            in_flight - link.resends().min(in_flight) < usize::from(link.window_max)
        })
    }

    /// Whether a message would be sent to it now, behind no other.
    #[inline]
    pub(super) fn takes_at_once(&self, id: SessionId) -> bool {
        self.has_room(id) && !self.sessions.get(id).outbound().is_some_and(Outbound::has_queue)
    }

    /// Whether a new QoS 1 or 2 message may be sent now: connected, nothing to be sent again first, window, outbox and rate.
    pub(super) fn has_room(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        self.has_window(id)
            && !self.is_sent_nothing(id)
            && session.link.as_deref().is_some_and(|link| {
                link.resends() == 0 && link.outbox_bytes(self.flush) < self.settings.outbox_max_bytes
            })
    }
}

pub(super) fn options_of(subscriber: Subscriber) -> SubscriptionOptions {
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

/// Encodes one copy, or takes the form that was encoded before. `None` when it is too large for the client, or lies outside of its mount
/// point.
fn encode(
    turn: &mut Turn<'_>,
    fanout: &mut Fanout<'_>,
    link: &mut Link,
    copy: &DeliveryOptions<'_>,
    mount: Option<&str>,
) -> Option<Outgoing> {
    let mut topic = fanout.routed.message.topic;
    let mut mount_bytes = 0;
    if let Some(mount) = mount {
        topic = topic.strip_prefix(mount).filter(|rest| !rest.is_empty())?;
        mount_bytes = mount.len() as u32;
    }
    let max_bytes = link.packet_size_max_bytes;
    let fits = |outgoing: &Outgoing| outgoing.len() <= max_bytes;
    let is_v5 = link.version.is_v5();
    if !copy.dup && (!is_v5 || copy.ids.is_empty() && link.alias_max == 0 && !link.is_service()) {
        let layout = u32::from(is_v5) * 6 + copy.qos as u32 * 2 + u32::from(copy.retain);
        let layout = layout | mount_bytes << 8;
        if let Some(&(_, outgoing)) = fanout.forms.iter().find(|&&(made, _)| made == layout) {
            return outgoing.filter(fits);
        }
        let fields = TopicFields { topic, topic_alias: None };
        let outgoing = encode_form(turn, &mut fanout.routed, link.version, copy, fields);
        fanout.forms.push((layout, outgoing));
        return outgoing.filter(fits);
    }
    encode_for_it_alone(turn, fanout, link, copy, topic)
}

/// A copy that is like no other: with identifiers or aliases of its own, or sent again.
fn encode_for_it_alone(
    turn: &mut Turn<'_>,
    fanout: &mut Fanout<'_>,
    link: &mut Link,
    copy: &DeliveryOptions<'_>,
    topic: &str,
) -> Option<Outgoing> {
    let max_bytes = link.packet_size_max_bytes;
    let fits = |outgoing: &Outgoing| outgoing.len() <= max_bytes;
    if link.is_service() {
        return encode_for_service(turn, fanout, copy, topic).filter(fits);
    }
    let form = match (link.version.is_v5(), link.alias_max) {
        (false, _) | (_, 0) => TopicForm::Name,
        (true, max) => link.aliases_out.get_or_insert_default().form(topic, max),
    };
    let fields = match form {
        TopicForm::Name => TopicFields { topic, topic_alias: None },
        TopicForm::NameAndAlias(alias) => TopicFields { topic, topic_alias: Some(alias) },
        TopicForm::Alias(alias) => TopicFields { topic: "", topic_alias: Some(alias) },
    };
    let outgoing = encode_form(turn, &mut fanout.routed, link.version, copy, fields).filter(fits);
    if !matches!(form, TopicForm::NameAndAlias(_)) {
        return outgoing;
    }
    if outgoing.is_none() {
        // To teach an alias takes three bytes; without them it may fit.
        let fields = TopicFields { topic, topic_alias: None };
        return encode_form(turn, &mut fanout.routed, link.version, copy, fields).filter(fits);
    }
    if let Some(aliases) = link.aliases_out.as_deref_mut() {
        aliases.sent(topic);
    }
    outgoing
}

/// So many ticks can be told: a subscription identifier has 28 bits (MQTT 5.0, 3.8.2.1.2), which is ten months.
const WAITED_TICKS_MAX: u32 = (1 << 28) - 2;

/// A copy for a service of the broker's own: behind the identifiers of its subscriptions stands how long the message has waited, in ticks of the timers
/// and one more (`services::local` reads it). No client can say so.
#[cold]
fn encode_for_service(
    turn: &mut Turn<'_>,
    fanout: &mut Fanout<'_>,
    copy: &DeliveryOptions<'_>,
    topic: &str,
) -> Option<Outgoing> {
    let waited = if copy.qos == Qos::AtMostOnce {
        fanout.routed.already_shared().map_or(0, |message| message.waited_ticks(turn.now))
    } else {
        fanout.routed.share().waited_ticks(turn.now)
    };
    let mut ids = SmallVec::<[SubscriptionId; 4]>::from_slice(copy.ids);
    ids.push(SubscriptionId::MIN.saturating_add(waited.min(WAITED_TICKS_MAX)));
    let copy = DeliveryOptions { ids: &ids, ..*copy };
    encode_form(turn, &mut fanout.routed, Version::V5, &copy, TopicFields { topic, topic_alias: None })
}

/// What a PUBLISH says of its topic.
#[derive(Clone, Copy, Debug)]
struct TopicFields<'a> {
    /// Empty where the alias says it all.
    topic: &'a str,
    topic_alias: Option<TopicAlias>,
}

/// Encodes one form. `None` when MQTT has no such packet: a message of the largest size can gain bytes on its way.
fn encode_form(
    turn: &mut Turn<'_>,
    routed: &mut Routed<'_>,
    version: Version,
    copy: &DeliveryOptions<'_>,
    TopicFields { topic, topic_alias }: TopicFields<'_>,
) -> Option<Outgoing> {
    let message = &routed.message;
    let packet = PublishOut {
        version,
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
    let measured = packet.measured()?;
    if message.payload.len() < PAYLOAD_BY_REFERENCE_MIN_BYTES {
        let encoded = turn.fx.encode(|out| measured.encode(out).packet_id_at);
        return Some(Outgoing { encoded, payload: None });
    }
    let len = message.payload.len() as u32;
    let encoded = turn.fx.encode(|out| measured.encode_head(out).packet_id_at);
    let payload = turn.fx.payload(routed.share().long_payload().expect("its length is what makes it long"));
    Some(Outgoing { encoded, payload: Some((payload, len)) })
}
