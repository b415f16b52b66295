//! From a match to one delivery a session: what its subscriptions grant together, and whether it is sent, waits, or is dropped.
//!
//! Leaves to others: sending (`send`), queues (`queue`), the packets themselves (`outgoing`).

use smallvec::SmallVec;

use super::Turn;
use super::clients::Clients;
use super::fanouts::cost_of;
use super::outgoing::{DeliveryOptions, Fanout, PickedFor};
use super::send::NO_BOUND;
use crate::codec::SubscriptionOptions;
use crate::ids::{Qos, SessionId, SubscriptionId};
use crate::session::{Outbound, Routed};
use crate::telemetry::DropReason;
use crate::topic::{Matches, Subscriber};

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
