//! A delivery of one session: sent, taken into flight, written down, dropped.
//!
//! Always holds: what a persistent session is sent with QoS 1 or 2 is written down first; with QoS 2 it leaves when that is durable; each drop
//! is counted under its reason.
//! Leaves to others: what is delivered to whom (`deliver`), what waits (`queue`), the packet (`outgoing`).

use super::Turn;
use super::clients::Clients;
use super::outgoing::{DeliveryOptions, Fanout, Outgoing, PickedFor, encode, send_publish};
use super::record_log::Held;
use super::timed::is_timed;
use crate::ids::{MessageId, PacketId, Qos, SessionId};
use crate::session::{Delivery, MessageRef, Reception, Routed, SubscriptionIds};
use crate::store::format::{ListOf, LogRecord, QueuedRecord};
use crate::telemetry::DropReason;
use crate::topic::GroupTag;

/// Of a client's outbox: whoever sends has asked for room before.
pub(super) const NO_BOUND: usize = usize::MAX;

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

impl Clients {
    /// Sends it, unless there is no connection, or too much waits for its client: more than `outbox_max_bytes`, with this.
    #[inline]
    pub(super) fn send_at_most_once(
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

    /// Takes a message into flight and sends it. The caller has made sure of room.
    pub(super) fn send_acknowledged(
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
}
